//! A rush: many buyers of one unit.

use commerce::ids::ProductId;
use commerce::inventory::AdjustmentReason;
use commerce::order::{OrderStatus, Orders};

use super::checks;
use super::play::number;
use super::world::{ADA, MUG, STOCKED, World};

/// Buyers if nothing is said.
const BUYERS_DEFAULT: u64 = 1_000;
/// Buyers that ask at the same time.
const AT_ONCE: u64 = 250;

/// `SCENARIO_BUYERS` says how many there are.
#[test]
fn of_many_buyers_of_one_unit_exactly_one_gets_it() {
    let buyers = number("SCENARIO_BUYERS").unwrap_or(BUYERS_DEFAULT);
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap()
        .block_on(rush(MUG, buyers));
}

async fn rush(product: ProductId, buyers: u64) {
    let mut world = World::open(0).await;
    world
        .adjust(product, 1 - STOCKED, AdjustmentReason::Corrected)
        .await;
    world.rest().await;
    let mut placed = 0;
    while placed < buyers {
        let mut asked = tokio::task::JoinSet::new();
        for _ in 0..AT_ONCE.min(buyers - placed) {
            let wish = world.wish(ADA, "tok_ok", &[(product, 1)]);
            let orders = world.test.system().service::<Orders>();
            asked.spawn(async move { orders.call(wish).await.unwrap().id });
            placed += 1;
        }
        world.orders.extend(asked.join_all().await);
    }
    world.rest().await;
    let orders = checks::every_order(&mut world).await;
    assert_eq!(orders.len() as u64, buyers);
    let confirmed = orders
        .iter()
        .filter(|order| order.status == OrderStatus::Confirmed);
    assert_eq!(confirmed.count(), 1);
    let cancelled = orders.iter().filter(|order| {
        let reason = order.cancel_reason.as_deref().unwrap_or_default();
        order.status == OrderStatus::Cancelled && reason.starts_with("out_of_stock")
    });
    assert_eq!(cancelled.count() as u64, buyers - 1);
    world.check().await;
}
