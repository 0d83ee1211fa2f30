//! What every measurement needs to know of a process.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::missing_panics_doc,
    reason = "for programs of the shell; what fails must stop them"
)]

use std::time::Duration;

/// Ticks of the clock in /proc per second: fixed for all of Linux's user space.
const TICKS: u64 = 100;

/// How long a process has been on a processor so far, its children not counted.
pub fn core(pid: u32) -> Duration {
    let stat = read(pid, "stat");
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    // Fields 14 and 15 of proc(5), in user and in kernel mode; the first two are cut off.
    let ticks = |n: usize| fields[n].parse::<u64>().unwrap();
    Duration::from_millis((ticks(11) + ticks(12)) * 1_000 / TICKS)
}

/// The most memory that it ever had.
pub fn peak_mib(pid: u32) -> f64 {
    memory_mib(pid, "VmHWM:")
}

/// The memory that it has.
pub fn now_mib(pid: u32) -> f64 {
    memory_mib(pid, "VmRSS:")
}

fn memory_mib(pid: u32, name: &str) -> f64 {
    let status = read(pid, "status");
    let found = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    found.trim().trim_end_matches(" kB").parse::<f64>().unwrap() / 1024.0
}

fn read(pid: u32, file: &str) -> String {
    std::fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap()
}
