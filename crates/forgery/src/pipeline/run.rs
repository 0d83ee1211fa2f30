//! Runs the steps of a plan: those that wait for nothing any more, some at a time.

use super::{
    facts::Facts,
    plan::Plan,
    sandbox::Sandbox,
    step::{self, Stepping},
};
use crate::{
    attempt::Steward,
    failure::{BuildFailure, Kind},
    images::{Maker, Outcome, Product},
    logs::Log,
};
use contract::{Happening, Image, Step};
use futures_util::{FutureExt as _, StreamExt as _, stream::FuturesUnordered};
use std::{
    path::Path,
    sync::{Mutex, PoisonError},
};

/// Where a plan is carried out.
pub(crate) struct Scene<'a, S> {
    pub(crate) maker: &'a Maker<'a>,
    pub(crate) worktree: &'a Path,
    /// A folder for what is taken out of containers.
    pub(crate) scratch: &'a Path,
    pub(crate) facts: Facts,
    pub(crate) steward: &'a S,
}

/// How a step is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Waiting,
    Running,
    /// Done, or not wanted: whatever waits for it may begin.
    Well,
    /// Failed, or not done because another failed.
    Ill,
}

/// What is to be done with a step now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    Nothing,
    Begin,
    /// It waits for one that has not ended well.
    GiveUp,
}

/// So many steps run at once.
const AT_ONCE: usize = 4;

/// What came out so far, each with the number of its step.
#[derive(Debug, Default)]
pub(super) struct Products(Mutex<Vec<(usize, Outcome)>>);

// === impl Products ===

impl Products {
    pub(super) fn add(&self, step: usize, outcome: Outcome) {
        self.lock().push((step, outcome));
    }

    /// The next one that is to be pushed, and its place.
    pub(super) fn next(&self) -> Option<(usize, Product)> {
        let all = self.lock();
        all.iter().enumerate().find_map(|(place, (_, outcome))| match outcome {
            Outcome::Made(product) => Some((place, product.clone())),
            Outcome::Published(_) => None,
        })
    }

    /// The one at this place is where it belongs.
    pub(super) fn published(&self, place: usize, image: Image) {
        if let Some((_, outcome)) = self.lock().get_mut(place) {
            *outcome = Outcome::Published(image);
        }
    }

    /// All of them, in the order of their steps.
    fn into_all(self) -> Vec<Outcome> {
        let mut all = self.0.into_inner().unwrap_or_else(PoisonError::into_inner);
        all.sort_by_key(|(step, _)| *step);
        all.into_iter().map(|(_, outcome)| outcome).collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<(usize, Outcome)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How far a plan is.
struct Course<'a> {
    plan: &'a Plan,
    log: &'a Log,
    states: Vec<State>,
    /// The first step that failed.
    failed: Option<BuildFailure>,
}

/// Carries a plan out; what came out of it, in the order of its steps.
pub(crate) async fn run<S: Steward>(plan: &Plan, scene: Scene<'_, S>) -> Result<Vec<Outcome>, BuildFailure> {
    let wants = plan.pipeline.steps.iter().find(|step| !step.artifacts.is_empty());
    if let (Some(step), None) = (wants, &scene.maker.tools.config.artifacts) {
        let text = format!(
            "{} has artifacts, and this forgery keeps none; see artifacts.dir",
            step.name
        );
        return Err(BuildFailure::new(Kind::NotConfigured, text));
    }
    let sandbox = Sandbox::new(scene.maker, scene.worktree, scene.scratch, &plan.pipeline).await?;
    let products = Products::default();
    let stepping = Stepping {
        sandbox: &sandbox,
        maker: scene.maker,
        pipeline: &plan.pipeline,
        products: &products,
        steward: scene.steward,
    };
    let mut course = Course {
        plan,
        log: scene.maker.log,
        states: vec![State::Waiting; plan.waits.len()],
        failed: None,
    };
    let mut running = FuturesUnordered::new();
    loop {
        for (n, step) in plan.pipeline.steps.iter().enumerate() {
            if running.len() < AT_ONCE && course.begin(n, step, &scene.facts) {
                running.push(step::run(&stepping, n, step).boxed());
            }
        }
        match running.next().await {
            Some((n, result)) => course.ended(n, result),
            // Steps that are not done may have made others ready.
            None if course.states.iter().all(|state| *state != State::Waiting) => break,
            None => {}
        }
        scene.steward.tell(Happening::Progress {
            percent: course.percent(),
        });
    }
    drop(running);
    match course.failed {
        Some(failure) => Err(failure),
        None => Ok(products.into_all()),
    }
}

// === impl Course ===

impl Course<'_> {
    /// Begins a step if it is time for it: whether it is to run. One that is not to be done at all has ended.
    fn begin(&mut self, n: usize, step: &Step, facts: &Facts) -> bool {
        let patterns = self.plan.patterns.get(n);
        let state = match next(&self.states, &self.plan.waits, n, step) {
            Next::Nothing => return false,
            Next::GiveUp => {
                let name = &step.name;
                self.log
                    .say(format!("{name} is not done, because what it waits for has failed"));
                State::Ill
            }
            Next::Begin => match patterns.and_then(|patterns| facts.why_skipped(step, patterns)) {
                Some(why) => {
                    self.log.say(format!("{} is skipped: {why}", step.name));
                    State::Well
                }
                None => State::Running,
            },
        };
        self.set(n, state);
        state == State::Running
    }

    fn ended(&mut self, n: usize, result: Result<(), BuildFailure>) {
        let Err(failure) = result else {
            return self.set(n, State::Well);
        };
        let step = self.plan.pipeline.steps.get(n);
        // What failed in the infrastructure is tried again as a whole.
        if step.is_some_and(|step| step.allow_failure) && !failure.kind.is_infrastructure() {
            self.log.say(format!("{failure}; the pipeline goes on (allow_failure)"));
            return self.set(n, State::Well);
        }
        self.failed.get_or_insert(failure);
        self.set(n, State::Ill);
    }

    /// How far the build is: the steps are what is between 30 and 90.
    fn percent(&self) -> u8 {
        let has_ended = |state: &&State| matches!(state, State::Well | State::Ill);
        let ended = self.states.iter().filter(has_ended).count();
        u8::try_from(30 + 60 * ended / self.states.len().max(1)).unwrap_or(90)
    }

    fn set(&mut self, n: usize, state: State) {
        if let Some(at) = self.states.get_mut(n) {
            *at = state;
        }
    }
}

/// What is to be done with a step. A plan has no circles, so there is always something until all have ended.
fn next(states: &[State], waits: &[Vec<usize>], n: usize, step: &Step) -> Next {
    if states.get(n) != Some(&State::Waiting) {
        return Next::Nothing;
    }
    let mut of = waits
        .get(n)
        .into_iter()
        .flatten()
        .filter_map(|other| states.get(*other));
    if of.clone().any(|state| matches!(state, State::Waiting | State::Running)) {
        return Next::Nothing;
    }
    if step.always || !of.any(|state| *state == State::Ill) {
        Next::Begin
    } else {
        Next::GiveUp
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_begins_when_all_that_it_waits_for_have_ended_well() {
        let plan = Plan::read(
            "image: x\nsteps:\n\
             - {name: a, script: x}\n\
             - {name: b, script: x}\n\
             - {name: c, script: x, always: true}\n",
        )
        .unwrap();
        let next = |states: [State; 3], n: usize| next(&states, &plan.waits, n, &plan.pipeline.steps[n]);
        use State::{Ill, Running, Waiting, Well};
        assert_eq!(next([Waiting, Waiting, Waiting], 0), Next::Begin);
        assert_eq!(next([Running, Waiting, Waiting], 0), Next::Nothing);
        assert_eq!(next([Running, Waiting, Waiting], 1), Next::Nothing);
        assert_eq!(next([Well, Waiting, Waiting], 1), Next::Begin);
        assert_eq!(next([Ill, Waiting, Waiting], 1), Next::GiveUp);
        assert_eq!(next([Ill, Ill, Waiting], 2), Next::Begin);
    }
}
