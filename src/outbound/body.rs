//! Bodies on their way: whole ones, none, and those that tell when they move.

use std::cell::Cell;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::{Body, Frame, SizeHint};
use tokio::time::Instant;

use super::UpstreamError;

/// A body that stays on its thread.
pub type LocalBody = Pin<Box<dyn Body<Data = Bytes, Error = io::Error>>>;

/// No body at all.
pub fn empty() -> LocalBody {
    Box::pin(Empty::new().map_err(|never| match never {}))
}

/// A body that is wholly here.
pub fn full(bytes: Bytes) -> LocalBody {
    Box::pin(Full::new(bytes).map_err(|never| match never {}))
}

/// The whole of a body.
///
/// # Errors
/// `TooLarge` past the limit, `Broken` when it breaks off.
pub async fn collect(mut body: LocalBody, limit: usize) -> Result<Bytes, UpstreamError> {
    let mut first = Bytes::new();
    let mut rest: Vec<u8> = Vec::new();
    while let Some(frame) = poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
        let Ok(data) = frame
            .map_err(|error| UpstreamError::Broken(error.to_string()))?
            .into_data()
        else {
            continue;
        };
        if first.len() + rest.len() + data.len() > limit {
            return Err(UpstreamError::TooLarge);
        }
        if first.is_empty() && rest.is_empty() {
            first = data;
        } else {
            if rest.is_empty() {
                rest.extend_from_slice(&std::mem::take(&mut first));
            }
            rest.extend_from_slice(&data);
        }
    }
    Ok(if rest.is_empty() { first } else { rest.into() })
}

/// How far a request's body is.
pub(super) struct Upload {
    pub(super) last_move: Cell<Instant>,
    pub(super) done: Cell<bool>,
}

impl Default for Upload {
    fn default() -> Self {
        Self {
            last_move: Cell::new(Instant::now()),
            done: Cell::new(false),
        }
    }
}

impl Upload {
    pub(super) fn moved(&self) {
        self.last_move.set(Instant::now());
    }
}

/// A request body that tells when it moves and when it is through.
pub(super) struct Watched {
    body: LocalBody,
    upload: Rc<Upload>,
}

impl Watched {
    pub(super) fn new(body: LocalBody, upload: Rc<Upload>) -> Self {
        upload.done.set(body.is_end_stream());
        Self { body, upload }
    }
}

impl Body for Watched {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let frame = self.body.as_mut().poll_frame(cx);
        if let Poll::Ready(frame) = &frame {
            self.upload.moved();
            let ended = frame.is_none() || self.body.is_end_stream();
            self.upload.done.set(ended);
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
