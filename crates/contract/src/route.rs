//! Every list and channel of the system, named once.
//!
//! Side keys of a list `L` live at `{L}:…`; where `L` already contains a hash tag, at `L:…`. They
//! hash to the same Redis Cluster slot as `L`, so that one script may touch them all.

use crate::{
    BuildEvent, BuildQueueMessage, DeploymentEvent, DeploymentQueueMessage, Message, Notification, QueueType,
    WebhookDelivery, WorkerReport,
};
use std::{borrow::Cow, marker::PhantomData, time::Duration};

/// A Redis list that carries one kind of message, and the bounds it lives within.
#[derive(Debug)]
pub struct List<T> {
    name: Cow<'static, str>,
    /// Its bounds.
    pub limits: Limits,
    carries: PhantomData<fn(T) -> T>,
}

/// The bounds of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Longest message, in bytes; longer ones are refused, or dead letters if somebody pushed them.
    pub message_bytes: usize,
    /// Most waiting messages; past it, producers are refused.
    pub items: u64,
    /// Most memory of waiting messages, in bytes; past it, producers are refused.
    pub total_bytes: u64,
    /// Extra lanes beside the list itself, with their weights.
    pub lanes: &'static [Lane],
    /// Most failed attempts before a message is given up.
    pub attempts: u32,
    /// Most dead workers before a message is given up.
    pub crashes: u32,
    /// How long the record of a finished message is kept, to recognise it if it comes again.
    pub remember: Duration,
    /// First and longest pause between attempts; it doubles in between.
    pub pause: (Duration, Duration),
}

/// An extra lane of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lane {
    /// The last part of its key.
    pub name: &'static str,
    /// Of how many turns out of eight it is looked at first; the turns of a list's lanes follow one another.
    pub turns: u8,
    /// Whether it is looked at before the list itself on all other turns.
    pub first: bool,
}

/// A configured name that cannot be that of a list or channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected 1 to 128 printable characters without spaces and braces")]
#[non_exhaustive]
pub struct InvalidName;

/// Most dead letters that are kept per list.
pub const DEAD_LETTERS: u64 = 10_000;

/// Channel on which each prow tells every prow what has changed.
pub const UPDATES: &str = "forge:updates";

/// Channel on which cancel requests travel; payload [`crate::CancelRequest`].
pub const CANCEL: &str = "forge:cancel";

/// First part of the keys of live logs.
pub const LOGS: &str = "forge:logs:";

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;
const DAY: Duration = Duration::from_hours(24);

const PLAIN: Limits = Limits {
    message_bytes: 64 * KIB,
    items: 100_000,
    total_bytes: 64 * MIB as u64,
    lanes: &[],
    attempts: 1_000,
    crashes: 10,
    remember: Duration::from_hours(1),
    pause: (Duration::from_secs(1), Duration::from_secs(30)),
};

/// gateway → prow: webhooks. A lane for each [`crate::QueueType`] but the default one, which is the list itself:
/// whatever floods one of them, each other is looked at first on turns of its own.
pub const fn webhooks() -> List<WebhookDelivery> {
    const fn lane(queue: QueueType, turns: u8) -> Lane {
        Lane {
            name: queue.as_str(),
            turns,
            first: false,
        }
    }
    const LANES: &[Lane] = &[
        lane(QueueType::Deployment, 3),
        lane(QueueType::Validation, 2),
        lane(QueueType::Workflow, 1),
        lane(QueueType::Recovery, 1),
    ];
    List::fixed(
        "forge:webhooks",
        Limits {
            message_bytes: 32 * MIB,
            items: 10_000,
            total_bytes: 256 * MIB as u64,
            lanes: LANES,
            remember: Duration::from_hours(96),
            ..PLAIN
        },
    )
}

/// prow and others → forgery: builds.
pub const fn builds() -> List<BuildQueueMessage> {
    const LANES: &[Lane] = &[
        Lane {
            name: "high",
            turns: 0,
            first: true,
        },
        Lane {
            name: "low",
            turns: 1,
            first: false,
        },
    ];
    List::fixed(
        "forge:builds",
        Limits {
            message_bytes: 256 * KIB,
            items: 10_000,
            total_bytes: 64 * MIB as u64,
            lanes: LANES,
            attempts: 3,
            crashes: 3,
            remember: Duration::from_hours(168),
            pause: (Duration::from_secs(30), Duration::from_mins(15)),
        },
    )
}

/// forgery → prow: what happens to the builds of this list.
pub fn build_events(builds: &List<BuildQueueMessage>) -> List<BuildEvent> {
    let name = builds.side_key("events").into();
    List {
        name,
        limits: Limits {
            message_bytes: 512 * KIB,
            ..PLAIN
        },
        carries: PhantomData,
    }
}

/// prow → forgery: deployments.
pub const fn deployments() -> List<DeploymentQueueMessage> {
    List::fixed(
        "forge:deployments",
        Limits {
            attempts: 3,
            crashes: 3,
            remember: Duration::from_hours(168),
            pause: (Duration::from_secs(5), Duration::from_mins(1)),
            ..PLAIN
        },
    )
}

/// forgery → prow: what happens to the deployments of this list.
pub fn deployment_events(deployments: &List<DeploymentQueueMessage>) -> List<DeploymentEvent> {
    let name = deployments.side_key("events").into();
    List {
        name,
        limits: PLAIN,
        carries: PhantomData,
    }
}

/// forgery → prow: what each worker does. Old reports are of no use, so few are kept.
pub const fn workers() -> List<WorkerReport> {
    List::fixed(
        "forge:workers",
        Limits {
            message_bytes: 16 * KIB,
            items: 1_000,
            total_bytes: 4 * MIB as u64,
            attempts: 10,
            remember: Duration::from_mins(1),
            ..PLAIN
        },
    )
}

/// prow and others → notifier: lifecycle events.
pub const fn notifications() -> List<Notification> {
    List::fixed("forge:notifications", Limits { remember: DAY, ..PLAIN })
}

/// The list of a build's log; the channel has the same name.
pub fn logs(build: &crate::BuildId) -> String {
    format!("{LOGS}{build}")
}

/// Checks a name that came from configuration.
///
/// # Errors
/// When it could not be a key with a hash tag around it.
pub fn check_name(name: &str) -> Result<&str, InvalidName> {
    let fits = (1..=128).contains(&name.len()) && name.chars().all(|c| c.is_ascii_graphic() && !"{}".contains(c));
    if fits { Ok(name) } else { Err(InvalidName) }
}

// === impl List ===

impl<T> List<T> {
    const fn fixed(name: &'static str, limits: Limits) -> Self {
        Self {
            name: Cow::Borrowed(name),
            limits,
            carries: PhantomData,
        }
    }
}

impl<T: Message> List<T> {
    /// The key of the list.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The same list under another name.
    ///
    /// # Errors
    /// When the name cannot be a key with a hash tag around it.
    pub fn named(self, name: &str) -> Result<Self, InvalidName> {
        Ok(Self {
            name: Cow::Owned(check_name(name)?.to_owned()),
            ..self
        })
    }

    /// The same list with other bounds.
    #[must_use]
    pub fn limited(self, change: impl FnOnce(&mut Limits)) -> Self {
        let mut list = self;
        change(&mut list.limits);
        list
    }

    /// A key beside the list, in the same Cluster slot.
    pub fn side_key(&self, last: &str) -> String {
        side_key(&self.name, last)
    }
}

impl<T> Clone for List<T> {
    fn clone(&self) -> Self {
        Self {
            name: self.name.clone(),
            limits: self.limits,
            carries: PhantomData,
        }
    }
}

/// A key beside `key`, in the same Cluster slot.
///
/// # Examples
/// ```
/// use contract::route::side_key;
/// assert_eq!(side_key("forge:builds", "dead"), "{forge:builds}:dead");
/// assert_eq!(side_key("{forge:builds}:events", "dead"), "{forge:builds}:events:dead");
/// ```
pub fn side_key(key: &str, last: &str) -> String {
    if key.contains('{') {
        format!("{key}:{last}")
    } else {
        format!("{{{key}}}:{last}")
    }
}
