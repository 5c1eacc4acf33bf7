//! `[[provider]]`: who may vouch for a user.

use std::collections::BTreeSet;
use std::path::PathBuf;

use url::Url;

use crate::domain::Secret;

use super::google::GoogleGroups;
use super::ldap::LdapProvider;
use super::node::Node;
use super::reader::Section;
use super::saml::SamlProvider;
use super::users::{self, LocalUser};
use super::{files, google, ldap, saml, value};

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
    Ldap(Box<LdapProvider>),
    Saml(Box<SamlProvider>),
}

#[derive(Clone, Debug)]
pub struct LocalProvider {
    pub users_file: PathBuf,
    /// As it stood when the configuration was read; the provider rereads the file when it changes.
    pub users: Vec<LocalUser>,
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
    /// Lower case.
    pub hosted_domains: Vec<String>,
    pub google_groups: Option<GoogleGroups>,
}

/// What stands in a provider's place in roles and in the trail, of clients that act for themselves.
pub const CLIENTS: &str = "client";

/// Ids that stand for something else in roles and in the trail.
const RESERVED: [&str; 2] = [CLIENTS, "mlgate"];

/// The providers, and the ids that were given, those of broken entries included.
pub(super) fn read_all(root: &Section<'_>, public_url: Option<&Url>) -> (Vec<Provider>, BTreeSet<String>) {
    let sections = root.sections("provider");
    if sections.is_empty() {
        root.problem(
            "provider",
            "is missing: add a [[provider]] (kind = \"local\", \"oidc\", \"ldap\" or \"saml\"), or nobody can sign in",
        );
    }
    let mut ids = BTreeSet::new();
    let providers = sections
        .into_iter()
        .filter_map(|section| read(section, public_url, &mut ids))
        .collect();
    (providers, ids)
}

/// Each id is of one provider or trusted issuer.
pub(super) fn claim_id(section: &Section<'_>, id: &str, ids: &mut BTreeSet<String>) {
    if RESERVED.contains(&id) {
        section.problem("id", format!("{id:?} is reserved: choose another"));
    }
    if !ids.insert(id.to_owned()) {
        section.problem("id", format!("{id:?} is the id of another provider too"));
    }
}

#[derive(Clone, Copy)]
enum Written {
    Local,
    Oidc,
    Ldap,
    Saml,
}

fn read(section: Section<'_>, public_url: Option<&Url>, ids: &mut BTreeSet<String>) -> Option<Provider> {
    let id = section.required("id", value::id);
    if let Some(id) = &id {
        claim_id(&section, id, ids);
    }
    let label = section.value("label", value::text);
    if section.node("kind").is_none() {
        section.problem("kind", "is missing: \"local\", \"oidc\", \"ldap\" or \"saml\"");
        return None;
    }
    let kinds = [
        ("local", Written::Local),
        ("oidc", Written::Oidc),
        ("ldap", Written::Ldap),
        ("saml", Written::Saml),
    ];
    let kind = match section.choice("kind", &kinds)? {
        Written::Local => read_local(&section).map(ProviderKind::Local),
        Written::Oidc => read_oidc(&section).map(|oidc| ProviderKind::Oidc(Box::new(oidc))),
        Written::Ldap => ldap::read(&section).map(|ldap| ProviderKind::Ldap(Box::new(ldap))),
        Written::Saml => saml::read(&section, id.as_deref(), public_url).map(|saml| ProviderKind::Saml(Box::new(saml))),
    };
    section.finish();
    let (id, kind) = (id?, kind?);
    let label = label.unwrap_or_else(|| match &kind {
        ProviderKind::Oidc(oidc) if oidc.issuer == google::GOOGLE => "Google".into(),
        _ => id.clone(),
    });
    Some(Provider { id, label, kind })
}

fn read_local(section: &Section<'_>) -> Option<LocalProvider> {
    if section.node("users_file").is_none() {
        section.problem("users_file", "is missing");
    }
    let users_file = section.file("users_file")?;
    let users = users::read(section.reading, &users_file)?;
    Some(LocalProvider { users_file, users })
}

fn read_oidc(section: &Section<'_>) -> Option<OidcProvider> {
    let issuer = section.required("issuer", issuer);
    let ca_file = section.checked_file("ca_file", files::check_roots);
    let client_id = section.required("client_id", value::text);
    let client_secret = section.secret("client_secret", "client_secret_file");
    let scopes = section
        .list("scopes", scope)
        .unwrap_or_else(|| ["openid", "email", "profile"].map(str::to_owned).to_vec());
    if !scopes.iter().any(|scope| scope == "openid") {
        section.problem("scopes", "must hold \"openid\": without it there is no ID token");
    }
    let user_claim = section
        .value("user_claim", value::text)
        .unwrap_or_else(|| "email".into());
    let hosted_domains = section.list("hosted_domains", value::host).unwrap_or_default();
    let google_groups = google::read(section, issuer.as_deref(), &scopes);
    // Google puts no groups into its tokens; where its API tells them, none are looked for there.
    let groups_claim = section
        .list("groups_claim", pointer)
        .unwrap_or_else(|| match &google_groups {
            Some(_) => Vec::new(),
            None => vec!["/groups".into()],
        });
    Some(OidcProvider {
        issuer: issuer?,
        ca_file,
        client_id: client_id?,
        client_secret,
        scopes,
        user_claim,
        groups_claim,
        hosted_domains,
        google_groups,
    })
}

pub(super) fn issuer(node: &Node) -> Result<String, String> {
    let text = value::text(node)?;
    check_issuer(&value::web_url(node)?)?;
    Ok(text)
}

pub(super) fn check_issuer(url: &Url) -> Result<(), String> {
    if url.scheme() == "http" && !value::is_loopback(url) {
        return Err(
            "must be https: whoever can change what the issuer says can be anybody (plain http is for loopback alone)"
                .into(),
        );
    }
    Ok(())
}

/// RFC 6749, 3.3: printable ASCII but for space, quote and backslash.
fn scope(node: &Node) -> Result<String, String> {
    let text = value::text(node)?;
    if text
        .bytes()
        .all(|byte| matches!(byte, 0x21 | 0x23..=0x5b | 0x5d..=0x7e))
    {
        Ok(text)
    } else {
        Err("must be one scope, without spaces or quotes".into())
    }
}

fn pointer(node: &Node) -> Result<String, String> {
    let text = value::text(node)?;
    if text.starts_with('/') {
        Ok(text)
    } else {
        Err(format!(
            "must be a JSON pointer such as \"/groups\" or \"/realm_access/roles\", not {text:?}"
        ))
    }
}
