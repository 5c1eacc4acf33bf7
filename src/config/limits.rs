//! `[limits]`: how often and how large.

use std::time::Duration;

use super::reader::Section;
use super::value;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    pub count: u32,
    pub per: Duration,
}

#[derive(Clone, Debug)]
pub struct Limits {
    pub login_attempts: Rate,
    /// For MLflow; `None`: as many as come.
    pub requests: Option<Rate>,
    /// Bytes.
    pub header_size: usize,
    /// Bytes.
    pub json_body: usize,
}

pub(super) fn read(section: Section<'_>) -> Limits {
    let login_attempts = section.value("login_attempts", value::rate).unwrap_or(Rate {
        count: 10,
        per: Duration::from_secs(300),
    });
    let requests = section.value("requests", value::rate);
    let header_size = section.value("header_size", value::memory).unwrap_or(32 << 10);
    let json_body = section.value("json_body", value::memory).unwrap_or(64 << 20);
    section.finish();
    Limits {
        login_attempts,
        requests,
        header_size,
        json_body,
    }
}
