//! What the gateway itself says: its metadata, requests to sign in and out, and answers; all of it signed.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::SignatureScheme;

use super::algorithm::{ENVELOPED, EXCLUSIVE, Hash, RSA_SHA256, SHA256};
use super::canonical::canonical;
use super::message::{ASSERTION, BOUNDS, DSIG, PROTOCOL, SUCCESS};
use super::response::NameId;
use crate::config::{SamlKey, SamlProvider};
use crate::domain::Timestamp;
use crate::domain::xml;

const METADATA: &str = "urn:oasis:names:tc:SAML:2.0:metadata";
const REDIRECT: &str = "urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Redirect";
const POST: &str = "urn:oasis:names:tc:SAML:2.0:bindings:HTTP-POST";
/// What `decrypt` can undo.
const ENCRYPTION: [&str; 6] = [
    "http://www.w3.org/2009/xmlenc11#aes256-gcm",
    "http://www.w3.org/2009/xmlenc11#aes128-gcm",
    "http://www.w3.org/2001/04/xmlenc#aes256-cbc",
    "http://www.w3.org/2001/04/xmlenc#aes128-cbc",
    "http://www.w3.org/2009/xmlenc11#rsa-oaep",
    "http://www.w3.org/2001/04/xmlenc#rsa-oaep-mgf1p",
];

/// What stands at the head of every message.
pub(super) struct Head<'a> {
    pub(super) id: &'a str,
    pub(super) destination: &'a str,
    pub(super) now: Timestamp,
}

impl Head<'_> {
    fn attributes(&self) -> String {
        format!(
            "xmlns:samlp=\"{PROTOCOL}\" xmlns:saml=\"{ASSERTION}\" ID=\"{}\" Version=\"2.0\" IssueInstant=\"{}\" Destination=\"{}\"",
            self.id,
            instant(self.now),
            escaped(self.destination)
        )
    }
}

pub(super) fn authn_request(head: &Head<'_>, config: &SamlProvider) -> String {
    let mut text = format!(
        "<samlp:AuthnRequest {} AssertionConsumerServiceURL=\"{}/acs\" ProtocolBinding=\"{POST}\"",
        head.attributes(),
        escaped(&config.base)
    );
    if config.force_authn {
        text.push_str(" ForceAuthn=\"true\"");
    }
    text.push('>');
    text.push_str(&issuer(&config.entity_id));
    let format = config
        .name_id_format
        .as_ref()
        .map(|format| format!(" Format=\"{}\"", escaped(format)));
    text.push_str(&format!(
        "<samlp:NameIDPolicy{} AllowCreate=\"true\"/>",
        format.unwrap_or_default()
    ));
    if !config.requested_authn_context.is_empty() {
        text.push_str("<samlp:RequestedAuthnContext Comparison=\"exact\">");
        for class in &config.requested_authn_context {
            text.push_str(&format!(
                "<saml:AuthnContextClassRef>{}</saml:AuthnContextClassRef>",
                escaped(class)
            ));
        }
        text.push_str("</samlp:RequestedAuthnContext>");
    }
    text.push_str("</samlp:AuthnRequest>");
    text
}

pub(super) fn logout_request(
    head: &Head<'_>,
    entity_id: &str,
    name_id: &NameId,
    session_index: Option<&str>,
) -> String {
    let attribute = |name: &str, value: &Option<String>| {
        value
            .as_ref()
            .map(|value| format!(" {name}=\"{}\"", escaped(value)))
            .unwrap_or_default()
    };
    let index = session_index.map(|index| format!("<samlp:SessionIndex>{}</samlp:SessionIndex>", escaped(index)));
    format!(
        "<samlp:LogoutRequest {}>{}<saml:NameID{}{}{}>{}</saml:NameID>{}</samlp:LogoutRequest>",
        head.attributes(),
        issuer(entity_id),
        attribute("Format", &name_id.format),
        attribute("NameQualifier", &name_id.name_qualifier),
        attribute("SPNameQualifier", &name_id.sp_name_qualifier),
        escaped(&name_id.value),
        index.unwrap_or_default()
    )
}

pub(super) fn logout_response(head: &Head<'_>, entity_id: &str, in_response_to: &str) -> String {
    format!(
        "<samlp:LogoutResponse {} InResponseTo=\"{}\">{}<samlp:Status><samlp:StatusCode Value=\"{SUCCESS}\"/></samlp:Status></samlp:LogoutResponse>",
        head.attributes(),
        escaped(in_response_to),
        issuer(entity_id)
    )
}

/// What the provider's administrator registers: who we are, where answers go, and our key.
pub(super) fn metadata(config: &SamlProvider) -> String {
    let base = escaped(&config.base);
    let certificate = STANDARD.encode(&config.key.certificate);
    let key_info = format!(
        "<ds:KeyInfo><ds:X509Data><ds:X509Certificate>{certificate}</ds:X509Certificate></ds:X509Data></ds:KeyInfo>"
    );
    let methods: String = ENCRYPTION
        .iter()
        .map(|name| format!("<md:EncryptionMethod Algorithm=\"{name}\"/>"))
        .collect();
    let format = config
        .name_id_format
        .as_ref()
        .map(|format| format!("<md:NameIDFormat>{}</md:NameIDFormat>", escaped(format)));
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <md:EntityDescriptor xmlns:md=\"{METADATA}\" xmlns:ds=\"{DSIG}\" entityID=\"{entity}\">\
         <md:SPSSODescriptor AuthnRequestsSigned=\"true\" WantAssertionsSigned=\"true\" protocolSupportEnumeration=\"{PROTOCOL}\">\
         <md:KeyDescriptor use=\"signing\">{key_info}</md:KeyDescriptor>\
         <md:KeyDescriptor use=\"encryption\">{key_info}{methods}</md:KeyDescriptor>\
         <md:SingleLogoutService Binding=\"{REDIRECT}\" Location=\"{base}/slo\"/>\
         <md:SingleLogoutService Binding=\"{POST}\" Location=\"{base}/slo\"/>\
         {format}\
         <md:AssertionConsumerService index=\"0\" isDefault=\"true\" Binding=\"{POST}\" Location=\"{base}/acs\"/>\
         </md:SPSSODescriptor></md:EntityDescriptor>\n",
        entity = escaped(&config.entity_id),
        format = format.unwrap_or_default(),
    )
}

/// A message with a signature of ours in it, for the POST binding: base64, as the form's field wants it.
///
/// # Errors
/// When our own key does not sign.
pub(super) fn enveloped(text: &str, id: &str, key: &SamlKey) -> Result<String, String> {
    let as_text = |bytes: Vec<u8>| String::from_utf8(bytes).map_err(|error| error.to_string());
    let canonical_of = |text: &str| -> Result<Vec<u8>, String> {
        let document = xml::read(text, BOUNDS).map_err(|error| error.to_string())?;
        Ok(canonical(document.root_element(), None, &[]))
    };
    let digest = STANDARD.encode(Hash::Sha256.of(&canonical_of(text)?));
    let info = as_text(canonical_of(&format!(
        "<ds:SignedInfo xmlns:ds=\"{DSIG}\"><ds:CanonicalizationMethod Algorithm=\"{EXCLUSIVE}\"/><ds:SignatureMethod Algorithm=\"{RSA_SHA256}\"/>\
         <ds:Reference URI=\"#{id}\"><ds:Transforms><ds:Transform Algorithm=\"{ENVELOPED}\"/><ds:Transform Algorithm=\"{EXCLUSIVE}\"/></ds:Transforms>\
         <ds:DigestMethod Algorithm=\"{SHA256}\"/><ds:DigestValue>{digest}</ds:DigestValue></ds:Reference></ds:SignedInfo>"
    ))?)?;
    let value = STANDARD.encode(sign(info.as_bytes(), key)?);
    let certificate = STANDARD.encode(&key.certificate);
    let signature = format!(
        "<ds:Signature xmlns:ds=\"{DSIG}\">{info}<ds:SignatureValue>{value}</ds:SignatureValue>\
         <ds:KeyInfo><ds:X509Data><ds:X509Certificate>{certificate}</ds:X509Certificate></ds:X509Data></ds:KeyInfo></ds:Signature>"
    );
    let end = "</saml:Issuer>";
    let (head, tail) = text.split_once(end).ok_or("a message of ours has no issuer")?;
    Ok(STANDARD.encode(format!("{head}{end}{signature}{tail}")))
}

/// RSA with SHA-256.
///
/// # Errors
/// When our own key does not sign.
pub(super) fn sign(message: &[u8], key: &SamlKey) -> Result<Vec<u8>, String> {
    let signer = key.signing.choose_scheme(&[SignatureScheme::RSA_PKCS1_SHA256]);
    let signer = signer.ok_or("the gateway's key does not sign by RSA with SHA-256")?;
    signer.sign(message).map_err(|error| error.to_string())
}

fn issuer(entity_id: &str) -> String {
    format!("<saml:Issuer>{}</saml:Issuer>", escaped(entity_id))
}

/// Whole seconds: some readers take no more.
fn instant(at: Timestamp) -> String {
    let text = at.rfc3339();
    format!("{}Z", text.get(..19).unwrap_or_default())
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            c => out.push(c),
        }
    }
    out
}
