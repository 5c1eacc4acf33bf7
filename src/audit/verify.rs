//! Checks a chain: what was edited, removed, reordered or cut off, each named by file, line and number.

use std::collections::HashSet;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::chain::{self, GENESIS, Link};
use super::event::Record;
use super::files;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum BreakKind {
    Edited,
    Removed,
    Reordered,
    Truncated,
}

/// One place where the chain does not hold.
#[derive(Clone, Debug, Serialize)]
pub struct Break {
    pub kind: BreakKind,
    pub file: PathBuf,
    /// 1-based.
    pub line: usize,
    pub text: String,
}

impl fmt::Display for Break {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            BreakKind::Edited => "edited",
            BreakKind::Removed => "removed",
            BreakKind::Reordered => "reordered",
            BreakKind::Truncated => "truncated",
        };
        write!(f, "{}:{}: {kind}: {}", self.file.display(), self.line, self.text)
    }
}

#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    pub events: u64,
    /// Number of the first and of the last event that were read.
    pub first: Option<u64>,
    pub last: Option<u64>,
    pub breaks: Vec<Break>,
}

/// Checks one trail over its files, which come oldest first.
///
/// # Errors
/// When a file cannot be read.
pub fn verify(trail: &[PathBuf]) -> io::Result<Report> {
    let mut walk = Walk::default();
    for file in trail {
        for (index, line) in files::lines(file)?.enumerate() {
            let (line, whole) = line?;
            walk.step(file, index + 1, &line, whole);
        }
    }
    if let Some(live) = trail.last() {
        walk.compare_with_head(live);
    }
    Ok(walk.finish())
}

#[derive(Default)]
struct Walk {
    report: Report,
    /// Where the chain stands; `None` before the first line.
    after: Option<Link>,
    seen: HashSet<u64>,
    /// Gaps, decided at the end: a number that turns up elsewhere was moved, one that does not was removed.
    gaps: Vec<(std::ops::Range<u64>, PathBuf, usize)>,
    lines: usize,
}

impl Walk {
    fn found(&mut self, kind: BreakKind, file: &Path, line: usize, text: String) {
        self.report.breaks.push(Break {
            kind,
            file: file.to_owned(),
            line,
            text,
        });
    }

    fn step(&mut self, file: &Path, line_number: usize, line: &[u8], whole: bool) {
        self.lines = line_number;
        if !whole {
            self.found(
                BreakKind::Truncated,
                file,
                line_number,
                "the last line is cut off".to_owned(),
            );
            return;
        }
        let Ok(record) = serde_json::from_slice::<Record>(line) else {
            self.found(BreakKind::Edited, file, line_number, "the line is no event".to_owned());
            self.after = self.after.take().map(|after| Link {
                seq: after.seq + 1,
                hash: String::new(),
            });
            return;
        };
        let seq = record.seq;
        self.report.events += 1;
        self.report.first.get_or_insert(seq);
        if chain::intact(line) != Some(record.hash.as_str()) {
            self.found(
                BreakKind::Edited,
                file,
                line_number,
                format!("event {seq} does not have the hash that it claims"),
            );
        }
        self.order(file, line_number, &record);
        self.seen.insert(seq);
        let last = self.report.last.unwrap_or(0).max(seq);
        self.report.last = Some(last);
        self.after = Some(Link { seq, hash: record.hash });
    }

    fn order(&mut self, file: &Path, line_number: usize, record: &Record) {
        let (seq, prev) = (record.seq, record.prev.as_str());
        match &self.after {
            // The first file of a trail may be the first that `keep` left.
            None if seq == 1 && prev != GENESIS => {
                self.found(
                    BreakKind::Edited,
                    file,
                    line_number,
                    "the first event names one before it".to_owned(),
                );
            }
            None => {}
            // An unreadable line before this one was named already; its hash is not known.
            Some(after) if seq == after.seq + 1 && (after.hash.is_empty() || prev == after.hash) => {}
            Some(after) if seq == after.seq + 1 => {
                let text = format!("event {} is not the one that event {seq} was written after", after.seq);
                self.found(BreakKind::Edited, file, line_number, text);
            }
            Some(after) if seq > after.seq + 1 => self.gaps.push((after.seq + 1..seq, file.to_owned(), line_number)),
            Some(after) => {
                let text = format!("event {seq} stands after event {}", after.seq);
                self.found(BreakKind::Reordered, file, line_number, text);
            }
        }
    }

    fn compare_with_head(&mut self, live: &Path) {
        let Ok(text) = fs::read_to_string(files::beside(live, ".head")) else {
            return;
        };
        let Some(head) = files::parse_head(&text) else { return };
        let last = self.report.last.unwrap_or(0);
        if head.seq > last {
            let text = format!("events {} to {} are missing at the end", last + 1, head.seq);
            self.found(BreakKind::Truncated, live, self.lines, text);
        } else if self
            .after
            .as_ref()
            .is_some_and(|after| after.seq == head.seq && after.hash != head.hash)
        {
            let text = format!("event {} is not the one that was written last", head.seq);
            self.found(BreakKind::Edited, live, self.lines, text);
        }
    }

    fn finish(mut self) -> Report {
        for (gap, file, line) in std::mem::take(&mut self.gaps) {
            let (from, to) = (gap.start, gap.end - 1);
            if gap.clone().any(|seq| self.seen.contains(&seq)) {
                self.found(
                    BreakKind::Reordered,
                    &file,
                    line,
                    format!("events {from} to {to} should stand before this line"),
                );
            } else {
                self.found(
                    BreakKind::Removed,
                    &file,
                    line,
                    format!("events {from} to {to} are missing before this line"),
                );
            }
        }
        self.report
    }
}
