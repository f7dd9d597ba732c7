//! Events for the outside: `GET /events`, what has happened in the shop as it happens.
//!
//! The shop's own people see everything, customers what is about them or their orders. Personal
//! data has no readable form and so appears to nobody.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use redeliver::http::{
    EventStreams, EventStreamsConfig, EventView, Problem, Show, Shown, resume_after,
};
use redeliver::{CallError, PublishedEvent, RejectionKind, Timestamp};
use serde::Serialize;
use serde_json::Value;
use warp::http::HeaderMap;

use super::ask::Ask;
use super::caller::Caller;
use super::table::{Access, Answer, Table};
use crate::app::Shop;
use crate::identity::Role;
use crate::ids::{OrderId, UserId};
use crate::order::OrderById;
use crate::time::rfc3339;

/// Streams that one user may have open: a browser's tabs, a script or two. Together they could
/// otherwise take the places of everybody else.
const STREAMS_OF_USER_MAX: usize = 16;
/// Orders of which it is remembered whose they are.
const OWNERS_MAX: usize = 10_000;

pub(super) fn routes(on: &mut Table) {
    let streams = Arc::new(OnceLock::<Streams>::new());
    on.get("/events", Access::SignedIn, move |ask: Ask| {
        let streams = streams.get_or_init(|| Streams::of(&ask.shop)).clone();
        async move { streams.answer(ask) }
    })
    .about("Streams what happens, as server-sent events; customers see their own.")
    .query(
        "types",
        "Only events of these types: wire names with commas between.",
    )
    .query("type", "Only events of this type; may be repeated.")
    .query("order_id", "Only what is about this order.")
    .query("after", "As `Last-Event-ID`, for who cannot send a header.")
    .header(
        "Last-Event-ID",
        "The last event seen: the stream goes on behind it. 0 begins with the oldest that is \
         kept; left out, the stream begins with what happens next.",
    )
    .answers_as("text/event-stream");
}

/// What all streams share.
#[derive(Clone)]
struct Streams {
    streams: EventStreams,
    owners: Arc<Owners>,
    readers: Arc<Readers>,
}

impl Streams {
    fn of(shop: &Shop) -> Streams {
        Streams {
            streams: EventStreams::new(&shop.system, EventStreamsConfig::default()),
            owners: Arc::default(),
            readers: Arc::default(),
        }
    }

    fn answer(&self, ask: Ask) -> Answer {
        let after = resume_after(&ask.headers, ask.parameter("after").as_deref())?;
        let wanted = Wanted {
            types: types(&ask)?,
            order: order(&ask)?,
        };
        let view = Seen {
            _place: Readers::place(&self.readers, ask.caller.user)?,
            shop: ask.shop,
            headers: ask.headers,
            caller: ask.caller,
            wanted,
            owners: self.owners.clone(),
        };
        self.streams.answer(after, ask.draining, view)
    }
}

/// Which events a reader has asked for.
struct Wanted {
    /// All, if there are none.
    types: Vec<String>,
    order: Option<OrderId>,
}

/// The types asked for. One that nobody publishes is told at once: its reader would wait for ever.
fn types(ask: &Ask) -> Result<Vec<String>, Problem> {
    let asked = form_urlencoded::parse(ask.query.as_bytes())
        .filter(|(name, _)| name == "types" || name == "type")
        .flat_map(|(_, value)| value.split(',').map(str::to_owned).collect::<Vec<_>>());
    let types: Vec<String> = asked
        .map(|name| name.trim().to_owned())
        .filter(|name| !name.is_empty())
        .collect();
    let services = &ask.shop.system.topology().services;
    let mut published = services.iter().flat_map(|service| &service.publishes);
    match types
        .iter()
        .find(|name| !published.clone().any(|known| known.message == **name))
    {
        None => Ok(types),
        Some(unknown) => {
            let near =
                published.find(|known| known.message.replace('-', "") == unknown.to_lowercase());
            let hint = near.map_or_else(String::new, |near| format!("; is it `{}`?", near.message));
            Err(Problem::unprocessable(format!(
                "no service publishes events of the type `{}`{hint}",
                unknown.chars().take(64).collect::<String>()
            )))
        }
    }
}

fn order(ask: &Ask) -> Result<Option<OrderId>, Problem> {
    let text = ask.parameter("order_id");
    let parsed = text.map(|text| text.parse()).transpose();
    parsed.map_err(|_| Problem::unprocessable("order_id is no id; ids are UUIDs"))
}

/// What one reader sees.
struct Seen {
    shop: Shop,
    headers: HeaderMap,
    caller: Caller,
    wanted: Wanted,
    owners: Arc<Owners>,
    _place: Place,
}

impl EventView for Seen {
    async fn show(&self, event: &PublishedEvent) -> Show {
        let Wanted { types, order } = &self.wanted;
        if !types.is_empty() && !types.contains(&event.name) {
            return Show::Nothing;
        }
        let body: Value = match event.json().map(|json| serde_json::from_slice(&json)) {
            Ok(Ok(body)) => body,
            // Published by a service that is gone, or in a form that nobody knows any more.
            Ok(Err(_)) | Err(_) => Value::Null,
        };
        let about = About::of(&body);
        if order.is_some() && *order != about.order {
            return Show::Nothing;
        }
        if !self.caller.has(Role::Operator) {
            match self.is_own(&about).await {
                Ok(true) => {}
                Ok(false) => return Show::Nothing,
                // Whose it is cannot be said now; the reader comes back for it.
                Err(()) => return Show::End,
            }
        }
        match serde_json::to_vec(&Told::of(event, about.order, body)) {
            Ok(data) => Show::This(Shown {
                event: event.name.clone().into(),
                data,
            }),
            Err(error) => {
                tracing::error!(%error, "event has no json form");
                Show::End
            }
        }
    }

    async fn may_go_on(&self) -> bool {
        let caller = Caller::admitted(&self.shop, &self.headers, Access::SignedIn).await;
        caller.is_ok_and(|caller| caller == self.caller)
    }
}

impl Seen {
    /// Whether an event is about the caller. An event that names a user is about that user; one
    /// that names only an order is about whoever has ordered.
    async fn is_own(&self, about: &About) -> Result<bool, ()> {
        if let Some(user) = about.user {
            return Ok(user == self.caller.user);
        }
        match about.order {
            Some(order) => Ok(self.owners.of(&self.shop, order).await? == Some(self.caller.user)),
            None => Ok(false),
        }
    }
}

/// Whom and what an event is about, as its body says.
#[derive(Debug, PartialEq, Eq)]
struct About {
    order: Option<OrderId>,
    user: Option<UserId>,
}

impl About {
    fn of(body: &Value) -> About {
        fn id<T: std::str::FromStr>(body: &Value, name: &str) -> Option<T> {
            body.get(name)?.as_str()?.parse().ok()
        }
        About {
            order: id(body, "order_id"),
            user: id(body, "customer_id").or_else(|| id(body, "user_id")),
        }
    }
}

/// An event as it is told.
#[derive(Serialize)]
struct Told<'a> {
    id: String,
    message: &'a str,
    version: u16,
    service: &'a str,
    #[serde(with = "rfc3339")]
    at: Timestamp,
    order_id: Option<OrderId>,
    correlation_id: String,
    causation_id: String,
    body: Value,
}

impl<'a> Told<'a> {
    fn of(event: &'a PublishedEvent, order_id: Option<OrderId>, body: Value) -> Told<'a> {
        Told {
            id: event.id.to_string(),
            message: &event.name,
            version: event.version,
            service: &event.service,
            at: event.at,
            order_id,
            correlation_id: event.correlation.to_string(),
            causation_id: event.causation.to_string(),
            body,
        }
    }
}

/// Whose the orders are that events have named. An order never changes hands.
#[derive(Default)]
struct Owners(Mutex<HashMap<OrderId, UserId>>);

impl Owners {
    /// Whose an order is; `None` if there is no such order. An error if it cannot be said now.
    async fn of(&self, shop: &Shop, order_id: OrderId) -> Result<Option<UserId>, ()> {
        if let Some(owner) = self.known().get(&order_id) {
            return Ok(Some(*owner));
        }
        let question = OrderById {
            order_id,
            customer_id: None,
        };
        match shop.order().query(question).await {
            Ok(order) => {
                let mut known = self.known();
                // What is asked for again is learnt again.
                if known.len() >= OWNERS_MAX {
                    known.clear();
                }
                known.insert(order_id, order.customer_id);
                Ok(Some(order.customer_id))
            }
            Err(CallError::Rejected(no)) if no.kind == RejectionKind::NotFound => Ok(None),
            Err(_) => Err(()),
        }
    }

    fn known(&self) -> MutexGuard<'_, HashMap<OrderId, UserId>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How many streams each user has open.
#[derive(Default)]
struct Readers(Mutex<HashMap<UserId, usize>>);

/// One of a user's streams, for as long as it is open.
struct Place {
    readers: Arc<Readers>,
    user: UserId,
}

impl Readers {
    fn place(readers: &Arc<Readers>, user: UserId) -> Result<Place, Problem> {
        let mut open = readers.open();
        let count = open.entry(user).or_default();
        if *count >= STREAMS_OF_USER_MAX {
            return Err(
                Problem::too_many_requests(Duration::from_secs(10)).detail(format!(
                    "you have {STREAMS_OF_USER_MAX} event streams open; close one first"
                )),
            );
        }
        *count += 1;
        drop(open);
        Ok(Place {
            readers: readers.clone(),
            user,
        })
    }

    fn open(&self) -> MutexGuard<'_, HashMap<UserId, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.readers.open();
        if let Some(count) = open.get_mut(&self.user) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.user);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    #[test]
    fn an_event_is_about_the_order_and_the_user_that_its_body_names() {
        let id = "01900000-0000-7000-8000-000000000001";
        let (order, user) = (Some(id.parse().unwrap()), Some(id.parse().unwrap()));
        let nobody = About {
            order: None,
            user: None,
        };
        for (body, about) in [
            (
                json!({ "order_id": id, "customer_id": id }),
                About { order, user },
            ),
            (json!({ "user_id": id }), About { order: None, user }),
            (
                json!({ "order_id": id, "user_id": null }),
                About { order, user: None },
            ),
            (json!({ "order_id": "x", "customer_id": 7 }), nobody),
        ] {
            assert_eq!(About::of(&body), about, "{body}");
        }
        assert_eq!(About::of(&Value::Null).user, None);
    }

    #[test]
    fn one_user_cannot_take_every_place() {
        let readers = Arc::default();
        let (one, other) = (
            UserId(uuid::Uuid::from_u128(1)),
            UserId(uuid::Uuid::from_u128(2)),
        );
        let place = |user| Readers::place(&readers, user).map_err(|problem| problem.status());
        let mut places: Vec<Place> = (0..STREAMS_OF_USER_MAX)
            .map(|_| place(one).unwrap())
            .collect();
        assert_eq!(place(one).err().map(|status| status.as_u16()), Some(429));
        places.push(place(other).unwrap());
        places.remove(0);
        places.push(place(one).unwrap());
        drop(places);
        assert!(readers.open().is_empty());
    }
}
