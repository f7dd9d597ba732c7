//! One service, one command.
//!
//! ```sh
//! cargo run --example hello -- Ada
//! ```

use redeliver::System;
use redeliver::prelude::*;

/// How often each name was greeted.
const GREETED: Table<String, u64> = Table::new("greeted");

struct Greeter;

impl Service for Greeter {
    const NAME: &'static str = "greeter";

    fn handlers(on: &mut Handlers<Self>) {
        on.table(GREETED).command(Self::greet);
    }
}

impl Greeter {
    // A handler decides and writes; what it has written and what it answers are one commit.
    fn greet(&self, greet: Greet, cx: &mut Context<Self>) -> Result<String, Rejection> {
        if greet.name.is_empty() {
            return Err(Rejection::invalid("no_name", "tell me your name"));
        }
        let times = cx.get(GREETED, &greet.name)?.unwrap_or(0) + 1;
        cx.put(GREETED, &greet.name, &times)?;
        Ok(format!("Hello {}, for the {times}. time", greet.name))
    }
}

#[derive(Serialize, Deserialize)]
struct Greet {
    name: String,
}

impl Message for Greet {
    const NAME: &'static str = "greet";
}

impl Command for Greet {
    type Reply = String;
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let name = std::env::args()
        .nth(1)
        .unwrap_or_else(|| "world".to_owned());
    let dir = std::env::args()
        .nth(2)
        .unwrap_or_else(|| "./hello-data".to_owned());

    let system = System::open(dir).service(Greeter).start().await?;
    // The answer comes when the turn is durable: kill the process right after it, start it again,
    // and it goes on counting.
    println!(
        "{}",
        system.service::<Greeter>().call(Greet { name }).await?
    );
    system.shutdown(seconds(10)).await?;
    Ok(())
}
