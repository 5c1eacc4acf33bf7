//! What the operator wants: the whole configuration as final types. Parsed once; nothing later validates.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use url::Url;

use crate::domain::{Random, SystemRandom};

mod audit;
mod check;
mod client;
mod files;
mod google;
mod ldap;
mod limits;
mod listen;
mod network;
mod node;
mod pages;
mod problem;
mod protected_alias;
mod provider;
mod reader;
mod redis_url;
mod role;
mod saml;
mod session;
mod telemetry;
mod tokens;
mod trusted_issuer;
mod upstream;
mod users;
mod value;

pub use audit::{Audit, OnAuditFailure};
pub use check::{Check, CheckEndpoint};
pub use client::{BUILT_IN_CLIENT, Client, GrantType};
pub use google::{GOOGLE, GoogleApi, GoogleGroups, ServiceAccount};
pub use ldap::{LdapProvider, LdapSchema, LdapUrl, NestedGroups};
pub use limits::{Limits, Rate};
pub use listen::{Listen, ListenTls};
pub use network::Network;
pub use pages::Pages;
pub use problem::Problem;
pub use protected_alias::ProtectedAlias;
pub use provider::{CLIENTS, LocalProvider, OidcProvider, Provider, ProviderKind};
pub use redis_url::{RedisServers, RedisUrl};
pub use role::{Grant, Role};
pub use saml::{IdpEndpoint, IdpKey, IdpMetadata, MetadataSource, SamlBinding, SamlKey, SamlProvider, UserAttribute};
pub use session::{Session, StoreKind};
pub use telemetry::{LogFormat, Otlp, Telemetry};
pub use tokens::Tokens;
pub use trusted_issuer::{Condition, IssuerKeys, NamePart, TrustedIssuer};
pub use upstream::Upstream;
pub use users::{LocalUser, load_users};

#[cfg(test)]
mod tests;

use node::Node;
use reader::{Reading, Section};

#[derive(Clone, Debug)]
pub struct Config {
    /// The file that this was read from, absolute.
    pub file: PathBuf,
    /// Absolute, without a trailing slash in its path; may carry a path.
    pub public_url: Url,
    pub listen: Listen,
    pub network: Network,
    pub upstreams: Vec<Upstream>,
    pub session: Session,
    pub check: Check,
    pub providers: Vec<Provider>,
    pub clients: Vec<Client>,
    pub trusted_issuers: Vec<TrustedIssuer>,
    pub roles: Vec<Role>,
    pub tokens: Tokens,
    pub audit: Audit,
    pub limits: Limits,
    pub pages: Pages,
    pub telemetry: Telemetry,
    /// Every file that the configuration names, itself included: a change to one of them is a reason to reload.
    pub watched: Vec<PathBuf>,
    /// What can be meant, and is worth a second look.
    pub warnings: Vec<Problem>,
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

    /// Whether an ingress may carry requests that the gateway only decides on.
    pub fn is_asked(&self) -> bool {
        !self.check.endpoints.is_empty() || self.listen.ext_authz_address.is_some()
    }

    /// Whether people reach the gateway over https; decides the cookie's name and flags.
    pub fn is_https(&self) -> bool {
        self.public_url.scheme() == "https"
    }
}

/// Reads the file, everything that it names, and the environment's `MLGATE__…`.
///
/// # Errors
/// All problems together; the list is never empty.
pub fn load(file: &Path) -> Result<Config, Vec<Problem>> {
    // Not `vars`: a name or value that is not UTF-8 would be a panic there.
    let variables = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    load_with(file, variables, &SystemRandom::new())
}

/// Like [`load`], with the environment and the randomness as arguments.
///
/// # Errors
/// All problems together; the list is never empty.
pub fn load_with(file: &Path, variables: Vec<(String, String)>, random: &dyn Random) -> Result<Config, Vec<Problem>> {
    read(file, variables, random).0
}

type Known = BTreeSet<String>;

fn read(file: &Path, variables: Vec<(String, String)>, random: &dyn Random) -> (Result<Config, Vec<Problem>>, Known) {
    let mut early = Vec::new();
    let absolute = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
    let tree = fs::read_to_string(&absolute)
        .map_err(|error| Problem::new("", None, format!("{} cannot be read: {error}", absolute.display())))
        .and_then(|text| node::parse(&text));
    let mut tree = match tree {
        Ok(tree) => tree,
        Err(problem) => return (Err(vec![problem]), Known::new()),
    };
    node::overlay(&mut tree, variables, &mut early);
    let reading = Reading::new(absolute.parent().unwrap_or(Path::new("/")));
    early.into_iter().for_each(|problem| reading.report(problem));
    reading.watch(&absolute);
    let config = read_tree(&reading, &tree, absolute, random);
    let (mut problems, watched, known) = reading.finish();
    match config {
        Some(config) if problems.is_empty() => (Ok(Config { watched, ..config }), known),
        _ => {
            if problems.is_empty() {
                problems.push(Problem::new(
                    "",
                    None,
                    "cannot be used, for a reason that the gateway failed to name",
                ));
            }
            (Err(problems), known)
        }
    }
}

fn read_tree(reading: &Reading, tree: &Node, file: PathBuf, random: &dyn Random) -> Option<Config> {
    let root = Section::root(reading, tree);
    let insecure_http = root.value("insecure_http", value::flag).unwrap_or(false);
    let public_url = root.required("public_url", |node| public_url(node, insecure_http));
    let network = network::read(root.section("network"));
    let listen = listen::read(root.section("listen"), file.with_extension("sock"), &network);
    let protected_aliases = protected_alias::read_all(&root);
    let (upstreams, upstream_names) = upstream::read_all(&root, &protected_aliases);
    let session = session::read(root.section("session"), public_url.as_ref(), random);
    let check = check::read(root.section("check"), &network);
    let (providers, mut provider_ids) = provider::read_all(&root, public_url.as_ref());
    let clients = client::read_all(&root);
    if !clients.is_empty() {
        provider_ids.insert(provider::CLIENTS.to_owned());
    }
    let trusted_issuers = trusted_issuer::read_all(&root, &mut provider_ids);
    let roles = role::read_all(&root, &provider_ids, &upstream_names);
    let tokens = tokens::read(root.section("tokens"));
    let audit = audit::read(root.section("audit"));
    let limits = limits::read(root.section("limits"));
    let pages = pages::read(root.section("pages"));
    let telemetry = telemetry::read(root.section("telemetry"));
    root.finish();
    Some(Config {
        file,
        public_url: public_url?,
        listen: listen?,
        network,
        upstreams,
        session: session?,
        check,
        providers,
        clients,
        trusted_issuers,
        roles,
        tokens: tokens?,
        audit: audit?,
        limits,
        pages,
        telemetry: telemetry?,
        watched: Vec::new(),
        warnings: reading.warnings(),
    })
}

fn public_url(node: &Node, insecure_http: bool) -> Result<Url, String> {
    let mut url = value::web_url(node)?;
    if url.scheme() == "http" && !value::is_loopback(&url) && !insecure_http {
        return Err("must be https: over plain http everyone on the way can read passwords and sessions (insecure_http = true allows it)".into());
    }
    let path = url.path().trim_end_matches('/').to_owned();
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '-' | '_' | '.' | '~');
    if path.contains("//") || !path.chars().all(plain) {
        return Err("must have a path of letters, digits, - _ . ~ and single slashes".into());
    }
    url.set_path(&path);
    Ok(url)
}
