//! The chain: each line carries the hash of the one before and, last, its own.
//!
//! A line is one JSON object whose last member is `hash`. Its value is the SHA-256, in lower-case hex, of the line's bytes
//! with `,"hash":"…"` taken out. So a line can be checked byte for byte with nothing but the line.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::ser::{CompactFormatter, Formatter};
use sha2::{Digest, Sha256};

use super::event::{Author, Event, Http, Outcome, Touched, Why};

/// `prev` of the first event of a chain.
pub const GENESIS: &str = "0000000000000000000000000000000000000000000000000000000000000000";

const HASH_KEY: &str = ",\"hash\":\"";
/// `,"hash":"` + 64 hex digits + `"}`.
const TAIL: usize = HASH_KEY.len() + 64 + 2;

/// Where a chain stands: the last event's number and hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    pub seq: u64,
    pub hash: String,
}

impl Link {
    pub fn start() -> Self {
        Self {
            seq: 0,
            hash: GENESIS.to_owned(),
        }
    }
}

#[derive(Serialize)]
struct Unsealed<'a> {
    v: u32,
    seq: u64,
    time: String,
    id: &'a str,
    request_id: Option<&'a str>,
    actor: &'a Author,
    action: &'a str,
    resources: &'a [Touched],
    upstream: Option<&'a str>,
    outcome: Outcome,
    reason: &'a Why,
    http: Option<&'a Http>,
    prev: &'a str,
}

/// Appends the event's line, with its end of line, to `out`; gives where the chain then stands.
///
/// # Errors
/// None in practice: memory is written, and every type here has a JSON form.
pub fn seal(event: &Event, after: &Link, out: &mut Vec<u8>) -> io::Result<Link> {
    let start = out.len();
    let seq = after.seq + 1;
    let unsealed = Unsealed {
        v: 1,
        seq,
        time: event.time.rfc3339(),
        id: &event.id,
        request_id: event.request_id.as_deref(),
        actor: &event.actor,
        action: &event.action,
        resources: &event.resources,
        upstream: event.upstream.as_deref(),
        outcome: event.outcome,
        reason: &event.reason,
        http: event.http.as_ref(),
        prev: &after.hash,
    };
    write_json(&unsealed, out)?;
    let hash = hex::encode(Sha256::digest(&out[start..]));
    out.pop();
    out.extend_from_slice(HASH_KEY.as_bytes());
    out.extend_from_slice(hash.as_bytes());
    out.extend_from_slice(b"\"}\n");
    Ok(Link { seq, hash })
}

/// JSON as it stands in the trail, appended to `out`.
pub(super) fn write_json(value: &impl Serialize, out: &mut Vec<u8>) -> io::Result<()> {
    let mut serializer = serde_json::Serializer::with_formatter(out, Plain(CompactFormatter));
    value.serialize(&mut serializer).map_err(io::Error::from)
}

/// The hash that a line claims, if the line's bytes have it; `None` where they do not.
pub(super) fn intact(line: &[u8]) -> Option<&str> {
    let (body, tail) = line.split_at_checked(line.len().checked_sub(TAIL)?)?;
    let claimed = tail.strip_prefix(HASH_KEY.as_bytes())?.strip_suffix(b"\"}")?;
    let mut hasher = Sha256::new();
    hasher.update(body);
    hasher.update(b"}");
    (hex::encode(hasher.finalize()).as_bytes() == claimed).then_some(std::str::from_utf8(claimed).ok()?)
}

/// JSON in which no character can start a new line, hide or turn the text around.
struct Plain(CompactFormatter);

impl Formatter for Plain {
    fn write_string_fragment<W: ?Sized + Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        let mut rest = fragment;
        // Nearly all text: nothing below U+007F is unsafe here.
        if rest.bytes().all(|byte| byte < 0x7f) {
            return writer.write_all(rest.as_bytes());
        }
        while let Some(at) = rest.find(is_unsafe) {
            let (plain, from) = rest.split_at(at);
            writer.write_all(plain.as_bytes())?;
            let mut chars = from.chars();
            if let Some(character) = chars.next() {
                let mut units = [0; 2];
                for unit in character.encode_utf16(&mut units) {
                    write!(writer, "\\u{unit:04x}")?;
                }
            }
            rest = chars.as_str();
        }
        writer.write_all(rest.as_bytes())
    }

    fn begin_object<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.begin_object(writer)
    }
}

/// Control, separator, zero-width, bidirectional and tag characters. Those below U+0020 are JSON's own to escape.
pub fn is_unsafe(character: char) -> bool {
    matches!(character,
        '\u{7f}'..='\u{9f}'
        | '\u{ad}'
        | '\u{61c}'
        | '\u{200b}'..='\u{200f}'
        | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}'
        | '\u{feff}'
        | '\u{fff9}'..='\u{fffb}'
        | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::audit::Actor;
    use crate::domain::Timestamp;

    pub(in crate::audit) fn event(action: &str, text: &str) -> Event {
        Event {
            time: Timestamp::from_micros(1_795_435_200_123_456),
            id: "e1".to_owned(),
            request_id: Some("r1".to_owned()),
            actor: Actor {
                user: Some("alice".to_owned()),
                ..Actor::default()
            }
            .into(),
            action: action.to_owned().into(),
            resources: vec![Touched {
                kind: "experiment".into(),
                id: Some("1".to_owned()),
                name: Some(text.to_owned()),
                permission: "EDIT".into(),
            }],
            upstream: Some("production".into()),
            outcome: Outcome::Allowed,
            reason: Why {
                code: "granted".into(),
                text: text.to_owned(),
            },
            http: Some(Http {
                method: "POST".to_owned(),
                path: "/x".to_owned(),
                status: 200,
                ..Http::default()
            }),
        }
    }

    #[test]
    fn a_line_is_the_schema_to_the_letter() {
        let mut out = Vec::new();
        let link = seal(&event("experiment.create", "x"), &Link::start(), &mut out).unwrap();
        let line = String::from_utf8(out).unwrap();
        let expected = concat!(
            r#"{"v":1,"seq":1,"time":"2026-11-23T12:00:00.123456Z","id":"e1","request_id":"r1","#,
            r#""actor":{"provider":null,"subject":null,"user":"alice","groups":[],"roles":[],"via":null,"session":null,"address":null},"#,
            r#""action":"experiment.create","resources":[{"kind":"experiment","id":"1","name":"x","permission":"EDIT"}],"#,
            r#""upstream":"production","outcome":"allowed","reason":{"code":"granted","text":"x"},"#,
            r#""http":{"method":"POST","path":"/x","status":200,"bytes_in":0,"bytes_out":0,"duration_ms":0},"#,
            r#""prev":"0000000000000000000000000000000000000000000000000000000000000000","hash":""#,
        );
        assert_eq!(line, format!("{expected}{}\"}}\n", link.hash));
        assert_eq!(intact(line.trim_end().as_bytes()), Some(link.hash.as_str()));
        assert_eq!(intact(line.replace("alice", "mallo").trim_end().as_bytes()), None);
        assert_eq!(intact(b"{}"), None);
    }

    #[test]
    fn an_author_who_was_written_before_reads_the_same() {
        let hostile = Actor {
            user: Some("a\nb\u{202e}\"c".to_owned()),
            groups: vec!["g".to_owned()],
            ..Actor::default()
        };
        let line = |author: Author| {
            let mut out = Vec::new();
            let event = Event {
                actor: author,
                ..event("a.b", "x")
            };
            seal(&event, &Link::start(), &mut out).unwrap();
            out
        };
        assert_eq!(line(Author::known(&hostile).unwrap()), line(hostile.into()));
    }

    #[test]
    fn no_character_can_forge_a_line_or_turn_it_around() {
        let hostile = "a\nb\rc\u{2028}d\u{202e}e\u{85}f\u{feff}g\u{0}h\u{1b}[31m\u{e0041}\"}";
        let mut out = Vec::new();
        seal(&event("x.y", hostile), &Link::start(), &mut out).unwrap();
        let line = String::from_utf8(out).unwrap();
        assert_eq!(line.matches('\n').count(), 1);
        assert!(
            line.trim_end()
                .chars()
                .all(|character| !character.is_control() && !is_unsafe(character))
        );
        let back: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(back["reason"]["text"], hostile);
    }
}
