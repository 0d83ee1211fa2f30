//! What many endpoints and long queues cost, and what dead endpoints cost the others.

use crate::{
    receiver::Receiver,
    sender::{self, Kind, Sender},
};
use std::time::Duration;
use testkit::Redis;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    time::Instant,
};

const ENDPOINTS: usize = 10_000;
const NOTIFICATIONS: usize = 100;
/// Endpoints that work, and as many that do not.
const HALF: usize = 100;
/// So many notifications, one after another.
const PACED: usize = 300;
const PAUSE: Duration = Duration::from_millis(50);

/// A million deliveries to ten thousand endpoints.
pub(crate) async fn many() {
    let all = ENDPOINTS * NOTIFICATIONS;
    let redis = Redis::start_with(&["--save", "", "--appendonly", "no"]);
    let receiver = Receiver::start().await;
    sender::fill(Kind::Notifier, &redis, NOTIFICATIONS);
    let begun = Instant::now();
    let urls = (0..ENDPOINTS).map(|n| format!("http://127.0.0.1:{}/{n}", receiver.port()));
    let mut sender = Sender::notifier(&redis, urls, &[]);
    while redis.cli(&["LLEN", "forge:notifications"]).trim() != "0" {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let expanded = begun.elapsed().as_secs_f64();
    let came = receiver.came();
    println!(
        "{all} deliveries to {ENDPOINTS} endpoints: made within {expanded:.1} s, {came} of them delivered by then; \
         Redis {}, notifier {:.1} MiB",
        memory(&redis),
        sender.peak_mib(),
    );
    receiver.has(all).await;
    let lasted = begun.elapsed().as_secs_f64();
    println!(
        "  all delivered after {lasted:.0} s, {:.0}/s; notifier {:.1} MiB at most, Redis {}",
        all as f64 / lasted,
        sender.peak_mib(),
        memory(&redis),
    );
    sender.stop();
}

/// How long deliveries to endpoints that work take, alone and beside as many that refuse, hang or fail.
pub(crate) async fn half_dead() {
    println!("{PACED} notifications to {HALF} endpoints that work, one each {PAUSE:?}; sent to received, ms");
    println!("{:<40}{:>9}{:>9}{:>9}", "", "p50", "p99", "worst");
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let hangs = silent.local_addr().unwrap().port();
    let broken = Receiver::that_answers(503).await;
    for dead in [0, HALF] {
        let redis = Redis::start_with(&["--save", "", "--appendonly", "no"]);
        let receiver = Receiver::start().await;
        let well = (0..HALF).map(|n| format!("http://127.0.0.1:{}/{n}", receiver.port()));
        let ports = [1, hangs, broken.port()]; // Nobody listens at port 1.
        let dead_ones = (0..dead).zip(ports.into_iter().cycle());
        let dead_ones = dead_ones.map(|(n, port)| format!("http://127.0.0.1:{port}/dead-{n}"));
        let mut sender = Sender::notifier(&redis, well.chain(dead_ones), &[]);
        let mut stream = TcpStream::connect(("127.0.0.1", redis.port())).await.unwrap();
        for n in 0..PACED {
            let (_, body) = sender::notification(n);
            let sent = Instant::now();
            receiver.sent(sent);
            stream
                .write_all(sender::command(&["LPUSH", "forge:notifications", &body]).as_bytes())
                .await
                .unwrap();
            let _length = stream.read(&mut [0; 64]).await.unwrap();
            tokio::time::sleep_until(sent + PAUSE).await;
            receiver.has((n + 1) * HALF).await;
        }
        let mut took = receiver.took();
        took.sort();
        let at = |part: usize| took[(took.len() - 1) * part / 1_000].as_secs_f64() * 1e3;
        let name = if dead == 0 {
            "alone".to_owned()
        } else {
            format!("beside {dead} that do not")
        };
        println!("{name:<40}{:>9.2}{:>9.2}{:>9.2}", at(500), at(990), at(1_000));
        sender.stop();
    }
}

fn memory(redis: &Redis) -> String {
    let info = redis.cli(&["INFO", "memory"]);
    let found = info.lines().find_map(|line| line.strip_prefix("used_memory_human:"));
    found.unwrap_or_default().trim().to_owned()
}
