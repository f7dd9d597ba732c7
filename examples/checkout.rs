//! A saga over three services: stock is taken, money is taken, or neither.
//!
//! ```sh
//! cargo run --example checkout
//! ```

use redeliver::prelude::*;
use redeliver::{Failure, Saga, SagaOutcome, Steps, System};

/// The messages of this example all look alike.
macro_rules! messages {
    ($($name:ident $wire:literal),*) => {$(
        #[derive(Serialize, Deserialize)]
        struct $name { order: u64, cents: u64 }
        impl Message for $name {
            const NAME: &'static str = $wire;
            fn key(&self) -> Key { Key::of(&self.order) }
        }
    )*};
}
messages!(TakeStock "take-stock", StockTaken "stock-taken", PutBack "put-back", StockBack "stock-back",
    Charge "charge", Charged "charged", Declined "declined", Buy "buy", Shelf "shelf");
impl Event for TakeStock {}
impl Event for StockTaken {}
impl Event for PutBack {}
impl Event for StockBack {}
impl Event for Charge {}
impl Event for Charged {}
impl Event for Declined {}
impl Command for Buy {
    type Reply = ();
}
impl Query for Shelf {
    type Answer = u64;
}

/// An order: stock first, then money. Undone in reverse.
struct Checkout;

impl Saga for Checkout {
    const NAME: &'static str = "checkout";
    type Service = Orders;
    type Id = u64;
    type Data = u64;

    fn steps(steps: &mut Steps<Self>) {
        steps
            .step("stock")
            .publishes(|o| TakeStock {
                order: *o.id,
                cents: *o.data,
            })
            .succeeds_on(|taken: &StockTaken| taken.order)
            .deadline(seconds(30))
            .undo_publishes(|o| PutBack {
                order: *o.id,
                cents: *o.data,
            })
            .undone_on(|back: &StockBack| back.order);
        steps
            .step("money")
            .publishes(|o| Charge {
                order: *o.id,
                cents: *o.data,
            })
            .succeeds_on(|charged: &Charged| charged.order)
            .fails_on(
                |no: &Declined| no.order,
                |_| Failure::last("the card was declined"),
            )
            .deadline(minutes(2));
    }

    fn finished(
        id: &u64,
        _: &u64,
        outcome: &SagaOutcome,
        cx: &mut Context<Orders>,
    ) -> Result<(), Rejection> {
        println!("order {id}: {outcome:?}");
        cx.notify(id);
        Ok(())
    }
}

struct Orders;
impl Service for Orders {
    const NAME: &'static str = "orders";
    fn handlers(on: &mut Handlers<Self>) {
        on.command(|_, buy: Buy, cx| Checkout::start(&buy.order, buy.cents, cx));
        on.saga::<Checkout>();
    }
}

const SHELF: Table<(), u64> = Table::new("shelf");
struct Stock;
impl Service for Stock {
    const NAME: &'static str = "stock";
    fn handlers(on: &mut Handlers<Self>) {
        on.table(SHELF)
            .publishes::<StockTaken>()
            .publishes::<StockBack>();
        on.query(|_, _: Shelf, view| Ok(view.get(SHELF, &())?.unwrap_or(10)));
        on.event(|_, take: TakeStock, cx| {
            let left = cx.get(SHELF, &())?.unwrap_or(10);
            cx.put(SHELF, &(), &(left - 1))?;
            cx.publish(StockTaken {
                order: take.order,
                cents: take.cents,
            });
            Ok(())
        });
        on.event(|_, back: PutBack, cx| {
            cx.update(SHELF, &(), |left| *left += 1)?;
            cx.publish(StockBack {
                order: back.order,
                cents: back.cents,
            });
            Ok(())
        });
    }
}

struct Payment;
impl Service for Payment {
    const NAME: &'static str = "payment";
    fn handlers(on: &mut Handlers<Self>) {
        on.publishes::<Charged>().publishes::<Declined>();
        on.event(|_, Charge { order, cents }, cx| {
            if cents > 100_00 {
                cx.publish(Declined { order, cents })
            } else {
                cx.publish(Charged { order, cents })
            }
            Ok(())
        });
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = std::env::args()
        .nth(1)
        .unwrap_or_else(|| "./checkout-data".to_owned());
    let system = System::open(dir)
        .service(Orders)
        .service(Stock)
        .service(Payment)
        .start()
        .await?;
    let orders = system.service::<Orders>();
    for (order, cents) in [(1, 20_00), (2, 500_00)] {
        let watch = orders.watch(&order);
        let ended = watch.changed();
        match orders.call(Buy { order, cents }).await {
            Ok(()) => ended.await,
            Err(refused) => println!("order {order}: {refused}"),
        }
    }
    let left = system
        .service::<Stock>()
        .query(Shelf { order: 0, cents: 0 })
        .await?;
    println!("left on the shelf: {left}");
    system.shutdown(seconds(10)).await?;
    Ok(())
}
