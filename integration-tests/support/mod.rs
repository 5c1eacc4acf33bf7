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
pub mod process;
pub mod redis;
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

/// A loopback port that is free at this moment, and that nothing else in this test run was given.
pub fn free_port() -> u16 {
    use std::collections::HashSet;
    use std::sync::{LazyLock, Mutex};
    static GIVEN: LazyLock<Mutex<HashSet<u16>>> = LazyLock::new(Mutex::default);
    loop {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        if GIVEN.lock().unwrap().insert(port) {
            return port;
        }
    }
}
