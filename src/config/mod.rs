//! What the operator wants: the whole configuration as final types. Parsed once; nothing later validates.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::IpNet;
use url::Url;

use crate::domain::{Kind, Permission, Secret};

#[derive(Clone, Debug)]
pub struct Config {
    /// The file that this was read from.
    pub file: PathBuf,
    /// Absolute, without a trailing slash in its path; may carry a path.
    pub public_url: Url,
    pub listen: Listen,
    pub network: Network,
    pub upstreams: Vec<Upstream>,
    pub session: Session,
    pub check: Check,
    pub providers: Vec<Provider>,
    pub roles: Vec<Role>,
    pub tokens: Tokens,
    pub audit: Audit,
    pub limits: Limits,
    pub pages: Pages,
    /// Every file that the configuration names, itself included: a change to one of them is a reason to reload.
    pub watched: Vec<PathBuf>,
}

impl Config {
    /// The path of `public_url` without a trailing slash; empty where there is none.
    pub fn base_path(&self) -> &str {
        self.public_url.path().trim_end_matches('/')
    }

    /// `scheme://host[:port]` of `public_url`, as a browser writes it in `Origin`.
    pub fn origin(&self) -> String {
        self.public_url.origin().ascii_serialization()
    }

    /// Whether people reach the gateway over https; decides the cookie's name and flags.
    pub fn is_https(&self) -> bool {
        self.public_url.scheme() == "https"
    }
}

#[derive(Clone, Debug)]
pub struct Listen {
    pub address: SocketAddr,
    pub admin_address: SocketAddr,
    /// Unix socket for the operator's commands.
    pub admin_socket: PathBuf,
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

#[derive(Clone, Debug, Default)]
pub struct Network {
    pub trusted_proxies: Vec<IpNet>,
    pub allow: Vec<IpNet>,
    pub deny: Vec<IpNet>,
}

#[derive(Clone, Debug)]
pub struct Upstream {
    pub name: String,
    /// Lower case, without ports; empty: any.
    pub hosts: Vec<String>,
    /// http or https; its path goes in front of every forwarded path.
    pub url: Url,
    /// `None`: ask the server.
    pub mlflow_version: Option<String>,
    pub ca_file: Option<PathBuf>,
    pub client_cert_file: Option<PathBuf>,
    pub client_key_file: Option<PathBuf>,
    pub basic_auth: Option<(String, Secret)>,
    pub connect_timeout: Duration,
    pub response_timeout: Duration,
    /// `attribution = "enforce"`.
    pub attribution: bool,
    pub artifact_roots: Vec<String>,
    /// `assistant = "admin"`.
    pub assistant: bool,
}

#[derive(Clone, Debug)]
pub struct Session {
    pub store: StoreKind,
    /// 32 bytes each; the first encrypts, all decrypt. Never empty: with `store = "memory"` and no file, one was made up at load.
    pub secrets: Vec<[u8; 32]>,
    pub cookie_domain: Option<String>,
    pub idle_timeout: Duration,
    pub absolute_timeout: Duration,
    pub recheck: Duration,
    pub outage_grace: Duration,
}

#[derive(Clone, Debug)]
pub enum StoreKind {
    Memory,
    Redis { url: Secret, ca_file: Option<PathBuf> },
}

#[derive(Clone, Debug, Default)]
pub struct Check {
    pub redirect_hosts: Vec<String>,
}

#[derive(Clone, Debug)]
pub struct Provider {
    /// `[a-z0-9-]+`, unique.
    pub id: String,
    pub label: String,
    pub kind: ProviderKind,
}

#[derive(Clone, Debug)]
pub enum ProviderKind {
    Local(LocalProvider),
    Oidc(Box<OidcProvider>),
}

#[derive(Clone, Debug)]
pub struct LocalProvider {
    pub users_file: PathBuf,
    /// As it stood when the configuration was read; the provider rereads the file when it changes.
    pub users: Vec<LocalUser>,
}

#[derive(Clone, Debug)]
pub struct LocalUser {
    pub name: String,
    /// An argon2id PHC string.
    pub password_hash: Secret,
    pub groups: Vec<String>,
    pub display_name: Option<String>,
    pub email: Option<String>,
    pub disabled: bool,
}

#[derive(Clone, Debug)]
pub struct OidcProvider {
    /// As written: the issuer is compared byte for byte.
    pub issuer: String,
    pub ca_file: Option<PathBuf>,
    pub client_id: String,
    pub client_secret: Option<Secret>,
    pub scopes: Vec<String>,
    pub user_claim: String,
    /// JSON pointers (RFC 6901).
    pub groups_claim: Vec<String>,
    pub hosted_domains: Vec<String>,
}

#[derive(Clone, Debug)]
pub struct Role {
    pub name: String,
    /// `provider:group`; `*:group` for any provider.
    pub groups: Vec<String>,
    /// `provider:user`.
    pub users: Vec<String>,
    /// Names of upstreams; empty: all.
    pub upstreams: Vec<String>,
    pub grants: Vec<Grant>,
}

/// One line of a role: a permission, or DENY, on patterns of each kind.
#[derive(Clone, Debug)]
pub struct Grant {
    /// `None` is DENY.
    pub permission: Option<Permission>,
    /// Whole names with `*` for any run of characters, or `id:…`.
    pub patterns: Vec<(Kind, Vec<String>)>,
}

#[derive(Clone, Debug)]
pub struct Tokens {
    pub access_lifetime: Duration,
    pub refresh_idle: Duration,
    pub refresh_absolute: Duration,
    pub personal_max_lifetime: Duration,
}

#[derive(Clone, Debug)]
pub struct Audit {
    pub file: PathBuf,
    pub rotate_size: u64,
    pub keep: Duration,
    /// `sync = "fsync"`.
    pub fsync: bool,
    pub reads: bool,
    pub on_failure: OnAuditFailure,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnAuditFailure {
    Refuse,
    Continue,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    pub count: u32,
    pub per: Duration,
}

#[derive(Clone, Debug)]
pub struct Limits {
    pub login_attempts: Rate,
    pub requests: Option<Rate>,
    /// Bytes.
    pub header_size: usize,
    /// Bytes.
    pub json_body: usize,
}

/// What the operator may say on the pages (section `[pages]`): all optional.
#[derive(Clone, Debug, Default)]
pub struct Pages {
    pub operator: Option<String>,
    /// Shown under the sign-in form and on refusals: acceptable use, where to ask for access.
    pub notice: Option<String>,
    /// A CSS colour `#rrggbb`.
    pub accent: Option<String>,
    pub logo_file: Option<PathBuf>,
}

/// One thing that is wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// `provider[1].issuer`
    pub key: String,
    /// 1-based; `None` where the value did not come from the file.
    pub line: Option<usize>,
    /// What is wrong and how to mend it. Holds no secret.
    pub text: String,
}

/// Reads the file and everything that it names.
///
/// # Errors
/// All problems together; the list is never empty.
pub fn load(file: &Path) -> Result<Config, Vec<Problem>> {
    let _ = file;
    todo!("config helper")
}
