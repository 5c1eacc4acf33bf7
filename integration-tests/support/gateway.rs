//! The real binary with a configuration of the test's own.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::LazyLock;
use std::time::Duration;

use tempfile::TempDir;

use super::free_port;
use super::http::{Request, Response};
use super::process::{Server, until};

pub const PASSWORD: &str = "violet anchor riding 92 tram";

/// The people that every gateway of a test knows, with their groups: the name says what they may.
pub const PEOPLE: [(&str, &[&str]); 7] = [
    ("nina", &[]),
    ("vera", &["viewers"]),
    ("ed", &["editors"]),
    ("mona", &["managers"]),
    ("ada", &["admins"]),
    ("tom-a", &["team-a"]),
    ("tom-b", &["team-b"]),
];

/// The roles of those groups. Team x may EDIT what is called `x/…` or `x-…`, and nothing else.
pub const ROLES: &str = r#"
[[role]]
name = "viewer"
groups = ["local:viewers"]
[[role]]
name = "editor"
groups = ["local:editors"]
[[role]]
name = "manager"
groups = ["local:managers"]
[[role]]
name = "admin"
groups = ["local:admins"]
[[role]]
name = "team-a"
groups = ["local:team-a"]
grants = [{ permission = "EDIT", experiments = ["a/*"], registered_models = ["a-*"], prompts = ["a-*"] }]
[[role]]
name = "team-b"
groups = ["local:team-b"]
grants = [{ permission = "EDIT", experiments = ["b/*"], registered_models = ["b-*"], prompts = ["b-*"] }]
"#;

/// One configuration in a folder of its own, from which gateways are started.
pub struct Setup {
    pub folder: TempDir,
    pub port: u16,
    pub admin_port: u16,
    /// TOML before the sections: `public_url` is there already.
    pub top: String,
    /// More of `[listen]`.
    pub listen: String,
    /// Further sections.
    pub sections: String,
    pub upstream: String,
    pub session: String,
    pub audit: String,
    pub limits: String,
}

impl Setup {
    /// In front of an upstream, `http://host:port`.
    pub fn new(upstream: &str) -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            port: free_port(),
            admin_port: free_port(),
            top: String::new(),
            listen: String::new(),
            sections: ROLES.to_owned(),
            upstream: format!("name = \"production\"\nurl = \"{upstream}\""),
            session: String::new(),
            audit: "file = \"audit.jsonl\"".to_owned(),
            limits: "login_attempts = \"1000/1s\"".to_owned(),
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn authority(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub fn write(&self) -> PathBuf {
        let users = self.path("users.toml");
        if !users.exists() {
            std::fs::write(users, users_toml()).unwrap();
        }
        let config = self.path("mlgate.toml");
        let top = if self.top.contains("public_url") {
            self.top.clone()
        } else {
            format!("public_url = \"http://127.0.0.1:{}\"\n{}", self.port, self.top)
        };
        let text = format!(
            "{top}\n[listen]\naddress = \"127.0.0.1:{}\"\nadmin_address = \"127.0.0.1:{}\"\n{}\n[[upstream]]\n{}\n[session]\n{}\n\
             [audit]\n{}\n[limits]\n{}\n[[provider]]\nid = \"local\"\nkind = \"local\"\nlabel = \"Local\"\nusers_file = \"users.toml\"\n{}",
            self.port,
            self.admin_port,
            self.listen,
            self.upstream,
            self.session,
            self.audit,
            self.limits,
            self.sections
        );
        std::fs::write(&config, text).unwrap();
        config
    }

    pub fn start(self) -> Gateway {
        Gateway::start(self)
    }
}

/// `users.toml` of [`PEOPLE`], with one cheap hash for all: hashing well is the unit tests' business.
pub fn users_toml() -> String {
    static HASH: LazyLock<String> = LazyLock::new(|| {
        use argon2::password_hash::PasswordHasher;
        let params = argon2::Params::new(64, 1, 1, None).unwrap();
        let argon = argon2::Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, params);
        argon.hash_password(PASSWORD.as_bytes()).unwrap().to_string()
    });
    PEOPLE
        .iter()
        .map(|(name, groups)| {
            format!("[[user]]\nname = \"{name}\"\npassword_hash = \"{}\"\ngroups = {groups:?}\nemail = \"{name}@example.test\"\n", *HASH)
        })
        .collect()
}

pub struct Gateway {
    pub setup: Setup,
    pub config: PathBuf,
    pub server: Server,
}

impl Gateway {
    fn start(setup: Setup) -> Self {
        Self::start_after(setup, "")
    }

    /// Likewise from a shell that runs `first`, which ends in a semicolon, before it becomes the gateway.
    pub fn start_after(setup: Setup, first: &str) -> Self {
        let config = setup.write();
        let server = spawn(&setup, &config, first);
        let mut gateway = Self { setup, config, server };
        gateway.wait_until_ready();
        gateway
    }

    fn wait_until_ready(&mut self) {
        let authority = self.authority();
        // Asked where it is plain and at its root, whatever the main listener is.
        let operators = self.admin_authority();
        until("the gateway is ready", Duration::from_secs(60), || {
            assert!(self.server.is_running(), "the gateway ended: {}", self.log());
            std::net::TcpStream::connect(&authority).is_ok()
                && std::net::TcpStream::connect(&operators).is_ok()
                && Request::get("/auth/readyz").send(&operators).status == 200
        });
    }

    /// Starts it again after it was stopped or killed.
    pub fn restart(&mut self) {
        self.server = spawn(&self.setup, &self.config, "");
        self.wait_until_ready();
    }

    pub fn authority(&self) -> String {
        self.setup.authority()
    }

    pub fn admin_authority(&self) -> String {
        format!("127.0.0.1:{}", self.setup.admin_port)
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.authority())
    }

    pub fn origin(&self) -> String {
        self.url()
    }

    pub fn audit_file(&self) -> PathBuf {
        self.setup.path("audit.jsonl")
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.setup.path("log")).unwrap_or_default()
    }

    pub fn send(&self, request: &Request) -> Response {
        request.send(&self.authority())
    }

    /// Signs in with the form, as a browser would, and gives the session's cookie as `name=value`.
    pub fn sign_in(&self, user: &str) -> String {
        self.sign_in_with(user, PASSWORD)
            .unwrap_or_else(|refused| panic!("{user} cannot sign in: {} {}", refused.status, refused.text()))
    }

    pub fn sign_in_with(&self, user: &str, password: &str) -> Result<String, Box<Response>> {
        self.sign_in_at("local", user, password)
    }

    /// Likewise where browsers know the gateway by another origin.
    pub fn sign_in_from(&self, origin: &str, user: &str) -> String {
        self.sign_in_at_from(origin, "local", user, PASSWORD)
            .unwrap_or_else(|refused| panic!("{user} cannot sign in: {} {}", refused.status, refused.text()))
    }

    /// Likewise at any provider with a form.
    pub fn sign_in_at(&self, provider: &str, user: &str, password: &str) -> Result<String, Box<Response>> {
        self.sign_in_at_from(&self.origin(), provider, user, password)
    }

    fn sign_in_at_from(
        &self,
        origin: &str,
        provider: &str,
        user: &str,
        password: &str,
    ) -> Result<String, Box<Response>> {
        let path = format!("/auth/login/{provider}");
        let form = self.send(&Request::get(&path).navigation());
        let cookies: Vec<_> = form
            .all("set-cookie")
            .filter_map(|cookie| cookie.split(';').next())
            .collect();
        let page = form.text();
        let token = page
            .split("name=\"csrf_token\"")
            .nth(1)
            .and_then(|rest| rest.split("value=\"").nth(1))
            .and_then(|rest| rest.split('"').next());
        let Some(token) = token else { return Err(Box::new(form)) };
        let answer = self.send(
            &Request::new("POST", &path)
                .navigation()
                .header("Cookie", &cookies.join("; "))
                .header("Origin", origin)
                .form(&[
                    ("username", user),
                    ("password", password),
                    ("rd", "/"),
                    ("csrf_token", token),
                ]),
        );
        let session = answer
            .all("set-cookie")
            .filter_map(|cookie| cookie.split(';').next())
            .find(|cookie| cookie.starts_with("mlgate=") && cookie.len() > "mlgate=".len())
            .map(str::to_owned);
        session.ok_or(Box::new(answer))
    }

    /// A personal token, made by the operator's command.
    pub fn token(&self, user: &str) -> String {
        let made = self.mlgate(&[
            "tokens",
            "create",
            "--user",
            user,
            "--provider",
            "local",
            "--name",
            "test",
            "--lifetime",
            "1h",
        ]);
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        String::from_utf8(made.stdout).unwrap().trim().to_owned()
    }

    /// Runs a command of the binary with this gateway's configuration.
    pub fn mlgate(&self, arguments: &[&str]) -> Output {
        binary()
            .args(arguments)
            .arg("--config")
            .arg(&self.config)
            .output()
            .unwrap()
    }

    /// The events of the trail so far.
    pub fn events(&self) -> Vec<serde_json::Value> {
        let text = std::fs::read_to_string(self.audit_file()).unwrap_or_default();
        text.lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect()
    }

    pub fn verify_audit(&self) -> Output {
        binary()
            .args(["audit", "verify"])
            .arg(self.audit_file())
            .output()
            .unwrap()
    }
}

pub fn binary() -> Command {
    Command::new(env!("CARGO_BIN_EXE_mlgate"))
}

fn spawn(setup: &Setup, config: &Path, first: &str) -> Server {
    let log = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(setup.path("log"))
        .unwrap();
    let mut command = binary();
    if !first.is_empty() {
        let program = command.get_program().to_owned();
        command = Command::new("sh");
        command
            .args(["-c", &format!("{first} exec \"$0\" \"$@\"")])
            .arg(program);
    }
    Server::start(
        command
            .args(["serve", "--config"])
            .arg(config)
            .stdout(Stdio::from(log.try_clone().unwrap()))
            .stderr(Stdio::from(log)),
    )
}
