//! A saga over three services: stock and money are both taken, or neither.
//!
//! ```sh
//! cargo run --example checkout
//! ```

use redeliver::prelude::*;
use redeliver::{Failure, Saga, SagaOutcome, Steps, System};

macro_rules! messages {
    ($($name:ident $wire:literal is $kind:ident {$($reply:tt)*})*) => {$(
        #[derive(Serialize, Deserialize)]
        struct $name(u64, u64); // order, cents
        impl Message for $name { const NAME: &'static str = $wire; }
        impl $kind for $name { $($reply)* }
    )*};
}
messages! {
    Buy "buy" is Command { type Reply = (); }
    TakeStock "take-stock" is Event {}
    StockTaken "stock-taken" is Event {}
    PutBack "put-back" is Event {}
    StockBack "stock-back" is Event {}
    Charge "charge" is Event {}
    Charged "charged" is Event {}
    Declined "declined" is Event {}
}

struct Checkout;
impl Saga for Checkout {
    const NAME: &'static str = "checkout";
    type Service = Orders;
    type Id = u64;
    type Data = u64;

    fn steps(steps: &mut Steps<Self>) {
        let stock = steps.step("stock").publishes(|s| TakeStock(*s.id, *s.data));
        stock.succeeds_on(|e: &StockTaken| e.0);
        stock.deadline(seconds(30));
        stock.undo_publishes(|s| PutBack(*s.id, *s.data));
        stock.undone_on(|e: &StockBack| e.0);
        let money = steps.step("money").publishes(|s| Charge(*s.id, *s.data));
        money.succeeds_on(|e: &Charged| e.0).deadline(minutes(2));
        money.fails_on(|e: &Declined| e.0, |_| Failure::last("declined"));
    }

    #[rustfmt::skip]
    fn finished(id: &u64, _: &u64, end: &SagaOutcome, cx: &mut Context<Orders>) -> Result<(), Rejection> {
        println!("order {id}: {end:?}");
        cx.notify(id);
        Ok(())
    }
}

struct Orders;
impl Service for Orders {
    const NAME: &'static str = "orders";
    fn handlers(on: &mut Handlers<Self>) {
        on.command(|_, Buy(order, cents), cx| Checkout::start(&order, cents, cx));
        on.saga::<Checkout>();
    }
}

const LEFT: Table<(), u64> = Table::new("left");
struct Stock;
impl Service for Stock {
    const NAME: &'static str = "stock";
    fn handlers(on: &mut Handlers<Self>) {
        on.publishes::<StockTaken>().publishes::<StockBack>();
        on.table(LEFT);
        on.event(|_, TakeStock(order, cents), cx| {
            let left = cx.get(LEFT, &())?.unwrap_or(10);
            cx.put(LEFT, &(), &(left - 1))?;
            cx.publish(StockTaken(order, cents));
            Ok(())
        });
        on.event(|_, PutBack(order, cents), cx| {
            cx.update(LEFT, &(), |left| *left += 1)?;
            cx.publish(StockBack(order, cents));
            Ok(())
        });
    }
}

struct Payment;
impl Service for Payment {
    const NAME: &'static str = "payment";
    fn handlers(on: &mut Handlers<Self>) {
        on.publishes::<Charged>().publishes::<Declined>();
        on.event(|_, Charge(order, cents), cx| {
            match cents {
                0..=10_000 => cx.publish(Charged(order, cents)),
                _ => cx.publish(Declined(order, cents)),
            }
            Ok(())
        });
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = std::env::args().nth(1);
    let builder = System::open(dir.as_deref().unwrap_or("./checkout-data")).service(Orders);
    let system = builder.service(Stock).service(Payment).start().await?;
    let orders = system.service::<Orders>();
    for (order, cents) in [(1, 2_000), (2, 50_000)] {
        let watch = orders.watch(&order);
        let ended = watch.changed();
        match orders.call(Buy(order, cents)).await {
            Ok(()) => ended.await,
            Err(refused) => println!("order {order}: {refused}"),
        }
    }
    system.shutdown(seconds(10)).await?;
    Ok(())
}
