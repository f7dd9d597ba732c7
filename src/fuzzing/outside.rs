//! What comes from outside as text: commands as JSON, trace contexts.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Verdict;
use crate::codec;
use crate::envelope::TraceContext;

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Command {
    id: uuid::Uuid,
    lines: Vec<Line>,
    note: Option<String>,
    by: Option<Box<Command>>,
    marks: BTreeMap<String, i64>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    units: u32,
    kind: Kind,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Kind {
    Plain,
    Wrapped { paper: String },
    Twice(u8, u8),
}

pub(super) fn json(data: &[u8]) -> Verdict {
    let command: Command = codec::from_json(data)?;
    let again = codec::to_json(&command).unwrap();
    assert_eq!(codec::from_json::<Command>(&again), Ok(command));
    Ok(())
}

pub(super) fn commands() -> Vec<Vec<u8>> {
    let id = "01800000-0000-7000-8000-000000000001";
    let inner = format!(r#"{{"id":"{id}","lines":[],"marks":{{}}}}"#);
    let lines = r#"[{"units":2,"kind":"Plain"},{"units":1,"kind":{"Wrapped":{"paper":"\u00e4"}}},
        {"units":3,"kind":{"Twice":[1,2]}}]"#;
    let marks = r#"{"a":1,"b":-9223372036854775808}"#;
    let outer = format!(
        r#"{{"id":"{id}","lines":{lines},"note":"n","by":{inner},"marks":{marks},"more":[[1.5e3]]}}"#
    );
    vec![inner.into_bytes(), outer.into_bytes()]
}

pub(super) fn traceparent(data: &[u8]) -> Verdict {
    let text = std::str::from_utf8(data).map_err(|error| error.to_string())?;
    let context = TraceContext::from_traceparent(text).ok_or("malformed")?;
    let again = context.to_traceparent();
    assert_eq!(TraceContext::from_traceparent(&again), Some(context));
    Ok(())
}

pub(super) fn traceparents() -> Vec<Vec<u8>> {
    vec![b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_vec()]
}
