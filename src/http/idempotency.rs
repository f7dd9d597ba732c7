//! Idempotency keys: how a request says that it is the same as an earlier one.

use warp::http::header::{HeaderMap, HeaderName};
use warp::http::{Method, StatusCode};

use super::problem::Problem;
use crate::IdempotencyKey;

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const BYTES_MAX: usize = 255;

/// The idempotency key of a request: its `Idempotency-Key`, good for this caller, method and path
/// alone, with the body that it stands for, or a digest of it. `None` without the header; a problem if there are
/// several, or one that is no key.
///
/// ```
/// use redeliver::http::idempotency_key;
/// use warp::http::{HeaderMap, Method};
///
/// let mut headers = HeaderMap::new();
/// headers.insert("idempotency-key", "order-17".parse().unwrap());
/// let key = idempotency_key(&headers, "user-4", &Method::POST, "/orders", b"{}");
/// assert!(key.unwrap().is_some());
/// ```
pub fn idempotency_key(
    headers: &HeaderMap,
    caller: &str,
    method: &Method,
    path: &str,
    body: &[u8],
) -> Result<Option<IdempotencyKey>, Problem> {
    let mut values = headers.get_all(IDEMPOTENCY_KEY).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    let sane = value.to_str().ok().filter(|key| {
        (1..=BYTES_MAX).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_graphic())
    });
    match (sane, values.next()) {
        (Some(key), None) => {
            let scope = scope(caller, method, path);
            Ok(Some(IdempotencyKey::new(scope, key, body)))
        }
        _ => Err(Problem::new(
            StatusCode::BAD_REQUEST,
            "idempotency-key-invalid",
            "The idempotency key cannot be used",
        )
        .detail(format!(
            "send one Idempotency-Key of 1 to {BYTES_MAX} visible ASCII characters"
        ))),
    }
}

/// Caller, method and path. The caller's length goes first, so that no name can pass for
/// another's with a piece of the path.
fn scope(caller: &str, method: &Method, path: &str) -> String {
    format!("{}:{caller} {method} {path}", caller.len())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn key(keys: &[&str]) -> Result<Option<IdempotencyKey>, u16> {
        let mut headers = HeaderMap::new();
        for key in keys {
            headers.append(IDEMPOTENCY_KEY, key.parse().unwrap());
        }
        idempotency_key(&headers, "ann", &Method::POST, "/orders", b"body")
            .map_err(|problem| problem.status().as_u16())
    }

    #[test]
    fn one_key_of_visible_characters_is_taken_and_anything_else_refused() {
        assert_eq!(key(&[]), Ok(None));
        let longest = "k".repeat(BYTES_MAX);
        for good in ["k", "a-b_c:1~", &longest] {
            let taken = key(&[good]).unwrap().unwrap();
            assert_eq!(
                taken,
                IdempotencyKey::new("3:ann POST /orders", good, b"body")
            );
        }
        let longer = "k".repeat(BYTES_MAX + 1);
        for bad in [
            &["" as &str][..],
            &["a b"],
            &["\u{e4}"],
            &[&longer],
            &["a", "a"],
        ] {
            assert_eq!(key(bad), Err(400), "{bad:?}");
        }
    }

    #[test]
    fn no_caller_can_name_itself_into_the_scope_of_another() {
        let post = Method::POST;
        assert_ne!(
            scope("ann", &post, "/x POST /y"),
            scope("ann POST /x", &post, "/y")
        );
        assert_ne!(scope("ann", &post, "/x"), scope("ann", &Method::PUT, "/x"));
    }
}
