//! Signing in by SAML: what an honest provider may say in many forms, what a session gets from it, and how it ends.

use std::time::Duration;

use serde_json::json;

use crate::support::gateway::{Gateway, Setup};
use crate::support::http::Request;
use crate::support::mlflow::{Mlflow, NEWEST};
use crate::support::process::until;
use crate::support::saml::{
    Asked, Cipher, Manner, Says, Signed, attribute_xml, encrypt, in_seconds, last_refusal, metadata, provider, reset,
    sign, transforms, xmlsec_agrees,
};

pub const EXPERIMENT: &str = "/api/2.0/mlflow/experiments/get?experiment_id=0";
const ME: &str = "/ajax-api/2.0/mlflow/users/current";

fn gateway(more: &str, session: &str) -> Gateway {
    let mut setup = Setup::new(&Mlflow::shared(NEWEST).url());
    setup.session = session.to_owned();
    setup.sections += &provider(&setup, "corp", more);
    setup.start()
}

fn status(gateway: &Gateway, cookie: &str, target: &str) -> u16 {
    gateway.send(&Request::get(target).header("Cookie", cookie)).status
}

fn accepted(gateway: &Gateway, asked: &Asked, response: &str, what: &str) -> String {
    asked
        .sign_in(gateway, response)
        .unwrap_or_else(|answer| panic!("{what}: {} {} {}", answer.status, last_refusal(gateway), gateway.log()))
}

#[test]
fn every_honest_form_of_a_response_is_accepted() {
    let gateway = gateway("", "");
    let outer = "/*/*[local-name()='Signature']";
    let inner = "//*[local-name()='Assertion']/*[local-name()='Signature']";
    for (signed, paths) in [
        (Signed::Assertion, &[inner][..]),
        (Signed::Response, &[outer]),
        (Signed::Both, &[inner, outer]),
    ] {
        for digest in [
            "http://www.w3.org/2001/04/xmlenc#sha256",
            "http://www.w3.org/2001/04/xmldsig-more#sha384",
            "http://www.w3.org/2001/04/xmlenc#sha512",
        ] {
            for method in ["rsa-sha256", "rsa-sha384", "rsa-sha512"] {
                let asked = Asked::begin(&gateway, "corp");
                let mut says = Says::honest(&asked).signing(signed);
                says.manner.method = format!("http://www.w3.org/2001/04/xmldsig-more#{method}");
                says.manner.digest = digest.to_owned();
                let response = says.signed();
                for path in paths {
                    assert!(
                        xmlsec_agrees(&response, path, "idp-cert.pem"),
                        "{signed:?} {method} {digest}"
                    );
                }
                let cookie = accepted(&gateway, &asked, &response, &format!("{signed:?} {method} {digest}"));
                assert_eq!(status(&gateway, &cookie, EXPERIMENT), 200);
            }
        }
    }
    let started = gateway.events();
    let started: Vec<_> = started
        .iter()
        .filter(|event| event["action"] == "session.start")
        .collect();
    assert_eq!(started.len(), 27);
    let actor = &started[0]["actor"];
    assert_eq!(
        (&actor["provider"], &actor["user"], &actor["groups"]),
        (&json!("corp"), &json!("alice"), &json!(["readers", "others"]))
    );
}

#[test]
fn a_session_belongs_to_whom_the_response_names() {
    let gateway = gateway("", "");
    let asked = Asked::begin(&gateway, "corp");
    let answer = asked.post(&gateway, &Says::honest(&asked).signed());
    assert_eq!(answer.status, 303, "{}", answer.text());
    assert!(
        answer.header("set-cookie").is_none(),
        "nobody is signed in by another site's form alone"
    );
    let location = answer.header("location").unwrap().to_owned();
    let landed = gateway.send(&Request::get(&location).navigation().header("Cookie", &asked.cookie));
    assert_eq!(
        (landed.status, landed.header("location")),
        (303, Some("/auth/account")),
        "{}",
        landed.text()
    );
    let cookie = crate::support::saml::session_of(&landed).unwrap();
    let me = gateway.send(&Request::get(ME).header("Cookie", &cookie)).json();
    assert_eq!(me["user"]["username"], "alice");
    // The way is used up, for this browser and for any other.
    let again = gateway.send(&Request::get(&location).navigation().header("Cookie", &asked.cookie));
    assert_eq!(again.status, 400, "{}", again.text());
}

#[test]
fn who_is_in_no_group_is_told_so() {
    let gateway = gateway("", "");
    let asked = Asked::begin(&gateway, "corp");
    let mut says = Says::honest(&asked);
    says.attributes = attribute_xml("groups", &["strangers"]);
    let cookie = accepted(&gateway, &asked, &says.signed(), "a stranger");
    assert_eq!(status(&gateway, &cookie, EXPERIMENT), 403);
}

#[test]
fn a_browser_that_did_not_ask_gets_nothing_from_a_good_response() {
    let gateway = gateway("", "");
    let (asked, other) = (Asked::begin(&gateway, "corp"), Asked::begin(&gateway, "corp"));
    let answer = asked.post(&gateway, &Says::honest(&asked).signed());
    let location = answer.header("location").unwrap().to_owned();
    for cookie in ["", other.cookie.as_str()] {
        let landed = gateway.send(&Request::get(&location).navigation().header("Cookie", cookie));
        assert_eq!(landed.status, 400, "{}", landed.text());
        assert!(crate::support::saml::session_of(&landed).is_none());
    }
    // That did not even spoil it for the one who did.
    let landed = gateway.send(&Request::get(&location).navigation().header("Cookie", &asked.cookie));
    assert!(crate::support::saml::session_of(&landed).is_some(), "{}", landed.text());
    // Another attempt of the same browser is another request.
    let first = Asked::begin(&gateway, "corp");
    let second = gateway.send(
        &Request::get("/auth/login/corp")
            .navigation()
            .header("Cookie", &first.cookie),
    );
    let url = url::Url::parse(second.header("location").unwrap()).unwrap();
    let mixed = Asked {
        relay_state: crate::support::saml::parameter(&url, "RelayState"),
        ..first.clone()
    };
    assert!(mixed.sign_in(&gateway, &Says::honest(&first).signed()).is_err());
    assert!(
        last_refusal(&gateway).contains("InResponseTo is another request"),
        "{}",
        last_refusal(&gateway)
    );
}

#[test]
fn encrypted_assertions_of_each_kind_are_read() {
    let gateway = gateway("", "");
    for content in ["aes128-cbc", "aes256-cbc", "aes128-gcm", "aes256-gcm"] {
        for (digest, mask) in [
            ("sha1", "sha1"),
            ("sha256", "sha1"),
            ("sha1", "sha256"),
            ("sha256", "sha256"),
        ] {
            let cipher = Cipher {
                content,
                digest,
                mask,
                beside: digest == mask,
            };
            // Signed, then encrypted.
            let asked = Asked::begin(&gateway, "corp");
            let response = encrypt(&Says::honest(&asked).signing(Signed::Assertion).signed(), cipher);
            assert!(!response.contains("alice"));
            accepted(&gateway, &asked, &response, &format!("{cipher:?}, signed inside"));
            // Encrypted, then signed.
            let asked = Asked::begin(&gateway, "corp");
            let mut says = Says::honest(&asked).signing(Signed::Response);
            let plain = says.unsigned();
            says.signed = Signed::Nothing;
            let response = sign(
                &encrypt(&plain, cipher),
                "/*/*[local-name()='Signature']",
                &Manner::default(),
            );
            accepted(&gateway, &asked, &response, &format!("{cipher:?}, signed outside"));
        }
    }
    // Both.
    let asked = Asked::begin(&gateway, "corp");
    let inside = sign(
        &Says::honest(&asked).unsigned(),
        "//*[local-name()='Assertion']/*[local-name()='Signature']",
        &Manner::default(),
    );
    let response = sign(
        &encrypt(&inside, Cipher::default()),
        "/*/*[local-name()='Signature']",
        &Manner::default(),
    );
    accepted(&gateway, &asked, &response, "signed inside and outside");
}

#[test]
fn listed_prefixes_odd_spaces_and_line_breaks_change_nothing() {
    let gateway = gateway("", "");
    for prefixes in ["", "xs", "xs xsi saml samlp", "#default xs", "nowhere"] {
        let asked = Asked::begin(&gateway, "corp");
        let mut says =
            Says::honest(&asked).edit(|text| text.replace("><saml:", ">\r\n\t <saml:").replace("alice", "al&#x69;ce"));
        says.manner.transforms = transforms(prefixes);
        accepted(&gateway, &asked, &says.signed(), prefixes);
    }
}

#[test]
fn a_rolled_key_is_known_as_soon_as_the_metadata_has_it() {
    let gateway = gateway("", "");
    let by_next = |asked: &Asked| {
        let mut says = Says::honest(asked);
        says.manner.key = "next";
        says.signed()
    };
    let asked = Asked::begin(&gateway, "corp");
    assert!(asked.sign_in(&gateway, &by_next(&asked)).is_err());
    assert!(
        last_refusal(&gateway).contains("signature: it was made by no key"),
        "{}",
        last_refusal(&gateway)
    );
    let reloaded = || {
        gateway
            .events()
            .iter()
            .filter(|event| event["action"] == "config.reload")
            .count()
    };
    std::fs::write(
        gateway.setup.path("idp.xml"),
        metadata(&["idp-cert.pem", "next-cert.pem"]),
    )
    .unwrap();
    until("the metadata is read again", Duration::from_secs(20), || {
        reloaded() == 1
    });
    for (says, what) in [
        (by_next as fn(&Asked) -> String, "the new key"),
        (|asked| Says::honest(asked).signed(), "the old key"),
    ] {
        let asked = Asked::begin(&gateway, "corp");
        accepted(&gateway, &asked, &says(&asked), what);
    }
    // What cannot be used changes nothing.
    std::fs::write(gateway.setup.path("idp.xml"), metadata(&[])).unwrap();
    until("the metadata is refused", Duration::from_secs(20), || reloaded() == 2);
    let asked = Asked::begin(&gateway, "corp");
    accepted(&gateway, &asked, &by_next(&asked), "the keys that were good last");
    let refused = gateway.events();
    let refused = refused
        .iter()
        .rfind(|event| event["action"] == "config.reload")
        .unwrap();
    assert_eq!(refused["outcome"], "failed");
    assert!(
        refused["reason"]["text"]
            .as_str()
            .unwrap()
            .contains("no signing certificate"),
        "{refused}"
    );
}

#[test]
fn a_response_that_nobody_asked_for_is_for_who_allows_it() {
    let (closed, open) = (gateway("", ""), gateway("allow_idp_initiated = true", ""));
    let asked = Asked::begin(&closed, "corp");
    assert_eq!(asked.post(&closed, &Says::unsolicited(&asked).signed()).status, 403);
    assert!(
        last_refusal(&closed).contains("nobody asked for this response"),
        "{}",
        last_refusal(&closed)
    );

    let asked = Asked::begin(&open, "corp");
    let response = Says::unsolicited(&asked).signed();
    let answer = asked.post(&open, &response);
    assert_eq!(answer.status, 303, "{} {}", answer.text(), last_refusal(&open));
    let location = answer.header("location").unwrap().to_owned();
    assert!(
        !location.contains("state="),
        "where it goes is not theirs to say: {location}"
    );
    let landed = open.send(&Request::get(&location).navigation());
    assert_eq!(landed.header("location"), Some("/"), "{}", landed.text());
    let cookie = crate::support::saml::session_of(&landed).unwrap();
    assert_eq!(status(&open, &cookie, EXPERIMENT), 200);
    assert_eq!(asked.post(&open, &response).status, 403, "once");
    // Whoever says that it answers something must answer what was asked.
    let asked = Asked::begin(&open, "corp");
    let says = Says::honest(&asked).edit(|text| text.replace(" InResponseTo=\"_", " InResponseTo=\"_f"));
    assert!(asked.sign_in(&open, &says.signed()).is_err());
    let plain = Says::unsolicited(&asked).signing(Signed::Assertion);
    assert!(
        asked
            .sign_in(&open, &encrypt(&plain.signed(), Cipher::default()))
            .is_err()
    );
    assert!(
        last_refusal(&open).contains("for no request that is open"),
        "{}",
        last_refusal(&open)
    );
}

#[test]
fn names_and_groups_come_from_the_attributes_that_are_named() {
    let more = "user_attribute = \"urn:oid:0.9.2342.19200300.100.1.1\"\ngroups_attribute = \"memberOf\"\nemail_attribute = \"mail\"\n";
    let gateway = gateway(more, "");
    let uid = attribute_xml("urn:oid:0.9.2342.19200300.100.1.1", &["ann"]);
    let groups = attribute_xml("urn:oid:1.3.6.1.4.1.5923.1.5.1.1", &["readers"])
        .replace(" NameFormat", " FriendlyName=\"memberOf\" NameFormat");
    let asked = Asked::begin(&gateway, "corp");
    let mut says = Says::honest(&asked);
    says.attributes = format!("{uid}{groups}{groups}{}", attribute_xml("mail", &["ann@example.test"]));
    let cookie = accepted(&gateway, &asked, &says.signed(), "by attribute");
    let me = gateway.send(&Request::get(ME).header("Cookie", &cookie)).json();
    assert_eq!(me["user"]["username"], "ann");
    assert_eq!(status(&gateway, &cookie, EXPERIMENT), 200);
    let session = &gateway.events();
    let session = session
        .iter()
        .rfind(|event| event["action"] == "session.start")
        .unwrap();
    assert_eq!(
        session["actor"]["subject"], "alice",
        "the persistent NameID is the identity"
    );
    for (attributes, words) in [
        (groups.clone(), "says no urn:oid:0.9"),
        (format!("{groups}{uid}{}", uid.replace("ann", "root")), "several values"),
    ] {
        let asked = Asked::begin(&gateway, "corp");
        let mut says = Says::honest(&asked);
        says.attributes = attributes;
        assert!(asked.sign_in(&gateway, &says.signed()).is_err());
        assert!(last_refusal(&gateway).contains(words), "{}", last_refusal(&gateway));
    }
}

#[test]
fn a_name_that_is_another_each_time_is_no_name() {
    let gateway = gateway("", "");
    let asked = Asked::begin(&gateway, "corp");
    let says = Says::honest(&asked).edit(|text| text.replace("nameid-format:persistent", "nameid-format:transient"));
    assert!(asked.sign_in(&gateway, &says.signed()).is_err());
    assert!(
        last_refusal(&gateway).contains("user_attribute"),
        "{}",
        last_refusal(&gateway)
    );
}

#[test]
fn the_provider_bounds_the_session() {
    let gateway = gateway("", "");
    let sessions = || -> serde_json::Value {
        serde_json::from_slice(&gateway.mlgate(&["sessions", "list", "--json"]).stdout).unwrap()
    };
    let asked = Asked::begin(&gateway, "corp");
    let says = Says::honest(&asked).edit(|text| {
        reset(
            text,
            "saml:AuthnStatement",
            "SessionNotOnOrAfter",
            Some(&in_seconds(600)),
        )
    });
    let cookie = accepted(&gateway, &asked, &says.signed(), "bounded");
    assert_eq!(status(&gateway, &cookie, EXPERIMENT), 200);
    let expires = sessions()[0]["expires"].as_str().unwrap().to_owned();
    assert!(
        expires.as_str() < in_seconds(700).as_str() && expires.as_str() > in_seconds(500).as_str(),
        "{expires}"
    );
    let asked = Asked::begin(&gateway, "corp");
    let says = Says::honest(&asked)
        .edit(|text| reset(text, "saml:AuthnStatement", "SessionNotOnOrAfter", Some(&in_seconds(3))));
    let cookie = accepted(&gateway, &asked, &says.signed(), "bounded tightly");
    until("the session ends", Duration::from_secs(15), || {
        status(&gateway, &cookie, EXPERIMENT) == 401
    });
}

#[test]
fn requests_are_signed_and_ask_for_what_is_configured() {
    let more = "binding = \"post\"\nforce_authn = true\nrequested_authn_context = [\"urn:mfa\", \"urn:other&x\"]\nname_id_format = \"persistent\"";
    let gateway = gateway(more, "");
    let page = gateway.send(&Request::get("/auth/login/corp").navigation());
    assert_eq!(page.status, 200);
    let policy = page.header("content-security-policy").unwrap();
    assert!(
        policy.contains("form-action https://idp.example.test https:"),
        "{policy}"
    );
    let text = page.text();
    let field = |name: &str| {
        let (_, rest) = text.split_once(&format!("name=\"{name}\" value=\"")).unwrap();
        rest.split('"').next().unwrap().to_owned()
    };
    assert_eq!(field("RelayState").len(), 43);
    use base64::Engine;
    let request = base64::engine::general_purpose::STANDARD
        .decode(field("SAMLRequest").replace("&#x2B;", "+").replace("&#43;", "+"))
        .unwrap();
    let request = String::from_utf8(request).unwrap();
    for words in [
        "ForceAuthn=\"true\"",
        "Comparison=\"exact\"><saml:AuthnContextClassRef>urn:mfa<",
        "urn:other&amp;x",
        "nameid-format:persistent\" AllowCreate=\"true\"",
        "Destination=\"https://idp.example.test/sso\"",
        "ProtocolBinding=\"urn:oasis:names:tc:SAML:2.0:bindings:HTTP-POST\"",
    ] {
        assert!(request.contains(words), "{words} is not in {request}");
    }
    let changed = request.replace("urn:mfa", "urn:mfb");
    assert!(
        !xmlsec_agrees(&changed, "/*/*[local-name()='Signature']", "sp-cert.pem"),
        "it is about the whole request"
    );
    assert!(xmlsec_agrees(&request, "/*/*[local-name()='Signature']", "sp-cert.pem"));
}

#[test]
fn what_was_asked_for_must_be_in_the_answer() {
    let gateway = gateway("force_authn = true\nrequested_authn_context = [\"urn:mfa\"]", "");
    let mfa: fn(&str) -> String = |text| text.replace("urn:oasis:names:tc:SAML:2.0:ac:classes:Password", "urn:mfa");
    let old: fn(&str) -> String = |text| reset(text, "saml:AuthnStatement", "AuthnInstant", Some(&in_seconds(-120)));
    for (edits, words) in [
        (vec![], "requested_authn_context"),
        (vec![mfa, old], "force_authn"),
        (vec![mfa], ""),
    ] {
        let asked = Asked::begin(&gateway, "corp");
        let mut says = Says::honest(&asked);
        says.edits = edits;
        match asked.sign_in(&gateway, &says.signed()) {
            Ok(_) => assert_eq!(words, "", "must be refused"),
            Err(answer) => {
                let told = last_refusal(&gateway);
                assert!(
                    !words.is_empty() && told.contains(words),
                    "{words}: {told} {}",
                    answer.text()
                );
            }
        }
    }
}

#[test]
fn the_metadata_of_the_gateway_says_how_to_reach_it() {
    let gateway = gateway("", "");
    let answer = gateway.send(&Request::get("/auth/saml/corp/metadata"));
    assert_eq!(
        (answer.status, answer.header("content-type")),
        (200, Some("application/samlmetadata+xml"))
    );
    let text = answer.text();
    let base = format!("{}/auth/saml/corp", gateway.url());
    for words in [
        format!("entityID=\"{base}/metadata\""),
        format!("bindings:HTTP-POST\" Location=\"{base}/acs\""),
        format!("bindings:HTTP-Redirect\" Location=\"{base}/slo\""),
        "AuthnRequestsSigned=\"true\"".to_owned(),
        crate::support::saml::der("sp-cert.pem"),
    ] {
        assert!(text.contains(&words), "{words} is not in {text}");
    }
    for (path, expected) in [
        ("/auth/saml/local/metadata", 404),
        ("/auth/saml/nobody/metadata", 404),
        ("/auth/saml/corp/acs", 405),
    ] {
        assert_eq!(gateway.send(&Request::get(path)).status, expected, "{path}");
    }
}

/// A person's page, as a browser asks for it.
fn visit(gateway: &Gateway, cookie: &str, target: &str) -> crate::support::http::Response {
    gateway.send(&Request::get(target).navigation().header("Cookie", cookie))
}

#[test]
fn old_groups_send_a_page_to_the_provider_and_a_script_on() {
    let gateway = gateway("", "recheck = \"2s\"");
    let asked = Asked::begin(&gateway, "corp");
    let cookie = accepted(&gateway, &asked, &Says::honest(&asked).signed(), "the first time");
    let page = "/?x=1&y=%2F";
    until("the groups are old", Duration::from_secs(20), || {
        visit(&gateway, &cookie, page).status == 302
    });
    let sent = visit(&gateway, &cookie, page);
    let location = sent.header("location").unwrap().to_owned();
    assert_eq!(location, "/auth/login?rd=%2F%3Fx%3D1%26y%3D%252F&provider=corp");
    assert_eq!(status(&gateway, &cookie, EXPERIMENT), 200, "a script goes on");
    // The same browser, with its session's cookie, through the provider once more; bob would be somebody else.
    let onward = gateway.send(&Request::get(&location).navigation().header("Cookie", &cookie));
    assert_eq!(onward.status, 302, "{}", onward.text());
    let begun = gateway.send(
        &Request::get(onward.header("location").unwrap())
            .navigation()
            .header("Cookie", &cookie),
    );
    let url = url::Url::parse(begun.header("location").unwrap()).unwrap();
    let login = begun.header("set-cookie").unwrap().split(';').next().unwrap();
    let again = Asked {
        request_id: crate::support::saml::attribute(
            &crate::support::saml::inflate(&crate::support::saml::parameter(&url, "SAMLRequest")),
            "ID",
        ),
        relay_state: crate::support::saml::parameter(&url, "RelayState"),
        cookie: format!("{login}; {cookie}"),
        ..asked
    };
    let mut says = Says::honest(&again);
    says.attributes = attribute_xml("groups", &["strangers"]);
    let answer = again.post(&gateway, &says.signed());
    let landed = gateway.send(
        &Request::get(answer.header("location").unwrap())
            .navigation()
            .header("Cookie", &again.cookie),
    );
    assert_eq!(
        (landed.status, landed.header("location")),
        (303, Some(page)),
        "{}",
        landed.text()
    );
    let session = crate::support::saml::session_of(&landed).unwrap();
    assert_eq!(session, cookie, "the session goes on");
    assert_eq!(status(&gateway, &cookie, EXPERIMENT), 403, "with the groups of today");
    let actions: Vec<_> = gateway
        .events()
        .iter()
        .map(|event| event["action"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(actions.iter().filter(|action| *action == "session.renew").count(), 1);
    assert!(!actions.contains(&"session.end".to_owned()));
}

#[test]
fn somebody_else_who_comes_back_gets_a_session_of_their_own() {
    let gateway = gateway("", "recheck = \"2s\"");
    let asked = Asked::begin(&gateway, "corp");
    let cookie = accepted(&gateway, &asked, &Says::honest(&asked).signed(), "alice");
    until("the groups are old", Duration::from_secs(20), || {
        visit(&gateway, &cookie, "/").status == 302
    });
    let begun = gateway.send(
        &Request::get("/auth/login/corp")
            .navigation()
            .header("Cookie", &format!("{}; {cookie}", asked.cookie)),
    );
    let url = url::Url::parse(begun.header("location").unwrap()).unwrap();
    let again = Asked {
        request_id: crate::support::saml::attribute(
            &crate::support::saml::inflate(&crate::support::saml::parameter(&url, "SAMLRequest")),
            "ID",
        ),
        relay_state: crate::support::saml::parameter(&url, "RelayState"),
        cookie: format!("{}; {cookie}", asked.cookie),
        ..asked
    };
    let mut says = Says::honest(&again);
    says.name_id = "bob".to_owned();
    let bob = accepted(&gateway, &again, &says.signed(), "bob");
    assert_ne!(bob, cookie);
    assert_eq!(
        (
            status(&gateway, &cookie, EXPERIMENT),
            status(&gateway, &bob, EXPERIMENT)
        ),
        (401, 200)
    );
}
