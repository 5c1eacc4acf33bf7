//! Answers that were true a moment ago: bounded, ageing, one question in flight per key, and never a "no".

use std::hash::Hash;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use quick_cache::sync::Cache;
use tokio::time::timeout;

use crate::domain::{Clock, Timestamp};
use crate::mlflow::MlflowError;

/// How long one request waits for a look-up, the wait for somebody else's same question included.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

#[derive(Clone)]
struct Held<V> {
    value: V,
    until: Timestamp,
}

pub(super) struct Remembered<K, V> {
    held: Cache<K, Held<V>>,
    lifetime: Duration,
    clock: Arc<dyn Clock>,
    hits: AtomicU64,
    misses: AtomicU64,
}

/// Why there is nothing to remember.
enum Nothing {
    Absent,
    Failed(MlflowError),
}

impl<K: Hash + Eq + Clone, V: Clone> Remembered<K, V> {
    pub(super) fn new(entries: usize, lifetime: Duration, clock: Arc<dyn Clock>) -> Self {
        Self {
            held: Cache::new(entries),
            lifetime,
            clock,
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
        }
    }

    /// Answers that were held when they were wanted, and that were not.
    pub(super) fn counts(&self) -> (u64, u64) {
        (self.hits.load(Ordering::Relaxed), self.misses.load(Ordering::Relaxed))
    }

    /// What is held and not too old.
    pub(super) fn get(&self, key: &K) -> Option<V> {
        let now = self.clock.now();
        let held = self.held.get(key)?;
        if held.until > now {
            return Some(held.value);
        }
        self.held.remove_if(key, |held| held.until <= now);
        None
    }

    /// What is held, for one who would ask otherwise.
    pub(super) fn held(&self, key: &K) -> Option<V> {
        let held = self.get(key);
        if held.is_some() {
            self.hits.fetch_add(1, Ordering::Relaxed);
        }
        held
    }

    /// What is held, or what `ask` finds. Who finds somebody else asking waits; where that comes to nothing, asks anew.
    pub(super) async fn get_or_ask(
        &self,
        key: &K,
        ask: impl Future<Output = Result<Option<V>, MlflowError>>,
    ) -> Result<Option<V>, MlflowError> {
        if let Some(value) = self.held(key) {
            return Ok(Some(value));
        }
        self.misses.fetch_add(1, Ordering::Relaxed);
        let asked = async {
            match ask.await {
                Ok(Some(value)) => Ok(self.aged(value)),
                Ok(None) => Err(Nothing::Absent),
                Err(error) => Err(Nothing::Failed(error)),
            }
        };
        match timeout(LONGEST_WAIT, self.held.get_or_insert_async(key, asked)).await {
            Ok(Ok(held)) => Ok(Some(held.value)),
            Ok(Err(Nothing::Absent)) => Ok(None),
            Ok(Err(Nothing::Failed(error))) => Err(error),
            Err(_) => Err(MlflowError::Timeout),
        }
    }

    pub(super) fn learn(&self, key: K, value: V) {
        self.held.insert(key, self.aged(value));
    }

    pub(super) fn forget(&self, key: &K) {
        self.held.remove(key);
    }

    pub(super) fn clear(&self) {
        self.held.clear();
    }

    fn aged(&self, value: V) -> Held<V> {
        Held {
            value,
            until: self.clock.now().plus(self.lifetime),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use futures_util::FutureExt;
    use futures_util::future::join_all;

    use super::*;
    use crate::domain::ManualClock;

    fn remembered(clock: &Arc<ManualClock>) -> Remembered<String, u32> {
        Remembered::new(100, Duration::from_secs(30), clock.clone())
    }

    #[tokio::test]
    async fn many_who_ask_the_same_at_once_ask_the_upstream_once() {
        let clock = Arc::new(ManualClock::at(Timestamp::from_seconds(0)));
        let (cache, asked) = (remembered(&clock), Cell::new(0));
        let question = || async {
            cache
                .get_or_ask(&"a".to_owned(), async {
                    asked.set(asked.get() + 1);
                    tokio::task::yield_now().await;
                    Ok(Some(7))
                })
                .await
        };
        let answers = join_all((0..50).map(|_| question())).await;
        assert!(answers.into_iter().all(|answer| answer.unwrap() == Some(7)));
        assert_eq!(asked.get(), 1);
    }

    #[tokio::test]
    async fn an_answer_grows_old() {
        let clock = Arc::new(ManualClock::at(Timestamp::from_seconds(0)));
        let (cache, key) = (remembered(&clock), "a".to_owned());
        assert_eq!(cache.get_or_ask(&key, async { Ok(Some(1)) }).await.unwrap(), Some(1));
        clock.advance(Duration::from_secs(29));
        assert_eq!(cache.get_or_ask(&key, async { Ok(Some(2)) }).await.unwrap(), Some(1));
        clock.advance(Duration::from_secs(1));
        assert_eq!(cache.get_or_ask(&key, async { Ok(Some(2)) }).await.unwrap(), Some(2));
    }

    #[tokio::test]
    async fn neither_a_no_nor_a_failure_is_remembered() {
        let clock = Arc::new(ManualClock::at(Timestamp::from_seconds(0)));
        let (cache, key) = (remembered(&clock), "a".to_owned());
        assert_eq!(cache.get_or_ask(&key, async { Ok(None) }).await.unwrap(), None);
        let failed = cache.get_or_ask(&key, async { Err(MlflowError::Timeout) }).await;
        assert!(matches!(failed, Err(MlflowError::Timeout)));
        assert_eq!(cache.get_or_ask(&key, async { Ok(Some(3)) }).await.unwrap(), Some(3));
    }

    #[tokio::test]
    async fn what_is_forgotten_is_asked_again() {
        let clock = Arc::new(ManualClock::at(Timestamp::from_seconds(0)));
        let (cache, key) = (remembered(&clock), "a".to_owned());
        cache.learn(key.clone(), 1);
        assert_eq!(cache.get(&key), Some(1));
        cache.forget(&key);
        assert_eq!(cache.get_or_ask(&key, async { Ok(Some(2)) }).await.unwrap(), Some(2));
    }

    #[tokio::test]
    async fn who_waits_for_one_that_left_asks_himself() {
        let clock = Arc::new(ManualClock::at(Timestamp::from_seconds(0)));
        let (cache, key) = (remembered(&clock), "a".to_owned());
        let mut leaving = Box::pin(cache.get_or_ask(&key, std::future::pending()));
        assert!(leaving.as_mut().now_or_never().is_none());
        let mut waiting = Box::pin(cache.get_or_ask(&key, async { Ok(Some(2)) }));
        assert!(waiting.as_mut().now_or_never().is_none());
        drop(leaving);
        assert_eq!(waiting.await.unwrap(), Some(2));
    }
}
