//! The scripts, each one effect, sent by hash and reloaded when Redis forgot them.

use crate::{Error, ErrorKind};
use fred::{
    clients::Client,
    types::{Value, scripts::Script},
};

/// Runs even when Redis is out of memory: consumers must be able to drain what filled it.
const DRAINS: &str = "#!lua flags=allow-oom\n";
const FILLS: &str = "#!lua\n";
/// What the scripts of a list share.
const LIST: &str = concat!(include_str!("../lua/lease.lua"), include_str!("../lua/prelude.lua"));
/// What those share that ask about workers alone.
const LEASES: &str = include_str!("../lua/lease.lua");
/// What the scripts of a courier share.
const COURIER: &str = include_str!("../lua/courier.lua");
/// And what a round of it begins with.
const ROUND: &str = concat!(
    include_str!("../lua/courier.lua"),
    include_str!("../lua/courier_settle.lua")
);
const ALONE: &str = "";

macro_rules! scripts {
    ($($name:ident: $flags:ident + $prelude:ident + $file:literal),+ $(,)?) => {
        /// Every script, ready to run.
        #[derive(Debug)]
        pub(crate) struct Scripts {
            $(pub(crate) $name: Script,)+
        }

        impl Scripts {
            pub(crate) fn new() -> Self {
                Self {
                    $($name: Script::from_lua([$flags, $prelude, include_str!($file)].concat()),)+
                }
            }
        }
    };
}

scripts! {
    enqueue: FILLS + LIST + "../lua/enqueue.lua",
    pick: DRAINS + LIST + "../lua/pick.lua",
    claim: DRAINS + LIST + "../lua/claim.lua",
    finish: DRAINS + LIST + "../lua/finish.lua",
    retry: DRAINS + LIST + "../lua/retry.lua",
    release: DRAINS + LIST + "../lua/release.lua",
    poison: DRAINS + LIST + "../lua/poison.lua",
    cancel: DRAINS + LIST + "../lua/cancel.lua",
    reap: DRAINS + LIST + "../lua/reap.lua",
    promote: DRAINS + LIST + "../lua/promote.lua",
    waiting: DRAINS + LIST + "../lua/waiting.lua",
    oldest: DRAINS + LIST + "../lua/oldest.lua",
    requeue: FILLS + LIST + "../lua/requeue.lua",
    beat: DRAINS + LEASES + "../lua/beat.lua",
    clock: DRAINS + LEASES + "../lua/clock.lua",
    holds: DRAINS + LEASES + "../lua/holds.lua",
    dead: DRAINS + LEASES + "../lua/dead.lua",
    forget: DRAINS + LEASES + "../lua/forget.lua",
    courier_look: DRAINS + COURIER + "../lua/courier_look.lua",
    courier_send: FILLS + COURIER + "../lua/courier_send.lua",
    courier_round: DRAINS + ROUND + "../lua/courier_round.lua",
    courier_hold: DRAINS + COURIER + "../lua/courier_hold.lua",
    courier_reap: DRAINS + COURIER + "../lua/courier_reap.lua",
    courier_turn: DRAINS + COURIER + "../lua/courier_turn.lua",
    courier_book: FILLS + COURIER + "../lua/courier_book.lua",
    courier_stats: DRAINS + COURIER + "../lua/courier_stats.lua",
    courier_between: DRAINS + COURIER + "../lua/courier_between.lua",
    courier_note: DRAINS + COURIER + "../lua/courier_note.lua",
    courier_again: DRAINS + COURIER + "../lua/courier_again.lua",
    log_append: FILLS + ALONE + "../lua/log_append.lua",
    log_read: DRAINS + ALONE + "../lua/log_read.lua",
    log_trim: DRAINS + ALONE + "../lua/log_trim.lua",
}

/// Runs a script; the answer is a list of values.
pub(crate) async fn run(
    client: &Client,
    script: &Script,
    operation: &'static str,
    keys: Vec<String>,
    args: Vec<Value>,
) -> Result<Answer, Error> {
    let key = keys.first().cloned().unwrap_or_default();
    // Boxed, because the client's future is large and is part of every future of the system.
    let answer: Value = Box::pin(script.evalsha_with_reload(client, keys, args))
        .await
        .map_err(|source| Error::redis(source, operation, &key))?;
    Ok(Answer {
        values: answer.into_array(),
        operation,
        key,
    })
}

/// What a script answered: a word and what belongs to it.
#[derive(Debug)]
pub(crate) struct Answer {
    values: Vec<Value>,
    operation: &'static str,
    key: String,
}

// === impl Answer ===

impl Answer {
    pub(crate) fn text(&self, n: usize) -> String {
        self.values.get(n).and_then(Value::as_string).unwrap_or_default()
    }

    pub(crate) fn number(&self, n: usize) -> u64 {
        self.values.get(n).and_then(Value::as_u64).unwrap_or_default()
    }

    pub(crate) fn signed(&self, n: usize) -> Option<i64> {
        self.values.get(n).and_then(Value::as_i64)
    }

    /// The first value as bytes, unless it is nil.
    pub(crate) fn into_bytes(self) -> Option<Vec<u8>> {
        self.values
            .into_iter()
            .next()
            .and_then(|v| v.as_bytes().map(<[u8]>::to_vec))
    }

    /// Every value as text.
    pub(crate) fn texts(&self) -> Vec<String> {
        self.values.iter().filter_map(Value::as_string).collect()
    }

    pub(crate) fn into_values(self) -> Vec<Value> {
        self.values
    }

    pub(crate) fn unexpected(&self) -> Error {
        Error::new(
            ErrorKind::Protocol(format!("{:?}", self.values)),
            self.operation,
            &self.key,
        )
    }
}
