//! The analytics service: each event becomes a fact and is counted.

use redeliver::prelude::*;

use super::facts::{Fact, What};
use super::projection::fold;
use super::tables::{
    ACCOUNTS, BOOKS, Books, DAYS, DAYS_WITH_REVENUE, FACTS, LEVELS, MONTHS, MONTHS_WITH_REVENUE,
    SALES, SALES_BY_REVENUE, SALES_BY_UNITS, SALES_OF_DAYS, SALES_OF_MONTHS,
};
use crate::catalog::ProductViewed;
use crate::inventory::StockAdjusted;
use crate::money::{Currency, Money, MoneyError};
use crate::order::{
    OrderCancelled, OrderConfirmed, OrderCreated, OrderDelivered, ProductAddedToCart,
    ProductPurchased,
};
use crate::payment::{PaymentCompleted, PaymentRefunded, RefundKind};

/// Figures, counted from what the other services say.
#[derive(Debug, Clone)]
pub struct Analytics {
    /// The one currency of the shop. Books that have begun keep the one they began with.
    pub currency: Currency,
}

impl Default for Analytics {
    fn default() -> Analytics {
        Analytics {
            currency: Currency::EUR,
        }
    }
}

impl Service for Analytics {
    const NAME: &'static str = "analytics";

    fn handlers(on: &mut Handlers<Self>) {
        on.in_background()
            .table(FACTS)
            .table(BOOKS)
            .table(DAYS)
            .index(DAYS_WITH_REVENUE)
            .table(MONTHS)
            .index(MONTHS_WITH_REVENUE)
            .table(SALES)
            .index(SALES_BY_UNITS)
            .index(SALES_BY_REVENUE)
            .table(SALES_OF_DAYS)
            .table(SALES_OF_MONTHS)
            .table(ACCOUNTS)
            .table(LEVELS);
        on.event(Self::order_created)
            .event(Self::order_confirmed)
            .event(Self::order_cancelled)
            .event(Self::order_delivered)
            .event(Self::payment_completed)
            .event(Self::payment_refunded)
            .event(Self::product_viewed)
            .event(Self::product_added_to_cart)
            .event(Self::product_purchased)
            .event(Self::stock_adjusted);
        on.command(Self::rebuild).timer(Self::rebuild_step);
        on.query(Self::rebuild_progress)
            .query(Self::orders_summary)
            .query(Self::revenue_by_day)
            .query(Self::revenue_by_month)
            .query(Self::top_selling)
            .query(Self::lifetime_value)
            .query(Self::conversion_funnel)
            .query(Self::stock_levels)
            .query(Self::dashboard);
    }
}

type Done = Result<(), Rejection>;
type Cx = Context<Analytics>;

// Events.

impl Analytics {
    fn order_created(&self, event: OrderCreated, cx: &mut Cx) -> Done {
        let what = What::Created {
            order: event.order_id,
            customer: event.customer_id,
            lines: u32::try_from(event.lines.len()).unwrap_or(u32::MAX),
            total: self.amount(event.total, cx)?,
        };
        self.keep(event.at, what, cx)
    }

    fn order_confirmed(&self, event: OrderConfirmed, cx: &mut Cx) -> Done {
        let order = event.order_id;
        self.keep(event.at, What::Confirmed { order }, cx)
    }

    fn order_cancelled(&self, event: OrderCancelled, cx: &mut Cx) -> Done {
        let order = event.order_id;
        self.keep(event.at, What::Cancelled { order }, cx)
    }

    fn order_delivered(&self, event: OrderDelivered, cx: &mut Cx) -> Done {
        let order = event.order_id;
        self.keep(event.at, What::Delivered { order }, cx)
    }

    fn payment_completed(&self, event: PaymentCompleted, cx: &mut Cx) -> Done {
        let what = What::Captured {
            order: event.order_id,
            customer: event.customer_id,
            amount: self.amount(event.captured, cx)?,
        };
        self.keep(event.at, what, cx)
    }

    fn payment_refunded(&self, event: PaymentRefunded, cx: &mut Cx) -> Done {
        let order = event.order_id;
        let what = match event.kind {
            RefundKind::Voided => What::Voided { order },
            RefundKind::Refunded => What::Refunded {
                order,
                customer: event.customer_id,
                amount: self.amount(event.amount, cx)?,
            },
        };
        self.keep(event.at, what, cx)
    }

    fn product_viewed(&self, event: ProductViewed, cx: &mut Cx) -> Done {
        let what = What::Viewed {
            product: event.product_id,
            user: event.user_id,
        };
        self.keep(event.at, what, cx)
    }

    fn product_added_to_cart(&self, event: ProductAddedToCart, cx: &mut Cx) -> Done {
        let what = What::AddedToCart {
            product: event.product_id,
            customer: event.customer_id,
            quantity: event.quantity,
        };
        self.keep(event.at, what, cx)
    }

    fn product_purchased(&self, event: ProductPurchased, cx: &mut Cx) -> Done {
        let what = What::Purchased {
            order: event.order_id,
            product: event.product_id,
            unit_price: self.amount(event.unit_price, cx)?,
            name: event.name,
            quantity: event.quantity,
        };
        self.keep(event.at, what, cx)
    }

    fn stock_adjusted(&self, event: StockAdjusted, cx: &mut Cx) -> Done {
        let what = What::Stock {
            product: event.product_id,
            delta: event.delta,
        };
        self.keep(event.at, what, cx)
    }

    /// Writes a fact down and counts it in the live generation. One that a rebuild makes has not
    /// passed its number yet, and meets it later.
    fn keep(&self, at: Timestamp, what: What, cx: &mut Cx) -> Done {
        let mut books = self.books(cx)?;
        let fact = Fact { at, what };
        cx.put(FACTS, &books.next, &fact)?;
        fold(books.live, &fact, cx)?;
        books.next += 1;
        cx.put(BOOKS, &(), &books)?;
        Ok(())
    }

    /// Minor units, if they are of the books' currency. An event with others becomes a dead letter:
    /// sums of two currencies would be nonsense that nobody could take apart again.
    fn amount(&self, money: Money, cx: &Cx) -> Result<i64, Rejection> {
        let currency = self.books(cx)?.currency;
        if money.currency == currency {
            return Ok(money.amount);
        }
        Err(MoneyError::CurrencyMismatch {
            left: money.currency,
            right: currency,
        }
        .into())
    }

    /// Where the books stand.
    pub(super) fn books(&self, view: &View<Self>) -> Result<Books, Rejection> {
        let books = view.get(BOOKS, &())?;
        Ok(books.unwrap_or_else(|| Books::empty(self.currency)))
    }
}
