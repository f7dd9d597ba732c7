//! The server's own document, and whether its answers are what the document says.
//!
//! Loaded once per server. Every answer that a test's client gets is checked, so that an answer
//! and the document cannot drift apart without some test failing.

use serde_json::{Map, Value};

/// The document of a server.
#[derive(Debug)]
pub struct Document(Value);

impl Document {
    pub fn new(document: Value) -> Document {
        Document(document)
    }

    /// What the document has against an answer; nothing if it is as it should be. A path or a
    /// method that it does not know is for the server to refuse, not for the document.
    pub fn objections(
        &self,
        method: &str,
        target: &str,
        status: u16,
        content_type: Option<&str>,
        body: &[u8],
    ) -> Vec<String> {
        let path = target.split('?').next().unwrap_or_default();
        let Some(operation) = self.operation(method, path) else {
            return Vec::new();
        };
        let responses = &operation["responses"];
        let class = format!("{}XX", status / 100);
        let response = [status.to_string(), class, "default".to_owned()]
            .iter()
            .find_map(|key| responses.get(key));
        // `default` is a problem: a success that the document does not list is none of its own.
        let Some(response) = response.map(|response| self.resolved(response)) else {
            return vec![format!("status {status} is not in the document")];
        };
        let Some(content) = response.get("content").and_then(Value::as_object) else {
            return Vec::new();
        };
        if method == "HEAD" {
            return Vec::new();
        }
        let essence = content_type.unwrap_or_default();
        let Some(media) = content.get(essence) else {
            let known: Vec<&String> = content.keys().collect();
            return vec![format!("{status} as `{essence}`, not as {known:?}")];
        };
        let Some(schema) = media.get("schema") else {
            return Vec::new();
        };
        let Ok(value) = serde_json::from_slice::<Value>(body) else {
            return vec!["the body is no JSON".to_owned()];
        };
        let mut objections = Vec::new();
        self.compare(&value, schema, "", &mut objections);
        objections
    }

    /// The operation that a request is answered by; literal paths go before those with open parts.
    fn operation(&self, method: &str, path: &str) -> Option<&Value> {
        let paths = self.0["paths"].as_object()?;
        let method = if method == "HEAD" { "get" } else { method }.to_ascii_lowercase();
        let mut fitting: Vec<(usize, &Value)> = paths
            .iter()
            .filter(|(template, _)| fits(template, path))
            .filter_map(|(template, item)| {
                Some((template.matches('{').count(), item.get(&method)?))
            })
            .collect();
        fitting.sort_by_key(|(open, _)| *open);
        fitting.first().map(|(_, operation)| *operation)
    }

    /// What stands behind a reference.
    pub fn resolved<'a>(&'a self, value: &'a Value) -> &'a Value {
        let Some(reference) = value.get("$ref").and_then(Value::as_str) else {
            return value;
        };
        let pointer = reference.strip_prefix('#').unwrap_or(reference);
        let found = self.0.pointer(pointer);
        self.resolved(found.unwrap_or_else(|| panic!("{reference} leads nowhere")))
    }

    fn compare(&self, value: &Value, schema: &Value, at: &str, found: &mut Vec<String>) {
        let schema = self.resolved(schema);
        if let Some(types) = schema.get("type") {
            let one = [types.clone()];
            let types = types.as_array().map_or(&one[..], Vec::as_slice);
            if !types.iter().any(|wanted| is_of(value, wanted)) {
                found.push(format!("{at}: {value} is not of type {types:?}"));
                return;
            }
        }
        let among = |name: &str| schema.get(name).and_then(Value::as_array);
        if let Some(values) = among("enum")
            && !values.contains(value)
        {
            found.push(format!("{at}: {value} is none of {values:?}"));
        }
        if let Some(wanted) = schema.get("const")
            && wanted != value
        {
            found.push(format!("{at}: {value} is not {wanted}"));
        }
        for part in among("allOf").into_iter().flatten() {
            self.compare(value, part, at, found);
        }
        for name in ["oneOf", "anyOf"] {
            if let Some(choices) = among(name)
                && !choices.iter().any(|choice| self.takes(value, choice))
            {
                found.push(format!("{at}: {value} is nothing of {name}"));
            }
        }
        match value {
            Value::Object(members) => self.compare_object(members, schema, at, found),
            Value::Array(items) => {
                if let Some(schema) = schema.get("items") {
                    for (place, item) in items.iter().enumerate() {
                        self.compare(item, schema, &format!("{at}/{place}"), found);
                    }
                }
            }
            Value::String(text) => {
                let format = schema.get("format").and_then(Value::as_str);
                if !is_formatted(text, format) {
                    found.push(format!(
                        "{at}: `{text}` is no {}",
                        format.unwrap_or_default()
                    ));
                }
            }
            Value::Number(number) => {
                let at_least = schema.get("minimum").and_then(Value::as_f64);
                let at_most = schema.get("maximum").and_then(Value::as_f64);
                let number = number.as_f64().unwrap();
                if at_least.is_some_and(|least| number < least)
                    || at_most.is_some_and(|most| number > most)
                {
                    found.push(format!("{at}: {number} is out of range"));
                }
            }
            Value::Null | Value::Bool(_) => {}
        }
    }

    fn takes(&self, value: &Value, schema: &Value) -> bool {
        let mut objections = Vec::new();
        self.compare(value, schema, "", &mut objections);
        objections.is_empty()
    }

    /// Stricter than JSON Schema: a member that the document does not know is drift, unless it
    /// says that there may be more.
    fn compare_object(
        &self,
        members: &Map<String, Value>,
        schema: &Value,
        at: &str,
        found: &mut Vec<String>,
    ) {
        let required = schema.get("required").and_then(Value::as_array);
        for name in required.into_iter().flatten().filter_map(Value::as_str) {
            if !members.contains_key(name) {
                found.push(format!("{at}: `{name}` is missing"));
            }
        }
        let properties = schema.get("properties").and_then(Value::as_object);
        let more = schema.get("additionalProperties");
        for (name, value) in members {
            let known = properties.and_then(|properties| properties.get(name));
            let at = format!("{at}/{name}");
            match (known, more) {
                (Some(schema), _) => self.compare(value, schema, &at, found),
                (None, Some(Value::Bool(true))) => {}
                (None, Some(schema @ Value::Object(_))) => self.compare(value, schema, &at, found),
                (None, Some(_)) => found.push(format!("{at}: must not be there")),
                (None, None) if properties.is_some() => {
                    found.push(format!("{at}: is not in the document"));
                }
                (None, None) => {}
            }
        }
    }
}

fn fits(template: &str, path: &str) -> bool {
    let (wanted, asked) = (template.split('/'), path.split('/'));
    wanted.clone().count() == asked.clone().count()
        && wanted.zip(asked).all(|(wanted, asked)| {
            wanted == asked || (wanted.starts_with('{') && !asked.is_empty())
        })
}

fn is_of(value: &Value, wanted: &Value) -> bool {
    match wanted.as_str().unwrap_or_default() {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        unknown => panic!("the document has the type `{unknown}`"),
    }
}

fn is_patterned(text: &str, pattern: Option<&str>) -> bool {
    match pattern {
        None => true,
        Some("^[A-Za-z0-9_-]+$") => {
            let opaque = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
            !text.is_empty() && text.bytes().all(opaque)
        }
        Some("^[A-Z]{3}$") => text.len() == 3 && text.bytes().all(|b| b.is_ascii_uppercase()),
        Some(unknown) => panic!("teach this check the pattern `{unknown}`"),
    }
}

fn is_formatted(text: &str, format: Option<&str>) -> bool {
    match format {
        Some("uuid") => uuid::Uuid::try_parse(text).is_ok(),
        Some("date-time") => commerce::time::from_rfc3339(text).is_some(),
        _ => true,
    }
}
