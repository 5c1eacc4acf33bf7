//! The trace ids in an OTLP export (`opentelemetry/proto/collector/trace/v1/trace_service.proto`), protobuf or JSON, packed or not.

use std::collections::BTreeSet;
use std::io::Read;

use flate2::read::{MultiGzDecoder, ZlibDecoder};

use super::MlflowError;
use super::fields;

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
/// `Malformed` for what is no export; `TooLarge` for what unpacks to too much.
pub fn trace_ids(body: &[u8], content_type: &str, encoding: Option<&str>) -> Result<BTreeSet<String>, MlflowError> {
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
            // resource_spans = 1, scope_spans = 2, spans = 2, trace_id = 1
            each(body, 1, &mut |resource| {
                each(resource, 2, &mut |scope| {
                    each(scope, 2, &mut |span| {
                        each(span, 1, &mut |id| keep(hex::encode(id), &mut found))
                    })
                })
            })?;
        }
        "application/json" => {
            let map = fields::object(body)?;
            for id in fields::texts(&map, "resource_spans[].scope_spans[].spans[].trace_id")? {
                keep(id, &mut found)?;
            }
        }
        _ => return Err(malformed("Spans come as application/x-protobuf or application/json.")),
    }
    Ok(found)
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
        field(1, &[field(1, b"resource"), field(2, &field(2, &span))].concat())
    }

    const ID: [u8; 16] = [0xab; 16];
    const PROTOBUF: &str = "application/x-protobuf";

    #[test]
    fn ids_are_found_in_protobuf_json_and_packed_bodies() {
        let expected = BTreeSet::from([format!("tr-{}", "ab".repeat(16))]);
        assert_eq!(trace_ids(&export(&ID), PROTOBUF, None).unwrap(), expected);
        let json = format!(
            r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{{"traceId":"{}"}}]}}]}}]}}"#,
            "ab".repeat(16)
        );
        assert_eq!(trace_ids(json.as_bytes(), "application/json", None).unwrap(), expected);
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&export(&ID)).unwrap();
        assert_eq!(
            trace_ids(&gzip.finish().unwrap(), PROTOBUF, Some("gzip")).unwrap(),
            expected
        );
        let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
        zlib.write_all(&export(&ID)).unwrap();
        assert_eq!(
            trace_ids(&zlib.finish().unwrap(), PROTOBUF, Some("deflate")).unwrap(),
            expected
        );
    }

    #[test]
    fn what_is_no_export_is_refused() {
        for body in [&b"\xff"[..], b"\x0a\x05ab", b"\x0b", &export(b"short")] {
            assert!(trace_ids(body, PROTOBUF, None).is_err(), "{body:?}");
        }
        assert!(trace_ids(&export(&ID), "text/plain", None).is_err());
        assert!(trace_ids(&export(&ID), PROTOBUF, Some("br")).is_err());
        assert!(trace_ids(b"not packed", PROTOBUF, Some("gzip")).is_err());
    }

    #[test]
    fn a_bomb_is_refused() {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        gzip.write_all(&vec![0; 50 << 20]).unwrap();
        assert!(matches!(
            trace_ids(&gzip.finish().unwrap(), PROTOBUF, Some("gzip")),
            Err(MlflowError::TooLarge)
        ));
    }
}
