//! A probe beside the shop: what its business alone would not show. Each call is numbered within
//! its key, rings a timer, and runs an errand; the listener writes down what it hears in which
//! order, and when.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use redeliver::prelude::*;
use redeliver::testing::Client;
use redeliver::{ActivityError, Reconciled};

use super::Town;
use super::outside::locked;

/// Keys of the probe.
const KEYS: u64 = 5;

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Call {
    key: u64,
    /// How long until its timer rings.
    wait_ms: u64,
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
query!(SheetOf, "probe-sheet-of", Sheet);

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
pub(super) struct Listener;

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
        let wait = Duration::from_millis(called.wait_ms);
        let due = cx.now().plus(wait);
        cx.after(wait, Ring { key, number, due });
        cx.plan(Errand { key, number });
        Ok(())
    }

    fn ring(&self, ring: Ring, cx: &mut Context<Self>) -> Result<(), Rejection> {
        let again = again(0, ring.key, ring.number, cx)?;
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
            .query(|_: &Self, of: SheetOf, view: &View<Self>| {
                Ok(view.get(SHEETS, &of.key)?.unwrap_or_default())
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

    async fn run(self, _: Arc<Listener>, _: ActivityContext) -> Result<(), ActivityError> {
        tokio::time::sleep(Duration::from_millis(self.number % 9)).await;
        Ok(())
    }

    async fn reconcile(
        self,
        _: Arc<Listener>,
        _: ActivityContext,
    ) -> Result<Reconciled<()>, ActivityError> {
        Ok(match self.number % 2 {
            0 => Reconciled::Done(()),
            _ => Reconciled::NotDone,
        })
    }
}

/// Calls, until the time is over.
pub(super) async fn caller(client: Client, town: Arc<Town>) {
    while !client.is_over() {
        client.sleep(client.up_to(seconds(12))).await;
        let call = Call {
            key: client.below(KEYS),
            wait_ms: client.below(120_000),
        };
        let key = call.key;
        if client.call::<Caller, _>(call).await.is_ok() {
            *locked(&town.called).entry(key).or_default() += 1;
        }
    }
}

/// Every call was heard once, in the order of its key; rang once and not early; ran its errand
/// once; and all of that was heard again by the caller.
pub(super) async fn check(client: Client, town: Arc<Town>) -> Result<(), String> {
    let called = locked(&town.called).clone();
    for key in 0..KEYS {
        let no = |refusal: Rejection| refusal.to_string();
        let sheet = client.query::<Listener, _>(SheetOf { key }).await.map_err(no)?;
        let counts = client.query::<Caller, _>(CountOf { key }).await.map_err(no)?;
        judge(key, &called, &sheet, counts)?;
    }
    Ok(())
}

fn judge(
    key: u64,
    called: &BTreeMap<u64, u64>,
    sheet: &Sheet,
    counts: (u64, u64),
) -> Result<(), String> {
    let calls = called.get(&key).copied().unwrap_or_default();
    let right = Sheet {
        calls,
        errands: calls,
        rings: calls,
        odd: Vec::new(),
    };
    match *sheet == right && counts == (calls, calls) {
        true => Ok(()),
        false => Err(format!(
            "{calls} calls of key {key} were answered, {counts:?} were counted, and the listener has {sheet:?}"
        )),
    }
}
