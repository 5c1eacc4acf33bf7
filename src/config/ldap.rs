//! `[[provider]]` of kind "ldap": where the directory is, and how people and groups are found in it.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

use url::Url;

use crate::domain::Secret;

use super::node::Node;
use super::reader::Section;
use super::{files, value};

#[derive(Clone, Debug)]
pub struct LdapProvider {
    /// Tried in turn; never empty.
    pub urls: Vec<LdapUrl>,
    pub start_tls: bool,
    pub ca_file: Option<PathBuf>,
    /// The gateway's own account; without one it asks anonymously.
    pub bind: Option<(String, Secret)>,
    pub schema: LdapSchema,
    /// With `{username}`: people bind as this, and nobody is searched for first.
    pub user_dn: Option<String>,
    pub user_base: String,
    /// With `{username}`.
    pub user_filter: String,
    /// The attribute that is the user name.
    pub user_name: String,
    pub group_base: String,
    /// With `{dn}`, `{username}` or both.
    pub group_filter: String,
    /// The attribute that is a group's name, or `dn`.
    pub group_name: String,
    pub nested_groups: NestedGroups,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LdapUrl {
    /// TLS from the first byte (`ldaps`).
    pub tls: bool,
    /// A name or an address, an IPv6 address without brackets.
    pub host: String,
    pub port: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LdapSchema {
    /// Groups name their members by user name (`memberUid`).
    Rfc2307,
    /// Groups name their members by DN (`member`).
    Rfc2307bis,
    ActiveDirectory,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NestedGroups {
    Off,
    /// The gateway asks for the groups of the groups, until there are no new ones.
    Recursive,
    /// The directory is asked once, with the matching rule LDAP_MATCHING_RULE_IN_CHAIN.
    ActiveDirectory,
}

/// `ldaps://ldap.example.com:636`
impl fmt::Display for LdapUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "ldaps" } else { "ldap" };
        match self.host.contains(':') {
            true => write!(f, "{scheme}://[{}]:{}", self.host, self.port),
            false => write!(f, "{scheme}://{}:{}", self.host, self.port),
        }
    }
}

impl LdapUrl {
    fn is_loopback(&self) -> bool {
        self.host == "localhost" || self.host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
    }
}

impl LdapSchema {
    fn user_filter(self) -> &'static str {
        match self {
            Self::Rfc2307 => "(&(objectClass=posixAccount)(uid={username}))",
            Self::Rfc2307bis => "(&(objectClass=person)(uid={username}))",
            Self::ActiveDirectory => {
                "(&(objectCategory=person)(objectClass=user)(|(sAMAccountName={username})(userPrincipalName={username})))"
            }
        }
    }

    fn user_name(self) -> &'static str {
        match self {
            Self::Rfc2307 | Self::Rfc2307bis => "uid",
            Self::ActiveDirectory => "sAMAccountName",
        }
    }

    fn group_filter(self) -> &'static str {
        match self {
            Self::Rfc2307 => "(&(objectClass=posixGroup)(memberUid={username}))",
            Self::Rfc2307bis => "(member={dn})",
            Self::ActiveDirectory => "(&(objectClass=group)(member={dn}))",
        }
    }
}

pub(super) fn read(section: &Section<'_>) -> Option<LdapProvider> {
    if section.node("url").is_none() {
        section.problem("url", "is missing");
    }
    let urls = section.list("url", url);
    let start_tls = section.value("start_tls", value::flag).unwrap_or(false);
    if let Some(urls) = &urls {
        check_privacy(section, urls, start_tls);
    }
    let ca_file = section.checked_file("ca_file", files::check_roots);
    let bind = read_bind(section);
    let schemas = [
        ("rfc2307bis", LdapSchema::Rfc2307bis),
        ("rfc2307", LdapSchema::Rfc2307),
        ("active-directory", LdapSchema::ActiveDirectory),
    ];
    let schema = section.choice("schema", &schemas);
    let preset = schema.unwrap_or(LdapSchema::Rfc2307bis);
    let user_dn = section.value("user_dn", user_dn);
    let derived = user_dn.as_deref().and_then(above);
    let user_base = match derived {
        Some(base) => section.value("user_base", value::text).or(Some(base)),
        None => section.required("user_base", value::text),
    };
    let user_filter = section
        .value("user_filter", |node| filter(node, &["{username}"]))
        .unwrap_or_else(|| preset.user_filter().to_owned());
    let user_name = section
        .value("user_name", attribute)
        .unwrap_or_else(|| preset.user_name().to_owned());
    let group_base = section.required("group_base", value::text);
    let group_filter = section
        .value("group_filter", |node| filter(node, &["{dn}", "{username}"]))
        .unwrap_or_else(|| preset.group_filter().to_owned());
    let group_name = section.value("group_name", attribute).unwrap_or_else(|| "cn".into());
    let nestings = [
        ("off", NestedGroups::Off),
        ("recursive", NestedGroups::Recursive),
        ("active-directory", NestedGroups::ActiveDirectory),
    ];
    let nested_groups = section.choice("nested_groups", &nestings);
    if nested_groups != Some(NestedGroups::Off) && !group_filter.contains("={dn}") {
        section.problem(
            "nested_groups",
            "needs a group_filter with ={dn}, such as \"(member={dn})\": groups have no user name to be found by",
        );
    }
    Some(LdapProvider {
        urls: urls?,
        start_tls,
        ca_file,
        bind,
        schema: schema?,
        user_dn,
        user_base: user_base?,
        user_filter,
        user_name,
        group_base: group_base?,
        group_filter,
        group_name,
        nested_groups: nested_groups?,
    })
}

fn check_privacy(section: &Section<'_>, urls: &[LdapUrl], start_tls: bool) {
    if urls.is_empty() {
        section.problem("url", "is empty: name at least one server");
    }
    if start_tls && urls.iter().any(|url| url.tls) {
        section.problem("start_tls", "is for ldap:// alone: ldaps:// has TLS from the start");
    }
    if !start_tls && urls.iter().any(|url| !url.tls && !url.is_loopback()) {
        section.problem(
            "url",
            "must be ldaps, or ldap with start_tls = true: everyone on the way could read passwords (plain ldap is for loopback alone)",
        );
    }
}

fn read_bind(section: &Section<'_>) -> Option<(String, Secret)> {
    let dn = section.value("bind_dn", value::text);
    let password = section.secret("bind_password", "bind_password_file");
    match (dn, password) {
        (Some(dn), Some(password)) => {
            // Such a bind would succeed as nobody (RFC 4513, 5.1.2).
            if password.is_empty() {
                section.problem("bind_password", "is empty");
            }
            Some((dn, password))
        }
        (Some(_), None) => {
            section.problem("bind_dn", "needs bind_password_file, or bind_password");
            None
        }
        (None, Some(_)) => {
            section.problem("bind_password_file", "has no bind_dn beside it");
            None
        }
        (None, None) => None,
    }
}

fn url(node: &Node) -> Result<LdapUrl, String> {
    let text = value::text(node)?;
    let wrong = || format!("must be such as \"ldaps://ldap.example.com\", not {text:?}");
    let url = Url::parse(&text).map_err(|_| wrong())?;
    let (tls, port) = match url.scheme() {
        "ldaps" => (true, 636),
        "ldap" => (false, 389),
        _ => return Err(wrong()),
    };
    let host = url.host_str().unwrap_or_default().to_ascii_lowercase();
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | ':');
    let bare = url.username().is_empty() && url.password().is_none() && url.query().is_none();
    if !bare || !matches!(url.path(), "" | "/") || host.is_empty() || !host.chars().all(plain) {
        return Err(wrong());
    }
    Ok(LdapUrl {
        tls,
        host: host.to_owned(),
        port: url.port().unwrap_or(port),
    })
}

fn user_dn(node: &Node) -> Result<String, String> {
    let text = value::text(node)?;
    check_places(&text, &["{username}"])?;
    match text.split_once("{username}") {
        Some((before, after)) if before.ends_with('=') && !after.contains("{username}") => Ok(text),
        _ => Err("must be a DN with {username} once, such as \"uid={username},ou=people,dc=example,dc=com\"".into()),
    }
}

/// What stands above a person's entry: `ou=people,dc=example` of `uid={username},ou=people,dc=example`.
fn above(user_dn: &str) -> Option<String> {
    let (_, after) = user_dn.split_once("{username}")?;
    let (rest, base) = after.split_once(',')?;
    (rest.is_empty() && !base.is_empty()).then(|| base.trim().to_owned())
}

/// A filter (RFC 4515) with at least one of the places that are filled in.
fn filter(node: &Node, places: &[&str]) -> Result<String, String> {
    let text = value::text(node)?;
    check_places(&text, places)?;
    if !places.iter().any(|place| text.contains(place)) {
        return Err(format!("must hold {}", places.join(" or ")));
    }
    let filled = places.iter().fold(text.clone(), |text, place| text.replace(place, "x"));
    if !text.starts_with('(') || ldap3::parse_filter(&filled).is_err() {
        return Err(format!("is no LDAP filter (RFC 4515): {text:?}"));
    }
    Ok(text)
}

fn check_places(text: &str, places: &[&str]) -> Result<(), String> {
    let rest = places
        .iter()
        .fold(text.to_owned(), |text, place| text.replace(place, ""));
    match rest.contains(['{', '}']) {
        true => Err(format!("may hold {} and no other braces", places.join(" and "))),
        false => Ok(()),
    }
}

fn attribute(node: &Node) -> Result<String, String> {
    let text = value::text(node)?;
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.');
    match text.chars().all(plain) {
        true => Ok(text),
        false => Err(format!("must be the name of an attribute, not {text:?}")),
    }
}
