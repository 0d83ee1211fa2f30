//! The keys of one list, in the order in which every script takes them.

use contract::{Message, route::List};

/// How many keys come before the lanes.
const FIXED: usize = 8;

/// Names of everything that belongs to one list.
#[derive(Clone, Debug)]
pub(crate) struct Keys {
    list: String,
    delayed: String,
    dead: String,
    events: String,
    workers: String,
    paused: String,
    lanes: Vec<(String, contract::route::Lane)>,
    side: String,
}

// === impl Keys ===

impl Keys {
    pub(crate) fn new<T: Message>(list: &List<T>) -> Self {
        let lane = |lane: &contract::route::Lane| (list.side_key(lane.name), *lane);
        Self {
            list: list.name().to_owned(),
            delayed: list.side_key("delayed"),
            dead: list.side_key("dead"),
            events: list.side_key("events"),
            workers: list.side_key("workers"),
            paused: list.side_key("paused"),
            lanes: list.limits.lanes.iter().map(lane).collect(),
            side: list.side_key(""),
        }
    }

    /// The keys of a script: fixed ones, slot, record, lanes.
    pub(crate) fn all(&self, slot: &str, job: &str) -> Vec<String> {
        let fixed = [
            &self.list,
            &self.delayed,
            &self.dead,
            &self.events,
            &self.workers,
            &self.paused,
        ];
        let lanes = self.lanes.iter().map(|(key, _)| key.clone());
        fixed
            .into_iter()
            .cloned()
            .chain([slot.to_owned(), job.to_owned()])
            .chain(lanes)
            .collect()
    }

    /// The keys of a script that touches neither a slot nor a record.
    pub(crate) fn plain(&self) -> Vec<String> {
        self.all(&self.list, &self.list)
    }

    pub(crate) fn list(&self) -> &str {
        &self.list
    }

    pub(crate) fn paused(&self) -> &str {
        &self.paused
    }

    pub(crate) fn workers(&self) -> &str {
        &self.workers
    }

    pub(crate) fn installation(&self) -> String {
        format!("{}installation", self.side)
    }

    pub(crate) fn job(&self, id: &str) -> String {
        format!("{}job:{id}", self.side)
    }

    pub(crate) fn seen(&self, fingerprint: &str) -> String {
        format!("{}seen:{fingerprint}", self.side)
    }

    pub(crate) fn slot(&self, worker: &str, n: usize) -> String {
        format!("{}proc:{worker}:{n}", self.side)
    }

    pub(crate) fn slots_of_anyone(&self) -> (String, String) {
        let prefix = format!("{}proc:", self.side);
        // `[` and `]` are special in Redis patterns, braces are not.
        (
            format!(
                "{}*",
                prefix.replace('[', "\\[").replace('?', "\\?").replace('*', "\\*")
            ),
            prefix,
        )
    }

    /// Index into the script's keys (from 1, as Lua counts) of a lane, or of the list itself.
    pub(crate) fn lane(&self, name: &str) -> usize {
        let position = self.lanes.iter().position(|(_, lane)| lane.name == name);
        position.map_or(1, |n| FIXED + 1 + n)
    }

    /// In which order the lanes are looked at on this turn.
    pub(crate) fn order(&self, turn: u64) -> Vec<String> {
        let mut turns = 0..0;
        let mut rank = |lane: &contract::route::Lane| {
            turns = turns.end..turns.end + u64::from(lane.turns);
            if turns.contains(&(turn % 8)) {
                0
            } else if lane.first {
                1
            } else {
                3
            }
        };
        let lanes: Vec<_> = self.lanes.iter().map(|(_, lane)| rank(lane)).collect();
        let lanes = lanes.into_iter().zip(FIXED + 1..);
        let mut order: Vec<_> = lanes.chain([(2, 1)]).collect();
        order.sort_unstable();
        order.into_iter().map(|(_, index)| index.to_string()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn low_goes_first_on_one_turn_of_eight_and_last_otherwise() {
        let keys = Keys::new(&contract::route::builds());
        assert_eq!(keys.order(0), ["10", "9", "1"]);
        for turn in 1..8 {
            assert_eq!(keys.order(turn), ["9", "1", "10"]);
        }
    }

    #[test]
    fn every_lane_of_webhooks_goes_first_on_turns_of_its_own() {
        let keys = Keys::new(&contract::route::webhooks());
        let firsts: Vec<_> = (0..8).map(|turn| keys.order(turn).swap_remove(0)).collect();
        assert_eq!(firsts, ["9", "9", "9", "10", "10", "11", "12", "1"]);
    }

    #[test]
    fn side_keys_of_a_tagged_list_do_not_nest_tags() {
        let events = contract::route::build_events(&contract::route::builds());
        assert_eq!(Keys::new(&events).job("x"), "{forge:builds}:events:job:x");
    }
}
