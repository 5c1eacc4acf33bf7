//! When to read the configuration again: on SIGHUP, and when a file that it names has changed.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;

/// Files are replaced in several steps; the last of them counts.
const SETTLED: Duration = Duration::from_millis(300);

/// Events say at once that a file changed, but not where a link leads elsewhere, nor on every network's folder: so the files are
/// also looked at this often.
const LOOK: Duration = Duration::from_secs(30);

/// Watches the folders, not the files: a file that is replaced by a rename is another one, and a mounted secret is a link.
pub(super) struct Watch {
    files: Vec<PathBuf>,
    look: Duration,
    seen: [u8; 32],
    events: mpsc::Receiver<()>,
    _watcher: Option<RecommendedWatcher>,
}

impl Watch {
    pub(super) fn new(files: &[PathBuf]) -> Self {
        // One waiting event stands for all.
        let (told, events) = mpsc::channel(1);
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            if event.is_ok_and(|event| !matches!(event.kind, EventKind::Access(_))) {
                let _ = told.try_send(());
            }
        });
        let watcher = watcher.and_then(|mut watcher| {
            for folder in files
                .iter()
                .filter_map(|file| file.parent())
                .collect::<BTreeSet<&Path>>()
            {
                watcher.watch(folder, RecursiveMode::NonRecursive)?;
            }
            Ok(watcher)
        });
        if let Err(error) = &watcher {
            tracing::warn!(%error, "files are not watched: a change needs a SIGHUP");
        }
        Self {
            files: files.to_vec(),
            look: LOOK,
            seen: digest(files),
            events,
            _watcher: watcher.ok(),
        }
    }

    pub(super) fn is_of(&self, files: &[PathBuf]) -> bool {
        self.files == files
    }

    /// Returns when the content of a watched file is another one.
    pub(super) async fn changed(&mut self) {
        loop {
            match tokio::time::timeout(self.look, self.events.recv()).await {
                // Nothing tells of events.
                Ok(None) => tokio::time::sleep(self.look).await,
                Ok(Some(())) => tokio::time::sleep(SETTLED).await,
                Err(_) => {}
            }
            while self.events.try_recv().is_ok() {}
            let now = digest(&self.files);
            if now != self.seen {
                self.seen = now;
                return;
            }
        }
    }
}

fn digest(files: &[PathBuf]) -> [u8; 32] {
    let mut all = Sha256::new();
    for file in files {
        let content = std::fs::read(file)
            .map(|content| Sha256::digest(content).to_vec())
            .unwrap_or_default();
        all.update((content.len() as u64).to_le_bytes());
        all.update(content);
    }
    all.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_changed_file_is_noticed_and_a_touched_neighbour_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("mlgate.toml");
        std::fs::write(&file, "a").unwrap();
        let mut watch = Watch::new(std::slice::from_ref(&file));
        std::fs::write(folder.path().join("neighbour"), "b").unwrap();
        let quiet = tokio::time::timeout(Duration::from_millis(700), watch.changed()).await;
        assert!(quiet.is_err());
        std::fs::write(folder.path().join("new"), "c").unwrap();
        std::fs::rename(folder.path().join("new"), &file).unwrap();
        tokio::time::timeout(Duration::from_secs(10), watch.changed())
            .await
            .unwrap();
    }

    #[tokio::test]
    async fn what_a_link_leads_to_is_noticed_too() {
        let (folder, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (link, file) = (folder.path().join("cert.pem"), elsewhere.path().join("cert.pem"));
        std::fs::write(&file, "a").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        let mut watch = Watch::new(std::slice::from_ref(&link));
        watch.look = Duration::from_millis(50);
        std::fs::write(&file, "b").unwrap();
        tokio::time::timeout(Duration::from_secs(10), watch.changed())
            .await
            .unwrap();
    }
}
