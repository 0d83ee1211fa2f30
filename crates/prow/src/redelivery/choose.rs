//! Which deliveries are asked for again. Pure.

use contract::Timestamp;
use serde::Deserialize;
use std::collections::BTreeMap;

/// An attempt at a delivery, as GitHub tells of it:
/// <https://docs.github.com/en/rest/repos/webhooks#list-deliveries-for-a-repository-webhook>.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Attempt {
    pub(super) id: u64,
    /// The delivery's id, the same for all of its attempts.
    pub(super) guid: String,
    pub(super) delivered_at: Timestamp,
    /// Whether somebody asked for it.
    pub(super) redelivery: bool,
    /// What was answered; 0 when nothing was.
    pub(super) status_code: u16,
    pub(super) event: String,
}

/// Most attempts that are asked for, of each delivery.
const MOST: usize = 3;
/// An attempt that is younger than this may not have ended, in milliseconds.
const YOUNG: i64 = 60_000;

/// Of each delivery that no attempt has brought the newest attempt, those first that were made first.
pub(super) fn choose(attempts: &[Attempt], now: i64) -> Vec<Attempt> {
    let mut deliveries: BTreeMap<&str, Vec<&Attempt>> = BTreeMap::new();
    for attempt in attempts {
        deliveries.entry(&attempt.guid).or_default().push(attempt);
    }
    let is_wanted = |attempts: &Vec<&Attempt>| {
        let arrived = attempts.iter().any(|attempt| (200..300).contains(&attempt.status_code));
        let asked = attempts.iter().filter(|attempt| attempt.redelivery).count();
        let is_old = |attempt: &&Attempt| attempt.delivered_at.as_millis() <= now - YOUNG;
        !arrived && asked < MOST && attempts.iter().all(is_old)
    };
    let newest = |attempts: Vec<&Attempt>| {
        attempts
            .into_iter()
            .max_by_key(|attempt| attempt.delivered_at.as_millis())
            .cloned()
    };
    let mut chosen: Vec<Attempt> = deliveries.into_values().filter(is_wanted).filter_map(newest).collect();
    chosen.sort_by_key(|attempt| attempt.delivered_at.as_millis());
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempt(id: u64, guid: &str, minute: i64, redelivery: bool, status_code: u16) -> Attempt {
        Attempt {
            id,
            redelivery,
            status_code,
            guid: guid.to_owned(),
            delivered_at: Timestamp::from_millis(minute * 60_000),
            event: "push".to_owned(),
        }
    }

    #[test]
    fn what_never_arrived_is_asked_for_three_times_the_oldest_first() {
        let attempts = [
            attempt(1, "arrived", 1, false, 202),
            attempt(2, "arrived later", 2, false, 502),
            attempt(3, "arrived later", 3, true, 200),
            attempt(4, "never", 5, false, 0),
            attempt(5, "never, twice asked", 1, false, 503),
            attempt(6, "never, twice asked", 2, true, 503),
            attempt(7, "never, twice asked", 4, true, 503),
            attempt(8, "given up", 1, false, 500),
            attempt(9, "given up", 2, true, 500),
            attempt(10, "given up", 3, true, 500),
            attempt(11, "given up", 4, true, 500),
            attempt(12, "just now", 1, false, 500),
            attempt(13, "just now", 10, true, 0),
        ];
        let chosen: Vec<u64> = choose(&attempts, 10 * 60_000)
            .iter()
            .map(|attempt| attempt.id)
            .collect();
        assert_eq!(chosen, [7, 4]);
        assert!(choose(&[], 0).is_empty());
    }
}
