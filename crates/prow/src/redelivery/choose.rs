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
    redelivery: bool,
    /// What was answered; 0 when nothing was.
    status_code: u16,
}

/// A delivery that no attempt has brought, and that may be asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Lost {
    pub(super) guid: String,
    /// When it should have come.
    pub(super) due_at: i64,
    /// Number of the newest attempt.
    pub(super) newest: u64,
    /// When that was made.
    tried_at: i64,
}

/// Most attempts that are asked for, of each delivery.
const MOST: usize = 3;
/// An attempt that is younger than this may not have ended, in milliseconds.
const YOUNG: i64 = 60_000;

/// The deliveries that no attempt has brought, those first that should have come first.
pub(super) fn lost(attempts: &[Attempt]) -> Vec<Lost> {
    let mut deliveries: BTreeMap<&str, Vec<&Attempt>> = BTreeMap::new();
    for attempt in attempts {
        deliveries.entry(&attempt.guid).or_default().push(attempt);
    }
    let one = |(guid, attempts): (&str, Vec<&Attempt>)| {
        let asked = attempts.iter().filter(|attempt| attempt.redelivery).count();
        if asked >= MOST || attempts.iter().any(|attempt| attempt.has_arrived()) {
            return None;
        }
        let at = |attempt: &&&Attempt| attempt.delivered_at.as_millis();
        let (first, newest) = (attempts.iter().min_by_key(at)?, attempts.iter().max_by_key(at)?);
        Some(Lost {
            guid: guid.to_owned(),
            due_at: first.delivered_at.as_millis(),
            newest: newest.id,
            tried_at: newest.delivered_at.as_millis(),
        })
    };
    let mut lost: Vec<Lost> = deliveries.into_iter().filter_map(one).collect();
    lost.sort_by_key(|lost| lost.due_at);
    lost
}

/// Those that are asked for now. As long as nothing arrives it is one, to see whether things do: else an hour without
/// gateway would use up every attempt at what it has missed.
pub(super) fn some_of(attempts: &[Attempt], lost: Vec<Lost>, now: i64) -> Vec<Lost> {
    let newest = attempts.iter().max_by_key(|attempt| attempt.delivered_at.as_millis());
    let arrives = newest.is_some_and(Attempt::has_arrived);
    let old = lost.into_iter().filter(|lost| lost.tried_at <= now - YOUNG);
    old.take(if arrives { usize::MAX } else { 1 }).collect()
}

// === impl Attempt ===

impl Attempt {
    fn has_arrived(&self) -> bool {
        (200..300).contains(&self.status_code)
    }
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
        }
    }

    #[test]
    fn what_never_arrived_is_asked_for_three_times_the_oldest_first() {
        let mut attempts = vec![
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
        let names = |lost: &[Lost]| {
            lost.iter()
                .map(|lost| (lost.guid.clone(), lost.newest))
                .collect::<Vec<_>>()
        };
        let found = lost(&attempts);
        let expected = [("just now", 13), ("never, twice asked", 7), ("never", 4)];
        assert_eq!(names(&found), expected.map(|(guid, id)| (guid.to_owned(), id)));
        assert_eq!(found[1].due_at, 60_000);

        // Nothing arrives: one, to see whether it does. Something has: all of them.
        let now = 10 * 60_000;
        let asked = some_of(&attempts, found.clone(), now);
        assert_eq!(names(&asked), [("never, twice asked".to_owned(), 7)]);
        attempts.push(attempt(14, "new", 11, false, 202));
        assert_eq!(
            names(&some_of(&attempts, found, now)),
            expected[1..]
                .iter()
                .map(|(guid, id)| ((*guid).to_owned(), *id))
                .collect::<Vec<_>>()
        );
        assert!(some_of(&[], lost(&[]), 0).is_empty());
    }
}
