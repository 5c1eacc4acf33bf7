//! Where bytes rest: sessions, tokens, login attempts and counters, behind one small seam.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use thiserror::Error;
use tokio::sync::broadcast;

use crate::config::StoreKind;
use crate::domain::Clock;

pub mod memory;
pub mod redis;
pub mod seal;
pub mod shelf;
pub mod throttle;
pub mod vault;

pub use memory::MemoryStore;
pub use redis::RedisStore;
pub use seal::Sealer;
pub use shelf::Shelf;
pub use throttle::{Throttle, Throttled};
pub use vault::Vault;

#[derive(Debug, Error)]
pub enum StoreError {
    /// The store cannot be reached or does not answer in time (never longer than 2 s).
    #[error("the store cannot be reached: {0}")]
    Unavailable(String),
}

pub type Result<T> = std::result::Result<T, StoreError>;

/// The settings of a store that can never work; no secret in it.
#[derive(Debug, Error)]
#[error("the session store cannot be set up: {0}")]
pub struct BadStore(pub String);

/// Announcements that may wait for a slow reader before it has to forget everything.
const ANNOUNCEMENTS_KEPT: usize = 1024;

/// Keys are `namespace:hash`, printable ASCII, never a secret. Values are opaque (sealed by the caller).
/// `owner` is an index key: entries put with an owner can be listed by it. An owner `a/b` is listed under `a` too.
#[async_trait]
pub trait Store: Send + Sync {
    async fn get(&self, key: &str) -> Result<Option<Vec<u8>>>;
    /// Writes and sets the time to live; overwrites.
    async fn put(&self, key: &str, value: &[u8], ttl: Duration, owner: Option<&str>) -> Result<()>;
    /// Writes only where nothing stands yet; true when it wrote.
    async fn put_new(&self, key: &str, value: &[u8], ttl: Duration) -> Result<bool>;
    /// Writes only where a value stands that begins with `was` (empty: any value): an ended session cannot come back,
    /// and of two writers that read the same value one wins. True when it wrote.
    async fn replace(&self, key: &str, was: &[u8], value: &[u8], ttl: Duration, owner: Option<&str>) -> Result<bool>;
    /// Reads and deletes in one step: of many callers, one gets it. For entries without an owner.
    async fn take(&self, key: &str) -> Result<Option<Vec<u8>>>;
    /// Deletes, takes it out of its owner's index, and announces the key to all replicas. True when it stood there.
    async fn delete(&self, key: &str, owner: Option<&str>) -> Result<bool>;
    /// Live entries of an owner: (key, value).
    async fn list(&self, owner: &str) -> Result<Vec<(String, Vec<u8>)>>;
    /// How many live entries an owner has.
    async fn size(&self, owner: &str) -> Result<usize>;
    /// Adds one to a counter that ends `window` after its first count; the count and what is left of the window.
    async fn count(&self, key: &str, window: Duration) -> Result<(u64, Duration)>;
    /// Takes one back from a counter that still runs; never below zero.
    async fn uncount(&self, key: &str) -> Result<()>;
    /// Announces keys whose cached copies must go, to all replicas, this one included.
    async fn announce(&self, key: &str) -> Result<()>;
    /// Keys announced anywhere. A receiver that lags, or an empty key (sent when announcements may have been missed),
    /// means: forget everything cached.
    fn announcements(&self) -> broadcast::Receiver<String>;
    /// Is it there? For readiness and `check --connect`.
    async fn ping(&self) -> Result<()>;
}

/// The store that the configuration names. A Redis that is away is no error: it is waited for, request by request.
/// Must be called inside the runtime that outlives the store's users, for Redis' connections live there.
///
/// # Errors
/// When the URL or the CA file can never work.
pub fn connect(kind: &StoreKind, clock: Arc<dyn Clock>) -> std::result::Result<Arc<dyn Store>, BadStore> {
    Ok(match kind {
        StoreKind::Memory => Arc::new(MemoryStore::new(clock)),
        StoreKind::Redis { url, ca_file } => RedisStore::connect(url, ca_file.as_deref(), clock)?,
    })
}

/// The index keys that an owner's entries stand in: itself, and what is before its `/`.
fn indices(owner: &str) -> impl Iterator<Item = &str> {
    std::iter::once(owner).chain(owner.split_once('/').map(|(all, _)| all))
}
