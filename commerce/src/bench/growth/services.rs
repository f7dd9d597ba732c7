//! W1 spread over many services, beside W1 over five.

use std::path::Path;

use redeliver::prelude::*;
use redeliver::{ServiceHandle, System, SystemBuilder};
use serde_json::json;

use super::super::client::{Client, Direct, Refused};
use super::super::failed;
use super::super::measured::Driven;
use super::{Object, Run, Services, compared, mixed};
use crate::cli::Failure;

const FEW: usize = 5;
const MANY: usize = 200;
/// Counters of all services together: as many rows are kept, however many services share them.
const COUNTERS: usize = 200_000;

const COUNTS: Table<u32, u64> = Table::new("counts");

/// One service of many; they differ by their number.
struct Nth<const N: usize>;

impl<const N: usize> Nth<N> {
    const DIGITS: [u8; 8] = {
        let mut name = *b"nth-0000";
        name[5] += (N / 100 % 10) as u8;
        name[6] += (N / 10 % 10) as u8;
        name[7] += (N % 10) as u8;
        name
    };
}

impl<const N: usize> Service for Nth<N> {
    const NAME: &'static str = match std::str::from_utf8(&Self::DIGITS) {
        Ok(name) => name,
        Err(_) => "nth",
    };

    fn handlers(on: &mut Handlers<Self>) {
        on.table(COUNTS).command(|_, Add { counter }, cx| {
            let count = cx.get(COUNTS, &counter)?.unwrap_or(0) + 1;
            cx.put(COUNTS, &counter, &count)?;
            Ok(count)
        });
    }
}

#[derive(Serialize, Deserialize)]
struct Add {
    counter: u32,
}

impl Message for Add {
    const NAME: &'static str = "add";
}

impl Command for Add {
    type Reply = u64;
}

/// How one of them is put into a system, and how it is driven by a client with so many counters.
struct Kind {
    onto: fn(SystemBuilder) -> SystemBuilder,
    client: fn(&System, u64, u64) -> Box<dyn Client>,
}

const fn kind<const N: usize>() -> Kind {
    Kind {
        onto: |builder| builder.service(Nth::<N>),
        client: |system, client, counters| {
            let service: ServiceHandle<Nth<N>> = system.service();
            let operate = move |nth| {
                let service = service.clone();
                let add = Add {
                    counter: (mixed(nth) % counters) as u32,
                };
                async move { Ok::<(), Refused>(service.call(add).await.map(|_| ())?) }
            };
            let nth = client << 40;
            Box::new(Direct { nth, operate })
        },
    }
}

/// All kinds: ten rows of twenty.
macro_rules! kinds {
    ($($tens:literal)*) => {
        [$(
            kind::<{ $tens * 10 }>(), kind::<{ $tens * 10 + 1 }>(), kind::<{ $tens * 10 + 2 }>(),
            kind::<{ $tens * 10 + 3 }>(), kind::<{ $tens * 10 + 4 }>(), kind::<{ $tens * 10 + 5 }>(),
            kind::<{ $tens * 10 + 6 }>(), kind::<{ $tens * 10 + 7 }>(), kind::<{ $tens * 10 + 8 }>(),
            kind::<{ $tens * 10 + 9 }>(),
        )*]
    };
}
const KINDS: [Kind; MANY] = kinds!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19);

pub(super) async fn measure(run: &Run<'_>, services: Services) -> Result<Object, Failure> {
    let few = spread(run, FEW, &run.data("few")).await?;
    let (count, large) = match services {
        Services::Few => (FEW, None),
        Services::Many => (MANY, Some(spread(run, MANY, &run.data("many")).await?)),
    };
    let mut object = match &large {
        Some(many) => compared(&few, many),
        None => compared(&few, &few),
    };
    object.insert("services".to_owned(), json!(count));
    Ok(object)
}

async fn spread(run: &Run<'_>, count: usize, dir: &Path) -> Result<Driven, Failure> {
    run.progress.say(&format!("{count} services"));
    let kinds = &KINDS[..count];
    let builder = kinds
        .iter()
        .fold(System::open(dir), |builder, kind| (kind.onto)(builder));
    let system = builder.start().await.map_err(failed)?;
    let clients = (0..run.clients).map(|client| {
        let kind = &kinds[client % count];
        (kind.client)(&system, client as u64, (COUNTERS / count) as u64)
    });
    let driven = run.drive(&system, clients.collect()).await;
    run.stop(system, driven).await
}
