//! What is sent and what is struck, drawn by lot from a seed. Pure: the same seed gives the same plan.

use crate::options::{Database, Options, Topology};
use fastrand::Rng;

/// One thing that is sent.
#[derive(Clone, Debug)]
pub(crate) struct Item {
    pub(crate) n: usize,
    pub(crate) what: What,
    /// How long its build takes, in milliseconds.
    pub(crate) ms: u32,
    /// It is cancelled so many milliseconds after it was accepted.
    pub(crate) cancel_after: Option<u64>,
    pub(crate) again: Again,
}

/// What is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// A push whose build succeeds.
    Good,
    /// A push whose build fails.
    Failing,
    /// A push whose build fails once for want of infrastructure.
    Flaky,
    /// A push whose build breaks the worker's task every time.
    Breaking,
    /// A push that is built for real.
    Real,
    /// A push that deletes its branch: authentic, and leads to nothing.
    Deletion,
    /// Signed, and not JSON.
    Malformed,
    /// A push with a wrong signature.
    Forged,
    /// A build that somebody else pushes straight onto the list.
    Foreign,
    /// Straight onto the list, and no build.
    Junk,
}

/// Whether it is sent twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Again {
    Never,
    /// The same delivery, as a forge sends it when it saw no answer.
    Delivery,
    /// The same bytes under another delivery id.
    Bytes,
}

/// Something that goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    KillGateway,
    KillProw,
    KillForgery,
    KillNotifier,
    /// SIGTERM, and another one at once.
    ReplaceForgery,
    PauseForgery,
    PauseProw,
    PauseNotifier,
    KillRedis,
    /// PostgreSQL, for three seconds.
    KillDatabase,
    /// The last second of what Redis wrote is not there when it comes back.
    PowerLoss,
    /// For more than a minute; whoever dies meanwhile comes back to no Redis.
    RedisAway,
    Failover,
    DropConnections,
    DropSubscribers,
    StallRedis,
    FillRedis,
    FillDisk,
    KillEngine,
    /// SIGTERM; it is back after 13 seconds.
    StopEngine,
    SlowReceiver,
    FailingReceiver,
    HangingReceiver,
    RudeReceiver,
}

/// A share of a thousand for each kind.
const SHARES: &[(What, u32)] = &[
    (What::Good, 760),
    (What::Failing, 80),
    (What::Flaky, 5),
    (What::Deletion, 20),
    (What::Malformed, 30),
    (What::Forged, 40),
    (What::Foreign, 50),
    (What::Junk, 15),
];
/// At most so many builds are real, and break their workers.
const REAL: usize = 16;
const BREAKING: usize = 2;

/// What is sent, in order.
pub(crate) fn items(options: &Options) -> Vec<Item> {
    let mut rng = Rng::with_seed(options.seed);
    let real_every = (options.n / REAL).max(20);
    let breaking_every = (options.n / BREAKING).max(500);
    let item = |n| {
        let lot = rng.u32(..1_000);
        let mut what = drawn(lot);
        if n % real_every == real_every / 2 {
            what = What::Real;
        } else if n % breaking_every == breaking_every / 3 {
            what = What::Breaking;
        }
        let long = rng.u32(..100) < 4;
        let ms = if long { rng.u32(2_000..8_000) } else { rng.u32(5..150) };
        let cancelled = matches!(what, What::Good | What::Real) && (rng.u32(..100) < if long { 40 } else { 2 });
        let again = match rng.u32(..100) {
            0..8 => Again::Delivery,
            8..11 => Again::Bytes,
            _ => Again::Never,
        };
        Item {
            n,
            what,
            ms,
            cancel_after: cancelled.then(|| rng.u64(..3_000)),
            again,
        }
    };
    (0..options.n).map(item).collect()
}

fn drawn(lot: u32) -> What {
    let mut below = 0;
    let found = SHARES.iter().find(|(_, share)| {
        below += share;
        lot < below
    });
    found.map_or(What::Good, |(what, _)| *what)
}

/// What is struck, in order; every kind at least once if there are enough.
pub(crate) fn faults(options: &Options) -> Vec<Fault> {
    let mut rng = Rng::with_seed(options.seed ^ 0xFA17);
    let mut kinds = vec![
        Fault::KillForgery,
        Fault::KillGateway,
        Fault::KillProw,
        Fault::KillNotifier,
        Fault::ReplaceForgery,
        Fault::PauseForgery,
        Fault::PauseProw,
        Fault::PauseNotifier,
        Fault::KillRedis,
        Fault::DropConnections,
        Fault::DropSubscribers,
        Fault::FillRedis,
        Fault::FillDisk,
        Fault::KillEngine,
        Fault::StopEngine,
        Fault::SlowReceiver,
        Fault::FailingReceiver,
        Fault::HangingReceiver,
        Fault::RudeReceiver,
    ];
    match options.redis {
        Topology::EverySecond => kinds.extend([Fault::StallRedis, Fault::PowerLoss, Fault::RedisAway]),
        Topology::Always => kinds.extend([Fault::StallRedis, Fault::RedisAway]),
        Topology::Sentinel => kinds.push(Fault::Failover),
    }
    if options.database == Database::Postgres {
        kinds.push(Fault::KillDatabase);
    }
    if options.switch_off.is_some() {
        kinds = vec![Fault::KillForgery];
    }
    let mut faults = Vec::new();
    while faults.len() < options.faults {
        let mut round = kinds.clone();
        rng.shuffle(&mut round);
        faults.extend(round);
    }
    faults.truncate(options.faults);
    faults
}

impl Item {
    /// The commit it is about; no other item has it.
    pub(crate) fn commit(&self, seed: u64) -> String {
        format!("{seed:016x}{:024x}", self.n + 1)
    }

    /// Where it is cloned from, when it is only rehearsed.
    pub(crate) fn source(&self) -> String {
        let outcome = match self.what {
            What::Failing => "fail",
            What::Flaky => "flaky",
            What::Breaking => "panic",
            What::Good | What::Real | What::Deletion | What::Malformed | What::Forged | What::Foreign | What::Junk => {
                "ok"
            }
        };
        format!("https://rehearsal.invalid/{outcome}/{}/r.git", self.ms)
    }

    /// Whether its branch is that of others of its project too, so that the newest takes the place of the older.
    pub(crate) const fn is_shared(&self) -> bool {
        let may_be = matches!(self.what, What::Good | What::Flaky | What::Failing);
        may_be && self.cancel_after.is_none() && self.n.is_multiple_of(8)
    }

    pub(crate) fn git_ref(&self) -> String {
        if self.is_shared() {
            "refs/heads/shared".to_owned()
        } else {
            format!("refs/heads/b{}", self.n)
        }
    }

    /// The state its build must end in, unless it is cancelled; `None` when it leads to no build.
    pub(crate) const fn ends_as(&self) -> Option<&'static str> {
        match self.what {
            What::Good | What::Flaky | What::Real | What::Foreign => Some("success"),
            What::Failing => Some("failed"),
            What::Breaking => Some("lost"),
            What::Deletion | What::Malformed | What::Forged | What::Junk => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(seed: u64) -> Options {
        let seed = seed.to_string();
        Options::parse(["--seed", &seed, "--n", "2000"].map(ToOwned::to_owned).into_iter()).unwrap()
    }

    #[test]
    fn the_same_seed_gives_the_same_plan_and_another_one_another() {
        let text = |seed| format!("{:?} {:?}", items(&options(seed)), faults(&options(seed)));
        assert_eq!(text(1), text(1));
        assert_ne!(text(1), text(2));
    }

    #[test]
    fn every_kind_of_delivery_and_fault_is_in_a_usual_plan() {
        for seed in 0..20 {
            let all = format!("{:?} {:?}", items(&options(seed)), faults(&options(seed)));
            for word in [
                "Flaky",
                "Breaking",
                "Real",
                "Junk",
                "Foreign",
                "Forged",
                "Malformed",
                "Bytes",
                "PowerLoss",
                "RedisAway",
                "KillEngine",
                "StopEngine",
            ] {
                assert!(all.contains(word), "{word} is not in the plan of seed {seed}");
            }
        }
    }
}
