//! The units of systemd, as systemd reads them.

use std::{fs, path::Path, process::Command};
use testkit::binary;

#[test]
fn each_service_has_a_unit_that_systemd_takes_and_that_gives_it_little() {
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/systemd"));
    let copies = tempfile::tempdir().unwrap();
    for service in ["gateway", "prow", "forgery", "notifier"] {
        let name = format!("forge-{service}.service");
        let unit = fs::read_to_string(folder.join(&name)).unwrap();
        let program = binary(service);
        let unit = unit.replace(
            &format!("/usr/local/bin/{service}\n"),
            &format!("{}\n", program.display()),
        );
        fs::write(copies.path().join(&name), unit).unwrap();
        let path = copies.path().join(&name);
        let path = path.to_str().unwrap();
        let verified = Command::new("systemd-analyze")
            .args(["verify", "--man=no", path])
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&verified.stderr);
        assert!(verified.status.success() && !said.contains(&name), "{said}");
        // Less is better: 10 is a service without any bounds.
        let exposed = Command::new("systemd-analyze")
            .args(["security", "--offline=true", "--threshold=30", path])
            .output()
            .unwrap();
        assert!(exposed.status.success(), "{}", String::from_utf8_lossy(&exposed.stdout));
    }
}
