//! What people say about products and categories, and what the catalog then says.

use std::collections::BTreeMap;

use super::*;
use crate::catalog::tables::{PRICE_HISTORY, SKUS, WORDS};

#[test]
fn a_new_product_is_a_draft_and_is_published_about() {
    let mut kit = empty();
    let turn = kit.command(mug());
    let made = turn.reply();
    assert_eq!((made.status, made.version), (ProductStatus::Draft, 1));
    let said = turn.published::<ProductCreated>();
    assert_eq!(said.len(), 1);
    assert_eq!((said[0].product_id, said[0].sku.as_str()), (MUG, "MUG"));
    assert_eq!(
        (said[0].price, said[0].category_id),
        (Some(eur(999)), Some(SHELF))
    );
    assert_eq!(turn.published_names().len(), 1);
    assert_eq!(kit.rows(PRICE_HISTORY).len(), 1);
}

#[test]
fn a_product_can_be_made_without_a_price_and_a_category_and_under_a_new_id() {
    let mut kit = empty();
    let bare = CreateProduct {
        product_id: None,
        price: None,
        category_id: None,
        ..mug()
    };
    let turn = kit.command(bare);
    let made = turn.reply().clone();
    assert_eq!(
        (made.price, made.category_id, made.available),
        (None, None, 0)
    );
    assert_eq!(turn.published::<ProductCreated>()[0].product_id, made.id);
    assert!(kit.rows(PRICE_HISTORY).is_empty());
    let refused = kit.command(publish(made.id));
    assert_eq!(refused.rejection().code, "product_incomplete");
    assert!(refused.is_quiet());
}

#[test]
fn making_the_same_product_again_changes_nothing() {
    let mut kit = published();
    let again = kit.command(mug());
    assert_eq!(again.reply().version, 2);
    assert!(again.is_quiet());
    let other = CreateProduct {
        sku: "CUP".to_owned(),
        ..mug()
    };
    assert_eq!(kit.command(other).rejection().code, "id_taken");
}

#[test]
fn a_stock_keeping_unit_belongs_to_one_product_whatever_its_capitals() {
    let mut kit = drafted();
    for sku in ["MUG", "mug"] {
        let other = CreateProduct {
            product_id: None,
            sku: sku.to_owned(),
            ..mug()
        };
        let turn = kit.command(other);
        assert_eq!(turn.rejection().code, "sku_taken");
        assert!(turn.is_quiet());
    }
    assert_eq!(kit.rows(SKUS).len(), 1);
}

#[test]
fn a_product_that_breaks_a_rule_is_refused_and_changes_nothing() {
    type Spoilt = (&'static str, fn(&mut CreateProduct));
    let cases: [Spoilt; 6] = [
        ("invalid_sku", |new| new.sku.clear()),
        ("invalid_text", |new| new.name = " ".to_owned()),
        ("invalid_text", |new| new.description = "x".repeat(5_001)),
        ("invalid_price", |new| new.price = Some(eur(0))),
        ("foreign_currency", |new| {
            new.price = Some(Money::new(1, "USD".parse().unwrap()));
        }),
        ("unknown_category", |new| {
            new.category_id = Some(CategoryId(Uuid::from_u128(99)));
        }),
    ];
    let mut kit = empty();
    for (code, spoil) in cases {
        let mut new = mug();
        spoil(&mut new);
        let turn = kit.command(new);
        assert_eq!(turn.rejection().code, code);
        assert!(turn.is_quiet());
    }
}

#[test]
fn publishing_and_hiding_are_said_once_each() {
    let mut kit = drafted();
    let names = |turn: Decided<Catalog, ProductView>| turn.published_names();
    assert_eq!(names(kit.command(publish(MUG))), ["product-published"]);
    assert!(kit.command(publish(MUG)).is_quiet());
    assert_eq!(names(kit.command(unpublish(MUG))), ["product-unpublished"]);
    assert!(kit.command(unpublish(MUG)).is_quiet());
    assert_eq!(names(kit.command(publish(MUG))), ["product-published"]);
    assert_eq!(shown(&mut kit).version, 4);
}

#[test]
fn a_price_change_is_said_and_every_price_is_kept() {
    let mut kit = published();
    kit.advance(minutes(1));
    let turn = kit.command(price(1_200));
    let said = turn.published::<ProductPriceChanged>();
    assert_eq!(
        (said[0].before, said[0].price),
        (Some(eur(999)), eur(1_200))
    );
    assert_eq!(turn.published_names().len(), 1);
    assert!(
        kit.command(price(1_200)).is_quiet(),
        "the same price is no change"
    );
    kit.command(price(999)).reply();
    let history = kit.query(PricesOfProduct {
        product_id: MUG,
        page: Page::default(),
    });
    let history: Vec<i64> = history
        .unwrap()
        .items
        .iter()
        .map(|row| row.price.amount)
        .collect();
    assert_eq!(history, [999, 1_200, 999]);
    for (amount, code) in [(0, "invalid_price"), (-5, "invalid_price")] {
        assert_eq!(kit.command(price(amount)).rejection().code, code);
    }
}

#[test]
fn old_prices_go_when_there_are_too_many() {
    let mut kit = drafted();
    for n in 0..=service::PRICES_MAX {
        kit.command(price(1_000 + i64::try_from(n).unwrap()))
            .reply();
    }
    let kept = kit.rows(PRICE_HISTORY);
    assert_eq!(kept.len() as u64, service::PRICES_MAX);
    assert_eq!(kept[0].0, (MUG, 3));
}

#[test]
fn describing_otherwise_is_said_and_found_by_the_new_words_alone() {
    let mut kit = published();
    let turn = kit.command(update("Red cup", Some(SHELF)));
    assert_eq!(turn.published::<ProductUpdated>()[0].name, "Red cup");
    assert_eq!(turn.published_names(), ["product-updated"]);
    let words: Vec<String> = kit
        .rows(WORDS)
        .into_iter()
        .map(|((word, _), ())| word)
        .collect();
    assert_eq!(words, ["cup", "mug", "red"], "the sku is still MUG");
    assert!(kit.command(update("Red cup", Some(SHELF))).is_quiet());
    let refused = kit.command(update("Red cup", None));
    assert_eq!(refused.rejection().code, "category_missing");
    let lost = update("Red cup", Some(CategoryId(Uuid::from_u128(99))));
    assert_eq!(kit.command(lost).rejection().code, "unknown_category");
}

#[test]
fn pictures_and_attributes_are_part_of_the_description() {
    let mut kit = published();
    let picture = ChangeImages {
        product_id: MUG,
        if_version: None,
        replace: false,
        images: vec![Image {
            url: "https://shop.example/mug.jpg".to_owned(),
            alt: "a mug".to_owned(),
        }],
    };
    let turn = kit.command(picture.clone());
    assert_eq!(turn.reply().images, picture.images);
    assert_eq!(turn.published_names(), ["product-updated"]);
    assert!(kit.command(picture).is_quiet());
    let colour: BTreeMap<_, _> = [("colour".to_owned(), Some("blue".to_owned()))].into();
    let attributes = ChangeAttributes {
        product_id: MUG,
        if_version: None,
        attributes: colour,
    };
    let turn = kit.command(attributes);
    assert_eq!(turn.reply().attributes["colour"], "blue");
    assert_eq!(turn.reply().version, 4);
}

#[test]
fn a_change_to_a_version_that_is_gone_is_refused_whatever_it_is() {
    let mut kit = published();
    let stale = Some(vec![1]);
    let codes = [
        kit.command(UpdateProduct {
            if_version: stale.clone(),
            ..update("x", Some(SHELF))
        })
        .rejection()
        .clone(),
        kit.command(ChangePrice {
            if_version: stale.clone(),
            ..price(1)
        })
        .rejection()
        .clone(),
        kit.command(UnpublishProduct {
            if_version: stale.clone(),
            ..unpublish(MUG)
        })
        .rejection()
        .clone(),
        // Also when it would change nothing.
        kit.command(PublishProduct {
            if_version: stale,
            ..publish(MUG)
        })
        .rejection()
        .clone(),
    ];
    for refused in codes {
        assert_eq!(refused.code, "version_changed");
    }
    let fresh = Some(vec![2, 7]);
    let turn = kit.command(ChangePrice {
        if_version: fresh,
        ..price(1)
    });
    assert_eq!(turn.reply().version, 3);
}

#[test]
fn what_is_not_there_cannot_be_changed() {
    let mut kit = empty();
    assert_eq!(kit.command(price(1)).rejection().code, "no_such_product");
    assert_eq!(
        kit.command(publish(MUG)).rejection().code,
        "no_such_product"
    );
    let view = NoteView {
        product_id: MUG,
        user_id: None,
    };
    assert_eq!(kit.command(view).rejection().code, "no_such_product");
}

#[test]
fn a_look_is_said_if_everybody_can_have_it() {
    let view = || NoteView {
        product_id: MUG,
        user_id: Some(crate::ids::UserId(Uuid::from_u128(7))),
    };
    let mut kit = drafted();
    assert!(kit.command(view()).is_quiet());
    kit.command(publish(MUG)).reply();
    let turn = kit.command(view());
    let said = turn.published::<ProductViewed>();
    assert_eq!(said[0].user_id, view().user_id);
}

#[test]
fn categories_are_made_renamed_and_listed() {
    let mut kit = empty();
    let new = |id: Option<u128>, name: &str| CreateCategory {
        category_id: id.map(|id| CategoryId(Uuid::from_u128(id))),
        name: name.to_owned(),
        description: String::new(),
    };
    let made = kit.command(new(Some(21), "Kitchen")).reply().clone();
    let again = kit.command(new(Some(21), "Otherwise"));
    assert_eq!((again.reply(), again.is_quiet()), (&made, true));
    assert_eq!(kit.command(new(None, " ")).rejection().code, "invalid_text");
    let rename = |version, name: &str| UpdateCategory {
        category_id: made.id,
        if_version: Some(vec![version]),
        name: name.to_owned(),
        description: "Pots".to_owned(),
    };
    assert_eq!(kit.command(rename(1, "Pots")).reply().version, 2);
    assert_eq!(
        kit.command(rename(1, "Pans")).rejection().code,
        "version_changed"
    );
    assert_eq!(kit.command(rename(2, "Pots")).reply().version, 2);
    let all = kit.query(CategoriesList::default()).unwrap();
    let names: Vec<_> = all.items.iter().map(|row| row.name.as_str()).collect();
    assert_eq!(names, ["Shelf", "Pots"]);
    let nobody = UpdateCategory {
        category_id: CategoryId(Uuid::from_u128(99)),
        ..rename(1, "x")
    };
    assert_eq!(kit.command(nobody).rejection().code, "no_such_category");
}

#[test]
fn what_is_shown_of_a_product_can_be_said_of_it_again_and_a_price_among_it_is_a_price() {
    let mut kit = published();
    let again = UpdateProduct {
        sku: Some("MUG".to_owned()),
        price: Some(eur(999)),
        images: Some(Vec::new()),
        attributes: Some(BTreeMap::new()),
        ..update("Mug", Some(SHELF))
    };
    let before = kit.command(update("Mug", Some(SHELF))).reply().clone();
    let same = kit.command(again.clone());
    assert_eq!(*same.reply(), before);
    assert!(same.is_quiet());

    let dearer = UpdateProduct {
        price: Some(eur(1_200)),
        attributes: Some([("colour".to_owned(), "blue".to_owned())].into()),
        ..again.clone()
    };
    let turn = kit.command(dearer);
    assert_eq!(turn.reply().version, before.version + 1);
    assert_eq!(turn.reply().attributes["colour"], "blue");
    let said = turn.published::<ProductPriceChanged>();
    assert_eq!(
        (said[0].before, said[0].price),
        (Some(eur(999)), eur(1_200))
    );
    let prices: Vec<_> = kit.rows(PRICE_HISTORY).into_iter().collect();
    assert_eq!(prices.last().unwrap().1.price, eur(1_200));
    assert_eq!(prices.len(), 2);

    let bare = kit.command(update("Mug", Some(SHELF)));
    assert_eq!(bare.reply().price, Some(eur(1_200)));
    assert_eq!(bare.reply().attributes["colour"], "blue");
    for (wrong, code) in [(Some("CUP"), "sku_fixed"), (Some("mug"), "sku_fixed")] {
        let other = UpdateProduct {
            sku: wrong.map(str::to_owned),
            ..again.clone()
        };
        let refused = kit.command(other);
        assert_eq!(refused.rejection().code, code);
        assert!(refused.is_quiet());
    }
    let free = UpdateProduct {
        price: Some(eur(0)),
        ..again
    };
    assert_eq!(kit.command(free).rejection().code, "invalid_price");
}
