//! How long to wait before the next attempt.

use std::time::Duration;

/// The pause after `failures` failures (from 1): doubles from the first to the longest, ±20 %.
///
/// `seed` spreads the pauses of different messages; the same seed gives the same pause.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// let pause = bus::pause((Duration::from_secs(30), Duration::from_secs(900)), 2, "build-1");
/// assert!(pause >= Duration::from_secs(48) && pause <= Duration::from_secs(72));
/// ```
pub fn pause((first, longest): (Duration, Duration), failures: u32, seed: &str) -> Duration {
    let doubled = first.saturating_mul(1_u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX));
    let spread = 80 + fnv(seed, failures) % 41;
    doubled.min(longest).saturating_mul(spread) / 100
}

/// FNV-1a, folded to 32 bits: enough to spread pauses, and reproducible.
fn fnv(seed: &str, failures: u32) -> u32 {
    let bytes = seed.bytes().chain(failures.to_le_bytes());
    bytes.fold(0x811c_9dc5, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_and_stay_within_their_bounds() {
        let bounds = (Duration::from_secs(30), Duration::from_mins(15));
        for (failures, seconds) in [(1, 30.0), (2, 60.0), (3, 120.0), (6, 900.0), (40, 900.0), (0, 30.0)] {
            for seed in ["a", "b", "c", "build-7"] {
                let ratio = pause(bounds, failures, seed).as_secs_f64() / seconds;
                assert!((0.8..=1.2).contains(&ratio), "{failures} {seed}: {ratio}");
            }
        }
    }
}
