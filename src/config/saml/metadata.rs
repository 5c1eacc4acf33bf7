//! An identity provider's metadata: who it is, where it is asked, and the keys that its word is known by.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use roxmltree::Node;
use url::Url;

use crate::domain::Timestamp;
use crate::domain::xml::{self, XmlBounds};

use super::super::value;
use super::IdpKey;

const METADATA: &str = "urn:oasis:names:tc:SAML:2.0:metadata";
const SIGNATURE: &str = "http://www.w3.org/2000/09/xmldsig#";
const PROTOCOL: &str = "urn:oasis:names:tc:SAML:2.0:protocol";
const REDIRECT: &str = "urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Redirect";
const POST: &str = "urn:oasis:names:tc:SAML:2.0:bindings:HTTP-POST";

/// Keys beyond this are no roll-over.
const MOST_KEYS: usize = 8;

const BOUNDS: XmlBounds = XmlBounds {
    size: 4 << 20,
    depth: 32,
    elements: 20_000,
    attributes: 64,
    remarks: true,
};

/// How a message travels through the browser.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SamlBinding {
    Redirect,
    Post,
}

/// Where one service of the identity provider is.
#[derive(Clone, Debug)]
pub struct IdpEndpoint {
    pub binding: SamlBinding,
    pub url: Url,
    /// Where answers go, where that is another place.
    pub response_url: Option<Url>,
}

#[derive(Clone, Debug)]
pub struct IdpMetadata {
    pub entity_id: String,
    /// Any of them may have signed. Never empty.
    pub keys: Vec<IdpKey>,
    pub sign_in: Vec<IdpEndpoint>,
    pub logout: Vec<IdpEndpoint>,
    /// From then on it is not to be believed any more.
    pub valid_until: Option<Timestamp>,
}

impl IdpMetadata {
    /// # Errors
    /// What is wrong with it: without an entity id, a signing key and a place to sign in nobody could be believed.
    pub fn parse(text: &str) -> Result<Self, String> {
        let document = xml::read(text, BOUNDS).map_err(|error| error.to_string())?;
        let entity = entity_of(document.root_element())?;
        let entity_id = entity
            .attribute("entityID")
            .map(str::trim)
            .filter(|id| !id.is_empty() && id.len() <= 1024 && !id.chars().any(char::is_control))
            .ok_or("it has no entityID")?
            .to_owned();
        let role = xml::only(entity, METADATA, "IDPSSODescriptor").ok_or("it has not one IDPSSODescriptor")?;
        if !words(role.attribute("protocolSupportEnumeration")).any(|word| word == PROTOCOL) {
            return Err("its IDPSSODescriptor does not speak SAML 2.0".to_owned());
        }
        let valid_until = entity
            .ancestors()
            .chain([role])
            .filter_map(|node| node.attribute("validUntil"))
            .map(|text| Timestamp::parse_rfc3339(text.trim()).map_err(|_| "its validUntil is no time".to_owned()))
            .collect::<Result<Vec<_>, _>>()?
            .into_iter()
            .min();
        let sign_in = endpoints(role, "SingleSignOnService")?;
        if sign_in.is_empty() {
            return Err("it has no SingleSignOnService for the redirect or POST binding".to_owned());
        }
        Ok(Self {
            entity_id,
            keys: keys(role)?,
            sign_in,
            logout: endpoints(role, "SingleLogoutService")?,
            valid_until,
        })
    }

    pub fn sign_in_by(&self, binding: SamlBinding) -> Option<&IdpEndpoint> {
        self.sign_in.iter().find(|endpoint| endpoint.binding == binding)
    }

    /// Where to end the provider's session; by redirect where it can be chosen.
    pub fn logout(&self) -> Option<&IdpEndpoint> {
        let by = |binding| self.logout.iter().find(move |endpoint| endpoint.binding == binding);
        by(SamlBinding::Redirect).or_else(|| by(SamlBinding::Post))
    }

    pub fn is_valid_at(&self, now: Timestamp) -> bool {
        self.valid_until.is_none_or(|end| now < end)
    }
}

/// The one identity provider of a document, which may be a list of several parties.
fn entity_of<'a, 'i>(root: Node<'a, 'i>) -> Result<Node<'a, 'i>, String> {
    if xml::is_named(root, METADATA, "EntityDescriptor") {
        return Ok(root);
    }
    if !xml::is_named(root, METADATA, "EntitiesDescriptor") {
        return Err("it is no SAML 2.0 metadata: its root is no EntityDescriptor".to_owned());
    }
    let mut found = xml::named(root, METADATA, "EntityDescriptor")
        .filter(|entity| xml::named(*entity, METADATA, "IDPSSODescriptor").next().is_some());
    match (found.next(), found.next()) {
        (Some(entity), None) => Ok(entity),
        (None, _) => Err("it holds no identity provider".to_owned()),
        (Some(_), Some(_)) => Err("it holds several identity providers: take the metadata of one".to_owned()),
    }
}

fn endpoints(role: Node<'_, '_>, name: &str) -> Result<Vec<IdpEndpoint>, String> {
    let mut found = Vec::new();
    for service in xml::named(role, METADATA, name) {
        let binding = match service.attribute("Binding") {
            Some(REDIRECT) => SamlBinding::Redirect,
            Some(POST) => SamlBinding::Post,
            _ => continue,
        };
        let read = |attribute: &str| service.attribute(attribute).map(|text| place(name, text)).transpose();
        found.push(IdpEndpoint {
            binding,
            url: read("Location")?.ok_or_else(|| format!("a {name} has no Location"))?,
            response_url: read("ResponseLocation")?,
        });
    }
    Ok(found)
}

/// Browsers are sent there with what they know: https, or http on this machine.
fn place(name: &str, text: &str) -> Result<Url, String> {
    let wrong = || format!("the Location of a {name} is no https URL (plain http is for loopback alone)");
    let url = Url::parse(text.trim()).map_err(|_| wrong())?;
    let is_safe = url.scheme() == "https" || (url.scheme() == "http" && value::is_loopback(&url));
    match is_safe && url.host().is_some() && url.fragment().is_none() {
        true => Ok(url),
        false => Err(wrong()),
    }
}

/// Keys that may sign. A certificate that cannot be used is passed over where another can.
fn keys(role: Node<'_, '_>) -> Result<Vec<IdpKey>, String> {
    let (mut keys, mut wrong) = (Vec::new(), None);
    for descriptor in xml::named(role, METADATA, "KeyDescriptor") {
        if !matches!(descriptor.attribute("use"), None | Some("signing")) {
            continue;
        }
        let certificates = xml::named(descriptor, SIGNATURE, "KeyInfo")
            .flat_map(|info| xml::named(info, SIGNATURE, "X509Data"))
            .flat_map(|data| xml::named(data, SIGNATURE, "X509Certificate"));
        for certificate in certificates {
            let der = xml::text_of(certificate)
                .map(|text| text.split_ascii_whitespace().collect::<String>())
                .and_then(|text| STANDARD.decode(text).ok());
            match der
                .ok_or("it is no base64".to_owned())
                .and_then(|der| IdpKey::of_certificate(&der))
            {
                Ok(key) => keys.push(key),
                Err(text) => wrong = Some(text),
            }
        }
    }
    if keys.len() > MOST_KEYS {
        return Err(format!("it has more than {MOST_KEYS} signing keys"));
    }
    if keys.is_empty() {
        let why = wrong.map(|text| format!(": {text}")).unwrap_or_default();
        return Err(format!("it holds no signing certificate that can be used{why}"));
    }
    Ok(keys)
}

fn words(text: Option<&str>) -> impl Iterator<Item = &str> {
    text.unwrap_or_default().split_ascii_whitespace()
}
