//! W1 beside much that is pending: timers that are set, sagas that wait for an answer.

use redeliver::prelude::*;
use redeliver::{CallError, ServiceHandle, System};
use serde_json::json;

use super::super::counter::{COUNTERS, Counter};
use super::super::failed;
use super::super::measured::rounded;
use super::{Object, Run, compared};
use crate::cli::Failure;

/// How many one turn begins.
const BURST: u64 = 100;

/// Begins many of them.
#[derive(Serialize, Deserialize)]
struct Begin {
    first: u64,
    count: u64,
}

impl Message for Begin {
    const NAME: &'static str = "begin";
}

impl Command for Begin {
    type Reply = ();
}

#[derive(Serialize, Deserialize)]
struct Rung {
    number: u64,
}

impl Message for Rung {
    const NAME: &'static str = "rung";
}

struct Alarms;

impl Service for Alarms {
    const NAME: &'static str = "alarms";

    fn handlers(on: &mut Handlers<Self>) {
        on.command(|_, Begin { first, count }, cx| {
            for number in first..first + count {
                // Tomorrow, one after the other: none is due while anything is measured.
                let wait = hours(24) + std::time::Duration::from_millis(number);
                cx.after(wait, Rung { number });
            }
            Ok(())
        });
        on.timer(|_, Rung { number: _ }, _| Ok(()));
    }
}

#[derive(Serialize, Deserialize)]
struct Boarded {
    trip: u64,
}

impl Message for Boarded {
    const NAME: &'static str = "boarded";
}

impl Event for Boarded {}

/// Waits for somebody to board, who never does.
struct Trip;

impl Saga for Trip {
    const NAME: &'static str = "trip";
    type Service = Travel;
    type Id = u64;
    type Data = String;

    fn steps(steps: &mut Steps<Self>) {
        let boarding = steps.step("boarding");
        boarding
            .succeeds_on(|on: &Boarded| on.trip)
            .deadline(days(1));
    }

    fn finished(
        _: &u64,
        _: &String,
        _: &SagaOutcome,
        _: &mut Context<Travel>,
    ) -> Result<(), Rejection> {
        Ok(())
    }
}

struct Travel;

impl Service for Travel {
    const NAME: &'static str = "travel";

    fn handlers(on: &mut Handlers<Self>) {
        on.saga::<Trip>().command(|_, Begin { first, count }, cx| {
            for trip in first..first + count {
                Trip::start(&trip, "Anna Example, one seat".to_owned(), cx)?;
            }
            Ok(())
        });
    }
}

#[derive(Serialize, Deserialize)]
struct Board {
    trip: u64,
}

impl Message for Board {
    const NAME: &'static str = "board";
}

impl Command for Board {
    type Reply = ();
}

struct Gate;

impl Service for Gate {
    const NAME: &'static str = "gate";

    fn handlers(on: &mut Handlers<Self>) {
        on.publishes::<Boarded>().command(|_, Board { trip }, cx| {
            cx.publish(Boarded { trip });
            Ok(())
        });
    }
}

pub(super) async fn timers(run: &Run<'_>, timers: u64) -> Result<Object, Failure> {
    let builder = System::open(run.data("timers"));
    let started = builder.service(Counter).service(Alarms).start().await;
    let system = started.map_err(failed)?;
    let measured = beside(run, &system, system.service::<Alarms>(), timers).await;
    let mut object = run.stop(system, measured).await?;
    object.insert("timers".to_owned(), json!(timers));
    Ok(object)
}

pub(super) async fn sagas(run: &Run<'_>, sagas: u64) -> Result<Object, Failure> {
    let builder = System::open(run.data("sagas")).service(Counter);
    let started = builder.service(Travel).service(Gate).start().await;
    let system = started.map_err(failed)?;
    let measured = beside(run, &system, system.service::<Travel>(), sagas).await;
    let mut object = run.stop(system, measured).await?;
    object.insert("sagas".to_owned(), json!(sagas));
    Ok(object)
}

async fn beside<S: Service>(
    run: &Run<'_>,
    system: &System,
    service: ServiceHandle<S>,
    count: u64,
) -> Result<Object, Failure> {
    let counter = system.service();
    let small = run.increments(system, &counter, COUNTERS).await?;
    let began = std::time::Instant::now();
    let begin = move |nth| begin(service.clone(), nth, count);
    run.fill("beginning", count.div_ceil(BURST), begin).await?;
    let begun_s = count as f64 / began.elapsed().as_secs_f64();
    run.settle().await?;
    let large = run.increments(system, &counter, COUNTERS).await?;
    let mut object = compared(&small, &large);
    object.insert("begun_s".to_owned(), json!(rounded(begun_s)));
    Ok(object)
}

async fn begin<S: Service>(
    service: ServiceHandle<S>,
    nth: u64,
    total: u64,
) -> Result<(), CallError> {
    let first = nth * BURST;
    let count = BURST.min(total - first);
    service.call(Begin { first, count }).await
}
