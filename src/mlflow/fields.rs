//! A JSON body with one reading, and the values that decide in it.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::MlflowError;

/// Objects and arrays within each other.
const DEPTH: usize = 64;

/// Values in one body. Each takes about 100 bytes here, of the two that it may have come in.
const VALUES: usize = 1_000_000;

fn malformed(text: impl Into<String>) -> MlflowError {
    MlflowError::Malformed(text.into())
}

/// Reads a body as one JSON object.
///
/// # Errors
/// `Malformed` for a body with a second reading: another encoding than UTF-8, a byte order mark, anything but one object,
/// a key twice in one object (in either of protobuf's spellings), numbers that are none, lone surrogates, more than 64 levels.
pub fn object(body: &[u8]) -> Result<Map<String, Value>, MlflowError> {
    Weighed::of(body)?.object()
}

/// A body that may be taken apart: a parser neither recurses too deeply over it nor makes room for too much.
pub struct Weighed<'a> {
    text: &'a str,
    /// About how many it holds.
    pub values: usize,
}

impl<'a> Weighed<'a> {
    /// # Errors
    /// `Malformed` for another encoding than UTF-8, a byte order mark or more than 64 levels; `TooLarge` for too many values.
    pub fn of(body: &'a [u8]) -> Result<Self, MlflowError> {
        if body.starts_with(b"\xef\xbb\xbf") {
            return Err(malformed("The body starts with a byte order mark."));
        }
        let text = std::str::from_utf8(body).map_err(|_| malformed("The body is not UTF-8."))?;
        let values = weigh(body)?;
        Ok(Self { text, values })
    }

    /// # Errors
    /// As `object`.
    pub fn object(&self) -> Result<Map<String, Value>, MlflowError> {
        match serde_json::from_str::<Strict>(self.text) {
            Ok(Strict(Value::Object(map))) => Ok(map),
            Ok(_) => Err(malformed("The body is no JSON object.")),
            Err(error) if error.is_data() => Err(malformed(format!("The body has two readings: {error}."))),
            Err(error) => Err(malformed(format!(
                "The body is no JSON: line {}, column {}.",
                error.line(),
                error.column()
            ))),
        }
    }
}

/// How many values a body holds, about: counted outside of texts, before a parser recurses over them and makes room for each.
///
/// # Errors
/// `Malformed` for more than 64 levels; `TooLarge` for too many values.
fn weigh(body: &[u8]) -> Result<usize, MlflowError> {
    let (mut depth, mut values, mut in_text, mut escaped) = (0usize, 0usize, false, false);
    for byte in body {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_text => escaped = true,
            b'"' => in_text = !in_text,
            b'{' | b'[' if !in_text => {
                depth += 1;
                values += 1;
                if depth > DEPTH {
                    return Err(malformed("The body is nested too deeply."));
                }
            }
            b'}' | b']' if !in_text => depth = depth.saturating_sub(1),
            b',' if !in_text => values += 1,
            _ => {}
        }
    }
    if values > VALUES {
        return Err(MlflowError::TooLarge);
    }
    Ok(values)
}

/// A value in which no object has a key twice.
struct Strict(Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(StrictVisitor).map(Self)
    }
}

struct StrictVisitor;

impl<'de> Visitor<'de> for StrictVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(Strict(item)) = items.next_element()? {
            list.push(item);
        }
        Ok(list.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        let mut camel = std::collections::HashSet::new();
        while let Some(key) = members.next_key::<String>()? {
            let Strict(value) = members.next_value()?;
            // Free maps (tags, params) may hold `a_b` and `aB` side by side, but no decision is read from those; the two
            // spellings of one field would look the same, so both at once are refused everywhere.
            if !camel.insert(lower_camel(&key)) {
                return Err(A::Error::custom("a key stands twice in one object"));
            }
            map.insert(key, value);
        }
        Ok(map.into())
    }
}

/// Protobuf's JSON name of a field: `run_id` is `runId`.
pub fn lower_camel(name: &str) -> String {
    let mut camel = String::with_capacity(name.len());
    let mut raise = false;
    for character in name.chars() {
        if character == '_' {
            raise = true;
        } else if std::mem::take(&mut raise) {
            camel.extend(character.to_uppercase());
        } else {
            camel.push(character);
        }
    }
    camel
}

/// A field in either spelling.
pub fn field<'a>(map: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    map.get(name)
        .or_else(|| map.get(&lower_camel(name)))
        .filter(|value| !value.is_null())
}

/// All texts at a place such as `experiment_id`, `metrics[].model_id` or `trace.trace_info.trace_id`; none where nothing
/// stands there. In a list of plain texts the place is `trace_ids[]`.
///
/// # Errors
/// `Malformed` where something else than texts, or lists of them, stands there.
pub fn texts(map: &Map<String, Value>, place: &str) -> Result<Vec<String>, MlflowError> {
    let mut found = Vec::new();
    collect(map, place, place, &mut found)?;
    Ok(found)
}

fn collect(map: &Map<String, Value>, rest: &str, place: &str, found: &mut Vec<String>) -> Result<(), MlflowError> {
    let wrong = || malformed(format!("{place} must be a text."));
    let (part, after) = rest
        .split_once('.')
        .map_or((rest, None), |(part, after)| (part, Some(after)));
    let (name, repeated) = part.strip_suffix("[]").map_or((part, false), |name| (name, true));
    let Some(value) = field(map, name) else { return Ok(()) };
    let items = match (repeated, value) {
        (true, Value::Array(items)) => items.as_slice(),
        (false, value) => std::slice::from_ref(value),
        (true, _) => return Err(malformed(format!("{place} must be a list."))),
    };
    for item in items {
        match (after, item) {
            (Some(after), Value::Object(inner)) => collect(inner, after, place, found)?,
            (None, Value::String(text)) => found.push(text.clone()),
            _ => return Err(wrong()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn refused(body: &[u8]) -> bool {
        matches!(object(body), Err(MlflowError::Malformed(_)))
    }

    #[test]
    fn a_plain_object_is_read() {
        let read = object(br#"{"run_id": "a", "tags": [{"key": "k", "value": "v"}], "n": 1.5, "z": null}"#).unwrap();
        assert_eq!(
            Value::Object(read),
            json!({"run_id": "a", "tags": [{"key": "k", "value": "v"}], "n": 1.5, "z": null})
        );
    }

    #[test]
    fn a_key_twice_is_refused_at_every_depth_and_in_both_spellings() {
        for body in [
            r#"{"run_id": "a", "run_id": "b"}"#,
            r#"{"run_id": "a", "runId": "a"}"#,
            r#"{"a": {"b": [{"x_y": 1, "xY": 1}]}}"#,
            r#"{"run_id": "a", "run\u005fid": "b"}"#,
        ] {
            assert!(refused(body.as_bytes()), "{body}");
        }
        assert!(object(br#"{"a": {"x": 1}, "b": {"x": 1}}"#).is_ok());
    }

    #[test]
    fn other_encodings_are_refused() {
        let utf16: Vec<u8> = "{\"a\":1}".encode_utf16().flat_map(u16::to_le_bytes).collect();
        let utf32: Vec<u8> = "{\"a\":1}"
            .chars()
            .flat_map(|character| u32::from(character).to_le_bytes())
            .collect();
        assert!(refused(&utf16) && refused(&utf32));
        assert!(refused(b"\xef\xbb\xbf{}"));
        assert!(refused(b"{\"a\": \"\xff\"}"));
        assert!(refused(br#"{"a": "\ud800"}"#), "a lone surrogate");
    }

    #[test]
    fn anything_but_one_object_is_refused() {
        for body in [
            "",
            "[]",
            "null",
            "\"{\\\"run_id\\\": \\\"a\\\"}\"",
            "{} {}",
            "{",
            "{\"a\": NaN}",
            "{\"a\": Infinity}",
            "{'a': 1}",
        ] {
            assert!(refused(body.as_bytes()), "{body}");
        }
    }

    #[test]
    fn deep_nesting_is_refused_before_it_is_parsed() {
        let nested = |levels: usize| format!("{{\"a\":{}{}}}", "[".repeat(levels), "]".repeat(levels));
        assert!(refused(nested(100_000).as_bytes()) && refused(nested(64).as_bytes()));
        assert!(object(nested(63).as_bytes()).is_ok());
        assert!(object(br#"{"a": "[[[[[[[[\"[[["}"#).is_ok());
    }

    #[test]
    fn more_values_than_can_be_held_are_refused_before_they_are_read() {
        let many = |count: usize| format!(r#"{{"a":[{}0]}}"#, "0,".repeat(count));
        assert!(matches!(object(many(VALUES).as_bytes()), Err(MlflowError::TooLarge)));
        assert_eq!(weigh(many(10).as_bytes()).unwrap(), 12);
        assert_eq!(
            weigh(br#"{"a": "0,0,0,[{\",,"}"#).unwrap(),
            1,
            "commas of texts do not count"
        );
    }

    #[test]
    fn texts_are_found_in_either_spelling_and_nothing_else_is_taken_for_one() {
        let map = object(br#"{"experimentId": "1", "metrics": [{"model_id": "m-1"}, {"key": "x"}, {"modelId": "m-2"}], "trace_ids": ["t"], "n": 1}"#).unwrap();
        assert_eq!(texts(&map, "experiment_id").unwrap(), ["1"]);
        assert_eq!(texts(&map, "metrics[].model_id").unwrap(), ["m-1", "m-2"]);
        assert_eq!(texts(&map, "trace_ids[]").unwrap(), ["t"]);
        assert_eq!(texts(&map, "absent.deep[].x").unwrap(), Vec::<String>::new());
        for place in [
            "n",
            "metrics",
            "metrics.model_id",
            "trace_ids",
            "experiment_id[]",
            "trace_ids[].x",
        ] {
            assert!(texts(&map, place).is_err(), "{place}");
        }
    }
}
