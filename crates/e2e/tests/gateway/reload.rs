//! What changes while it runs, and what stays as it was when the change is wrong.

use e2e::{Gateway, push};
use std::{path::Path, process::Command, time::Duration};
use testkit::eventually;

#[tokio::test]
async fn secrets_are_rotated_without_a_refused_delivery_or_a_dropped_connection() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("secrets.yml");
    std::fs::write(&file, "github: {default: old}\n").unwrap();
    let gateway = Gateway::start_in(folder, &[("WEBHOOK_SECRETS_FILE", &file.to_string_lossy())]).await;
    let client = reqwest::Client::builder()
        .no_proxy()
        .pool_max_idle_per_host(1)
        .build()
        .unwrap();
    let url = format!("http://{}/webhook/github", gateway.address());
    let mut n = 0;
    let mut status = async |secret: &str| {
        n += 1;
        let hook = testkit::Hook::new("push", push(n), secret);
        let response = hook.request(&client, &url).send().await.unwrap();
        response.status().as_u16()
    };
    assert_eq!((status("old").await, status("new").await), (202, 401));
    std::fs::write(&file, "github: {default: [old, new]}\n").unwrap();
    gateway.process.signal("HUP");
    eventually("the new secret holds", async || {
        (status("new").await == 202).then_some(())
    })
    .await;
    assert_eq!(status("old").await, 202);

    std::fs::write(&file, "github: {default: ''}\n").unwrap();
    gateway.process.signal("HUP");
    eventually("it says what is wrong", async || {
        gateway
            .process
            .log()
            .contains("github.default: expected a secret")
            .then_some(())
    })
    .await;
    assert_eq!(status("new").await, 202, "what was there before holds");

    // Without a signal, by another file under the same name, as Kubernetes and Docker do it.
    let next = file.with_extension("next");
    std::fs::write(&next, "github: {default: new}\n").unwrap();
    std::fs::rename(&next, &file).unwrap();
    eventually("the old secret is gone", async || {
        (status("old").await == 401).then_some(())
    })
    .await;
    assert_eq!(status("new").await, 202);
    assert!(!gateway.process.log().contains("a connection ended early"));
}

/// A certificate for `localhost` by an authority of its own, and that authority.
fn certificate(folder: &Path, name: &str) -> reqwest::Certificate {
    let made = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-days",
            "2",
        ])
        .args([
            "-subj",
            &format!("/CN={name}"),
            "-addext",
            "subjectAltName=DNS:localhost",
        ])
        .args(["-addext", "basicConstraints=critical,CA:FALSE"])
        .args(["-keyout", "key.pem.next", "-out", "cert.pem.next"])
        .current_dir(folder)
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    for file in ["key.pem", "cert.pem"] {
        std::fs::rename(folder.join(format!("{file}.next")), folder.join(file)).unwrap();
    }
    reqwest::Certificate::from_pem(&std::fs::read(folder.join("cert.pem")).unwrap()).unwrap()
}

#[tokio::test]
async fn it_speaks_tls_and_takes_a_renewed_certificate() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_owned();
    let first = certificate(&path, "first");
    let vars = [("WEBHOOK_TLS_CERTIFICATE", "cert.pem"), ("WEBHOOK_TLS_KEY", "key.pem")];
    let gateway = Gateway::start_in(folder, &vars).await;
    let port = gateway.address().rsplit_once(':').unwrap().1.to_owned();
    let url = format!("https://localhost:{port}/webhook/github");
    let send = async |trusted: &reqwest::Certificate, n: usize| {
        let client = reqwest::Client::builder()
            .no_proxy()
            .tls_certs_only([trusted.clone()])
            .timeout(Duration::from_secs(5));
        let hook = testkit::Hook::new("push", push(n), e2e::WEBHOOK_SECRET);
        let response = hook.request(&client.build().unwrap(), &url).send().await;
        response.map_or(0, |response| response.status().as_u16())
    };
    assert_eq!(send(&first, 1).await, 202);
    let second = certificate(&path, "second");
    assert_eq!(send(&second, 2).await, 0, "not known yet");
    gateway.process.signal("HUP");
    let mut n = 2;
    eventually("the new certificate is shown", async || {
        n += 1;
        (send(&second, n).await == 202).then_some(())
    })
    .await;
    assert_eq!(send(&first, 100).await, 0);
    let plain = std::net::TcpStream::connect(gateway.address());
    assert!(
        plain.is_ok(),
        "who does not speak TLS is cut off later, and keeps nobody out"
    );
    assert_eq!(send(&second, 101).await, 202);
}

#[tokio::test]
async fn what_holds_only_after_a_restart_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("password");
    std::fs::write(&file, "first").unwrap();
    let gateway = Gateway::start_in(folder, &[("REDIS_PASSWORD_FILE", &file.to_string_lossy())]).await;
    std::fs::write(&file, "second").unwrap();
    gateway.process.signal("HUP");
    let told = r#"these have changed and hold after a restart settings="redis.password""#;
    eventually("it says so", async || {
        gateway.process.log().contains(told).then_some(())
    })
    .await;
    assert!(!gateway.process.log().contains("second"));
}
