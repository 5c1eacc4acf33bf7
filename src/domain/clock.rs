//! The only place that asks the system what time it is.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime};

use time::OffsetDateTime;

/// Microseconds since the Unix epoch, UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Timestamp(i64);

impl Timestamp {
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    pub const fn from_seconds(seconds: i64) -> Self {
        Self(seconds.saturating_mul(1_000_000))
    }

    pub const fn micros(self) -> i64 {
        self.0
    }

    pub const fn seconds(self) -> i64 {
        self.0.div_euclid(1_000_000)
    }

    pub fn plus(self, span: Duration) -> Self {
        Self(
            self.0
                .saturating_add(i64::try_from(span.as_micros()).unwrap_or(i64::MAX)),
        )
    }

    /// Time since `earlier`; zero when the clock went backwards.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// RFC 3339 with microseconds and `Z`: `2026-11-23T12:00:00.123456Z`.
    pub fn rfc3339(self) -> String {
        let moment =
            OffsetDateTime::from_unix_timestamp_nanos(i128::from(self.0) * 1000).unwrap_or(OffsetDateTime::UNIX_EPOCH);
        let (date, time) = (moment.date(), moment.time());
        // By hand: this stands in every event, and the formatting machinery takes longer than the event's hash.
        let mut text = String::with_capacity(27);
        let mut put = |number: u32, digits: u32, end: char| {
            for place in (0..digits).rev() {
                let digit = number / 10_u32.pow(place) % 10;
                text.push(char::from_digit(digit, 10).unwrap_or('0'));
            }
            text.push(end);
        };
        put(date.year().unsigned_abs(), 4, '-');
        put(u8::from(date.month()).into(), 2, '-');
        put(date.day().into(), 2, 'T');
        put(time.hour().into(), 2, ':');
        put(time.minute().into(), 2, ':');
        put(time.second().into(), 2, '.');
        put(time.microsecond(), 6, 'Z');
        text
    }

    /// # Errors
    /// When the text is not RFC 3339.
    pub fn parse_rfc3339(text: &str) -> Result<Self, time::error::Parse> {
        let moment = OffsetDateTime::parse(text, &time::format_description::well_known::Rfc3339)?;
        Ok(Self(
            i64::try_from(moment.unix_timestamp_nanos() / 1000).unwrap_or(i64::MAX),
        ))
    }
}

pub trait Clock: Send + Sync {
    fn now(&self) -> Timestamp;
}

#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the one place that may")]
    fn now(&self) -> Timestamp {
        // A clock before 1970 stands at its beginning.
        let since = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        Timestamp(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
    }
}

/// A clock that stands still until it is told to move; for tests.
#[derive(Debug)]
pub struct ManualClock(AtomicI64);

impl ManualClock {
    pub fn at(now: Timestamp) -> Self {
        Self(AtomicI64::new(now.0))
    }

    pub fn advance(&self, span: Duration) {
        self.0
            .fetch_add(i64::try_from(span.as_micros()).unwrap_or(i64::MAX), Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::SeqCst))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timestamp_prints_as_the_audit_schema_says() {
        let at = Timestamp::from_micros(1_795_435_200_123_456);
        assert_eq!(at.rfc3339(), "2026-11-23T12:00:00.123456Z");
        assert_eq!(Timestamp::parse_rfc3339("2026-11-23T12:00:00.123456Z").unwrap(), at);
    }

    #[test]
    fn time_since_never_underflows() {
        let (early, late) = (Timestamp::from_seconds(1), Timestamp::from_seconds(3));
        assert_eq!(late.since(early), Duration::from_secs(2));
        assert_eq!(early.since(late), Duration::ZERO);
    }
}
