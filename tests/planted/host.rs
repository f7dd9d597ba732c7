//! The host that mistakes are planted in: orders that are held, billed and shipped by a saga, told
//! to everybody as events, charged outside and followed by a reminder.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use redeliver::prelude::*;
use redeliver::{
    ActivityError, ActivityPolicy, Config, Failure, Index, Saga, SagaOutcome, Steps, Supervision,
    SystemBuilder,
};

macro_rules! messages {
    ($($name:ident $wire:literal is $kind:ident keyed by $key:ident { $($field:ident),* } $({ $reply:ident = $of:ty })?)*) => {$(
        #[derive(Debug, Clone, Serialize, Deserialize)]
        pub struct $name { $(pub $field: u64),* }
        impl Message for $name {
            const NAME: &'static str = $wire;
            fn key(&self) -> Key { Key::of(&self.$key) }
        }
        impl $kind for $name { $(type $reply = $of;)? }
    )*};
}
messages! {
    Take "take" is Command keyed by customer { order, customer } { Reply = u64 }
    Taken "taken" is Event keyed by customer { order, customer, nth }
    Hold "hold" is Event keyed by order { order, customer }
    Held "held" is Event keyed by order { order }
    PutBack "put-back" is Event keyed by order { order }
    IsBack "is-back" is Event keyed by order { order }
    Bill "bill" is Event keyed by order { order }
    Billed "billed" is Event keyed by order { order }
    Refund "refund" is Event keyed by order { order }
    Refunded "refunded" is Event keyed by order { order }
    Ship "ship" is Event keyed by order { order }
    Shipped "shipped" is Event keyed by order { order }
    NotShipped "not-shipped" is Event keyed by order { order }
    Tokens "tokens" is Query keyed by salt { salt } { Answer = Vec<(u64, u64)> }
    Orders "orders" is Query keyed by salt { salt } { Answer = Vec<(u64, Order)> }
    Trips "trips" is Query keyed by salt { salt } { Answer = Vec<(u64, String)> }
    Copies "copies" is Query keyed by salt { salt } { Answer = Vec<(u64, u32)> }
    Sequences "sequences" is Query keyed by salt { salt } { Answer = Vec<(u64, Vec<u64>)> }
    Results "results" is Query keyed by salt { salt } { Answer = Vec<(u64, u32)> }
    Histories "histories" is Query keyed by salt { salt } { Answer = Vec<(u64, History)> }
    HeldNow "held-now" is Query keyed by salt { salt } { Answer = (Vec<u64>, Vec<u64>) }
}

/// What was done for an order, and when.
pub type History = Vec<(String, i64)>;

/// An order as the desk keeps it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Order {
    /// Drawn by the turn that took it, so that another turn has another.
    pub token: u64,
    /// How many turns took it.
    pub taken: u32,
    /// When each reminder was due and when it came.
    pub reminded: Vec<(i64, i64)>,
    /// How its saga ended, each time it did.
    pub ends: Vec<String>,
}

/// The order that is refused by the desk.
pub fn is_refused(order: u64) -> bool {
    order % 7 == 3
}

const ORDERS: Table<u64, Order> = Table::new("orders");
const TAKEN: Table<u64, u64> = Table::new("taken");

pub struct Desk;
impl Service for Desk {
    const NAME: &'static str = "desk";
    fn handlers(on: &mut Handlers<Self>) {
        on.table(ORDERS)
            .table(TAKEN)
            .supervision(patient())
            .command(Self::take)
            .timer(|_, remind: Remind, cx| {
                let came = (remind.due, cx.now().0);
                cx.update(ORDERS, &remind.order, |order| order.reminded.push(came))?;
                Ok(())
            })
            .saga::<Trip>()
            .query(|_, _: Tokens, view| {
                let rows = view.scan(ORDERS, &Span::all().limit(1_000))?;
                Ok(rows
                    .into_iter()
                    .map(|(order, row)| (order, row.token))
                    .collect())
            })
            .query(|_, _: Orders, view| Ok(view.scan(ORDERS, &Span::all().limit(1_000))?))
            .query(|_, _: Trips, view| {
                let rows = view.scan(ORDERS, &Span::all().limit(1_000))?;
                rows.into_iter()
                    .map(|(order, _)| Ok((order, format!("{:?}", Trip::state(&order, view)?))))
                    .collect()
            })
            .publishes::<Taken>();
    }
}

impl Desk {
    fn take(&self, take: Take, cx: &mut Context<Self>) -> Result<u64, Rejection> {
        let Take { order, customer } = take;
        let nth = cx.get(TAKEN, &customer)?.unwrap_or(0) + 1;
        cx.put(TAKEN, &customer, &nth)?;
        let mut row = cx.get(ORDERS, &order)?.unwrap_or_default();
        row.token = cx.random();
        row.taken += 1;
        cx.put(ORDERS, &order, &row)?;
        cx.publish(Taken {
            order,
            customer,
            nth,
        });
        if is_refused(order) {
            return Err(Rejection::conflict("refused", "not this one"));
        }
        let due = cx.now().plus(Duration::from_millis(300 + order % 5 * 900));
        cx.at(due, Remind { order, due: due.0 });
        if Trip::state(&order, cx)?.is_none() {
            Trip::start(&order, customer, cx)?;
        }
        Ok(row.token)
    }
}

#[derive(Debug, Serialize, Deserialize)]
pub struct Remind {
    order: u64,
    due: i64,
}
impl Message for Remind {
    const NAME: &'static str = "remind";
}

/// Hold, bill, ship. Every third order is not shipped; every tenth is never answered.
pub struct Trip;
impl Saga for Trip {
    const NAME: &'static str = "trip";
    type Service = Desk;
    type Id = u64;
    type Data = u64;

    fn steps(steps: &mut Steps<Self>) {
        let hold = steps.step("hold").publishes(|saga| Hold {
            order: *saga.id,
            customer: *saga.data,
        });
        hold.succeeds_on(|held: &Held| held.order)
            .undo_publishes(|saga| PutBack { order: *saga.id })
            .undone_on(|back: &IsBack| back.order);
        let bill = steps
            .step("bill")
            .publishes(|saga| Bill { order: *saga.id });
        bill.succeeds_on(|billed: &Billed| billed.order)
            .undo_publishes(|saga| Refund { order: *saga.id })
            .undone_on(|refunded: &Refunded| refunded.order);
        let ship = steps
            .step("ship")
            .publishes(|saga| Ship { order: *saga.id });
        ship.succeeds_on(|shipped: &Shipped| shipped.order)
            .fails_on(|not: &NotShipped| not.order, |_| Failure::last("no truck"))
            .deadline(seconds(5));
    }

    fn finished(
        id: &u64,
        _: &u64,
        outcome: &SagaOutcome,
        cx: &mut Context<Desk>,
    ) -> Result<(), Rejection> {
        let end = format!("{outcome:?}");
        cx.update(ORDERS, id, |order| order.ends.push(end))?;
        Ok(())
    }

    fn keep_for() -> Option<Duration> {
        None
    }
}

const COPIES: Table<u64, u32> = Table::new("copies");
const HISTORY: Table<u64, History> = Table::new("history");
const HELD: Table<u64, u64> = Table::new("held");
const HELD_BY: Index<u64, u64, u64> = Index::new("held_by", HELD, |_, customer| Some(*customer));

fn count<S: Service>(table: Table<u64, u32>, order: u64, cx: &mut Context<S>) -> Done {
    let before = cx.get(table, &order)?.unwrap_or(0);
    Ok(cx.put(table, &order, &(before + 1))?)
}

fn note<S: Service>(order: u64, what: &str, cx: &mut Context<S>) -> Done {
    let mut history = cx.get(HISTORY, &order)?.unwrap_or_default();
    history.push((what.to_owned(), cx.now().0));
    Ok(cx.put(HISTORY, &order, &history)?)
}

type Done = Result<(), Rejection>;

pub struct Stock;
impl Service for Stock {
    const NAME: &'static str = "stock";
    fn handlers(on: &mut Handlers<Self>) {
        on.table(COPIES)
            .table(HISTORY)
            .table(HELD)
            .index(HELD_BY)
            .supervision(patient())
            .event(|_, taken: Taken, cx| count(COPIES, taken.order, cx))
            .event(|_, hold: Hold, cx| {
                cx.put(HELD, &hold.order, &hold.customer)?;
                note(hold.order, "hold", cx)?;
                cx.publish(Held { order: hold.order });
                Ok(())
            })
            .event(|_, back: PutBack, cx| {
                let order = back.order;
                if cx.get(HELD, &order)?.is_some() {
                    cx.remove(HELD, &order)?;
                    note(order, "put back", cx)?;
                }
                cx.publish(IsBack { order });
                Ok(())
            })
            .query(|_, _: Copies, view| Ok(view.scan(COPIES, &Span::all().limit(1_000))?))
            .query(|_, _: Histories, view| Ok(view.scan(HISTORY, &Span::all().limit(1_000))?))
            .query(|_, _: HeldNow, view| {
                let rows = view.scan(HELD, &Span::all().limit(1_000))?;
                let entries = view.index(HELD_BY, &Span::all().limit(1_000))?;
                let mut found: Vec<u64> = entries.into_iter().map(|(_, order)| order).collect();
                found.sort_unstable();
                Ok((rows.into_iter().map(|(order, _)| order).collect(), found))
            })
            .publishes::<Held>()
            .publishes::<IsBack>();
    }
}

const SEQUENCES: Table<u64, Vec<u64>> = Table::new("sequences");
const RESULTS: Table<u64, u32> = Table::new("results");

/// The account outside: order and key of every charge.
pub type Account = Arc<Mutex<Vec<(u64, String)>>>;

pub struct Ledger(pub Account);
impl Service for Ledger {
    const NAME: &'static str = "ledger";
    fn handlers(on: &mut Handlers<Self>) {
        on.table(SEQUENCES)
            .table(RESULTS)
            .table(HISTORY)
            .supervision(patient())
            .event(|_, taken: Taken, cx| {
                let mut heard = cx.get(SEQUENCES, &taken.customer)?.unwrap_or_default();
                heard.push(taken.nth);
                cx.put(SEQUENCES, &taken.customer, &heard)?;
                cx.plan(Charge { order: taken.order });
                Ok(())
            })
            .activity::<Charge>(|_, ended, cx| {
                if !matches!(ended.outcome, Outcome::Done(())) {
                    return note(ended.input.order, "not charged", cx);
                }
                count(RESULTS, ended.input.order, cx)
            })
            .event(|_, bill: Bill, cx| {
                note(bill.order, "bill", cx)?;
                cx.publish(Billed { order: bill.order });
                Ok(())
            })
            .event(|_, refund: Refund, cx| {
                let order = refund.order;
                let history = cx.get(HISTORY, &order)?.unwrap_or_default();
                if !history.iter().any(|(what, _)| what == "refund") {
                    note(order, "refund", cx)?;
                }
                cx.publish(Refunded { order });
                Ok(())
            })
            .query(|_, _: Sequences, view| Ok(view.scan(SEQUENCES, &Span::all().limit(1_000))?))
            .query(|_, _: Results, view| Ok(view.scan(RESULTS, &Span::all().limit(1_000))?))
            .query(|_, _: Histories, view| Ok(view.scan(HISTORY, &Span::all().limit(1_000))?))
            .publishes::<Billed>()
            .publishes::<Refunded>();
    }
}

#[derive(Serialize, Deserialize)]
pub struct Charge {
    order: u64,
}
impl Activity<Ledger> for Charge {
    const NAME: &'static str = "charge";
    const DESTINATION: &'static str = "account";
    const IDEMPOTENT: bool = false;
    type Output = ();
    fn policy(_: &Ledger) -> ActivityPolicy {
        // Whatever the clock does in between.
        ActivityPolicy {
            give_up_after: days(365),
            ..ActivityPolicy::default()
        }
    }
    async fn run(self, ledger: Arc<Ledger>, cx: ActivityContext) -> Result<(), ActivityError> {
        let charge = (self.order, cx.key.to_string());
        ledger.0.lock().unwrap().push(charge);
        tokio::time::sleep(Duration::from_millis(self.order % 4 * 20)).await;
        match self.order % 9 {
            4 => Err(ActivityError::Unknown("the answer was lost".to_owned())),
            _ => Ok(()),
        }
    }
    async fn reconcile(
        self,
        ledger: Arc<Ledger>,
        cx: ActivityContext,
    ) -> Result<Reconciled<()>, ActivityError> {
        let charge = (self.order, cx.key.to_string());
        Ok(match ledger.0.lock().unwrap().contains(&charge) {
            true => Reconciled::Done(()),
            false => Reconciled::NotDone,
        })
    }
}

/// Subscribes last, and lets others go first.
pub struct Carrier;
impl Service for Carrier {
    const NAME: &'static str = "carrier";
    fn handlers(on: &mut Handlers<Self>) {
        on.table(COPIES)
            .in_background()
            .supervision(patient())
            .event(|_, taken: Taken, cx| count(COPIES, taken.order, cx))
            .event(|_, ship: Ship, cx| {
                let order = ship.order;
                match (order % 10, order % 3) {
                    (0, _) => {}
                    (_, 0) => cx.publish(NotShipped { order }),
                    _ => cx.publish(Shipped { order }),
                }
                Ok(())
            })
            .query(|_, _: Copies, view| Ok(view.scan(COPIES, &Span::all().limit(1_000))?))
            .publishes::<Shipped>()
            .publishes::<NotShipped>();
    }
}

/// Nothing becomes a dead letter, and no service is given up.
fn patient() -> Supervision {
    Supervision {
        restarts_max: 1_000,
        attempts_max: 1_000,
        attempt_backoff_max: seconds(2),
        revive_after: Some(seconds(1)),
        ..Supervision::default()
    }
}

/// The four services, with limits that a test reaches.
pub fn host(account: &Account) -> impl Fn(SystemBuilder) -> SystemBuilder + Send + Sync + 'static {
    let account = account.clone();
    move |system| {
        let config = Config {
            stream_window: 8,
            journal_segment_bytes: 16 * 1024,
            checkpoint_after_bytes: 4 * 1024,
            ..Config::default()
        };
        system
            .config(config)
            .service(Desk)
            .service(Stock)
            .service(Ledger(account.clone()))
            .service(Carrier)
    }
}
