//! Randomness as an argument.

use std::sync::{Mutex, PoisonError};

use ring::rand::{SecureRandom, SystemRandom as RingRandom};
use zeroize::{Zeroize, Zeroizing};

pub trait Random: Send + Sync {
    /// Fills the whole buffer with bytes that nobody can predict.
    fn fill(&self, buffer: &mut [u8]);
}

impl dyn Random + '_ {
    pub fn bytes<const N: usize>(&self) -> [u8; N] {
        let mut buffer = [0; N];
        self.fill(&mut buffer);
        buffer
    }
}

/// Bytes that are fetched at once: a request needs some forty, and a call of the kernel for each costs more than they do.
const POOL: usize = 4096;

/// The operating system's generator. Small pieces come from a pool that it filled; each byte is given out once and wiped.
pub struct SystemRandom {
    source: RingRandom,
    pool: Mutex<Pool>,
}

struct Pool {
    bytes: Zeroizing<[u8; POOL]>,
    used: usize,
}

impl std::fmt::Debug for SystemRandom {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SystemRandom")
    }
}

impl SystemRandom {
    pub fn new() -> Self {
        Self {
            source: RingRandom::new(),
            pool: Mutex::new(Pool {
                bytes: Zeroizing::new([0; POOL]),
                used: POOL,
            }),
        }
    }

    fn ask(&self, buffer: &mut [u8]) {
        #[expect(
            clippy::expect_used,
            reason = "without randomness nothing here is safe; the kernel does not fail at this"
        )]
        self.source.fill(buffer).expect("the operating system gives randomness");
    }
}

impl Default for SystemRandom {
    fn default() -> Self {
        Self::new()
    }
}

impl Random for SystemRandom {
    fn fill(&self, buffer: &mut [u8]) {
        if buffer.len() > POOL {
            return self.ask(buffer);
        }
        let mut pool = self.pool.lock().unwrap_or_else(PoisonError::into_inner);
        if pool.used + buffer.len() > POOL {
            self.ask(&mut *pool.bytes);
            pool.used = 0;
        }
        let from = pool.used;
        pool.used += buffer.len();
        let given = &mut pool.bytes[from..from + buffer.len()];
        buffer.copy_from_slice(given);
        given.zeroize();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_bytes_are_given_twice_and_none_are_left_blank() {
        let random = SystemRandom::new();
        let mut seen = std::collections::HashSet::new();
        for length in [16, 24, 32].into_iter().cycle().take(1000) {
            let mut piece = vec![0; length];
            random.fill(&mut piece);
            assert!(piece[..16] != [0; 16] && seen.insert(piece[..16].to_vec()));
        }
        let mut large = vec![0; POOL + 1];
        random.fill(&mut large);
        assert!(large[POOL - 15..] != [0; 16]);
    }
}
