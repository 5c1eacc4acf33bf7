//! The lock beside the credentials: who holds it may refresh and write. `flock` on Unix, which the Python package takes too.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::Path;

use super::credentials::private;

/// Held until it is dropped.
#[derive(Debug)]
pub(super) struct Lock(File);

impl Lock {
    /// `None` where another process holds it. The file stays, so that all lock the same one.
    pub(super) fn attempt(beside: &Path) -> io::Result<Option<Self>> {
        let mut name = beside.as_os_str().to_owned();
        name.push(".lock");
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let file = private(&mut options).open(name)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Self(file))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing would do, but not where a forked process holds the same open file.
        let _ = self.0.unlock();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("credentials.json");
        let first = Lock::attempt(&file).unwrap().unwrap();
        assert!(Lock::attempt(&file).unwrap().is_none());
        drop(first);
        assert!(Lock::attempt(&file).unwrap().is_some());
    }
}
