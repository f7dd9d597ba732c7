//! The decoders of what stands in the headers of requests, as [`fuzzing`](crate::fuzzing) tries them.

use warp::http::{HeaderMap, HeaderValue, Method};

use super::{idempotency_key, resume_after};

pub(crate) fn event_cursor(data: &[u8]) -> Result<(), String> {
    let mut headers = HeaderMap::new();
    let value = HeaderValue::from_bytes(data).map_err(|error| error.to_string())?;
    headers.insert("last-event-id", value);
    let after = resume_after(&headers, None).map_err(|problem| problem.status().to_string())?;
    let again = after.map(|cursor| cursor.to_string()).unwrap_or_default();
    let text = std::str::from_utf8(data).map_err(|error| error.to_string())?;
    for text in [text, &again] {
        let read = resume_after(&HeaderMap::new(), Some(text));
        assert_eq!(read.ok(), Some(after), "{text}");
    }
    Ok(())
}

pub(crate) fn event_cursors() -> Vec<Vec<u8>> {
    ["0", "17", "18446744073709551615", "17-0123456789abcdef"]
        .map(Vec::from)
        .to_vec()
}

pub(crate) fn idempotency(data: &[u8]) -> Result<(), String> {
    let mut headers = HeaderMap::new();
    let value = HeaderValue::from_bytes(data).map_err(|error| error.to_string())?;
    headers.insert("idempotency-key", value);
    let key = idempotency_key(&headers, "ann", &Method::POST, "/orders", b"{}");
    let key = key.map_err(|problem| problem.status().to_string())?;
    let taken = key.map(|key| key.key.into_bytes());
    assert_eq!(taken.as_deref(), Some(data), "a key is taken as it is");
    Ok(())
}

pub(crate) fn idempotency_keys() -> Vec<Vec<u8>> {
    vec![b"order-17".to_vec(), vec![b'k'; 255]]
}
