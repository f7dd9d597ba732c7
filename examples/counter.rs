//! State that survives: counts how often it was started, and every increment it ever answered.
//!
//! ```sh
//! cargo run --example counter -- ./counter-data 3
//! ```
//!
//! Kill it at any moment, as hard as you like: a number it has printed is never forgotten.

use redeliver::System;
use redeliver::prelude::*;

/// Counts by name.
const COUNTS: Table<String, u64> = Table::new("counts");

struct Counter;

impl Service for Counter {
    const NAME: &'static str = "counter";

    fn handlers(on: &mut Handlers<Self>) {
        on.table(COUNTS).command(Self::increment).query(Self::count);
    }
}

impl Counter {
    fn increment(&self, increment: Increment, cx: &mut Context<Self>) -> Result<u64, Rejection> {
        let count = cx.get(COUNTS, &increment.name)?.unwrap_or(0) + 1;
        cx.put(COUNTS, &increment.name, &count)?;
        Ok(count)
    }

    fn count(&self, question: Count, view: &View<Self>) -> Result<u64, Rejection> {
        Ok(view.get(COUNTS, &question.name)?.unwrap_or(0))
    }
}

#[derive(Serialize, Deserialize)]
struct Increment {
    name: String,
}

impl Message for Increment {
    const NAME: &'static str = "increment";
}

impl Command for Increment {
    type Reply = u64;
}

#[derive(Serialize, Deserialize)]
struct Count {
    name: String,
}

impl Message for Count {
    const NAME: &'static str = "count";
}

impl Query for Count {
    type Answer = u64;
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let dir = arguments
        .next()
        .unwrap_or_else(|| "./counter-data".to_owned());
    let times: u64 = arguments.next().as_deref().unwrap_or("3").parse()?;

    let system = System::open(dir).service(Counter).start().await?;
    let counter = system.service::<Counter>();
    let before = counter
        .query(Count {
            name: "visits".to_owned(),
        })
        .await?;
    println!("before: {before}");
    for _ in 0..times {
        // The answer comes when the increment is durable.
        let count = counter
            .call(Increment {
                name: "visits".to_owned(),
            })
            .await?;
        println!("count: {count}");
    }
    system.shutdown(seconds(10)).await?;
    Ok(())
}
