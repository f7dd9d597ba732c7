//! A total that cannot be counted is refused.

#![allow(clippy::unwrap_used)]

mod common;

use commerce::app::{Outsiders, Shop};
use commerce::catalog::ChangePrice;
use commerce::config::Config;
use commerce::identity::Password;
use commerce::money::{Currency, Money};
use commerce::order::PriceOfProduct;
use commerce::seed::{product_id, sow};
use common::{Client, order_of, product};
use redeliver::http::{ServerConfig, serve};
use tokio_util::sync::CancellationToken;

#[tokio::test(flavor = "multi_thread")]
async fn an_overflowing_total_is_refused_and_nothing_is_ordered() {
    let dir = tempfile::tempdir().unwrap();
    let config = Config {
        data: dir.path().to_owned(),
        ..Config::default()
    };
    let shop = Shop::open(&config, Outsiders::AtOnce).await.unwrap();
    sow(&shop, config.currency, 10, 1).await.unwrap();
    for (place, price) in [(0, i64::MAX), (1, i64::MAX / 2 + 1)] {
        let product_id = product_id(place);
        let watch = shop.order().watch(&product_id);
        let dear = ChangePrice {
            product_id,
            if_version: None,
            price: Money::new(price, Currency::EUR),
        };
        shop.catalog().call(dear).await.unwrap();
        loop {
            let changed = watch.changed();
            let ask = PriceOfProduct { product_id };
            if shop.order().query(ask).await.unwrap().price.amount == price {
                break;
            }
            changed.await;
        }
    }
    let password = Password::new(common::ADMIN.1);
    let admin = shop.accounts.appoint_first_admin(Some(password), |_| {});
    admin.await.unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let stop = CancellationToken::new();
    let routes = commerce::http::routes(shop.clone(), &config.http);
    let stopped = stop.clone().cancelled_owned();
    let server = tokio::spawn(serve(listener, routes, ServerConfig::default(), stopped));
    let asked = tokio::task::spawn_blocking(move || {
        let mut client = Client::new(&address);
        let mut both = order_of(&product(0), 1, "tok_ok");
        let other = order_of(&product(1), 1, "tok_ok")["items"][0].clone();
        both["items"].as_array_mut().unwrap().push(other);
        for order in [
            order_of(&product(0), 2, "tok_ok"),
            order_of(&product(1), 2, "tok_ok"),
            both,
        ] {
            let answer = client.post("/api/v1/orders", &order);
            answer.problem(422, "rejected/amount-too-large");
        }
        let orders = client.get("/api/v1/orders").expect(200);
        assert_eq!(orders["items"].as_array().unwrap().len(), 0);
    });
    asked.await.unwrap();
    stop.cancel();
    server.await.unwrap();
    shop.shutdown(std::time::Duration::from_secs(10))
        .await
        .unwrap();
}
