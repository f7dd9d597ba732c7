//! The stored form of a saga: its row in the owning service's table.
//!
//! The machine counts steps by place, the row names them: steps may be added, moved or renamed
//! (`formerly`) in a later program, and stored sagas go on.

use serde::{Deserialize, Serialize};

use super::machine::{Effect, Stage, State, StepState};
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
                let is = |name: &&'static str| *name == stored;
                let now = steps.steps.iter().position(|step| step.name == stored);
                now.or_else(|| {
                    let mut steps = steps.steps.iter();
                    steps.position(|step| step.formerly.iter().any(|name| is(&name)))
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
        let needed = self
            .names
            .iter()
            .zip(&self.state.steps)
            .zip(places)
            .filter(|((_, state), place)| place.is_none() && !forgettable(state))
            .map(|((name, _), _)| name.clone())
            .next();
        needed.unwrap_or_else(|| "?".to_owned())
    }
}

/// A step whose loss changes nothing.
fn forgettable(step: &StepState) -> bool {
    matches!(step.effect, Effect::Undone) || step.attempt == 0
}
