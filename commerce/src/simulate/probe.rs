//! A probe beside the shop: what its business alone would not show. Each call is numbered within
//! its key, rings a timer, and runs an errand; the listener writes down what it hears in which
//! order, and when. Some calls are refused, and must leave nothing behind; and what was once seen of
//! a count is never unseen, also where nobody asks again for what a crash has taken.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use redeliver::prelude::*;
use redeliver::testing::Client;
use redeliver::{ActivityError, Reconciled};

use super::Town;
use super::outside::locked;

/// Keys of the probe, and after them those of callers that ask only once.
const KEYS: u64 = 5;
const HASTY_KEYS: u64 = 2;

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Call {
    key: u64,
    /// How long until its timer rings.
    wait_ms: u64,
    /// Whether it is refused when all of it is done.
    refused: bool,
}
command!(Call, "probe-call", key, u64);

/// The `number`-th call of its key.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Called {
    key: u64,
    number: u64,
    wait_ms: u64,
}
event!(Called, "probe-called", key);

/// The answer of the listener's errand, heard by the caller.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Heard {
    key: u64,
    number: u64,
}
event!(Heard, "probe-heard", key);

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Ring {
    key: u64,
    number: u64,
    due: Timestamp,
}
timer!(Ring, "probe-ring", key);

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct SheetOf {
    key: u64,
}
query!(SheetOf, "probe-sheet-of", (Sheet, u64));

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct CountOf {
    key: u64,
}
query!(CountOf, "probe-count-of", (u64, u64));

/// What the listener has written down of a key.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Sheet {
    calls: u64,
    errands: u64,
    rings: u64,
    /// What should never have been.
    odd: Vec<String>,
}

const COUNTS: Table<u64, (u64, u64)> = Table::new("probe-counts");
const SHEETS: Table<u64, Sheet> = Table::new("probe-sheets");
/// Calls whose timer has not rung, by number.
const WAITING: Table<(u64, u64), u64> = Table::new("probe-waiting");
const WAITING_BY_KEY: Index<u64, (u64, u64), u64> =
    Index::new("probe-waiting-by-key", WAITING, |_, key| Some(*key));
/// Rings and errands that were done, so that a second one shows.
const DONE: Table<(u64, u64, u64), ()> = Table::new("probe-done");

/// Takes calls and counts what comes back.
#[derive(Clone)]
pub(super) struct Caller;

impl Service for Caller {
    const NAME: &'static str = "probe-caller";

    fn handlers(on: &mut Handlers<Self>) {
        on.table(COUNTS)
            .command(|_: &Self, call: Call, cx: &mut Context<Self>| {
                let (calls, heard) = cx.get(COUNTS, &call.key)?.unwrap_or_default();
                cx.put(COUNTS, &call.key, &(calls + 1, heard))?;
                cx.publish(Called {
                    key: call.key,
                    number: calls + 1,
                    wait_ms: call.wait_ms,
                });
                if call.refused {
                    return Err(Rejection::conflict("probe_refused", "this call is refused"));
                }
                Ok(calls + 1)
            })
            .event(|_: &Self, heard: Heard, cx: &mut Context<Self>| {
                let (calls, before) = cx.get(COUNTS, &heard.key)?.unwrap_or_default();
                cx.put(COUNTS, &heard.key, &(calls, before + 1))?;
                Ok(())
            })
            .query(|_: &Self, of: CountOf, view: &View<Self>| {
                Ok(view.get(COUNTS, &of.key)?.unwrap_or_default())
            })
            .publishes_outside::<Called>();
    }
}

/// Writes down what it hears.
#[derive(Clone)]
pub(super) struct Listener {
    errands: Arc<Errands>,
}

impl Listener {
    pub(super) fn new(errands: Arc<Errands>) -> Listener {
        Listener { errands }
    }
}

/// The place to which errands go, outside of the system: how often each was run there.
#[derive(Debug, Default)]
pub(super) struct Errands(Mutex<BTreeMap<(u64, u64), u64>>);

/// What the caller knows.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// Calls answered, by key.
    called: BTreeMap<u64, u64>,
    /// Calls of which nobody knows whether they were taken, by key.
    unknown: BTreeMap<u64, u64>,
    /// The highest count that was ever seen, by key.
    seen: BTreeMap<u64, u64>,
    /// What should never have been.
    odd: Vec<String>,
}

fn write(
    key: u64,
    cx: &mut Context<Listener>,
    write: impl FnOnce(&mut Sheet),
) -> Result<(), Rejection> {
    let mut sheet = cx.get(SHEETS, &key)?.unwrap_or_default();
    write(&mut sheet);
    cx.put(SHEETS, &key, &sheet)?;
    Ok(())
}

/// Notes that something was done; answers whether it had been done before.
fn again(what: u64, key: u64, number: u64, cx: &mut Context<Listener>) -> Result<bool, Rejection> {
    let row = (key, number, what);
    let again = cx.get(DONE, &row)?.is_some();
    cx.put(DONE, &row, &())?;
    Ok(again)
}

impl Listener {
    fn called(&self, called: Called, cx: &mut Context<Self>) -> Result<(), Rejection> {
        let (key, number) = (called.key, called.number);
        write(key, cx, |sheet| {
            sheet.calls += 1;
            if number != sheet.calls {
                let odd = format!("call {number} came as number {}", sheet.calls);
                sheet.odd.push(odd);
            }
        })?;
        cx.put(WAITING, &(key, number), &key)?;
        let wait = Duration::from_millis(called.wait_ms);
        let due = cx.now().plus(wait);
        cx.after(wait, Ring { key, number, due });
        cx.plan(Errand { key, number });
        Ok(())
    }

    fn ring(&self, ring: Ring, cx: &mut Context<Self>) -> Result<(), Rejection> {
        let again = again(0, ring.key, ring.number, cx)?;
        cx.remove(WAITING, &(ring.key, ring.number))?;
        let (now, number) = (cx.now(), ring.number);
        write(ring.key, cx, |sheet| {
            sheet.rings += 1;
            if again {
                sheet.odd.push(format!("ring {number} came twice"));
            }
            if now < ring.due {
                sheet.odd.push(format!("ring {number} came early"));
            }
        })
    }
}

impl Service for Listener {
    const NAME: &'static str = "probe-listener";

    fn handlers(on: &mut Handlers<Self>) {
        on.table(SHEETS)
            .table(DONE)
            .table(WAITING)
            .index(WAITING_BY_KEY)
            .event(Self::called)
            .timer(Self::ring)
            .activity::<Errand>(|_: &Self, ended, cx: &mut Context<Self>| {
                let Errand { key, number } = ended.input;
                let again = again(1, key, number, cx)?;
                write(key, cx, |sheet| {
                    sheet.errands += 1;
                    if again {
                        sheet.odd.push(format!("errand {number} ended twice"));
                    }
                })?;
                cx.publish(Heard { key, number });
                Ok(())
            })
            .publishes::<Heard>()
            .query(|_: &Self, of: SheetOf, view: &View<Self>| {
                let span = Span::all().limit(usize::MAX);
                let waiting = view.index(WAITING_BY_KEY, &span)?;
                let waiting = waiting.iter().filter(|(key, _)| *key == of.key).count();
                let sheet = view.get(SHEETS, &of.key)?.unwrap_or_default();
                Ok((sheet, waiting as u64))
            });
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Errand {
    key: u64,
    number: u64,
}

impl Activity<Listener> for Errand {
    const NAME: &'static str = "probe-errand";
    const DESTINATION: &'static str = "probe";
    const IDEMPOTENT: bool = false;
    type Output = ();

    async fn run(self, listener: Arc<Listener>, _: ActivityContext) -> Result<(), ActivityError> {
        tokio::time::sleep(Duration::from_millis(self.number % 9)).await;
        let mut errands = locked(&listener.errands.0);
        *errands.entry((self.key, self.number)).or_default() += 1;
        Ok(())
    }

    async fn reconcile(
        self,
        listener: Arc<Listener>,
        _: ActivityContext,
    ) -> Result<Reconciled<()>, ActivityError> {
        let run = locked(&listener.errands.0).contains_key(&(self.key, self.number));
        Ok(match run {
            true => Reconciled::Done(()),
            false => Reconciled::NotDone,
        })
    }
}

/// Calls, several times in a row with the same key, until the time is over.
pub(super) async fn caller(client: Client, town: Arc<Town>) {
    while !client.is_over() {
        client.sleep(client.up_to(seconds(20))).await;
        let key = client.below(KEYS);
        for _ in 0..=client.below(4) {
            let call = Call {
                key,
                wait_ms: client.below(120_000),
                refused: client.below(5) == 0,
            };
            // While it waits for its answer, somebody looks at what it has done.
            let (answer, ()) =
                tokio::join!(client.call::<Caller, _>(call), look(&client, &town, key));
            if answer.is_ok() {
                *locked(&town.probed).called.entry(key).or_default() += 1;
            }
        }
    }
}

/// Calls once and goes on, answered or not.
pub(super) async fn hasty_caller(client: Client, town: Arc<Town>) {
    while !client.is_over() {
        client.sleep(client.up_to(seconds(10))).await;
        let key = KEYS + client.below(HASTY_KEYS);
        let call = Call {
            key,
            wait_ms: client.below(120_000),
            refused: false,
        };
        let (answer, ()) = tokio::join!(
            client.call_once::<Caller, _>(call),
            look(&client, &town, key)
        );
        let mut told = locked(&town.probed);
        let told = match answer {
            Some(Ok(_)) => &mut told.called,
            Some(Err(_)) => continue,
            None => &mut told.unknown,
        };
        *told.entry(key).or_default() += 1;
    }
}

/// Looks at a count twice: it never goes back.
async fn look(client: &Client, town: &Town, key: u64) {
    for _ in 0..2 {
        let Ok((count, _)) = client.query::<Caller, _>(CountOf { key }).await else {
            return;
        };
        let mut told = locked(&town.probed);
        let seen = told.seen.entry(key).or_default();
        let before = std::mem::replace(seen, count.max(*seen));
        if count < before {
            told.odd.push(format!(
                "{before} calls of key {key} were seen, then {count}"
            ));
        }
    }
}

/// Every call was heard once, in the order of its key; rang once and not early; ran its errand
/// once; and all of that was heard again by the caller.
pub(super) async fn check(client: Client, town: Arc<Town>) -> Result<(), String> {
    for key in 0..KEYS + HASTY_KEYS {
        look(&client, &town, key).await;
        let no = |refusal: Rejection| refusal.to_string();
        let (sheet, waiting) = client
            .query::<Listener, _>(SheetOf { key })
            .await
            .map_err(no)?;
        let counts = client
            .query::<Caller, _>(CountOf { key })
            .await
            .map_err(no)?;
        let calls = {
            let told = locked(&town.probed);
            let of = |calls: &BTreeMap<u64, u64>| calls.get(&key).copied().unwrap_or_default();
            let answered = of(&told.called);
            // What nobody knows of was done or not, as the caller says.
            counts.0.clamp(answered, answered + of(&told.unknown))
        };
        judge(key, calls, &sheet, waiting, counts)?;
    }
    let odd = locked(&town.probed).odd.clone();
    let errands = locked(&town.errands.0);
    let twice = errands.iter().find(|(_, times)| **times != 1);
    match (odd.is_empty(), twice) {
        (true, None) => Ok(()),
        (false, _) => Err(odd.join("; ")),
        (_, Some((errand, times))) => Err(format!("errand {errand:?} was run {times} times")),
    }
}

fn judge(
    key: u64,
    calls: u64,
    sheet: &Sheet,
    waiting: u64,
    counts: (u64, u64),
) -> Result<(), String> {
    let right = Sheet {
        calls,
        errands: calls,
        rings: calls,
        odd: Vec::new(),
    };
    match *sheet == right && waiting == 0 && counts == (calls, calls) {
        true => Ok(()),
        false => Err(format!(
            "{calls} calls of key {key} were answered, {counts:?} were counted, {waiting} wait, and the listener has {sheet:?}"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_the_probe_should_not_show_is_noticed() {
        let right = Sheet {
            calls: 3,
            errands: 3,
            rings: 3,
            odd: Vec::new(),
        };
        assert_eq!(judge(0, 3, &right, 0, (3, 3)), Ok(()));
        let odd = Sheet {
            odd: vec!["ring 1 came early".to_owned()],
            ..right.clone()
        };
        let rang = Sheet {
            rings: 4,
            ..right.clone()
        };
        for (calls, sheet, waiting, counts) in [
            (2, &right, 0, (3, 3)),
            (3, &right, 1, (3, 3)),
            (3, &right, 0, (4, 3)),
            (3, &right, 0, (3, 2)),
            (3, &odd, 0, (3, 3)),
            (3, &rang, 0, (3, 3)),
        ] {
            let judged = judge(0, calls, sheet, waiting, counts);
            assert!(judged.is_err(), "{calls} {sheet:?} {waiting} {counts:?}");
        }
    }
}
