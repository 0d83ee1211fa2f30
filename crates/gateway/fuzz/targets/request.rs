//! The whole way of a request: a real gateway in this process, a real Redis, bytes over a real connection.
//!
//! The first byte chooses: bytes as they are on the wire, or a body that is signed as it must be, so that it
//! comes as far as the list. Whatever it is, the answer must not be our fault, and the next request is answered.
#![no_main]

use contract::Provider;
use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};
use testkit::Redis;

struct Gateway {
    redis: Redis,
    port: u16,
}

const SECRET: &str = "It's a Secret to Everybody";
/// The list is emptied before it is full, which would be a 503.
const EMPTY_EVERY: u32 = 2_000;

fn gateway() -> &'static Gateway {
    static GATEWAY: OnceLock<Gateway> = OnceLock::new();
    GATEWAY.get_or_init(|| {
        let redis = Redis::start_with(&["--appendonly", "no"]);
        let port = testkit::free_port();
        let args = [
            "gateway".to_owned(),
            format!("--redis-url={}", redis.url()),
            format!("--server-listen=127.0.0.1:{port}"),
            format!("--admin-listen=127.0.0.1:{}", testkit::free_port()),
            format!("--security-secret={SECRET}"),
            "--security-enable-rate-limiting=false".to_owned(),
            "--security-trusted-proxies=127.0.0.1".to_owned(),
            "--log-level=off".to_owned(),
        ];
        std::thread::spawn(move || {
            chassis::launch(
                args.map(Into::into),
                &gateway::SERVICE,
                gateway::configure,
                gateway::check,
                gateway::run,
            );
            panic!("the gateway ended");
        });
        let give_up = Instant::now() + Duration::from_secs(10);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < give_up, "the gateway does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
        std::thread::sleep(Duration::from_secs(1)); // Until it has reached Redis.
        Gateway { redis, port }
    })
}

/// A body in the form of a delivery: who sends it, the event's name in the first line.
fn signed(provider: Provider, data: &[u8]) -> Vec<u8> {
    let line = data.iter().position(|byte| *byte == b'\n').unwrap_or_default();
    let (event, body) = data.split_at(line);
    let event: String = event
        .iter()
        .map(|byte| char::from(byte & 0x7f))
        .filter(char::is_ascii_graphic)
        .collect();
    let seal = seal::Key::new(SECRET.as_bytes()).seal(&[body]).hex();
    let id = format!("{:032x}", next());
    let proof = match provider {
        Provider::Github => {
            format!("X-GitHub-Event: {event}\r\nX-GitHub-Delivery: {id}\r\nX-Hub-Signature-256: sha256={seal}")
        }
        Provider::Gitlab => {
            format!("X-Gitlab-Event: {event} Hook\r\nX-Gitlab-Event-UUID: {id}\r\nX-Gitlab-Token: {SECRET}")
        }
        Provider::Gitea | Provider::Forgejo => {
            format!("X-Gitea-Event: {event}\r\nX-Gitea-Delivery: {id}\r\nX-Gitea-Signature: {seal}")
        }
        Provider::Bitbucket => {
            format!("X-Event-Key: {event}\r\nX-Request-UUID: {id}\r\nX-Hub-Signature: sha256={seal}")
        }
    };
    let head = format!(
        "POST /webhook/{provider} HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n{proof}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

/// Another number every time.
fn next() -> u32 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Some((choice, data)) = data.split_first() else {
        return;
    };
    let gateway = gateway();
    static RUNS: AtomicU32 = AtomicU32::new(0);
    if RUNS.fetch_add(1, Ordering::Relaxed) % EMPTY_EVERY == 0 {
        gateway.redis.cli(&["FLUSHALL"]);
    }
    let choice = usize::from(*choice) % (Provider::ALL.len() + 1);
    let raw = choice == Provider::ALL.len();
    let bytes = if raw {
        data.to_vec()
    } else {
        signed(Provider::ALL[choice], data)
    };
    let mut stream = TcpStream::connect(("127.0.0.1", gateway.port)).expect("it listens");
    stream
        .set_read_timeout(Some(Duration::from_secs(5)))
        .expect("a timeout");
    stream.write_all(&bytes).ok(); // It may have answered before it has read all.
    if raw {
        stream.shutdown(std::net::Shutdown::Write).ok(); // Whatever is half said is not said to the end.
    }
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok();
    let status = answer.get(9..12).and_then(|status| std::str::from_utf8(status).ok());
    let status = status.and_then(|status| status.parse::<u16>().ok());
    assert!(raw || status.is_some(), "no answer");
    assert!(
        status.is_none_or(|status| status < 500),
        "{}",
        String::from_utf8_lossy(&answer)
    );
});
