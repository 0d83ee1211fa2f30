//! Folds what happened into the state of a build. Pure; late, doubled and re-ordered events cannot hurt.

use crate::store::Build;
use contract::{BuildEvent, BuildStatus, Happening};

/// The build after the event, or `None` when the event changes nothing.
pub(crate) fn fold(build: &Build, event: &BuildEvent) -> Option<Build> {
    let ends = matches!(event.event, Happening::Ended { .. });
    let newer = (event.attempt, event.sequence) > (build.attempt, build.sequence);
    if build.status.terminal().is_some() || !(newer || ends) {
        return None;
    }
    let mut next = build.clone();
    if newer {
        (next.attempt, next.sequence) = (event.attempt, event.sequence);
    }
    if event.attempt > 0 {
        // Whoever has an event of an attempt has started, even if the event that says so is late.
        let at = event.at.as_millis();
        next.started_at = Some(next.started_at.map_or(at, |known| known.min(at)));
    }
    let status = apply(&mut next, event)?;
    next.status = build.status.advance(status).ok()?;
    Some(next)
}

/// Writes the event into the build; the status it asks for.
fn apply(build: &mut Build, event: &BuildEvent) -> Option<BuildStatus> {
    match &event.event {
        Happening::Started { .. } => {
            build.reason = event.worker.as_ref().map(|worker| format!("runs on {worker}"));
            build.progress = 10;
            Some(BuildStatus::Building)
        }
        Happening::Stage { stage } => {
            build.stage = Some(stage.to_string());
            Some(BuildStatus::Building)
        }
        Happening::Progress { percent } => {
            build.progress = build.progress.max(i64::from(*percent).min(100));
            Some(BuildStatus::Building)
        }
        Happening::Retrying { failure, after_ms } => {
            build.reason = Some(format!("tried again in {} s: {}", after_ms / 1000, failure.message));
            build.failure = Some(failure.clone());
            build.progress = 0;
            Some(BuildStatus::Retrying)
        }
        Happening::Released => {
            build.reason = Some("its worker stopped; waits for another".to_owned());
            build.progress = 0;
            Some(BuildStatus::Queued)
        }
        Happening::Ended {
            status,
            failure,
            image,
            stages,
            ..
        } => {
            build.finished_at = Some(event.at.as_millis());
            build.failure.clone_from(failure);
            build.reason = failure.as_ref().map(|failure| failure.message.clone());
            build.stages.clone_from(stages);
            if let Some(image) = image {
                build.image_tag.clone_from(&image.reference);
                build.digest = Some(image.digest.clone());
                build.progress = 100;
            }
            Some(BuildStatus::Ended(*status))
        }
        Happening::Unknown => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use contract::{BuildQueueMessage, BuildType, Failure, Stage, Strategy, Terminal, Timestamp};

    fn message() -> BuildQueueMessage {
        let url = "https://h/o/r.git".parse().unwrap();
        let commit = "abcdef".parse().unwrap();
        BuildQueueMessage::new(
            "b".parse().unwrap(),
            "o/r".parse().unwrap(),
            BuildType::Dockerfile,
            url,
            commit,
            Strategy::Local,
        )
    }

    fn event(attempt: u32, sequence: u32, event: Happening) -> BuildEvent {
        BuildEvent::new(
            "b".parse().unwrap(),
            attempt,
            sequence,
            Timestamp::from_millis(5),
            event,
        )
    }

    fn ended(attempt: u32, sequence: u32, status: Terminal) -> BuildEvent {
        event(
            attempt,
            sequence,
            Happening::Ended {
                status,
                failure: None,
                image: None,
                images: Vec::new(),
                stages: Vec::new(),
            },
        )
    }

    /// Every order of the events of a build with two attempts.
    #[test]
    fn any_order_and_doubling_of_events_ends_in_the_same_terminal_state() {
        let events = [
            event(
                1,
                1,
                Happening::Started {
                    message: Box::new(message()),
                },
            ),
            event(1, 2, Happening::Stage { stage: Stage::Cloning }),
            event(
                1,
                3,
                Happening::Retrying {
                    failure: Failure::new("x", "x"),
                    after_ms: 1,
                },
            ),
            event(
                2,
                1,
                Happening::Started {
                    message: Box::new(message()),
                },
            ),
            ended(2, 4, Terminal::Success),
        ];
        for seed in 0_usize..120 {
            let mut order: Vec<_> = events.iter().chain(&events).collect();
            for i in 0..order.len() {
                let j = (seed * 7 + i * 13) % order.len();
                order.swap(i, j);
            }
            let mut build = Build::queued(message(), String::new());
            for event in order {
                build = fold(&build, event).unwrap_or(build);
            }
            assert_eq!(build.status, BuildStatus::Ended(Terminal::Success), "seed {seed}");
        }
    }

    #[test]
    fn a_build_whose_first_event_is_late_has_started_all_the_same() {
        let queued = Build::queued(message(), String::new());
        let build = fold(&queued, &ended(1, 4, Terminal::Success)).unwrap();
        assert_eq!(build.started_at, Some(5));
        let never_ran = fold(&queued, &ended(0, 0, Terminal::Cancelled)).unwrap();
        assert_eq!(never_ran.started_at, None);
    }

    #[test]
    fn a_terminal_state_never_changes() {
        let build = fold(
            &Build::queued(message(), String::new()),
            &ended(0, 0, Terminal::Cancelled),
        )
        .unwrap();
        assert_eq!(fold(&build, &ended(1, 9, Terminal::Success)), None);
        assert_eq!(
            fold(
                &build,
                &event(
                    2,
                    1,
                    Happening::Started {
                        message: Box::new(message())
                    }
                )
            ),
            None
        );
    }

    #[test]
    fn a_late_event_of_an_earlier_attempt_changes_nothing() {
        let start = |n| {
            event(
                n,
                1,
                Happening::Started {
                    message: Box::new(message()),
                },
            )
        };
        let build = fold(&Build::queued(message(), String::new()), &start(2)).unwrap();
        assert_eq!(fold(&build, &event(1, 9, Happening::Progress { percent: 90 })), None);
        assert_eq!(fold(&build, &start(2)), None);
    }
}
