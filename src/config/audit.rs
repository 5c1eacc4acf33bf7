//! `[audit]`: the trail.

use std::path::PathBuf;
use std::time::Duration;

use super::reader::Section;
use super::value;

#[derive(Clone, Debug)]
pub struct Audit {
    pub file: PathBuf,
    /// Bytes.
    pub rotate_size: u64,
    pub keep: Duration,
    /// `sync = "fsync"`.
    pub fsync: bool,
    pub reads: bool,
    pub on_failure: OnAuditFailure,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnAuditFailure {
    Refuse,
    Continue,
}

pub(super) fn read(section: Section<'_>) -> Option<Audit> {
    let file = section
        .path_of("file")
        .unwrap_or_else(|| section.reading.directory.join("audit/mlgate.jsonl"));
    if file.is_dir() || file.file_name().is_none() {
        section.problem("file", format!("{} is a folder: name a file in it", file.display()));
    }
    let rotate_size = section.value("rotate_size", value::size).unwrap_or(256 << 20);
    let keep = section
        .value("keep", value::duration)
        .unwrap_or(Duration::from_secs(365 * 24 * 3600));
    let fsync = section.choice("sync", &[("write", false), ("fsync", true)]);
    let reads = section.value("reads", value::flag).unwrap_or(true);
    let choices = [
        ("refuse", OnAuditFailure::Refuse),
        ("continue", OnAuditFailure::Continue),
    ];
    let on_failure = section.choice("on_failure", &choices);
    section.finish();
    Some(Audit {
        file,
        rotate_size,
        keep,
        fsync: fsync?,
        reads,
        on_failure: on_failure?,
    })
}
