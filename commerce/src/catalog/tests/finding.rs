//! What buyers and the shop's own people find.

use super::*;

/// Products 1 to `names.len()`, all published but the last.
fn shop(names: &[&str]) -> ServiceKit<Catalog> {
    let mut kit = empty();
    for (n, name) in (1..).zip(names) {
        let id = ProductId(Uuid::from_u128(n));
        kit.command(product(n, name)).reply();
        if n < names.len() as u128 {
            kit.command(publish(id)).reply();
        }
    }
    kit
}

/// Numbers of the products that are found, over all pages.
fn found(kit: &mut ServiceKit<Catalog>, ask: ProductsList) -> Vec<u128> {
    let mut found = Vec::new();
    let mut page = Page {
        limit: ask.page.limit,
        cursor: None,
    };
    loop {
        let listing = kit.query(ProductsList {
            page: page.clone(),
            ..ask.clone()
        });
        let listing = listing.unwrap();
        found.extend(listing.items.iter().map(|product| product.id.0.as_u128()));
        page.cursor = listing.next_cursor;
        if page.cursor.is_none() {
            return found;
        }
    }
}

fn text(text: &str) -> ProductsList {
    ProductsList {
        text: Some(text.to_owned()),
        status: Some(ProductStatus::Published),
        ..ProductsList::default()
    }
}

#[test]
fn products_are_found_by_all_words_the_last_by_its_beginning() {
    let mut kit = shop(&["Blue mug", "White mug", "Blue plate, white rim", "Blue mug"]);
    for (sought, numbers) in [
        ("mug", &[1, 2][..]),
        ("blue", &[1, 3]),
        ("blue m", &[1]),
        ("BLUE WHITE", &[3]),
        ("w", &[2, 3]),
        ("SKU-2", &[2]),
        ("sku", &[1, 2, 3]),
        ("mu blue", &[]),
        ("green", &[]),
        ("", &[1, 2, 3]),
    ] {
        assert_eq!(found(&mut kit, text(sought)), numbers, "{sought:?}");
    }
}

#[test]
fn conditions_hold_together_and_pages_follow_each_other() {
    let mut kit = empty();
    let other = CreateCategory {
        category_id: Some(CategoryId(Uuid::from_u128(21))),
        name: "Other".to_owned(),
        description: String::new(),
    };
    let other = kit.command(other).reply().id;
    for n in 1..=300 {
        let mut new = product(n, "Mug");
        new.price = Some(eur(i64::try_from(n).unwrap()));
        if n % 3 == 0 {
            new.category_id = Some(other);
        }
        kit.command(new).reply();
        kit.command(publish(ProductId(Uuid::from_u128(n)))).reply();
    }
    let every = |keep: fn(u128) -> bool| (1..=300).filter(|n| keep(*n)).collect::<Vec<u128>>();
    for limit in [1, 7, 200] {
        let page = Page {
            limit: Some(limit),
            cursor: None,
        };
        let ask = ProductsList {
            page,
            ..ProductsList::default()
        };
        assert_eq!(found(&mut kit, ask.clone()), every(|_| true));
        let of_other = ProductsList {
            category_id: Some(other),
            ..ask.clone()
        };
        assert_eq!(found(&mut kit, of_other), every(|n| n % 3 == 0));
        let dear = ProductsList {
            text: Some("mug sku".to_owned()),
            category_id: Some(other),
            price_min: Some(100),
            price_max: Some(102),
            ..ask.clone()
        };
        assert_eq!(found(&mut kit, dear), [102]);
        let begins = ProductsList {
            text: Some("sk".to_owned()),
            price_max: Some(3),
            ..ask
        };
        assert_eq!(found(&mut kit, begins), [1, 2, 3]);
    }
}

#[test]
fn a_page_that_has_looked_at_enough_ends_early_and_the_next_goes_on() {
    let mut kit = empty();
    for n in 1..=2_500 {
        let name = if n == 2_450 { "Rare mug" } else { "Mug" };
        kit.command(product(n, name)).reply();
    }
    let ask = ProductsList {
        price_min: Some(1),
        text: Some("mug rare".to_owned()),
        ..ProductsList::default()
    };
    assert_eq!(found(&mut kit, ask), [2_450]);
    // Every product has a word that begins so: that tells too little to go by.
    let mut common = ProductsList {
        text: Some("m".to_owned()),
        price_min: Some(1_000),
        ..ProductsList::default()
    };
    let first = kit.query(common.clone()).unwrap();
    assert!(first.items.is_empty() && first.next_cursor.is_some());
    common.price_min = None;
    common.page.limit = Some(200);
    assert_eq!(found(&mut kit, common).len(), 2_500);
}

#[test]
fn buyers_see_what_is_published_and_nothing_else() {
    let mut kit = drafted();
    let by_id = |published_only| ProductById {
        product_id: MUG,
        published_only,
    };
    let by_sku = |sku: &str, published_only| ProductBySku {
        sku: sku.to_owned(),
        published_only,
    };
    for published in [false, true, false] {
        assert_eq!(kit.query(by_id(true)).is_ok(), published);
        assert_eq!(kit.query(by_sku("mug", true)).is_ok(), published);
        assert!(kit.query(by_id(false)).is_ok() && kit.query(by_sku("MUG", false)).is_ok());
        let ask = text("mug");
        assert_eq!(found(&mut kit, ask).len(), usize::from(published));
        if published {
            kit.command(unpublish(MUG)).reply();
        } else {
            kit.command(publish(MUG)).reply();
        }
    }
    for sku in ["CUP", "", "a b"] {
        let nobody = kit.query(by_sku(sku, false)).unwrap_err();
        assert_eq!(nobody.code, "no_such_product");
    }
}

#[test]
fn the_shops_own_people_find_by_status() {
    let mut kit = shop(&["Blue mug", "White mug", "Draft"]);
    kit.command(unpublish(ProductId(Uuid::from_u128(1))))
        .reply();
    let of = |status| ProductsList {
        status,
        ..ProductsList::default()
    };
    assert_eq!(found(&mut kit, of(None)), [1, 2, 3]);
    assert_eq!(found(&mut kit, of(Some(ProductStatus::Draft))), [3]);
    assert_eq!(found(&mut kit, of(Some(ProductStatus::Published))), [2]);
    assert_eq!(found(&mut kit, of(Some(ProductStatus::Unpublished))), [1]);
}

#[test]
fn a_product_without_a_price_is_in_no_range() {
    let mut kit = empty();
    let unpriced = CreateProduct {
        price: None,
        ..mug()
    };
    kit.command(unpriced).reply();
    let mut ask = ProductsList::default();
    assert_eq!(found(&mut kit, ask.clone()).len(), 1);
    ask.price_min = Some(0);
    assert_eq!(found(&mut kit, ask.clone()).len(), 0);
    ask.price_max = Some(-1);
    assert_eq!(kit.query(ask).unwrap_err().code, "invalid_price_range");
    let mut made_up = ProductsList::default();
    made_up.page.cursor = Some("zz".to_owned());
    assert_eq!(kit.query(made_up).unwrap_err().code, "invalid_cursor");
}
