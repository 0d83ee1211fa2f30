//! One event to many addressees, each at its own pace: who is slow, away or gone delays nobody else.
//!
//! Unlike a list, which workers empty in turn, a courier keeps what is due for each addressee apart, with the addressee's
//! pace (how many at once, how many a second) and health (failures in a row, which break its circuit). What is taken is
//! held by a lease with a fencing token; each change is one script.

use crate::{Bus, Error, script};
use bytes::Bytes;
use contract::{Message, route::List};
use fred::{
    interfaces::{HashesInterface as _, SortedSetsInterface as _},
    types::Value,
};
use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

mod announcements;
mod book;
mod intake;
mod notes;

pub use announcements::Announcement;
pub use intake::{Event, Intake};

/// Carries what happened to whoever wants to know; cheap to clone.
#[derive(Clone, Debug)]
pub struct Courier {
    bus: Bus,
    prefix: String,
}

/// One delivery, taken: it is ours until its lease ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    /// The event and the addressee: `<event>/<addressee>`.
    pub id: String,
    /// Which time it was taken; whoever took it before has lost it.
    pub token: u64,
    /// How many attempts have failed.
    pub failures: u32,
    /// When it was sent, in milliseconds since the Unix epoch, by Redis's clock.
    pub sent_ms: i64,
    /// To whom.
    pub to: String,
    /// What.
    pub payload: Bytes,
}

/// What came of a round, and when the next may bring more.
#[derive(Debug, Default)]
pub struct Round {
    /// What came of each report, in the same order.
    pub told: Vec<Told>,
    /// The deliveries that were taken.
    pub taken: Vec<Taken>,
    /// How long until there may be more; `None` while nothing waits.
    pub wait: Option<Duration>,
}

/// What becomes of a delivery after an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It has arrived.
    Done,
    /// It never will.
    Dead,
    /// It failed, and is tried again after this time.
    Again(Duration),
    /// It was not tried, and is after this time.
    Later(Duration),
}

/// What an attempt says of its addressee.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// It answers.
    Well,
    /// It does not, or not as it should.
    Ill,
    /// Nothing.
    Unknown,
    /// It answers, and refuses what it gets: no reason to leave it alone, but to give it up some day.
    Refusing,
    /// It refuses what it gets for now, and asks to be left alone for so long.
    Busy(Duration),
    /// It does not answer as it should, and asks to be left alone for so long.
    Overloaded(Duration),
    /// Nothing, but that it is to be left alone for so long.
    Away(Duration),
    /// It wants nothing more, ever.
    Gone,
}

/// How an attempt went.
#[derive(Clone, Debug)]
pub struct Report {
    /// The delivery.
    pub id: String,
    /// With the token that it was taken with.
    pub token: u64,
    /// What becomes of it.
    pub fate: Fate,
    /// What is kept of the attempt, for people; nothing is, if it is empty.
    pub tried: String,
    /// What it says of the addressee.
    pub health: Health,
    /// Why it failed.
    pub why: String,
}

/// What came of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// What it said.
    Settled,
    /// Somebody else has it by now; nothing was changed.
    Stale,
    /// That, and the addressee's circuit is broken now.
    Opened,
    /// That, and the addressee is given up now.
    TurnedOff,
}

/// How an addressee takes deliveries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// So many at a time.
    pub at_once: u32,
    /// So many per second on average; 0: as they come.
    pub per_second: u32,
    /// Whether what is about one thing is delivered in the order in which it was sent, each when the one before it has
    /// ended.
    pub ordered: bool,
}

/// How long deliveries are held, and when an addressee is left alone. One for all couriers of a list.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// A delivery that was neither settled nor held again for so long is another's.
    pub lease: Duration,
    /// So many failures in a row break a circuit.
    pub failures: u32,
    /// It stays broken for so long at first, twice as long each time …
    pub first: Duration,
    /// … and this at most.
    pub longest: Duration,
    /// An addressee that has failed for so long is given up; failures further apart than a fifth of it are not one.
    pub give_up: Duration,
    /// So many deliveries may be out to one addressee, whatever its pace: others are to have room.
    pub most_of_one: u32,
}

/// How things stand with all deliveries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// How many are being tried, by anyone.
    pub held: u64,
    /// How many dead ones are kept.
    pub dead: u64,
    /// How many addressees are left alone, because they failed or asked for it.
    pub left_alone: u64,
    /// For how long the addressee that has waited for longest could have been sent something.
    pub lag: Duration,
}

/// A delivery as people see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The delivery.
    pub id: String,
    /// `to`, `event`, `state` (`waiting`, `sending`, `done`, `dead`), `failures`, `sent`, `due`, `ended`, `why`.
    pub fields: HashMap<String, String>,
    /// What was kept of each attempt, the newest 20, the oldest first.
    pub tries: Vec<String>,
}

/// Deliveries that wait for one addressee; further ones are dead at once.
pub const MOST_WAITING: usize = 100_000;
/// So many of one addressee are taken at once, unless it has a pace.
const SHARE: usize = 8;
/// Addressees per script.
const AT_ONCE: usize = 500;
/// A delivery that so many died over is dead.
const MOST_DEATHS: u32 = 10;

impl Bus {
    /// The courier for what comes by this list.
    pub fn courier<T: Message>(&self, list: &List<T>) -> Courier {
        Courier {
            bus: self.clone(),
            prefix: list.side_key("deliveries:"),
        }
    }
}

// === impl Courier ===

impl Courier {
    /// Makes a delivery of an event for each addressee; `about` is what it is about, for those that want order. Sending it
    /// again is harmless. Those are told whose deliveries are full: theirs is dead, and can be seen.
    ///
    /// # Errors
    /// When Redis is unreachable, or full; then some may have been made.
    pub async fn send(&self, event: &str, about: &str, payload: &Bytes, to: &[String]) -> Result<Vec<String>, Error> {
        self.send_kept(event, about, payload, to, false).await
    }

    /// The same of what may be of use for a few minutes only.
    async fn send_kept(
        &self,
        event: &str,
        about: &str,
        payload: &Bytes,
        to: &[String],
        is_brief: bool,
    ) -> Result<Vec<String>, Error> {
        let mut full = Vec::new();
        for to in to.chunks(AT_ONCE) {
            let mut args = vec![MOST_WAITING.to_string().into(), "".into(), "0".into()];
            listed(&mut args, [event, "", about, brief(is_brief)], payload, to);
            let answer = self.run(&self.bus.scripts().courier_send, "send", args).await?;
            full.extend(answer.texts());
        }
        Ok(full)
    }

    /// Says how attempts went, and takes at most so many deliveries that are due.
    ///
    /// # Errors
    /// When Redis is unreachable. Saying how attempts went once more is harmless; what Redis may have given us comes back
    /// when its lease ends.
    pub async fn round(&self, reports: &[Report], most: usize, patience: Patience) -> Result<Round, Error> {
        let ms = |duration: Duration| Value::from(duration.as_millis().to_string());
        let mut args = vec![
            patience.failures.to_string().into(),
            ms(patience.first),
            ms(patience.longest),
            ms(patience.give_up),
            most.to_string().into(),
            ms(patience.lease),
            SHARE.to_string().into(),
            patience.most_of_one.to_string().into(),
        ];
        for report in reports {
            let (fate, pause) = report.fate.words();
            args.extend([
                report.id.as_str().into(),
                report.token.to_string().into(),
                fate.into(),
                ms(pause),
                report.tried.as_str().into(),
                report.health.word().into(),
                report.why.as_str().into(),
                ms(report.health.alone()),
            ]);
        }
        let answer = self.run(&self.bus.scripts().courier_round, "deliver", args).await?;
        let wait = answer.signed(1).and_then(|ms| u64::try_from(ms).ok());
        let count = usize::try_from(answer.number(2)).unwrap_or_default();
        let mut values = answer.into_values().into_iter();
        let words = values.next().map(Value::into_array).unwrap_or_default();
        let values: Vec<_> = values.skip(2).collect();
        let (fields, payloads) = values.split_at_checked(2 * count).unwrap_or((&values, &[]));
        let payloads: HashMap<String, Bytes> = payloads.as_chunks::<2>().0.iter().filter_map(named).collect();
        let fields = fields.as_chunks::<2>().0.iter();
        Ok(Round {
            told: words.iter().map(told).collect(),
            taken: fields.filter_map(|fields| taken(fields, &payloads)).collect(),
            wait: wait.map(Duration::from_millis),
        })
    }

    /// Holds a delivery that is still being tried for another lease; whether it is still ours.
    ///
    /// # Errors
    /// When Redis is unreachable.
    pub async fn hold(&self, id: &str, token: u64, lease: Duration) -> Result<bool, Error> {
        let args = vec![
            id.into(),
            token.to_string().into(),
            lease.as_millis().to_string().into(),
        ];
        let answer = self.run(&self.bus.scripts().courier_hold, "hold", args).await?;
        Ok(answer.number(0) == 1)
    }

    /// Frees what is held by who has died; how many there were.
    ///
    /// # Errors
    /// When Redis is unreachable.
    pub async fn reap(&self) -> Result<u64, Error> {
        let args = vec![MOST_DEATHS.to_string().into()];
        let answer = self.run(&self.bus.scripts().courier_reap, "reap", args).await?;
        Ok(answer.number(0))
    }

    /// How things stand.
    ///
    /// # Errors
    /// When Redis is unreachable.
    pub async fn stats(&self) -> Result<Stats, Error> {
        let answer = self.run(&self.bus.scripts().courier_stats, "count", Vec::new()).await?;
        Ok(Stats {
            held: answer.number(0),
            dead: answer.number(1),
            left_alone: answer.number(2),
            lag: Duration::from_millis(answer.number(3)),
        })
    }

    /// Sets how an addressee takes deliveries.
    ///
    /// # Errors
    /// When Redis is unreachable.
    pub async fn pace(&self, to: &str, pace: Pace) -> Result<(), Error> {
        let args = [to.into(), "pace".into()].into_iter().chain(pace.words());
        self.turn(args.collect()).await
    }

    /// Gives an addressee up: nothing is sent to it, and what waits for it waits.
    ///
    /// # Errors
    /// When Redis is unreachable.
    pub async fn turn_off(&self, to: &str, why: &str) -> Result<(), Error> {
        self.turn(vec![to.into(), "off".into(), why.into()]).await
    }

    /// Tries an addressee again, whatever it did before.
    ///
    /// # Errors
    /// When Redis is unreachable.
    pub async fn turn_on(&self, to: &str) -> Result<(), Error> {
        self.turn(vec![to.into(), "on".into()]).await
    }

    async fn turn(&self, args: Vec<Value>) -> Result<(), Error> {
        let script = &self.bus.scripts().courier_turn;
        self.run(script, "turn", args).await.map(drop)
    }

    /// Delivers something again that has ended; why not, if it cannot be: `absent`, `waiting`, `off` or
    /// `forgotten`.
    ///
    /// # Errors
    /// When Redis is unreachable.
    pub async fn again(&self, id: &str) -> Result<Result<(), String>, Error> {
        let answer = self
            .run(&self.bus.scripts().courier_again, "again", vec![id.into()])
            .await?;
        Ok(match answer.text(0).as_str() {
            "ok" => Ok(()),
            other => Err(other.to_owned()),
        })
    }

    /// The pace and health of an addressee: `cap`, `rate`, `ordered`, `failures`, `open` (until when its circuit is
    /// broken), `off` (why it was given up), `off_at`; empty while nothing is known.
    ///
    /// # Errors
    /// When Redis is unreachable.
    pub async fn addressee(&self, to: &str) -> Result<HashMap<String, String>, Error> {
        let key = self.key("to:", to);
        let fields = self.bus.client().hgetall(&key).await;
        fields.map_err(|source| Error::redis(source, "look", &key))
    }

    /// The newest deliveries to an addressee, or the newest dead ones; the newest first.
    ///
    /// # Errors
    /// When Redis is unreachable.
    pub async fn newest(&self, to: Option<&str>, most: i64) -> Result<Vec<Record>, Error> {
        let key = to.map_or_else(|| self.key("dead", ""), |to| self.key("of:", to));
        let found = self
            .bus
            .client()
            .zrevrange(&key, 0, most.saturating_sub(1), false)
            .await;
        let ids: Vec<String> = found.map_err(|source| Error::redis(source, "list", &key))?;
        let mut records = Vec::new();
        for id in ids {
            records.extend(self.record(&id).await?); // What is not kept any more is not listed.
        }
        Ok(records)
    }

    /// The deliveries to an addressee that were sent in that time (ms since the Unix epoch), of the newest 1,000; the
    /// oldest first.
    ///
    /// # Errors
    /// When Redis is unreachable.
    pub async fn between(&self, to: &str, since: i64, until: i64) -> Result<Vec<String>, Error> {
        let args = vec![to.into(), since.to_string().into(), until.to_string().into()];
        let answer = self.run(&self.bus.scripts().courier_between, "list", args).await?;
        Ok(answer.texts())
    }

    /// One delivery.
    ///
    /// # Errors
    /// When Redis is unreachable.
    pub async fn record(&self, id: &str) -> Result<Option<Record>, Error> {
        let record = self.key("d:", id);
        let fields = self.bus.client().hgetall(&record).await;
        let fields: HashMap<String, String> = fields.map_err(|source| Error::redis(source, "look", &record))?;
        Ok((!fields.is_empty()).then(|| Record::new(id, fields)))
    }

    /// How many deliveries wait for an addressee, and how many dead ones there are in all.
    ///
    /// # Errors
    /// When Redis is unreachable.
    pub async fn count(&self, to: Option<&str>) -> Result<u64, Error> {
        let key = to.map_or_else(|| self.key("dead", ""), |to| self.key("due:", to));
        let failed = |source| Error::redis(source, "count", &key);
        let due: u64 = self.bus.client().zcard(&key).await.map_err(failed)?;
        let Some(to) = to else { return Ok(due) };
        // Those that are first in their lines are in both.
        let in_line: u64 = self.bus.client().hlen(self.key("lines:", to)).await.map_err(failed)?;
        Ok(due.max(in_line))
    }

    fn key(&self, kind: &str, name: &str) -> String {
        format!("{}{kind}{name}", self.prefix)
    }

    async fn run(
        &self,
        script: &fred::types::scripts::Script,
        operation: &'static str,
        args: Vec<Value>,
    ) -> Result<script::Answer, Error> {
        self.run_on(script, operation, &[], args).await
    }

    /// Runs a script that has to do with further keys.
    async fn run_on(
        &self,
        script: &fred::types::scripts::Script,
        operation: &'static str,
        keys: &[String],
        args: Vec<Value>,
    ) -> Result<script::Answer, Error> {
        let keys = [self.key("ready", "")]
            .into_iter()
            .chain(keys.iter().cloned())
            .collect();
        let args = [Value::from(self.prefix.as_str())].into_iter().chain(args).collect();
        script::run(self.bus.client(), script, operation, keys, args).await
    }
}

// === impl Record ===

impl Record {
    /// What was tried stands among the fields, each attempt by its token.
    fn new(id: &str, mut fields: HashMap<String, String>) -> Self {
        let token = |name: &str| name.strip_prefix('t').and_then(|token| token.parse::<u64>().ok());
        let tries = fields.extract_if(|name, _| token(name).is_some());
        let tries: BTreeMap<_, _> = tries.map(|(name, tried)| (token(&name), tried)).collect();
        Self {
            id: id.to_owned(),
            fields,
            tries: tries.into_values().collect(),
        }
    }
}

// === impl Pace ===

impl Pace {
    /// So many at a time, so many per second (0: as they come), in whatever order.
    pub const fn new(at_once: u32, per_second: u32) -> Self {
        Self {
            at_once,
            per_second,
            ordered: false,
        }
    }

    fn words(self) -> [Value; 3] {
        [
            self.at_once.to_string(),
            self.per_second.to_string(),
            u8::from(self.ordered).to_string(),
        ]
        .map(Value::from)
    }
}

// === impl Fate ===

impl Fate {
    const fn words(self) -> (&'static str, Duration) {
        match self {
            Self::Done => ("done", Duration::ZERO),
            Self::Dead => ("dead", Duration::ZERO),
            Self::Again(pause) => ("again", pause),
            Self::Later(pause) => ("later", pause),
        }
    }
}

// === impl Health ===

impl Health {
    /// For how long nothing goes to it.
    const fn alone(self) -> Duration {
        match self {
            Self::Busy(pause) | Self::Overloaded(pause) | Self::Away(pause) => pause,
            Self::Well | Self::Ill | Self::Unknown | Self::Refusing | Self::Gone => Duration::ZERO,
        }
    }

    const fn word(self) -> &'static str {
        match self {
            Self::Well => "well",
            Self::Ill | Self::Overloaded(_) => "ill",
            Self::Unknown | Self::Away(_) => "unknown",
            Self::Refusing | Self::Busy(_) => "refusing",
            Self::Gone => "gone",
        }
    }
}

/// How a script is told that something is of use for a few minutes only.
const fn brief(is_brief: bool) -> &'static str {
    if is_brief { "1" } else { "" }
}

/// Adds an event to those that a script sends: its name, the key of its record, if it waits on a list, what it is about, and
/// how long it is of use; and its addressees.
fn listed(args: &mut Vec<Value>, [event, record, about, brief]: [&str; 4], payload: &Bytes, to: &[String]) {
    args.extend([
        event.into(),
        payload.clone().into(),
        record.into(),
        about.into(),
        brief.into(),
        to.len().to_string().into(),
    ]);
    args.extend(to.iter().map(|to| Value::from(to.as_str())));
}

fn told(word: &Value) -> Told {
    match word.as_string().as_deref() {
        Some("stale") => Told::Stale,
        Some("opened") => Told::Opened,
        Some("off") => Told::TurnedOff,
        _ => Told::Settled,
    }
}

fn named([name, payload]: &[Value; 2]) -> Option<(String, Bytes)> {
    Some((name.as_string()?, Bytes::copy_from_slice(payload.as_bytes()?)))
}

fn taken([id, numbers]: &[Value; 2], payloads: &HashMap<String, Bytes>) -> Option<Taken> {
    let id = id.as_string()?;
    let (event, to) = id.split_once('/')?;
    let numbers = numbers.as_str()?;
    let mut numbers = numbers.split(' ');
    Some(Taken {
        token: numbers.next()?.parse().ok()?,
        failures: numbers.next()?.parse().ok()?,
        sent_ms: numbers.next()?.parse().ok()?,
        to: to.to_owned(),
        payload: payloads.get(event)?.clone(),
        id,
    })
}

#[cfg(test)]
mod tests;
