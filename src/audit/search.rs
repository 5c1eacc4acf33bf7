//! Which events of a trail are meant, and the newest of them.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use crate::domain::Timestamp;

use super::chain::is_unsafe;
use super::event::Record;

/// What an event must be; without any, all are.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wanted<'a> {
    /// The user name, or `provider:user`.
    pub user: Option<&'a str>,
    /// `run.create`, or with a star: `run.*`.
    pub action: Option<&'a str>,
    /// A resource's id or name, or `kind:name` (`experiment:fraud/*`).
    pub resource: Option<&'a str>,
    /// `allowed`, `refused` or `failed`.
    pub outcome: Option<&'a str>,
    pub since: Option<Timestamp>,
    pub until: Option<Timestamp>,
}

impl Wanted<'_> {
    pub fn takes(&self, record: &Record) -> bool {
        let actor = &record.actor;
        let user = |wanted: &str| match wanted.split_once(':') {
            Some((provider, user)) if actor.provider.as_deref() == Some(provider) => {
                actor.user.as_deref() == Some(user)
            }
            _ => actor.user.as_deref() == Some(wanted),
        };
        let resource = |wanted: &str| {
            record.resources.iter().any(|touched| {
                let is = |text: &str| {
                    [&touched.id, &touched.name]
                        .into_iter()
                        .flatten()
                        .any(|value| matches(text, value))
                };
                is(wanted)
                    || wanted
                        .split_once(':')
                        .is_some_and(|(kind, text)| kind == touched.kind && is(text))
            })
        };
        let at = Timestamp::parse_rfc3339(&record.time).ok();
        self.user.is_none_or(user)
            && self.action.is_none_or(|wanted| matches(wanted, &record.action))
            && self.resource.is_none_or(resource)
            && self.outcome.is_none_or(|wanted| record.outcome.as_str() == wanted)
            && self.since.is_none_or(|since| at.is_some_and(|at| at >= since))
            && self.until.is_none_or(|until| at.is_some_and(|at| at <= until))
    }
}

/// A text with one star at most, at its end.
fn matches(wanted: &str, text: &str) -> bool {
    wanted
        .strip_suffix('*')
        .map_or(wanted == text, |start| text.starts_with(start))
}

/// What a person may see of a text: no character that moves a cursor or turns the text around.
pub fn printable(text: &str) -> String {
    text.chars()
        .map(|character| {
            if is_unsafe(character) || character.is_control() {
                '\u{fffd}'
            } else {
                character
            }
        })
        .collect()
}

/// The newest events that are wanted, newest first.
#[derive(Debug, Default)]
pub struct Newest {
    pub records: Vec<Record>,
    /// The file begins before what was looked at.
    pub is_partial: bool,
}

/// Looks at the end of one file, `reach` bytes at most, for `most` events.
///
/// # Errors
/// When the file cannot be read.
pub fn newest(file: &Path, wanted: &Wanted<'_>, most: usize, reach: u64) -> io::Result<Newest> {
    let mut open = File::open(file)?;
    let length = open.metadata()?.len();
    let from = length.saturating_sub(reach);
    open.seek(SeekFrom::Start(from))?;
    let mut bytes = Vec::new();
    open.take(reach).read_to_end(&mut bytes)?;
    // In the midst of a line it is no event, and a line whose end is being written is none yet.
    let records = bytes
        .rsplit(|byte| *byte == b'\n')
        .filter_map(|line| serde_json::from_slice::<Record>(line).ok())
        .filter(|record| wanted.takes(record))
        .take(most)
        .collect();
    Ok(Newest {
        records,
        is_partial: from > 0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(seq: u64, user: &str) -> String {
        format!(
            r#"{{"v":1,"seq":{seq},"time":"2026-11-23T12:00:00.000000Z","id":"e","request_id":null,"actor":{{"provider":"corp","subject":"1","user":"{user}","groups":[],"roles":[],"via":"session","session":null,"address":null}},"action":"run.create","resources":[],"upstream":"p","outcome":"refused","reason":{{"code":"not_granted","text":"x"}},"http":null,"prev":"","hash":""}}"#
        )
    }

    #[test]
    fn the_newest_come_first_and_no_more_than_are_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("trail.jsonl");
        let lines: Vec<_> = (1..=9)
            .map(|seq| line(seq, if seq % 2 == 0 { "bob" } else { "eve" }))
            .collect();
        std::fs::write(&file, lines.join("\n") + "\n{\"half\":").unwrap();
        let bobs = Wanted {
            user: Some("corp:bob"),
            ..Wanted::default()
        };
        let seqs = |found: &Newest| found.records.iter().map(|record| record.seq).collect::<Vec<_>>();
        let found = newest(&file, &bobs, 3, 1 << 20).unwrap();
        assert_eq!((seqs(&found), found.is_partial), (vec![8, 6, 4], false));
        let reach = lines[0].len() as u64 * 2;
        let found = newest(&file, &Wanted::default(), 100, reach).unwrap();
        assert_eq!((seqs(&found), found.is_partial), (vec![9], true), "half a line is none");
    }

    #[test]
    fn a_text_that_turns_around_is_shown_flat() {
        assert_eq!(printable("a\u{202e}b\u{7}c"), "a\u{fffd}b\u{fffd}c");
    }
}
