//! Workload W1: one durable increment of one of a thousand counters.

use redeliver::prelude::*;
use redeliver::{ServiceHandle, StartError, System};

/// How many counters there are.
pub const COUNTERS: u32 = 1_000;

const COUNTS: Table<u32, u64> = Table::new("counts");

/// Counts.
#[derive(Debug)]
pub struct Counter;

impl Service for Counter {
    const NAME: &'static str = "counter";

    fn handlers(on: &mut Handlers<Self>) {
        on.table(COUNTS).command(Self::increment);
    }
}

impl Counter {
    fn increment(&self, increment: Increment, cx: &mut Context<Self>) -> Result<u64, Rejection> {
        let count = cx.get(COUNTS, &increment.counter)?.unwrap_or(0) + 1;
        cx.put(COUNTS, &increment.counter, &count)?;
        Ok(count)
    }
}

/// Adds one and answers the sum.
#[derive(Debug, Serialize, Deserialize)]
pub struct Increment {
    /// Which counter, below [`COUNTERS`].
    pub counter: u32,
}

impl Message for Increment {
    const NAME: &'static str = "increment";
}

impl Command for Increment {
    type Reply = u64;
}

/// Starts the counters over a data directory.
pub async fn start(dir: &std::path::Path) -> Result<(System, ServiceHandle<Counter>), StartError> {
    let system = System::open(dir).service(Counter).start().await?;
    let counter = system.service();
    Ok((system, counter))
}

/// Which counter the `nth` operation of a client takes: all of them, in no helpful order.
pub fn pick(client: u64, nth: u64) -> u32 {
    let mixed = (client << 40 ^ nth).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 33;
    (mixed % u64::from(COUNTERS)) as u32
}
