//! XML that holds surprises, or too much of anything.

use std::time::{Duration, Instant};

use crate::support::gateway::Setup;
use crate::support::http::{Request, Response};
use crate::support::mlflow::{Mlflow, NEWEST};
use crate::support::saml::{Asked, BOUND, Says, Signed, attribute_xml, last_refusal, provider, xmlsec_agrees};

use super::{INNER, control, gateway, refused};

#[test]
fn nothing_but_elements_and_text_comes_in() {
    let gateway = gateway();
    let bomb: String = (0..10).fold("<!ENTITY a0 \"ha\">".to_owned(), |all, number| {
        format!(
            "{all}<!ENTITY a{} \"{}\">",
            number + 1,
            format!("&a{number};").repeat(10)
        )
    });
    let signed = |asked: &Asked| Says::honest(asked).signing(Signed::Assertion).signed();
    // Comments and processing instructions are in no digest: they can be put in without breaking the signature.
    for (what, old, new) in [
        ("a comment in the name", ">alice<", ">alice<!---->.evil<".to_owned()),
        ("a comment in a group", ">readers<", ">rea<!-- x -->ders<".to_owned()),
        (
            "a comment in the signature",
            "<ds:SignedInfo>",
            "<ds:SignedInfo><!-- x -->".to_owned(),
        ),
        ("a processing instruction", ">alice<", ">al<?x y?>ice<".to_owned()),
        ("a CDATA section", ">alice<", "><![CDATA[alice]]><".to_owned()),
        (
            "a DTD",
            "<samlp:Response ",
            "<!DOCTYPE samlp:Response><samlp:Response ".to_owned(),
        ),
        (
            "a DTD from elsewhere",
            "<samlp:Response ",
            "<!DOCTYPE r SYSTEM \"http://127.0.0.1:1/x\"><samlp:Response ".to_owned(),
        ),
        (
            "a bomb",
            "<samlp:Response ",
            format!("<!DOCTYPE r [{bomb}]><samlp:Response "),
        ),
        (
            "an external entity",
            "<samlp:Response ",
            "<!DOCTYPE r [<!ENTITY e SYSTEM \"file:///etc/passwd\">]><samlp:Response ".to_owned(),
        ),
    ] {
        let asked = Asked::begin(&gateway, "corp");
        let forged = signed(&asked).replacen(old, &new, 1);
        assert!(forged.contains(&new));
        refused(
            &gateway,
            &asked,
            &forged,
            "document: it holds a DTD, a CDATA section, a comment",
            what,
        );
    }
    let asked = Asked::begin(&gateway, "corp");
    let with_comment = signed(&asked).replacen(">alice<", ">alice<!---->.evil<", 1);
    assert!(
        xmlsec_agrees(&with_comment.replace(".evil", ""), INNER, "idp-cert.pem"),
        "another reader would take it"
    );
    for (what, forged, words) in [
        (
            "an unknown entity",
            signed(&asked).replacen(">alice<", ">&root;<", 1),
            "document: it is not well-formed",
        ),
        (
            "half a document",
            signed(&asked)[..900].to_owned(),
            "document: it is not well-formed",
        ),
        (
            "text behind",
            format!("{} x", signed(&asked).trim()),
            "document: it is not well-formed",
        ),
        (
            "another encoding",
            signed(&asked).replacen(
                "<?xml version=\"1.0\"?>",
                "<?xml version=\"1.0\" encoding=\"UTF-7\"?>",
                1,
            ),
            "document: it is not XML 1.0 in UTF-8",
        ),
        ("nothing", String::new(), "document: it is not well-formed"),
    ] {
        refused(&gateway, &asked, &forged, words, what);
    }
    control(&gateway);
}

#[test]
fn large_deep_and_crowded_documents_are_refused_at_once() {
    let gateway = gateway();
    let value = |inside: &str| {
        format!("<saml:Attribute Name=\"x\"><saml:AttributeValue>{inside}</saml:AttributeValue></saml:Attribute>")
    };
    let deep = |depth: usize| format!("{}{}", "<d>".repeat(depth), "</d>".repeat(depth));
    let crowd = |count: usize| {
        format!(
            "<e {}/>",
            (0..count).map(|number| format!("a{number}=\"\" ")).collect::<String>()
        )
    };
    let namespaces = |count: usize| {
        (0..count)
            .map(|number| format!("<n xmlns:p{number}=\"urn:{number}\">"))
            .collect::<String>()
    };
    for (what, inside, words) in [
        ("large", "x".repeat(300_000), "document: it has more than 262144 bytes"),
        ("deep", deep(40), "document: its elements are nested deeper than 32"),
        (
            "very deep",
            deep(30_000),
            "document: its elements are nested deeper than 32",
        ),
        (
            "many elements",
            "<e/>".repeat(5000),
            "document: it has more than 5000 elements",
        ),
        (
            "many attributes",
            crowd(20_000),
            "document: an element has more than 64 attributes",
        ),
        (
            "many namespaces",
            namespaces(10_000),
            "document: its elements are nested deeper than 32",
        ),
    ] {
        let asked = Asked::begin(&gateway, "corp");
        let mut says = Says::honest(&asked).signing(Signed::Assertion);
        says.attributes.push_str(&value(&inside));
        refused(&gateway, &asked, &says.unsigned(), words, what);
    }
    // Larger than any message: not even read to its end.
    let asked = Asked::begin(&gateway, "corp");
    let answer = asked.post_raw(&gateway, &"A".repeat(2 << 20));
    assert_eq!(answer.status, 413, "{}", answer.text());
    // As much as is allowed is no trouble.
    let asked = Asked::begin(&gateway, "corp");
    let mut says = Says::honest(&asked).signing(Signed::Assertion);
    let groups: Vec<String> = (0..1500).map(|number| format!("group-{number}")).collect();
    says.attributes.push_str(&attribute_xml(
        "groups",
        &groups.iter().map(String::as_str).collect::<Vec<_>>(),
    ));
    let (response, start) = (says.signed(), Instant::now());
    assert!(asked.sign_in(&gateway, &response).is_ok(), "{}", last_refusal(&gateway));
    assert!(start.elapsed() < BOUND, "1500 groups took {:?}", start.elapsed());
}

#[test]
fn what_is_no_response_gets_no_further() {
    let gateway = gateway();
    let asked = Asked::begin(&gateway, "corp");
    let post = |fields: &[(&str, &str)]| -> Response {
        gateway.send(
            &Request::new("POST", "/auth/saml/corp/acs")
                .header("Accept", "text/html")
                .form(fields),
        )
    };
    let good = {
        use base64::Engine;
        base64::engine::general_purpose::STANDARD.encode(Says::honest(&asked).signed())
    };
    for (what, fields, words) in [
        ("nothing", vec![], "binding: the form holds not exactly one response"),
        (
            "two",
            vec![("SAMLResponse", good.as_str()), ("SAMLResponse", good.as_str())],
            "binding: the form holds not exactly one response",
        ),
        (
            "no base64",
            vec![("SAMLResponse", "<Response/>")],
            "binding: the message is no base64",
        ),
        (
            "no UTF-8",
            vec![("SAMLResponse", "/////w==")],
            "binding: the message is not UTF-8",
        ),
        (
            "no RelayState",
            vec![("SAMLResponse", good.as_str())],
            "binding: RelayState",
        ),
        (
            "a URL as RelayState",
            vec![("SAMLResponse", good.as_str()), ("RelayState", "https://evil.test/")],
            "binding: RelayState",
        ),
    ] {
        let answer = post(&fields);
        assert_eq!(answer.status, 403, "{what}: {}", answer.text());
        assert!(
            last_refusal(&gateway).contains(words),
            "{what}: {}",
            last_refusal(&gateway)
        );
    }
    let json = gateway.send(&Request::new("POST", "/auth/saml/corp/acs").body("application/json", "{}"));
    assert_eq!(json.status, 400);
    for path in ["/auth/saml/local/acs", "/auth/saml/nobody/acs"] {
        assert_eq!(
            gateway
                .send(&Request::new("POST", path).form(&[("SAMLResponse", &good)]))
                .status,
            404,
            "{path}"
        );
    }
    assert!(asked.sign_in(&gateway, &Says::honest(&asked).signed()).is_ok());
}

#[test]
fn a_flood_of_bad_answers_keeps_nobody_waiting() {
    let gateway = gateway();
    let asked = Asked::begin(&gateway, "corp");
    let mut says = Says::honest(&asked).signing(Signed::Assertion);
    says.manner.key = "attacker";
    let groups: Vec<String> = (0..2000).map(|number| format!("group-{number}")).collect();
    says.attributes.push_str(&attribute_xml(
        "groups",
        &groups.iter().map(String::as_str).collect::<Vec<_>>(),
    ));
    let heavy = says.signed();
    let cookie = gateway.sign_in("vera");
    std::thread::scope(|scope| {
        let flood: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let end = Instant::now() + Duration::from_secs(3);
                    let mut sent = 0;
                    while Instant::now() < end {
                        let status = asked.post(&gateway, &heavy).status;
                        assert!(matches!(status, 403 | 503), "{status}");
                        sent += 1;
                    }
                    sent
                })
            })
            .collect();
        let mut slowest = Duration::ZERO;
        while flood.iter().any(|one| !one.is_finished()) {
            let start = Instant::now();
            let answer = gateway.send(&Request::get("/auth/account").navigation().header("Cookie", &cookie));
            assert_eq!(answer.status, 200);
            slowest = slowest.max(start.elapsed());
        }
        let sent: u32 = flood.into_iter().map(|one| one.join().unwrap()).sum();
        assert!(sent > 8, "only {sent} were looked at");
        assert!(slowest < Duration::from_secs(2), "somebody waited {slowest:?}");
    });
}

#[test]
fn bad_answers_are_counted_by_address_and_good_ones_are_not() {
    let mut setup = Setup::new(&Mlflow::shared(NEWEST).url());
    setup.limits = "login_attempts = \"4/10m\"".to_owned();
    setup.sections += &provider(&setup, "corp", "");
    let gateway = setup.start();
    for _ in 0..8 {
        control(&gateway);
    }
    let asked = Asked::begin(&gateway, "corp");
    let bad = Says::honest(&asked).signing(Signed::Nothing).signed();
    let statuses: Vec<u16> = (0..6).map(|_| asked.post(&gateway, &bad).status).collect();
    assert_eq!(statuses, [403, 403, 403, 403, 429, 429]);
    let told = asked.post(&gateway, &bad);
    assert!(told.header("retry-after").is_some());
}
