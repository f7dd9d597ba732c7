//! Sagas in a running system: three services, crashes at any moment, and the same end.
#![allow(clippy::unwrap_used, missing_docs)]

use redeliver::prelude::*;
use redeliver::testing::TestSystem;
use redeliver::{CallError, SagaProgress, SystemBuilder};

macro_rules! events {
    ($($name:ident $wire:literal)*) => {$(
        #[derive(Debug, Clone, Serialize, Deserialize)]
        struct $name { trip: u64 }
        impl Message for $name {
            const NAME: &'static str = $wire;
            fn key(&self) -> Key { Key::of(&self.trip) }
        }
        impl Event for $name {}
    )*};
}

events! {
    SeatRequested "seat-requested"
    SeatReserved "seat-reserved"
    SeatReturned "seat-returned"
    SeatFreed "seat-freed"
    MealRequested "meal-requested"
    MealPrepared "meal-prepared"
    MealRefused "meal-refused"
    TripOver "trip-over"
}

/// A trip: a seat, then a meal. Every third passenger's meal is refused; the kitchen never
/// answers every seventh.
struct Trip;

impl Saga for Trip {
    const NAME: &'static str = "trip";
    type Service = Travel;
    type Id = u64;
    type Data = ();

    fn steps(steps: &mut Steps<Self>) {
        steps
            .step("seat")
            .publishes(|trip| SeatRequested { trip: *trip.id })
            .succeeds_on(|e: &SeatReserved| e.trip)
            .undo_publishes(|trip| SeatReturned { trip: *trip.id })
            .undone_on(|e: &SeatFreed| e.trip);
        steps
            .step("meal")
            .publishes(|trip| MealRequested { trip: *trip.id })
            .succeeds_on(|e: &MealPrepared| e.trip)
            .fails_on(|e: &MealRefused| e.trip, |_| Failure::last("no meal left"))
            .deadline(minutes(1));
    }

    fn finished(
        id: &u64,
        (): &(),
        _: &SagaOutcome,
        cx: &mut Context<Travel>,
    ) -> Result<(), Rejection> {
        cx.update(ENDS, id, |ends| *ends += 1)?;
        cx.publish(TripOver { trip: *id });
        Ok(())
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct Travels {
    trip: u64,
}
impl Message for Travels {
    const NAME: &'static str = "travels";
}
impl Command for Travels {
    type Reply = ();
}

#[derive(Debug, Serialize, Deserialize)]
struct TripOf {
    trip: u64,
}
impl Message for TripOf {
    const NAME: &'static str = "trip-of";
}
impl Query for TripOf {
    type Answer = (String, u32);
}

/// How often each trip ended.
const ENDS: Table<u64, u32> = Table::new("ends");
const SEATS: Table<u64, bool> = Table::new("seats");

struct Travel;
impl Service for Travel {
    const NAME: &'static str = "travel";
    fn handlers(on: &mut Handlers<Self>) {
        on.table(ENDS)
            .saga::<Trip>()
            .publishes_outside::<TripOver>()
            .command(|_, travels: Travels, cx| {
                cx.put(ENDS, &travels.trip, &0)?;
                Trip::start(&travels.trip, (), cx)
            })
            .query(|_, of: TripOf, view| {
                let progress = Trip::progress(&of.trip, view)?;
                let Some(SagaProgress { state, .. }) = progress else {
                    return Err(Rejection::not_found("no_trip", "there is no such trip"));
                };
                let ends = view.get(ENDS, &of.trip)?.unwrap_or(0);
                Ok((format!("{state:?}"), ends))
            });
    }
}

struct Coach;
impl Service for Coach {
    const NAME: &'static str = "coach";
    fn handlers(on: &mut Handlers<Self>) {
        on.table(SEATS)
            .publishes::<SeatReserved>()
            .publishes::<SeatFreed>()
            .query(|_, of: SeatOf, view| Ok(view.get(SEATS, &of.trip)?))
            .event(|_, e: SeatRequested, cx| {
                cx.put(SEATS, &e.trip, &true)?;
                cx.publish(SeatReserved { trip: e.trip });
                Ok(())
            })
            .event(|_, e: SeatReturned, cx| {
                cx.put(SEATS, &e.trip, &false)?;
                cx.publish(SeatFreed { trip: e.trip });
                Ok(())
            });
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct SeatOf {
    trip: u64,
}
impl Message for SeatOf {
    const NAME: &'static str = "seat-of";
}
impl Query for SeatOf {
    type Answer = Option<bool>;
}

struct Kitchen;
impl Service for Kitchen {
    const NAME: &'static str = "kitchen";
    fn handlers(on: &mut Handlers<Self>) {
        on.publishes::<MealPrepared>()
            .publishes::<MealRefused>()
            .event(|_, e: MealRequested, cx| {
                let trip = e.trip;
                match (trip % 7, trip % 3) {
                    (0, _) => {}
                    (_, 0) => cx.publish(MealRefused { trip }),
                    _ => cx.publish(MealPrepared { trip }),
                }
                Ok(())
            });
    }
}

fn services(system: SystemBuilder) -> SystemBuilder {
    system.service(Travel).service(Coach).service(Kitchen)
}

async fn check_end(test: &TestSystem, trip: u64) {
    let travel = test.system().service::<Travel>();
    let (state, ends) = travel.query(TripOf { trip }).await.unwrap();
    let expected = match (trip % 7, trip % 3) {
        (0, _) => r#"Undone { reason: "step `meal` had no answer in time" }"#,
        (_, 0) => r#"Undone { reason: "no meal left" }"#,
        _ => "Completed",
    };
    assert_eq!((state.as_str(), ends), (expected, 1), "trip {trip}");
    let coach = test.system().service::<Coach>();
    let seat = coach.query(SeatOf { trip }).await.unwrap();
    assert_eq!(seat, Some(expected == "Completed"), "trip {trip}");
}

#[tokio::test(start_paused = true)]
async fn every_trip_ends_as_it_should_although_the_power_fails_again_and_again() {
    let mut test = TestSystem::start(7, services).await.unwrap();
    for trip in 1..=60 {
        let travel = test.system().service::<Travel>();
        match travel.call(Travels { trip }).await {
            Ok(()) => {}
            Err(error) => panic!("trip {trip}: {error}"),
        }
        // What was answered is durable; how far the saga has got is left to chance.
        if trip % 4 == 0 {
            test.crash();
            test.reopen().await.unwrap();
        }
    }
    test.quiet().await;
    test.advance(minutes(2)).await;
    test.quiet().await;
    for trip in 1..=60 {
        check_end(&test, trip).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_crash_at_any_disk_operation_of_a_saga_leads_to_the_same_end() {
    const TRIPS: std::ops::RangeInclusive<u64> = 1..=7;
    let run = |operation: Option<u64>| async move {
        let mut test = TestSystem::start(8, services).await.unwrap();
        let before = test.disk().operations();
        if let Some(operation) = operation {
            test.crash_at(operation);
        }
        // One trip after the other until the power fails; a trip whose start was not answered is
        // asked for again.
        for trip in TRIPS {
            let travel = test.system().service::<Travel>();
            if travel.call(Travels { trip }).await.is_err() {
                break;
            }
            test.advance(seconds(1)).await;
        }
        assert_eq!(test.disk().is_down(), operation.is_some());
        let operations = test.disk().operations() - before;
        if operation.is_some() {
            test.crash();
            test.reopen().await.unwrap();
            for trip in TRIPS {
                let travel = test.system().service::<Travel>();
                match travel.call(Travels { trip }).await {
                    Ok(()) => {}
                    Err(CallError::Rejected(no)) => assert_eq!(no.code, "saga_exists"),
                    Err(error) => panic!("{error}"),
                }
            }
        }
        test.quiet().await;
        test.advance(minutes(2)).await;
        test.quiet().await;
        for trip in TRIPS {
            check_end(&test, trip).await;
        }
        operations
    };
    let operations = run(None).await;
    assert!(operations > 15, "{operations} are no test");
    for operation in 1..=operations {
        run(Some(operation)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn every_trip_ends_as_it_should_although_handlers_panic() {
    let test = TestSystem::start(9, services).await.unwrap();
    let travel = test.system().service::<Travel>();
    test.panic_with(0.05);
    for trip in 1..=60 {
        // A command from outside that panics is not accepted: its sender tries again.
        while let Err(error) = travel.call(Travels { trip }).await {
            assert!(!matches!(error, CallError::Rejected(_)), "{error}");
        }
    }
    test.quiet().await;
    test.advance(minutes(10)).await;
    test.quiet().await;
    test.panic_with(0.0);
    for trip in 1..=60 {
        check_end(&test, trip).await;
    }
}
