//! The one writer of a trail: a thread that takes events in batches, so that many requests share one write.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use thiserror::Error;
use tokio::sync::{mpsc, oneshot};

use crate::config;
use crate::domain::{Clock, Timestamp};

use super::chain::{self, Link};
use super::desk::Desk;
use super::event::{Actor, Event, Outcome, Record, Why};
use super::files;
use super::tidy::Tidier;

/// Threads whose events are written at once.
const THREADS: usize = 64;
/// How long until a trail that failed is tried again unasked.
const PROBE: Duration = Duration::from_secs(1);

#[derive(Clone, Debug, Error)]
pub enum AuditError {
    #[error("the audit trail {file} cannot be opened: {cause}")]
    Open { file: PathBuf, cause: String },
    #[error("another mlgate writes the audit trail {0}")]
    InUse(PathBuf),
    #[error("the audit trail cannot be written: {0}")]
    Write(String),
    #[error("the audit trail is closed")]
    Closed,
}

/// Events of one thread, and where to tell how it went. They come back when all of them are written, or none.
pub(super) struct Batch {
    pub(super) events: Vec<Box<Event>>,
    pub(super) done: oneshot::Sender<Written>,
}

/// A batch's events, and how it went with all of them.
pub(super) type Written = (Vec<Box<Event>>, Result<(), AuditError>);

/// What the writer is asked for.
pub(super) enum Errand {
    Write(Batch),
    /// What was asked for before is still done.
    Close,
}

/// A trail that is open for writing.
pub struct Audit {
    desk: Arc<Desk>,
    healthy: Arc<AtomicBool>,
    thread: std::sync::Mutex<Option<JoinHandle<()>>>,
}

impl Audit {
    /// Opens the trail and goes on with its chain. A torn last line (its request was never answered) is cut off and the cut
    /// is recorded; events that are missing at the end are recorded as missing and stay visible to `verify`.
    ///
    /// # Errors
    /// When the file cannot be opened, its last line is no event, or another process writes it.
    pub fn open(config: &config::Audit, clock: Arc<dyn Clock>) -> Result<Self, AuditError> {
        let healthy = Arc::new(AtomicBool::new(true));
        let mut trail = Trail::open(config)?;
        let found = trail.found.take();
        let (queue, batches) = mpsc::unbounded_channel();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .map_err(|error| AuditError::Write(error.to_string()))?;
        let writer = Writer {
            trail,
            clock,
            healthy: healthy.clone(),
        };
        let thread = std::thread::Builder::new()
            .name("audit".to_owned())
            .spawn(move || runtime.block_on(writer.run(batches, found)))
            .map_err(|error| AuditError::Write(error.to_string()))?;
        Ok(Self {
            desk: Arc::new(Desk::new(queue)),
            healthy,
            thread: std::sync::Mutex::new(Some(thread)),
        })
    }

    /// Returns once the event's line is written (with `sync = "fsync"`: on disk).
    ///
    /// # Errors
    /// When it could not be written; then no part of it is in the trail.
    pub async fn record(&self, event: impl Into<Box<Event>>) -> Result<(), AuditError> {
        self.desk.hand_in(event.into()).await
    }

    /// False from a failed write to the next one that succeeds; the writer tries by itself every second.
    pub fn healthy(&self) -> bool {
        self.healthy.load(Ordering::Acquire)
    }

    /// Writes what waits and ends the writer; call it last. Blocks until it is done.
    pub fn close(self) {
        let Self { desk, thread, .. } = self;
        // Carriers may hold the desk for a moment longer: the end is said, not waited for.
        desk.close();
        let thread = thread.lock().map(|mut thread| thread.take()).ok().flatten();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the audit writer ended badly");
        }
    }
}

struct Writer {
    trail: Trail,
    clock: Arc<dyn Clock>,
    healthy: Arc<AtomicBool>,
}

impl Writer {
    async fn run(mut self, mut queue: mpsc::UnboundedReceiver<Errand>, found: Option<(&'static str, String)>) {
        if let Some((action, text)) = found {
            tracing::warn!(action, text, "the audit trail was not whole");
            self.note(action, text);
        }
        let mut errands = Vec::new();
        loop {
            let taken = match tokio::time::timeout(PROBE, queue.recv_many(&mut errands, THREADS)).await {
                Ok(taken) => taken,
                Err(_) if self.healthy.load(Ordering::Acquire) => continue,
                Err(_) => {
                    self.note("audit.recover", "The trail can be written again.".to_owned());
                    continue;
                }
            };
            if taken == 0 {
                return;
            }
            let is_last = errands.iter().any(|errand| matches!(errand, Errand::Close));
            let batches = errands
                .drain(..)
                .map_while(|errand| match errand {
                    Errand::Write(batch) => Some(batch),
                    Errand::Close => None,
                })
                .collect::<Vec<_>>();
            let result = self.write(batches.iter().flat_map(|batch| &batch.events).map(AsRef::as_ref));
            for Batch { events, done } in batches {
                // A thread that ended does not wait for its answer.
                let _ = done.send((events, result.clone()));
            }
            if is_last {
                return;
            }
        }
    }

    fn note(&mut self, action: &str, text: String) {
        let time = self.clock.now();
        let event = Event {
            time,
            id: uuid::Uuid::new_v4().to_string(),
            request_id: None,
            actor: Actor::default().into(),
            action: action.to_owned().into(),
            resources: Vec::new(),
            upstream: None,
            outcome: Outcome::Allowed,
            reason: Why {
                code: "requested".into(),
                text,
            },
            http: None,
        };
        // A failure is kept in `healthy`, and the next probe tries again.
        let _ = self.write(std::iter::once(&event));
    }

    fn write<'a>(&mut self, events: impl Iterator<Item = &'a Event>) -> Result<(), AuditError> {
        let result = self
            .trail
            .append(events)
            .map_err(|error| AuditError::Write(error.to_string()));
        let was = self.healthy.swap(result.is_ok(), Ordering::AcqRel);
        if let (true, Err(error)) = (was, &result) {
            tracing::error!(%error, "the audit trail cannot be written");
        }
        result
    }
}

struct Trail {
    config: config::Audit,
    file: File,
    head: File,
    /// Bytes of whole lines.
    length: u64,
    link: Link,
    /// Number and day of the live file's first event.
    first: Option<(u64, i64)>,
    buffer: Vec<u8>,
    /// A write failed, and what it left behind its place could not be cut off yet.
    remains: bool,
    found: Option<(&'static str, String)>,
    tidier: Tidier,
}

impl Trail {
    fn open(config: &config::Audit) -> Result<Self, AuditError> {
        let failed = |error: io::Error| AuditError::Open {
            file: config.file.clone(),
            cause: error.to_string(),
        };
        if let Some(folder) = config.file.parent() {
            fs::create_dir_all(folder).map_err(failed)?;
        }
        let mut head = files::open_private(&files::beside(&config.file, ".head")).map_err(failed)?;
        head.try_lock().map_err(|_| AuditError::InUse(config.file.clone()))?;
        let mut file = files::open_private(&config.file).map_err(failed)?;
        let remembered = files::read_head(&mut head).map_err(failed)?;
        let (last, length) = files::last_line(&mut file).map_err(failed)?;
        let torn = file.metadata().map_err(failed)?.len() - length;
        let last = last.as_deref().map(parse).transpose().map_err(failed)?;
        let mut found = None;
        if torn > 0 {
            file.set_len(length).map_err(failed)?;
            found = Some((
                "audit.torn",
                format!("A torn last line of {torn} bytes was cut off; its request was never answered."),
            ));
        }
        let written = match last {
            Some(record) => Link {
                seq: record.seq,
                hash: record.hash,
            },
            None => Link::start(),
        };
        // An empty live file is right after a rotation, when the head tells where the chain stands.
        let link = match remembered {
            Some(remembered) if remembered.seq > written.seq => {
                if length > 0 || !just_rotated(&config.file, remembered.seq) {
                    let text = format!(
                        "Events {} to {} are missing at the end of the trail.",
                        written.seq + 1,
                        remembered.seq
                    );
                    found = Some(("audit.gap", text));
                }
                remembered
            }
            _ => written,
        };
        let first = first_event(&config.file).map_err(failed)?;
        Ok(Self {
            tidier: Tidier::start(config),
            config: config.clone(),
            file,
            head,
            length,
            link,
            first,
            buffer: Vec::new(),
            found,
            remains: false,
        })
    }

    /// All of the events or none.
    fn append<'a>(&mut self, events: impl Iterator<Item = &'a Event>) -> io::Result<()> {
        let mut link = self.link.clone();
        let mut first = None;
        self.buffer.clear();
        for event in events {
            first.get_or_insert_with(|| (link.seq + 1, day(event.time)));
            link = chain::seal(event, &link, &mut self.buffer)?;
        }
        let Some(first) = first else { return Ok(()) };
        if self.is_due(first.1) {
            self.rotate()?;
        }
        if let Err(error) = self.put(&link) {
            // What was written of the batch must not stay: its callers are told that it failed.
            let cut = self.file.set_len(self.length);
            self.remains = cut.and_then(|()| files::write_head(&self.head, &self.link)).is_err();
            return Err(error);
        }
        self.length += self.buffer.len() as u64;
        self.link = link;
        self.first.get_or_insert(first);
        Ok(())
    }

    /// The lines first, then where the chain stands: a kill between the two leaves the trail ahead, never behind.
    fn put(&mut self, link: &Link) -> io::Result<()> {
        if std::mem::take(&mut self.remains) {
            self.file.set_len(self.length)?;
        }
        self.file.write_all_at(&self.buffer, self.length)?;
        if self.config.fsync {
            self.file.sync_data()?;
        }
        files::write_head(&self.head, link)?;
        if self.config.fsync {
            self.head.sync_data()
        } else {
            Ok(())
        }
    }

    fn is_due(&self, today: i64) -> bool {
        self.first
            .is_some_and(|(_, day)| day < today || self.length + self.buffer.len() as u64 > self.config.rotate_size)
    }

    fn rotate(&mut self) -> io::Result<()> {
        let Some((first, _)) = self.first else { return Ok(()) };
        let rotated = files::beside(&self.config.file, &format!(".{first}-{}", self.link.seq));
        fs::rename(&self.config.file, &rotated)?;
        self.file = files::open_private(&self.config.file).inspect_err(|_| {
            // Back to its name, or the next attempt would look for a file that is not there and the trail never recover.
            if let Err(error) = fs::rename(&rotated, &self.config.file) {
                tracing::error!(%error, "a rotated trail file cannot be named back");
            }
        })?;
        self.length = 0;
        self.first = None;
        self.tidier.ask();
        Ok(())
    }
}

fn day(time: Timestamp) -> i64 {
    time.seconds().div_euclid(86_400)
}

fn parse(line: &[u8]) -> io::Result<Record> {
    serde_json::from_slice(line).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

fn first_event(file: &std::path::Path) -> io::Result<Option<(u64, i64)>> {
    let Some(line) = files::lines(file)?.next() else {
        return Ok(None);
    };
    let record = parse(&line?.0)?;
    let time =
        Timestamp::parse_rfc3339(&record.time).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
    Ok(Some((record.seq, day(time))))
}

/// Whether the newest rotated file ends with event `seq`, so that an empty live file misses nothing.
fn just_rotated(file: &std::path::Path, seq: u64) -> bool {
    files::rotated(file)
        .last()
        .and_then(|path| path.to_str())
        .is_some_and(|path| {
            let path = path.strip_suffix(".gz").unwrap_or(path);
            path.ends_with(&format!("-{seq}"))
        })
}
