//! Backups over HTTP: a backup of the running system, into a directory of the host's choice.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use warp::http::{HeaderMap, Method, StatusCode};
use warp::{Filter, Rejection, Reply};

use super::extract::method;
use super::facade::check_media_type;
use super::health::json;
use super::problem::Problem;
use crate::{BackupError, BackupInfo, StoreError, System};

/// Longest name of a backup.
const NAME_BYTES_MAX: usize = 100;

/// `POST /admin/backup` with `{ "to": "name" }`: takes a backup of the system while it works and
/// answers 201 with what it holds, once it is durable. It becomes the file of that name in `dir`;
/// without a directory every request is refused.
///
/// One is taken at a time. A caller who goes away does not stop it. Who may ask is the host's
/// decision, as with [`admin`](super::admin()).
pub fn backups(
    system: System,
    dir: Option<PathBuf>,
) -> impl Filter<Extract = (impl Reply,), Error = Rejection> + Clone {
    let taker = Taker {
        system,
        dir,
        one: Arc::new(Semaphore::new(1)),
    };
    warp::path!("admin" / "backup")
        .and(method(Method::POST))
        .and(warp::header::headers_cloned())
        .and(warp::body::bytes())
        .then(move |headers: HeaderMap, body: Bytes| {
            let taker = taker.clone();
            async move {
                match taker.take(&headers, &body).await {
                    Ok(info) => json(StatusCode::CREATED, &info),
                    Err(problem) => problem.into_response(),
                }
            }
        })
}

#[derive(Clone)]
struct Taker {
    system: System,
    dir: Option<PathBuf>,
    /// The permit to take one.
    one: Arc<Semaphore>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    to: String,
}

impl Taker {
    async fn take(&self, headers: &HeaderMap, body: &[u8]) -> Result<BackupInfo, Problem> {
        let name = name(headers, body)?;
        let Some(dir) = &self.dir else {
            return Err(Problem::conflict(
                "no directory for backups is configured; configure one, or take a backup at rest",
            ));
        };
        let to = dir.join(name);
        let permit = self.one.clone().try_acquire_owned().map_err(|_| {
            Problem::conflict("a backup is being taken; ask again when it is finished")
        })?;
        let taking = tokio::spawn(take(self.system.clone(), to, permit));
        match taking.await {
            Ok(taken) => taken.map_err(|error| refused(&error)),
            Err(error) => {
                tracing::error!(%error, "a backup ended in a panic");
                Err(Problem::internal())
            }
        }
    }
}

/// A task of its own holds the permit to its end, whoever has stopped waiting.
async fn take(
    system: System,
    to: PathBuf,
    _permit: OwnedSemaphorePermit,
) -> Result<BackupInfo, BackupError> {
    system.backup(to).await
}

/// The name that a request asks for.
fn name(headers: &HeaderMap, body: &[u8]) -> Result<String, Problem> {
    check_media_type(headers, body)?;
    let value: Value =
        serde_json::from_slice(body).map_err(|error| Problem::malformed(error.to_string()))?;
    // A list would pass for it, field by field.
    if !value.is_object() {
        return Err(Problem::unprocessable("the body is an object with `to`"));
    }
    let Asked { to } =
        Asked::deserialize(value).map_err(|error| Problem::unprocessable(error.to_string()))?;
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "-_.".contains(letter);
    if to.is_empty()
        || to.len() > NAME_BYTES_MAX
        || to.starts_with('.')
        // It would look like one that was never finished.
        || to.ends_with(".tmp")
        || !to.chars().all(plain)
    {
        return Err(Problem::unprocessable(format!(
            "`to` names a file: letters, digits, `-`, `_` and `.`, at most {NAME_BYTES_MAX}, not beginning with `.` nor ending in `.tmp`"
        )));
    }
    Ok(to)
}

fn refused(error: &BackupError) -> Problem {
    match error {
        BackupError::Exists { .. } => Problem::conflict(error.to_string()),
        BackupError::Store(StoreError::Closed { .. }) => Problem::draining(),
        BackupError::Store(StoreError::Full) => Problem::new(
            StatusCode::INSUFFICIENT_STORAGE,
            "no-space",
            "No space for the backup",
        )
        .detail("there is no space left for the backup; free some and ask again"),
        error => {
            tracing::error!(%error, "a backup failed");
            Problem::internal()
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_name_stays_in_its_directory() {
        let mut headers = HeaderMap::new();
        headers.insert("content-type", "application/json".parse().unwrap());
        let asked = |to: &str| {
            name(
                &headers,
                serde_json::json!({ "to": to }).to_string().as_bytes(),
            )
        };
        assert_eq!(asked("shop-1.b").unwrap(), "shop-1.b");
        let long = "x".repeat(NAME_BYTES_MAX + 1);
        for bad in [
            "", ".", "..", "../x", "a/b", "/x", ".x", "x.tmp", "ä", "a b", &long,
        ] {
            assert_eq!(asked(bad).unwrap_err().status(), 422, "{bad}");
        }
        for (body, status) in [
            ("", 400),
            ("{", 400),
            ("{}", 422),
            ("[\"x\"]", 422),
            (r#"{"to":1}"#, 422),
            (r#"{"to":"x","by":"y"}"#, 422),
        ] {
            let refused = name(&headers, body.as_bytes()).unwrap_err();
            assert_eq!(refused.status(), status, "{body}");
        }
        let refused = name(&HeaderMap::new(), b"{}").unwrap_err();
        assert_eq!(refused.status(), 415);
    }
}
