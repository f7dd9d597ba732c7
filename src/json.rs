//! JSON from and to the outside, strictly: where a type has named fields, only an object will do.
//!
//! serde also takes an array for a struct, field by field. That is harmless between programs of one
//! author and wrong for a public interface: `[7, "received"]` would change stock.

use serde::de::value::StrDeserializer;
use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, Error as _, IntoDeserializer, MapAccess,
    SeqAccess, Unexpected, Visitor,
};
use serde::{Serialize, forward_to_deserialize_any};
use serde_json::{Error, Map, Value};

/// Reads a value from JSON. Unknown fields are refused only where the type says so
/// (`#[serde(deny_unknown_fields)]`); an array in the place of an object always is.
pub fn from_json<T: DeserializeOwned>(json: &[u8]) -> Result<T, String> {
    let value = serde_json::from_slice(json).map_err(|error| error.to_string())?;
    check_objects::<T>(json)?;
    Ok(value)
}

/// Checks that JSON which reads as `T` has objects where `T` has named fields.
pub fn check_objects<T: DeserializeOwned>(json: &[u8]) -> Result<(), String> {
    let value: Value = serde_json::from_slice(json).map_err(|error| error.to_string())?;
    T::deserialize(Strict(value))
        .map(|_| ())
        .map_err(|error| error.to_string())
}

/// Writes a value as JSON.
pub fn to_json<T: Serialize>(value: &T) -> Result<Vec<u8>, String> {
    serde_json::to_vec(value).map_err(|error| error.to_string())
}

/// Deserializes as its value does, but structs from objects only, at every depth.
struct Strict(Value);

impl<'de> Deserializer<'de> for Strict {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0 {
            Value::Array(items) => visitor.visit_seq(Items(items.into_iter())),
            Value::Object(fields) => visitor.visit_map(Fields::of(fields)),
            other => other.deserialize_any(visitor),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match self.0 {
            Value::Array(_) => Err(Error::invalid_type(Unexpected::Seq, &"an object")),
            other => Strict(other).deserialize_any(visitor),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0 {
            Value::Null => visitor.visit_none(),
            other => visitor.visit_some(Strict(other)),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.0.deserialize_enum(name, variants, visitor)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit
        unit_struct seq tuple tuple_struct map identifier ignored_any
    }
}

struct Items(std::vec::IntoIter<Value>);

impl<'de> SeqAccess<'de> for Items {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Error> {
        self.0
            .next()
            .map(|item| seed.deserialize(Strict(item)))
            .transpose()
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.0.len())
    }
}

struct Fields {
    rest: serde_json::map::IntoIter,
    value: Value,
}

impl Fields {
    fn of(fields: Map<String, Value>) -> Fields {
        Fields {
            rest: fields.into_iter(),
            value: Value::Null,
        }
    }
}

impl<'de> MapAccess<'de> for Fields {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Error> {
        let Some((key, value)) = self.rest.next() else {
            return Ok(None);
        };
        self.value = value;
        let key: StrDeserializer<'_, Error> = key.as_str().into_deserializer();
        seed.deserialize(key).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        seed.deserialize(Strict(std::mem::take(&mut self.value)))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, PartialEq, Deserialize)]
    struct Order {
        items: Vec<Item>,
        note: Option<String>,
        at: Option<Place>,
        pair: Option<(u8, u8)>,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    struct Item {
        id: uuid::Uuid,
        units: u32,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    struct Place {
        town: String,
    }

    #[test]
    fn an_array_in_the_place_of_an_object_is_refused_at_every_depth() {
        let id = "01800000-0000-7000-8000-000000000001";
        let good =
            format!(r#"{{"items":[{{"id":"{id}","units":2}}],"at":{{"town":"B"}},"pair":[1,2]}}"#);
        let order: Order = from_json(good.as_bytes()).unwrap();
        assert_eq!(
            (order.items[0].units, order.note, order.pair),
            (2, None, Some((1, 2)))
        );
        for bad in [
            format!(r#"[[{{"id":"{id}","units":2}}],null,null,null]"#),
            format!(r#"{{"items":[["{id}",2]]}}"#),
            r#"{"items":[],"at":["B"]}"#.to_owned(),
        ] {
            let error = from_json::<Order>(bad.as_bytes()).unwrap_err();
            assert!(error.contains("expected an object"), "{bad}: {error}");
        }
    }
}
