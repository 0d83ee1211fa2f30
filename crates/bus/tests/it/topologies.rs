//! The same life of a message on every kind of Redis that a URL can name.

use crate::util::{message, take};
use bus::{Bus, Settings};
use contract::route;
use std::{path::Path, process::Command};
use testkit::{Process, Redis, free_port};

/// One message from its producer to its end, and one line of a log.
async fn works(url: String) {
    testkit::crypto();
    let bus = Bus::start(Settings::new(url)).unwrap();
    bus.ready().await.unwrap();
    let list = route::builds();
    bus.producer(&list).send(&message("a")).await.unwrap();
    let worker = bus.worker(&list, "test", 1, |_| String::new()).await.unwrap();
    let delivery = take(&mut worker.slot(0)).await;
    let mut channel = bus.subscribe("forge:cancel").await.unwrap();
    let canceller = bus.canceller(&list, "forge:cancel");
    canceller.cancel(&crate::cancel::request("a"), "end").await.unwrap();
    assert!(matches!(channel.next().await, bus::Heard::Message(_)));
    delivery.finish("cancelled", "end").await.unwrap();
    let build = "a".parse().unwrap();
    let mut reader = bus.log_reader(&build, 0).await.unwrap();
    bus.log_writer(&build)
        .append(&contract::LogChunk::new(1, 1, Vec::new()))
        .await
        .unwrap();
    assert_eq!(reader.next().await.unwrap().len(), 1);
    let stop = tokio_util::sync::CancellationToken::new();
    stop.cancel();
    worker.tend(stop).await;
}

fn server(folder: &Path, port: u16, more: &[&str]) -> Process {
    let own = folder.join(port.to_string());
    std::fs::create_dir_all(&own).unwrap();
    let mut command = Command::new("redis-server");
    command
        .args(more)
        .args(["--bind", "127.0.0.1", "--save", "", "--dir"])
        .arg(&own);
    Process::start(&mut command, &own.join("log"))
}

fn cli(port: u16, args: &[&str]) -> String {
    let output = Command::new("redis-cli")
        .args(["-p", &port.to_string()])
        .args(args)
        .output()
        .unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

async fn answers(port: u16) {
    testkit::eventually("redis answers", async || {
        cli(port, &["PING"]).contains("PONG").then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_unix_socket() {
    let redis = Redis::start();
    works(redis.unix_url()).await;
}

#[tokio::test]
async fn a_user_with_a_password() {
    let redis = Redis::start();
    redis.cli(&["ACL", "SETUSER", "forge", "on", ">p@ss", "~*", "&*", "+@all"]);
    redis.cli(&["ACL", "SETUSER", "default", "off"]);
    works(redis.url().replace("redis://", "redis://forge:p%40ss@")).await;
}

#[tokio::test]
async fn a_sentinel() {
    let folder = tempfile::tempdir().unwrap();
    let (master, sentinel) = (free_port(), free_port());
    let _master = server(folder.path(), master, &["--port", &master.to_string()]);
    answers(master).await;
    let config = folder.path().join("sentinel.conf");
    let text = format!("port {sentinel}\nsentinel monitor mymaster 127.0.0.1 {master} 1\n");
    std::fs::write(&config, text).unwrap();
    let _sentinel = server(folder.path(), sentinel, &[&config.to_string_lossy(), "--sentinel"]);
    answers(sentinel).await;
    works(format!(
        "redis-sentinel://127.0.0.1:{sentinel}?sentinelServiceName=mymaster"
    ))
    .await;
}

#[tokio::test]
async fn a_cluster() {
    let folder = tempfile::tempdir().unwrap();
    let ports = [free_port(), free_port(), free_port()];
    let bus_ports = [free_port(), free_port(), free_port()];
    let node = |(port, bus_port): (&u16, u16)| {
        let (port_text, bus_text) = (port.to_string(), bus_port.to_string());
        let more = [
            "--port",
            &port_text,
            "--cluster-enabled",
            "yes",
            "--cluster-port",
            &bus_text,
        ];
        server(folder.path(), *port, &more)
    };
    let _nodes: Vec<_> = ports.iter().zip(bus_ports).map(node).collect();
    for port in ports {
        answers(port).await;
    }
    let all = ports.map(|port| format!("127.0.0.1:{port}"));
    let created = Command::new("redis-cli")
        .args(["--cluster", "create"])
        .args(&all)
        .args(["--cluster-yes"])
        .output()
        .unwrap();
    assert!(created.status.success(), "{}", String::from_utf8_lossy(&created.stdout));
    testkit::eventually("every node says ok", async || {
        ports
            .iter()
            .all(|port| cli(*port, &["CLUSTER", "INFO"]).contains("cluster_state:ok"))
            .then_some(())
    })
    .await;
    works(format!("redis-cluster://{}?node={}&node={}", all[0], all[1], all[2])).await;
}
