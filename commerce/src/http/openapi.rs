//! The document: every route of the table in the words of OpenAPI 3.1.
//!
//! It is made from the table that answers the requests, so there is no route that it leaves out
//! and none that it invents. What the conventions say of many routes (who may ask, keys, pages,
//! versions, problems) is said here, once.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};
use warp::http::StatusCode;

use super::entry::{Body, Entry, Parameter, Place, Shape};
use super::table::{Access, Table};

/// The document of all routes of a table.
pub(super) fn document(table: &Table) -> Value {
    let mut paths: BTreeMap<String, Map<String, Value>> = BTreeMap::new();
    let mut services = BTreeSet::new();
    for entry in table.entries() {
        services.insert(entry.service());
        paths
            .entry(entry.named_path())
            .or_default()
            .insert(entry.method.as_str().to_ascii_lowercase(), operation(entry));
    }
    let tags: Vec<Value> = services
        .into_iter()
        .map(|service| json!({ "name": service }))
        .collect();
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Commerce",
            "version": env!("CARGO_PKG_VERSION"),
            "description": ABOUT,
            "license": { "name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0" },
        },
        "servers": [{ "url": "/" }],
        "tags": tags,
        "paths": paths,
        "components": {
            "schemas": schemas(table),
            "headers": headers(),
            "responses": { "Problem": problem_response("What went wrong, and what to do next.") },
            "securitySchemes": {
                "bearer": { "type": "http", "scheme": "bearer", "description": BEARER },
            },
        },
    })
}

const ABOUT: &str = "A shop of services on redeliver. Money is an integer of minor units and its \
    currency; ids are UUIDs; times are RFC 3339 in UTC. A change is durable when it is answered. \
    Every refusal is `application/problem+json` (RFC 9457) with a stable `type` and the id of the \
    request.";

const BEARER: &str = "The access token of `POST /api/v1/auth/login`.";

fn operation(entry: &Entry) -> Value {
    let mut operation = Map::new();
    operation.insert("tags".to_owned(), json!([entry.service()]));
    operation.insert("operationId".to_owned(), json!(operation_id(entry)));
    operation.insert("summary".to_owned(), json!(entry.about));
    operation.insert("security".to_owned(), security(entry.access));
    if let Access::Only(role) = entry.access {
        let needs = format!("Needs the role `{role}`.");
        operation.insert("description".to_owned(), json!(needs));
    }
    let parameters = parameters(entry);
    if !parameters.is_empty() {
        operation.insert("parameters".to_owned(), json!(parameters));
    }
    if let Some(taken) = &entry.takes {
        let body = json!({
            "required": taken.is_required,
            "content": { "application/json": { "schema": reference(&taken.shape) } },
        });
        operation.insert("requestBody".to_owned(), body);
    }
    operation.insert("responses".to_owned(), json!(responses(entry)));
    Value::Object(operation)
}

/// Method and path, which are unique, as one word.
fn operation_id(entry: &Entry) -> String {
    let mut id = entry.method.as_str().to_ascii_lowercase();
    let path = entry.named_path();
    let under = path.strip_prefix(super::API).unwrap_or(&path);
    for word in under.split(|c: char| !c.is_ascii_alphanumeric()) {
        if !word.is_empty() {
            id.push('_');
            id.push_str(word);
        }
    }
    id
}

fn security(access: Access) -> Value {
    match access {
        // Without credentials, or with them.
        Access::Public | Access::Leaving => json!([{}, { "bearer": [] }]),
        Access::Anyone => json!([{}]),
        Access::Signed => json!([]),
        Access::SignedIn | Access::Only(_) => json!([{ "bearer": [] }]),
    }
}

fn parameters(entry: &Entry) -> Vec<Value> {
    let mut parameters = Vec::new();
    for name in entry.open_parts() {
        let is_id = name == "id" || name.ends_with("_id");
        let schema = if is_id {
            json!({ "type": "string", "format": "uuid" })
        } else {
            json!({ "type": "string" })
        };
        parameters.push(json!({ "name": name, "in": "path", "required": true, "schema": schema }));
    }
    for Parameter { place, name, about } in &entry.parameters {
        let place = match place {
            Place::Query => "query",
            Place::Header => "header",
        };
        parameters.push(json!({
            "name": name, "in": place, "required": false, "description": about,
            "schema": parameter_schema(name),
        }));
    }
    if entry.is_idempotent() {
        parameters.push(json!({
            "name": "Idempotency-Key", "in": "header", "required": false,
            "description": "Names this request: sent again with the same body, it is answered as \
                it was and changes nothing. Kept for 7 days.",
            "schema": { "type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$" },
        }));
    }
    if entry.is_versioned && entry.is_change() {
        parameters.push(json!({
            "name": "If-Match", "in": "header", "required": false,
            "description": "The `ETag` of the version that is to be changed, and of no other.",
            "schema": { "type": "string" },
        }));
    }
    if entry.may_wait {
        parameters.push(json!({
            "name": "Prefer", "in": "header", "required": false,
            "description": "`wait=N`: answer when the outcome is there, or after N (at most 30) \
                seconds.",
            "schema": { "type": "string" },
        }));
    }
    parameters
}

fn parameter_schema(name: &str) -> Value {
    match name {
        "min_price" | "max_price" => json!({ "type": "integer" }),
        "limit" => json!({ "type": "integer", "minimum": 1, "maximum": 200, "default": 50 }),
        "cursor" => json!({ "type": "string", "pattern": "^[A-Za-z0-9_-]+$" }),
        _ => json!({ "type": "string" }),
    }
}

fn responses(entry: &Entry) -> BTreeMap<String, Value> {
    let mut responses = BTreeMap::new();
    for (status, body) in &entry.answers {
        let content = match body {
            Body::Nothing => None,
            Body::Json(shape) => Some(("application/json", json!({ "schema": reference(shape) }))),
            Body::Other(media_type) => Some((*media_type, json!({}))),
        };
        let response = responses
            .entry(status.as_str().to_owned())
            .or_insert_with(|| {
                json!({
                    "description": status.canonical_reason().unwrap_or_default(),
                    "headers": answer_headers(entry, *status),
                })
            });
        // One status may come with several kinds of bodies.
        if let Some((media_type, content)) = content {
            response["content"][media_type] = content;
        }
    }
    if entry.answers.is_empty() {
        responses.insert("2XX".to_owned(), json!({ "description": "Done" }));
    }
    for (status, about) in problems(entry) {
        responses.insert(status.to_string(), problem_response(about));
    }
    for (status, about) in &entry.refuses {
        responses.insert(status.as_str().to_owned(), problem_response(about));
    }
    responses.insert(
        "default".to_owned(),
        json!({ "$ref": "#/components/responses/Problem" }),
    );
    responses
}

/// The problems that follow from what the route is.
fn problems(entry: &Entry) -> Vec<(u16, &'static str)> {
    if entry.route.is_none() && entry.access == Access::Public {
        return Vec::new();
    }
    let takes = entry.takes.is_some();
    let looks_at_query = entry
        .parameters
        .iter()
        .any(|parameter| parameter.place == Place::Query);
    let checks_rules = takes || looks_at_query || entry.is_idempotent();
    [
        (
            takes || entry.is_idempotent(),
            400,
            "The body is no JSON, or a header cannot be read.",
        ),
        (
            entry.access != Access::Anyone || takes,
            401,
            "The caller is not known.",
        ),
        (
            matches!(entry.access, Access::Only(_)),
            403,
            "The caller has not the role.",
        ),
        (
            !entry.open_parts().is_empty(),
            404,
            "There is no such thing, or the caller may not know of it.",
        ),
        (entry.is_change(), 409, "The state does not allow it now."),
        (
            entry.is_versioned && entry.is_change(),
            412,
            "It has another version than `If-Match` says.",
        ),
        (
            !entry.is_versioned && entry.is_change(),
            412,
            "It has no versions that `If-Match` could be compared with.",
        ),
        (takes, 413, "The body is too large."),
        (
            takes,
            415,
            "The body is no `application/json`, or it is coded.",
        ),
        (checks_rules, 422, "The request breaks a rule."),
        (true, 429, "The caller has used up its share for now."),
        (true, 503, "The shop cannot take it now."),
    ]
    .into_iter()
    .filter(|(applies, _, _)| *applies)
    .map(|(_, status, about)| (status, about))
    .collect()
}

fn problem_response(about: &str) -> Value {
    json!({
        "description": about,
        "headers": {
            "X-Request-Id": header("X-Request-Id"),
            "Retry-After": header("Retry-After"),
        },
        "content": {
            "application/problem+json": {
                "schema": { "$ref": "#/components/schemas/Problem" },
            },
        },
    })
}

fn answer_headers(entry: &Entry, status: StatusCode) -> Value {
    let mut names = vec!["X-Request-Id"];
    if entry.route.is_some() {
        names.extend([
            "RateLimit-Limit",
            "RateLimit-Remaining",
            "RateLimit-Reset",
            "RateLimit-Policy",
        ]);
    }
    if entry.is_versioned || entry.may_wait {
        names.push("ETag");
    }
    if status == StatusCode::CREATED || status == StatusCode::ACCEPTED {
        names.push("Location");
    }
    if entry.is_idempotent() {
        names.push("Idempotency-Replayed");
    }
    if entry.may_wait {
        names.push("Preference-Applied");
    }
    names
        .into_iter()
        .map(|name| (name.to_owned(), header(name)))
        .collect::<Map<String, Value>>()
        .into()
}

fn header(name: &str) -> Value {
    json!({ "$ref": format!("#/components/headers/{name}") })
}

fn headers() -> Value {
    let text = |about: &str| json!({ "description": about, "schema": { "type": "string" } });
    let number = |about: &str| json!({ "description": about, "schema": { "type": "integer" } });
    json!({
        "X-Request-Id": text("Names the request; also in problems and in the log."),
        "RateLimit-Limit": number("How many requests the caller may send at once."),
        "RateLimit-Remaining": number("How many of them are left."),
        "RateLimit-Reset": number("Seconds until all are there again."),
        "RateLimit-Policy": text("The limit and the seconds that it is for."),
        "Retry-After": number("Seconds until another try may be worth it."),
        "ETag": text("The version of what is shown."),
        "Location": text("Where it can be looked at."),
        "Idempotency-Replayed": text("`true`: the answer was stored before."),
        "Preference-Applied": text("The wait that was granted."),
    })
}

/// All shapes by their names.
fn schemas(table: &Table) -> BTreeMap<String, Value> {
    let mut schemas = BTreeMap::new();
    schemas.insert("Problem".to_owned(), problem_schema());
    let asked: Vec<&Shape> = asked(table).collect();
    let answered: Vec<&Shape> = answered(table).collect();
    let asked_names: BTreeSet<&str> = names(&asked).collect();
    for (name, schema) in asked.into_iter().chain(answered).flat_map(parts) {
        let mut schema = json!(schema);
        if !asked_names.contains(name) {
            require_all(&mut schema);
        }
        schemas.insert(name.to_owned(), schema);
    }
    schemas
}

fn asked(table: &Table) -> impl Iterator<Item = &Shape> {
    let entries = table.entries().iter();
    entries.filter_map(|entry| entry.takes.as_ref().map(|taken| &taken.shape))
}

fn answered(table: &Table) -> impl Iterator<Item = &Shape> {
    let answers = table.entries().iter().flat_map(|entry| &entry.answers);
    answers.filter_map(|(_, body)| match body {
        Body::Json(shape) => Some(shape.as_ref()),
        Body::Nothing | Body::Other(_) => None,
    })
}

fn names<'a>(shapes: &[&'a Shape]) -> impl Iterator<Item = &'a str> {
    let parts: Vec<_> = shapes.iter().flat_map(|shape| parts(shape)).collect();
    parts.into_iter().map(|(name, _)| name)
}

/// A shape and what it consists of, by name.
fn parts(
    shape: &Shape,
) -> impl Iterator<
    Item = (
        &str,
        &utoipa::openapi::RefOr<utoipa::openapi::schema::Schema>,
    ),
> {
    let parts = shape.parts.iter().map(|(name, part)| (name.as_str(), part));
    std::iter::once((shape.name.as_str(), &shape.schema)).chain(parts)
}

/// Answers leave nothing out: what is not there is `null`.
fn require_all(schema: &mut Value) {
    let properties = schema.get("properties").and_then(Value::as_object);
    let names = properties.map(|properties| properties.keys().cloned().collect::<Vec<_>>());
    if let Some(names) = names {
        schema["required"] = json!(names);
    }
}

fn reference(shape: &Shape) -> Value {
    json!({ "$ref": format!("#/components/schemas/{}", shape.name) })
}

fn problem_schema() -> Value {
    json!({
        "type": "object",
        "description": "A refusal (RFC 9457). It may have more members than these.",
        "required": ["type", "title", "status", "request_id"],
        "properties": {
            "type": { "type": "string", "format": "uri", "description": "Its stable name." },
            "title": { "type": "string" },
            "status": { "type": "integer", "minimum": 400, "maximum": 599 },
            "detail": { "type": "string", "description": "What happened and what to do next." },
            "instance": { "type": "string", "format": "uri-reference" },
            "request_id": { "type": "string" },
            "code": { "type": "string", "description": "The name of the rule that was broken." },
            "details": { "type": "object", "additionalProperties": { "type": "string" } },
        },
        "additionalProperties": true,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_name_means_one_shape() {
        let table = crate::http::table();
        let mut seen: BTreeMap<&str, Value> = BTreeMap::new();
        for (name, schema) in asked(&table).chain(answered(&table)).flat_map(parts) {
            let schema = json!(schema);
            let before = seen.entry(name).or_insert_with(|| schema.clone());
            assert_eq!(*before, schema, "two shapes are called {name}");
        }
        assert!(!seen.contains_key("Problem"));
    }
}
