//! Randomness as an argument.

use ring::rand::{SecureRandom, SystemRandom as RingRandom};

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

/// The operating system's generator.
#[derive(Debug)]
pub struct SystemRandom(RingRandom);

impl SystemRandom {
    pub fn new() -> Self {
        Self(RingRandom::new())
    }
}

impl Default for SystemRandom {
    fn default() -> Self {
        Self::new()
    }
}

impl Random for SystemRandom {
    fn fill(&self, buffer: &mut [u8]) {
        #[expect(
            clippy::expect_used,
            reason = "without randomness nothing here is safe; the kernel does not fail at this"
        )]
        self.0.fill(buffer).expect("the operating system gives randomness");
    }
}
