//! A disk that gets full: nothing new is begun, what runs is ended in time, and all of it is done when there is room.

use crate::{images::docker, pipelines::ask};
use e2e::Forge;
use serde_json::json;
use std::{fs, path::PathBuf, process::Command, time::Duration};

/// A small disk of its own.
struct Disk {
    folder: tempfile::TempDir,
}

impl Disk {
    fn of_mib(size: u32) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let options = format!("size={size}m");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &options, "tmpfs"])
            .arg(folder.path())
            .status();
        assert!(
            mounted.unwrap().success(),
            "cannot mount; this test needs root, as the chaos harness does"
        );
        Self { folder }
    }

    /// Takes so much of it.
    fn fill(&self, mib: usize) -> PathBuf {
        let file = self.folder.path().join("filler");
        fs::write(&file, vec![1; mib * 1024 * 1024]).unwrap();
        file
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        Command::new("umount").arg("-l").arg(self.folder.path()).status().ok();
    }
}

#[tokio::test]
async fn with_little_room_nothing_is_begun_and_with_none_what_runs_is_ended_and_done_later() {
    let disk = Disk::of_mib(64);
    let work = disk.folder.path().to_str().unwrap().to_owned();
    let forge = Forge::start_with(1, &[("WORK_DIR", &work), ("FORGERY_MIN_FREE_MIB", "32")]).await;
    let repo = forge.repo("FROM busybox\n");
    let slow = "image: busybox\nsteps:\n- {name: slow, script: 'echo begun; test $FORGE_ATTEMPT != 1 || sleep 982'}\n";
    ask(&forge, "slow", &repo, slow);
    let build = forge.build_that_is("building").await;
    forge.log_that_says(&build, "begun").await;

    let filler = disk.fill(60);
    testkit::within(e2e::PATIENCE, "it is ended", async || {
        let label = format!("label=forge.installation={}", forge.installation());
        docker(&["ps", "-q", "--filter", &label]).is_empty().then_some(())
    })
    .await;
    ask(
        &forge,
        "waits",
        &repo,
        "image: busybox\nsteps:\n- {name: a, script: 'true'}\n",
    );
    tokio::time::sleep(Duration::from_secs(4)).await;
    let begun = forge.get("/v1/cicd/builds/waits").await;
    assert_eq!(begun, None, "nothing is begun without room");

    fs::remove_file(filler).unwrap();
    for id in ["slow", "waits"] {
        let done = testkit::within(e2e::PATIENCE, "it is done after all", async || {
            let build = forge.get(&format!("/v1/cicd/builds/{id}")).await?;
            (build["status"] == "success").then_some(build)
        })
        .await;
        assert_eq!(done["attempts"], json!(if id == "slow" { 2 } else { 1 }), "{done}");
    }
}
