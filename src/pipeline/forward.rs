//! Carries out what was permitted: sends the canonical request, and lets the answer through as it comes.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::http::StatusCode;
use actix_web::http::header::{HeaderName, HeaderValue};
use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};

use crate::audit::{AuditError, Outcome};
use crate::domain::{Reason, ReasonCode};
use crate::mlflow::listing::{Cut, View};
use crate::mlflow::{self, Answer, Outgoing, OutgoingBody, Source, account};
use crate::outbound::{LocalBody, UpstreamClient, UpstreamError, body};
use crate::policy::Permit;

use super::headers::{self, Rewrite};
use super::identify::goes_to_vendors;
use super::incoming::{Incoming, SenderFault, name};
use super::introduce::{self, Introduction};
use super::record::Record;
use super::{Gate, Halted, Stopped, Upstream};

/// What the pipeline gives to the web.
pub type Response = actix_web::HttpResponse;

/// An answer up to this is taken whole and sent in one piece, after its event. Bytes.
const SMALL: u64 = 64 * 1024;

/// `server-info` is a few hundred bytes; what is larger is something else.
const SERVER_INFO_LIMIT: usize = 1 << 20;

impl Gate {
    /// What was permitted is what is sent, for whom it was permitted.
    pub(super) async fn forward(
        &self,
        upstream: &Upstream,
        permit: Permit<mlflow::Request>,
        introduction: Option<&Introduction>,
        mut incoming: Incoming,
        record: Record,
    ) -> Result<Response, Halted> {
        let answered = match self.carry_out(upstream, &permit, introduction, &mut incoming).await {
            Ok(answered) => {
                upstream.mlflow.carried_out(permit.request());
                answered
            }
            Err(stopped) => {
                return Err(Halted {
                    stopped: blame(stopped, incoming.sender.fault.get()),
                    record,
                });
            }
        };
        let (_, _, request, reason) = permit.into_parts();
        match answered {
            Answered::Streamed(answer) => {
                let learn = |answer: &[u8]| {
                    let place = request.workspace.as_deref();
                    upstream.mlflow.passed_by(place, request.action, answer);
                };
                self.stream(upstream, answer, &incoming, record, reason, learn).await
            }
            Answered::Whole(status, body) => json(status, body, &incoming, record, reason).await,
        }
    }

    async fn carry_out(
        &self,
        upstream: &Upstream,
        permit: &Permit<mlflow::Request>,
        introduction: Option<&Introduction>,
        incoming: &mut Incoming,
    ) -> Result<Answered, Stopped> {
        let request = permit.request();
        let client = upstream.mlflow.client_for(request);
        self.keep_account(upstream, permit).await?;
        match &request.answer {
            Answer::Forward => self
                .send((upstream, &client), introduction, &request.outgoing, incoming)
                .await
                .map(Answered::Streamed),
            Answer::Listed(plan) => {
                let may = |access: &_| permit.may(access);
                let reader = permit.caller().map_or_else(String::new, |caller| {
                    let identity = &caller.identity;
                    let place = (&upstream.name, request.workspace.as_deref().unwrap_or_default());
                    format!("{}\n{}\n{}\n{}", place.0, place.1, identity.provider, identity.subject)
                });
                let view = View {
                    may: &may,
                    sealer: &self.pages,
                    reader: &reader,
                    rights: permit.rights(),
                };
                match Box::pin(plan.cut(&client, &request.outgoing, &view)).await? {
                    Cut::Forward(outgoing) => self
                        .send((upstream, &client), introduction, &outgoing, incoming)
                        .await
                        .map(Answered::Streamed),
                    Cut::Answer(status, body) => Ok(Answered::Whole(status, body)),
                }
            }
            Answer::Account(question) => {
                let Some(caller) = permit.caller() else {
                    return Err(Stopped::NotSignedIn);
                };
                let roles = permit.roles();
                let body = account::answer(*question, &caller.identity, &roles.names(), roles.are_admin());
                Ok(Answered::Whole(http::StatusCode::OK, body))
            }
            Answer::ServerInfo => {
                let answer = self
                    .send((upstream, &client), introduction, &request.outgoing, incoming)
                    .await?;
                let (parts, body) = answer.into_parts();
                let body = body::collect(body, SERVER_INFO_LIMIT).await?;
                Ok(match account::with_tracking_auth(&body) {
                    Some(patched) => Answered::Whole(parts.status, patched),
                    None => Answered::Streamed(http::Response::from_parts(parts, body::full(body))),
                })
            }
        }
    }

    async fn send(
        &self,
        (upstream, client): (&Upstream, &UpstreamClient),
        introduction: Option<&Introduction>,
        outgoing: &Outgoing,
        incoming: &mut Incoming,
    ) -> Result<http::Response<LocalBody>, Stopped> {
        let started = Instant::now();
        let uri = http::Uri::try_from(outgoing.target.as_str())
            .map_err(|_| Stopped::Malformed("The path is not one that can be sent on.".to_owned()))?;
        let make = |body: LocalBody, headers: http::HeaderMap| {
            let mut request = http::Request::new(body);
            *request.method_mut() = outgoing.method.clone();
            *request.uri_mut() = uri.clone();
            *request.headers_mut() = headers;
            request
        };
        if matches!(outgoing.body, OutgoingBody::Empty) && outgoing.method.is_safe() {
            let headers = || self.headers(upstream, introduction, &outgoing.target, incoming);
            let answer = client.send_safely(|| make(body::empty(), headers())).await?;
            self.trail.metrics.upstream(started.elapsed());
            return Ok(answer);
        }
        let mut headers = self.headers(upstream, introduction, &outgoing.target, incoming);
        let body = match &outgoing.body {
            OutgoingBody::Empty => {
                headers.insert(CONTENT_LENGTH, 0.into());
                body::empty()
            }
            OutgoingBody::Bytes(bytes) => {
                headers.insert(CONTENT_LENGTH, bytes.len().into());
                body::full(bytes.clone())
            }
            OutgoingBody::Stream => {
                if let Some(length) = incoming.announced_length() {
                    headers.insert(CONTENT_LENGTH, length.into());
                }
                Box::pin(incoming.take_body())
            }
        };
        let answer = client.send(make(body, headers)).await?;
        self.trail.metrics.upstream(started.elapsed());
        Ok(answer)
    }

    fn headers(
        &self,
        upstream: &Upstream,
        introduction: Option<&Introduction>,
        target: &str,
        incoming: &Incoming,
    ) -> http::HeaderMap {
        let to_vendors = goes_to_vendors(target);
        let foreign_authorization = to_vendors && incoming.all(name::X_MLFLOW_AUTHORIZATION).next().is_some();
        let mut headers = if to_vendors {
            http::HeaderMap::new()
        } else {
            self.introduce(upstream, introduction, incoming)
        };
        headers::for_upstream(
            incoming.all(name::CONNECTION),
            incoming.pairs(),
            to_vendors,
            foreign_authorization,
            &mut headers,
        );
        headers
    }

    /// Says who is asking, from where and through what. Every identity header is set each time, empty when unknown.
    fn introduce(
        &self,
        upstream: &Upstream,
        introduction: Option<&Introduction>,
        incoming: &Incoming,
    ) -> http::HeaderMap {
        let mut headers = match introduction {
            Some(introduction) => introduction.headers.clone(),
            None => introduce::of_nobody(&incoming.address_text),
        };
        let mut set = |name: &'static str, value: &str| {
            if let Ok(value) = http::HeaderValue::from_str(value) {
                headers.insert(http::HeaderName::from_static(name), value);
            }
        };
        set("x-request-id", incoming.id.as_str());
        let traceparent = incoming.id.traceparent(incoming.all(name::TRACEPARENT).next());
        set("traceparent", &traceparent);
        set("x-forwarded-host", self.site.authority(upstream, incoming.host()));
        headers.insert("x-forwarded-proto", self.site.scheme.clone());
        headers
    }

    /// MLflow's answer on its way to the client. The event is written before its last byte.
    async fn stream(
        &self,
        upstream: &Upstream,
        answer: http::Response<LocalBody>,
        incoming: &Incoming,
        mut record: Record,
        reason: Reason,
        learn: impl Fn(&[u8]),
    ) -> Result<Response, Halted> {
        let (parts, body) = answer.into_parts();
        let rewrite = Rewrite {
            upstream: &upstream.section.url,
            site: &self.site.url,
            base: &self.site.base,
        };
        let length = parts
            .headers
            .get(CONTENT_LENGTH)
            .and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
        let status = StatusCode::from_u16(parts.status.as_u16()).unwrap_or(StatusCode::BAD_GATEWAY);
        let bodiless = incoming.method() == "HEAD" || matches!(parts.status.as_u16(), 204 | 304);
        let size = match length {
            Some(length) => BodySize::Sized(length),
            None if bodiless => BodySize::None,
            None => BodySize::Stream,
        };
        record.status = parts.status.as_u16();
        let body = if bodiless || size == BodySize::Sized(0) {
            closed(record, reason).await?;
            BoxBody::new(Flow {
                size,
                state: State::Done,
            })
        } else if length.is_some_and(|length| length <= SMALL) {
            let whole = match body::collect(body, SMALL as usize).await {
                Ok(whole) => whole,
                Err(error) => {
                    return Err(Halted {
                        stopped: error.into(),
                        record,
                    });
                }
            };
            if parts.status == http::StatusCode::OK {
                learn(&whole);
            }
            record.bytes_out = whole.len() as u64;
            closed(record, reason).await?;
            BoxBody::new(whole)
        } else {
            BoxBody::new(Flow {
                size,
                state: State::Flowing {
                    body,
                    left: length,
                    record: Some(record),
                    reason,
                },
            })
        };
        let mut response = actix_web::HttpResponse::with_body(status, body);
        for (name, value) in headers::for_client(&parts.headers, &rewrite) {
            if name == CONTENT_LENGTH && parts.status != http::StatusCode::NOT_MODIFIED {
                continue;
            }
            copy(response.headers_mut(), name.as_str(), &value);
        }
        copy(response.headers_mut(), "x-request-id", incoming.id.as_str().as_bytes());
        Ok(response)
    }
}

enum Answered {
    Streamed(http::Response<LocalBody>),
    /// JSON.
    Whole(http::StatusCode, Bytes),
}

/// When the client's side broke, what MLflow's side says is only its echo.
fn blame(stopped: Stopped, fault: Option<SenderFault>) -> Stopped {
    match (fault, stopped) {
        (Some(SenderFault::Left), Stopped::Upstream(UpstreamError::Broken(_))) => Stopped::ClientLeft,
        (Some(SenderFault::TooSlow), Stopped::Upstream(UpstreamError::Broken(_))) => Stopped::TooSlow,
        (_, stopped) => stopped,
    }
}

async fn json(
    status: http::StatusCode,
    body: Bytes,
    incoming: &Incoming,
    mut record: Record,
    reason: Reason,
) -> Result<Response, Halted> {
    record.answered(status.as_u16(), body.len() as u64);
    closed(record, reason).await?;
    let status = StatusCode::from_u16(status.as_u16()).unwrap_or(StatusCode::BAD_GATEWAY);
    let mut response = actix_web::HttpResponse::with_body(status, body);
    copy(response.headers_mut(), CONTENT_TYPE.as_str(), b"application/json");
    copy(response.headers_mut(), "x-request-id", incoming.id.as_str().as_bytes());
    Ok(response.map_into_boxed_body())
}

pub(super) async fn closed(record: Record, reason: Reason) -> Result<(), Halted> {
    let lost = record.twin();
    match record.close(Outcome::Allowed, &reason).await {
        Ok(()) => Ok(()),
        Err(_) => Err(Halted {
            stopped: Stopped::TrailAway,
            record: lost,
        }),
    }
}

/// actix speaks an older `http`: names and values cross over as bytes.
fn copy(headers: &mut actix_web::http::header::HeaderMap, name: &str, value: &[u8]) {
    if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_bytes(value)) {
        headers.append(name, value);
    }
}

// === The answer's body ===

/// Lets each piece through at once, and holds only the last one until the event is written.
struct Flow {
    size: BodySize,
    state: State,
}

enum State {
    Flowing {
        body: LocalBody,
        left: Option<u64>,
        record: Option<Record>,
        reason: Reason,
    },
    Closing {
        held: Option<Bytes>,
        closing: Pin<Box<dyn Future<Output = Result<(), AuditError>>>>,
    },
    Done,
}

impl MessageBody for Flow {
    type Error = io::Error;

    fn size(&self) -> BodySize {
        self.size
    }

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, io::Error>>> {
        loop {
            match &mut self.state {
                State::Flowing {
                    body,
                    left,
                    record,
                    reason,
                } => {
                    let frame = ready!(body.as_mut().poll_frame(cx));
                    let data = match frame {
                        Some(Ok(frame)) => match frame.into_data() {
                            Ok(data) if !data.is_empty() => Some(data),
                            // Trailers stay behind.
                            Ok(_) | Err(_) => continue,
                        },
                        Some(Err(error)) => {
                            let record = record.take();
                            self.state = State::Done;
                            broke_off(record);
                            return Poll::Ready(Some(Err(error)));
                        }
                        None => None,
                    };
                    let length = data.as_ref().map_or(0, |data| data.len() as u64);
                    *left = left.map(|left| left.saturating_sub(length));
                    if let Some(record) = record {
                        record.bytes_out += length;
                    }
                    if data.is_some() && *left != Some(0) {
                        return Poll::Ready(data.map(Ok));
                    }
                    let Some(record) = record.take() else {
                        self.state = State::Done;
                        return Poll::Ready(None);
                    };
                    let reason = reason.clone();
                    let closing = Box::pin(async move { record.close(Outcome::Allowed, &reason).await });
                    self.state = State::Closing { held: data, closing };
                }
                State::Closing { held, closing } => {
                    let closed = ready!(closing.as_mut().poll(cx));
                    let held = held.take();
                    self.state = State::Done;
                    // Without its event the answer never becomes whole.
                    closed.map_err(|_| io::Error::other("the audit trail cannot be written"))?;
                    return Poll::Ready(held.map(Ok));
                }
                State::Done => return Poll::Ready(None),
            }
        }
    }
}

/// MLflow's answer ended before its end; the client is told by a connection that closes.
fn broke_off(record: Option<Record>) {
    let Some(record) = record else { return };
    let reason = Reason::new(ReasonCode::UpstreamFailed, "MLflow's answer broke off.");
    record.close_later(Outcome::Failed, reason);
}
