//! Connections to MLflow that wait for the next request: a pool for each thread, and bodies that give theirs back.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::client::conn::http1::SendRequest;
use tokio::task::AbortHandle;
use tokio::time::{Instant, Sleep, sleep};

use super::body::{LocalBody, Upload};
use super::upstream::Origin;

/// uvicorn closes an idle connection after 5 s: ours leaves before that, so that hardly a request meets a closing one.
const IDLE_LIMIT: Duration = Duration::from_secs(4);

/// Idle connections kept per thread and upstream.
const IDLE_COUNT: usize = 128;

thread_local! {
    // Keyed by the address of the origin, which cannot be given to another while the pool's `Weak` holds its place.
    static POOLS: RefCell<HashMap<usize, Pool>> = RefCell::new(HashMap::new());
}

struct Pool {
    origin: Weak<Origin>,
    /// Last in, first out.
    lines: Vec<Line>,
}

/// One connection. Dropping it closes it, whatever it was doing.
pub(super) struct Line {
    pub(super) sender: SendRequest<LocalBody>,
    /// Rings when an answer may be overdue.
    pub(super) alarm: Pin<Box<Sleep>>,
    driver: AbortHandle,
    idle_since: Instant,
    origin: Weak<Origin>,
}

impl Drop for Line {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Line {
    pub(super) fn new(
        sender: SendRequest<LocalBody>,
        driver: AbortHandle,
        origin: &Arc<Origin>,
        patience: Duration,
    ) -> Self {
        Self {
            sender,
            alarm: Box::pin(sleep(patience)),
            driver,
            idle_since: Instant::now(),
            origin: Arc::downgrade(origin),
        }
    }

    /// A pooled connection that is free at this moment.
    pub(super) fn idle(origin: &Arc<Origin>) -> Option<Self> {
        POOLS.with_borrow_mut(|pools| {
            let pool = pools.get_mut(&(Arc::as_ptr(origin) as usize))?;
            while let Some(line) = pool.lines.pop() {
                if line.idle_since.elapsed() < IDLE_LIMIT && line.sender.is_ready() {
                    return Some(line);
                }
            }
            None
        })
    }

    fn put_back(mut self) {
        let Some(origin) = self.origin.upgrade().filter(|_| !self.sender.is_closed()) else {
            return;
        };
        let now = Instant::now();
        self.idle_since = now;
        let key = Arc::as_ptr(&origin) as usize;
        let late = POOLS.with_borrow_mut(|pools| {
            if !pools.contains_key(&key) {
                pools.retain(|_, pool| pool.origin.strong_count() > 0);
            }
            let pool = pools.entry(key).or_insert_with(|| Pool {
                origin: Arc::downgrade(&origin),
                lines: Vec::new(),
            });
            // The oldest stand in front: when they are over their time they go, a few at each return.
            let late = pool
                .lines
                .iter()
                .take(4)
                .take_while(|line| now - line.idle_since >= IDLE_LIMIT)
                .count();
            let late = late.max((pool.lines.len() + 1).saturating_sub(IDLE_COUNT));
            let late: Vec<_> = pool.lines.drain(..late).collect();
            pool.lines.push(self);
            late
        });
        drop(late);
    }
}

/// An answer's body that gives its connection back when it is through, and closes it when it is dropped before.
struct Leased {
    body: Incoming,
    line: Option<Line>,
    upload: Rc<Upload>,
}

pub(super) fn attach(answer: Response<Incoming>, line: Line, upload: Rc<Upload>) -> Response<LocalBody> {
    answer.map(|body| {
        let mut leased = Leased {
            body,
            line: Some(line),
            upload,
        };
        if leased.body.is_end_stream() {
            leased.release();
        }
        Box::pin(leased) as LocalBody
    })
}

impl Leased {
    /// An early answer leaves an upload behind that nobody will read: such a connection is closed.
    fn release(&mut self) {
        if let Some(line) = self.line.take()
            && self.upload.done.get()
        {
            line.put_back();
        }
    }
}

impl Body for Leased {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let frame = std::task::ready!(Pin::new(&mut self.body).poll_frame(cx));
        match frame {
            Some(Ok(frame)) => {
                if self.body.is_end_stream() {
                    self.release();
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Some(Err(error)) => {
                self.line = None;
                Poll::Ready(Some(Err(io::Error::other(error))))
            }
            None => {
                self.release();
                Poll::Ready(None)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
