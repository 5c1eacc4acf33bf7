//! The trace ids, and the attributes that become tags, in an OTLP export (`opentelemetry/proto/collector/trace/v1/trace_service.proto`), protobuf or JSON, packed or not.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::io::{Read, Write};

use flate2::Compression;
use flate2::read::{MultiGzDecoder, ZlibDecoder};
use flate2::write::{GzEncoder, ZlibEncoder};
use serde_json::{Map, Value, json};

use super::MlflowError;
use super::{attribution, fields, tags};

// The numbers of the fields (`opentelemetry/proto/trace/v1/trace.proto`, `common/v1/common.proto`, `resource/v1/resource.proto`).
const RESOURCE_SPANS: u64 = 1;
const RESOURCE: u64 = 1;
const ABOUT_ATTRIBUTES: u64 = 1;
const SCOPE_SPANS: u64 = 2;
const SPANS: u64 = 2;
const TRACE_ID: u64 = 1;
const PARENT_SPAN_ID: u64 = 4;
const SPAN_ATTRIBUTES: u64 = 9;
const KEY: u64 = 1;
const VALUE: u64 = 2;
const STRING_VALUE: u64 = 1;

/// Unpacked bytes for each packed byte: beyond this it is no honest compression.
const RATIO: usize = 200;
const AT_LEAST: usize = 1 << 20;
/// Distinct traces in one export.
const TRACES: usize = 2_000;

/// Where ids stand. MLflow takes an id for hexadecimal in OTLP's own spelling of its key alone, and for base64 in protobuf's other one.
const IN_PROTOBUFS_SPELLING: [&str; 5] = ["resource_spans", "scope_spans", "trace_id", "span_id", "parent_span_id"];

fn malformed(text: &str) -> MlflowError {
    MlflowError::Malformed(text.to_owned())
}

/// An export as it was read: whose spans it has, and all that it takes to write it anew.
#[derive(Debug)]
pub struct Export<'a> {
    /// MLflow's ids (`tr-` and 32 hex digits) of all traces that have a span in it.
    pub traces: BTreeSet<String>,
    body: Cow<'a, [u8]>,
    packing: Packing,
    json: Option<Map<String, Value>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Packing {
    None,
    Gzip,
    Zlib,
}

impl<'a> Export<'a> {
    /// # Errors
    /// `Malformed` for what is no export or writes a tag that is not a client's; `TooLarge` for what unpacks to too much.
    pub fn read(body: &'a [u8], content_type: &str, encoding: Option<&str>) -> Result<Self, MlflowError> {
        let (body, packing) = match encoding {
            None | Some("" | "identity") => (Cow::Borrowed(body), Packing::None),
            Some("gzip") => (
                Cow::Owned(unpack(MultiGzDecoder::new(body), body.len())?),
                Packing::Gzip,
            ),
            Some("deflate") => (Cow::Owned(unpack(ZlibDecoder::new(body), body.len())?), Packing::Zlib),
            Some(_) => return Err(malformed("This content encoding is not taken.")),
        };
        let mut traces = BTreeSet::new();
        let json = match content_type.split(';').next().unwrap_or_default().trim() {
            "application/x-protobuf" => {
                each(&body, RESOURCE_SPANS, &mut |resource| {
                    each(resource, RESOURCE, &mut |about| {
                        each(about, ABOUT_ATTRIBUTES, &mut attribute)
                    })?;
                    each(resource, SCOPE_SPANS, &mut |scope| {
                        each(scope, SPANS, &mut |span| {
                            each(span, SPAN_ATTRIBUTES, &mut attribute)?;
                            each(span, TRACE_ID, &mut |id| keep(hex::encode(id), &mut traces))
                        })
                    })
                })?;
                None
            }
            "application/json" => {
                let map = fields::object(&body)?;
                if map.iter().any(|(key, value)| is_misspelt(key, value)) {
                    return Err(malformed(
                        "The keys of spans in JSON are spelt as OTLP has them: traceId.",
                    ));
                }
                for place in [
                    "resource_spans[].resource.attributes[].key",
                    "resource_spans[].scope_spans[].spans[].attributes[].key",
                ] {
                    for key in fields::texts(&map, place)? {
                        tags::refuse_reserved_attribute(&key)?;
                    }
                }
                for id in fields::texts(&map, "resource_spans[].scope_spans[].spans[].trace_id")? {
                    keep(id, &mut traces)?;
                }
                Some(map)
            }
            _ => return Err(malformed("Spans come as application/x-protobuf or application/json.")),
        };
        Ok(Self {
            traces,
            body,
            packing,
            json,
        })
    }

    /// The export with the user as the maker of each trace that has its root span here, but for those that have a maker already; and
    /// without any other word on who made them. Packed as it came.
    ///
    /// # Errors
    /// `Malformed` where it cannot be packed again.
    pub fn signed(&self, user: &str, made: &BTreeSet<String>) -> Result<Vec<u8>, MlflowError> {
        let body = match &self.json {
            Some(json) => signed_json(json.clone(), user, made),
            None => signed_protobuf(&self.body, user, made)?,
        };
        let again = |_| malformed("The body cannot be packed again.");
        match self.packing {
            Packing::None => Ok(body),
            Packing::Gzip => {
                let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
                packed.write_all(&body).and_then(|()| packed.finish()).map_err(again)
            }
            Packing::Zlib => {
                let mut packed = ZlibEncoder::new(Vec::new(), Compression::fast());
                packed.write_all(&body).and_then(|()| packed.finish()).map_err(again)
            }
        }
    }
}

fn signature() -> String {
    format!("{}{}", tags::OF_SPAN, attribution::USER)
}

fn names_maker(key: &str) -> bool {
    tags::names_maker(tags::of_attribute(key))
}

/// The attribute, unless it would name the maker.
fn unsigned(attribute: &[u8]) -> Result<Option<Vec<u8>>, MlflowError> {
    let mut forged = false;
    each(attribute, KEY, &mut |key| {
        forged |= std::str::from_utf8(key).is_ok_and(names_maker);
        Ok(())
    })?;
    Ok((!forged).then(|| attribute.to_vec()))
}

fn signed_protobuf(body: &[u8], user: &str, made: &BTreeSet<String>) -> Result<Vec<u8>, MlflowError> {
    let mut span = |span: &[u8]| {
        let (mut trace, mut is_root) = (String::new(), true);
        each(span, TRACE_ID, &mut |id| {
            trace = format!("tr-{}", hex::encode(id));
            Ok(())
        })?;
        // The last one counts.
        each(span, PARENT_SPAN_ID, &mut |id| {
            is_root = id.is_empty();
            Ok(())
        })?;
        let mut signed = edited(span, SPAN_ATTRIBUTES, &mut unsigned)?;
        if is_root && !made.contains(&trace) {
            let mut value = Vec::new();
            put(&mut value, STRING_VALUE, user.as_bytes());
            let mut pair = Vec::new();
            put(&mut pair, KEY, signature().as_bytes());
            put(&mut pair, VALUE, &value);
            put(&mut signed, SPAN_ATTRIBUTES, &pair);
        }
        Ok(Some(signed))
    };
    edited(body, RESOURCE_SPANS, &mut |resource| {
        let resource = edited(resource, RESOURCE, &mut |about| {
            edited(about, ABOUT_ATTRIBUTES, &mut unsigned).map(Some)
        })?;
        edited(&resource, SCOPE_SPANS, &mut |scope| {
            edited(scope, SPANS, &mut span).map(Some)
        })
        .map(Some)
    })
}

fn signed_json(mut body: Map<String, Value>, user: &str, made: &BTreeSet<String>) -> Vec<u8> {
    for resource in list(&mut body, "resource_spans") {
        if let Some(about) = attribution::field_mut(resource, "resource").and_then(Value::as_object_mut) {
            unsign(about);
        }
        for scope in list(resource, "scope_spans") {
            for span in list(scope, "spans") {
                unsign(span);
                let said = |name| fields::field(span, name).and_then(Value::as_str).unwrap_or_default();
                let (trace, is_root) = (format!("tr-{}", said("trace_id")), said("parent_span_id").is_empty());
                if is_root && !made.contains(&trace) {
                    let attributes = span.entry("attributes").or_insert_with(|| Value::Array(Vec::new()));
                    if attributes.is_null() {
                        *attributes = Value::Array(Vec::new());
                    }
                    if let Value::Array(attributes) = attributes {
                        attributes.push(json!({"key": signature(), "value": {"stringValue": user}}));
                    }
                }
            }
        }
    }
    Value::Object(body).to_string().into_bytes()
}

fn unsign(of: &mut Map<String, Value>) {
    if let Some(Value::Array(attributes)) = of.get_mut("attributes") {
        attributes.retain(|attribute| {
            let key = attribute.get("key").and_then(Value::as_str);
            !key.is_some_and(names_maker)
        });
    }
}

fn list<'a>(map: &'a mut Map<String, Value>, name: &str) -> impl Iterator<Item = &'a mut Map<String, Value>> {
    attribution::field_mut(map, name)
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
        .filter_map(Value::as_object_mut)
}

fn attribute(attribute: &[u8]) -> Result<(), MlflowError> {
    each(attribute, KEY, &mut |key| {
        let key = std::str::from_utf8(key).map_err(|_| malformed("An attribute's key is not UTF-8."))?;
        tags::refuse_reserved_attribute(key)
    })
}

fn keep(id: String, found: &mut BTreeSet<String>) -> Result<(), MlflowError> {
    if id.len() != 32
        || !id
            .bytes()
            .all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
    {
        return Err(malformed("A span has no trace id of 16 bytes."));
    }
    found.insert(format!("tr-{id}"));
    if found.len() > TRACES {
        Err(malformed("The export has spans of too many traces."))
    } else {
        Ok(())
    }
}

fn is_misspelt(key: &str, value: &Value) -> bool {
    IN_PROTOBUFS_SPELLING.contains(&key)
        || match value {
            Value::Array(items) => items.iter().any(|item| is_misspelt("", item)),
            Value::Object(items) => items.iter().any(|(key, value)| is_misspelt(key, value)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
        }
}

fn unpack(packed: impl Read, size: usize) -> Result<Vec<u8>, MlflowError> {
    let limit = size.saturating_mul(RATIO).max(AT_LEAST);
    let mut unpacked = Vec::new();
    packed
        .take(limit as u64 + 1)
        .read_to_end(&mut unpacked)
        .map_err(|_| malformed("The body cannot be unpacked."))?;
    if unpacked.len() > limit {
        Err(MlflowError::TooLarge)
    } else {
        Ok(unpacked)
    }
}

/// Calls `with` for every length-delimited field of a number in a protobuf message.
fn each(
    mut message: &[u8],
    number: u64,
    with: &mut dyn FnMut(&[u8]) -> Result<(), MlflowError>,
) -> Result<(), MlflowError> {
    while let Some((_, found, field)) = next_field(&mut message, number)? {
        if found == number {
            with(field)?;
        }
    }
    Ok(())
}

/// From what a field holds to what it is to hold; `None` leaves it out.
type Editing<'a> = dyn FnMut(&[u8]) -> Result<Option<Vec<u8>>, MlflowError> + 'a;

/// A field of a message: all its bytes, its number, and what it holds.
type Field<'a> = (&'a [u8], u64, &'a [u8]);

/// The message with each field of a number as `with` makes it, or without it; all else byte for byte.
fn edited(mut message: &[u8], number: u64, with: &mut Editing<'_>) -> Result<Vec<u8>, MlflowError> {
    let mut out = Vec::with_capacity(message.len() + 128);
    while let Some((whole, found, field)) = next_field(&mut message, number)? {
        if found != number {
            out.extend_from_slice(whole);
        } else if let Some(field) = with(field)? {
            put(&mut out, number, &field);
        }
    }
    Ok(out)
}

fn put(out: &mut Vec<u8>, number: u64, field: &[u8]) {
    for mut value in [number << 3 | 2, field.len() as u64] {
        while value >= 0x80 {
            out.push((value & 0x7f) as u8 | 0x80);
            value >>= 7;
        }
        out.push(value as u8);
    }
    out.extend_from_slice(field);
}

/// The next field of a message. One of `number` must be length-delimited.
fn next_field<'a>(message: &mut &'a [u8], number: u64) -> Result<Option<Field<'a>>, MlflowError> {
    let broken = || malformed("The body is no protobuf.");
    if message.is_empty() {
        return Ok(None);
    }
    let start = *message;
    let tag = varint(message).ok_or_else(broken)?;
    let skip = match tag & 7 {
        0 => {
            varint(message).ok_or_else(broken)?;
            0
        }
        1 => 8,
        2 => usize::try_from(varint(message).ok_or_else(broken)?).map_err(|_| broken())?,
        5 => 4,
        _ => return Err(broken()),
    };
    let (field, rest) = message.split_at_checked(skip).ok_or_else(broken)?;
    // MLflow's parser would read the same number with another wire type as an unknown field; nobody sends that.
    if tag >> 3 == number && tag & 7 != 2 {
        return Err(broken());
    }
    let (whole, _) = start.split_at_checked(start.len() - rest.len()).ok_or_else(broken)?;
    *message = rest;
    Ok(Some((whole, tag >> 3, field)))
}

fn varint(message: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = message.split_first()?;
        *message = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &[u8], content_type: &str, encoding: Option<&str>) -> Result<BTreeSet<String>, MlflowError> {
        Export::read(body, content_type, encoding).map(|export| export.traces)
    }

    fn field(number: u8, inner: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        put(&mut out, number.into(), inner);
        out
    }

    fn export(id: &[u8]) -> Vec<u8> {
        let span = [field(2, b"spanid"), field(1, id), field(5, b"name")].concat();
        field(1, &[field(1, b""), field(2, &field(2, &span))].concat())
    }

    const ID: [u8; 16] = [0xab; 16];
    const PROTOBUF: &str = "application/x-protobuf";

    #[test]
    fn ids_are_found_in_protobuf_json_and_packed_bodies() {
        let expected = BTreeSet::from([format!("tr-{}", "ab".repeat(16))]);
        assert_eq!(read(&export(&ID), PROTOBUF, None).unwrap(), expected);
        let json = format!(
            r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{{"traceId":"{}"}}]}}]}}]}}"#,
            "ab".repeat(16)
        );
        assert_eq!(read(json.as_bytes(), "application/json", None).unwrap(), expected);
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&export(&ID)).unwrap();
        assert_eq!(read(&gzip.finish().unwrap(), PROTOBUF, Some("gzip")).unwrap(), expected);
        let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
        zlib.write_all(&export(&ID)).unwrap();
        assert_eq!(
            read(&zlib.finish().unwrap(), PROTOBUF, Some("deflate")).unwrap(),
            expected
        );
    }

    #[test]
    fn an_attribute_that_would_be_a_reserved_tag_is_refused() {
        let with = |place: u8, key: &str| {
            let key = field(1, key.as_bytes());
            let span = [field(1, &ID), field(9, if place == 9 { &key } else { b"" })].concat();
            let about = field(1, if place == 1 { &key } else { b"" });
            field(1, &[field(1, &about), field(2, &field(2, &span))].concat())
        };
        for (place, key) in [
            (9, "mlflow.traceTag.mlflow.artifactLocation"),
            (9, "mlflow.traceTag.mlgate.owner"),
            (1, "mlgate.owner"),
        ] {
            assert!(read(&with(place, key), PROTOBUF, None).is_err(), "{key}");
            assert!(read(&with(place, "mlflow.traceTag.team"), PROTOBUF, None).is_ok());
            let attributes = format!(r#"[{{"key":"{key}","value":{{"stringValue":"x"}}}}]"#);
            let (of_resource, of_span) = if place == 1 {
                (&*attributes, "[]")
            } else {
                ("[]", &*attributes)
            };
            let json = format!(
                r#"{{"resourceSpans":[{{"resource":{{"attributes":{of_resource}}},"scopeSpans":[{{"spans":[{{"traceId":"{}","attributes":{of_span}}}]}}]}}]}}"#,
                "ab".repeat(16)
            );
            assert!(read(json.as_bytes(), "application/json", None).is_err(), "{json}");
        }
    }

    /// A span of the trace, with a parent or without one, and a forged maker.
    fn forged(parent: &[u8]) -> Vec<u8> {
        let pair = |key: &str, value: &str| [field(1, key.as_bytes()), field(2, &field(1, value.as_bytes()))].concat();
        let span = [
            field(1, &ID),
            field(4, parent),
            field(9, &pair("mlflow.traceTag.MLFLOW.user", "mallory")),
            field(9, &pair("kept", "yes")),
        ];
        let about = [pair("mlflow.user", "mallory"), pair("service.name", "s")].map(|pair| field(1, &pair));
        field(
            1,
            &[field(1, &about.concat()), field(2, &field(2, &span.concat()))].concat(),
        )
    }

    fn has(body: &[u8], text: &str) -> bool {
        body.windows(text.len()).any(|window| window == text.as_bytes())
    }

    #[test]
    fn a_root_span_names_the_maker_of_its_trace() {
        let (nobody, made) = (BTreeSet::new(), BTreeSet::from([format!("tr-{}", "ab".repeat(16))]));
        let expected = field(1, b"mlflow.traceTag.mlflow.user");
        for (parent, known, named) in [
            (&b""[..], &nobody, true),
            (b"12345678", &nobody, false),
            (b"", &made, false),
        ] {
            let export = forged(parent);
            let signed = Export::read(&export, PROTOBUF, None)
                .unwrap()
                .signed("carol", known)
                .unwrap();
            assert!(!has(&signed, "mallory") && has(&signed, "kept") && has(&signed, "service.name"));
            assert_eq!(has(&signed, "carol"), named);
            assert_eq!(signed.windows(expected.len()).any(|window| window == expected), named);
            assert_eq!(read(&signed, PROTOBUF, None).unwrap(), made, "still whole");
            let parent = hex::encode(parent);
            let json = json!({"resourceSpans": [{
                "resource": {"attributes": [{"key": "mlflow.user", "value": {"stringValue": "mallory"}}]},
                "scopeSpans": [{"spans": [{
                    "traceId": "ab".repeat(16), "parentSpanId": parent, "startTimeUnixNano": "1544712660000000000",
                    "attributes": [{"key": "mlflow.traceTag.mlflow.user", "value": {"stringValue": "mallory"}},
                                   {"key": "kept", "value": {"doubleValue": 0.1}}]}]}]}]});
            let export = json.to_string();
            let export = Export::read(export.as_bytes(), "application/json", None).unwrap();
            let signed: Value = serde_json::from_slice(&export.signed("carol", known).unwrap()).unwrap();
            let attributes = signed
                .pointer("/resourceSpans/0/scopeSpans/0/spans/0/attributes")
                .unwrap();
            let mut wanted = vec![json!({"key": "kept", "value": {"doubleValue": 0.1}})];
            if named {
                wanted.push(json!({"key": "mlflow.traceTag.mlflow.user", "value": {"stringValue": "carol"}}));
            }
            assert_eq!(*attributes, Value::Array(wanted));
            assert_eq!(signed.pointer("/resourceSpans/0/resource/attributes"), Some(&json!([])));
        }
    }

    #[test]
    fn a_signed_export_is_packed_as_it_came() {
        let export = forged(b"");
        let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
        gzip.write_all(&export).unwrap();
        let mut zlib = ZlibEncoder::new(Vec::new(), Compression::fast());
        zlib.write_all(&export).unwrap();
        for (packed, name) in [(gzip.finish().unwrap(), "gzip"), (zlib.finish().unwrap(), "deflate")] {
            let signed = Export::read(&packed, PROTOBUF, Some(name)).unwrap();
            let signed = signed.signed("carol", &BTreeSet::new()).unwrap();
            let again = Export::read(&signed, PROTOBUF, Some(name)).unwrap();
            assert!(has(&again.body, "carol") && !has(&again.body, "mallory"));
        }
    }

    #[test]
    fn what_is_no_export_is_refused() {
        for body in [&b"\xff"[..], b"\x0a\x05ab", b"\x0b", &export(b"short")] {
            assert!(read(body, PROTOBUF, None).is_err(), "{body:?}");
        }
        assert!(read(&export(&ID), "text/plain", None).is_err());
        assert!(read(&export(&ID), PROTOBUF, Some("br")).is_err());
        assert!(read(b"not packed", PROTOBUF, Some("gzip")).is_err());
    }

    #[test]
    fn an_id_has_one_reading() {
        let export = |list: &str, key: &str| {
            let id = "ab".repeat(16);
            format!(r#"{{"{list}":[{{"scopeSpans":[{{"spans":[{{"{key}":"{id}"}}]}}]}}]}}"#)
        };
        let read = |list: &str, key: &str| read(export(list, key).as_bytes(), "application/json", None);
        assert!(read("resourceSpans", "traceId").is_ok());
        assert!(read("resourceSpans", "trace_id").is_err() && read("resource_spans", "traceId").is_err());
    }

    #[test]
    fn a_bomb_is_refused() {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        gzip.write_all(&vec![0; 50 << 20]).unwrap();
        assert!(matches!(
            read(&gzip.finish().unwrap(), PROTOBUF, Some("gzip")),
            Err(MlflowError::TooLarge)
        ));
    }
}
