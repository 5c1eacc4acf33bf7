//! Where bytes rest: sessions, tokens, login attempts and counters, behind one small seam.

use std::time::Duration;

use async_trait::async_trait;
use thiserror::Error;
use tokio::sync::broadcast;

pub mod memory;
pub mod redis;

#[derive(Debug, Error)]
pub enum StoreError {
    /// The store cannot be reached or does not answer in time (never longer than 2 s).
    #[error("the store cannot be reached: {0}")]
    Unavailable(String),
}

pub type Result<T> = std::result::Result<T, StoreError>;

/// Keys are `namespace:hash`, printable ASCII, never a secret. Values are opaque (sealed by the caller).
/// `owner` is an index key: entries put with an owner can be listed by it.
#[async_trait]
pub trait Store: Send + Sync {
    async fn get(&self, key: &str) -> Result<Option<Vec<u8>>>;
    /// Writes and sets the time to live; overwrites.
    async fn put(&self, key: &str, value: &[u8], ttl: Duration, owner: Option<&str>) -> Result<()>;
    /// Writes only where nothing stands yet; true when it wrote.
    async fn put_new(&self, key: &str, value: &[u8], ttl: Duration) -> Result<bool>;
    /// Writes only where something stands: an ended session cannot come back. True when it wrote.
    async fn replace(&self, key: &str, value: &[u8], ttl: Duration) -> Result<bool>;
    /// Reads and deletes in one step: of many callers, one gets it.
    async fn take(&self, key: &str) -> Result<Option<Vec<u8>>>;
    /// Deletes, takes it out of its owner's index, and announces the key to all replicas. True when it stood there.
    async fn delete(&self, key: &str, owner: Option<&str>) -> Result<bool>;
    /// Live entries of an owner: (key, value).
    async fn list(&self, owner: &str) -> Result<Vec<(String, Vec<u8>)>>;
    /// Adds one to a counter that ends `window` after its first count; the count and what is left of the window.
    async fn count(&self, key: &str, window: Duration) -> Result<(u64, Duration)>;
    /// Announces keys whose cached copies must go, to all replicas, this one included.
    async fn announce(&self, key: &str) -> Result<()>;
    /// Keys announced anywhere. A receiver that lags, or an empty key (sent when announcements may have been missed), means: forget everything cached.
    fn announcements(&self) -> broadcast::Receiver<String>;
    /// Is it there? For readiness and `check --connect`.
    async fn ping(&self) -> Result<()>;
}
