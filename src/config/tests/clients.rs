//! `[[client]]`.

use super::{Folder, MINIMAL, refused, with};
use crate::config::GrantType;

#[test]
fn a_service_account_is_read_and_roles_may_name_it() {
    let folder = Folder::new();
    folder.put("nightly", "s3cret\n");
    let text = "[[client]]\nid = \"nightly\"\nsecret_file = \"nightly\"\ngrants = [\"client_credentials\"]\ngroups = [\"jobs\"]\n\
                [[role]]\nname = \"viewer\"\ngroups = [\"client:jobs\"]\nusers = [\"client:nightly\"]\n";
    let config = folder.load(&format!("{MINIMAL}{text}")).unwrap();
    let client = &config.clients[0];
    assert_eq!(
        (client.id.as_str(), &client.grants[..]),
        ("nightly", &[GrantType::ClientCredentials][..])
    );
    assert!(client.secret.as_ref().unwrap().matches("s3cret"));
    assert!(!format!("{client:?}").contains("s3cret"));
    // Without any client there is nobody whom such a line could mean.
    refused(
        with("[[role]]\nname = \"viewer\"\ngroups = [\"client:jobs\"]\n"),
        "role[0].groups[0]",
        "names the provider",
    );
}

#[test]
fn what_cannot_work_is_refused_with_all_its_problems() {
    let client = |rest: &str| with(&format!("[[client]]\nid = \"c\"\n{rest}\n"));
    refused(client(""), "client[0].grants", "may do nothing");
    refused(
        client("grants = [\"password\"]"),
        "client[0].grants[0]",
        "must be one of",
    );
    refused(
        client("grants = [\"client_credentials\"]"),
        "client[0].secret_file",
        "is missing",
    );
    refused(client("introspect = true"), "client[0].secret_file", "is missing");
    refused(
        client("grants = [\"authorization_code\"]"),
        "client[0].redirect_uris",
        "is missing",
    );
    refused(
        client("secret = \"x\"\ngrants = [\"refresh_token\"]"),
        "client[0].grants",
        "neither",
    );
    refused(
        client("grants = [\"device_code\"]\ngroups = [\"x\"]"),
        "client[0].groups",
        "does nothing",
    );
    for uri in [
        "http://app.example/cb",
        "https://app.example/#x",
        "https://app.example",
        "app:/cb",
    ] {
        let text = format!("grants = [\"authorization_code\"]\nredirect_uris = [\"{uri}\"]");
        assert!(client(&text).is_err(), "{uri}");
    }
    for uri in ["https://app.example/cb", "http://127.0.0.1:8000/cb"] {
        let text = format!("grants = [\"authorization_code\"]\nredirect_uris = [\"{uri}\"]");
        assert!(client(&text).is_ok(), "{uri}");
    }
    let built_in = with("[[client]]\nid = \"mlgate-cli\"\ngrants = [\"device_code\"]\n");
    refused(built_in, "client[0].id", "another client");
}
