//! An identity provider that says whatever a test wants, honest or forged. What it signs and encrypts is made by Debian's
//! `xmlsec1` and by OpenSSL, so that the gateway's own reading of XML is never measured by itself.

use std::fmt::Write as _;
use std::io::Read;
use std::path::PathBuf;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use mlgate::domain::{Clock, SystemClock, Timestamp};
use url::Url;

mod crypto;

pub use self::crypto::*;
use super::gateway::{Gateway, Setup};
use super::http::{Request, Response};
use super::root;

pub const ENTITY: &str = "https://idp.example.test/entity";
pub const SSO: &str = "https://idp.example.test/sso";
pub const SLO: &str = "https://idp.example.test/slo";
pub const EXCLUSIVE: &str = "http://www.w3.org/2001/10/xml-exc-c14n#";
const PROTOCOL: &str = "urn:oasis:names:tc:SAML:2.0:protocol";
const ASSERTION: &str = "urn:oasis:names:tc:SAML:2.0:assertion";
const MORE: &str = "http://www.w3.org/2001/04/xmldsig-more#";

/// Keys that were made for tests: `sp`, `idp`, `next`, `attacker`, each `-key.pem` and `-cert.pem`.
pub fn fixture(name: &str) -> PathBuf {
    root().join("integration-tests/support/saml").join(name)
}

pub fn der(certificate: &str) -> String {
    let pem = std::fs::read_to_string(fixture(certificate)).unwrap();
    pem.lines().filter(|line| !line.starts_with("-----")).collect()
}

/// Metadata with these signing certificates.
pub fn metadata(certificates: &[&str]) -> String {
    let keys: String = certificates
        .iter()
        .map(|name| {
            format!(
                "<md:KeyDescriptor use=\"signing\"><ds:KeyInfo><ds:X509Data><ds:X509Certificate>{}</ds:X509Certificate></ds:X509Data></ds:KeyInfo></md:KeyDescriptor>",
                der(name)
            )
        })
        .collect();
    let places: String = [("SingleLogoutService", SLO), ("SingleSignOnService", SSO)]
        .iter()
        .flat_map(|(name, url)| {
            ["HTTP-Redirect", "HTTP-POST"].map(|binding| {
                format!("<md:{name} Binding=\"urn:oasis:names:tc:SAML:2.0:bindings:{binding}\" Location=\"{url}\"/>")
            })
        })
        .collect();
    format!(
        "<?xml version=\"1.0\"?><md:EntityDescriptor xmlns:md=\"urn:oasis:names:tc:SAML:2.0:metadata\" xmlns:ds=\"http://www.w3.org/2000/09/xmldsig#\" entityID=\"{ENTITY}\">\
         <md:IDPSSODescriptor protocolSupportEnumeration=\"{PROTOCOL}\">{keys}{places}</md:IDPSSODescriptor></md:EntityDescriptor>"
    )
}

/// Writes the gateway's own pair into a folder of configurations.
pub fn write_key(setup: &Setup) {
    use std::os::unix::fs::PermissionsExt;
    for name in ["sp-key.pem", "sp-cert.pem"] {
        std::fs::copy(fixture(name), setup.path(name)).unwrap();
        std::fs::set_permissions(setup.path(name), std::fs::Permissions::from_mode(0o600)).unwrap();
    }
}

/// A provider's lines for the forger; its readers are the group `readers`.
pub fn provider(setup: &Setup, id: &str, more: &str) -> String {
    write_key(setup);
    std::fs::write(setup.path("idp.xml"), metadata(&["idp-cert.pem"])).unwrap();
    lines(id, &format!("metadata_file = \"idp.xml\"\n{more}"))
}

/// Likewise with metadata from elsewhere, which `more` names.
pub fn lines(id: &str, more: &str) -> String {
    format!(
        "[[provider]]\nid = \"{id}\"\nkind = \"saml\"\nkey_file = \"sp-key.pem\"\ncert_file = \"sp-cert.pem\"\n{more}\n\
         [[role]]\nname = \"{id}-readers\"\ngroups = [\"{id}:readers\"]\ngrants = [{{ permission = \"READ\", experiments = [\"*\"] }}]\n"
    )
}

/// One sign-in that was begun at the gateway.
#[derive(Clone, Debug)]
pub struct Asked {
    pub provider: String,
    pub request_id: String,
    pub relay_state: String,
    /// The login cookie.
    pub cookie: String,
    pub site: String,
}

impl Asked {
    pub fn begin(gateway: &Gateway, provider: &str) -> Self {
        let answer = gateway.send(&Request::get(&format!("/auth/login/{provider}?rd=%2Fauth%2Faccount")).navigation());
        assert_eq!(answer.status, 302, "{}", answer.text());
        let url = Url::parse(answer.header("location").unwrap()).unwrap();
        let cookie = answer.header("set-cookie").unwrap().split(';').next().unwrap();
        Self {
            provider: provider.to_owned(),
            request_id: attribute(&inflate(&parameter(&url, "SAMLRequest")), "ID"),
            relay_state: parameter(&url, "RelayState"),
            cookie: cookie.to_owned(),
            site: gateway.url(),
        }
    }

    pub fn base(&self) -> String {
        format!("{}/auth/saml/{}", self.site, self.provider)
    }

    /// The provider's page posts an answer; another site's form, so no cookie comes with it.
    pub fn post(&self, gateway: &Gateway, response: &str) -> Response {
        self.post_raw(gateway, &STANDARD.encode(response))
    }

    pub fn post_raw(&self, gateway: &Gateway, field: &str) -> Response {
        let request = Request::new("POST", &format!("/auth/saml/{}/acs", self.provider))
            .header("Origin", "https://idp.example.test")
            .header("Accept", "text/html")
            .form(&[("SAMLResponse", field), ("RelayState", &self.relay_state)]);
        gateway.send(&request)
    }

    /// Goes where the answer to the post led, with the cookie; the session's, or the refusal.
    pub fn land(&self, gateway: &Gateway, answer: Response) -> Result<String, Response> {
        if answer.status != 303 {
            return Err(answer);
        }
        let location = answer.header("location").unwrap();
        assert!(location.starts_with("/auth/callback/"), "{location}");
        let landed = gateway.send(&Request::get(location).navigation().header("Cookie", &self.cookie));
        session_of(&landed).ok_or(landed)
    }

    pub fn sign_in(&self, gateway: &Gateway, response: &str) -> Result<String, Response> {
        self.land(gateway, self.post(gateway, response))
    }
}

pub fn session_of(answer: &Response) -> Option<String> {
    let cookies = answer.all("set-cookie").filter_map(|cookie| cookie.split(';').next());
    let mut sessions = cookies.filter(|cookie| cookie.starts_with("mlgate=") && cookie.len() > 40);
    sessions.next().map(str::to_owned)
}

/// The reason of the last refused sign-in in the trail.
pub fn last_refusal(gateway: &Gateway) -> String {
    let events = gateway.events();
    let refused = events.iter().rev().find(|event| event["action"] == "login.refused");
    refused.map_or(String::new(), |event| {
        event["reason"]["text"].as_str().unwrap().to_owned()
    })
}

pub fn parameter(url: &Url, name: &str) -> String {
    let found = url.query_pairs().find(|(key, _)| key == name);
    found.unwrap_or_else(|| panic!("{url} has no {name}")).1.into_owned()
}

pub fn inflate(packed: &str) -> String {
    let mut text = String::new();
    let bytes = STANDARD.decode(packed).unwrap();
    flate2::read::DeflateDecoder::new(bytes.as_slice())
        .read_to_string(&mut text)
        .unwrap();
    text
}

pub fn deflate(text: &[u8]) -> String {
    use std::io::Write as _;
    let mut deflater = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::best());
    deflater.write_all(text).unwrap();
    STANDARD.encode(deflater.finish().unwrap())
}

/// The first attribute of that name in a text.
pub fn attribute(text: &str, name: &str) -> String {
    let start = text
        .find(&format!(" {name}=\""))
        .unwrap_or_else(|| panic!("{text} has no {name}"))
        + name.len()
        + 3;
    text[start..].split('"').next().unwrap().to_owned()
}

/// An element with all that is in it, by its written name; the first one.
pub fn piece<'t>(text: &'t str, name: &str) -> &'t str {
    let start = text
        .find(&format!("<{name}"))
        .unwrap_or_else(|| panic!("{text} has no {name}"));
    let end = format!("</{name}>");
    let length = text[start..]
        .find(&end)
        .unwrap_or_else(|| panic!("{name} does not end"))
        + end.len();
    &text[start..start + length]
}

pub fn in_seconds(seconds: i64) -> String {
    let now = SystemClock.now();
    let at = Timestamp::from_seconds(now.seconds() + seconds);
    format!("{}Z", &at.rfc3339()[..19])
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signed {
    Nothing,
    Assertion,
    Response,
    Both,
}

/// How a signature is made.
#[derive(Clone, Debug)]
pub struct Manner {
    pub key: &'static str,
    pub method: String,
    pub digest: String,
    pub canonicalization: String,
    /// The whole `Transforms`.
    pub transforms: String,
}

impl Default for Manner {
    fn default() -> Self {
        Self {
            key: "idp",
            method: format!("{MORE}rsa-sha256"),
            digest: "http://www.w3.org/2001/04/xmlenc#sha256".to_owned(),
            canonicalization: format!("<ds:CanonicalizationMethod Algorithm=\"{EXCLUSIVE}\"/>"),
            transforms: transforms(""),
        }
    }
}

/// Enveloped and exclusive, as they should be; `prefixes` makes a `PrefixList`.
pub fn transforms(prefixes: &str) -> String {
    let list = match prefixes {
        "" => String::new(),
        list => format!("<ec:InclusiveNamespaces xmlns:ec=\"{EXCLUSIVE}\" PrefixList=\"{list}\"/>"),
    };
    format!(
        "<ds:Transforms><ds:Transform Algorithm=\"http://www.w3.org/2000/09/xmldsig#enveloped-signature\"/><ds:Transform Algorithm=\"{EXCLUSIVE}\">{list}</ds:Transform></ds:Transforms>"
    )
}

/// What the provider says; every part of it can be changed.
#[derive(Clone, Debug)]
pub struct Says {
    pub signed: Signed,
    pub manner: Manner,
    pub response_id: String,
    pub assertion_id: String,
    /// Changes of the document before it is signed.
    pub edits: Vec<fn(&str) -> String>,
    pub name_id: String,
    pub attributes: String,
    /// How far the provider's clock is ahead, in seconds.
    pub ahead: i64,
    asked: Option<String>,
    base: String,
}

pub fn attribute_xml(name: &str, values: &[&str]) -> String {
    let values = values.iter().fold(String::new(), |mut all, value| {
        let _ = write!(
            all,
            "<saml:AttributeValue xsi:type=\"xs:string\">{value}</saml:AttributeValue>"
        );
        all
    });
    format!(
        "<saml:Attribute Name=\"{name}\" NameFormat=\"urn:oasis:names:tc:SAML:2.0:attrname-format:basic\">{values}</saml:Attribute>"
    )
}

impl Says {
    /// All of it right: alice, in the group `readers`.
    pub fn honest(asked: &Asked) -> Self {
        let random = |what: &str| format!("_{what}{:032x}", rand());
        Self {
            signed: Signed::Both,
            manner: Manner::default(),
            response_id: random("r"),
            assertion_id: random("a"),
            edits: Vec::new(),
            name_id: "alice".to_owned(),
            attributes: attribute_xml("groups", &["readers", "others"]),
            ahead: 0,
            asked: Some(asked.request_id.clone()),
            base: asked.base(),
        }
    }

    /// Likewise, for nobody who asked.
    pub fn unsolicited(asked: &Asked) -> Self {
        Self {
            asked: None,
            ..Self::honest(asked)
        }
    }

    pub fn signing(mut self, signed: Signed) -> Self {
        self.signed = signed;
        self
    }

    pub fn edit(mut self, change: fn(&str) -> String) -> Self {
        self.edits.push(change);
        self
    }

    fn template(&self, id: &str) -> String {
        format!(
            "<ds:Signature xmlns:ds=\"http://www.w3.org/2000/09/xmldsig#\"><ds:SignedInfo>{}<ds:SignatureMethod Algorithm=\"{}\"/>\
             <ds:Reference URI=\"#{id}\">{}<ds:DigestMethod Algorithm=\"{}\"/><ds:DigestValue/></ds:Reference></ds:SignedInfo><ds:SignatureValue/>\
             <ds:KeyInfo><ds:X509Data><ds:X509Certificate/></ds:X509Data></ds:KeyInfo></ds:Signature>",
            self.manner.canonicalization, self.manner.method, self.manner.transforms, self.manner.digest
        )
    }

    /// With templates where signatures are to be.
    pub fn unsigned(&self) -> String {
        let is = |one: &[Signed]| one.contains(&self.signed);
        let outer = if is(&[Signed::Response, Signed::Both]) {
            self.template(&self.response_id)
        } else {
            String::new()
        };
        let inner = if is(&[Signed::Assertion, Signed::Both]) {
            self.template(&self.assertion_id)
        } else {
            String::new()
        };
        let asked = self
            .asked
            .as_ref()
            .map(|id| format!(" InResponseTo=\"{id}\""))
            .unwrap_or_default();
        let (now, soon, base) = (in_seconds(self.ahead), in_seconds(self.ahead + 300), &self.base);
        let text = format!(
            "<samlp:Response xmlns:samlp=\"{PROTOCOL}\" xmlns:saml=\"{ASSERTION}\" ID=\"{}\" Version=\"2.0\" IssueInstant=\"{now}\" Destination=\"{base}/acs\"{asked}>\
             <saml:Issuer>{ENTITY}</saml:Issuer>{outer}<samlp:Status><samlp:StatusCode Value=\"urn:oasis:names:tc:SAML:2.0:status:Success\"/></samlp:Status>\
             <saml:Assertion xmlns:xs=\"http://www.w3.org/2001/XMLSchema\" xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\" ID=\"{}\" Version=\"2.0\" IssueInstant=\"{now}\">\
             <saml:Issuer>{ENTITY}</saml:Issuer>{inner}<saml:Subject><saml:NameID Format=\"urn:oasis:names:tc:SAML:2.0:nameid-format:persistent\">{}</saml:NameID>\
             <saml:SubjectConfirmation Method=\"urn:oasis:names:tc:SAML:2.0:cm:bearer\"><saml:SubjectConfirmationData{asked} Recipient=\"{base}/acs\" NotOnOrAfter=\"{soon}\"/></saml:SubjectConfirmation></saml:Subject>\
             <saml:Conditions NotBefore=\"{}\" NotOnOrAfter=\"{soon}\"><saml:AudienceRestriction><saml:Audience>{base}/metadata</saml:Audience></saml:AudienceRestriction></saml:Conditions>\
             <saml:AuthnStatement AuthnInstant=\"{now}\" SessionIndex=\"s-{}\"><saml:AuthnContext><saml:AuthnContextClassRef>urn:oasis:names:tc:SAML:2.0:ac:classes:Password</saml:AuthnContextClassRef></saml:AuthnContext></saml:AuthnStatement>\
             <saml:AttributeStatement>{}</saml:AttributeStatement></saml:Assertion></samlp:Response>",
            self.response_id,
            self.assertion_id,
            self.name_id,
            in_seconds(self.ahead - 10),
            self.assertion_id,
            self.attributes
        );
        self.edits.iter().fold(text, |text, change| {
            let changed = change(&text);
            assert_ne!(changed, text, "nothing was changed");
            changed
        })
    }

    pub fn signed(&self) -> String {
        let text = self.unsigned();
        let inner = |text: &str| {
            sign(
                text,
                "//*[local-name()='Assertion']/*[local-name()='Signature']",
                &self.manner,
            )
        };
        let outer = |text: &str| sign(text, "/*/*[local-name()='Signature']", &self.manner);
        match self.signed {
            Signed::Nothing => text,
            Signed::Assertion => inner(&text),
            Signed::Response => outer(&text),
            Signed::Both => outer(&inner(&text)),
        }
    }
}

/// How long anything that is refused may take, on a machine that does other things too.
pub const BOUND: Duration = Duration::from_secs(2);

/// The text with another value of an attribute in the first tag of that name, or without it.
pub fn reset(text: &str, element: &str, name: &str, value: Option<&str>) -> String {
    let start = text
        .find(&format!("<{element}"))
        .unwrap_or_else(|| panic!("{text} has no {element}"));
    let end = start + text[start..].find('>').unwrap();
    let tag = &text[start..end];
    let was = tag.find(&format!(" {name}=\"")).map(|at| {
        let length = tag[at + name.len() + 3..].find('"').unwrap() + name.len() + 4;
        &tag[at..at + length]
    });
    let new = value.map(|value| format!(" {name}=\"{value}\"")).unwrap_or_default();
    let changed = match was {
        Some(was) => tag.replace(was, &new),
        None => {
            let at = element.len() + 1;
            format!("{}{new}{}", &tag[..at], &tag[at..])
        }
    };
    format!("{}{changed}{}", &text[..start], &text[end..])
}
