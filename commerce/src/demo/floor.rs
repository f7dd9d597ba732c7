//! The floor: the shop as the demo's parties meet it.

use std::time::Duration;

use redeliver::{CallError, Command, Query, Service, ServiceHandle};
use tokio::time::{Instant, sleep, timeout_at};
use uuid::Uuid;

use crate::app::Shop;
use crate::catalog::{CreateCategory, CreateProduct, ProductStatus, ProductsList, PublishProduct};
use crate::identity::accounts::AccountError;
use crate::ids::{CategoryId, OrderId, ProductId};
use crate::money::{Currency, Money};
use crate::order::{OrderById, OrderStatus, OrderView};
use crate::page::{PAGE_ROWS_MAX, Page};
use crate::privacy::KeyringError;

/// The demo's own product: of little stock, and bought more than any other.
pub(super) const LIMITED: ProductId = ProductId(Uuid::from_u128(
    0x0180_0000_0000_7000_8000_0000_0000_0d01_u128,
));
const LIMITED_CATEGORY: CategoryId = CategoryId(Uuid::from_u128(
    0x0180_0000_0000_7000_8000_0000_0000_0d02_u128,
));
/// What it costs at first, in minor units.
pub(super) const LIMITED_PRICE: i64 = 1_990;

/// Between two steps of one story or parcel.
const STEP_MIN: Duration = Duration::from_millis(50);
const STEP_MAX: Duration = Duration::from_secs(4);
/// How often something is said to a shop that is too busy.
const TRIES: u32 = 6;
/// How long an order may take to get somewhere; longer than any step of it by far.
const PATIENCE: Duration = Duration::from_secs(90);

/// The shop with the pace of the demo. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Floor {
    pub(super) shop: Shop,
    pub(super) currency: Currency,
    /// Between two orders.
    pub(super) interval: Duration,
    /// Between two steps of one story or parcel.
    pub(super) step: Duration,
}

/// Why a story ends before its time.
#[derive(Debug, thiserror::Error)]
pub(super) enum Obstacle {
    /// A service refused or did not answer.
    #[error(transparent)]
    Call(#[from] CallError),
    /// Something at the edge: a password, a key.
    #[error(transparent)]
    Account(#[from] AccountError),
    /// Somebody was deleted meanwhile, or the keys cannot be used.
    #[error(transparent)]
    Keyring(#[from] KeyringError),
    /// It did not come to what it should.
    #[error("the order is {0} after {PATIENCE:?}")]
    Unfinished(OrderStatus),
}

impl Floor {
    pub(super) fn new(shop: Shop, currency: Currency, interval: Duration) -> Floor {
        Floor {
            shop,
            currency,
            interval,
            step: (interval * 2).clamp(STEP_MIN, STEP_MAX),
        }
    }

    /// Says something. A shop that is too busy is left in peace for as long as it asks.
    pub(super) async fn tell<S: Service, C: Command + Clone>(
        &self,
        service: ServiceHandle<S>,
        command: C,
    ) -> Result<C::Reply, Obstacle> {
        let mut tries = 1;
        loop {
            match service.call(command.clone()).await {
                Err(CallError::Overloaded { retry_after, .. }) if tries < TRIES => {
                    tracing::debug!(?retry_after, service = S::NAME, "demo waits");
                    sleep(retry_after.max(self.step) * tries).await;
                    tries += 1;
                }
                answer => return Ok(answer?),
            }
        }
    }

    pub(super) async fn ask<S: Service, Q: Query>(
        &self,
        service: ServiceHandle<S>,
        query: Q,
    ) -> Result<Q::Answer, Obstacle> {
        Ok(service.query(query).await?)
    }

    /// The order as soon as it is so.
    pub(super) async fn until(
        &self,
        order_id: OrderId,
        so: impl Fn(&OrderView) -> bool,
    ) -> Result<OrderView, Obstacle> {
        let deadline = Instant::now() + PATIENCE;
        let service = self.shop.order();
        // Watching begins before the first look, so no change falls between.
        let watch = service.watch(&order_id);
        loop {
            let changed = watch.changed();
            let ask = OrderById {
                order_id,
                customer_id: None,
            };
            let order = service.query(ask).await?;
            if so(&order) {
                return Ok(order);
            }
            if timeout_at(deadline, changed).await.is_err() {
                return Err(Obstacle::Unfinished(order.status));
            }
        }
    }

    /// Puts the demo's own product on the shelf. What is there already stays as it is.
    pub(super) async fn put_out(&self) -> Result<(), Obstacle> {
        let category = CreateCategory {
            category_id: Some(LIMITED_CATEGORY),
            name: "Limited editions".to_owned(),
            description: String::new(),
        };
        self.tell(self.shop.catalog(), category).await?;
        let product = CreateProduct {
            product_id: Some(LIMITED),
            sku: "DEMO-LIMITED".to_owned(),
            name: "Mug of the month".to_owned(),
            description: "Few are made, and soon sold.".to_owned(),
            price: Some(Money::new(LIMITED_PRICE, self.currency)),
            category_id: Some(LIMITED_CATEGORY),
        };
        self.tell(self.shop.catalog(), product).await?;
        let publish = PublishProduct {
            product_id: LIMITED,
            if_version: None,
        };
        self.tell(self.shop.catalog(), publish).await?;
        Ok(())
    }

    /// What can be bought, but for the demo's own product: at most one page of it.
    pub(super) async fn products(&self) -> Result<Vec<ProductId>, Obstacle> {
        let list = ProductsList {
            status: Some(ProductStatus::Published),
            page: Page {
                limit: Some(PAGE_ROWS_MAX),
                cursor: None,
            },
            ..ProductsList::default()
        };
        let listing = self.ask(self.shop.catalog(), list).await?;
        let products = listing.items.iter().map(|product| product.id);
        Ok(products.filter(|id| *id != LIMITED).collect())
    }
}
