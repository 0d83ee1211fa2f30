//! How often somebody may come: generous, for forges burst from few addresses.

use governor::{
    NotUntil, Quota, RateLimiter,
    clock::{Clock, DefaultClock},
    middleware::StateInformationMiddleware,
    state::keyed::DashMapStateStore,
};
use std::{hash::Hash, num::NonZeroU32, time::Duration};

type Limiter<K> = RateLimiter<K, DashMapStateStore<K>, DefaultClock, StateInformationMiddleware>;

/// A bound on requests in a window of time, which slides (the generic cell rate algorithm).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rate {
    pub(crate) most: NonZeroU32,
    pub(crate) window: Duration,
    /// From so many in a window on, each waits a little; 0 for never.
    pub(crate) slow_from: u32,
}

/// Counts by key: an address, a repository.
pub(crate) struct Limit<K: Hash + Eq + Clone> {
    limiter: Limiter<K>,
    rate: Rate,
    name: &'static str,
    /// Who stands for all whom there is no room to count alone.
    others: K,
}

/// Too many; what the answer says about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TooMany {
    /// Seconds until the next one is welcome, at least 1.
    pub(crate) after: u64,
    /// The field `RateLimit-Policy`.
    pub(crate) policy: String,
    /// The field `RateLimit`.
    pub(crate) limit: String,
}

/// Most keys that are counted each alone; past it everybody is counted together.
const KEYS: usize = 100_000;
/// How much each request waits that comes too often, but not yet far too often.
const SLOWER: Duration = Duration::from_millis(100);

// === impl Limit ===

impl<K: Hash + Eq + Clone> Limit<K> {
    pub(crate) fn new(name: &'static str, rate: Rate, others: K) -> Self {
        let each = rate.window / rate.most.get();
        let quota = Quota::with_period(each.max(Duration::from_nanos(1)));
        #[expect(clippy::expect_used, reason = "a nanosecond is more than nothing")]
        let quota = quota.expect("a period").allow_burst(rate.most);
        Self {
            limiter: RateLimiter::dashmap(quota).with_middleware(),
            rate,
            name,
            others,
        }
    }

    /// Counts one; how long it should wait before it goes on.
    ///
    /// # Errors
    /// When it is one too many.
    pub(crate) fn count(&self, key: &K) -> Result<Duration, TooMany> {
        let key = if self.limiter.len() < KEYS { key } else { &self.others };
        let left = self.limiter.check_key(key).map_err(|not| self.too_many(&not))?;
        let used = self.rate.most.get().saturating_sub(left.remaining_burst_capacity());
        let slow = self.rate.slow_from > 0 && used > self.rate.slow_from;
        Ok(if slow { SLOWER } else { Duration::ZERO })
    }

    /// Forgets who has been quiet.
    pub(crate) fn tidy(&self) {
        if self.limiter.len() >= KEYS {
            tracing::warn!(limit = self.name, most = KEYS, "too many to count each alone");
        }
        self.limiter.retain_recent();
        self.limiter.shrink_to_fit();
    }

    /// Source: draft-ietf-httpapi-ratelimit-headers-11, `RateLimit` fields.
    fn too_many(&self, not: &NotUntil<<DefaultClock as Clock>::Instant>) -> TooMany {
        let wait = not.wait_time_from(DefaultClock::default().now());
        let after = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        let Rate { most, window, .. } = self.rate;
        TooMany {
            after: after.max(1),
            policy: format!(r#""{}";q={most};w={}"#, self.name, window.as_secs().max(1)),
            limit: format!(r#""{}";r=0;t={}"#, self.name, after.max(1)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(most: u32, slow_from: u32) -> Rate {
        Rate {
            most: NonZeroU32::new(most).unwrap(),
            window: Duration::from_mins(1),
            slow_from,
        }
    }

    #[test]
    fn one_too_many_is_told_when_to_come_again_and_others_are_not_concerned() {
        let limit = Limit::new("address", rate(3, 2), 0);
        let waits: Vec<_> = (0..3).map(|_| limit.count(&7).unwrap()).collect();
        assert_eq!(waits, [Duration::ZERO, Duration::ZERO, SLOWER]);
        let many = limit.count(&7).unwrap_err();
        assert!((19..=20).contains(&many.after), "{many:?}");
        assert_eq!(many.policy, r#""address";q=3;w=60"#);
        assert_eq!(many.limit, format!(r#""address";r=0;t={}"#, many.after));
        assert!(limit.count(&8).is_ok());
    }

    #[test]
    fn those_for_whom_there_is_no_room_are_counted_together() {
        let limit = Limit::new("address", rate(3, 0), usize::MAX);
        for key in 0..KEYS {
            limit.count(&key).unwrap();
        }
        let more: Vec<_> = (0..10).map(|n| limit.count(&(KEYS + n)).is_ok()).collect();
        assert_eq!(more.iter().filter(|taken| **taken).count(), 3);
        assert!(limit.limiter.len() <= KEYS + 1);
    }
}
