//! `[tokens]`: how long tokens live.

use std::time::Duration;

use super::reader::Section;
use super::value;

#[derive(Clone, Debug)]
pub struct Tokens {
    pub access_lifetime: Duration,
    pub refresh_idle: Duration,
    pub refresh_absolute: Duration,
    pub personal_max_lifetime: Duration,
    /// `device_flow = "on"`.
    pub device_flow: bool,
}

pub(super) fn read(section: Section<'_>) -> Option<Tokens> {
    const DAY: u64 = 24 * 3600;
    let time = |key, default| {
        section
            .value(key, value::duration)
            .unwrap_or(Duration::from_secs(default))
    };
    let access_lifetime = time("access_lifetime", 1800);
    let refresh_idle = time("refresh_idle", 30 * DAY);
    let refresh_absolute = time("refresh_absolute", 90 * DAY);
    if refresh_idle > refresh_absolute {
        section.problem(
            "refresh_idle",
            "is longer than refresh_absolute: it would never be reached",
        );
    }
    let personal_max_lifetime = time("personal_max_lifetime", 365 * DAY);
    let device_flow = section.choice("device_flow", &[("on", true), ("off", false)]);
    section.finish();
    Some(Tokens {
        access_lifetime,
        refresh_idle,
        refresh_absolute,
        personal_max_lifetime,
        device_flow: device_flow?,
    })
}
