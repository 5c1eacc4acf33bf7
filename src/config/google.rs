//! Groups from Google's APIs: which of them, and the service account that asks.

use std::path::Path;
use std::sync::Arc;

use rustls::crypto::ring::sign::any_supported_type;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use rustls::sign::SigningKey;
use rustls::{SignatureAlgorithm, SignatureScheme};
use serde::Deserialize;
use zeroize::Zeroize;

use super::files;
use super::node::Node;
use super::reader::Section;
use super::value;

pub const GOOGLE: &str = "https://accounts.google.com";

#[derive(Clone, Debug)]
pub struct GoogleGroups {
    pub api: GoogleApi,
    pub account: ServiceAccount,
    /// As whom the Directory API is asked; none: as the service account itself.
    pub admin: Option<String>,
    /// Groups of this customer alone: `C046psxkn`.
    pub customer: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GoogleApi {
    CloudIdentity,
    Directory,
}

/// The key of a service account, as Google's console gives it out.
#[derive(Clone, Debug)]
pub struct ServiceAccount {
    pub email: String,
    pub key_id: Option<String>,
    /// RSA, able to sign for RS256. Does not print.
    pub key: Arc<dyn SigningKey>,
}

#[derive(Deserialize)]
struct KeyFile {
    #[serde(rename = "type")]
    kind: String,
    client_email: String,
    private_key_id: Option<String>,
    private_key: String,
}

pub(super) fn read(section: &Section<'_>, issuer: Option<&str>, scopes: &[String]) -> Option<GoogleGroups> {
    let words = [
        ("off", None),
        ("cloud-identity", Some(GoogleApi::CloudIdentity)),
        ("directory", Some(GoogleApi::Directory)),
    ];
    let api = section.choice("google_groups", &words)?;
    let account = section.path_of("google_credentials_file").and_then(|path| {
        section.reading.watch(&path);
        service_account(&path)
            .map_err(|text| section.problem("google_credentials_file", text))
            .ok()
    });
    let admin = section.value("google_admin", address);
    let customer = section.value("google_customer", customer);
    let Some(api) = api else {
        for key in ["google_credentials_file", "google_admin", "google_customer"] {
            if section.node(key).is_some() {
                section.problem(key, "is of no use while google_groups is \"off\"");
            }
        }
        return None;
    };
    if issuer.is_some_and(|issuer| issuer != GOOGLE) {
        section.problem("google_groups", format!("is for the issuer {GOOGLE} alone"));
    }
    if section.node("google_credentials_file").is_none() {
        section.problem(
            "google_credentials_file",
            "is missing: google_groups needs the JSON key of a service account",
        );
    }
    if !scopes.iter().any(|scope| scope == "email") {
        section.problem(
            "scopes",
            "must hold \"email\": Google's groups are found by the person's address",
        );
    }
    Some(GoogleGroups {
        api,
        account: account?,
        admin,
        customer,
    })
}

/// Says nothing of the file's content: it holds a private key.
fn service_account(path: &Path) -> Result<ServiceAccount, String> {
    let bytes = files::read(path)?;
    files::check_private(path)?;
    let told = |text: &str| format!("{} {text}", path.display());
    let mut file: KeyFile = serde_json::from_slice(&bytes)
        .map_err(|_| told("is no JSON key of a service account (type, client_email, private_key)"))?;
    if file.kind != "service_account" {
        return Err(told(
            "is no key of a service account: its type must be \"service_account\"",
        ));
    }
    let private = PrivateKeyDer::from_pem_slice(file.private_key.as_bytes());
    file.private_key.zeroize();
    let private = private.map_err(|_| told("holds no PEM private key in private_key"))?;
    let key = any_supported_type(&private).map_err(|_| told("holds a private key that cannot be used"))?;
    if key.algorithm() != SignatureAlgorithm::RSA || key.choose_scheme(&[SignatureScheme::RSA_PKCS1_SHA256]).is_none() {
        return Err(told("holds a private key that is not RSA"));
    }
    Ok(ServiceAccount {
        email: file.client_email,
        key_id: file.private_key_id,
        key,
    })
}

fn address(node: &Node) -> Result<String, String> {
    let text = value::text(node)?;
    match text.split_once('@') {
        Some((local, domain)) if !local.is_empty() && domain.contains('.') => Ok(text),
        _ => Err(format!("must be the address of an administrator, not {text:?}")),
    }
}

fn customer(node: &Node) -> Result<String, String> {
    let text = value::text(node)?;
    let rest = text.strip_prefix('C').unwrap_or_default();
    if !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        Ok(text)
    } else {
        Err(format!("must be a customer id such as \"C046psxkn\", not {text:?}"))
    }
}
