//! Sealed values of one kind that end by themselves: codes, attempts and the like, each step of which is taken once.

use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::seal::{Sealer, digest, stamp};
use super::{Result, Store, StoreError};

/// Writers that collide on one value read it again; more than this many in a row is no accident.
const TRIES: usize = 16;

pub struct Shelf<T> {
    store: Arc<dyn Store>,
    sealer: Arc<Sealer>,
    /// Namespace of its keys and purpose of its seals: no two kinds share it.
    kind: &'static str,
    values: PhantomData<fn() -> T>,
}

/// What becomes of a value that was looked at.
pub enum Then<T, A> {
    Keep(A),
    /// This stands there from now on, for so long.
    Put(T, Duration, A),
}

impl<T: Serialize + DeserializeOwned> Shelf<T> {
    pub fn new(kind: &'static str, store: Arc<dyn Store>, sealer: Arc<Sealer>) -> Self {
        Self {
            store,
            sealer,
            kind,
            values: PhantomData,
        }
    }

    /// Puts a value where nothing stands yet; false where something does.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn put_new(&self, name: &[u8], value: &T, ttl: Duration) -> Result<bool> {
        let key = self.key(name);
        let sealed = self.seal(&key, value)?;
        self.store.put_new(&key, &sealed, ttl).await
    }

    /// # Errors
    /// When the store is away.
    pub async fn get(&self, name: &[u8]) -> Result<Option<T>> {
        let key = self.key(name);
        let sealed = self.store.get(&key).await?;
        Ok(sealed.and_then(|sealed| self.open(&key, &sealed)))
    }

    /// Looks at a value and may change it, in one step for all replicas: of many at once, each decides by what the one
    /// before it left. `None` where there is none.
    ///
    /// # Errors
    /// When the store is away, or too many write the same value at once.
    pub async fn decide<A>(&self, name: &[u8], decide: impl Fn(T) -> Then<T, A>) -> Result<Option<A>> {
        let key = self.key(name);
        for _ in 0..TRIES {
            let Some(was) = self.store.get(&key).await? else {
                return Ok(None);
            };
            let Some(value) = self.open(&key, &was) else {
                return Ok(None);
            };
            let (value, ttl, told) = match decide(value) {
                Then::Keep(told) => return Ok(Some(told)),
                Then::Put(value, ttl, told) => (value, ttl, told),
            };
            let sealed = self.seal(&key, &value)?;
            if self.store.replace(&key, stamp(&was), &sealed, ttl, None).await? {
                return Ok(Some(told));
            }
        }
        Err(StoreError::Unavailable("too many writers on one value".into()))
    }

    /// # Errors
    /// When the store is away.
    pub async fn remove(&self, name: &[u8]) -> Result<()> {
        self.store.take(&self.key(name)).await.map(drop)
    }

    /// A hash: names may be secrets.
    fn key(&self, name: &[u8]) -> String {
        format!("{}:{}", self.kind, hex::encode(&digest(self.kind, &[name])[..16]))
    }

    fn seal(&self, key: &str, value: &T) -> Result<Vec<u8>> {
        let plain = serde_json::to_vec(value).map_err(|error| StoreError::Unavailable(error.to_string()))?;
        Ok(self.sealer.seal(self.kind, key, &plain))
    }

    fn open(&self, key: &str, sealed: &[u8]) -> Option<T> {
        let plain = self.sealer.open(self.kind, key, sealed)?;
        serde_json::from_slice(&plain).ok()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::future::join_all;

    use super::*;
    use crate::domain::{ManualClock, SystemRandom, Timestamp};
    use crate::store::MemoryStore;

    const MINUTE: Duration = Duration::from_secs(60);

    fn shelf() -> (Arc<ManualClock>, Shelf<u32>) {
        let clock = Arc::new(ManualClock::at(Timestamp::from_seconds(1000)));
        let store = Arc::new(MemoryStore::new(clock.clone()));
        let sealer = Arc::new(Sealer::new(&[[1; 32]], Arc::new(SystemRandom::new())));
        (clock, Shelf::new("test", store, sealer))
    }

    #[tokio::test]
    async fn a_value_stands_once_and_ends_by_itself() {
        let (clock, shelf) = shelf();
        assert!(shelf.put_new(b"a", &1, MINUTE).await.unwrap());
        assert!(!shelf.put_new(b"a", &2, MINUTE).await.unwrap());
        assert_eq!(shelf.get(b"a").await.unwrap(), Some(1));
        assert_eq!(shelf.get(b"b").await.unwrap(), None);
        clock.advance(MINUTE);
        assert_eq!(shelf.get(b"a").await.unwrap(), None);
        assert!(shelf.decide(b"a", |_| Then::Keep(())).await.unwrap().is_none());
    }

    #[tokio::test]
    async fn of_many_at_once_each_sees_what_the_one_before_it_left() {
        let (_, shelf) = shelf();
        shelf.put_new(b"a", &0, MINUTE).await.unwrap();
        let all = (0..100).map(|_| {
            shelf.decide(b"a", |was| match was {
                0 => Then::Put(1, MINUTE, true),
                _ => Then::Keep(false),
            })
        });
        let won: Vec<bool> = join_all(all)
            .await
            .into_iter()
            .filter_map(|told| told.unwrap())
            .collect();
        assert_eq!((won.len(), won.iter().filter(|won| **won).count()), (100, 1));
    }
}
