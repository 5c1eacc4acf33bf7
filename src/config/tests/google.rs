//! `google_groups`: what must stand beside it, and a key that can be used. A good one is in the integration tests.

use rcgen::KeyPair;
use serde_json::json;

use super::{Folder, MINIMAL, refused};
use crate::config::{Config, Problem};

fn load(file: &str, keys: &str) -> Result<Config, Vec<Problem>> {
    let folder = Folder::new();
    folder.put("google.json", file);
    folder.load(&format!(
        "{MINIMAL}[[provider]]\nid = \"google\"\nkind = \"oidc\"\nclient_id = \"x\"\n{keys}\n"
    ))
}

const ISSUER: &str = "issuer = \"https://accounts.google.com\"\n";
const ON: &str = "google_groups = \"cloud-identity\"\n";
const FILE: &str = "google_credentials_file = \"google.json\"\n";

#[test]
fn groups_from_google_are_asked_of_googles_own_people_with_a_key() {
    for (keys, key, words) in [
        (format!("{ISSUER}{ON}"), "google_credentials_file", "is missing"),
        (
            format!("issuer = \"https://idp.example.com\"\n{ON}{FILE}"),
            "google_groups",
            "alone",
        ),
        (
            format!("{ISSUER}{ON}{FILE}scopes = [\"openid\"]\n"),
            "scopes",
            "\"email\"",
        ),
        (
            format!("{ISSUER}google_groups = \"both\"\n"),
            "google_groups",
            "must be",
        ),
        (
            format!("{ISSUER}{ON}google_admin = \"somebody\"\n"),
            "google_admin",
            "address",
        ),
        (
            format!("{ISSUER}{ON}google_customer = \"my_customer\"\n"),
            "google_customer",
            "C046psxkn",
        ),
        (format!("{ISSUER}{FILE}"), "google_credentials_file", "of no use"),
        (
            format!("{ISSUER}google_admin = \"a@b.example\"\n"),
            "google_admin",
            "of no use",
        ),
        (
            format!("{ISSUER}google_customer = \"C1\"\n"),
            "google_customer",
            "of no use",
        ),
    ] {
        refused(load("{}", &keys), &format!("provider[1].{key}"), words);
    }
    assert!(load("{}", &format!("{ISSUER}google_groups = \"off\"\n")).is_ok());
}

#[test]
fn a_key_that_cannot_be_used_is_told_of_without_a_word_of_its_content() {
    let key = |kind: &str, private: &str| {
        json!({"type": kind, "client_email": "a@b.example", "private_key_id": "1", "private_key": private}).to_string()
    };
    let elliptic = KeyPair::generate().unwrap().serialize_pem();
    for (file, words) in [
        ("s3cret".to_owned(), "no JSON key"),
        (
            json!({"type": "service_account", "s3cret": 1}).to_string(),
            "no JSON key",
        ),
        (key("authorized_user", &elliptic), "no key of a service account"),
        (key("service_account", "s3cret"), "no PEM private key"),
        (key("service_account", &elliptic), "not RSA"),
        (
            key(
                "service_account",
                "-----BEGIN PRIVATE KEY-----\nczNjcmV0\n-----END PRIVATE KEY-----\n",
            ),
            "cannot be used",
        ),
    ] {
        let answer = load(&file, &format!("{ISSUER}{ON}{FILE}"));
        let told = format!("{:?}", answer.as_ref().err());
        assert!(!told.contains("s3cret") && !told.contains("MII"), "{told}");
        refused(answer, "provider[1].google_credentials_file", words);
    }
}
