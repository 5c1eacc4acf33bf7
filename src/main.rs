//! Parse, run, exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    // One TLS stack for all: whoever asks rustls for a provider gets ring. An error says that one is set already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    mlgate::cli::run()
}
