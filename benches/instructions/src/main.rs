//! The hot paths for callgrind: one thread, a simulated disk, virtual time and a seed, so that the
//! same program takes the same instructions on a quiet machine and on a busy one.
//!
//! `instructions CASE` prints how many operations it does inside of `measured`, which is all
//! that `.ci/instructions.sh` counts; `instructions` lists the cases.

use std::error::Error;
use std::process::ExitCode;
use std::sync::Arc;

use bytes::Bytes;
use redeliver::clock::{Clock, SystemClock};
use redeliver::commit::{Cause, Commit, Write};
use redeliver::envelope::{Envelope, Key, Kind, MessageId};
use redeliver::http::{ServerConfig, serve};
use redeliver::persistence::options::{Driving, StoreOptions};
use redeliver::persistence::sim_engine::SimEngine;
use redeliver::persistence::store::Store;
use redeliver::testing::{SimDisk, TestSystem};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use warp::Filter;

/// What the other benches measure too.
#[path = "../../workloads/chain.rs"]
pub mod chain;
/// The same.
#[path = "../../workloads/counter.rs"]
pub mod counter;

/// What the programs are built with.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

type Outcome<T> = Result<T, Box<dyn Error>>;

/// A case: does some operations to warm up, then some that are counted; how many of these.
type Case = fn() -> Outcome<u64>;

const SEED: u64 = 7;
const CASES: [(&str, Case); 6] = [
    ("w1-turn", turns),
    ("w1-turn-of-64", turns_of_many),
    ("w2-order", orders),
    ("journal-append", appends),
    ("envelope", envelopes),
    ("http-answer", answers),
];

fn main() -> ExitCode {
    let named = std::env::args().nth(1);
    let Some(name) = named else {
        for (name, _) in CASES {
            println!("{name}");
        }
        return ExitCode::SUCCESS;
    };
    let Some((_, case)) = CASES.iter().find(|(known, _)| *known == name) else {
        eprintln!("there is no case {name}; without a name they are listed");
        return ExitCode::from(2);
    };
    match case() {
        Ok(operations) => {
            println!("{operations}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{name}: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Its instructions, and those of all that it calls, are counted.
#[inline(never)]
fn measured(work: &mut dyn FnMut() -> Outcome<()>) -> Outcome<()> {
    work()
}

/// A runtime of one thread in virtual time.
fn runtime() -> Outcome<tokio::runtime::Runtime> {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    Ok(builder.enable_all().start_paused(true).build()?)
}

/// W1, one at a time.
fn turns() -> Outcome<u64> {
    counted(1, 1_000)
}

/// W1, 64 at a time, so that they share batches and groups.
fn turns_of_many() -> Outcome<u64> {
    counted(64, 64 * 40)
}

fn counted(clients: u64, operations: u64) -> Outcome<u64> {
    let runtime = runtime()?;
    let start = TestSystem::start(SEED, |builder| builder.service(counter::Counter));
    let test = runtime.block_on(start)?;
    let handle = test.system().service::<counter::Counter>();
    let round = |first: u64| {
        let asked = (first..first + clients).map(|nth| {
            let handle = handle.clone();
            let counter = counter::pick(0, nth);
            async move { handle.call(counter::Increment { counter }).await }
        });
        let asked: Vec<_> = asked.collect();
        async move {
            let asked: Vec<_> = asked.into_iter().map(tokio::spawn).collect();
            for answer in asked {
                answer.await??;
            }
            Outcome::Ok(())
        }
    };
    for nth in 0..200 {
        runtime.block_on(round(nth * clients))?;
    }
    measured(&mut || {
        for nth in 0..operations / clients {
            runtime.block_on(round(nth * clients))?;
        }
        Ok(())
    })?;
    Ok(operations)
}

/// W2: an order from its placing until its last step is durable.
fn orders() -> Outcome<u64> {
    const ORDERS: u64 = 400;
    let runtime = runtime()?;
    let test = runtime.block_on(TestSystem::start(SEED, chain::services))?;
    let handle = test.system().service::<chain::Orders>();
    for order in 0..100 {
        runtime.block_on(chain::complete(&handle, order))?;
    }
    measured(&mut || {
        for order in 1_000..1_000 + ORDERS {
            runtime.block_on(chain::complete(&handle, order))?;
        }
        Ok(())
    })?;
    Ok(ORDERS)
}

/// The store alone: commits queued and written in groups of 16, as `bare journal` does.
fn appends() -> Outcome<u64> {
    const GROUP: u64 = 16;
    const GROUPS: u64 = 250;
    let engines = Arc::new(SimEngine::new(SEED).factory());
    let (store, _) = Store::open(
        StoreOptions::new("/data"),
        Arc::new(SimDisk::new(SEED)),
        engines,
        Arc::new(SystemClock),
        Driving::Manual(Arc::new(|| {})),
    )?;
    let service = store.service("ceiling", 0, &[])?;
    let table = store.table(service, "rows", &[])?;
    let epoch = store.take_over(service);
    let value = Bytes::from(vec![7; 100]);
    let group = |first: u64| {
        for op in first..first + GROUP {
            let row = (op % 1_000) as u32;
            let commit = Commit {
                service,
                at: SystemClock.wall(),
                seed: op,
                cause: Cause::System {
                    note: String::new(),
                },
                mark: None,
                writes: vec![Write {
                    table,
                    key: Bytes::copy_from_slice(&row.to_be_bytes()),
                    value: Some(value.clone()),
                }],
                sends: Vec::new(),
            };
            store.queue(epoch, commit, Vec::new())?;
        }
        store.write_group()?;
        Outcome::Ok(())
    };
    for nth in 0..100 {
        group(nth * GROUP)?;
    }
    measured(&mut || (0..GROUPS).try_for_each(|nth| group(nth * GROUP)))?;
    Ok(GROUP * GROUPS)
}

/// A message's way into bytes and back.
fn envelopes() -> Outcome<u64> {
    const ENVELOPES: u64 = 5_000;
    let id = |number: u128| MessageId(uuid::Uuid::from_u128(number));
    let mut envelope = Envelope {
        id: id(1),
        kind: Kind::Event,
        name: Bytes::from_static(b"inventory-reservation-requested"),
        version: 1,
        key: Key::of(&77_u64),
        correlation: id(2),
        causation: id(3),
        trace: None,
        at: SystemClock.wall(),
        wants_reply: false,
        body: Bytes::from(vec![7; 250]),
    };
    measured(&mut || {
        for number in 0..ENVELOPES {
            envelope.id = id(number.into());
            let bytes = envelope.encode()?;
            envelope = Envelope::decode(&bytes)?;
        }
        Ok(())
    })?;
    Ok(ENVELOPES)
}

/// A request from its bytes to those of its answer: our server, a route with a JSON body, one
/// connection. The client's reads and writes are counted too; it does nothing else.
fn answers() -> Outcome<u64> {
    const ANSWERS: u64 = 1_000;
    const REQUEST: &[u8] = b"POST /services/counter/increment HTTP/1.1\r\nhost: 127.0.0.1\r\n\
        content-type: application/json\r\ncontent-length: 15\r\n\r\n{\"counter\":500}";
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_all().build()?;
    let routes = warp::path!("services" / String / String)
        .and(warp::post())
        .and(warp::body::json())
        .map(
            |_: String, _: String, counter: std::collections::BTreeMap<String, u64>| {
                warp::reply::json(&counter.values().sum::<u64>())
            },
        );
    let stop = CancellationToken::new();
    let mut connection = runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let stopped = stop.clone().cancelled_owned();
        tokio::spawn(serve(listener, routes, ServerConfig::default(), stopped));
        TcpStream::connect(address).await
    })?;
    let mut buffer = [0; 4_096];
    let mut ask = |times: u64| {
        runtime.block_on(async {
            for _ in 0..times {
                connection.write_all(REQUEST).await?;
                let mut read = 0;
                // The whole answer ends with the sum.
                while !buffer[..read].ends_with(b"500") {
                    let more = connection.read(&mut buffer[read..]).await?;
                    if more == 0 {
                        let said = String::from_utf8_lossy(&buffer[..read]).into_owned();
                        return Err(format!("the server answered `{said}` and closed").into());
                    }
                    read += more;
                }
            }
            Outcome::Ok(())
        })
    };
    ask(100)?;
    measured(&mut || ask(ANSWERS))?;
    stop.cancel();
    Ok(ANSWERS)
}
