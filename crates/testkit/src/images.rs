//! Images for tests, made of busybox and of programs of this machine: no registry is asked for any.

use std::{fs, process::Command};

const CREATOR: &str = include_str!("../builder/creator.py");
const DETECT: &str = "#!/bin/sh\ntest -f index.html || exit 100\n";
const BUILD: &str = "#!/bin/sh\nset -e\necho \"$GREETING on $PORT, as $(id -u)\"\ntest $(id -u) = 1000\n\
                     printf '[[processes]]\\ntype = \"web\"\\ncommand = [\"cat\", \"index.html\"]\\n' > \"$CNB_LAYERS_DIR/launch.toml\"\n";
const METADATA: &str = r#"{"stack":{"runImage":{"image":"busybox"}},"lifecycle":{"apis":{"platform":{"supported":["0.11","0.12","0.13"]}}}}"#;

/// Makes a builder image of Cloud Native Buildpacks; its name.
///
/// Its creator follows the platform interface and runs a real buildpack, which takes whatever has an `index.html`.
pub fn builder_image() -> String {
    import(
        "forge-test/python",
        "/usr/bin/python3.11",
        "/usr/lib/python3.11/lib-dynload/*.so",
        "usr/lib/python3.11",
    );
    let dockerfile = format!(
        "FROM busybox\nCOPY --from=forge-test/python / /\nCOPY creator /cnb/lifecycle/creator\n\
         COPY detect build /cnb/buildpacks/static/1.0/bin/\nRUN chmod -R 755 /cnb && mkdir -p /layers /platform\n\
         ENV CNB_USER_ID=1000 CNB_GROUP_ID=1000\nLABEL io.buildpacks.builder.metadata='{METADATA}'\n"
    );
    let files = [
        ("creator", CREATOR),
        ("detect", DETECT),
        ("build", BUILD),
        ("Dockerfile", &dockerfile),
    ];
    build("forge-test/builder", &files)
}

/// Makes an image of nginx with this configuration; its name.
pub fn nginx_image(configuration: &str) -> String {
    import("forge-test/nginx-program", "/usr/sbin/nginx", "", "");
    let dockerfile = "FROM busybox\nCOPY --from=forge-test/nginx-program / /\nCOPY nginx.conf /etc/nginx/nginx.conf\n\
                      RUN mkdir -p /var/log/nginx /var/lib/nginx /run && adduser -D -H www-data || true\n\
                      CMD [\"nginx\", \"-g\", \"daemon off;\"]\n";
    build(
        "forge-test/nginx",
        &[("nginx.conf", configuration), ("Dockerfile", dockerfile)],
    )
}

/// Makes an image of a program of this machine with what it links, and with what else it needs.
fn import(name: &str, program: &str, modules: &str, more: &str) {
    let linked = sh(&format!(
        "ldd {program} {modules} 2>/dev/null | grep -o '/[^ ]*' | grep -v ':$' | sort -u"
    ));
    let paths: Vec<_> = linked
        .lines()
        .chain([program])
        .map(|path| path.trim_start_matches('/'))
        .collect();
    let leave = "--exclude=__pycache__ --exclude=test --exclude=config-3.11*";
    sh(&format!(
        "tar -ch {leave} -C / {} {more} | docker import - {name} >/dev/null",
        paths.join(" ")
    ));
}

fn build(name: &str, files: &[(&str, &str)]) -> String {
    let folder = tempfile::tempdir().unwrap();
    for (file, text) in files {
        fs::write(folder.path().join(file), text).unwrap();
    }
    let mut command = Command::new("docker");
    let command = command
        .env("DOCKER_BUILDKIT", "0")
        .args(["build", "-q", "-t", name, "."]);
    let output = command.current_dir(folder.path()).output().unwrap();
    assert!(
        output.status.success(),
        "{name}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    name.to_owned()
}

fn sh(script: &str) -> String {
    let output = Command::new("sh").args(["-c", script]).output().unwrap();
    assert!(
        output.status.success(),
        "{script}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}
