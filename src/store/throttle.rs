//! How often somebody may do something: by address and by user, across all replicas.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::config::Rate;

use super::seal::digest;
use super::{Store, StoreError};

/// Why an attempt may not be made now.
#[derive(Debug)]
pub enum Throttled {
    /// 429 with this as `Retry-After`.
    Wait(Duration),
    StoreAway(StoreError),
}

impl From<StoreError> for Throttled {
    fn from(error: StoreError) -> Self {
        Self::StoreAway(error)
    }
}

/// One rate, once for each address (IPv6: /64 network) and once for each user.
pub struct Throttle {
    store: Arc<dyn Store>,
    /// Keeps the counts of one purpose apart from those of another.
    purpose: &'static str,
    rate: Rate,
}

impl Throttle {
    pub fn new(store: Arc<dyn Store>, purpose: &'static str, rate: Rate) -> Self {
        Self { store, purpose, rate }
    }

    /// Counts an attempt before it is made, so that a thousand at once get no further than ten in a row.
    /// `user` is the provider's canonical spelling: no other spelling of a name buys more guesses.
    ///
    /// # Errors
    /// `Wait` above the limit; `StoreAway` when nothing can be counted, for uncounted guesses are free.
    pub async fn admit(&self, address: IpAddr, provider: &str, user: &str) -> Result<(), Throttled> {
        // The address first: who is stopped by it does not lock the user out for everybody else.
        self.admit_address(address).await?;
        self.admit_user(provider, user).await
    }

    /// # Errors
    /// Like `admit`.
    pub async fn admit_address(&self, address: IpAddr) -> Result<(), Throttled> {
        self.count(&self.by_address(address)).await
    }

    /// # Errors
    /// Like `admit`.
    pub async fn admit_user(&self, provider: &str, user: &str) -> Result<(), Throttled> {
        self.count(&self.by_user(provider, user)).await
    }

    /// Takes an attempt back that was no guess, so that an office behind one address can sign in. Others' wrong guesses
    /// stay counted: signing in oneself resets nothing.
    pub async fn succeeded(&self, address: IpAddr, provider: &str, user: &str) {
        for key in [self.by_address(address), self.by_user(provider, user)] {
            if let Err(error) = self.store.uncount(&key).await {
                tracing::debug!(%error, "an attempt stays counted");
            }
        }
    }

    /// Likewise for what is counted by address alone.
    pub async fn address_succeeded(&self, address: IpAddr) {
        if let Err(error) = self.store.uncount(&self.by_address(address)).await {
            tracing::debug!(%error, "an attempt stays counted");
        }
    }

    async fn count(&self, key: &str) -> Result<(), Throttled> {
        let (count, left) = self.store.count(key, self.rate.per).await?;
        if count > u64::from(self.rate.count) {
            Err(Throttled::Wait(left))
        } else {
            Ok(())
        }
    }

    fn by_address(&self, address: IpAddr) -> String {
        let network = match address.to_canonical() {
            IpAddr::V4(address) => address.octets().to_vec(),
            // One subscriber has at least a /64 to choose addresses from.
            IpAddr::V6(address) => address.octets()[..8].to_vec(),
        };
        key("throttle address", &[self.purpose.as_bytes(), &network])
    }

    fn by_user(&self, provider: &str, user: &str) -> String {
        key(
            "throttle user",
            &[self.purpose.as_bytes(), provider.as_bytes(), user.as_bytes()],
        )
    }
}

fn key(domain: &str, fields: &[&[u8]]) -> String {
    format!("throttle:{}", hex::encode(&digest(domain, fields)[..16]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{ManualClock, Timestamp};
    use crate::store::MemoryStore;

    const WINDOW: Duration = Duration::from_secs(300);

    fn throttle() -> (Arc<ManualClock>, Throttle) {
        let clock = Arc::new(ManualClock::at(Timestamp::from_seconds(1000)));
        let store = Arc::new(MemoryStore::new(clock.clone()));
        (clock, Throttle::new(store, "test", Rate { count: 3, per: WINDOW }))
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[tokio::test]
    async fn guesses_from_one_address_are_stopped_until_the_window_ends() {
        let (clock, throttle) = throttle();
        for user in ["a", "b", "c"] {
            throttle.admit(address("10.0.0.1"), "local", user).await.unwrap();
        }
        clock.advance(Duration::from_secs(100));
        let stopped = throttle.admit(address("10.0.0.1"), "local", "d").await;
        assert!(matches!(stopped, Err(Throttled::Wait(left)) if left == Duration::from_secs(200)));
        throttle.admit(address("10.0.0.2"), "local", "d").await.unwrap();
        clock.advance(Duration::from_secs(200));
        throttle.admit(address("10.0.0.1"), "local", "d").await.unwrap();
    }

    #[tokio::test]
    async fn guesses_at_one_user_are_stopped_from_wherever_they_come() {
        let (_, throttle) = throttle();
        for host in 1..=3 {
            throttle
                .admit(address(&format!("10.0.0.{host}")), "local", "alice")
                .await
                .unwrap();
        }
        assert!(throttle.admit(address("10.0.0.4"), "local", "alice").await.is_err());
        throttle.admit(address("10.0.0.4"), "local", "bob").await.unwrap();
        throttle.admit(address("10.0.0.5"), "corp", "alice").await.unwrap();
    }

    #[tokio::test]
    async fn who_is_stopped_by_address_does_not_lock_the_user_out() {
        let (_, throttle) = throttle();
        for user in ["a", "b", "c", "alice", "alice", "alice", "alice"] {
            let _ = throttle.admit(address("10.0.0.1"), "local", user).await;
        }
        throttle.admit(address("10.0.0.2"), "local", "alice").await.unwrap();
    }

    #[tokio::test]
    async fn signing_in_is_no_guess_and_resets_none() {
        let (_, throttle) = throttle();
        for _ in 0..20 {
            throttle.admit(address("10.0.0.1"), "local", "alice").await.unwrap();
            throttle.succeeded(address("10.0.0.1"), "local", "alice").await;
        }
        for user in ["a", "b", "c"] {
            throttle.admit(address("10.0.0.1"), "local", user).await.unwrap();
        }
        throttle.succeeded(address("10.0.0.9"), "local", "mallory").await;
        assert!(throttle.admit(address("10.0.0.1"), "local", "d").await.is_err());
    }

    #[tokio::test]
    async fn one_subscriber_s_ipv6_addresses_count_as_one() {
        let (_, throttle) = throttle();
        for host in 1..=3 {
            throttle
                .admit(address(&format!("2001:db8:1:1::{host}")), "local", &format!("u{host}"))
                .await
                .unwrap();
        }
        assert!(
            throttle
                .admit(address("2001:db8:1:1:ffff::1"), "local", "x")
                .await
                .is_err()
        );
        throttle.admit(address("2001:db8:1:2::1"), "local", "y").await.unwrap();
        throttle.admit(address("::ffff:10.0.0.1"), "local", "z").await.unwrap();
    }
}
