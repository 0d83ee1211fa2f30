//! The same life of a message on every kind of Redis that a URL can name.

use crate::util::{message, take};
use bus::{Bus, Settings};
use contract::route;
use testkit::{Server, Topology};

/// One message from its producer to its end, and one line of a log.
async fn works(server: Server) {
    testkit::crypto();
    let bus = Bus::start(Settings::new(server.url())).unwrap();
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

#[tokio::test]
async fn a_unix_socket() {
    works(Server::start(Topology::Socket)).await;
}

#[tokio::test]
async fn a_user_with_a_password_who_may_do_only_what_is_needed() {
    works(Server::start(Topology::User)).await;
}

#[tokio::test]
async fn a_sentinel() {
    works(Server::start(Topology::Sentinel)).await;
}

#[tokio::test]
async fn a_cluster() {
    works(Server::start(Topology::Cluster)).await;
}
