#![allow(clippy::unwrap_used)]
//! The machine against any sequence of inputs (invariants), and against a world of receivers that
//! succeed, fail, refuse, answer late and after the fact (the end is consistent).

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use proptest::prelude::*;

use super::machine::apply;
use super::state::*;
use crate::clock::{days, hours, minutes, seconds};

const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];

fn shape(
    (answered, undo, attempts_max, deadline, hold): (bool, u8, u32, bool, bool),
    place: usize,
) -> StepShape {
    StepShape {
        replaces: false,
        name: NAMES[place],
        answered,
        undo: [Undo::Answered, Undo::Answered, Undo::Told, Undo::Nothing][usize::from(undo)],
        attempts_max,
        deadline: deadline.then_some(seconds(30)),
        hold_deadline: hold.then_some(minutes(15)),
        undo_deadline: minutes(10),
        undo_backoff: seconds(30),
        undo_backoff_max: hours(1),
    }
}

fn shapes() -> impl Strategy<Value = Vec<StepShape>> {
    prop::collection::vec(
        (any::<bool>(), 0..4u8, 1..4u32, any::<bool>(), any::<bool>()),
        1..=NAMES.len(),
    )
    .prop_map(|steps| {
        steps
            .into_iter()
            .zip(0..)
            .map(|(s, i)| shape(s, i))
            .collect()
    })
}

/// An input whose places and numbers are fitted to the saga when it is applied.
fn inputs() -> impl Strategy<Value = Vec<(u8, usize, u32)>> {
    prop::collection::vec((0..16u8, 0..NAMES.len(), 0..4u32), 0..80)
}

fn input(of: (u8, usize, u32), state: &State) -> Input {
    let (kind, place, number) = of;
    let step = place % state.steps.len();
    let reason = || "because".to_owned();
    let said = match kind {
        0..=2 => Said::Succeeded,
        3 => Said::Failed(Failing::Final(reason())),
        4 => Said::Failed(Failing::Hold(reason())),
        5 => Said::Failed(Failing::Review(reason())),
        6..=8 => Said::Undone,
        9 => Said::UndoRefused,
        10 => Said::UndoFailed(reason()),
        11 => return Input::Cancel { reason: reason() },
        12 => return Input::Retry,
        13 => {
            let rulings = [Ruling::Retry, Ruling::Cancel, Ruling::Accept];
            return Input::Rule(rulings[place % 3]);
        }
        14 => {
            let alarm = state.alarm.saturating_sub(u64::from(number / 2));
            return Input::Woken { alarm };
        }
        _ => {
            let stray = state.strays.get(place);
            return Input::StrayWoken {
                step: stray.map_or(step, |stray| stray.step),
                attempt: stray.map_or(1, |stray| stray.attempt),
                undo_sends: stray.map_or(number, |stray| stray.undo_sends),
            };
        }
    };
    let attempt = (number > 0).then_some(number);
    Input::Heard {
        step,
        attempt,
        said,
    }
}

fn happened(step: &StepState, shape: &StepShape) -> bool {
    matches!(step.effect, Effect::Unknown | Effect::Done) && shape.undo != Undo::Nothing
}

fn outstanding(state: &State) -> usize {
    let undoing = |step: &&StepState| matches!(step.effect, Effect::Undoing { .. });
    state.steps.iter().filter(undoing).count()
}

fn check(shape: &[StepShape], before: &State, after: &State, actions: &[Action], verdict: Verdict) {
    assert!(outstanding(after) <= 1, "two undos at once: {after:?}");
    if let Stage::Undone { .. } = after.stage {
        assert_eq!(outstanding(after), 0, "undone too early: {after:?}");
        let open = |stray: &Stray| stray.standing != Standing::Settled;
        assert!(
            !after.strays.iter().any(open),
            "undone too early: {after:?}"
        );
        let left = after.steps.iter().zip(shape);
        assert!(
            !left.clone().any(|(step, shape)| happened(step, shape)),
            "{after:?}"
        );
    }
    if after.stage == Stage::Completed {
        let done = |step: &StepState| step.effect == Effect::Done;
        assert!(after.steps.iter().all(done), "{after:?}");
    }
    // Undos of the main line come last step first, and none is left out above them.
    let undos: Vec<usize> = actions
        .iter()
        .filter_map(|action| match action {
            Action::Undo { step, attempt } if *attempt == after.steps[*step].attempt => Some(*step),
            _ => None,
        })
        .collect();
    assert!(
        undos.is_sorted_by(|a, b| a > b),
        "not in reverse: {undos:?}"
    );
    for undone in &undos {
        // Sent once more, for the undo under way or for a success that was too late.
        if matches!(
            before.steps[*undone].effect,
            Effect::Undoing { .. } | Effect::Undone
        ) && before.stage.clone() == after.stage
        {
            continue;
        }
        for above in undone + 1..shape.len() {
            let (step, shape) = (&after.steps[above], &shape[above]);
            assert!(!happened(step, shape), "left out {above}: {after:?}");
        }
    }
    if matches!(
        verdict,
        Verdict::Ignored | Verdict::Refused { .. } | Verdict::Exhausted
    ) {
        assert_eq!(
            (before, actions),
            (after, &[][..]),
            "ignored, yet not without effect"
        );
    }
    // The host hears of every move, and the last it hears is true.
    if before.stage != after.stage {
        let told = actions.iter().rev().find_map(|action| match action {
            Action::Moved(stage) => Some(stage),
            _ => None,
        });
        assert_eq!(told, Some(&after.stage));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn no_sequence_of_inputs_breaks_the_promises(shape in shapes(), inputs in inputs()) {
        let keep = Some(days(30));
        let (mut state, _, _) = apply(&shape, keep, State::new(shape.len()), Input::Start);
        let (mut completed, mut undone) = (0, 0);
        for of in inputs {
            let input = input(of, &state);
            let before = state.clone();
            let (after, actions, verdict) = apply(&shape, keep, state, input);
            check(&shape, &before, &after, &actions, verdict);
            for action in &actions {
                match action {
                    Action::Finished(Stage::Completed) => completed += 1,
                    Action::Finished(_) => undone += 1,
                    _ => {}
                }
            }
            state = after;
        }
        prop_assert!(completed <= 1 && undone <= 1, "an end was told twice");
    }

    #[test]
    fn cancelling_twice_is_cancelling_once(shape in shapes(), inputs in inputs()) {
        let (mut state, _, _) = apply(&shape, None, State::new(shape.len()), Input::Start);
        for of in inputs {
            let input = input(of, &state);
            state = apply(&shape, None, state, input).0;
        }
        let cancel = || Input::Cancel { reason: "again".to_owned() };
        let (once, _, _) = apply(&shape, None, state, cancel());
        let (twice, actions, verdict) = apply(&shape, None, once.clone(), cancel());
        prop_assert_eq!(&twice, &once);
        prop_assert_eq!(actions, vec![]);
        prop_assert_ne!(verdict, Verdict::Applied);
    }

    #[test]
    fn a_success_after_the_end_is_undone(shape in shapes(), place in 0..NAMES.len()) {
        let (state, _, _) = apply(&shape, None, State::new(shape.len()), Input::Start);
        let cancel = Input::Cancel { reason: "no".to_owned() };
        let (mut state, _, _) = apply(&shape, None, state, cancel);
        while let Stage::Undoing { step, .. } = state.stage {
            let heard = Input::Heard { step, attempt: None, said: Said::Undone };
            state = apply(&shape, None, state, heard).0;
        }
        prop_assume!(matches!(state.stage, Stage::Undone { .. }));
        let step = place % shape.len();
        let fresh = !matches!(state.steps[step].effect, Effect::Done);
        let heard = Input::Heard { step, attempt: None, said: Said::Succeeded };
        let (state, actions, _) = apply(&shape, None, state, heard);
        let undo = Action::Undo { step, attempt: state.steps[step].attempt };
        let expected = fresh && shape[step].undo != Undo::Nothing;
        prop_assert_eq!(actions.contains(&undo), expected);
    }
}

/// The services that a saga talks to, and the people.
struct World {
    shape: Vec<StepShape>,
    state: State,
    random: fastrand::Rng,
    /// Effects as they are, whatever the saga knows.
    effects: BTreeSet<(usize, u32)>,
    /// Undone before they happened: refused when they come.
    tombstones: BTreeSet<(usize, u32)>,
    /// Requests that take effect, or fail, only later.
    slow: Vec<(usize, u32)>,
    /// Answers on the way, in order per step.
    answers: BTreeMap<usize, VecDeque<(u32, Said)>>,
    timer: Option<u64>,
    stray_timers: Vec<(usize, u32, u32)>,
    forgotten: bool,
}

impl World {
    fn new(seed: u64) -> World {
        let mut random = fastrand::Rng::with_seed(seed);
        let steps = random.usize(1..=NAMES.len());
        let shape: Vec<_> = (0..steps)
            .map(|place| {
                let undo = random.u8(0..4);
                shape((random.u8(0..5) > 0, undo, 3, random.bool(), true), place)
            })
            .collect();
        World {
            state: State::new(steps),
            shape,
            random,
            effects: BTreeSet::new(),
            tombstones: BTreeSet::new(),
            slow: Vec::new(),
            answers: BTreeMap::new(),
            timer: None,
            stray_timers: Vec::new(),
            forgotten: false,
        }
    }

    fn give(&mut self, input: Input) {
        let before = self.state.clone();
        let keep = Some(days(30));
        let (state, actions, verdict) = apply(&self.shape, keep, before.clone(), input);
        check(&self.shape, &before, &state, &actions, verdict);
        self.state = state;
        for action in actions {
            match action {
                Action::Ask { step, attempt } => match self.random.u8(0..8) {
                    0 => self.slow.push((step, attempt)),
                    _ => self.take_request(step, attempt),
                },
                Action::Undo { step, attempt } => self.take_undo(step, attempt),
                Action::Wake { alarm, .. } => self.timer = Some(alarm),
                Action::Sleep => self.timer = None,
                Action::WakeForStray {
                    step,
                    attempt,
                    undo_sends,
                    ..
                } => self.stray_timers.push((step, attempt, undo_sends)),
                Action::Forget => self.forgotten = true,
                Action::Moved(_) | Action::Finished(_) => {}
            }
        }
    }

    fn take_request(&mut self, step: usize, attempt: u32) {
        let reason = || "no".to_owned();
        if self.tombstones.contains(&(step, attempt)) && !self.shape[step].answered {
            // Whoever never answers must remember what was undone: the saga cannot know.
            return;
        }
        let said = if self.tombstones.contains(&(step, attempt)) && self.random.bool() {
            Said::Failed(Failing::Final(reason()))
        } else {
            match self.random.u8(0..10) {
                0 if self.shape[step].answered => Said::Failed(Failing::Final(reason())),
                1 if self.shape[step].answered => Said::Failed(Failing::Hold(reason())),
                2 if self.shape[step].answered => Said::Failed(Failing::Review(reason())),
                _ => Said::Succeeded,
            }
        };
        if said == Said::Succeeded {
            self.effects.insert((step, attempt));
        }
        if self.shape[step].answered {
            self.answer(step, attempt, said);
        }
    }

    fn take_undo(&mut self, step: usize, attempt: u32) {
        let refuses = self.random.u8(0..10) == 0 && self.effects.contains(&(step, attempt));
        let said = match (self.shape[step].undo, refuses, self.random.u8(0..6)) {
            (Undo::Answered, true, _) => Said::UndoRefused,
            (Undo::Answered, false, 0) => Said::UndoFailed("cannot".to_owned()),
            // Lost: a bug of the receiver, which sending again must heal.
            (Undo::Answered, false, 1) => return,
            _ => {
                self.effects.remove(&(step, attempt));
                self.tombstones.insert((step, attempt));
                Said::Undone
            }
        };
        if self.shape[step].undo == Undo::Answered {
            self.answer(step, attempt, said);
        }
    }

    fn answer(&mut self, step: usize, attempt: u32, said: Said) {
        self.answers
            .entry(step)
            .or_default()
            .push_back((attempt, said));
    }

    /// Lets one thing happen. Answers whether anything was left to happen.
    fn happen(&mut self) -> bool {
        let waiting: Vec<usize> = (self.answers.iter())
            .filter(|(_, answers)| !answers.is_empty())
            .map(|(step, _)| *step)
            .collect();
        match self.random.u8(0..12) {
            0..=5 if !waiting.is_empty() => {
                let step = waiting[self.random.usize(0..waiting.len())];
                let answers = self.answers.get_mut(&step).unwrap();
                let (attempt, said) = answers.pop_front().unwrap();
                self.give(Input::Heard {
                    step,
                    attempt: Some(attempt),
                    said,
                });
            }
            6 if !self.slow.is_empty() => {
                let at = self.random.usize(0..self.slow.len());
                let (step, attempt) = self.slow.swap_remove(at);
                self.take_request(step, attempt);
            }
            7 if !self.stray_timers.is_empty() => {
                let at = self.random.usize(0..self.stray_timers.len());
                let (step, attempt, undo_sends) = self.stray_timers.swap_remove(at);
                self.give(Input::StrayWoken {
                    step,
                    attempt,
                    undo_sends,
                });
            }
            8 if self.timer.is_some() && !self.ended() => {
                let alarm = self.timer.take().unwrap();
                self.give(Input::Woken { alarm });
            }
            9 => self.give(Input::Retry),
            10 if self.random.u8(0..8) == 0 => self.give(Input::Cancel {
                reason: "changed my mind".to_owned(),
            }),
            11 => self.decide(),
            _ => {}
        }
        let quiet = self.slow.is_empty()
            && self.stray_timers.is_empty()
            && self.answers.values().all(VecDeque::is_empty);
        !(quiet && self.ended())
    }

    /// A person settles by hand what a review is about, or has it tried again.
    fn decide(&mut self) {
        let Stage::Review {
            step,
            attempt,
            cancelling,
            ..
        } = self.state.stage.clone()
        else {
            return;
        };
        if self.random.bool() {
            return self.give(Input::Rule(Ruling::Retry));
        }
        let of_stray = attempt < self.state.steps[step].attempt;
        if cancelling.is_some() || of_stray {
            self.effects.remove(&(step, attempt));
            self.tombstones.insert((step, attempt));
        } else {
            self.effects.insert((step, attempt));
        }
        self.give(Input::Rule(Ruling::Accept));
    }

    fn ended(&self) -> bool {
        matches!(self.state.stage, Stage::Completed | Stage::Undone { .. })
    }
}

#[test]
fn every_saga_ends_and_leaves_either_all_effects_or_none() {
    let (mut completed, mut undone) = (0, 0);
    for seed in 0..20_000 {
        let mut world = World::new(seed);
        world.give(Input::Start);
        let mut moves = 0;
        while world.happen() {
            moves += 1;
            assert!(
                moves < 20_000,
                "seed {seed} does not end: {:?}",
                world.state
            );
        }
        let undoable = |(step, _): &&(usize, u32)| world.shape[*step].undo != Undo::Nothing;
        let left: Vec<_> = world.effects.iter().filter(undoable).copied().collect();
        let mut expected = Vec::new();
        if world.state.stage == Stage::Completed {
            completed += 1;
            let attempts = world.state.steps.iter().map(|step| step.attempt);
            expected = (0..).zip(attempts).collect();
            expected.retain(|(step, _)| world.shape[*step].undo != Undo::Nothing);
        } else {
            undone += 1;
        }
        assert_eq!(left, expected, "seed {seed}: {:?}", world.state);
        assert!(!world.forgotten, "seed {seed}");
        if let Some(alarm) = world.timer {
            world.give(Input::Woken { alarm });
            assert!(world.forgotten, "seed {seed}: {:?}", world.state);
        }
    }
    // The world is no easy one, in either direction.
    assert!(completed > 2_000 && undone > 2_000, "{completed} {undone}");
}

#[test]
fn a_late_success_of_an_attempt_that_was_replaced_is_not_undone() {
    for (replaces, strays) in [(true, 0), (false, 1)] {
        let mut step = shape((true, 0, 3, false, false), 0);
        step.replaces = replaces;
        let shape = [step];
        let heard = |attempt, said| Input::Heard {
            step: 0,
            attempt: Some(attempt),
            said,
        };
        let mut state = State::new(1);
        for input in [
            Input::Start,
            heard(1, Said::Failed(Failing::Hold("soft".to_owned()))),
            Input::Retry,
            heard(1, Said::Succeeded),
        ] {
            (state, _, _) = apply(&shape, None, state, input);
        }
        assert_eq!(state.strays.len(), strays);
        assert_eq!(state.stage, Stage::Running { step: 0 });
    }
}
