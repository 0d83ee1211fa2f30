//! What the containers of pipelines may take, and reach.

use bollard::models::HostConfig;
use chassis::{Setting, Values};

/// The limits of each container of a pipeline.
#[derive(Clone, Debug)]
pub(crate) struct Steps {
    /// 0 for no limit.
    pub(crate) memory_mib: u64,
    /// Processors, 0 for no limit.
    pub(crate) cpus: f64,
    /// Processes and threads, 0 for no limit.
    pub(crate) pids: i64,
    /// They reach neither the internet nor the engine's host.
    pub(crate) isolated: bool,
}

const MEMORY: Setting = Setting::new(
    "steps.memory_mib",
    "What each container of a pipeline may have in memory, in MiB; 0 for no limit",
)
.env(&["FORGERY_STEP_MEMORY_MIB"])
.default("4096");
const CPUS: Setting = Setting::new(
    "steps.cpus",
    "How many processors each container of a pipeline may use, such as 1.5; 0 for no limit",
)
.env(&["FORGERY_STEP_CPUS"])
.default("0");
const PIDS: Setting = Setting::new(
    "steps.pids",
    "How many processes and threads each container of a pipeline may have; 0 for no limit",
)
.env(&["FORGERY_STEP_PIDS"])
.default("4096");
const NETWORK: Setting = Setting::new(
    "steps.network",
    "What the containers of pipelines reach: internet, or isolated, that is only each other",
)
.env(&["FORGERY_STEP_NETWORK"])
.default("internet");

/// All of them.
pub(super) const SETTINGS: &[Setting] = &[MEMORY, CPUS, PIDS, NETWORK];

/// Most processors that may be asked for.
const MOST_CPUS: f64 = 1_024.0;

const MIB: u64 = 1_024 * 1_024;
/// What the engine calls a whole processor.
const PROCESSOR: f64 = 1_000_000_000.0;

// === impl Steps ===

impl Steps {
    /// The bounds as the engine takes them.
    pub(crate) fn host_config(&self) -> HostConfig {
        let memory = i64::try_from(self.memory_mib.saturating_mul(MIB)).unwrap_or(i64::MAX);
        let some = |n: i64| (n > 0).then_some(n);
        #[expect(clippy::cast_possible_truncation, reason = "at most 1,024 processors")]
        let processors = (self.cpus * PROCESSOR) as i64;
        HostConfig {
            memory: some(memory),
            memory_swap: some(memory), // Together with memory: so there is no swap.
            nano_cpus: some(processors),
            pids_limit: some(self.pids),
            ..HostConfig::default()
        }
    }

    pub(super) fn read(values: &mut Values) -> Option<Self> {
        let (memory_mib, pids) = (values.get(&MEMORY), values.get::<i64>(&PIDS));
        let cpus = values.within(&CPUS, 0.0..=MOST_CPUS);
        if pids.is_some_and(|pids| pids < 0) {
            values.refuse(&PIDS, "expected 0 or more");
        }
        let network: Option<String> = values.get(&NETWORK);
        let isolated = match network.as_deref() {
            Some("internet") => Some(false),
            Some("isolated") => Some(true),
            _ => {
                values.refuse(&NETWORK, "expected internet or isolated");
                None
            }
        };
        Some(Self {
            memory_mib: memory_mib?,
            cpus: cpus?,
            pids: pids?,
            isolated: isolated?,
        })
    }
}
