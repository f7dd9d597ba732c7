//! The operations of a run: how they are made up, and what each does to the stack and the model.

use std::time::Duration;

use proptest::prelude::*;
use redeliver::{CallError, EventNumber, FeedItem, IdempotencyKey, ServiceHandle};

use crate::model::{Deed, Model, Said};
use crate::services::Ledger;
use crate::services::{
    Book, Changed, Empty, Forget, Put, Remind, Reminders, Rows, Shelves, Slice, Tagged, Take,
};
use crate::stack::Stack;

#[derive(Debug, Clone)]
pub enum Op {
    Do(Deed, Option<u8>),
    /// Do it while the power fails.
    Interrupted(Deed, Option<u8>, u64),
    Rows(Slice),
    Tagged(Slice),
    Events(u64, usize),
    Remind(u8, u64),
    Forget(u8),
    Advance(u64),
    Disturb(u8),
    Restart,
    Kill,
    LosePower,
}

pub fn operations(most: usize) -> impl Strategy<Value = Vec<Op>> {
    prop::collection::vec(operation(), 1..most)
}

fn operation() -> impl Strategy<Value = Op> {
    let key = || prop::option::weighted(0.3, 0..4u8);
    prop_oneof![
        12 => (deed(), key()).prop_map(|(deed, key)| Op::Do(deed, key)),
        2 => (deed(), key(), 0..30u64).prop_map(|(deed, key, at)| Op::Interrupted(deed, key, at)),
        4 => slice(-4..4i64).prop_map(Op::Rows),
        4 => slice(0..5i64).prop_map(Op::Tagged),
        1 => (0..40u64, 1..20usize).prop_map(|(after, limit)| Op::Events(after, limit)),
        // Soon or never.
        2 => (0..4u8, prop_oneof![Just(0), 0..2_000u64, Just(3_600_000)])
            .prop_map(|(n, after)| Op::Remind(n, after)),
        1 => (0..4u8).prop_map(Op::Forget),
        2 => (0..3_000u64).prop_map(Op::Advance),
        1 => (0..4u8).prop_map(Op::Disturb),
        1 => Just(Op::Restart),
        1 => Just(Op::Kill),
        1 => Just(Op::LosePower),
    ]
}

/// Names that prefixes and escapes could confuse.
fn name() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["", "a", "a\0", "ab", "ä"]).prop_map(str::to_owned)
}

fn deed() -> impl Strategy<Value = Deed> {
    let place = || -4..4i16;
    prop_oneof![
        5 => (name(), place(), 0..5u64, name()).prop_map(|(shelf, place, amount, tag)| {
            Deed::Put { shelf, place, amount, tag }
        }),
        2 => (name(), place()).prop_map(|(shelf, place)| Deed::Take { shelf, place }),
        1 => (name(), name()).prop_map(|(from, to)| Deed::Empty { from, to }),
    ]
}

fn slice(numbers: std::ops::Range<i64>) -> impl Strategy<Value = Slice> {
    let number = || prop::option::of(numbers.clone());
    let of = prop::option::weighted(0.7, name());
    (of, number(), number(), number(), any::<bool>(), 0..12usize).prop_map(
        |(of, from, below, after, descending, limit)| Slice {
            of,
            from,
            below,
            after,
            descending,
            limit,
        },
    )
}

/// The stack said one thing and the model another.
pub type Different = String;

fn same<T: PartialEq + std::fmt::Debug>(what: &str, real: T, model: T) -> Result<(), Different> {
    match real == model {
        true => Ok(()),
        false => Err(format!("{what} is {real:?}, not {model:?}")),
    }
}

impl Op {
    pub async fn run(self, stack: &mut impl Stack, model: &mut Model) -> Result<(), Different> {
        match self {
            Op::Do(deed, key) => {
                let said = ask(stack, &deed, key).await;
                same("the answer", said, expected(model, &deed, key))
            }
            Op::Interrupted(deed, key, at) => interrupted(stack, model, deed, key, at).await,
            Op::Rows(of) => {
                let rows = shelves(stack).query(Rows { of: of.clone() }).await;
                same("the rows", rows.map_err(shown), Ok(model.rows(&of)))
            }
            Op::Tagged(of) => {
                let rows = shelves(stack).query(Tagged { of: of.clone() }).await;
                same("the index", rows.map_err(shown), Ok(model.tagged(&of)))
            }
            Op::Events(after, limit) => {
                let after = after.min(model.published.len() as u64);
                let read = events(stack, after, limit).await?;
                let all = model.published.iter().skip(after as usize).take(limit);
                same("the events", read, all.cloned().collect())
            }
            Op::Remind(n, after_ms) => {
                check_reminders(stack, model).await?;
                let due = shelves(stack).call(Remind { n, after_ms }).await;
                model.reminders.insert(n, due.map_err(shown)?);
                check_reminders(stack, model).await
            }
            Op::Forget(n) => {
                check_reminders(stack, model).await?;
                // One that becomes due at this moment may be gone, or may not.
                let forgotten = shelves(stack).call(Forget { n }).await.map_err(shown)?;
                match model.reminders.contains_key(&n) {
                    true if forgotten => drop(model.reminders.remove(&n)),
                    true => {}
                    false => same("whether it was set", forgotten, false)?,
                }
                check_reminders(stack, model).await
            }
            Op::Advance(ms) => {
                stack.advance(Duration::from_millis(ms)).await;
                check(stack, model).await
            }
            Op::Disturb(how) => {
                stack.disturb(how);
                Ok(())
            }
            Op::Restart => {
                stack.restart().await;
                check(stack, model).await
            }
            Op::Kill => {
                stack.kill().await;
                check(stack, model).await
            }
            Op::LosePower => {
                stack.lose_power().await;
                check(stack, model).await
            }
        }
    }
}

/// Made for each question: a handle that is kept keeps the cell open that a kill is to leave.
fn shelves(stack: &impl Stack) -> ServiceHandle<Shelves> {
    stack.system().service()
}

fn shown(error: CallError) -> String {
    error.to_string()
}

/// What the model answers, once per key.
fn expected(model: &mut Model, deed: &Deed, key: Option<u8>) -> Result<Said, Different> {
    match key.and_then(|key| model.answers.get(&key).cloned()) {
        Some((first, said)) if first == *deed => Ok(said),
        Some(_) => Err(shown(CallError::KeyReused)),
        None => {
            let said = model.apply(deed);
            if let Some(key) = key {
                model.answers.insert(key, (deed.clone(), said.clone()));
            }
            Ok(said)
        }
    }
}

/// What the stack answers; an error is none.
async fn ask(stack: &impl Stack, deed: &Deed, key: Option<u8>) -> Result<Said, Different> {
    let shelves = shelves(stack);
    let body = format!("{deed:?}");
    let key = key.map(|key| IdempotencyKey::new("differential", key.to_string(), body.as_bytes()));
    let reply = match deed.clone() {
        Deed::Put {
            shelf,
            place,
            amount,
            tag,
        } => {
            let put = Put {
                shelf,
                place,
                amount,
                tag,
            };
            let sent = shelves.command(put).idempotency(key).send().await;
            sent.map(|answered| format!("{:?}", answered.reply))
        }
        Deed::Take { shelf, place } => {
            let take = shelves.command(Take { shelf, place });
            let sent = take.idempotency(key).send().await;
            sent.map(|answered| answered.reply.to_string())
        }
        Deed::Empty { from, to } => {
            let empty = shelves.command(Empty { from, to });
            let sent = empty.idempotency(key).send().await;
            sent.map(|answered| answered.reply.to_string())
        }
    };
    match reply {
        Ok(reply) => Ok(Ok(reply)),
        Err(CallError::Rejected(rejection) | CallError::RejectedBefore(rejection)) => {
            Ok(Err(rejection.code))
        }
        Err(other) => Err(shown(other)),
    }
}

/// Loses power while a command is under way. If it was answered, it has happened; if not, it has
/// happened whole or not at all, and asking again with the same key makes it happen once.
async fn interrupted(
    stack: &mut impl Stack,
    model: &mut Model,
    deed: Deed,
    key: Option<u8>,
    at: u64,
) -> Result<(), Different> {
    let before = model.clone();
    let expected = expected(model, &deed, key);
    stack.lose_power_at(at);
    let said = ask(stack, &deed, key).await;
    let is_answered = said == expected;
    if let (Ok(said), false) = (&said, is_answered) {
        return Err(format!("the answer is {said:?}, not {expected:?}"));
    }
    stack.lose_power().await;
    if !is_answered {
        let published = events(stack, 0, usize::MAX).await?.len();
        if published == before.published.len() {
            let answers = std::mem::take(&mut model.answers);
            *model = before;
            if key.is_some() {
                let again = ask(stack, &deed, key).await;
                same("the answer when asked again", again, expected.clone())?;
                if expected.is_ok() {
                    let _ = model.apply(&deed);
                }
                model.answers = answers;
            }
        } else if key.is_some() {
            let again = ask(stack, &deed, key).await;
            same("the stored answer", again, expected)?;
        }
    }
    check(stack, model).await
}

async fn events(stack: &impl Stack, after: u64, limit: usize) -> Result<Vec<Changed>, Different> {
    let page = stack
        .system()
        .events()
        .read(EventNumber(after), limit)
        .await;
    let items = page.map_err(|error| error.to_string())?.items;
    let each = items.into_iter().map(|item| match item {
        FeedItem::Event(event) => {
            let json = event.json().map_err(|error| error.to_string())?;
            redeliver::codec::from_json(&json)
        }
        FeedItem::Gap(gap) => Err(format!("events are missing: {gap:?}")),
    });
    each.collect()
}

/// Compares everything.
async fn check(stack: &mut impl Stack, model: &mut Model) -> Result<(), Different> {
    stack.settle().await;
    let all = Slice {
        of: None,
        from: None,
        below: None,
        after: None,
        descending: false,
        limit: 1_000,
    };
    let shelves = shelves(stack);
    let rows = shelves.query(Rows { of: all.clone() }).await;
    same("the state", rows.map_err(shown), Ok(model.rows(&all)))?;
    let tagged = shelves.query(Tagged { of: all.clone() }).await;
    same("the index", tagged.map_err(shown), Ok(model.tagged(&all)))?;
    let read = events(stack, 0, usize::MAX).await?;
    same("what was published", &read, &model.published)?;
    let book = stack.system().service::<Ledger>().query(Book {}).await;
    same("what was heard", book.map_err(shown), Ok(model.book()))?;
    check_reminders(stack, model).await
}

/// What is due has gone off, once; what is not, has not.
async fn check_reminders(stack: &mut impl Stack, model: &mut Model) -> Result<(), Different> {
    let due_by = stack.now();
    stack.settle().await;
    loop {
        let shelves = shelves(stack);
        let found = shelves.query(Reminders {}).await.map_err(shown)?;
        for (n, due, times) in &found {
            let was_set = model.reminders.contains_key(n);
            if was_set && *due == 0 && *times == model.gone_off.get(n).unwrap_or(&0) + 1 {
                model.go_off(*n);
            }
        }
        same("the reminders", &found, &model.reminders())?;
        // On a real machine its alarm may ring a little later.
        if !model.reminders.values().any(|due| *due <= due_by) {
            return Ok(());
        }
        stack.settle().await;
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}
