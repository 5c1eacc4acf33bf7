//! `[listen]`: where the gateway can be reached.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::network::Network;
use super::reader::Section;
use super::{files, value};

#[derive(Clone, Debug)]
pub struct Listen {
    pub address: SocketAddr,
    pub admin_address: SocketAddr,
    /// Unix socket for the operator's commands.
    pub admin_socket: PathBuf,
    /// Envoy's gRPC check.
    pub ext_authz_address: Option<SocketAddr>,
    /// Besides HTTP/1.1: over TLS where the client wants it, without TLS for who speaks it from the start.
    pub http2: bool,
    pub tls: Option<ListenTls>,
}

#[derive(Clone, Debug)]
pub struct ListenTls {
    pub cert_file: PathBuf,
    pub key_file: PathBuf,
    /// True when 1.2 is refused.
    pub only_tls13: bool,
    pub client_ca_file: Option<PathBuf>,
}

/// What a Unix socket's address holds, less its closing zero.
const LONGEST_SOCKET_PATH: usize = 107;

/// `default_socket` stands beside the configuration file.
pub(super) fn read(section: Section<'_>, default_socket: PathBuf, network: &Network) -> Option<Listen> {
    let address = section
        .value("address", value::socket)
        .unwrap_or(SocketAddr::from(([0, 0, 0, 0], 8443)));
    let admin_address = section
        .value("admin_address", value::socket)
        .unwrap_or(SocketAddr::from(([127, 0, 0, 1], 9090)));
    if address == admin_address && address.port() != 0 {
        section.problem(
            "admin_address",
            "is the same as address: metrics must not be on the proxy's listener",
        );
    }
    let admin_socket = section.path_of("admin_socket").unwrap_or(default_socket);
    if admin_socket.as_os_str().len() > LONGEST_SOCKET_PATH {
        let text = format!(
            "{} is longer than the {LONGEST_SOCKET_PATH} bytes that a Unix socket may have: set a shorter one",
            admin_socket.display()
        );
        section.problem("admin_socket", text);
    }
    let ext_authz_address = section.value("ext_authz_address", value::socket);
    if let Some(ext_authz) = ext_authz_address {
        super::check::must_know_who_asks(&section, "ext_authz_address", network);
        if ext_authz.port() != 0 && (ext_authz == address || ext_authz == admin_address) {
            section.problem(
                "ext_authz_address",
                "is the same as another address: it needs a listener of its own",
            );
        }
    }
    let http2 = section.value("http2", value::flag).unwrap_or(false);
    let tls = section.section("tls");
    let wants_tls = tls.is_present();
    let tls = read_tls(tls);
    section.finish();
    (!wants_tls || tls.is_some()).then_some(Listen {
        address,
        admin_address,
        admin_socket,
        ext_authz_address,
        http2,
        tls,
    })
}

fn read_tls(section: Section<'_>) -> Option<ListenTls> {
    let is_present = section.is_present();
    let named = |key: &'static str| {
        if is_present && section.node(key).is_none() {
            section.problem(key, "is missing: TLS needs a certificate and its key");
        }
        if key == "cert_file" {
            section.checked_file(key, |path| files::certificates(path).map(drop))
        } else {
            section.file(key)
        }
    };
    let (cert_file, key_file) = (named("cert_file"), named("key_file"));
    let only_tls13 = section.choice("min_version", &[("1.2", false), ("1.3", true)]);
    let client_ca_file = section.checked_file("client_ca_file", files::check_roots);
    if let (Some(cert), Some(key)) = (&cert_file, &key_file)
        && let Err(text) = files::check_key_pair(cert, key)
    {
        section.problem("key_file", text);
    }
    section.finish();
    Some(ListenTls {
        cert_file: cert_file?,
        key_file: key_file?,
        only_tls13: only_tls13?,
        client_ca_file,
    })
}
