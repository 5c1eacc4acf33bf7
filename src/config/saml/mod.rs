//! `[[provider]]` of kind "saml": whose word is taken, how it is asked, and what its attributes mean.

mod key;
mod metadata;

use std::path::PathBuf;
use std::sync::Arc;

use url::Url;

use super::node::Node;
use super::reader::Section;
use super::{files, value};

pub use key::{IdpKey, SamlKey};
pub use metadata::{IdpEndpoint, IdpMetadata, SamlBinding};

#[derive(Clone, Debug)]
pub struct SamlProvider {
    pub metadata: MetadataSource,
    /// What the gateway calls itself towards the provider.
    pub entity_id: String,
    /// `PUBLIC_URL/auth/saml/ID`; what follows it is `/metadata`, `/acs` or `/slo`.
    pub base: String,
    pub key: SamlKey,
    /// Of the gateway's own requests; answers always come by POST.
    pub binding: SamlBinding,
    pub force_authn: bool,
    /// One of them must be told in the answer; empty: any will do.
    pub requested_authn_context: Vec<String>,
    pub name_id_format: Option<String>,
    pub user_attribute: UserAttribute,
    pub groups_attribute: String,
    pub email_attribute: String,
    pub display_name_attribute: String,
    pub allow_idp_initiated: bool,
}

#[derive(Clone, Debug)]
pub enum MetadataSource {
    /// Read with the configuration, and again when it changes.
    File(Arc<IdpMetadata>),
    /// Fetched, and again every few minutes.
    Url { url: Url, ca_file: Option<PathBuf> },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UserAttribute {
    NameId,
    /// Its name or its friendly name.
    Named(String),
}

/// `public_url` is missing where it is a problem of its own.
pub(super) fn read(section: &Section<'_>, id: Option<&str>, public_url: Option<&Url>) -> Option<SamlProvider> {
    let bindings = [("redirect", SamlBinding::Redirect), ("post", SamlBinding::Post)];
    let binding = section.choice("binding", &bindings);
    let metadata = read_metadata(section, binding);
    let base = public_url
        .zip(id)
        .map(|(url, id)| format!("{}/auth/saml/{id}", url.as_str().trim_end_matches('/')));
    let entity_id = section
        .value("entity_id", entity_id)
        .or_else(|| base.as_ref().map(|base| format!("{base}/metadata")));
    let key = read_key(section);
    let formats = [
        ("", None),
        (
            "persistent",
            Some("urn:oasis:names:tc:SAML:2.0:nameid-format:persistent"),
        ),
        ("email", Some("urn:oasis:names:tc:SAML:1.1:nameid-format:emailAddress")),
        (
            "unspecified",
            Some("urn:oasis:names:tc:SAML:1.1:nameid-format:unspecified"),
        ),
    ];
    let name_id_format = section.choice("name_id_format", &formats);
    let named = |key, default: &str| section.value(key, value::text).unwrap_or_else(|| default.to_owned());
    let user_attribute = match named("user_attribute", "NameID") {
        name if name == "NameID" => UserAttribute::NameId,
        name => UserAttribute::Named(name),
    };
    let groups_attribute = named("groups_attribute", "groups");
    let email_attribute = named("email_attribute", "email");
    let display_name_attribute = named("display_name_attribute", "displayName");
    let flag = |key| section.value(key, value::flag).unwrap_or(false);
    let (force_authn, allow_idp_initiated) = (flag("force_authn"), flag("allow_idp_initiated"));
    let requested_authn_context = section
        .list("requested_authn_context", entity_id_like)
        .unwrap_or_default();
    Some(SamlProvider {
        metadata: metadata?,
        entity_id: entity_id?,
        base: base?,
        key: key?,
        binding: binding?,
        force_authn,
        requested_authn_context,
        name_id_format: name_id_format?.map(str::to_owned),
        user_attribute,
        groups_attribute,
        email_attribute,
        display_name_attribute,
        allow_idp_initiated,
    })
}

fn read_metadata(section: &Section<'_>, binding: Option<SamlBinding>) -> Option<MetadataSource> {
    let url = section.value("metadata_url", metadata_url);
    let ca_file = section.checked_file("ca_file", files::check_roots);
    match (
        section.node("metadata_file").is_some(),
        section.node("metadata_url").is_some(),
    ) {
        (true, true) => {
            section.problem("metadata_url", "is given beside metadata_file: keep one of the two");
            None
        }
        (false, false) => {
            section.problem("metadata_file", "is missing: the provider's metadata, or metadata_url");
            None
        }
        (false, true) => Some(MetadataSource::Url { url: url?, ca_file }),
        (true, false) => {
            if ca_file.is_some() {
                section.problem("ca_file", "is for metadata_url alone");
            }
            let path = section.file("metadata_file")?;
            let text = files::read(&path).and_then(|bytes| {
                String::from_utf8(bytes.to_vec()).map_err(|_| format!("{} is not UTF-8 text", path.display()))
            });
            let found = text.and_then(|text| {
                let wrong = |text: String| format!("{} cannot be used: {text}", path.display());
                let found = IdpMetadata::parse(&text).map_err(wrong)?;
                check_binding(&found, binding).map_err(wrong)?;
                Ok(found)
            });
            match found {
                Ok(found) => Some(MetadataSource::File(Arc::new(found))),
                Err(text) => {
                    section.problem("metadata_file", text);
                    None
                }
            }
        }
    }
}

fn check_binding(metadata: &IdpMetadata, binding: Option<SamlBinding>) -> Result<(), String> {
    match binding {
        Some(binding) if metadata.sign_in_by(binding).is_none() => {
            Err("it has no SingleSignOnService for this binding: set binding to the other".to_owned())
        }
        _ => Ok(()),
    }
}

fn read_key(section: &Section<'_>) -> Option<SamlKey> {
    for key in ["key_file", "cert_file"] {
        if section.node(key).is_none() {
            section.problem(key, "is missing");
        }
    }
    let (key, cert) = (section.file("key_file"), section.file("cert_file"));
    match SamlKey::read(&key?, &cert?) {
        Ok(key) => Some(key),
        Err((key, text)) => {
            section.problem(key, text);
            None
        }
    }
}

fn metadata_url(node: &Node) -> Result<Url, String> {
    let url = value::any_web_url(node)?;
    match url.scheme() == "https" || value::is_loopback(&url) {
        true => Ok(url),
        false => Err(
            "must be https: whoever can change the metadata can be anybody (plain http is for loopback alone)"
                .to_owned(),
        ),
    }
}

fn entity_id(node: &Node) -> Result<String, String> {
    entity_id_like(node).map_err(|_| "must be a URI of at most 1024 characters without spaces".to_owned())
}

fn entity_id_like(node: &Node) -> Result<String, String> {
    let text = value::text(node)?;
    match text.len() <= 1024 && text.chars().all(|c| c.is_ascii_graphic()) {
        true => Ok(text),
        false => Err("must be a URI without spaces".to_owned()),
    }
}
