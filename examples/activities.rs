//! Activities: calls to a flaky bank. Time-outs are *unknown* and reconciled, never charged twice.
//!
//! ```sh
//! cargo run --example activities
//! ```

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use redeliver::prelude::*;
use redeliver::{ActivityId, System};

/// The bank, which belongs to somebody else. Of its answers some never arrive.
#[derive(Default)]
struct Bank {
    booked: Mutex<HashMap<ActivityId, u64>>,
    calls: Mutex<u32>,
}

impl Bank {
    async fn transfer(&self, key: ActivityId, cents: u64) -> Result<(), ActivityError> {
        let call = {
            let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
            *calls += 1;
            *calls
        };
        match call % 3 {
            // Refused at the door: nothing happened.
            1 => return Err(ActivityError::Transient("the bank is busy".into())),
            // Booked, but the answer is lost.
            2 => self.book(key, cents),
            _ => {
                self.book(key, cents);
                return Ok(());
            }
        }
        std::future::pending().await
    }

    fn book(&self, key: ActivityId, cents: u64) {
        let mut booked = self.booked.lock().unwrap_or_else(PoisonError::into_inner);
        let before = booked.insert(key, cents);
        assert_eq!(before, None, "one transfer was booked twice");
    }

    fn has(&self, key: ActivityId) -> bool {
        let booked = self.booked.lock().unwrap_or_else(PoisonError::into_inner);
        booked.contains_key(&key)
    }
}

#[derive(Serialize, Deserialize)]
struct Transfer {
    cents: u64,
}

impl Activity<Wallet> for Transfer {
    const NAME: &'static str = "transfer";
    const DESTINATION: &'static str = "bank";
    // The bank books whatever it is told, so we ask before we tell it again.
    const IDEMPOTENT: bool = false;
    type Output = ();

    async fn run(self, wallet: Arc<Wallet>, cx: ActivityContext) -> Result<(), ActivityError> {
        println!("transfer of {} cents, attempt {}", self.cents, cx.attempt);
        wallet.bank.transfer(cx.key, self.cents).await
    }

    async fn reconcile(
        self,
        wallet: Arc<Wallet>,
        cx: ActivityContext,
    ) -> Result<Reconciled<()>, ActivityError> {
        let booked = wallet.bank.has(cx.key);
        println!("asked the bank about {} cents: {booked}", self.cents);
        Ok(if booked {
            Reconciled::Done(())
        } else {
            Reconciled::NotDone
        })
    }

    fn policy(_: &Wallet) -> ActivityPolicy {
        ActivityPolicy {
            timeout: Duration::from_millis(200),
            // After three failures in a row nobody calls the bank for a second.
            breaker_failures: 3,
            breaker_open_for: seconds(1),
            ..ActivityPolicy::default()
        }
    }
}

const PAID: Table<(), u64> = Table::new("paid");

struct Wallet {
    bank: Bank,
}

impl Service for Wallet {
    const NAME: &'static str = "wallet";

    fn handlers(on: &mut Handlers<Self>) {
        on.table(PAID)
            .command(Self::pay)
            .query(Self::paid)
            .activity(Self::transferred);
    }
}

impl Wallet {
    fn pay(&self, Pay(cents): Pay, cx: &mut Context<Self>) -> Result<(), Rejection> {
        // Runs once this turn is durable; its end arrives as another turn.
        cx.plan(Transfer { cents });
        Ok(())
    }

    fn transferred(
        &self,
        end: Finished<Transfer, ()>,
        cx: &mut Context<Self>,
    ) -> Result<(), Rejection> {
        match end.outcome {
            Outcome::Done(()) => {
                let paid = cx.get(PAID, &())?.unwrap_or(0);
                cx.put(PAID, &(), &(paid + end.input.cents))?;
            }
            Outcome::Failed(why) | Outcome::GaveUp { reason: why, .. } => {
                println!("not paid: {why}");
            }
        }
        cx.notify(&());
        Ok(())
    }

    fn paid(&self, _: Paid, view: &View<Self>) -> Result<u64, Rejection> {
        Ok(view.get(PAID, &())?.unwrap_or(0))
    }
}

#[derive(Serialize, Deserialize)]
struct Pay(u64);
impl Message for Pay {
    const NAME: &'static str = "pay";
}
impl Command for Pay {
    type Reply = ();
}

#[derive(Serialize, Deserialize)]
struct Paid;
impl Message for Paid {
    const NAME: &'static str = "paid";
}
impl Query for Paid {
    type Answer = u64;
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = std::env::args()
        .nth(1)
        .unwrap_or("./activities-data".to_owned());
    let wallet = Wallet {
        bank: Bank::default(),
    };
    let system = System::open(dir).service(wallet).start().await?;
    let wallet = system.service::<Wallet>();
    let before = wallet.query(Paid).await?;
    for cents in [100, 20, 3] {
        wallet.call(Pay(cents)).await?;
    }
    let watch = wallet.watch(&());
    loop {
        let changed = watch.changed();
        let paid = wallet.query(Paid).await? - before;
        if paid == 123 {
            println!("paid {paid} cents, each once");
            break;
        }
        changed.await;
    }
    system.shutdown(seconds(10)).await?;
    Ok(())
}
