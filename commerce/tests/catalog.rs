//! The catalog from outside: made, published, found, ordered, repriced, hidden.

#![allow(clippy::unwrap_used)]

mod common;

use std::time::{Duration, Instant};

use common::{Answer, Client, Server, order_of, product, stock};
use serde_json::{Value, json};

const PRODUCTS: &str = "/api/v1/catalog/products";
const WAIT: (&str, &str) = ("prefer", "wait=20");
const JSON: (&str, &str) = ("content-type", "application/json");

/// Looks until it is so: services hear of each other by and by.
#[track_caller]
fn until(client: &mut Client, path: &str, so: impl Fn(&Answer) -> bool) -> Answer {
    let give_up = Instant::now() + Duration::from_secs(20);
    loop {
        let seen = client.get(path);
        if so(&seen) {
            return seen;
        }
        let said = String::from_utf8_lossy(&seen.body).into_owned();
        assert!(Instant::now() < give_up, "{path}: {said}");
        std::thread::yield_now();
    }
}

#[track_caller]
fn put(client: &mut Client, path: &str, headers: &[(&str, &str)], body: &Value) -> Answer {
    let mut all = vec![JSON];
    all.extend(headers);
    client.request("PUT", path, &all, Some(body.to_string().as_bytes()))
}

fn eur(amount: i64) -> Value {
    json!({ "amount": amount, "currency": "EUR" })
}

fn at(id: &str, rest: &str) -> String {
    format!("{PRODUCTS}/{id}{rest}")
}

#[track_caller]
fn id(of: &Value) -> String {
    of["id"].as_str().unwrap().to_owned()
}

#[track_caller]
fn category(client: &mut Client, name: &str) -> String {
    let made = client.post("/api/v1/catalog/categories", &json!({ "name": name }));
    id(&made.expect(201))
}

#[track_caller]
fn lamp(client: &mut Client) -> String {
    let category_id = category(client, "Lamps");
    let body = json!({
        "sku": "LAMP-BRASS", "name": "Brass lamp", "description": "For the desk, with a dimmer.",
        "price": eur(4_500), "category_id": category_id,
    });
    let made = client.post(PRODUCTS, &body);
    let product = made.expect(201);
    assert_eq!(product["status"], "draft");
    assert_eq!(
        (&product["version"], &product["available"]),
        (&json!(1), &json!(0))
    );
    assert_eq!(made.header("etag"), Some("\"1\""));
    let path = at(&id(&product), "");
    assert_eq!(made.header("location"), Some(path.as_str()));
    id(&product)
}

/// The lamp published, and so many of it in stock and known to be.
#[track_caller]
fn lamps(client: &mut Client, units: i64) -> String {
    let lamp = lamp(client);
    client.post(&at(&lamp, "/publish"), &json!({})).expect(200);
    let record = format!("/api/v1/inventory/products/{lamp}");
    until(client, &record, |seen| seen.status == 200);
    let received = json!({ "delta": units, "reason": "received" });
    client
        .post(&format!("{record}/adjust-stock"), &received)
        .expect(200);
    until_available(client, &lamp, units);
    lamp
}

#[track_caller]
fn until_available(client: &mut Client, id: &str, units: i64) -> Value {
    let seen = until(client, &at(id, ""), |seen| {
        seen.status == 200 && seen.json()["available"] == units
    });
    seen.json()
}

/// An order of a product that the order service may not have heard of yet.
#[track_caller]
fn order(client: &mut Client, product: &str, quantity: i64) -> Value {
    let body = order_of(product, quantity, "tok_ok");
    let give_up = Instant::now() + Duration::from_secs(20);
    loop {
        let answer = client.post_with("/api/v1/orders", &[WAIT], &body);
        if answer.status != 422 {
            return answer.expect(200);
        }
        assert!(Instant::now() < give_up, "{:?}", answer.json());
    }
}

#[track_caller]
fn skus(client: &mut Client, query: &str) -> Vec<String> {
    let found = client.get(&format!("{PRODUCTS}{query}")).expect(200);
    let items = found["items"].as_array().unwrap();
    let skus = items
        .iter()
        .map(|item| item["sku"].as_str().unwrap().to_owned());
    skus.collect()
}

#[test]
fn a_product_is_made_published_seen_found_and_ordered() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let mut client = server.client();
    let mut buyer = Client::stranger(&server.address);
    let lamp = lamp(&mut client);
    // A draft is nobody's business.
    buyer
        .get(&at(&lamp, ""))
        .problem(404, "rejected/no-such-product");
    let by_sku = format!("{PRODUCTS}/sku/lamp-brass");
    buyer.get(&by_sku).problem(404, "rejected/no-such-product");
    assert!(skus(&mut buyer, "?q=brass").is_empty());
    assert_eq!(skus(&mut client, "?q=brass"), ["LAMP-BRASS"]);
    assert_eq!(skus(&mut client, "?status=draft"), ["LAMP-BRASS"]);
    let body = order_of(&lamp, 1, "tok_ok");
    client
        .post("/api/v1/orders", &body)
        .problem(422, "rejected/unknown-product");

    let published = client.post(&at(&lamp, "/publish"), &json!({}));
    assert_eq!(published.expect(200)["status"], "published");
    assert_eq!(published.header("etag"), Some("\"2\""));
    assert_eq!(id(&buyer.get(&at(&lamp, "")).expect(200)), lamp);
    assert_eq!(id(&buyer.get(&by_sku).expect(200)), lamp);
    for query in [
        "?q=brass",
        "?q=dim",
        "?q=LAMP-BRASS",
        "?q=lamp&min_price=4500&max_price=4500",
    ] {
        assert_eq!(skus(&mut buyer, query), ["LAMP-BRASS"], "{query}");
    }
    assert!(skus(&mut buyer, "?q=brass&max_price=4499").is_empty());

    let record = format!("/api/v1/inventory/products/{lamp}");
    let record = until(&mut client, &record, |seen| seen.status == 200).json();
    assert_eq!(
        (&record["on_hand"], &record["name"]),
        (&json!(0), &json!("Brass lamp"))
    );
    let received = json!({ "delta": 5, "reason": "received" });
    let adjust = format!("/api/v1/inventory/products/{lamp}/adjust-stock");
    client.post(&adjust, &received).expect(200);
    let order = order(&mut client, &lamp, 2);
    assert_eq!(order["status"], "confirmed", "{order}");
    assert_eq!(order["total"], eur(9_000));
    until_available(&mut client, &lamp, 3);
}

#[test]
fn a_first_start_has_a_catalog_that_everybody_can_browse() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let mut buyer = Client::stranger(&server.address);
    let all = buyer.get(&format!("{PRODUCTS}?limit=200")).expect(200);
    let all = all["items"].as_array().unwrap().clone();
    assert_eq!(all.len(), commerce::seed::PRODUCTS.len());
    for item in &all {
        assert_eq!(item["status"], "published", "{item}");
        assert_eq!(item["available"], commerce::seed::UNITS, "{item}");
    }
    let mut paged = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = buyer
            .get(&format!("{PRODUCTS}?limit=5{cursor}"))
            .expect(200);
        paged.extend(page["items"].as_array().unwrap().clone());
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(paged, all);
    let categories = buyer.get("/api/v1/catalog/categories").expect(200);
    let categories = categories["items"].as_array().unwrap().clone();
    let found: usize = categories
        .iter()
        .map(|category| skus(&mut buyer, &format!("?category={}", id(category))).len())
        .sum();
    assert_eq!(found, all.len());
}

#[test]
fn a_price_that_changes_in_mid_order_is_not_the_orders() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let mut client = server.client();
    let lamp = lamps(&mut client, 10);
    let mut slow = order_of(&lamp, 1, "tok_slow");
    let placed = until_accepted(&mut client, &slow);
    put(
        &mut client,
        &at(&lamp, "/price"),
        &[],
        &json!({ "price": eur(9_900) }),
    )
    .expect(200);
    // By the time that a new order has the new price, everything has heard of it.
    slow = order_of(&lamp, 1, "tok_ok");
    let give_up = Instant::now() + Duration::from_secs(20);
    loop {
        let new = client
            .post_with("/api/v1/orders", &[WAIT], &slow)
            .expect(200);
        if new["total"] == eur(9_900) {
            break;
        }
        assert!(Instant::now() < give_up, "{new}");
    }
    let path = format!("/api/v1/orders/{}", id(&placed));
    let settled = until(&mut client, &path, |seen| {
        seen.json()["status"] == "confirmed"
    })
    .json();
    assert_eq!(settled["total"], eur(4_500));
    assert_eq!(settled["items"][0]["unit_price"], eur(4_500));
    let ledger = server.ledger();
    let paid = ledger
        .iter()
        .find(|line| line["order_id"] == placed["id"] && line["operation"] == "authorise");
    assert_eq!(paid.unwrap()["amount"], 4_500);
    let prices = client.get(&at(&lamp, "/prices")).expect(200);
    let amounts: Vec<&Value> = prices["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| &row["price"]["amount"])
        .collect();
    assert_eq!(amounts, [&json!(9_900), &json!(4_500)]);
}

/// Places an order without waiting for its outcome.
#[track_caller]
fn until_accepted(client: &mut Client, body: &Value) -> Value {
    let give_up = Instant::now() + Duration::from_secs(20);
    loop {
        let answer = client.post("/api/v1/orders", body);
        if answer.status != 422 {
            return answer.expect(202);
        }
        assert!(Instant::now() < give_up, "{:?}", answer.json());
    }
}

#[test]
fn what_is_hidden_can_no_longer_be_ordered_and_shows_to_its_keepers_alone() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let mut client = server.client();
    let mut buyer = Client::stranger(&server.address);
    let mug = product(0);
    client.post(&at(&mug, "/unpublish"), &json!({})).expect(200);
    buyer
        .get(&at(&mug, ""))
        .problem(404, "rejected/no-such-product");
    assert!(!skus(&mut buyer, "?limit=200").contains(&"MUG-BLUE".to_owned()));
    assert_eq!(
        client.get(&at(&mug, "")).expect(200)["status"],
        "unpublished"
    );
    let body = order_of(&mug, 1, "tok_ok");
    let give_up = Instant::now() + Duration::from_secs(20);
    while client.post("/api/v1/orders", &body).status == 202 {
        assert!(Instant::now() < give_up, "it can still be ordered");
    }
    client
        .post("/api/v1/orders", &body)
        .problem(422, "rejected/unknown-product");
}

#[test]
fn availability_is_inventorys_after_orders_and_cancellations() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let mut client = server.client();
    let lamp = lamps(&mut client, 10);
    let kept = order(&mut client, &lamp, 3);
    let given_up = order(&mut client, &lamp, 4);
    until_available(&mut client, &lamp, 3);
    let cancel = format!("/api/v1/orders/{}/cancel", id(&given_up));
    let cancelled = client.post_with(&cancel, &[WAIT], &json!({ "reason": "too bright" }));
    assert_eq!(cancelled.expect(200)["status"], "cancelled");
    until_available(&mut client, &lamp, 7);
    let parcel = format!("/api/v1/shipments/order/{}", id(&kept));
    let parcel = until(&mut client, &parcel, |seen| seen.status == 200).json();
    let dispatch = format!("/api/v1/shipments/{}/dispatch", id(&parcel));
    client.post(&dispatch, &json!({})).expect(200);
    let record = format!("/api/v1/inventory/products/{lamp}");
    until(&mut client, &record, |seen| seen.json()["on_hand"] == 7);
    let (_, reserved, available) = stock(&mut client, &lamp);
    assert_eq!((reserved, available), (0, 7));
    let broken = json!({ "delta": -2, "reason": "damaged" });
    client
        .post(&format!("{record}/adjust-stock"), &broken)
        .expect(200);
    let shown = until_available(&mut client, &lamp, 5);
    assert_eq!(shown["version"], 2, "stock is no change of the product");
}

#[test]
fn a_change_to_a_version_that_is_gone_is_refused_and_a_repeated_one_is_answered_once() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let mut client = server.client();
    let lamp = lamp(&mut client);
    let price = |amount| json!({ "price": eur(amount) });
    let path = at(&lamp, "/price");
    let changed = put(&mut client, &path, &[("if-match", "\"1\"")], &price(5_000));
    assert_eq!(changed.expect(200)["version"], 2);
    assert_eq!(changed.header("etag"), Some("\"2\""));
    put(&mut client, &path, &[("if-match", "\"1\"")], &price(6_000))
        .problem(412, "rejected/version-changed");
    assert_eq!(client.get(&at(&lamp, "")).header("etag"), Some("\"2\""));

    let body = json!({ "sku": "ONCE", "name": "Made once" });
    let key = [("idempotency-key", "make-once")];
    let first = client.post_with(PRODUCTS, &key, &body);
    let again = client.post_with(PRODUCTS, &key, &body);
    assert_eq!(first.expect(201), again.expect(201));
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    client
        .post(PRODUCTS, &body)
        .problem(409, "rejected/sku-taken");

    let category = category(&mut client, "Old");
    let path = format!("/api/v1/catalog/categories/{category}");
    let renamed = put(
        &mut client,
        &path,
        &[("if-match", "\"1\"")],
        &json!({ "name": "New" }),
    );
    assert_eq!(renamed.expect(200)["name"], "New");
    put(
        &mut client,
        &path,
        &[("if-match", "\"1\"")],
        &json!({ "name": "Newer" }),
    )
    .problem(412, "rejected/version-changed");
}

#[test]
fn what_get_shows_can_be_changed_and_put_back() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let mut client = server.client();
    let lamp = at(&lamp(&mut client), "");
    let picture = json!({ "url": "https://shop.example/lamp.png", "alt": "a lamp" });
    client.post(&format!("{lamp}/images"), &picture).expect(200);
    let shown = client.get(&lamp).expect(200);
    let same = put(&mut client, &lamp, &[], &shown);
    assert_eq!(same.expect(200), shown, "nothing was said that is new");

    let mut changed = shown.clone();
    changed["name"] = json!("Night lamp");
    changed["price"] = eur(4_321);
    let put_back = put(&mut client, &lamp, &[], &changed).expect(200);
    assert_eq!(put_back["name"], "Night lamp");
    assert_eq!(put_back["price"], eur(4_321));
    assert_eq!(put_back["images"], shown["images"]);
    assert_eq!(put_back["version"], shown["version"].as_u64().unwrap() + 1);
    let prices = client.get(&format!("{lamp}/prices")).expect(200);
    assert_eq!(prices["items"][0]["price"], eur(4_321));
    assert_eq!(prices["items"][1]["price"], shown["price"]);

    changed["sku"] = json!("LAMP-OTHER");
    put(&mut client, &lamp, &[], &changed).problem(422, "rejected/sku-fixed");
    changed["sku"] = shown["sku"].clone();
    changed["colour"] = json!("red");
    put(&mut client, &lamp, &[], &changed).problem(422, "invalid-body");

    let draft = json!({ "sku": "DRAFT-1", "name": "Draft" });
    let path = format!(
        "{PRODUCTS}/{}",
        id(&client.post(PRODUCTS, &draft).expect(201))
    );
    let draft = client.get(&path).expect(200);
    assert_eq!(put(&mut client, &path, &[], &draft).expect(200), draft);

    let id = category(&mut client, "Lights");
    let path = format!("/api/v1/catalog/categories/{id}");
    let listed = client.get("/api/v1/catalog/categories").expect(200);
    let items = listed["items"].as_array().unwrap().iter();
    let mut shown = items.clone().find(|item| item["id"] == id).unwrap().clone();
    assert_eq!(put(&mut client, &path, &[], &shown).expect(200), shown);
    shown["name"] = json!("Lamps");
    assert_eq!(
        put(&mut client, &path, &[], &shown).expect(200)["name"],
        "Lamps"
    );
    shown["colour"] = json!("red");
    put(&mut client, &path, &[], &shown).problem(422, "invalid-body");
}

#[test]
fn a_body_or_a_search_that_breaks_a_rule_is_refused_by_the_name_of_the_rule() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let mut client = server.client();
    let good = json!({ "sku": "S-1", "name": "Thing", "price": eur(100) });
    let with = |name: &str, value: Value| {
        let mut body = good.clone();
        body[name] = value;
        body
    };
    for (body, kind) in [
        (with("sku", json!("a b")), "rejected/invalid-sku"),
        (with("name", json!(" ")), "rejected/invalid-text"),
        (with("price", eur(0)), "rejected/invalid-price"),
        (with("price", eur(-1)), "rejected/invalid-price"),
        (
            with("price", json!({ "amount": 1, "currency": "USD" })),
            "rejected/foreign-currency",
        ),
        (with("price", json!(9.99)), "invalid-body"),
        (with("colour", json!("blue")), "invalid-body"),
        (
            with("category_id", json!(product(0))),
            "rejected/unknown-category",
        ),
        (json!([]), "invalid-body"),
    ] {
        client.post(PRODUCTS, &body).problem(422, kind);
    }
    let thing = id(&client.post(PRODUCTS, &good).expect(201));
    let refused = client.post(&at(&thing, "/publish"), &json!({}));
    let refused = refused.problem(422, "rejected/product-incomplete");
    assert!(refused["detail"].as_str().unwrap().contains("no category"));
    for body in [
        json!({}),
        json!({ "url": "x" }),
        json!({ "url": "https://a.example", "images": [] }),
    ] {
        assert_eq!(
            client.post(&at(&thing, "/images"), &body).status,
            422,
            "{body}"
        );
    }
    let image = json!({ "url": "https://shop.example/thing.jpg", "alt": "a thing" });
    let shown = client.post(&at(&thing, "/images"), &image).expect(200);
    assert_eq!(shown["images"], json!([image]));
    let attributes = json!({ "attributes": { "colour": "blue", "size": "L" } });
    client
        .post(&at(&thing, "/attributes"), &attributes)
        .expect(200);
    let attributes = json!({ "attributes": { "size": null } });
    let shown = client
        .post(&at(&thing, "/attributes"), &attributes)
        .expect(200);
    assert_eq!(shown["attributes"], json!({ "colour": "blue" }));

    for query in [
        "?min_price=cheap",
        "?max_price=1.5",
        "?category=mugs",
        "?limit=0",
        "?limit=201",
        "?cursor=zz",
        "?min_price=2&max_price=1",
        "?status=sold",
        "?q=%3F",
    ] {
        assert_eq!(
            client.get(&format!("{PRODUCTS}{query}")).status,
            422,
            "{query}"
        );
    }
    let nobody = "01900000-0000-7000-8000-00000000ffff";
    for rest in ["/publish", "/unpublish"] {
        client
            .post(&at(nobody, rest), &json!({}))
            .problem(404, "rejected/no-such-product");
    }
    let adjust = format!("/api/v1/inventory/products/{nobody}/adjust-stock");
    client
        .post(&adjust, &json!({ "delta": 1, "reason": "received" }))
        .problem(404, "rejected/no-such-product");
}

#[test]
fn customers_and_strangers_change_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let mut stranger = Client::stranger(&server.address);
    stranger.register("buyer@example.com", "a long password");
    let mut buyer =
        Client::stranger(&server.address).as_user("buyer@example.com", "a long password");
    let mug = product(0);
    let writes = [
        ("POST", PRODUCTS.to_owned()),
        ("PUT", at(&mug, "")),
        ("PUT", at(&mug, "/price")),
        ("POST", at(&mug, "/publish")),
        ("POST", at(&mug, "/unpublish")),
        ("POST", at(&mug, "/images")),
        ("POST", at(&mug, "/attributes")),
        ("POST", "/api/v1/catalog/categories".to_owned()),
        ("PUT", format!("/api/v1/catalog/categories/{mug}")),
        ("GET", at(&mug, "/prices")),
    ];
    for (method, path) in writes {
        assert_eq!(
            stranger.request(method, &path, &[], None).status,
            401,
            "{method} {path}"
        );
        assert_eq!(
            buyer.request(method, &path, &[], None).status,
            403,
            "{method} {path}"
        );
    }
    assert_eq!(buyer.get(&at(&mug, "")).expect(200)["status"], "published");
    // Asking for drafts shows none.
    assert_eq!(
        skus(&mut buyer, "?status=draft&limit=200").len(),
        commerce::seed::PRODUCTS.len()
    );
}

#[test]
fn without_a_seed_the_catalog_is_empty() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::with(dir.path(), &["--no-seed"], &[]);
    let mut client = server.client();
    assert!(skus(&mut client, "").is_empty());
    let categories = client.get("/api/v1/catalog/categories").expect(200);
    assert_eq!(categories["items"], json!([]));
}

#[test]
fn a_look_is_published_once_a_minute_and_viewer() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let mut client = server.client();
    let mut stranger = Client::stranger(&server.address);
    for _ in 0..5 {
        client.get(&at(&product(0), "")).expect(200);
        stranger.get(&at(&product(0), "")).expect(200);
        stranger.get(&at(&product(1), "")).expect(200);
    }
    // The last one is heard after the others, so what they counted is counted by then.
    client.get(&at(&product(2), "")).expect(200);
    let funnel = "/api/v1/analytics/conversion-funnel";
    let seen = until(&mut client, funnel, |seen| {
        seen.status == 200 && seen.json()["viewed"].as_u64() >= Some(4)
    });
    assert_eq!(seen.json()["viewed"], 4);
}
