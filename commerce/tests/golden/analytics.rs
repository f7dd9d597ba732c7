//! Facts, which are kept for ever, and the figures that they add up to.

use commerce::analytics::Day;
use commerce::analytics::facts::{Fact, What};
use commerce::analytics::figures::{Figures, Revenue, Sales};
use commerce::analytics::rebuild::RebuildStep;
use commerce::analytics::tables::{
    ACCOUNTS, BOOKS, Books, DAYS, FACTS, Generation, LEVELS, MONTHS, Rebuilding, SALES,
    SALES_OF_DAYS, SALES_OF_MONTHS,
};
use commerce::money::Currency;

use super::{AT, Golden, LATER, MUG, ORDER, USER, text};

const LIVE: Generation = Generation(2);

pub(super) fn samples(golden: &mut Golden) {
    golden.message(&RebuildStep { chain: 3 });
    for (form, what) in facts() {
        golden.form_of_row(FACTS, form, &7, &Fact { at: AT, what });
    }
    let mut books = Books::empty(Currency::EUR);
    books.live = LIVE;
    books.next = 900;
    books.rebuild = Some(Rebuilding {
        generation: Generation(3),
        cursor: 256,
        started_at: AT,
    });
    books.clearing = true;
    books.chain = 4;
    books.rebuilt = Some((AT, LATER));
    golden.row(BOOKS, &(), &books);
    let day = Day::of(AT);
    let money = Revenue {
        orders: 5,
        captured: i128::from(i64::MAX) + 6,
        refunded: 7,
    };
    let figures = Figures {
        created: 1,
        confirmed: 2,
        cancelled: 3,
        delivered: 4,
        money,
        viewed: 8,
        added_to_cart: 9,
        ordered: 10,
        purchased: 11,
    };
    golden.row(DAYS, &(LIVE, day), &figures);
    golden.row(MONTHS, &(LIVE, day.month()), &figures);
    let sales = Sales {
        name: text("mug"),
        named_at: AT,
        units: 3,
        revenue: 2_997,
    };
    golden.row(SALES, &(LIVE, MUG), &sales);
    golden.row(SALES_OF_DAYS, &(LIVE, (day, MUG)), &sales);
    golden.row(SALES_OF_MONTHS, &(LIVE, (day.month(), MUG)), &sales);
    golden.row(ACCOUNTS, &(LIVE, USER), &money);
    golden.row(LEVELS, &(LIVE, MUG), &-8);
}

/// One of each kind, under its name here.
fn facts() -> [(&'static str, What); 11] {
    let (order, customer, product) = (ORDER, USER, MUG);
    [
        (
            "created",
            What::Created {
                order,
                customer,
                lines: 1,
                total: 1_998,
            },
        ),
        ("confirmed", What::Confirmed { order }),
        ("cancelled", What::Cancelled { order }),
        ("delivered", What::Delivered { order }),
        (
            "captured",
            What::Captured {
                order,
                customer,
                amount: 1_998,
            },
        ),
        (
            "refunded",
            What::Refunded {
                order,
                customer,
                amount: 5,
            },
        ),
        ("voided", What::Voided { order }),
        (
            "viewed",
            What::Viewed {
                product,
                user: Some(customer),
            },
        ),
        (
            "added-to-cart",
            What::AddedToCart {
                product,
                customer,
                quantity: 2,
            },
        ),
        (
            "purchased",
            What::Purchased {
                order,
                product,
                name: text("mug"),
                quantity: 2,
                unit_price: 999,
            },
        ),
        ("stock", What::Stock { product, delta: -2 }),
    ]
}
