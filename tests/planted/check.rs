//! What must hold at the end of every run, whatever has happened.

use std::collections::BTreeMap;

use crate::host::{
    Desk, HeldNow, Histories, History, Ledger, Orders, Results, Sequences, Stock, Trips,
};
use crate::run::Run;

/// Something that must not be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    pub checker: &'static str,
    pub detail: String,
}

pub fn violated<T>(checker: &'static str, detail: String) -> Result<T, Violation> {
    Err(Violation { checker, detail })
}

fn hold(
    checker: &'static str,
    holds: bool,
    detail: impl FnOnce() -> String,
) -> Result<(), Violation> {
    match holds {
        true => Ok(()),
        false => violated(checker, detail()),
    }
}

/// The rows at the end.
struct Rows {
    orders: BTreeMap<u64, crate::host::Order>,
    trips: BTreeMap<u64, String>,
    stock: BTreeMap<u64, History>,
    ledger: BTreeMap<u64, History>,
    held: (Vec<u64>, Vec<u64>),
    sequences: Vec<(u64, Vec<u64>)>,
    results: BTreeMap<u64, u32>,
    copies: [BTreeMap<u64, u32>; 2],
}

async fn rows(run: &Run) -> Result<Rows, redeliver::CallError> {
    let system = run.test.system();
    let (desk, stock) = (system.service::<Desk>(), system.service::<Stock>());
    let ledger = system.service::<Ledger>();
    let map = |rows: Vec<(u64, u32)>| rows.into_iter().collect::<BTreeMap<_, _>>();
    Ok(Rows {
        orders: desk.query(Orders { salt: 0 }).await?.into_iter().collect(),
        trips: desk.query(Trips { salt: 0 }).await?.into_iter().collect(),
        stock: stock
            .query(Histories { salt: 0 })
            .await?
            .into_iter()
            .collect(),
        ledger: ledger
            .query(Histories { salt: 0 })
            .await?
            .into_iter()
            .collect(),
        held: stock.query(HeldNow { salt: 0 }).await?,
        sequences: ledger.query(Sequences { salt: 0 }).await?,
        results: map(ledger.query(Results { salt: 0 }).await?),
        copies: run.copies().await?.map(map),
    })
}

/// Checks everything.
pub async fn check_end(run: &Run) -> Result<(), Violation> {
    let rows = rows(run).await.map_err(|error| Violation {
        checker: "queries are answered",
        detail: error.to_string(),
    })?;
    let told = &run.told;
    let accepted: Vec<u64> = told.accepted.keys().copied().collect();
    let known: Vec<u64> = rows.orders.keys().copied().collect();
    hold("acknowledged = applied", accepted == known, || {
        format!("acknowledged {accepted:?}, applied {known:?}")
    })?;
    for (order, row) in &rows.orders {
        check_order(*order, row)?;
        check_trip(*order, &rows)?;
    }
    check_heard(&accepted, &rows)?;
    check_charges(run, &accepted, &rows)?;
    hold("index = rows", rows.held.0 == rows.held.1, || {
        format!("rows {:?}, entries {:?}", rows.held.0, rows.held.1)
    })?;
    check_streams(run)
}

/// Taken once, reminded once and not early.
fn check_order(order: u64, row: &crate::host::Order) -> Result<(), Violation> {
    hold("nothing twice", row.taken == 1, || {
        format!("order {order} was taken {} times", row.taken)
    })?;
    let once = row.reminded.len() == 1;
    hold("timers once", once, || {
        format!("order {order} was reminded {:?}", row.reminded)
    })?;
    let early = row.reminded.iter().any(|(due, came)| came < due);
    hold("timers not early", !early, || {
        format!("order {order} was reminded {:?}", row.reminded)
    })
}

/// One end; undone means that everything was, the last first.
fn check_trip(order: u64, rows: &Rows) -> Result<(), Violation> {
    let ends = &rows.orders[&order].ends;
    hold("one end of each saga", ends.len() == 1, || {
        format!(
            "order {order} ended {ends:?}, stands at {:?}",
            rows.trips[&order]
        )
    })?;
    let of =
        |histories: &BTreeMap<u64, History>| histories.get(&order).cloned().unwrap_or_default();
    let (stock, ledger) = (of(&rows.stock), of(&rows.ledger));
    let words = |history: &History| -> Vec<String> {
        history.iter().map(|(what, _)| what.clone()).collect()
    };
    let state = &rows.trips[&order];
    let expected: [&[&str]; 2] = match state {
        _ if state == "Some(Completed)" => [&["hold"], &["bill"]],
        _ if state.starts_with("Some(Undone") => [&["hold", "put back"], &["bill", "refund"]],
        _ => return violated("one end of each saga", format!("order {order}: {state}")),
    };
    let same = words(&stock) == expected[0] && words(&ledger) == expected[1];
    let backwards = match (stock.get(1), ledger.get(1)) {
        (Some((_, put_back)), Some((_, refund))) => refund <= put_back,
        _ => true,
    };
    hold(
        "compensations = steps in reverse",
        same && backwards,
        || {
            format!(
                "order {order}: {stock:?}, {ledger:?}, {:?}",
                rows.trips[&order]
            )
        },
    )
}

/// Every subscriber has heard of every order once, and in the order of its key.
fn check_heard(accepted: &[u64], rows: &Rows) -> Result<(), Violation> {
    for copies in &rows.copies {
        let heard: Vec<u64> = copies.keys().copied().collect();
        hold("promised = heard", heard == accepted, || {
            format!("promised {accepted:?}, heard {heard:?}")
        })?;
        let twice = copies.iter().find(|(_, count)| **count != 1);
        hold("nothing twice", twice.is_none(), || {
            format!("an order was heard of more than once: {twice:?}")
        })?;
    }
    let mut heard = 0;
    for (customer, nths) in &rows.sequences {
        heard += nths.len();
        let sent: Vec<u64> = (1..=nths.len() as u64).collect();
        hold("order per key", *nths == sent, || {
            format!("customer {customer}: {nths:?}")
        })?;
    }
    hold("promised = heard", heard == accepted.len(), || {
        format!(
            "{} were promised to the ledger, {heard} heard",
            accepted.len()
        )
    })
}

/// Each order was charged once outside, and its end handled once.
fn check_charges(run: &Run, accepted: &[u64], rows: &Rows) -> Result<(), Violation> {
    let mut charged: Vec<u64> = match run.account.lock() {
        Ok(account) => account.iter().map(|(order, _)| *order).collect(),
        Err(error) => return violated("activities once", error.to_string()),
    };
    charged.sort_unstable();
    hold("activities once", charged == accepted, || {
        format!("accepted {accepted:?}, charged {charged:?}")
    })?;
    let ended: Vec<u64> = rows.results.keys().copied().collect();
    let once = rows.results.values().all(|count| *count == 1) && ended == accepted;
    hold("results once", once, || format!("{:?}", rows.results))
}

/// `sent = waiting + mark`, `mark = applied + rejected + parked + dead + discarded`, and at rest
/// nothing waits.
fn check_streams(run: &Run) -> Result<(), Violation> {
    let report = run.test.system().report();
    for stream in &report.streams {
        let consumed =
            stream.applied + stream.rejected + stream.parked + stream.dead + stream.discarded;
        let conserved =
            stream.sent == stream.waiting + stream.accepted && stream.accepted == consumed;
        hold(
            "streams are conserved",
            conserved && stream.dead == 0,
            || format!("{stream:?}"),
        )?;
    }
    let timers = report.services.iter().find(|service| service.timers > 0);
    hold("no timer is left", timers.is_none(), || {
        format!("{timers:?}")
    })
}
