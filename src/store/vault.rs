//! Sealed records of one kind in the store, with a bounded cache in front that announcements keep honest.

use std::fmt;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use quick_cache::Weighter;
use quick_cache::sync::Cache;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::TryRecvError;

use super::seal::{STAMP_LEN, Sealer, digest, stamp};
use super::{Result, Store};
use crate::domain::{Clock, Identity, Timestamp};

/// How long a record is believed without asking the store. Announcements are faster; this holds when they are lost, and
/// leaves room below the 5 s within which an end takes effect everywhere.
const FRESH: Duration = Duration::from_secs(2);
/// Roughly 20,000 sessions.
const CACHE_BYTES: u64 = 32 << 20;
/// How long one recheck may take before another replica may begin it.
const CLAIM: Duration = Duration::from_secs(30);
/// Writers that collide on one record read it again; more than this many in a row is no accident.
const UPDATE_TRIES: usize = 16;

/// Something that is kept sealed under the hash of a secret and belongs to an identity.
pub trait Record: Clone + Serialize + DeserializeOwned + Send + Sync {
    /// Namespace of its keys, purpose of its seals, root of its index: no two kinds share it.
    const KIND: &'static str;
    fn identity(&self) -> &Identity;
}

/// The public name of a record: the first 128 bits of a SHA-256 of its secret. Shown in lists and in the trail; finding
/// a secret that fits one takes 2^128 tries.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Id([u8; 16]);

impl Id {
    pub fn of(kind: &str, secret: &[u8]) -> Self {
        let mut id = [0; 16];
        id.copy_from_slice(&digest(kind, &[secret])[..16]);
        Self(id)
    }

    /// A name that was chosen at random, for a record whose secret is kept as a hash inside of it.
    pub const fn new(id: [u8; 16]) -> Self {
        Self(id)
    }

    /// 32 lower-case hex digits, and nothing else.
    pub fn parse(text: &str) -> Option<Self> {
        let mut id = [0; 16];
        hex::decode_to_slice(text, &mut id).ok()?;
        text.bytes().all(|byte| !byte.is_ascii_uppercase()).then_some(Self(id))
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

/// What becomes of a record that was looked at.
pub enum Next<R, T> {
    /// It stays as it is.
    Keep(T),
    /// This is it from now on, for so long.
    Become(R, Duration, T),
}

/// A record as it was last read, shared by all requests that use it.
pub struct Entry<R> {
    record: Arc<R>,
    stamp: [u8; STAMP_LEN],
    /// Microseconds: when the store last said that it stands.
    confirmed: AtomicI64,
    /// Microseconds: when a request last used it here.
    used: AtomicI64,
    /// Microseconds: when a request last tried to write down that it is in use.
    tried: AtomicI64,
    weight: u64,
}

impl<R> Entry<R> {
    pub fn record(&self) -> &Arc<R> {
        &self.record
    }

    pub fn last_used(&self) -> Timestamp {
        Timestamp::from_micros(self.used.load(Ordering::Relaxed))
    }

    pub fn use_at(&self, now: Timestamp) {
        self.used.fetch_max(now.micros(), Ordering::Relaxed);
    }

    /// Whether to write down that the record is in use, which was last written at `written`: yes for one caller in each
    /// `interval`, whether its write succeeds or not.
    pub fn take_turn(&self, now: Timestamp, written: Timestamp, interval: Duration) -> bool {
        let tried = self.tried.load(Ordering::Relaxed);
        now.since(written) >= interval
            && now.since(Timestamp::from_micros(tried)) >= interval
            && self
                .tried
                .compare_exchange(tried, now.micros(), Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
    }
}

#[derive(Clone)]
struct ByWeight;

impl<R> Weighter<Id, Arc<Entry<R>>> for ByWeight {
    fn weight(&self, _: &Id, entry: &Arc<Entry<R>>) -> u64 {
        entry.weight
    }
}

pub struct Vault<R> {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    sealer: Sealer,
    /// How long after the store's last word a record is used while the store is away.
    outage_grace: Duration,
    cache: Cache<Id, Arc<Entry<R>>, ByWeight>,
    announcements: Mutex<broadcast::Receiver<String>>,
    /// Microseconds: what was confirmed before must be confirmed again.
    doubtful_before: AtomicI64,
    /// Counts ends and changes that were announced: a read that began before one is not cached.
    heard: AtomicU64,
}

impl<R: Record> Vault<R> {
    pub fn new(store: Arc<dyn Store>, clock: Arc<dyn Clock>, sealer: Sealer, outage_grace: Duration) -> Self {
        let announcements = Mutex::new(store.announcements());
        Self {
            store,
            clock,
            sealer,
            outage_grace,
            cache: Cache::with_weighter(16_384, CACHE_BYTES, ByWeight),
            announcements,
            doubtful_before: AtomicI64::new(0),
            heard: AtomicU64::new(0),
        }
    }

    /// The record behind a name; from the cache where that is fresh, or where the store is away and it was seen lately.
    ///
    /// # Errors
    /// When the store is away and the record was not seen within the grace.
    pub async fn find(&self, id: Id) -> Result<Option<Arc<Entry<R>>>> {
        self.hear();
        let now = self.clock.now();
        let cached = self.cache.get(&id);
        if let Some(entry) = &cached
            && self.is_fresh(entry, now)
        {
            return Ok(cached);
        }
        let heard = self.heard.load(Ordering::SeqCst);
        match (self.store.get(&key::<R>(id)).await, cached) {
            (Ok(Some(sealed)), Some(entry)) if entry.stamp == stamp(&sealed) => {
                entry.confirmed.store(now.micros(), Ordering::Relaxed);
                Ok(Some(entry))
            }
            (Ok(Some(sealed)), before) => {
                let Some(record) = self.open(id, &sealed) else {
                    self.cache.remove(&id);
                    return Ok(None);
                };
                let used = before.map_or(0, |entry| entry.last_used().micros());
                Ok(Some(self.keep(id, record, &sealed, used, now, heard)))
            }
            (Ok(None), _) => {
                self.cache.remove(&id);
                Ok(None)
            }
            (Err(_), Some(entry)) if self.confirmed_age(&entry, now) <= self.outage_grace => Ok(Some(entry)),
            (Err(error), _) => Err(error),
        }
    }

    /// The record as the store has it now.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn read(&self, id: Id) -> Result<Option<R>> {
        Ok(self
            .store
            .get(&key::<R>(id))
            .await?
            .and_then(|sealed| self.open(id, &sealed)))
    }

    /// # Errors
    /// When the store is away.
    pub async fn put(&self, id: Id, record: R, ttl: Duration) -> Result<Arc<R>> {
        let (now, heard) = (self.clock.now(), self.heard.load(Ordering::SeqCst));
        let sealed = self.seal(id, &record);
        self.store
            .put(&key::<R>(id), &sealed, ttl, Some(&owner(&record)))
            .await?;
        Ok(Arc::clone(
            &self.keep(id, record, &sealed, now.micros(), now, heard).record,
        ))
    }

    /// Writes over the very version that `entry` is; false when it has been changed or ended since.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn replace(&self, id: Id, entry: &Entry<R>, record: R, ttl: Duration) -> Result<bool> {
        let (now, heard) = (self.clock.now(), self.heard.load(Ordering::SeqCst));
        let sealed = self.seal(id, &record);
        let wrote = self
            .store
            .replace(&key::<R>(id), &entry.stamp, &sealed, ttl, Some(&owner(&record)))
            .await?;
        if wrote {
            self.keep(id, record, &sealed, entry.last_used().micros(), now, heard);
        } else {
            self.cache.remove(&id);
        }
        Ok(wrote)
    }

    /// Changes a record whatever others write meanwhile, and tells all replicas; false when it has ended.
    /// `change` gives the new record and its time to live.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn update(&self, id: Id, change: impl Fn(R) -> (R, Duration)) -> Result<bool> {
        let written = self.decide(id, |was| {
            let (record, ttl) = change(was);
            Next::Become(record, ttl, ())
        });
        Ok(written.await?.is_some())
    }

    /// Looks at a record and may change it, in one step for all replicas: of many at once, each decides by what the one
    /// before it left. `None` when it has ended.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn decide<T>(&self, id: Id, decide: impl Fn(R) -> Next<R, T>) -> Result<Option<T>> {
        let key = key::<R>(id);
        for _ in 0..UPDATE_TRIES {
            let Some(was) = self.store.get(&key).await? else {
                return Ok(None);
            };
            let Some(record) = self.open(id, &was) else {
                return Ok(None);
            };
            let (record, ttl, told) = match decide(record) {
                Next::Keep(told) => return Ok(Some(told)),
                Next::Become(record, ttl, told) => (record, ttl, told),
            };
            let sealed = self.seal(id, &record);
            if self
                .store
                .replace(&key, stamp(&was), &sealed, ttl, Some(&owner(&record)))
                .await?
            {
                self.forget(id);
                self.store.announce(&key).await?;
                return Ok(Some(told));
            }
        }
        Err(super::StoreError::Unavailable("too many writers on one record".into()))
    }

    /// Ends a record, everywhere; what it was, for the one caller that ended it.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn remove(&self, id: Id) -> Result<Option<R>> {
        let record = self.read(id).await?;
        let owner = record.as_ref().map(owner);
        let stood = self.store.delete(&key::<R>(id), owner.as_deref()).await?;
        self.forget(id);
        Ok(record.filter(|_| stood))
    }

    /// How many there are.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn size(&self) -> Result<usize> {
        self.store.size(R::KIND).await
    }

    /// All records, or those of one `(provider, user)`.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn list(&self, user: Option<(&str, &str)>) -> Result<Vec<(Id, R)>> {
        let index = user.map_or(R::KIND.to_owned(), |(provider, user)| owner_of::<R>(provider, user));
        let entries = self.store.list(&index).await?;
        Ok(entries
            .iter()
            .filter_map(|(key, sealed)| {
                let id = id_of::<R>(key)?;
                Some((id, self.open(id, sealed)?))
            })
            .collect())
    }

    /// The right to ask the provider about a record: of all requests and replicas one has it, until it is given back
    /// or half a minute has gone.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn claim(&self, id: Id) -> Result<bool> {
        self.store.put_new(&claim_key::<R>(id), b"1", CLAIM).await
    }

    /// # Errors
    /// When the store is away.
    pub async fn release(&self, id: Id) -> Result<()> {
        self.store.take(&claim_key::<R>(id)).await.map(drop)
    }

    /// Applies what was announced since the last call. Whoever finds another at it goes on: the other is nearly done.
    fn hear(&self) {
        let Ok(mut announcements) = self.announcements.try_lock() else {
            return;
        };
        loop {
            match announcements.try_recv() {
                Ok(key) if key.is_empty() => self.doubt_all(),
                Ok(key) => {
                    if let Some(id) = id_of::<R>(&key) {
                        self.forget(id);
                    }
                }
                Err(TryRecvError::Lagged(_)) => self.doubt_all(),
                Err(TryRecvError::Empty | TryRecvError::Closed) => return,
            }
        }
    }

    /// Everything must be confirmed before it is used again, but stays at hand should the store go away right now.
    fn doubt_all(&self) {
        self.doubtful_before
            .store(self.clock.now().micros().saturating_add(1), Ordering::SeqCst);
    }

    fn forget(&self, id: Id) {
        // INVARIANT: counted before it is removed, for `keep` inserts before it looks at the count.
        self.heard.fetch_add(1, Ordering::SeqCst);
        self.cache.remove(&id);
    }

    fn keep(&self, id: Id, record: R, sealed: &[u8], used: i64, now: Timestamp, heard: u64) -> Arc<Entry<R>> {
        let mut stamp = [0; STAMP_LEN];
        sealed.iter().zip(&mut stamp).for_each(|(from, to)| *to = *from);
        let entry = Arc::new(Entry {
            record: Arc::new(record),
            stamp,
            confirmed: AtomicI64::new(now.micros()),
            used: AtomicI64::new(used),
            tried: AtomicI64::new(0),
            // JSON in memory takes about twice its text.
            weight: 2 * sealed.len() as u64 + 512,
        });
        self.cache.insert(id, Arc::clone(&entry));
        self.hear();
        if self.heard.load(Ordering::SeqCst) != heard {
            self.cache.remove(&id);
        }
        entry
    }

    fn is_fresh(&self, entry: &Entry<R>, now: Timestamp) -> bool {
        let confirmed = entry.confirmed.load(Ordering::Relaxed);
        confirmed <= now.micros()
            && confirmed >= self.doubtful_before.load(Ordering::SeqCst)
            && self.confirmed_age(entry, now) <= FRESH
    }

    fn confirmed_age(&self, entry: &Entry<R>, now: Timestamp) -> Duration {
        now.since(Timestamp::from_micros(entry.confirmed.load(Ordering::Relaxed)))
    }

    fn seal(&self, id: Id, record: &R) -> Vec<u8> {
        // A record is plain data, so that writing it cannot fail; were it to, nothing would open.
        let plain = serde_json::to_vec(record).unwrap_or_default();
        self.sealer.seal(R::KIND, &key::<R>(id), &plain)
    }

    fn open(&self, id: Id, sealed: &[u8]) -> Option<R> {
        let plain = self.sealer.open(R::KIND, &key::<R>(id), sealed)?;
        serde_json::from_slice(&plain).ok()
    }
}

fn key<R: Record>(id: Id) -> String {
    format!("{}:{id}", R::KIND)
}

fn claim_key<R: Record>(id: Id) -> String {
    format!("recheck:{}-{id}", R::KIND)
}

fn id_of<R: Record>(key: &str) -> Option<Id> {
    Id::parse(key.strip_prefix(R::KIND)?.strip_prefix(':')?)
}

fn owner<R: Record>(record: &R) -> String {
    let identity = record.identity();
    owner_of::<R>(&identity.provider, &identity.user)
}

fn owner_of<R: Record>(provider: &str, user: &str) -> String {
    let hash = digest("mlgate owner", &[provider.as_bytes(), user.as_bytes()]);
    format!("{}/{}", R::KIND, hex::encode(&hash[..16]))
}
