//! The trace ids, and the attributes that become tags, in an OTLP export (`opentelemetry/proto/collector/trace/v1/trace_service.proto`), protobuf or JSON, packed or not.

use std::collections::BTreeSet;
use std::io::Read;

use flate2::read::{MultiGzDecoder, ZlibDecoder};

use super::MlflowError;
use super::{fields, tags};

/// Unpacked bytes for each packed byte: beyond this it is no honest compression.
const RATIO: usize = 200;
const AT_LEAST: usize = 1 << 20;
/// Distinct traces in one export.
const TRACES: usize = 10_000;

fn malformed(text: &str) -> MlflowError {
    MlflowError::Malformed(text.to_owned())
}

/// MLflow's ids (`tr-` and 32 hex digits) of all traces that have a span in the body.
///
/// # Errors
/// `Malformed` for what is no export or writes a tag that is not a client's; `TooLarge` for what unpacks to too much.
pub fn read(body: &[u8], content_type: &str, encoding: Option<&str>) -> Result<BTreeSet<String>, MlflowError> {
    let unpacked;
    let body = match encoding {
        None | Some("" | "identity") => body,
        Some("gzip") => {
            unpacked = unpack(MultiGzDecoder::new(body), body.len())?;
            &unpacked
        }
        Some("deflate") => {
            unpacked = unpack(ZlibDecoder::new(body), body.len())?;
            &unpacked
        }
        Some(_) => return Err(malformed("This content encoding is not taken.")),
    };
    let mut found = BTreeSet::new();
    match content_type.split(';').next().unwrap_or_default().trim() {
        "application/x-protobuf" => {
            // resource_spans = 1, resource = 1, attributes = 1; scope_spans = 2, spans = 2, trace_id = 1, attributes = 9; key = 1
            each(body, 1, &mut |resource| {
                each(resource, 1, &mut |about| each(about, 1, &mut attribute))?;
                each(resource, 2, &mut |scope| {
                    each(scope, 2, &mut |span| {
                        each(span, 9, &mut attribute)?;
                        each(span, 1, &mut |id| keep(hex::encode(id), &mut found))
                    })
                })
            })?;
        }
        "application/json" => {
            let map = fields::object(body)?;
            for place in [
                "resource_spans[].resource.attributes[].key",
                "resource_spans[].scope_spans[].spans[].attributes[].key",
            ] {
                for key in fields::texts(&map, place)? {
                    tags::refuse_reserved_attribute(&key)?;
                }
            }
            for id in fields::texts(&map, "resource_spans[].scope_spans[].spans[].trace_id")? {
                keep(id, &mut found)?;
            }
        }
        _ => return Err(malformed("Spans come as application/x-protobuf or application/json.")),
    }
    Ok(found)
}

fn attribute(attribute: &[u8]) -> Result<(), MlflowError> {
    each(attribute, 1, &mut |key| {
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
    let broken = || malformed("The body is no protobuf.");
    while !message.is_empty() {
        let tag = varint(&mut message).ok_or_else(broken)?;
        let skip = match tag & 7 {
            0 => {
                varint(&mut message).ok_or_else(broken)?;
                0
            }
            1 => 8,
            2 => usize::try_from(varint(&mut message).ok_or_else(broken)?).map_err(|_| broken())?,
            5 => 4,
            _ => return Err(broken()),
        };
        let (field, rest) = message.split_at_checked(skip).ok_or_else(broken)?;
        if tag >> 3 == number {
            // MLflow's parser would read the same number with another wire type as an unknown field; nobody sends that.
            if tag & 7 != 2 {
                return Err(broken());
            }
            with(field)?;
        }
        message = rest;
    }
    Ok(())
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
    use std::io::Write;

    fn field(number: u8, inner: &[u8]) -> Vec<u8> {
        let mut out = vec![number << 3 | 2, u8::try_from(inner.len()).unwrap()];
        out.extend_from_slice(inner);
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
    fn a_bomb_is_refused() {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        gzip.write_all(&vec![0; 50 << 20]).unwrap();
        assert!(matches!(
            read(&gzip.finish().unwrap(), PROTOBUF, Some("gzip")),
            Err(MlflowError::TooLarge)
        ));
    }
}
