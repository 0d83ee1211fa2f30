//! Strikes the faults, one after the other, and heals what they broke.

use crate::{ledger::Ledger, plan::Fault, receiver::Mood, world::World};
use fastrand::Rng;
use std::{process::Command, sync::Arc, time::Duration};
use tokio::time::Instant;

/// Who decides when what breaks.
pub(crate) struct Director {
    faults: Vec<Fault>,
    struck: usize,
    next_at: Instant,
    cures: Vec<(Instant, Cure)>,
    rng: Rng,
    began: Instant,
    ledger: Arc<Ledger>,
    /// Since when deliveries waited in the gateway's spool, and when some were seen there last.
    spooled: Option<(Instant, Instant)>,
}

/// What makes things well again.
#[derive(Clone, Copy, Debug)]
enum Cure {
    Resume(usize),
    RestartRedis,
    RestartDatabase,
    Unstall,
    EmptyRedis,
    EmptyDisk(usize),
    RestartEngine,
    KindReceiver,
    KillGateway,
}

/// How far replicas may be behind.
const REPLICA_LAG: Duration = Duration::from_secs(2);
/// At least this long between two faults.
const APART: Duration = Duration::from_secs(3);
/// How long Redis is away when it is away for long.
const AWAY: Duration = Duration::from_secs(70);
pub(crate) const LOOK: Duration = Duration::from_millis(200);

// === impl Director ===

impl Director {
    pub(crate) fn new(faults: Vec<Fault>, seed: u64, ledger: &Arc<Ledger>) -> Self {
        Self {
            faults,
            struck: 0,
            next_at: Instant::now() + APART,
            cures: Vec::new(),
            rng: Rng::with_seed(seed ^ 0xC0DE),
            began: Instant::now(),
            ledger: Arc::clone(ledger),
            spooled: None,
        }
    }

    /// To be called every [`LOOK`]; `done` of `all` was sent.
    pub(crate) fn look(&mut self, world: &mut World, done: usize, all: usize) {
        world.server.look();
        world.supervise();
        let now = Instant::now();
        if world.spooled() > 0 {
            let since = self.spooled.filter(|(_, last)| last.elapsed() < APART);
            self.spooled = Some((since.map_or(now - 2 * LOOK, |(since, _)| since), now));
        }
        let due: Vec<Cure> = self
            .cures
            .iter()
            .filter(|(at, _)| *at <= now)
            .map(|(_, cure)| *cure)
            .collect();
        self.cures.retain(|(at, _)| *at > now);
        for cure in due {
            Self::cure(world, cure);
        }
        let share = done * self.faults.len() >= self.struck * all;
        if let Some(fault) = self.faults.get(self.struck).copied()
            && share
            && now >= self.next_at
            && !(matches!(fault, Fault::RedisAway) && world.services.iter().any(|service| service.stopping))
        {
            self.struck += 1;
            println!("{:>7.1} s  {fault:?}", self.began.elapsed().as_secs_f64());
            self.next_at = now + APART;
            self.strike(world, fault);
        }
    }

    /// Whether everything was struck, and all of it is well again.
    pub(crate) fn is_done(&self) -> bool {
        self.struck == self.faults.len() && self.cures.is_empty()
    }

    fn strike(&mut self, world: &mut World, fault: Fault) {
        match fault {
            Fault::KillGateway => world.kill(0),
            Fault::KillProw => self.kill_one(world, "prow"),
            Fault::KillDatabase => {
                world.kill_database();
                self.later(3_000, Cure::RestartDatabase);
            }
            Fault::KillForgery => self.kill_one(world, "forgery"),
            Fault::KillNotifier => self.kill_one(world, "notifier"),
            Fault::ReplaceForgery => {
                let index = self.one_of(world, "forgery");
                world.replace(index);
            }
            // Longer than a lease.
            Fault::PauseForgery => {
                self.ledger.paused();
                self.pause(world, "forgery", 26);
            }
            Fault::PauseProw => self.pause(world, "prow", 8),
            Fault::PauseNotifier => self.pause(world, "notifier", 26),
            Fault::KillRedis => {
                self.kill_redis(world);
                self.later(700, Cure::RestartRedis);
            }
            Fault::RedisAway => {
                self.kill_redis(world);
                self.cures.push((Instant::now() + AWAY, Cure::RestartRedis));
                // The spool is found again by the next one.
                self.cures.push((Instant::now() + AWAY / 2, Cure::KillGateway));
                self.next_at = Instant::now() + AWAY + APART;
            }
            Fault::PowerLoss => {
                let gone = world.server.lose_power();
                self.lost(gone + world.server.unwritten());
                self.later(700, Cure::RestartRedis);
            }
            Fault::Failover => {
                // Writes that only the old primary had: bounded by `min-replicas-max-lag`.
                self.ledger.lost(REPLICA_LAG);
                world.server.kill();
            }
            Fault::DropConnections => drop(world.server.cli(&["CLIENT", "KILL", "TYPE", "normal"])),
            Fault::DropSubscribers => drop(world.server.cli(&["CLIENT", "KILL", "TYPE", "pubsub"])),
            Fault::StallRedis => {
                world.server.stall(true);
                self.later(8_000, Cure::Unstall);
            }
            Fault::FillRedis => {
                world.server.cli(&["CONFIG", "SET", "maxmemory", "1mb"]);
                self.later(5_000, Cure::EmptyRedis);
            }
            Fault::FillDisk => {
                let n = self.rng.usize(..crate::world::FORGERIES);
                fill(world, n);
                self.later(6_000, Cure::EmptyDisk(n));
            }
            Fault::KillEngine => {
                world.engine.kill();
                self.later(2_000, Cure::RestartEngine);
            }
            // It gives containers ten seconds.
            Fault::StopEngine => {
                world.engine.ask_to_stop();
                self.later(13_000, Cure::RestartEngine);
            }
            Fault::SlowReceiver => self.mood(world, Mood::Slow, 6_000),
            Fault::FailingReceiver => self.mood(world, Mood::Failing, 6_000),
            Fault::HangingReceiver => self.mood(world, Mood::Hanging, 8_000),
            Fault::RudeReceiver => self.mood(world, Mood::Rude, 6_000),
        }
    }

    fn kill_redis(&self, world: &mut World) {
        // While a sync to a slow disk is under way, Redis holds back writes that it has acknowledged.
        self.lost(world.server.unwritten());
        world.server.kill();
    }

    /// Redis has lost what it was told within this time. Of that, some may have waited in the spool for long.
    fn lost(&self, within: Duration) {
        let spooled = self.spooled.filter(|(_, last)| last.elapsed() <= within + APART);
        let within = spooled.map_or(within, |(since, _)| since.elapsed().max(within));
        self.ledger.lost(within);
    }

    fn cure(world: &mut World, cure: Cure) {
        match cure {
            Cure::Resume(index) => world.pause(index, false),
            Cure::RestartRedis => world.server.restart(),
            Cure::RestartDatabase => world.restart_database(),
            Cure::Unstall => world.server.stall(false),
            Cure::EmptyRedis => drop(world.server.cli(&["CONFIG", "SET", "maxmemory", "0"])),
            Cure::EmptyDisk(n) => drop(std::fs::remove_file(world.work_dir(n).join("filler"))),
            Cure::RestartEngine => world.engine.restart(),
            Cure::KillGateway => world.kill(0),
            Cure::KindReceiver => world.receiver.become_(Mood::Kind),
        }
    }

    /// One that runs, and was not asked to stop: stopped longer than its grace, or without Redis for so long, it ends
    /// with 75, as it says.
    fn one_of(&mut self, world: &World, name: &str) -> usize {
        let services = world.services.iter().enumerate();
        let running = services.filter(|(_, s)| s.name == name && s.process.is_some() && !s.paused && !s.stopping);
        let all: Vec<usize> = running.map(|(index, _)| index).collect();
        self.rng.choice(all).unwrap_or(1)
    }

    fn kill_one(&mut self, world: &mut World, name: &str) {
        let index = self.one_of(world, name);
        world.kill(index);
    }

    fn pause(&mut self, world: &mut World, name: &str, seconds: u64) {
        let index = self.one_of(world, name);
        world.pause(index, true);
        self.later(seconds * 1_000, Cure::Resume(index));
    }

    fn mood(&mut self, world: &World, mood: Mood, ms: u64) {
        world.receiver.become_(mood);
        self.later(ms, Cure::KindReceiver);
    }

    fn later(&mut self, ms: u64, cure: Cure) {
        self.cures.push((Instant::now() + Duration::from_millis(ms), cure));
    }
}

/// Fills the disk that a forgery works on.
fn fill(world: &World, n: usize) {
    let filler = format!("of={}", world.work_dir(n).join("filler").display());
    let full = Command::new("dd").args(["if=/dev/zero", "bs=64k", &filler]).output();
    assert!(!full.unwrap().status.success(), "the disk took everything");
}
