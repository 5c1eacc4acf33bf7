//! What goes into the trail about one request, however it ends, before the last byte of its answer.

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::audit::{Actor, Audit, AuditError, Author, Event, Http, Outcome, Touched, Why};
use crate::domain::{Access, Caller, Clock, Identity, Permission, Random, Reason, ReasonCode};
use crate::mlflow::{self, Source};
use crate::telemetry::Metrics;
use crate::telemetry::traces::{Attribute, Span, SpanContext, Traces};

use super::incoming::{Incoming, Sender, name};

/// Where records go, and which ones.
pub(super) struct Trail {
    pub(super) audit: Arc<Audit>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) random: Arc<dyn Random>,
    /// Record what only reads, too.
    pub(super) reads: bool,
    /// `audit.on_failure = "refuse"`.
    pub(super) refuse: bool,
    /// Where the configuration wants them.
    pub(super) traces: Option<Traces>,
}

impl Trail {
    /// Whether a request may begin: without a trail nothing happens.
    pub(super) fn is_open(&self) -> bool {
        !self.refuse || self.audit.healthy()
    }

    fn write_later(self: &Arc<Self>, event: Box<Event>) {
        let trail = self.clone();
        // Without a runtime the process is at its end, and the trail closed already.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                if let Err(error) = trail.write(event).await {
                    tracing::error!(%error, "an event is missing from the trail");
                }
            });
        }
    }

    async fn write(&self, event: Box<Event>) -> Result<(), AuditError> {
        let started = Instant::now();
        let written = self.audit.record(event).await;
        self.metrics.audit_lag(started.elapsed());
        written
    }

    pub(super) fn begin(self: &Arc<Self>, incoming: &Incoming) -> Record {
        let id: [u8; 16] = self.random.bytes();
        let event = Event {
            time: self.clock.now(),
            id: hex::encode(id),
            request_id: Some(incoming.id.as_str().to_owned()),
            actor: Actor {
                address: Some(incoming.address_text.clone()),
                ..Actor::default()
            }
            .into(),
            action: "request.refused".into(),
            resources: Vec::new(),
            upstream: None,
            outcome: Outcome::Failed,
            reason: Why {
                code: ReasonCode::ClientLeft.as_str().into(),
                text: "The client went away.".to_owned(),
            },
            http: Some(Http {
                method: incoming.method().to_owned(),
                path: incoming.whole_path().to_owned(),
                check: incoming.asked_by().map(Into::into),
                ..Http::default()
            }),
        };
        let context = self
            .traces
            .as_ref()
            .and_then(|_| incoming.id.context(incoming.all(name::TRACEPARENT).next()));
        Record {
            trail: self.clone(),
            context: context.map(Box::new),
            event: Some(Box::new(event)),
            started: Instant::now(),
            sender: incoming.sender.clone(),
            by: None,
            class: "none",
            only_reads: false,
            status: 0,
            bytes_out: 0,
        }
    }
}

/// One request's event in the making. Closed once; when it is dropped before, the client left, and that is recorded.
pub struct Record {
    trail: Arc<Trail>,
    event: Option<Box<Event>>,
    /// Of its span, where there is to be one.
    context: Option<Box<SpanContext>>,
    started: Instant,
    sender: Rc<Sender>,
    by: Option<Arc<Identity>>,
    /// The noun of the action.
    class: &'static str,
    only_reads: bool,
    pub(super) status: u16,
    pub(super) bytes_out: u64,
}

impl Record {
    pub(super) fn asked_of(&mut self, upstream: &Arc<str>) {
        if let Some(event) = &mut self.event {
            event.upstream = Some(upstream.clone());
        }
    }

    pub(super) fn asked_by(&mut self, caller: &Caller, author: &Author) {
        self.by = Some(caller.identity.clone());
        if let Some(event) = &mut self.event {
            event.actor = author.clone();
        }
    }

    pub(super) fn asks(&mut self, request: &mlflow::Request) {
        self.class = request.action.split('.').next().unwrap_or(request.action);
        self.only_reads = request.accesses.iter().all(|access| match access {
            Access::Public | Access::Member => true,
            Access::On { permission, .. } | Access::AnyOf { permission, .. } => *permission <= Permission::Read,
        });
        if let Some(event) = &mut self.event {
            event.action = request.action.into();
            event.resources = request
                .accesses
                .iter()
                .filter_map(|access| match access {
                    Access::On { permission, resource } => Some(Touched::of(*permission, resource)),
                    // A name that is nobody's yet: named once, as the first kind that it could be of.
                    Access::AnyOf { permission, resources } => {
                        resources.first().map(|resource| Touched::of(*permission, resource))
                    }
                    Access::Public | Access::Member => None,
                })
                .collect();
        }
    }

    /// Writes the event. Waits until it is written.
    ///
    /// # Errors
    /// When it could not be written and nothing may pass without.
    pub async fn close(mut self, outcome: Outcome, reason: &Reason) -> Result<(), AuditError> {
        let Some(event) = self.finish(outcome, reason) else {
            return Ok(());
        };
        match self.trail.write(event).await {
            Err(error) if self.trail.refuse => Err(error),
            Err(error) => {
                tracing::error!(%error, "an event is missing from the trail");
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    /// Writes the event without anybody waiting for it: the answer is broken already.
    pub(super) fn close_later(mut self, outcome: Outcome, reason: Reason) {
        if let Some(event) = self.finish(outcome, &reason) {
            self.trail.write_later(event);
        }
    }

    /// A record of the same request whose event stays unwritten: for the answer that tells of a trail that cannot be written.
    pub(super) fn twin(&self) -> Self {
        Self {
            trail: self.trail.clone(),
            event: None,
            context: None,
            started: self.started,
            sender: self.sender.clone(),
            by: None,
            class: self.class,
            only_reads: self.only_reads,
            status: 0,
            bytes_out: 0,
        }
    }

    /// The answer's head and how long its body is, for answers that are here as a whole.
    pub fn answered(&mut self, status: u16, bytes_out: u64) {
        self.status = status;
        self.bytes_out = bytes_out;
    }

    fn finish(&mut self, outcome: Outcome, reason: &Reason) -> Option<Box<Event>> {
        let mut event = self.event.take()?;
        let took = self.started.elapsed();
        self.trail.metrics.request(self.class, outcome.as_str(), took);
        event.outcome = outcome;
        event.reason = Why::from(reason);
        if let Some(http) = &mut event.http {
            http.status = self.status;
            http.bytes_in = self.sender.bytes.get();
            http.bytes_out = self.bytes_out;
            http.duration_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        }
        tracing::info!(
            request_id = event.request_id.as_deref().unwrap_or_default(),
            action = &*event.action,
            user = self.by.as_ref().map_or("", |identity| identity.user.as_str()),
            outcome = ?event.outcome,
            code = &*event.reason.code,
            status = self.status,
            duration_ms = event.http.as_ref().map_or(0, |http| http.duration_ms),
            "request"
        );
        self.finish_span(&event, took);
        let leave_out = !self.trail.reads && self.only_reads && outcome == Outcome::Allowed;
        (!leave_out).then_some(event)
    }
}

impl Record {
    fn finish_span(&mut self, event: &Event, took: Duration) {
        let (Some(traces), Some(context)) = (&self.trail.traces, self.context.take()) else {
            return;
        };
        let http = event.http.as_ref();
        let text = |text: Option<&str>| Attribute::Text(text.unwrap_or_default().to_owned().into());
        let span = Span {
            context: *context,
            name: event.action.clone(),
            start: event.time,
            took,
            attributes: vec![
                ("http.request.method", text(http.map(|http| http.method.as_str()))),
                ("url.path", text(http.map(|http| http.path.as_str()))),
                ("http.response.status_code", Attribute::Number(self.status.into())),
                ("mlgate.outcome", Attribute::Text(event.outcome.as_str().into())),
                ("mlgate.reason", Attribute::Text(event.reason.code.clone())),
                ("mlgate.request_id", text(event.request_id.as_deref())),
                ("mlgate.upstream", text(event.upstream.as_deref())),
            ],
            failed: event.outcome == Outcome::Failed,
        };
        if !traces.finish(span) {
            self.trail.metrics.spans("dropped", 1);
        }
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        let left = Reason::new(ReasonCode::ClientLeft, "The client went away before the answer's end.");
        let Some(event) = self.finish(Outcome::Failed, &left) else {
            return;
        };
        self.trail.write_later(event);
    }
}
