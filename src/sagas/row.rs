//! The stored form of a saga: its row in the owning service's table.
//!
//! The machine counts steps by place, the row names them: steps may be added, moved or renamed
//! (`formerly`) in a later program, and stored sagas go on.

use serde::{Deserialize, Serialize};

use super::state::{Effect, Stage, State, StepState};
use super::steps::Steps;
use crate::clock::Timestamp;
use crate::context::TimerId;
use crate::saga::{Saga, SagaNote};

/// Notes kept per saga; older ones go.
const NOTES_MAX: usize = 32;

/// One saga, as its table holds it. The data are sealed apart: they have a version of their own.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct SagaRow {
    /// Names of the steps, by the places that `state` uses.
    names: Vec<String>,
    pub(crate) state: State,
    #[serde(with = "crate::codec::blob")]
    pub(crate) data: Vec<u8>,
    pub(crate) timer: Option<TimerId>,
    pub(crate) started_at: Timestamp,
    pub(crate) notes: Vec<SagaNote>,
}

impl SagaRow {
    pub(crate) fn new<G: Saga>(steps: &Steps<G>, now: Timestamp) -> SagaRow {
        SagaRow {
            names: steps
                .steps
                .iter()
                .map(|step| step.name.to_owned())
                .collect(),
            state: State::new(steps.steps.len()),
            data: Vec::new(),
            timer: None,
            started_at: now,
            notes: Vec::new(),
        }
    }

    pub(crate) fn note(&mut self, at: Timestamp, what: String) {
        if self.notes.len() >= NOTES_MAX {
            self.notes.remove(0);
        }
        self.notes.push(SagaNote { at, what });
    }

    /// Brings the row to the program's table of steps. `Err` names a step that the saga needs and
    /// the program no longer has.
    pub(crate) fn fit<G: Saga>(&mut self, steps: &Steps<G>) -> Result<(), String> {
        let same = self.names.len() == steps.steps.len()
            && self
                .names
                .iter()
                .zip(&steps.steps)
                .all(|(stored, step)| stored == step.name);
        if same {
            return Ok(());
        }
        let places: Vec<Option<usize>> = self
            .names
            .iter()
            .map(|stored| {
                let is = |name: &&'static str| *name == stored.as_str();
                let now = steps.steps.iter().position(|step| step.name == stored);
                now.or_else(|| {
                    let mut steps = steps.steps.iter();
                    steps.position(|step| step.formerly.iter().any(is))
                })
            })
            .collect();
        let fresh = SagaRow::new(steps, self.started_at);
        let mut state = State {
            steps: fresh.state.steps,
            ..self.state.clone()
        };
        for (old, place) in self.state.steps.iter().zip(&places) {
            match place {
                Some(place) => state.steps[*place] = *old,
                None if forgettable(old) => {}
                None => return Err(self.missing(&places)),
            }
        }
        let new_place = |old: usize| places.get(old).copied().flatten();
        for stray in &mut state.strays {
            stray.step = new_place(stray.step).ok_or_else(|| self.missing(&places))?;
        }
        if let Stage::Running { step }
        | Stage::Held { step, .. }
        | Stage::Undoing { step, .. }
        | Stage::Review { step, .. } = &mut state.stage
        {
            *step = new_place(*step).ok_or_else(|| self.missing(&places))?;
        }
        self.names = fresh.names;
        self.state = state;
        Ok(())
    }

    fn missing(&self, places: &[Option<usize>]) -> String {
        let gone = || {
            let named = self.names.iter().zip(&self.state.steps).zip(places);
            named.filter(|(_, place)| place.is_none())
        };
        let needed = gone().find(|((_, state), _)| !forgettable(state));
        let name = needed.or_else(|| gone().next()).map(|((name, _), _)| name);
        name.cloned().unwrap_or_default()
    }
}

/// A step whose loss changes nothing.
fn forgettable(step: &StepState) -> bool {
    matches!(step.effect, Effect::Undone) || step.attempt == 0
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::codec::{self, Subject};
    use crate::prelude::*;
    use crate::sagas::state::{Standing, Stray};

    #[derive(Serialize, Deserialize)]
    struct Done {
        id: u64,
    }
    impl Message for Done {
        const NAME: &'static str = "done";
    }
    impl Event for Done {}

    struct Wait;
    impl Saga for Wait {
        const NAME: &'static str = "wait";
        type Service = crate::Orchestrator<Wait>;
        type Id = u64;
        type Data = ();
        fn steps(_: &mut Steps<Self>) {}
        fn finished(
            _: &u64,
            (): &(),
            _: &SagaOutcome,
            _: &mut Context<Self::Service>,
        ) -> Result<(), Rejection> {
            Ok(())
        }
    }

    fn steps(names: &[(&'static str, &'static [&'static str])]) -> Steps<Wait> {
        let mut steps = Steps::of_saga();
        for (name, formerly) in names {
            let step = steps.step(name).formerly(formerly);
            step.succeeds_on(|done: &Done| done.id);
        }
        steps
    }

    /// Step `a` is done, `b` is waited for, `c` was not asked for yet.
    fn row() -> SagaRow {
        let mut row = SagaRow::new(
            &steps(&[("a", &[]), ("b", &[]), ("c", &[])]),
            Timestamp(1_000),
        );
        for (step, effect) in [(0, Effect::Done), (1, Effect::Unknown)] {
            row.state.steps[step].attempt = 2;
            row.state.steps[step].effect = effect;
        }
        row.state.stage = Stage::Held {
            step: 1,
            reason: "declined".to_owned(),
        };
        row.state.strays.push(Stray {
            step: 1,
            attempt: 1,
            undo_sends: 1,
            standing: Standing::Outstanding,
        });
        row.note(Timestamp(2_000), "waits for b".to_owned());
        row
    }

    #[test]
    fn a_stored_saga_follows_its_steps_to_new_places_and_names() {
        let mut row = row();
        let table = steps(&[("new", &[]), ("c", &[]), ("bee", &["b"]), ("a", &[])]);
        row.fit(&table).unwrap();
        let attempts: Vec<u32> = row.state.steps.iter().map(|step| step.attempt).collect();
        assert_eq!(attempts, [0, 0, 2, 2]);
        assert!(matches!(row.state.stage, Stage::Held { step: 2, .. }));
        assert_eq!(row.state.strays[0].step, 2);
        assert_eq!(row.names, ["new", "c", "bee", "a"]);
    }

    #[test]
    fn a_step_that_was_never_asked_for_may_go() {
        let mut row = row();
        assert_eq!(row.fit(&steps(&[("a", &[]), ("b", &[])])), Ok(()));
        assert_eq!(row.state.steps.len(), 2);
    }

    #[test]
    fn a_step_that_the_saga_needs_is_missed_by_name() {
        assert_eq!(
            row().fit(&steps(&[("b", &[]), ("c", &[])])),
            Err("a".to_owned())
        );
        assert_eq!(row().fit(&steps(&[("a", &[])])), Err("b".to_owned()));
    }

    #[test]
    fn only_the_newest_notes_are_kept() {
        let mut row = row();
        for n in 0..100 {
            row.note(Timestamp(n), n.to_string());
        }
        assert_eq!(row.notes.len(), NOTES_MAX);
        assert_eq!(row.notes[NOTES_MAX - 1].what, "99");
    }

    #[test]
    fn golden_bytes_of_a_row_stay_readable() {
        let golden = include_bytes!("../../tests/golden/saga-row-1.bin");
        let subject = || Subject::row("wait", b"k");
        assert_eq!(
            codec::seal(subject(), 1, &row()).unwrap(),
            golden,
            "the stored form changed: raise the version of the row and keep reading this one"
        );
        let stored: SagaRow = codec::open(subject(), 1, golden, codec::no_older).unwrap();
        assert_eq!(stored.state, row().state);
    }
}
