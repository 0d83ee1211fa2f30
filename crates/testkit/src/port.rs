//! Ports for programs that must be told theirs before they start.

use std::{
    fs::File,
    net::TcpListener,
    sync::{
        Mutex,
        atomic::{AtomicU16, Ordering},
    },
};

/// Below the ports that Linux gives to outgoing connections (`ip_local_port_range`), so that none takes a port
/// between its being chosen and its being listened on.
const PORTS: std::ops::Range<u16> = 10_000..32_000;

/// A TCP port that nobody listens on, and that no other test is given while this process lives.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    static MINE: Mutex<Vec<File>> = Mutex::new(Vec::new());
    let folder = std::env::temp_dir().join("forge-ports");
    std::fs::create_dir_all(&folder).unwrap();
    let (count, start) = (PORTS.end - PORTS.start, std::process::id().wrapping_mul(97));
    for _ in 0..count {
        let n = u32::from(NEXT.fetch_add(1, Ordering::Relaxed));
        let port = PORTS.start + u16::try_from(start.wrapping_add(n) % u32::from(count)).unwrap();
        let lock = File::create(folder.join(port.to_string())).unwrap();
        if lock.try_lock().is_ok() && TcpListener::bind(("127.0.0.1", port)).is_ok() {
            MINE.lock().unwrap().push(lock);
            return port;
        }
    }
    panic!("no port is free from {} to {}", PORTS.start, PORTS.end);
}
