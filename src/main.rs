//! Parse, run, exit code.

use std::process::ExitCode;

/// A request makes some hundred small pieces: glibc's allocator took a fifth of its time.
#[cfg(feature = "server")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // One TLS stack for all: whoever asks rustls for a provider gets ring. An error says that one is set already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    mlgate::cli::run()
}
