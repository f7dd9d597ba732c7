//! Products, categories, prices, and what a buyer can have.

use commerce::catalog::availability::{Held, UnreservedForgotten};
use commerce::catalog::category::Category;
use commerce::catalog::product::Product;
use commerce::catalog::tables::{
    AVAILABILITY, CATEGORIES, HELD, PRICE_HISTORY, PRODUCTS, PriceSince, SKUS, WORDS,
};
use commerce::catalog::{
    Image, ProductCreated, ProductPriceChanged, ProductPublished, ProductStatus,
    ProductUnpublished, ProductUpdated, ProductViewed,
};
use commerce::ids::CategoryId;
use uuid::Uuid;

use super::{AT, Golden, LATER, MUG, ORDER, USER, eur, text};

pub(super) const SHELF: CategoryId = CategoryId(Uuid::from_u128(11));

pub(super) fn image() -> Image {
    Image {
        url: text("https://shop.example/mug.png"),
        alt: text("a mug"),
    }
}

pub(super) fn samples(golden: &mut Golden) {
    let (product_id, at) = (MUG, AT);
    golden.message(&ProductCreated {
        product_id,
        sku: text("MUG"),
        name: text("mug"),
        price: Some(eur(999)),
        category_id: Some(SHELF),
        at,
    });
    golden.message(&ProductUpdated {
        product_id,
        name: text("mug"),
        category_id: Some(SHELF),
        at,
    });
    golden.message(&ProductPriceChanged {
        product_id,
        before: Some(eur(999)),
        price: eur(1_099),
        at,
    });
    golden.message(&ProductPublished { product_id, at });
    golden.message(&ProductUnpublished { product_id, at });
    golden.message(&ProductViewed {
        product_id,
        user_id: Some(USER),
        at,
    });
    golden.message(&UnreservedForgotten { order_id: ORDER });
    let statuses = [
        ProductStatus::Draft,
        ProductStatus::Published,
        ProductStatus::Unpublished,
    ];
    golden.numbers("product status", statuses.to_vec());
    let mut mug = Product::new(text("MUG"), text("mug"), text("blue"), at);
    mug.price = Some(eur(999));
    mug.category_id = Some(SHELF);
    mug.status = ProductStatus::Published;
    mug.images = vec![image()];
    mug.attributes = [(text("colour"), text("blue"))].into();
    (mug.prices, mug.version, mug.updated_at) = (2, 4, LATER);
    golden.row(PRODUCTS, &product_id, &mug);
    golden.row(SKUS, &text("MUG"), &product_id);
    golden.row(WORDS, &(text("mug"), product_id), &());
    let since = PriceSince {
        price: eur(999),
        at,
    };
    golden.row(PRICE_HISTORY, &(product_id, 1), &since);
    let shelf = Category::new("Kitchen", "mugs", at).unwrap();
    golden.row(CATEGORIES, &SHELF, &shelf);
    golden.row(AVAILABILITY, &product_id, &-3);
    let held = Held {
        product_id,
        reserved: 2,
        left: 1,
    };
    golden.row(HELD, &ORDER, &vec![held]);
}
