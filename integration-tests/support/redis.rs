//! A real redis-server on a free port, with a password, and with TLS where asked.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use mlgate::config::{RedisUrl, StoreKind};
use mlgate::domain::Secret;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use tempfile::TempDir;

use super::free_port;
use super::process::{Server, until};

const PASSWORD: &str = "correct-horse-redis-staple";
const START_LIMIT: Duration = Duration::from_secs(20);

/// Stops with the value. Its keys live in a folder that goes too.
pub struct Redis {
    process: Option<Server>,
    port: u16,
    tls: bool,
    folder: TempDir,
}

impl Redis {
    pub fn start() -> Self {
        let mut redis = Self::planned();
        redis.run();
        redis
    }

    /// Speaks TLS alone, with a certificate for `localhost` by a CA of its own.
    pub fn start_with_tls() -> Self {
        let mut redis = Self::planned();
        redis.tls = true;
        redis.write_certificates();
        redis.run();
        redis
    }

    /// Has a port and an address, but does not run yet.
    pub fn planned() -> Self {
        Self {
            process: None,
            port: free_port(),
            tls: false,
            folder: TempDir::new().unwrap(),
        }
    }

    pub fn kind(&self) -> StoreKind {
        self.kind_with(PASSWORD, self.tls.then(|| self.folder.path().join("ca.pem")))
    }

    /// Its address without the password, and that.
    pub fn url_and_password(&self) -> (String, &'static str) {
        (format!("redis://localhost:{}", self.port), PASSWORD)
    }

    pub fn kind_with(&self, password: &str, ca_file: Option<PathBuf>) -> StoreKind {
        let scheme = if self.tls { "rediss" } else { "redis" };
        StoreKind::Redis {
            url: RedisUrl::parse(Secret::new(format!("{scheme}://:{password}@localhost:{}", self.port))).unwrap(),
            ca_file,
        }
    }

    /// Returns once it answers.
    pub fn run(&mut self) {
        let port = self.port.to_string();
        let mut command = Command::new("redis-server");
        command.args([
            "--bind",
            "127.0.0.1",
            "--requirepass",
            PASSWORD,
            "--save",
            "",
            "--appendonly",
            "no",
        ]);
        command
            .args(["--rdbcompression", "no", "--dir"])
            .arg(self.folder.path());
        if self.tls {
            command.args(["--port", "0", "--tls-port", &port, "--tls-auth-clients", "no"]);
            command.arg("--tls-cert-file").arg(self.folder.path().join("cert.pem"));
            command.arg("--tls-key-file").arg(self.folder.path().join("key.pem"));
            command.arg("--tls-ca-cert-file").arg(self.folder.path().join("ca.pem"));
        } else {
            command.args(["--port", &port]);
        }
        self.process = Some(Server::start(command.stdout(Stdio::null())));
        until("redis-server answers", START_LIMIT, || self.cli(&["ping"]) == "PONG\n");
    }

    /// Kills it; what it knew is gone.
    pub fn stop(&mut self) {
        self.process = None;
    }

    /// Hangs without closing anything: the worst that a network does.
    pub fn pause(&self) {
        self.server().signal("STOP");
    }

    pub fn resume(&self) {
        self.server().signal("CONT");
    }

    /// What redis-cli prints for a command.
    pub fn cli(&self, arguments: &[&str]) -> String {
        let mut command = Command::new("redis-cli");
        command.args([
            "-h",
            "localhost",
            "-p",
            &self.port.to_string(),
            "-a",
            PASSWORD,
            "--no-auth-warning",
        ]);
        if self.tls {
            command
                .arg("--tls")
                .arg("--cacert")
                .arg(self.folder.path().join("ca.pem"));
        }
        let output = command.args(arguments).stderr(Stdio::null()).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// All that Redis would write to its disk, uncompressed.
    pub fn dump(&self) -> Vec<u8> {
        assert_eq!(self.cli(&["save"]), "OK\n");
        std::fs::read(self.folder.path().join("dump.rdb")).unwrap()
    }

    fn server(&self) -> &Server {
        self.process.as_ref().unwrap()
    }

    fn write_certificates(&self) {
        let mut ca = CertificateParams::new(Vec::new()).unwrap();
        // A name of its own, or OpenSSL takes what it signs for self-signed.
        ca.distinguished_name.push(DnType::CommonName, "mlgate test CA");
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca_key = KeyPair::generate().unwrap();
        let ca_certificate = ca.self_signed(&ca_key).unwrap();
        let key = KeyPair::generate().unwrap();
        let server = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let certificate = server.signed_by(&key, &Issuer::new(ca, ca_key)).unwrap();
        for (name, text) in [
            ("ca.pem", ca_certificate.pem()),
            ("cert.pem", certificate.pem()),
            ("key.pem", key.serialize_pem()),
        ] {
            std::fs::write(self.folder.path().join(name), text).unwrap();
        }
    }
}
