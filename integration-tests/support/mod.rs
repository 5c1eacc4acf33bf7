//! The real parts, started on free loopback ports and stopped with the test.

#![expect(dead_code, reason = "each test uses the parts that it needs")]

pub mod ad;
pub mod browser;
pub mod ca;
pub mod echo;
pub mod gateway;
pub mod google;
pub mod http;
pub mod ingress;
pub mod keycloak;
pub mod ldap;
pub mod lying_provider;
pub mod mlflow;
pub mod oauth;
pub mod oidc;
pub mod person;
pub mod process;
pub mod redis;
pub mod redis_group;
pub mod saml;
pub mod simplesaml;
pub mod terminal;
pub mod tls;

use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};

/// The folder of the project.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Where the real parts are installed.
pub fn parts() -> PathBuf {
    root().join("target/parts")
}

/// A loopback port that is free at this moment, and that nothing else in this test run was given. Below those that the kernel
/// hands out by itself: a server that takes half a minute to listen would find its port taken by whoever bound to port 0 since.
pub fn free_port() -> u16 {
    use std::sync::LazyLock;
    use std::sync::atomic::{AtomicU32, Ordering};
    const FIRST: u32 = 16_000;
    const COUNT: u32 = 16_000;
    // Runs beside this one begin elsewhere.
    static NEXT: LazyLock<AtomicU32> = LazyLock::new(|| AtomicU32::new(std::process::id().wrapping_mul(977) % COUNT));
    loop {
        let port = FIRST + NEXT.fetch_add(1, Ordering::Relaxed) % COUNT;
        let port = u16::try_from(port).unwrap();
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}
