//! A host tests its own service: one handler at a time, then the whole system in virtual time,
//! with a power failure in the middle.
//!
//! ```sh
//! cargo test --example testing
//! ```

use redeliver::prelude::*;

/// Books that are out, with who has them.
const LENT: Table<u64, String> = Table::new("lent");
/// How often a reader was reminded.
const REMINDED: Table<String, u32> = Table::new("reminded");

struct Library;

impl Service for Library {
    const NAME: &'static str = "library";

    fn handlers(on: &mut Handlers<Self>) {
        on.table(LENT).table(REMINDED);
        on.command(Self::lend)
            .timer(Self::overdue)
            .query(Self::reminders);
        on.publishes_outside::<Reminded>();
    }
}

impl Library {
    fn lend(&self, lend: Lend, cx: &mut Context<Self>) -> Result<(), Rejection> {
        if cx.get(LENT, &lend.book)?.is_some() {
            return Err(Rejection::conflict("is_lent", "somebody else has it"));
        }
        cx.put(LENT, &lend.book, &lend.reader)?;
        cx.after(days(7), Overdue { book: lend.book });
        Ok(())
    }

    fn overdue(&self, due: Overdue, cx: &mut Context<Self>) -> Result<(), Rejection> {
        if let Some(reader) = cx.get(LENT, &due.book)? {
            let times = cx.get(REMINDED, &reader)?.unwrap_or(0) + 1;
            cx.put(REMINDED, &reader, &times)?;
            cx.publish(Reminded { reader });
        }
        Ok(())
    }

    fn reminders(&self, of: Reminders, view: &View<Self>) -> Result<u32, Rejection> {
        Ok(view.get(REMINDED, &of.reader)?.unwrap_or(0))
    }
}

macro_rules! message {
    ($name:ident { $($field:ident: $type:ty),* } $wire:literal) => {
        #[derive(Debug, PartialEq, Serialize, Deserialize)]
        struct $name { $($field: $type),* }
        impl Message for $name {
            const NAME: &'static str = $wire;
        }
    };
}
message!(Lend { book: u64, reader: String } "lend");
message!(Overdue { book: u64 } "overdue");
message!(Reminders { reader: String } "reminders");
message!(Reminded { reader: String } "reminded");
impl Event for Reminded {}
impl Command for Lend {
    type Reply = ();
}

impl Query for Reminders {
    type Answer = u32;
}

fn main() -> Result<(), redeliver::TopologyError> {
    let topology = redeliver::System::open("never-opened")
        .service(Library)
        .topology()?;
    println!("{topology:#?}");
    println!("tested by `cargo test --example testing`");
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use redeliver::testing::{ServiceKit, TestSystem};

    fn lend(reader: &str) -> Lend {
        let reader = reader.to_owned();
        Lend { book: 7, reader }
    }

    #[test]
    fn a_book_is_lent_to_one_reader_at_a_time() {
        let mut kit = ServiceKit::of(Library);
        kit.given(LENT, &7, &"Ada".to_owned());
        let turn = kit.command(lend("Bob"));
        assert_eq!(turn.rejection().code, "is_lent");
        assert_eq!(kit.get(LENT, &7).as_deref(), Some("Ada"));
    }

    #[test]
    fn a_reader_is_reminded_after_a_week() {
        let mut kit = ServiceKit::of(Library);
        kit.command(lend("Ada"));
        kit.advance(days(6));
        assert!(kit.fire_due_timers().is_empty());
        kit.advance(days(1));
        let reader = "Ada".to_owned();
        assert_eq!(
            kit.fire_due_timers()[0].published::<Reminded>(),
            [Reminded { reader }]
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_power_failure_takes_neither_the_loan_nor_its_reminder() {
        let mut test = TestSystem::start(7, |system| system.service(Library))
            .await
            .unwrap();
        test.system()
            .service::<Library>()
            .call(lend("Ada"))
            .await
            .unwrap();
        test.crash();
        test.reopen().await.unwrap();
        let again = test.system().service::<Library>().call(lend("Bob")).await;
        assert!(
            again.is_err(),
            "the loan was acknowledged, so it is still there"
        );
        // Eight days pass in no time.
        test.advance(days(8)).await;
        test.quiet().await;
        let library = test.system().service::<Library>();
        let reader = "Ada".to_owned();
        assert_eq!(library.query(Reminders { reader }).await, Ok(1));
    }
}
