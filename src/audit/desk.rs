//! Where events are handed in: each thread carries what it has to the writer at once, so that many requests share one walk.

use std::cell::RefCell;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::sync::{mpsc, oneshot};

use super::event::Event;
use super::writer::{AuditError, Batch, Errand};

pub(super) struct Desk {
    queue: mpsc::UnboundedSender<Errand>,
}

type Trays = Vec<(Weak<Desk>, Arc<Mutex<Tray>>)>;

thread_local! {
    // By the desk's address, which cannot be another's while its `Weak` holds the place.
    static TRAYS: RefCell<Trays> = const { RefCell::new(Vec::new()) };
}

/// With so many nobody waits for more.
const TRAY: usize = 64;

/// What one thread has to hand in. Its bound is that of the requests under way: each has one event.
#[derive(Default)]
struct Tray {
    events: Vec<Box<Event>>,
    authors: Vec<oneshot::Sender<Result<(), AuditError>>>,
    /// Somebody is on the way, and will come back for the rest.
    is_carried: bool,
}

impl Desk {
    pub(super) fn new(queue: mpsc::UnboundedSender<Errand>) -> Self {
        Self { queue }
    }

    pub(super) fn close(&self) {
        // A writer that is gone is closed.
        let _ = self.queue.send(Errand::Close);
    }

    pub(super) async fn hand_in(self: &Arc<Self>, event: Box<Event>) -> Result<(), AuditError> {
        let (author, written) = oneshot::channel();
        let tray = self.tray();
        let is_carried = {
            let mut tray = lock(&tray);
            tray.events.push(event);
            tray.authors.push(author);
            std::mem::replace(&mut tray.is_carried, true)
        };
        if !is_carried {
            let carrier = Carrier { tray, is_done: false };
            tokio::spawn(carrier.carry(self.clone()));
        }
        written.await.map_err(|_| AuditError::Closed)?
    }

    /// This thread's.
    fn tray(self: &Arc<Self>) -> Arc<Mutex<Tray>> {
        TRAYS.with_borrow_mut(|trays| {
            let mine = |desk: &Weak<Self>| std::ptr::eq(desk.as_ptr(), Arc::as_ptr(self));
            if let Some((_, tray)) = trays.iter().find(|(desk, _)| mine(desk)) {
                return tray.clone();
            }
            trays.retain(|(desk, _)| desk.strong_count() > 0);
            let tray = Arc::<Mutex<Tray>>::default();
            trays.push((Arc::downgrade(self), tray.clone()));
            tray
        })
    }
}

fn lock(tray: &Mutex<Tray>) -> MutexGuard<'_, Tray> {
    tray.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Carrier {
    tray: Arc<Mutex<Tray>>,
    is_done: bool,
}

impl Carrier {
    async fn carry(mut self, desk: Arc<Desk>) {
        loop {
            self.wait_for_others().await;
            let (events, authors) = {
                let mut tray = lock(&self.tray);
                if tray.events.is_empty() {
                    tray.is_carried = false;
                    self.is_done = true;
                    return;
                }
                (std::mem::take(&mut tray.events), std::mem::take(&mut tray.authors))
            };
            let (done, written) = oneshot::channel();
            // A writer that is gone drops `done`.
            let _ = desk.queue.send(Errand::Write(Batch { events, done }));
            let result = match written.await {
                // The events end here, where they were made: freeing another thread's memory costs more.
                Ok((_events, result)) => result,
                Err(_) => Err(AuditError::Closed),
            };
            for author in authors {
                // An author that left does not wait for its answer.
                let _ = author.send(result.clone());
            }
        }
    }

    /// Whoever is about to hand in does so first, as long as there are such: one walk for many costs each of them little.
    async fn wait_for_others(&self) {
        let mut seen = 0;
        loop {
            tokio::task::yield_now().await;
            let now = lock(&self.tray).events.len();
            if now == seen || now >= TRAY {
                return;
            }
            seen = now;
        }
    }
}

impl Drop for Carrier {
    /// A runtime that ends takes its tasks along: nobody may wait for them, and the next event finds a carrier of its own.
    fn drop(&mut self) {
        if !self.is_done {
            *lock(&self.tray) = Tray::default();
        }
    }
}
