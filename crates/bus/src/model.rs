//! The lease protocol under random schedules: every script in any order, by workers that die, sleep and
//! come back, against a real Redis. After each step the invariants must hold; in the end everything that
//! was ever sent has ended exactly once.

use crate::{Bus, Parcel, Producer, Settings, delivery::letter, keys::Keys, script};
use contract::{BuildQueueMessage, route};
use fred::{
    interfaces::{
        ClientLike as _, KeysInterface as _, ListInterface as _, LuaInterface as _, SortedSetsInterface as _,
    },
    types::{Value, lists::LMoveDirection},
};
use proptest::{
    collection::vec,
    prelude::*,
    test_runner::{Config, TestCaseError, TestRunner},
};
use std::collections::BTreeMap;
use testkit::Redis;

const JOBS: usize = 3;
const WORKERS: usize = 3;
const SLOTS: usize = 2;
const SCHEDULES: u32 = 400;
const STEPS: usize = 60;
/// So many rounds of a single worker finish whatever a schedule can leave.
const DRAINS: usize = 12;

/// Everything about every job, at one moment.
const LOOK: &str = r"
local function count(key, wanted)
  local n = 0
  for _, item in ipairs(redis.call('LRANGE', key, 0, -1)) do
    if item == wanted then n = n + 1 end
  end
  return n
end
local jobs = {}
for n = 0, ARGV[2] - 1 do
  local job = {lists = 0, slots = ''}
  local names = {'state', 'attempt', 'slot', 'cancel', 'payload'}
  for i, value in ipairs(redis.call('HMGET', ARGV[1] .. n, unpack(names))) do
    if value then job[names[i]] = value end
  end
  for i = 1, 3 do job.lists = job.lists + count(KEYS[i], 'payload-' .. n) end
  job.delayed = redis.call('ZSCORE', KEYS[4], 'job-' .. n) and true or false
  job.ends = count(KEYS[5], 'end-' .. n)
  for i = 6, #KEYS do
    if count(KEYS[i], 'payload-' .. n) > 0 then job.slots = job.slots .. ' ' .. KEYS[i] end
  end
  jobs[n + 1] = job
end
return cjson.encode(jobs)
";

/// One step of a schedule. Every step is possible at any time; some do nothing then.
#[derive(Clone, Copy, Debug)]
enum Step {
    Enqueue(usize, usize),
    /// Somebody else's plain LPUSH, perhaps of what is there already.
    Push(usize),
    Pick(usize, usize),
    /// A blocked reader is served although nobody waits for its answer any more.
    Move(usize, usize),
    /// In one of the slots that hold something.
    Claim(usize),
    Beat(usize),
    /// The lease runs out. The worker itself may go on, not knowing.
    Expire(usize),
    Reap(usize),
    /// By one of those who believe to run something, rightly or not.
    Finish(usize),
    Retry(usize),
    Release(usize),
    Cancel(usize),
    /// All pauses are over.
    Promote,
    Pause(bool),
    /// Somebody deletes the list and its lanes.
    Lose,
    Repair(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let (job, worker) = (0..JOBS, 0..WORKERS);
    let any_one = || 0..WORKERS * SLOTS;
    let place = || (0..WORKERS, 0..SLOTS);
    prop_oneof![
        3 => (job.clone(), 0..3_usize).prop_map(|(job, lane)| Step::Enqueue(job, lane)),
        2 => job.clone().prop_map(Step::Push),
        8 => place().prop_map(|(w, s)| Step::Pick(w, s)),
        2 => place().prop_map(|(w, s)| Step::Move(w, s)),
        10 => any_one().prop_map(Step::Claim),
        2 => worker.clone().prop_map(Step::Beat),
        3 => worker.clone().prop_map(Step::Expire),
        5 => worker.prop_map(Step::Reap),
        3 => any_one().prop_map(Step::Finish),
        4 => any_one().prop_map(Step::Retry),
        2 => any_one().prop_map(Step::Release),
        1 => job.clone().prop_map(Step::Cancel),
        2 => Just(Step::Promote),
        1 => any::<bool>().prop_map(Step::Pause),
        1 => Just(Step::Lose),
        2 => job.prop_map(Step::Repair),
    ]
}

/// A list in Redis, and what the workers believe.
struct Bench {
    bus: Bus,
    producer: Producer<BuildQueueMessage>,
    keys: Keys,
    /// Who believes to run what: slot, job and attempt. Of one slot too there may be several, when a task died
    /// and its last words are on their way.
    beliefs: Vec<(String, usize, u64)>,
    alive: [bool; WORKERS],
    /// What was last seen of each job: state and attempt.
    seen: BTreeMap<usize, (String, u64)>,
    sent: [bool; JOBS],
    /// The list was deleted since; only the producer knows of the job.
    may_be_gone: [bool; JOBS],
}

/// A job's record, and where it is.
#[derive(Debug, Default)]
struct Picture {
    state: String,
    attempt: u64,
    slot: String,
    cancel: bool,
    in_lists: usize,
    in_slots: Vec<String>,
    delayed: bool,
    kept: bool,
    ends: usize,
}

// === impl Bench ===

impl Bench {
    async fn new(url: &str) -> Self {
        let bus = Bus::start(Settings::new(url)).unwrap();
        bus.ready().await.unwrap();
        let keys = Keys::new(&route::builds());
        Self {
            producer: bus.producer(&route::builds()),
            bus,
            keys,
            beliefs: Vec::new(),
            alive: [true; WORKERS],
            seen: BTreeMap::new(),
            sent: [false; JOBS],
            may_be_gone: [false; JOBS],
        }
    }

    /// Forgets everything, for the next schedule.
    async fn clear(&mut self) {
        self.bus.client().flushall::<()>(false).await.unwrap();
        self.beliefs.clear();
        self.seen.clear();
        self.sent = [false; JOBS];
        self.may_be_gone = [false; JOBS];
        for w in 0..WORKERS {
            self.take(Step::Beat(w)).await.unwrap();
        }
    }

    fn slot(&self, w: usize, s: usize) -> String {
        self.keys.slot(&worker(w), s)
    }

    fn lists() -> [String; 3] {
        ["forge:builds", "{forge:builds}:high", "{forge:builds}:low"].map(ToOwned::to_owned)
    }

    async fn run(&self, name: &'static str, slot: &str, job: &str, args: Vec<Value>) -> Vec<String> {
        let scripts = self.bus.scripts();
        let script = match name {
            "pick" => &scripts.pick,
            "claim" => &scripts.claim,
            "finish" => &scripts.finish,
            "retry" => &scripts.retry,
            "release" => &scripts.release,
            "cancel" => &scripts.cancel,
            "reap" => &scripts.reap,
            "promote" => &scripts.promote,
            _ => &scripts.requeue,
        };
        let keys = self.keys.all(slot, job);
        script::run(self.bus.client(), script, name, keys, args)
            .await
            .unwrap()
            .texts()
    }

    /// Takes one step; the answer must be what the picture before it allows.
    async fn take(&mut self, step: Step) -> Result<(), TestCaseError> {
        match step {
            Step::Pick(w, s) => {
                let order = self.keys.order(1).into_iter().map(Value::from).collect();
                self.run("pick", &self.slot(w, s), self.keys.list(), order).await;
            }
            Step::Move(w, s) => {
                let (right, left) = (LMoveDirection::Right, LMoveDirection::Left);
                let moved = self
                    .bus
                    .client()
                    .lmove(self.keys.list(), self.slot(w, s), right, left)
                    .await;
                let _moved: Value = moved.unwrap();
            }
            Step::Claim(nth) => {
                let mut slots: Vec<String> = self.pictures().await.into_iter().flat_map(|p| p.in_slots).collect();
                slots.sort_unstable();
                slots.dedup();
                if let Some(slot) = slots.get(nth % slots.len().max(1)) {
                    self.claim(slot).await?;
                }
            }
            Step::Beat(w) => {
                self.alive[w] = true;
                let args = vec![worker(w).into(), "60000".into()];
                let keys = vec![self.keys.workers().to_owned()];
                let beat = &self.bus.scripts().beat;
                script::run(self.bus.client(), beat, "beat", keys, args).await.unwrap();
            }
            Step::Expire(w) => {
                self.expire(&worker(w), self.keys.workers()).await;
                self.alive[w] = false;
            }
            Step::Reap(w) => self.reap(w).await?,
            Step::Finish(nth) => self.settle("finish", nth, "done", &[]).await?,
            Step::Retry(nth) => self.settle("retry", nth, "delayed", &["done"]).await?,
            Step::Release(nth) => self.settle("release", nth, "released", &["done"]).await?,
            Step::Enqueue(..)
            | Step::Push(_)
            | Step::Cancel(_)
            | Step::Promote
            | Step::Pause(_)
            | Step::Lose
            | Step::Repair(_) => self.meddle(step).await?,
        }
        Ok(())
    }

    /// What others do to the list than those who work on it.
    async fn meddle(&mut self, step: Step) -> Result<(), TestCaseError> {
        match step {
            Step::Enqueue(job, lane) => {
                let lane = ["", "high", "low"][lane];
                let parcel = Parcel {
                    id: id(job),
                    payload: payload(job).into(),
                    lane: lane.to_owned(),
                    once: None,
                    copy_to: None,
                };
                self.producer.send_parcel(parcel).await.unwrap();
                self.sent[job] = true;
            }
            Step::Push(job) => {
                let pushed: u64 = self.bus.client().lpush(self.keys.list(), payload(job)).await.unwrap();
                prop_assert!(pushed > 0);
                self.sent[job] = true;
                self.may_be_gone[job] = false;
            }
            Step::Cancel(job) => self.cancel(job).await,
            Step::Promote => self.promote().await,
            Step::Pause(true) => {
                let set = self
                    .bus
                    .client()
                    .set(&self.keys.all("", "")[5], "1", None, None, false)
                    .await;
                let _set: Value = set.unwrap();
            }
            Step::Pause(false) => drop(
                self.bus
                    .client()
                    .del::<Value, _>(&self.keys.all("", "")[5])
                    .await
                    .unwrap(),
            ),
            Step::Lose => {
                let _gone: u64 = self.bus.client().del(Self::lists().to_vec()).await.unwrap();
                self.may_be_gone = [true; JOBS];
            }
            Step::Repair(job) if self.sent[job] => {
                let args = vec![payload(job).into(), id(job).into()];
                self.run("requeue", self.keys.list(), &self.job(job), args).await;
                self.may_be_gone[job] = false;
            }
            Step::Repair(_)
            | Step::Pick(..)
            | Step::Move(..)
            | Step::Claim(_)
            | Step::Beat(_)
            | Step::Expire(_)
            | Step::Reap(_)
            | Step::Finish(_)
            | Step::Retry(_)
            | Step::Release(_) => {}
        }
        Ok(())
    }

    async fn cancel(&self, job: usize) {
        let args = vec![
            "cancelled".into(),
            end(job).into(),
            "1000".into(),
            id(job).into(),
            "c".into(),
            "r".into(),
        ];
        self.run("cancel", self.keys.list(), &self.job(job), args).await;
    }

    async fn promote(&self) {
        let delayed: Vec<String> = self.zset(&self.keys.all("", "")[1]).await;
        for id in delayed {
            self.expire(&id, &self.keys.all("", "")[1].clone()).await;
        }
        let args = vec![self.keys.job("").into(), "100".into()];
        self.run("promote", self.keys.list(), self.keys.list(), args).await;
    }

    async fn claim(&mut self, slot: &str) -> Result<(), TestCaseError> {
        let w = self.owner(slot);
        let held: Option<String> = self.bus.client().lindex(slot, -1).await.unwrap();
        let Some(job) = held.as_deref().and_then(job_of) else {
            return Ok(());
        };
        let before = self.picture(job).await;
        let paused: bool = self.bus.client().exists(&self.keys.all("", "")[5]).await.unwrap();
        let why = letter(&id(job), "test");
        let args = vec![
            payload(job).into(),
            worker(w).into(),
            "1000".into(),
            id(job).into(),
            end(job).into(),
            why.into(),
        ];
        let answer = self.run("claim", slot, &self.job(job), args).await;
        if answer[0] == "run" {
            prop_assert!(!is_end(&before.state), "what has ended ran again: {before:?}");
            prop_assert!(!before.cancel, "what was cancelled ran again: {before:?}");
            prop_assert!(!paused, "a paused list gave work");
            let elsewhere = before.state == "running" && before.slot != slot;
            prop_assert!(
                !elsewhere || !self.alive[self.owner(&before.slot)],
                "it runs already: {before:?}"
            );
            prop_assert_eq!(answer[1].parse::<u64>().unwrap(), before.attempt + 1);
            self.beliefs.push((slot.to_owned(), job, before.attempt + 1));
        }
        Ok(())
    }

    /// Only the attempt that the record names may settle; all others learn that they are late.
    async fn settle(&mut self, name: &'static str, nth: usize, good: &str, also: &[&str]) -> Result<(), TestCaseError> {
        if self.beliefs.is_empty() {
            return Ok(());
        }
        let (slot, job, attempt) = self.beliefs.remove(nth % self.beliefs.len());
        let before = self.picture(job).await;
        let head = [Value::from(payload(job)), attempt.to_string().into()];
        let more: Vec<Value> = match name {
            "finish" => vec!["success".into(), end(job).into(), "1000".into(), "".into()],
            "retry" => vec![
                "60000".into(),
                "3".into(),
                id(job).into(),
                "".into(),
                "failed".into(),
                end(job).into(),
                "1000".into(),
                "".into(),
            ],
            _ => vec!["".into(), "1000".into()],
        };
        let args = head.into_iter().chain(more).collect();
        let answer = self.run(name, &slot, &self.job(job), args).await;
        let mine = before.state == "running" && before.attempt == attempt && before.slot == slot;
        let settled = answer[0] == good || also.contains(&answer[0].as_str());
        prop_assert_eq!(mine, settled, "{} answered {:?} over {:?}", name, answer, before);
        if name != "finish" && mine && before.cancel {
            prop_assert_eq!(self.picture(job).await.state, "cancelled");
        }
        Ok(())
    }

    async fn reap(&mut self, w: usize) -> Result<(), TestCaseError> {
        for s in 0..SLOTS {
            let slot = self.slot(w, s);
            let held: Vec<String> = self.bus.client().lrange(&slot, 0, -1).await.unwrap();
            for text in held {
                let Some(job) = job_of(&text) else { continue };
                let before = self.picture(job).await;
                let why = letter(&id(job), "test");
                let args = vec![
                    worker(w).into(),
                    text.into(),
                    "3".into(),
                    end(job).into(),
                    "1000".into(),
                    why.into(),
                ];
                let answer = self.run("reap", &slot, &self.job(job), args).await;
                prop_assert_eq!(self.alive[w], answer[0] == "alive");
                let elsewhere = before.state == "running" && before.slot != slot;
                if elsewhere && !self.alive[w] {
                    let after = self.picture(job).await;
                    let same = after.state == "running" && after.slot == before.slot;
                    prop_assert!(same, "its copy was reaped, not it: {before:?} {after:?}");
                }
                if answer[0] == "requeued" {
                    prop_assert!(!before.cancel && !is_end(&before.state), "{before:?}");
                }
            }
        }
        Ok(())
    }

    /// What must hold whatever has happened so far.
    async fn check(&mut self) -> Result<(), TestCaseError> {
        for (job, now) in self.pictures().await.into_iter().enumerate() {
            let before = self.seen.insert(job, (now.state.clone(), now.attempt));
            if let Some((state, attempt)) = before {
                prop_assert!(attempt <= now.attempt, "attempts went back: {now:?}");
                prop_assert!(!is_end(&state) || state == now.state, "{state} became {now:?}");
            }
            prop_assert_eq!(
                now.ends,
                usize::from(is_end(&now.state)),
                "one end, one event: {:?}",
                now
            );
            let present = now.in_lists > 0 || !now.in_slots.is_empty() || (now.delayed && now.kept);
            let lost = !present && !is_end(&now.state) && self.sent[job] && !self.may_be_gone[job];
            prop_assert!(!lost, "it is nowhere: {now:?}");
            if now.state == "running" {
                prop_assert!(
                    now.attempt > 0 && now.in_slots.contains(&now.slot),
                    "runs nowhere: {now:?}"
                );
            }
            prop_assert_eq!(now.state == "delayed", now.delayed, "{:?}", now);
        }
        Ok(())
    }

    /// Lets one good worker do everything that is left.
    async fn drain(&mut self) -> Result<(), TestCaseError> {
        self.beliefs.clear();
        self.take(Step::Pause(false)).await?;
        for w in 1..WORKERS {
            self.take(Step::Expire(w)).await?;
            self.take(Step::Reap(w)).await?;
        }
        self.take(Step::Beat(0)).await?;
        for job in 0..JOBS {
            self.take(Step::Repair(job)).await?;
        }
        for _ in 0..DRAINS {
            for s in 0..SLOTS {
                self.take(Step::Promote).await?;
                self.take(Step::Pick(0, s)).await?;
                self.claim(&self.slot(0, s)).await?;
                self.take(Step::Finish(0)).await?;
            }
            self.check().await?;
        }
        for (job, now) in self.pictures().await.into_iter().enumerate() {
            prop_assert_eq!(
                is_end(&now.state),
                self.sent[job] || now.cancel || now.ends > 0,
                "job {}: {:?}",
                job,
                now
            );
            prop_assert!(
                now.in_lists == 0 && now.in_slots.is_empty() && !now.delayed,
                "left behind: {now:?}"
            );
        }
        Ok(())
    }

    async fn picture(&self, job: usize) -> Picture {
        self.pictures().await.swap_remove(job)
    }

    /// All jobs at one moment.
    async fn pictures(&self) -> Vec<Picture> {
        let all = self.keys.all("", "");
        let slots = (0..WORKERS)
            .flat_map(|w| (0..SLOTS).map(move |s| (w, s)))
            .map(|(w, s)| self.slot(w, s));
        let keys: Vec<String> = Self::lists()
            .into_iter()
            .chain([all[1].clone(), all[3].clone()])
            .chain(slots)
            .collect();
        let args = vec![self.keys.job("job-"), JOBS.to_string()];
        let text: String = self.bus.client().eval(LOOK, keys, args).await.unwrap();
        let jobs: Vec<serde_json::Value> = serde_json::from_str(&text).unwrap();
        let picture = |v: &serde_json::Value| {
            let field = |name: &str| v[name].as_str().unwrap_or_default().to_owned();
            let slots = v["slots"].as_str().unwrap_or_default();
            Picture {
                state: field("state"),
                attempt: field("attempt").parse().unwrap_or_default(),
                slot: field("slot"),
                cancel: v["cancel"].is_string(),
                kept: v["payload"].is_string(),
                in_lists: usize::try_from(v["lists"].as_u64().unwrap()).unwrap(),
                in_slots: slots.split_whitespace().map(ToOwned::to_owned).collect(),
                delayed: v["delayed"].as_bool().unwrap(),
                ends: usize::try_from(v["ends"].as_u64().unwrap()).unwrap(),
            }
        };
        jobs.iter().map(picture).collect()
    }

    async fn zset(&self, key: &str) -> Vec<String> {
        self.bus
            .client()
            .zrange(key, 0, -1, None, false, None, false)
            .await
            .unwrap()
    }

    /// Sets the time that a member stands for to long ago.
    async fn expire(&self, member: &str, key: &str) {
        let there = Some(fred::types::SetOptions::XX);
        let changed = self
            .bus
            .client()
            .zadd(key, there, None, false, false, (1.0, member))
            .await;
        let _changed: Value = changed.unwrap();
    }

    /// The worker that a slot belongs to.
    fn owner(&self, slot: &str) -> usize {
        let whose = |w: &usize| (0..SLOTS).any(|s| self.slot(*w, s) == slot);
        (0..WORKERS).find(whose).unwrap_or_default()
    }

    fn job(&self, job: usize) -> String {
        self.keys.job(&id(job))
    }
}

fn id(job: usize) -> String {
    format!("job-{job}")
}

fn payload(job: usize) -> String {
    format!("payload-{job}")
}

fn end(job: usize) -> String {
    format!("end-{job}")
}

fn job_of(payload: &str) -> Option<usize> {
    payload.strip_prefix("payload-")?.parse().ok()
}

fn worker(w: usize) -> String {
    format!("worker-{w}.{SLOTS}")
}

fn is_end(state: &str) -> bool {
    !["", "queued", "running", "delayed"].contains(&state)
}

#[test]
fn no_schedule_loses_doubles_or_strands_a_message() {
    testkit::crypto();
    let redis = Redis::start();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let bench = runtime.block_on(Bench::new(&redis.unix_url()));
    let bench = std::cell::RefCell::new(bench);
    let config = Config {
        cases: SCHEDULES,
        failure_persistence: None,
        ..Config::default()
    };
    let schedules = vec(step(), 1..STEPS);
    let ran = TestRunner::new(config).run(&schedules, |schedule| {
        let mut bench = bench.borrow_mut();
        runtime.block_on(async {
            bench.clear().await;
            for step in schedule {
                bench.take(step).await?;
                bench.check().await?;
            }
            bench.drain().await
        })
    });
    if let Err(failed) = ran {
        panic!("{failed}");
    }
}
