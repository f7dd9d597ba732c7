//! A request as routes see it: read once, refused in one way.

use std::net::SocketAddr;
use std::str::FromStr;

use bytes::Bytes;
use redeliver::codec::check_objects;
use redeliver::http::{Draining, Problem, idempotency_key};
use redeliver::{
    Answered, Command, IdempotencyKey, Query, Rejection, Service, ServiceHandle, TraceContext,
};
use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::error::Category;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, Schema, SchemaType};
use utoipa::{PartialSchema, ToSchema};
use warp::http::header::CONTENT_TYPE;
use warp::http::{HeaderMap, Method, StatusCode};

use super::caller::Caller;
use super::table::Answer;
use super::{answer, conditions};
use crate::app::Shop;
use crate::money::{Currency, Money};
use crate::page::{Listing, PAGE_ROWS_MAX, Page, to_hex};

/// Enough that no cursor is taken for another list's by chance.
const LIST_MARK_BYTES: usize = 6;

/// A request.
pub(super) struct Ask {
    pub(super) shop: Shop,
    pub(super) caller: Caller,
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) captured: Vec<String>,
    /// Whether the route honours an idempotency key; others do not look at it.
    pub(super) is_idempotent: bool,
    /// The parameters that say which list is shown.
    pub(super) filters: Vec<&'static str>,
    pub(super) query: String,
    pub(super) headers: HeaderMap,
    pub(super) draining: Draining,
    /// The other end of the connection.
    pub(super) peer: Option<SocketAddr>,
    /// Whether only the head of the answer is wanted.
    pub(super) head_only: bool,
    pub(super) body: Bytes,
}

/// A body that says nothing.
#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Nothing {}

/// A field that answers show and that a request does not change. What was shown can be sent back
/// with it; whatever it says counts for nothing.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
pub(super) struct Ignored(#[allow(dead_code, reason = "nobody looks at it")] IgnoredAny);

impl PartialSchema for Ignored {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(SchemaType::AnyValue)
            .read_only(true)
            .description(Some("As it was shown, or anything else: ignored."))
            .into()
    }
}

impl ToSchema for Ignored {}

/// Money in a request.
#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct MoneyAsked {
    amount: i64,
    currency: Currency,
}

impl From<MoneyAsked> for Money {
    fn from(asked: MoneyAsked) -> Money {
        Money::new(asked.amount, asked.currency)
    }
}

impl Ask {
    /// The id in the path. What is no id is nobody's id.
    pub(super) fn id<T: FromStr>(&self) -> Result<T, Problem> {
        let text = self.captured();
        text.parse().map_err(|_| {
            Problem::not_found(format!(
                "there is nothing with the id `{}`; ids are UUIDs",
                shown(text)
            ))
        })
    }

    /// The open part of the path.
    pub(super) fn captured(&self) -> &str {
        self.captured.first().map_or("", String::as_str)
    }

    /// A parameter of the query string; of several, the last counts. An empty one is none, as a
    /// form sends what nobody has filled in.
    pub(super) fn parameter(&self, name: &str) -> Option<String> {
        self.said(name).filter(|value| !value.is_empty())
    }

    fn said(&self, name: &str) -> Option<String> {
        form_urlencoded::parse(self.query.as_bytes())
            .filter(|(key, _)| key == name)
            .map(|(_, value)| value.into_owned())
            .last()
    }

    /// Which page of a list.
    pub(super) fn page(&self) -> Result<Page, Problem> {
        let limit = match self.said("limit") {
            None => None,
            Some(text) => {
                let limit = text.parse().ok();
                Some(
                    limit
                        .filter(|limit| (1..=PAGE_ROWS_MAX).contains(limit))
                        .ok_or_else(|| {
                            Problem::unprocessable(format!(
                                "limit `{}` is out of range; use 1 to {PAGE_ROWS_MAX}",
                                shown(&text)
                            ))
                        })?,
                )
            }
        };
        let cursor = self.said("cursor").map(|cursor| self.own(cursor));
        Ok(Page {
            limit,
            cursor: cursor.transpose()?,
        })
    }

    /// Answers with a page of this list, whose cursor goes on in this list alone.
    pub(super) fn show_page<T: Serialize>(&self, mut page: Listing<T>) -> Answer {
        if let Some(cursor) = &mut page.next_cursor {
            cursor.push_str(&self.list_mark());
        }
        answer::ok(&page)
    }

    /// A cursor as it came from this list: where a page begins in another list is nowhere in this
    /// one, and a page from nowhere would look like the end.
    fn own(&self, mut cursor: String) -> Result<String, Problem> {
        let mark = self.list_mark();
        let Some(bare) = cursor.strip_suffix(&mark) else {
            return Err(Rejection::invalid(
                "invalid_cursor",
                "cursor is none of this list with these filters; start again without it",
            )
            .into());
        };
        cursor.truncate(bare.len());
        Ok(cursor)
    }

    /// What a cursor knows its list by: where it is, and what it leaves out.
    fn list_mark(&self) -> String {
        let mut list = self.path.clone();
        for name in &self.filters {
            if let Some(value) = self.parameter(name) {
                // No value can look like the end of one and the next name.
                let value: String = form_urlencoded::byte_serialize(value.as_bytes()).collect();
                list.push_str(&format!("&{name}={value}"));
            }
        }
        let digest = self.shop.keyring.digest("list", list.as_bytes());
        to_hex(&digest.0[..LIST_MARK_BYTES])
    }

    /// Refuses what would be done with a condition or a coding of the body overlooked. Routes of
    /// what has versions look at `If-Match` themselves.
    pub(super) fn check_conditions(&self, has_versions: bool) -> Result<(), Problem> {
        if self.method == Method::GET {
            return Ok(());
        }
        if !self.body.is_empty() {
            conditions::not_coded(&self.headers)?;
        }
        if has_versions {
            Ok(())
        } else {
            conditions::no_versions(&self.headers)
        }
    }

    /// The body, which must be there.
    pub(super) fn json<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        self.check_media_type()?;
        read(&self.body)
    }

    /// The body, which may be left out when all its fields may.
    pub(super) fn json_or_nothing<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        if self.body.is_empty() {
            return read(b"{}");
        }
        self.json()
    }

    fn check_media_type(&self) -> Result<(), Problem> {
        let is_json = self
            .headers
            .get(CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.split(';').next())
            .is_some_and(|essence| essence.trim().eq_ignore_ascii_case("application/json"));
        if is_json {
            Ok(())
        } else {
            Err(Problem::unsupported_media_type("application/json"))
        }
    }

    /// The versions that `If-Match` names: the caller's change is for one of them and no other.
    /// `None` is any, as without the header; a list without a version of ours fits none.
    pub(super) fn if_version(&self) -> Result<Option<Vec<u64>>, Problem> {
        conditions::if_version(&self.headers)
    }

    /// Sends a command: once, if the caller gave a key.
    pub(super) async fn send<S: Service, C: Command>(
        &self,
        to: ServiceHandle<S>,
        command: C,
    ) -> Result<Answered<C::Reply>, Problem> {
        let key = self.idempotency_key()?;
        let call = to.command(command).idempotency(key).trace(self.trace());
        Ok(call.send().await?)
    }

    /// Asks a query.
    pub(super) async fn query<S: Service, Q: Query>(
        &self,
        of: ServiceHandle<S>,
        query: Q,
    ) -> Result<Q::Answer, Problem> {
        Ok(of.query(query).await?)
    }

    fn idempotency_key(&self) -> Result<Option<IdempotencyKey>, Problem> {
        if !self.is_idempotent {
            return Ok(None);
        }
        let Ask {
            caller,
            method,
            path,
            ..
        } = self;
        // A digest under a secret, because it is stored and a body may hold a password or an
        // address that could be guessed.
        let body = self.shop.keyring.digest("request body", &self.body);
        idempotency_key(&self.headers, &caller.name, method, path, &body.0)
    }

    /// W3C: a trace context that cannot be read is ignored.
    fn trace(&self) -> Option<TraceContext> {
        let value = self.headers.get("traceparent")?.to_str().ok()?;
        TraceContext::from_traceparent(value)
    }
}

/// Reads JSON: what is none is 400, what is not what was asked for is 422.
pub(super) fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    let read = serde_json::from_slice(body).map_err(|error| refusal::<T>(body, &error))?;
    // serde takes an array for an object, field by field; we do not.
    check_objects::<T>(body).map_err(|error| invalid(&error))?;
    Ok(read)
}

/// Why a body that is not what was asked for is refused.
fn refusal<T: DeserializeOwned>(body: &[u8], error: &serde_json::Error) -> Problem {
    // The first thing that is wrong may stand before the end of the JSON.
    if let Err(error) = serde_json::from_slice::<IgnoredAny>(body) {
        return Problem::malformed(format!("the body is not JSON: {error}"));
    }
    if error.classify() == Category::Data {
        return invalid(error);
    }
    // Where a name is due, what is neither text nor an object counts as bad syntax; of what was
    // read without asking for anything, only what is nested too deeply does.
    match serde_json::from_slice::<Value>(body) {
        Ok(value) => match T::deserialize(value) {
            Err(error) => invalid(&error),
            Ok(_) => invalid(error),
        },
        Err(error) => Problem::malformed(format!("the body cannot be read: {error}")),
    }
}

fn invalid(error: &dyn std::fmt::Display) -> Problem {
    Problem::new(
        StatusCode::UNPROCESSABLE_ENTITY,
        "invalid-body",
        "The body is not what this route takes",
    )
    .detail(format!("{error}; correct it and send it again"))
}

/// What a caller wrote, short enough to repeat.
fn shown(text: &str) -> String {
    const CHARS_MAX: usize = 64;
    text.chars().take(CHARS_MAX).collect()
}
