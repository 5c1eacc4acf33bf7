//! `[[provider]]` of kind "saml": metadata, keys, and what cannot be.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PublicKeyData};

use super::{Config, Folder, MINIMAL, Problem, ProviderKind, refused};
use crate::config::{IdpKey, IdpMetadata, MetadataSource, SamlBinding, SamlProvider, UserAttribute};

/// RSA keys take long to make; these are for tests alone.
pub(super) const KEY: &str = include_str!("../../../integration-tests/support/saml/sp-key.pem");
pub(super) const CERT: &str = include_str!("../../../integration-tests/support/saml/sp-cert.pem");
const IDP_CERT: &str = include_str!("../../../integration-tests/support/saml/idp-cert.pem");
const WEAK_CERT: &str = include_str!("../../../integration-tests/support/saml/weak-cert.pem");

const PROVIDER: &str = "[[provider]]\nid = \"okta\"\nkind = \"saml\"\nmetadata_file = \"idp.xml\"\nkey_file = \"key.pem\"\ncert_file = \"cert.pem\"\n";

fn der(pem: &str) -> String {
    pem.lines().filter(|line| !line.starts_with("-----")).collect()
}

fn descriptor(usage: &str, certificate: &str) -> String {
    format!(
        "<KeyDescriptor{usage}><ds:KeyInfo><ds:X509Data><ds:X509Certificate>\n{certificate}\n</ds:X509Certificate></ds:X509Data></ds:KeyInfo></KeyDescriptor>"
    )
}

fn metadata(keys: &str) -> String {
    format!(
        "<?xml version=\"1.0\"?><!-- theirs --><EntityDescriptor xmlns=\"urn:oasis:names:tc:SAML:2.0:metadata\" xmlns:ds=\"http://www.w3.org/2000/09/xmldsig#\" entityID=\"https://idp.example/entity\">\
         <IDPSSODescriptor protocolSupportEnumeration=\"urn:oasis:names:tc:SAML:2.0:protocol\">{keys}\
         <SingleLogoutService Binding=\"urn:oasis:names:tc:SAML:2.0:bindings:SOAP\" Location=\"https://idp.example/soap\"/>\
         <SingleLogoutService Binding=\"urn:oasis:names:tc:SAML:2.0:bindings:HTTP-POST\" Location=\"https://idp.example/slo\" ResponseLocation=\"https://idp.example/slo-answer\"/>\
         <SingleSignOnService Binding=\"urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Redirect\" Location=\"https://idp.example/sso?x=1\"/>\
         </IDPSSODescriptor></EntityDescriptor>"
    )
}

fn good() -> String {
    metadata(&descriptor(" use=\"signing\"", &der(IDP_CERT)))
}

fn load(metadata: &str, provider: &str) -> Result<Config, Vec<Problem>> {
    let folder = Folder::new();
    folder.put("idp.xml", metadata);
    folder.put("key.pem", KEY);
    folder.put("cert.pem", CERT);
    folder.load(&format!("{MINIMAL}{provider}"))
}

fn saml_of(config: Config) -> SamlProvider {
    match config.providers.into_iter().nth(1).unwrap().kind {
        ProviderKind::Saml(saml) => *saml,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_small_provider_has_the_documented_defaults() {
    let saml = saml_of(load(&good(), PROVIDER).unwrap());
    assert_eq!(saml.entity_id, "http://localhost:8080/auth/saml/okta/metadata");
    assert_eq!(saml.base, "http://localhost:8080/auth/saml/okta");
    assert_eq!(saml.binding, SamlBinding::Redirect);
    assert_eq!(saml.user_attribute, UserAttribute::NameId);
    assert_eq!(
        (
            saml.groups_attribute.as_str(),
            saml.email_attribute.as_str(),
            saml.display_name_attribute.as_str()
        ),
        ("groups", "email", "displayName")
    );
    assert!(!saml.allow_idp_initiated && !saml.force_authn && saml.requested_authn_context.is_empty());
    assert!(saml.name_id_format.is_none());
    let MetadataSource::File(idp) = saml.metadata else {
        panic!("a file")
    };
    assert_eq!(idp.entity_id, "https://idp.example/entity");
    assert_eq!(idp.sign_in[0].url.as_str(), "https://idp.example/sso?x=1");
    let logout = idp.logout().unwrap();
    assert_eq!(
        logout.response_url.as_ref().unwrap().as_str(),
        "https://idp.example/slo-answer"
    );
    assert!(matches!(idp.keys.as_slice(), [IdpKey::Rsa(_)]));
}

#[test]
fn the_files_that_it_names_are_watched() {
    let config = load(&good(), PROVIDER).unwrap();
    let names: Vec<_> = config.watched.iter().filter_map(|path| path.file_name()).collect();
    for name in ["idp.xml", "key.pem", "cert.pem"] {
        assert!(names.contains(&name.as_ref()), "{name} is not in {names:?}");
    }
}

#[test]
fn metadata_without_a_key_that_can_sign_is_refused() {
    let weak = descriptor("", &der(WEAK_CERT));
    for (keys, words) in [
        (String::new(), "no signing certificate"),
        (
            descriptor(" use=\"encryption\"", &der(IDP_CERT)),
            "no signing certificate",
        ),
        (descriptor("", "AAAA"), "no X.509 certificate"),
        (descriptor("", "%"), "no base64"),
        (weak.clone(), "1024 bits"),
    ] {
        refused(load(&metadata(&keys), PROVIDER), "provider[1].metadata_file", words);
    }
    // Beside a good one they are passed over.
    let beside = metadata(&format!("{weak}{}", descriptor("", &der(IDP_CERT))));
    let saml = saml_of(load(&beside, PROVIDER).unwrap());
    assert!(matches!(saml.metadata, MetadataSource::File(idp) if idp.keys.len() == 1));
}

#[test]
fn keys_of_the_three_elliptic_curves_are_taken() {
    for (algorithm, length) in [(&PKCS_ECDSA_P256_SHA256, 65), (&PKCS_ECDSA_P384_SHA384, 97)] {
        let key = KeyPair::generate_for(algorithm).unwrap();
        assert_eq!(key.der_bytes().len(), length);
        let certificate = CertificateParams::default().self_signed(&key).unwrap();
        let found = IdpMetadata::parse(&metadata(&descriptor("", &STANDARD.encode(certificate.der())))).unwrap();
        match (&found.keys[0], length) {
            (IdpKey::P256(_), 65) | (IdpKey::P384(_), 97) => {}
            (other, _) => panic!("{other:?}"),
        }
    }
    let p521 = include_str!("../../../integration-tests/support/saml/p521-cert.pem");
    let found = IdpMetadata::parse(&metadata(&descriptor("", &der(p521)))).unwrap();
    assert!(matches!(found.keys[0], IdpKey::P521(_)));
}

#[test]
fn metadata_that_is_something_else_is_refused() {
    let entity = good().split_once("-->").unwrap().1.to_owned();
    let list = |inside: &str| {
        format!("<EntitiesDescriptor xmlns=\"urn:oasis:names:tc:SAML:2.0:metadata\">{inside}</EntitiesDescriptor>")
    };
    assert!(load(&list(&entity), PROVIDER).is_ok());
    for (text, words) in [
        ("<html/>".to_owned(), "no EntityDescriptor"),
        ("not XML".to_owned(), "well-formed"),
        (format!("<!DOCTYPE x>{entity}"), "DTD"),
        (list(""), "no identity provider"),
        (list(&entity.repeat(2)), "several identity providers"),
        (
            good().replace("entityID=\"https://idp.example/entity\"", ""),
            "entityID",
        ),
        (good().replace("SAML:2.0:protocol", "SAML:1.1:protocol"), "SAML 2.0"),
        (
            good().replace("SingleSignOnService", "SingleSoap"),
            "SingleSignOnService",
        ),
        (
            good().replace("https://idp.example/sso?x=1", "http://idp.example/sso"),
            "https",
        ),
        (
            good().replace("https://idp.example/sso?x=1", "javascript:alert(1)"),
            "https",
        ),
        (
            good().replace("entityID=", "validUntil=\"tomorrow\" entityID="),
            "validUntil",
        ),
    ] {
        refused(load(&text, PROVIDER), "provider[1].metadata_file", words);
    }
}

#[test]
fn valid_until_is_the_nearest_that_is_said() {
    use crate::domain::Timestamp;
    let text = good()
        .replace("entityID=", "validUntil=\"2030-01-02T00:00:00Z\" entityID=")
        .replace(
            "<IDPSSODescriptor ",
            "<IDPSSODescriptor validUntil=\"2030-01-01T00:00:00Z\" ",
        );
    let idp = IdpMetadata::parse(&text).unwrap();
    let end = Timestamp::parse_rfc3339("2030-01-01T00:00:00Z").unwrap();
    assert_eq!(idp.valid_until, Some(end));
    assert!(!idp.is_valid_at(end) && idp.is_valid_at(Timestamp::from_seconds(end.seconds() - 1)));
}

#[test]
fn a_binding_that_the_metadata_lacks_is_refused() {
    let provider = format!("{PROVIDER}binding = \"post\"\n");
    refused(load(&good(), &provider), "provider[1].metadata_file", "binding");
}

#[test]
fn one_source_of_metadata_is_needed_and_a_url_must_be_safe() {
    let url = |text: &str| PROVIDER.replace("metadata_file = \"idp.xml\"", text);
    refused(load("", &url("")), "provider[1].metadata_file", "missing");
    let both = format!("{PROVIDER}metadata_url = \"https://idp.example/m\"\n");
    refused(load(&good(), &both), "provider[1].metadata_url", "keep one");
    refused(
        load("", &url("metadata_url = \"http://idp.example/m\"")),
        "provider[1].metadata_url",
        "https",
    );
    assert!(load("", &url("metadata_url = \"http://127.0.0.1:1/m\"")).is_ok());
    assert!(load("", &url("metadata_url = \"https://login.example/m?appid=7\"")).is_ok());
}

#[test]
fn the_key_is_private_rsa_and_fits_its_certificate() {
    use std::os::unix::fs::PermissionsExt;
    let folder = Folder::new();
    folder.put("idp.xml", good());
    folder.put("cert.pem", CERT);
    let text = format!("{MINIMAL}{PROVIDER}");
    let elliptic = KeyPair::generate().unwrap().serialize_pem();
    for (key, certificate, at, words) in [
        ("", CERT, "provider[1].key_file", "no PEM private key"),
        (elliptic.as_str(), CERT, "provider[1].key_file", "RSA key"),
        (KEY, IDP_CERT, "provider[1].cert_file", "do not fit"),
        (KEY, "", "provider[1].cert_file", "no PEM certificate"),
    ] {
        folder.put("key.pem", key);
        folder.put("cert.pem", certificate);
        refused(folder.load(&text), at, words);
    }
    folder.put("cert.pem", CERT);
    let path = folder.put("key.pem", KEY);
    assert!(folder.load(&text).is_ok());
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o644)).unwrap();
    refused(folder.load(&text), "provider[1].key_file", "chmod 600");
    refused(
        load(&good(), &PROVIDER.replace("cert_file = \"cert.pem\"\n", "")),
        "provider[1].cert_file",
        "missing",
    );
}

#[test]
fn all_that_is_wrong_with_it_is_said_at_once() {
    let wrong = "[[provider]]\nid = \"okta\"\nkind = \"saml\"\nmetadata_file = \"idp.xml\"\nkey_file = \"no.pem\"\ncert_file = \"cert.pem\"\nbinding = \"soap\"\nforce_auth = true\n";
    let problems = load("<a/>", wrong).unwrap_err();
    let keys: Vec<_> = problems.iter().map(|problem| problem.key.as_str()).collect();
    assert_eq!(
        keys,
        [
            "provider[1].metadata_file",
            "provider[1].key_file",
            "provider[1].binding",
            "provider[1].force_auth"
        ]
    );
}

/// The configurations on a page, one for each block.
fn blocks(page: &str) -> Vec<String> {
    let text = std::fs::read_to_string(super::examples::tree(page)).unwrap();
    let blocks = text
        .split("```toml\n")
        .skip(1)
        .map(|rest| rest.split("```").next().unwrap());
    let plain = blocks.map(|block| {
        block
            .lines()
            .map(|line| format!("{}\n", line.trim()))
            .collect::<String>()
    });
    plain.filter(|block| block.contains("kind = \"saml\"")).collect()
}

#[test]
fn what_the_pages_about_saml_say_loads() {
    for (page, count) in [
        ("docs/providers/saml.md", 1),
        ("docs/providers/keycloak.md", 1),
        ("docs/providers/okta.md", 1),
        ("docs/providers/entra-id.md", 1),
    ] {
        let blocks = blocks(page);
        assert_eq!(blocks.len(), count, "{page}");
        for block in blocks {
            let folder = Folder::new();
            folder.put("saml/idp.xml", good());
            folder.put("saml/key.pem", KEY);
            folder.put("saml/cert.pem", CERT);
            let text = MINIMAL.replace("http://localhost:8080", "https://mlflow.example.com");
            let config = folder.load(&format!("{text}{block}")).unwrap();
            let saml = saml_of(config);
            let said = std::fs::read_to_string(super::examples::tree(page)).unwrap();
            assert!(saml.entity_id.starts_with("https://mlflow.example.com/auth/saml/"));
            assert!(said.contains("/auth/saml/"), "{page}");
        }
    }
}
