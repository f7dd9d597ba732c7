//! Timers that survive: a reminder goes off once, at its time, whatever happened in between.
//!
//! ```sh
//! cargo run --example reminders -- ./reminders-data "Tea is ready" 2
//! cargo run --example reminders -- ./reminders-data
//! ```
//!
//! The first sets a reminder and waits for it. Kill it before: the second, which sets nothing,
//! waits for what is still to come, and what became due meanwhile goes off at once.

use std::time::Duration;

use redeliver::System;
use redeliver::prelude::*;

/// What is still to come, by number.
const OPEN: Table<u64, String> = Table::new("open");

struct Reminders;

impl Service for Reminders {
    const NAME: &'static str = "reminders";

    fn handlers(on: &mut Handlers<Self>) {
        on.table(OPEN)
            .command(Self::remind)
            .timer(Self::due)
            .query(Self::open);
    }
}

impl Reminders {
    fn remind(&self, ask: Remind, cx: &mut Context<Self>) -> Result<u64, Rejection> {
        let newest = cx.scan(OPEN, &Span::all().descending().limit(1))?;
        let number = newest.first().map_or(1, |(number, _)| number + 1);
        cx.put(OPEN, &number, &ask.text)?;
        // Part of this turn: either both the row and its timer are durable, or neither is.
        cx.after(Duration::from_secs(ask.seconds), Due { number });
        Ok(number)
    }

    fn due(&self, due: Due, cx: &mut Context<Self>) -> Result<(), Rejection> {
        if let Some(text) = cx.get(OPEN, &due.number)? {
            // What the world sees belongs into an activity; printing twice does no harm.
            println!("reminder {}: {text}", due.number);
            cx.remove(OPEN, &due.number)?;
        }
        cx.notify(&());
        Ok(())
    }

    fn open(&self, _: Open, view: &View<Self>) -> Result<usize, Rejection> {
        Ok(view.scan(OPEN, &Span::all())?.len())
    }
}

#[derive(Serialize, Deserialize)]
struct Remind {
    text: String,
    seconds: u64,
}
impl Message for Remind {
    const NAME: &'static str = "remind";
}
impl Command for Remind {
    type Reply = u64;
}

#[derive(Serialize, Deserialize)]
struct Due {
    number: u64,
}
impl Message for Due {
    const NAME: &'static str = "due";
}

#[derive(Serialize, Deserialize)]
struct Open;
impl Message for Open {
    const NAME: &'static str = "open";
}
impl Query for Open {
    type Answer = usize;
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let dir = arguments.next().unwrap_or("./reminders-data".to_owned());
    let system = System::open(dir).service(Reminders).start().await?;
    let reminders = system.service::<Reminders>();
    if let Some(text) = arguments.next() {
        let seconds = arguments.next().as_deref().unwrap_or("2").parse()?;
        let number = reminders.call(Remind { text, seconds }).await?;
        println!("reminder {number} in {seconds} s");
    }
    let watch = reminders.watch(&());
    loop {
        // Watching begins before the look, so no change falls between.
        let changed = watch.changed();
        if reminders.query(Open).await? == 0 {
            break;
        }
        changed.await;
    }
    system.shutdown(seconds(10)).await?;
    Ok(())
}
