//! The store in this process: for one replica, and for tests.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::broadcast;

use super::{ANNOUNCEMENTS_KEPT, Result, Store, indices};
use crate::domain::{Clock, Timestamp};

/// Bounds of each namespace (what is before a key's `:`), so that a flood of one kind never pushes out another.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    pub entries: usize,
    pub bytes: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            entries: 200_000,
            bytes: 256 << 20,
        }
    }
}

pub struct MemoryStore {
    clock: Arc<dyn Clock>,
    bounds: Bounds,
    shelves: Mutex<Shelves>,
    announcements: broadcast::Sender<String>,
}

#[derive(Default)]
struct Shelves {
    by_namespace: HashMap<String, Shelf>,
    /// Index key to the keys of its entries.
    owners: BTreeMap<String, BTreeSet<Arc<str>>>,
}

#[derive(Default)]
struct Shelf {
    entries: HashMap<Arc<str>, Entry>,
    /// What ends first stands first: it goes when it ends, or when the shelf is full.
    ends: BTreeSet<(Timestamp, Arc<str>)>,
    bytes: usize,
}

struct Entry {
    value: Value,
    ends: Timestamp,
    owner: Option<String>,
}

enum Value {
    Bytes(Vec<u8>),
    Count(u64),
}

impl Entry {
    fn size(&self) -> usize {
        match &self.value {
            Value::Bytes(bytes) => bytes.len(),
            Value::Count(_) => 8,
        }
    }

    fn bytes(&self) -> Option<&Vec<u8>> {
        match &self.value {
            Value::Bytes(bytes) => Some(bytes),
            Value::Count(_) => None,
        }
    }
}

impl MemoryStore {
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self::bounded(clock, Bounds::default())
    }

    pub fn bounded(clock: Arc<dyn Clock>, bounds: Bounds) -> Self {
        Self {
            clock,
            bounds,
            shelves: Mutex::default(),
            announcements: broadcast::Sender::new(ANNOUNCEMENTS_KEPT),
        }
    }

    /// The shelves without what has ended by now.
    fn open(&self, key: &str) -> (MutexGuard<'_, Shelves>, Timestamp) {
        let now = self.clock.now();
        let mut shelves = self.shelves.lock().unwrap_or_else(PoisonError::into_inner);
        shelves.drop_ended(namespace(key), now);
        (shelves, now)
    }
}

fn namespace(key: &str) -> &str {
    key.split_once(':').map_or(key, |(namespace, _)| namespace)
}

impl Shelves {
    fn entry(&self, key: &str) -> Option<&Entry> {
        self.by_namespace.get(namespace(key))?.entries.get(key)
    }

    fn insert(&mut self, key: &str, entry: Entry, bounds: Bounds) {
        self.remove(key);
        let key: Arc<str> = key.into();
        for index in entry.owner.iter().flat_map(|owner| indices(owner)) {
            self.owners
                .entry(index.to_owned())
                .or_default()
                .insert(Arc::clone(&key));
        }
        let shelf = self.by_namespace.entry(namespace(&key).to_owned()).or_default();
        shelf.bytes += key.len() + entry.size();
        shelf.ends.insert((entry.ends, Arc::clone(&key)));
        shelf.entries.insert(Arc::clone(&key), entry);
        while let Some(first) = self
            .by_namespace
            .get(namespace(&key))
            .and_then(|shelf| shelf.first_to_go(&key, bounds))
        {
            self.remove(&first);
        }
    }

    fn remove(&mut self, key: &str) -> Option<Entry> {
        let shelf = self.by_namespace.get_mut(namespace(key))?;
        let (key, entry) = shelf.entries.remove_entry(key)?;
        shelf.bytes = shelf.bytes.saturating_sub(key.len() + entry.size());
        shelf.ends.remove(&(entry.ends, Arc::clone(&key)));
        for index in entry.owner.iter().flat_map(|owner| indices(owner)) {
            if let Some(keys) = self.owners.get_mut(index) {
                keys.remove(&key);
                if keys.is_empty() {
                    self.owners.remove(index);
                }
            }
        }
        Some(entry)
    }

    fn drop_ended(&mut self, namespace: &str, now: Timestamp) {
        while let Some(key) = self
            .by_namespace
            .get(namespace)
            .and_then(|shelf| shelf.first_ended(now))
        {
            self.remove(&key);
        }
    }
}

impl Shelf {
    fn first_ended(&self, now: Timestamp) -> Option<Arc<str>> {
        self.ends
            .first()
            .filter(|(ends, _)| *ends <= now)
            .map(|(_, key)| Arc::clone(key))
    }

    /// What must make room: what ends soonest, but never `newest`.
    fn first_to_go(&self, newest: &str, bounds: Bounds) -> Option<Arc<str>> {
        let full = self.entries.len() > bounds.entries || self.bytes > bounds.bytes;
        full.then(|| {
            self.ends
                .iter()
                .map(|(_, key)| key)
                .find(|key| &***key != newest)
                .map(Arc::clone)
        })
        .flatten()
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn get(&self, key: &str) -> Result<Option<Vec<u8>>> {
        let (shelves, _) = self.open(key);
        Ok(shelves.entry(key).and_then(Entry::bytes).cloned())
    }

    async fn put(&self, key: &str, value: &[u8], ttl: Duration, owner: Option<&str>) -> Result<()> {
        let (mut shelves, now) = self.open(key);
        let entry = Entry {
            value: Value::Bytes(value.to_vec()),
            ends: now.plus(ttl),
            owner: owner.map(str::to_owned),
        };
        shelves.insert(key, entry, self.bounds);
        Ok(())
    }

    async fn put_new(&self, key: &str, value: &[u8], ttl: Duration) -> Result<bool> {
        let (mut shelves, now) = self.open(key);
        if shelves.entry(key).is_some() {
            return Ok(false);
        }
        let entry = Entry {
            value: Value::Bytes(value.to_vec()),
            ends: now.plus(ttl),
            owner: None,
        };
        shelves.insert(key, entry, self.bounds);
        Ok(true)
    }

    async fn replace(&self, key: &str, was: &[u8], value: &[u8], ttl: Duration, owner: Option<&str>) -> Result<bool> {
        let (mut shelves, now) = self.open(key);
        if !shelves
            .entry(key)
            .and_then(Entry::bytes)
            .is_some_and(|bytes| bytes.starts_with(was))
        {
            return Ok(false);
        }
        let entry = Entry {
            value: Value::Bytes(value.to_vec()),
            ends: now.plus(ttl),
            owner: owner.map(str::to_owned),
        };
        shelves.insert(key, entry, self.bounds);
        Ok(true)
    }

    async fn take(&self, key: &str) -> Result<Option<Vec<u8>>> {
        let (mut shelves, _) = self.open(key);
        Ok(shelves.remove(key).and_then(|entry| match entry.value {
            Value::Bytes(bytes) => Some(bytes),
            Value::Count(_) => None,
        }))
    }

    async fn delete(&self, key: &str, _owner: Option<&str>) -> Result<bool> {
        let stood = self.open(key).0.remove(key).is_some();
        self.announce(key).await?;
        Ok(stood)
    }

    async fn list(&self, owner: &str) -> Result<Vec<(String, Vec<u8>)>> {
        let now = self.clock.now();
        let shelves = self.shelves.lock().unwrap_or_else(PoisonError::into_inner);
        let keys = shelves.owners.get(owner).into_iter().flatten();
        Ok(keys
            .filter_map(|key| {
                let entry = shelves.entry(key).filter(|entry| entry.ends > now)?;
                Some((key.to_string(), entry.bytes()?.clone()))
            })
            .collect())
    }

    async fn size(&self, owner: &str) -> Result<usize> {
        let now = self.clock.now();
        let shelves = self.shelves.lock().unwrap_or_else(PoisonError::into_inner);
        let keys = shelves.owners.get(owner).into_iter().flatten();
        Ok(keys
            .filter(|key| shelves.entry(key).is_some_and(|entry| entry.ends > now))
            .count())
    }

    async fn count(&self, key: &str, window: Duration) -> Result<(u64, Duration)> {
        let (mut shelves, now) = self.open(key);
        let (before, ends) = match shelves.entry(key) {
            Some(Entry {
                value: Value::Count(count),
                ends,
                ..
            }) => (*count, *ends),
            _ => (0, now.plus(window)),
        };
        let count = before.saturating_add(1);
        shelves.insert(
            key,
            Entry {
                value: Value::Count(count),
                ends,
                owner: None,
            },
            self.bounds,
        );
        Ok((count, ends.since(now)))
    }

    async fn uncount(&self, key: &str) -> Result<()> {
        let (mut shelves, _) = self.open(key);
        let shelf = shelves.by_namespace.get_mut(namespace(key));
        if let Some(Entry {
            value: Value::Count(count),
            ..
        }) = shelf.and_then(|shelf| shelf.entries.get_mut(key))
        {
            *count = count.saturating_sub(1);
        }
        Ok(())
    }

    async fn announce(&self, key: &str) -> Result<()> {
        // No receiver is no error: nobody has anything cached.
        let _ = self.announcements.send(key.to_owned());
        Ok(())
    }

    fn announcements(&self) -> broadcast::Receiver<String> {
        self.announcements.subscribe()
    }

    async fn ping(&self) -> Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ManualClock;

    fn store(entries: usize, bytes: usize) -> (Arc<ManualClock>, MemoryStore) {
        let clock = Arc::new(ManualClock::at(Timestamp::from_seconds(1000)));
        (
            Arc::clone(&clock),
            MemoryStore::bounded(clock, Bounds { entries, bytes }),
        )
    }

    const MINUTE: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn entries_end_with_their_time_and_leave_nothing_behind() {
        let (clock, store) = store(10, 1000);
        store
            .put("session:a", b"1", MINUTE, Some("session/alice"))
            .await
            .unwrap();
        clock.advance(MINUTE - Duration::from_micros(1));
        assert!(store.get("session:a").await.unwrap().is_some());
        clock.advance(Duration::from_micros(1));
        assert!(store.list("session/alice").await.unwrap().is_empty());
        assert!(store.get("session:a").await.unwrap().is_none());
        let shelves = store.shelves.lock().unwrap();
        assert!(shelves.owners.is_empty());
        assert_eq!(shelves.by_namespace["session"].bytes, 0);
    }

    #[tokio::test]
    async fn a_counter_ends_a_window_after_its_first_count() {
        let (clock, store) = store(10, 1000);
        assert_eq!(store.count("throttle:a", MINUTE).await.unwrap(), (1, MINUTE));
        clock.advance(MINUTE / 2);
        assert_eq!(store.count("throttle:a", MINUTE).await.unwrap(), (2, MINUTE / 2));
        clock.advance(MINUTE / 2);
        assert_eq!(store.count("throttle:a", MINUTE).await.unwrap(), (1, MINUTE));
    }

    #[tokio::test]
    async fn a_full_namespace_drops_what_ends_first_and_leaves_others_alone() {
        let (_, store) = store(2, 1000);
        store.put("session:a", b"1", MINUTE, None).await.unwrap();
        store.put("attempt:b", b"1", MINUTE * 3, None).await.unwrap();
        store.put("attempt:c", b"1", MINUTE * 2, None).await.unwrap();
        store.put("attempt:d", b"1", MINUTE, None).await.unwrap();
        assert!(store.get("session:a").await.unwrap().is_some());
        assert!(store.get("attempt:b").await.unwrap().is_some());
        assert!(
            store.get("attempt:c").await.unwrap().is_none(),
            "it ended first of those before"
        );
        assert!(
            store.get("attempt:d").await.unwrap().is_some(),
            "the newest is always kept"
        );
    }

    #[tokio::test]
    async fn bytes_are_bounded_too() {
        let (_, store) = store(100, 50);
        for name in ["a", "b", "c", "d"] {
            store.put(&format!("x:{name}"), &[0; 20], MINUTE, None).await.unwrap();
        }
        assert!(store.shelves.lock().unwrap().by_namespace["x"].bytes <= 50);
        assert!(store.get("x:d").await.unwrap().is_some());
    }
}
