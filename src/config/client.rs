//! `[[client]]`: OAuth clients besides the built-in one.

use std::collections::BTreeSet;

use url::Url;

use crate::domain::Secret;

use super::node::Node;
use super::reader::Section;
use super::value;

/// The client that every gateway knows: public, for terminals.
pub const BUILT_IN_CLIENT: &str = "mlgate-cli";

/// By what a client may get tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GrantType {
    AuthorizationCode,
    DeviceCode,
    RefreshToken,
    ClientCredentials,
    TokenExchange,
}

#[derive(Clone, Debug)]
pub struct Client {
    pub id: String,
    /// `None` for a public client.
    pub secret: Option<Secret>,
    pub grants: Vec<GrantType>,
    /// Compared byte for byte.
    pub redirect_uris: Vec<String>,
    /// What it is in when it acts for itself; roles name them `client:group`.
    pub groups: Vec<String>,
    pub introspect: bool,
}

const GRANTS: [(&str, GrantType); 5] = [
    ("authorization_code", GrantType::AuthorizationCode),
    ("device_code", GrantType::DeviceCode),
    ("refresh_token", GrantType::RefreshToken),
    ("client_credentials", GrantType::ClientCredentials),
    ("token_exchange", GrantType::TokenExchange),
];

pub(super) fn read_all(root: &Section<'_>) -> Vec<Client> {
    let mut ids = BTreeSet::from([BUILT_IN_CLIENT.to_owned()]);
    root.sections("client")
        .into_iter()
        .filter_map(|section| read(section, &mut ids))
        .collect()
}

fn read(section: Section<'_>, ids: &mut BTreeSet<String>) -> Option<Client> {
    let id = section.required("id", value::id);
    if let Some(id) = &id
        && !ids.insert(id.clone())
    {
        section.problem("id", format!("{id:?} is the id of another client too"));
    }
    let has_secret = section.node("secret").is_some() || section.node("secret_file").is_some();
    let secret = section.secret("secret", "secret_file");
    let grants = section.list("grants", grant).unwrap_or_default();
    let redirect_uris = section.list("redirect_uris", redirect_uri).unwrap_or_default();
    let groups = section.list("groups", value::text).unwrap_or_default();
    let introspect = section.value("introspect", value::flag).unwrap_or(false);
    let may = |grant| grants.contains(&grant);
    if grants.is_empty() && !introspect && section.node("grants").is_none() {
        section.problem(
            "grants",
            "is missing: without any, and without introspect, the client may do nothing",
        );
    }
    if !has_secret && (may(GrantType::ClientCredentials) || introspect) {
        section.problem(
            "secret_file",
            "is missing: a client that acts for itself, or introspects, must show who it is",
        );
    }
    if may(GrantType::AuthorizationCode) && redirect_uris.is_empty() && section.node("redirect_uris").is_none() {
        section.problem(
            "redirect_uris",
            "is missing: authorization_code needs to know where codes may go",
        );
    }
    if may(GrantType::RefreshToken) && !may(GrantType::AuthorizationCode) && !may(GrantType::DeviceCode) {
        section.problem(
            "grants",
            "has refresh_token, but neither authorization_code nor device_code that would give one",
        );
    }
    if !groups.is_empty() && !may(GrantType::ClientCredentials) {
        section.problem(
            "groups",
            "does nothing: they are for a client that acts for itself, by client_credentials",
        );
    }
    section.finish();
    Some(Client {
        id: id?,
        secret,
        grants,
        redirect_uris,
        groups,
        introspect,
    })
}

fn grant(node: &Node) -> Result<GrantType, String> {
    let word = value::text(node)?;
    let known = GRANTS.iter().find(|(name, _)| *name == word);
    known.map(|(_, grant)| *grant).ok_or_else(|| {
        let names: Vec<_> = GRANTS.iter().map(|(name, _)| *name).collect();
        format!("must be one of {}, not {word:?}", names.join(", "))
    })
}

/// Codes go there: https, or this very machine (RFC 8252, 7.3), and no fragment.
fn redirect_uri(node: &Node) -> Result<String, String> {
    let text = value::text(node)?;
    let url = value::any_web_url(node)?;
    if url.scheme() != "https" && !value::is_loopback(&url) {
        return Err("must be https, but for a loopback address".into());
    }
    if Url::parse(&text).is_ok_and(|url| url.as_str() != text) {
        return Err(format!("must be written as it is compared, byte for byte: {url}"));
    }
    Ok(text)
}
