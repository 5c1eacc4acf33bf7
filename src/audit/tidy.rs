//! Packs what was rotated away and deletes what is too old, on a thread that gives way to everything else.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use thread_priority::{
    NormalThreadSchedulePolicy, ThreadPriority, ThreadSchedulePolicy, set_thread_priority_and_policy, thread_native_id,
};

use crate::config;

use super::files;

/// What runs only where nothing else wants to (`SCHED_IDLE`): no request waits for a file to be packed.
const GIVES_WAY: ThreadSchedulePolicy = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Idle);

/// Dropping it leaves a file that is being packed as it was: the next start packs it.
pub(super) struct Tidier {
    asked: Option<Sender<()>>,
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Tidier {
    /// Looks once at what an earlier run left behind, then whenever it is asked.
    pub(super) fn start(config: &config::Audit) -> Self {
        let (asked, orders) = mpsc::channel();
        let ended = Arc::<AtomicBool>::default();
        let work = Work {
            ended: ended.clone(),
            file: config.file.clone(),
            keep: config.keep,
        };
        let thread = thread::Builder::new()
            .name("audit-tidy".to_owned())
            .spawn(move || work.run(&orders))
            .inspect_err(|error| tracing::warn!(%error, "rotated trail files are not packed"))
            .ok();
        let tidier = Self {
            asked: Some(asked),
            ended,
            thread,
        };
        tidier.ask();
        tidier
    }

    pub(super) fn ask(&self) {
        if let Some(asked) = &self.asked {
            // Without a thread nobody takes it, and that was said.
            let _ = asked.send(());
        }
    }
}

impl Drop for Tidier {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        self.asked = None;
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("packing rotated trail files ended badly");
        }
    }
}

struct Work {
    file: PathBuf,
    keep: Duration,
    ended: Arc<AtomicBool>,
}

impl Work {
    fn run(&self, orders: &Receiver<()>) {
        if let Err(error) = set_thread_priority_and_policy(thread_native_id(), ThreadPriority::Min, GIVES_WAY) {
            tracing::debug!(?error, "packing runs at the usual priority");
        }
        while orders.recv().is_ok() {
            // One look does for all who asked.
            while orders.try_recv().is_ok() {}
            let has_ended = || self.ended.load(Ordering::Relaxed);
            for path in files::rotated(&self.file) {
                if path.extension().is_some_and(|end| end == "gz") {
                    continue;
                }
                match files::pack(&path, has_ended) {
                    Ok(()) => {}
                    Err(_) if has_ended() => return,
                    Err(error) => tracing::warn!(%error, "a rotated trail file cannot be packed"),
                }
            }
            files::delete_old(&self.file, self.keep);
        }
    }
}
