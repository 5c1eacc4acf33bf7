//! Encrypted assertions that were tampered with, and assertions that come again.

use mlgate::config::StoreKind;

use crate::support::gateway::Setup;
use crate::support::mlflow::{Mlflow, NEWEST};
use crate::support::redis::Redis;
use crate::support::saml::{Asked, Cipher, Says, Signed, encrypt, encrypted, last_refusal, piece, provider};

use super::{gateway, refused};

#[test]
fn what_is_encrypted_is_opened_once_for_each_request_and_never_says_what_was_wrong() {
    let gateway = gateway();
    const CLOSED: &str = "encryption: the assertion cannot be decrypted";
    let sealed =
        |asked: &Asked, cipher: Cipher| encrypt(&Says::honest(asked).signing(Signed::Assertion).signed(), cipher);
    let cbc = Cipher {
        content: "aes128-cbc",
        ..Cipher::default()
    };
    for cipher in [Cipher::default(), cbc] {
        for (what, tag) in [("the key", 0), ("the content", 1)] {
            for at in [40, -8] {
                let asked = Asked::begin(&gateway, "corp");
                let response = sealed(&asked, cipher);
                let forged = flip(&response, tag, at);
                refused(
                    &gateway,
                    &asked,
                    &forged,
                    CLOSED,
                    &format!("{what} was changed at {at}, {cipher:?}"),
                );
                // The request is used up: the next guess needs another.
                refused(
                    &gateway,
                    &asked,
                    &response,
                    "for no request that is open",
                    "a second guess",
                );
            }
        }
    }
    let asked = Asked::begin(&gateway, "corp");
    let rsa15 = Cipher {
        digest: "rsa-1_5",
        ..Cipher::default()
    };
    refused(
        &gateway,
        &asked,
        &sealed(&asked, rsa15),
        "algorithm: the key is not wrapped",
        "RSA 1.5",
    );
    // Something else than a signed assertion of ours inside.
    for (what, inside, words) in [
        ("no XML", "nothing".to_owned(), CLOSED),
        ("another element", "<a/>".to_owned(), CLOSED),
        ("a DTD", "<!DOCTYPE a><a/>".to_owned(), CLOSED),
        (
            "an unsigned one",
            {
                let response = Says::honest(&asked).signing(Signed::Nothing).signed();
                piece(&response, "saml:Assertion").replacen(
                    "<saml:Assertion",
                    "<saml:Assertion xmlns:saml=\"urn:oasis:names:tc:SAML:2.0:assertion\"",
                    1,
                )
            },
            "signature: nothing is signed",
        ),
        (
            "a stranger's",
            {
                let mut says = Says::honest(&asked).signing(Signed::Assertion);
                says.manner.key = "attacker";
                piece(&says.signed(), "saml:Assertion").replacen(
                    "<saml:Assertion",
                    "<saml:Assertion xmlns:saml=\"urn:oasis:names:tc:SAML:2.0:assertion\"",
                    1,
                )
            },
            "signature: it was made by no key",
        ),
    ] {
        let asked = Asked::begin(&gateway, "corp");
        let envelope = Says::honest(&asked).signing(Signed::Nothing).signed();
        let forged = envelope.replace(
            piece(&envelope, "saml:Assertion"),
            &encrypted(inside.as_bytes(), Cipher::default()),
        );
        refused(&gateway, &asked, &forged, words, what);
    }
    // Unsolicited, or for a request of somebody else's making.
    let asked = Asked::begin(&gateway, "corp");
    for (what, says) in [
        ("unsolicited", Says::unsolicited(&asked)),
        (
            "a made-up request",
            Says::honest(&asked).edit(|text| text.replace(" InResponseTo=\"_", " InResponseTo=\"_f")),
        ),
    ] {
        let response = encrypt(&says.signing(Signed::Assertion).signed(), Cipher::default());
        refused(&gateway, &asked, &response, "for no request that is open", what);
    }
    for (what, old, new, words) in [
        (
            "two keys",
            "</ds:KeyInfo>",
            "<xenc:EncryptedKey/></ds:KeyInfo>",
            "shape:",
        ),
        ("no key", "xenc:EncryptedKey", "xenc:AgreementMethod", "shape:"),
        (
            "content instead of an element",
            "xmlenc#Element",
            "xmlenc#Content",
            "shape:",
        ),
        ("3DES", "xmlenc11#aes256-gcm", "xmlenc#tripledes-cbc", "algorithm:"),
        (
            "OAEP with parameters",
            "</xenc:EncryptionMethod>",
            "<xenc:OAEPparams>AA==</xenc:OAEPparams></xenc:EncryptionMethod>",
            "algorithm:",
        ),
        ("OAEP with MD5", "xmldsig#sha1", "xmldsig-more#md5", "algorithm:"),
    ] {
        let asked = Asked::begin(&gateway, "corp");
        let response = sealed(&asked, Cipher::default());
        assert!(response.contains(old), "{old}");
        refused(&gateway, &asked, &response.replace(old, new), words, what);
    }
    let asked = Asked::begin(&gateway, "corp");
    assert!(asked.sign_in(&gateway, &sealed(&asked, cbc)).is_ok());
}

/// The text with one bit of the bytes in a cipher value turned: of the key (0) or of the content (1), counted from one of its ends.
fn flip(text: &str, which: usize, at: isize) -> String {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    let values: Vec<&str> = text
        .split("<xenc:CipherValue>")
        .skip(1)
        .map(|rest| rest.split('<').next().unwrap())
        .collect();
    let mut bytes = STANDARD.decode(values[which]).unwrap();
    let place = if at < 0 {
        bytes.len() - at.unsigned_abs()
    } else {
        at as usize
    };
    bytes[place] ^= 1;
    text.replace(values[which], &STANDARD.encode(bytes))
}

#[test]
fn an_assertion_is_good_once_on_all_replicas() {
    use std::os::unix::fs::PermissionsExt;
    let (mlflow, redis) = (Mlflow::shared(NEWEST), Redis::start());
    let StoreKind::Redis { url, .. } = redis.kind() else {
        panic!("it is Redis")
    };
    let replica = |port: Option<u16>| {
        let mut setup = Setup::new(&mlflow.url());
        // Both are one site to the world, and each listens on a port of its own.
        let site = port.unwrap_or(setup.port);
        setup.top = format!("public_url = \"http://127.0.0.1:{site}\"\n");
        let key = setup.path("key");
        std::fs::write(
            &key,
            std::array::from_fn::<u8, 32, _>(|place| (place as u8).wrapping_mul(37) ^ 0x5a),
        )
        .unwrap();
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
        setup.session = format!(
            "store = \"redis\"\nredis_url = \"{}\"\nsecret_files = [\"key\"]",
            url.expose()
        );
        setup.sections += &provider(&setup, "corp", "allow_idp_initiated = true");
        setup.start()
    };
    let one = replica(None);
    let other = replica(Some(one.setup.port));
    let asked = Asked::begin(&one, "corp");
    let response = Says::honest(&asked).signed();
    // Begun at one, answered at the other, finished at the first.
    let answer = asked.post(&other, &response);
    assert_eq!(answer.status, 303, "{} {}", answer.text(), last_refusal(&other));
    for gateway in [&one, &other] {
        refused(
            gateway,
            &asked,
            &response,
            "replay: the assertion was used before",
            "once more",
        );
    }
    assert!(asked.land(&one, answer).is_ok());
    let response = Says::unsolicited(&asked).signed();
    assert!(asked.sign_in(&other, &response).is_ok(), "{}", last_refusal(&other));
    refused(
        &one,
        &asked,
        &response,
        "replay: the assertion was used before",
        "unsolicited, once more",
    );
    // A new envelope around an old assertion is no new assertion.
    let asked = Asked::begin(&one, "corp");
    let says = Says::honest(&asked).signing(Signed::Assertion);
    let response = says.signed();
    assert!(asked.sign_in(&one, &response).is_ok());
    refused(
        &other,
        &asked,
        &response.replace(&says.response_id, "_another"),
        "replay:",
        "in another envelope",
    );
}
