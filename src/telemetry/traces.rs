//! Traces: one span a request, in the words of OpenTelemetry (OTLP 1.x, JSON over HTTP). Names, paths and outcomes; no query, no
//! body, nobody's name.

use std::borrow::Cow;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::domain::Timestamp;

/// Spans that wait for the collector; what comes above is dropped and counted.
const WAITING: usize = 4096;
/// `SPAN_KIND_SERVER`.
const SERVER: u8 = 2;
/// `STATUS_CODE_ERROR`.
const ERROR: u8 = 2;

/// Where a request's span stands: of whose trace, and under which span of theirs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpanContext {
    /// 32 hex digits.
    pub trace: String,
    /// 16 hex digits.
    pub span: String,
    pub parent: Option<String>,
}

/// One request, when it is over.
#[derive(Clone, Debug)]
pub struct Span {
    pub context: SpanContext,
    pub name: Cow<'static, str>,
    pub start: Timestamp,
    pub took: Duration,
    pub attributes: Vec<(&'static str, Attribute)>,
    /// The gateway's fault or MLflow's, as opposed to the client's.
    pub failed: bool,
}

#[derive(Clone, Debug)]
pub enum Attribute {
    Text(Cow<'static, str>),
    Number(i64),
}

/// Where finished spans go.
#[derive(Clone, Debug)]
pub struct Traces(mpsc::Sender<Span>);

/// Where they come out.
pub type Finished = mpsc::Receiver<Span>;

impl Traces {
    pub fn new() -> (Self, Finished) {
        let (sender, finished) = mpsc::channel(WAITING);
        (Self(sender), finished)
    }

    /// Waits for nobody; false where the span had to be dropped.
    pub fn finish(&self, span: Span) -> bool {
        self.0.try_send(span).is_ok()
    }
}

/// An `ExportTraceServiceRequest`.
pub fn export(spans: &[Span], service: &str) -> Value {
    json!({"resourceSpans": [{
        "resource": {"attributes": [
            attribute("service.name", &Attribute::Text(service.to_owned().into())),
            attribute("service.version", &Attribute::Text(env!("CARGO_PKG_VERSION").into())),
        ]},
        "scopeSpans": [{
            "scope": {"name": "mlgate", "version": env!("CARGO_PKG_VERSION")},
            "spans": spans.iter().map(written).collect::<Vec<_>>(),
        }],
    }]})
}

fn written(span: &Span) -> Value {
    let nanoseconds = |at: Timestamp| (i128::from(at.micros()) * 1000).to_string();
    let mut written = json!({
        "traceId": span.context.trace,
        "spanId": span.context.span,
        "name": span.name,
        "kind": SERVER,
        "startTimeUnixNano": nanoseconds(span.start),
        "endTimeUnixNano": nanoseconds(span.start.plus(span.took)),
        "attributes": span.attributes.iter().map(|(name, value)| attribute(name, value)).collect::<Vec<_>>(),
    });
    if let Some(parent) = &span.context.parent {
        written["parentSpanId"] = parent.as_str().into();
    }
    if span.failed {
        written["status"] = json!({ "code": ERROR });
    }
    written
}

/// A 64-bit number is a text in protobuf's JSON.
fn attribute(name: &str, value: &Attribute) -> Value {
    match value {
        Attribute::Text(text) => json!({"key": name, "value": {"stringValue": text}}),
        Attribute::Number(number) => json!({"key": name, "value": {"intValue": number.to_string()}}),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span() -> Span {
        Span {
            context: SpanContext {
                trace: "4bf92f3577b34da6a3ce929d0e0e4736".to_owned(),
                span: "00f067aa0ba902b7".to_owned(),
                parent: None,
            },
            name: "run.get".into(),
            start: Timestamp::from_seconds(1000),
            took: Duration::from_millis(1500),
            attributes: vec![("http.response.status_code", Attribute::Number(200))],
            failed: false,
        }
    }

    #[test]
    fn a_span_is_written_as_protobuf_reads_json() {
        let sent = export(&[span()], "mlgate");
        let written = &sent["resourceSpans"][0]["scopeSpans"][0]["spans"][0];
        assert_eq!(written["startTimeUnixNano"], "1000000000000");
        assert_eq!(written["endTimeUnixNano"], "1001500000000");
        assert_eq!(written["attributes"][0]["value"]["intValue"], "200");
        assert!(written.get("parentSpanId").is_none() && written.get("status").is_none());
    }

    #[test]
    fn who_waits_for_no_collector_drops_and_says_so() {
        let (traces, finished) = Traces::new();
        assert!((0..WAITING).all(|_| traces.finish(span())));
        assert!(!traces.finish(span()));
        drop(finished);
        assert!(!traces.finish(span()));
    }
}
