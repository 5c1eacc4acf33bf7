//! The name of one request, in the answer, the log, the trail and towards MLflow.

use crate::domain::Random;

use super::traces::SpanContext;

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

    /// Where this request's span stands; `None` where the caller's trace is not sampled.
    pub fn context(&self, given: Option<&[u8]>) -> Option<SpanContext> {
        let span = hex::encode(self.span);
        match given.and_then(trace_of) {
            Some(theirs) if theirs.is_sampled() => Some(SpanContext {
                trace: theirs.trace.to_owned(),
                span,
                parent: Some(theirs.parent.to_owned()),
            }),
            Some(_) => None,
            None => Some(SpanContext {
                trace: hex::encode(self.trace),
                span,
                parent: None,
            }),
        }
    }

    /// The W3C `traceparent` to send: a new span of the caller's trace, where it shows a valid one, or of a new trace.
    pub fn traceparent(&self, given: Option<&[u8]>) -> String {
        let span = hex::encode(self.span);
        match given.and_then(trace_of) {
            Some(theirs) => ["00-", theirs.trace, "-", &span, "-", theirs.flags].concat(),
            None => ["00-", &hex::encode(self.trace), "-", &span, "-01"].concat(),
        }
    }
}

/// A `traceparent` of version 00.
struct Theirs<'a> {
    trace: &'a str,
    parent: &'a str,
    flags: &'a str,
}

impl Theirs<'_> {
    fn is_sampled(&self) -> bool {
        u8::from_str_radix(self.flags, 16).is_ok_and(|flags| flags & 1 == 1)
    }
}

fn trace_of(given: &[u8]) -> Option<Theirs<'_>> {
    let text = std::str::from_utf8(given).ok().filter(|text| text.len() == 55)?;
    let mut parts = text.split('-');
    let (version, trace, parent, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let is_hex =
        |part: &str, length| part.len() == length && part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let some = |part: &str| part.bytes().any(|byte| byte != b'0');
    (version == "00" && is_hex(trace, 32) && some(trace) && is_hex(parent, 16) && some(parent) && is_hex(flags, 2))
        .then_some(Theirs { trace, parent, flags })
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
    fn a_span_stands_under_the_callers_where_that_is_sampled() {
        let id = RequestId::new(&SystemRandom::new());
        let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
        let context = |flags: &str| id.context(Some(format!("00-{trace}-00f067aa0ba902b7-{flags}").as_bytes()));
        let under = context("01").unwrap();
        assert_eq!(
            (under.trace.as_str(), under.parent.as_deref()),
            (trace, Some("00f067aa0ba902b7"))
        );
        assert_eq!(context("00"), None);
        let alone = id.context(None).unwrap();
        assert_eq!((alone.trace.as_str(), alone.parent), (id.as_str(), None));
        assert!(id.traceparent(None).contains(&alone.span));
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
