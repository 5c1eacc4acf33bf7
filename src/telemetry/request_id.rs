//! The name of one request, in the answer, the log, the trail and towards MLflow.

use crate::domain::Random;

/// Made here for each request, or taken over from a trusted proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestId {
    text: String,
    trace: [u8; 16],
    span: [u8; 8],
}

impl RequestId {
    pub fn new(random: &dyn Random) -> Self {
        let bytes: [u8; 24] = random.bytes();
        let (mut trace, mut span) = ([0; 16], [0; 8]);
        trace.copy_from_slice(&bytes[..16]);
        span.copy_from_slice(&bytes[16..]);
        Self {
            text: hex::encode(trace),
            trace,
            span,
        }
    }

    /// The id that a proxy gave, where it is one: 8 to 128 letters, digits, `-`, `_`, `.`.
    #[must_use]
    pub fn taken_over(mut self, given: &[u8]) -> Self {
        let fits = (8..=128).contains(&given.len())
            && given
                .iter()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'));
        if let (true, Ok(text)) = (fits, std::str::from_utf8(given)) {
            self.text = text.to_owned();
        }
        self
    }

    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The W3C `traceparent` to send: a new span of the caller's trace, where it shows a valid one, or of a new trace.
    pub fn traceparent(&self, given: Option<&[u8]>) -> String {
        let span = hex::encode(self.span);
        match given.and_then(trace_of) {
            Some((trace, flags)) => ["00-", trace, "-", &span, "-", flags].concat(),
            None => ["00-", &hex::encode(self.trace), "-", &span, "-01"].concat(),
        }
    }
}

/// Trace id and flags of a `traceparent` of version 00.
fn trace_of(given: &[u8]) -> Option<(&str, &str)> {
    let text = std::str::from_utf8(given).ok().filter(|text| text.len() == 55)?;
    let mut parts = text.split('-');
    let (version, trace, parent, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let is_hex =
        |part: &str, length| part.len() == length && part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let some = |part: &str| part.bytes().any(|byte| byte != b'0');
    (version == "00" && is_hex(trace, 32) && some(trace) && is_hex(parent, 16) && some(parent) && is_hex(flags, 2))
        .then_some((trace, flags))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::SystemRandom;

    #[test]
    fn a_trace_goes_on_where_the_caller_shows_a_valid_one() {
        let id = RequestId::new(&SystemRandom::new());
        let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
        let given = format!("00-{trace}-00f067aa0ba902b7-00");
        assert!(
            id.traceparent(Some(given.as_bytes()))
                .starts_with(&format!("00-{trace}-"))
        );
        for bad in ["", "00-x", "00-00000000000000000000000000000000-00f067aa0ba902b7-00"] {
            assert!(id.traceparent(Some(bad.as_bytes())).contains(id.as_str()), "{bad}");
        }
    }

    #[test]
    fn only_a_plain_id_is_taken_over() {
        let id = RequestId::new(&SystemRandom::new());
        assert_eq!(id.clone().taken_over(b"abc-123.DEF").as_str(), "abc-123.DEF");
        for bad in [&b"short"[..], b"with space 12", b"x\"},{\"a\":\"b", &[b'a'; 129]] {
            assert_eq!(id.clone().taken_over(bad), id);
        }
    }
}
