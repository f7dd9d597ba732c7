//! What is driven: a system of services, and the clients that drive it.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use hyper::header::HeaderValue;
use redeliver::http::facade;
use redeliver::{ServiceHandle, System};
use warp::{Filter, Rejection, Reply};

use super::chain;
use super::client::{Client, Direct, OverHttp, Post, Refused};
use super::counter::{self, Counter, Increment};
use super::engine_syncs::EngineSyncs;
use super::figures::Counted;
use super::served::Served;
use super::{Case, Over, Workload, failed};
use crate::app::{Outsiders, Shop};
use crate::cli::Failure;
use crate::config::{Config, HttpConfig};
use crate::identity::accounts::Entry;
use crate::identity::{Contact, Password};
use crate::ids::UserId;
use crate::inventory::stock::UNITS_MAX;
use crate::order::requests::{OrderById, OrderItem, PlaceOrder};
use crate::order::{Address, OrderStatus, Orders};
use crate::payment::PaymentMethod;
use crate::privacy::{Keyring, KeyringError};
use crate::syncs::Syncs;
use crate::{http, seed};

/// How long the services may take to end.
const DRAIN: Duration = Duration::from_secs(30);

/// A running system with what its clients need.
pub(super) struct Subject {
    pub(super) system: System,
    kind: Kind,
    served: Option<Served>,
}

enum Kind {
    Counter(ServiceHandle<Counter>),
    Chain(ServiceHandle<chain::Orders>),
    /// With the customer that all clients are.
    Shop(Box<Shop>, UserId),
}

impl Subject {
    /// Starts what is to be driven over a fresh data directory.
    pub(super) async fn start(config: &Config, case: Case, dir: &Path) -> Result<Self, Failure> {
        let (system, kind) = match case.workload {
            Workload::W1 => {
                let (system, counter) = counter::start(dir).await.map_err(failed)?;
                (system, Kind::Counter(counter))
            }
            Workload::W2 => {
                let (system, orders) = chain::start(dir).await.map_err(failed)?;
                (system, Kind::Chain(orders))
            }
            Workload::W3 => {
                let (shop, customer) = open_shop(config, dir).await?;
                (shop.system.clone(), Kind::Shop(Box::new(shop), customer))
            }
        };
        let served = match (case.over, &kind) {
            (Over::Process, _) => None,
            (Over::Http, Kind::Counter(_)) => Some(Served::start(facade(system.clone())).await?),
            (Over::Http, Kind::Chain(orders)) => {
                Some(Served::start(chain_routes(orders.clone())).await?)
            }
            (Over::Http, Kind::Shop(shop, _)) => {
                // All clients come from one address.
                let unlimited = HttpConfig {
                    requests_per_s: 0,
                    ..HttpConfig::default()
                };
                Some(Served::start(http::routes(Shop::clone(shop), &unlimited)).await?)
            }
        };
        Ok(Subject {
            system,
            kind,
            served,
        })
    }

    /// Who counts the syncs that the system does not know of.
    pub(super) fn counted(&self, engine: EngineSyncs) -> Counted {
        let shop = match &self.kind {
            Kind::Counter(_) | Kind::Chain(_) => Syncs::default(),
            Kind::Shop(shop, _) => shop.syncs.clone(),
        };
        Counted { shop, engine }
    }

    /// What clients over HTTP show of themselves, and what they say: the same, each time.
    pub(super) async fn said(&self) -> Result<(Option<HeaderValue>, Bytes), Failure> {
        Ok(match &self.kind {
            Kind::Counter(_) => (None, Bytes::from_static(b"{\"counter\":500}")),
            Kind::Chain(_) => (None, Bytes::from_static(b"1099511627776")),
            Kind::Shop(shop, _) => {
                let bearer = signed_in(shop).await;
                let bearer = bearer.map_err(|refused| failed(format!("{refused:?}")))?;
                (Some(bearer), Bytes::from(order_json(1)))
            }
        })
    }

    /// Clients that are ready to ask.
    pub(super) async fn clients(&self, count: usize) -> Result<Vec<Box<dyn Client>>, Failure> {
        let mut clients = Vec::with_capacity(count);
        for client in 0..count as u64 {
            clients.push(match &self.served {
                None => self.direct(client),
                Some(served) => {
                    let connected = self.over_http(served, client).await;
                    connected.map_err(|refused| failed(format!("no connection: {refused:?}")))?
                }
            });
        }
        Ok(clients)
    }

    fn direct(&self, client: u64) -> Box<dyn Client> {
        // Each client has numbers of its own.
        let nth = client << 40;
        match &self.kind {
            Kind::Counter(counter) => {
                let counter = counter.clone();
                let operate = move |nth| {
                    let counter = counter.clone();
                    let increment = Increment {
                        counter: counter::pick(client, nth),
                    };
                    async move { Ok(counter.call(increment).await.map(|_| ())?) }
                };
                Box::new(Direct { nth, operate })
            }
            Kind::Chain(orders) => {
                let orders = orders.clone();
                let operate = move |order| {
                    let orders = orders.clone();
                    async move { Ok(chain::complete(&orders, order).await?) }
                };
                Box::new(Direct { nth, operate })
            }
            Kind::Shop(shop, customer) => {
                let customer = *customer;
                let (order, keyring) = (shop.order(), shop.keyring.clone());
                let operate = move |nth| {
                    let (order, keyring) = (order.clone(), keyring.clone());
                    async move { confirm(&order, &keyring, customer, nth).await }
                };
                Box::new(Direct { nth, operate })
            }
        }
    }

    async fn over_http(&self, served: &Served, client: u64) -> Result<Box<dyn Client>, Refused> {
        let (address, nth) = (served.address, client << 40);
        Ok(match &self.kind {
            Kind::Counter(_) => {
                let post = move |nth| {
                    let counter = counter::pick(client, nth);
                    Post {
                        path: "/services/counter/increment",
                        body: Bytes::from(format!("{{\"counter\":{counter}}}")),
                        expected: b"",
                    }
                };
                Box::new(OverHttp::connect(address, nth, None, post).await?)
            }
            Kind::Chain(_) => {
                let post = move |order: u64| Post {
                    path: "/orders",
                    body: Bytes::from(order.to_string()),
                    expected: b"completed",
                };
                Box::new(OverHttp::connect(address, nth, None, post).await?)
            }
            Kind::Shop(shop, _) => {
                let bearer = Some(signed_in(shop).await?);
                let post = move |nth| Post {
                    path: "/api/v1/orders",
                    body: Bytes::from(order_json(nth)),
                    expected: b"\"confirmed\"",
                };
                Box::new(OverHttp::connect(address, nth, bearer, post).await?)
            }
        })
    }

    /// Stops everything; the clients must have gone.
    pub(super) async fn stop(self) -> Result<(), Failure> {
        if let Some(served) = self.served {
            served.stop().await?;
        }
        self.system.shutdown(DRAIN).await.map_err(failed)
    }
}

/// One route: an order until it is completed. Its body is the order's number.
fn chain_routes(
    orders: ServiceHandle<chain::Orders>,
) -> impl Filter<Extract = (impl Reply,), Error = Rejection> + Clone {
    warp::path!("orders")
        .and(warp::post())
        .and(warp::body::json())
        .then(move |order: u64| {
            let orders = orders.clone();
            async move {
                match chain::complete(&orders, order).await {
                    Ok(()) => "completed".into_response(),
                    Err(error) => redeliver::http::Problem::from(error).into_response(),
                }
            }
        })
}

/// The shop with a provider that answers at once, with more of everything than is ordered, and
/// with a customer.
async fn open_shop(config: &Config, dir: &Path) -> Result<(Shop, UserId), Failure> {
    let mut config = Config {
        data: dir.to_owned(),
        ..config.clone()
    };
    // Clients sign in before anything is measured, and stay in for as long as it takes; what
    // signing in costs is not what is measured.
    config.identity.access_token_s = 24 * 60 * 60;
    config.identity.argon2_memory_kib = 8;
    config.identity.argon2_passes = 1;
    config.identity.argon2_lanes = 1;
    let shop = Shop::open(&config, Outsiders::AtOnce).await?;
    seed::sow(&shop, config.currency, UNITS_MAX, 1).await?;
    let contact = Contact {
        email: EMAIL.to_owned(),
        first_name: "Anna".to_owned(),
        last_name: "Example".to_owned(),
    };
    let registered = shop.accounts.register(contact, Password::new(PASSWORD));
    let customer = registered.await.map_err(failed)?.id;
    Ok((shop, customer))
}

/// What a client over HTTP shows of itself: all are one customer, each in a session of its own.
async fn signed_in(shop: &Shop) -> Result<HeaderValue, Refused> {
    let entry = shop.accounts.log_in(EMAIL, Password::new(PASSWORD)).await;
    match entry.map_err(Refused::failed)? {
        Entry::Admitted(admission) => {
            let bearer = format!("Bearer {}", admission.access.reveal());
            HeaderValue::try_from(bearer).map_err(Refused::failed)
        }
        Entry::Refused | Entry::Locked { .. } => {
            Err(Refused::Failed(format!("{EMAIL} could not sign in")))
        }
    }
}

/// Places an order and waits until it is confirmed.
async fn confirm(
    service: &ServiceHandle<Orders>,
    keyring: &Keyring,
    customer: UserId,
    nth: u64,
) -> Result<(), Refused> {
    let failed = |error: KeyringError| Refused::Failed(error.to_string());
    let card = PaymentMethod::card(CARD);
    let place = PlaceOrder {
        customer_id: customer,
        items: items(nth).to_vec(),
        shipping_address: keyring.seal(customer, &address()).map_err(failed)?,
        payment_method: card.seal(customer, keyring).map_err(failed)?,
        expected_total: None,
    };
    let placed = service.call(place).await?;
    let watch = service.watch(&placed.id);
    loop {
        let changed = watch.changed();
        let order = service
            .query(OrderById {
                order_id: placed.id,
                customer_id: None,
            })
            .await?;
        match order.status {
            OrderStatus::Pending | OrderStatus::Reserved | OrderStatus::Paid => changed.await,
            OrderStatus::Confirmed => return Ok(()),
            other => return Err(Refused::Failed(format!("an order became {other:?}"))),
        }
    }
}

const CARD: &str = "tok_ok";
const EMAIL: &str = "bench@example.com";
const PASSWORD: &str = "a customer of the bench";

/// Two products, of which every order has others.
fn items(nth: u64) -> [OrderItem; 2] {
    let products = seed::PRODUCTS.len();
    let place = counter::pick(nth >> 40, nth) as usize;
    [place, place + 1].map(|place| OrderItem {
        product_id: seed::product_id(place % products),
        quantity: 1,
    })
}

fn address() -> Address {
    Address {
        recipient: "Anna Example".to_owned(),
        line1: "12 Harbour Street".to_owned(),
        line2: None,
        city: "Hamburg".to_owned(),
        region: None,
        postal_code: "20457".to_owned(),
        country: "DE".to_owned(),
    }
}

fn order_json(nth: u64) -> String {
    serde_json::json!({
        "items": items(nth),
        "shipping_address": address(),
        "payment_method": { "type": "card", "token": CARD },
    })
    .to_string()
}
