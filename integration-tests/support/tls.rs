//! TLS from both ends: a client that knows what it is shown, and a front that gives a plain upstream a certificate.

use std::io::{BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, StreamOwned, SupportedProtocolVersion};

use super::http::{Request, Response, read};

pub type Stream = BufReader<StreamOwned<ClientConnection, TcpStream>>;

/// A client that believes the authority in a folder's `ca.pem`.
#[derive(Clone)]
pub struct Client {
    versions: Vec<&'static SupportedProtocolVersion>,
    roots: Arc<RootCertStore>,
    /// The folder of `cert.pem` and `key.pem` that it shows.
    shows: Option<std::path::PathBuf>,
}

impl Client {
    pub fn believing(folder: &Path) -> Self {
        Self {
            versions: rustls::ALL_VERSIONS.to_vec(),
            roots: roots(folder),
            shows: None,
        }
    }

    pub fn speaking(mut self, version: &'static SupportedProtocolVersion) -> Self {
        self.versions = vec![version];
        self
    }

    pub fn showing(mut self, folder: &Path) -> Self {
        self.shows = Some(folder.to_owned());
        self
    }

    /// A connection to `localhost` on a port, once the handshake is through.
    pub fn connect(&self, port: u16) -> std::io::Result<Stream> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&self.versions)
            .unwrap()
            .with_root_certificates(self.roots.clone());
        let config = match &self.shows {
            Some(folder) => builder.with_client_auth_cert(chain(folder), key(folder)).unwrap(),
            None => builder.with_no_client_auth(),
        };
        let name = ServerName::try_from("localhost").unwrap();
        let mut session = ClientConnection::new(Arc::new(config), name).unwrap();
        let mut socket = TcpStream::connect(("127.0.0.1", port))?;
        socket.set_read_timeout(Some(Duration::from_secs(30)))?;
        while session.is_handshaking() {
            session.complete_io(&mut socket)?;
        }
        Ok(BufReader::new(StreamOwned::new(session, socket)))
    }

    pub fn send(&self, request: &Request, port: u16) -> std::io::Result<Response> {
        ask(&mut self.connect(port)?, request, port)
    }
}

/// Over a connection that may have served before.
pub fn ask(stream: &mut Stream, request: &Request, port: u16) -> std::io::Result<Response> {
    stream
        .get_mut()
        .write_all(&request.bytes(&format!("localhost:{port}")))?;
    read(stream, request.method == "HEAD")
}

/// What the other end showed.
pub fn certificate(stream: &Stream) -> Vec<u8> {
    stream.get_ref().conn.peer_certificates().unwrap()[0].to_vec()
}

fn roots(folder: &Path) -> Arc<RootCertStore> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(folder.join("ca.pem")).unwrap() {
        roots.add(certificate.unwrap()).unwrap();
    }
    Arc::new(roots)
}

fn chain(folder: &Path) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_file_iter(folder.join("cert.pem"))
        .unwrap()
        .map(Result::unwrap)
        .collect()
}

fn key(folder: &Path) -> PrivateKeyDer<'static> {
    PrivateKeyDer::from_pem_file(folder.join("key.pem")).unwrap()
}

/// TLS in front of a plain server, with the certificate of a folder, until the test program ends. Gives the port. With `clients`
/// whoever comes must show a certificate of that folder's authority.
pub fn front(plain: SocketAddr, folder: &Path, clients: Option<&Path>) -> u16 {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .unwrap();
    let builder = match clients {
        Some(folder) => builder.with_client_cert_verifier(
            WebPkiClientVerifier::builder_with_provider(roots(folder), provider)
                .build()
                .unwrap(),
        ),
        None => builder.with_no_client_auth(),
    };
    let config = builder.with_single_cert(chain(folder), key(folder)).unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    listener.set_nonblocking(true).unwrap();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            while let Ok((stream, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    let mut outer = acceptor.accept(stream).await?;
                    let mut inner = tokio::net::TcpStream::connect(plain).await?;
                    tokio::io::copy_bidirectional(&mut outer, &mut inner).await
                });
            }
        });
    });
    port
}
