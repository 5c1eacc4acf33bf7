//! Forged SAML: each way to make the gateway believe what no key of the provider signed, and why it was refused.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use mlgate::config::StoreKind;

use crate::support::gateway::{Gateway, Setup};
use crate::support::http::{Request, Response};
use crate::support::mlflow::{Mlflow, NEWEST};
use crate::support::redis::Redis;
use crate::support::saml::{
    Asked, BOUND, Cipher, EXCLUSIVE, Manner, Says, Signed, attribute_xml, encrypt, encrypted, in_seconds, last_refusal,
    piece, provider, reset, sign, transforms, xmlsec_agrees,
};

const INNER: &str = "//*[local-name()='Assertion']/*[local-name()='Signature']";
const OUTER: &str = "/*/*[local-name()='Signature']";

fn gateway() -> Gateway {
    let mut setup = Setup::new(&Mlflow::shared(NEWEST).url());
    setup.sections += &provider(&setup, "corp", "");
    setup.start()
}

/// Refused, soon, with these words in the trail, and with no more than a general word to the person.
#[track_caller]
fn refused(gateway: &Gateway, asked: &Asked, response: &str, words: &str, what: &str) {
    let before = gateway.events().len();
    let start = Instant::now();
    let answer = asked.post(gateway, response);
    let took = start.elapsed();
    let answer = match asked.land(gateway, answer) {
        Err(answer) => answer,
        Ok(_) => panic!("{what}: somebody is signed in"),
    };
    assert_eq!(answer.status, 403, "{what}: {}", answer.text());
    assert!(took < BOUND, "{what} took {took:?}");
    let events = gateway.events();
    let event = events[before..]
        .iter()
        .rfind(|event| event["action"] == "login.refused");
    let event = event.unwrap_or_else(|| panic!("{what}: no event"));
    assert_eq!(event["reason"]["code"], "provider_refused", "{what}");
    let told = event["reason"]["text"].as_str().unwrap();
    assert!(told.contains(words), "{what}: {told:?} does not say {words:?}");
    let page = answer.text();
    assert!(
        page.contains("did not pass the gateway") && !page.contains(words),
        "{what}: the page tells why"
    );
}

/// A good one still comes in, so that a refusal means something.
#[track_caller]
fn control(gateway: &Gateway) {
    let asked = Asked::begin(gateway, "corp");
    let answer = asked.sign_in(gateway, &Says::honest(&asked).signed());
    answer.unwrap_or_else(|answer| panic!("the control: {} {}", answer.text(), last_refusal(gateway)));
}

/// One change of an honest response before it is signed.
type Change = fn(&str) -> String;

#[test]
fn every_condition_must_hold_and_be_there() {
    let gateway = gateway();
    let conditions: [(&str, Change, &str); 40] = [
        (
            "destination",
            |text| reset(text, "samlp:Response", "Destination", Some("https://evil.test/acs")),
            "condition: Destination is another",
        ),
        (
            "no destination",
            |text| reset(text, "samlp:Response", "Destination", None),
            "condition: Destination is missing",
        ),
        (
            "recipient",
            |text| {
                reset(
                    text,
                    "saml:SubjectConfirmationData",
                    "Recipient",
                    Some("https://evil.test/acs"),
                )
            },
            "condition: Recipient is another",
        ),
        (
            "no recipient",
            |text| reset(text, "saml:SubjectConfirmationData", "Recipient", None),
            "condition: Recipient is missing",
        ),
        (
            "other request",
            |text| text.replace(" InResponseTo=\"_", " InResponseTo=\"_0"),
            "condition: InResponseTo is another",
        ),
        (
            "other request in the response",
            |text| reset(text, "samlp:Response", "InResponseTo", Some("_x")),
            "condition: response and assertion answer different",
        ),
        (
            "other request in the assertion",
            |text| reset(text, "saml:SubjectConfirmationData", "InResponseTo", Some("_x")),
            "condition: response and assertion answer different",
        ),
        (
            "no request in the assertion",
            |text| reset(text, "saml:SubjectConfirmationData", "InResponseTo", None),
            "condition: response and assertion answer different",
        ),
        (
            "no request in the response",
            |text| reset(text, "samlp:Response", "InResponseTo", None),
            "condition: response and assertion answer different",
        ),
        (
            "issuer",
            |text| text.replace("https://idp.example.test/entity<", "https://idp.example.test/other<"),
            "condition: Issuer is another",
        ),
        (
            "issuer of the response",
            |text| text.replacen("https://idp.example.test/entity<", "https://idp.example.test/other<", 1),
            "condition: Issuer is another",
        ),
        (
            "no issuer of the response",
            |text| text.replacen("<saml:Issuer>https://idp.example.test/entity</saml:Issuer>", "", 1),
            "condition: Issuer is missing",
        ),
        (
            "format of the issuer",
            |text| {
                text.replacen(
                    "<saml:Issuer>",
                    "<saml:Issuer Format=\"urn:oasis:names:tc:SAML:1.1:nameid-format:emailAddress\">",
                    1,
                )
            },
            "condition: Issuer is another",
        ),
        (
            "status",
            |text| text.replace("status:Success", "status:Responder"),
            "status: the provider answers Responder",
        ),
        (
            "no status",
            |text| text.replace(piece(text, "samlp:Status"), ""),
            "shape: Status is missing",
        ),
        (
            "issued in the future",
            |text| reset(text, "samlp:Response", "IssueInstant", Some(&in_seconds(90))),
            "condition: IssueInstant is in the future",
        ),
        (
            "issued long ago",
            |text| reset(text, "samlp:Response", "IssueInstant", Some(&in_seconds(-400))),
            "condition: IssueInstant is too long ago",
        ),
        (
            "no issue instant",
            |text| reset(text, "samlp:Response", "IssueInstant", None),
            "condition: IssueInstant is missing",
        ),
        (
            "assertion of the future",
            |text| reset(text, "saml:Assertion", "IssueInstant", Some(&in_seconds(90))),
            "condition: IssueInstant is in the future",
        ),
        (
            "assertion without issue instant",
            |text| reset(text, "saml:Assertion", "IssueInstant", None),
            "condition: IssueInstant is missing",
        ),
        (
            "no time",
            |text| reset(text, "saml:Assertion", "IssueInstant", Some("yesterday")),
            "condition: a time cannot be read",
        ),
        (
            "not yet valid",
            |text| reset(text, "saml:Conditions", "NotBefore", Some(&in_seconds(90))),
            "condition: the assertion is not valid yet",
        ),
        (
            "no NotBefore",
            |text| reset(text, "saml:Conditions", "NotBefore", None),
            "condition: NotBefore of Conditions is missing",
        ),
        (
            "expired",
            |text| reset(text, "saml:Conditions", "NotOnOrAfter", Some(&in_seconds(-70))),
            "condition: the assertion has expired",
        ),
        (
            "no NotOnOrAfter",
            |text| reset(text, "saml:Conditions", "NotOnOrAfter", None),
            "condition: NotOnOrAfter of Conditions is missing",
        ),
        (
            "confirmation expired",
            |text| {
                reset(
                    text,
                    "saml:SubjectConfirmationData",
                    "NotOnOrAfter",
                    Some(&in_seconds(-70)),
                )
            },
            "condition: SubjectConfirmationData has expired",
        ),
        (
            "confirmation without end",
            |text| reset(text, "saml:SubjectConfirmationData", "NotOnOrAfter", None),
            "condition: NotOnOrAfter of SubjectConfirmationData is missing",
        ),
        (
            "confirmation not yet",
            |text| reset(text, "saml:SubjectConfirmationData", "NotBefore", Some(&in_seconds(90))),
            "condition: SubjectConfirmationData is not valid yet",
        ),
        (
            "audience",
            |text| text.replace("/metadata</saml:Audience>", "/metadata2</saml:Audience>"),
            "condition: an AudienceRestriction names somebody else",
        ),
        (
            "one audience of two restrictions",
            |text| {
                text.replace("</saml:Conditions>", "<saml:AudienceRestriction><saml:Audience>https://other.test</saml:Audience></saml:AudienceRestriction></saml:Conditions>")
            },
            "condition: an AudienceRestriction names somebody else",
        ),
        (
            "no audience",
            |text| text.replace(piece(text, "saml:AudienceRestriction"), ""),
            "condition: AudienceRestriction is missing",
        ),
        (
            "no conditions",
            |text| text.replace(piece(text, "saml:Conditions"), ""),
            "shape: the assertion lacks",
        ),
        (
            "unknown condition",
            |text| text.replace("</saml:Conditions>", "<saml:Condition/></saml:Conditions>"),
            "condition: a condition that is not understood",
        ),
        (
            "no confirmation",
            |text| text.replace(piece(text, "saml:SubjectConfirmation"), ""),
            "shape: the subject is not",
        ),
        (
            "holder of key",
            |text| text.replace("cm:bearer", "cm:holder-of-key"),
            "condition: there is no bearer",
        ),
        (
            "no data of the confirmation",
            |text| {
                let start = text.find("<saml:SubjectConfirmationData").unwrap();
                let end = start + text[start..].find("/>").unwrap() + 2;
                format!("{}{}", &text[..start], &text[end..])
            },
            "condition: SubjectConfirmationData is missing",
        ),
        (
            "no authentication",
            |text| text.replace(piece(text, "saml:AuthnStatement"), ""),
            "condition: there is not one AuthnStatement",
        ),
        (
            "authentication in the future",
            |text| reset(text, "saml:AuthnStatement", "AuthnInstant", Some(&in_seconds(90))),
            "condition: AuthnInstant is in the future",
        ),
        (
            "session over",
            |text| {
                reset(
                    text,
                    "saml:AuthnStatement",
                    "SessionNotOnOrAfter",
                    Some(&in_seconds(-70)),
                )
            },
            "condition: SessionNotOnOrAfter has passed",
        ),
        (
            "version",
            |text| reset(text, "saml:Assertion", "Version", Some("1.1")),
            "shape: another version",
        ),
    ];
    for (what, change, words) in conditions {
        for signed in [Signed::Assertion, Signed::Both] {
            let asked = Asked::begin(&gateway, "corp");
            let says = Says::honest(&asked).signing(signed).edit(change);
            refused(&gateway, &asked, &says.signed(), words, &format!("{what}, {signed:?}"));
        }
    }
    control(&gateway);
    // What still is within the clocks' difference, and two audiences, are no reason.
    for change in [
        (|text| reset(text, "saml:Conditions", "NotBefore", Some(&in_seconds(30)))) as Change,
        |text| reset(text, "saml:Conditions", "NotOnOrAfter", Some(&in_seconds(-30))),
        |text| reset(text, "samlp:Response", "IssueInstant", Some(&in_seconds(30))),
        |text| {
            text.replace(
                "<saml:Audience>",
                "<saml:Audience>https://other.test</saml:Audience><saml:Audience>",
            )
        },
        |text| text.replace("</saml:Conditions>", "<saml:OneTimeUse/></saml:Conditions>"),
    ] {
        let asked = Asked::begin(&gateway, "corp");
        let answer = asked.sign_in(&gateway, &Says::honest(&asked).edit(change).signed());
        answer.unwrap_or_else(|_| panic!("{}", last_refusal(&gateway)));
    }
}

/// The pieces of a response of which the assertion alone is signed.
struct Pieces {
    response: String,
    assertion: String,
    signature: String,
    /// The assertion without its signature.
    bare: String,
    /// Somebody else's, with an ID of its own and no signature.
    evil: String,
}

impl Pieces {
    fn of(asked: &Asked) -> Self {
        let says = Says::honest(asked).signing(Signed::Assertion);
        let response = says.signed();
        let assertion = piece(&response, "saml:Assertion").to_owned();
        let signature = piece(&assertion, "ds:Signature").to_owned();
        let bare = assertion.replace(&signature, "");
        let evil = bare.replace(">alice<", ">root<").replace(&says.assertion_id, "_evil");
        Self {
            response,
            assertion,
            signature,
            bare,
            evil,
        }
    }

    /// The response with something in place of the assertion.
    fn with(&self, inside: &str) -> String {
        self.response.replace(&self.assertion, inside)
    }
}

fn inside(element: &str, tag: &str, more: &str) -> String {
    let end = format!("</{tag}>");
    let at = element.rfind(&end).unwrap();
    format!("{}{more}{end}{}", &element[..at], &element[at + end.len()..])
}

#[test]
fn a_signature_covers_what_is_read_wherever_it_is_moved() {
    let gateway = gateway();
    type Forge = fn(&Pieces) -> String;
    let forgeries: [(&str, Forge, &str); 20] = [
        (
            "XSW3: evil before",
            |p| p.with(&format!("{}{}", p.evil, p.assertion)),
            "shape:",
        ),
        (
            "evil after",
            |p| p.with(&format!("{}{}", p.assertion, p.evil)),
            "shape:",
        ),
        (
            "XSW4: evil around",
            |p| p.with(&inside(&p.evil, "saml:Assertion", &p.assertion)),
            "shape:",
        ),
        (
            "evil inside",
            |p| p.with(&inside(&p.assertion, "saml:Assertion", &p.evil)),
            "shape:",
        ),
        (
            "XSW5: evil holds the signature, the original follows",
            |p| {
                p.with(&format!(
                    "{}{}",
                    p.evil
                        .replacen("</saml:Issuer>", &format!("</saml:Issuer>{}", p.signature), 1),
                    p.bare
                ))
            },
            "shape:",
        ),
        (
            "XSW6: the original inside the signature of evil",
            |p| {
                let signature = inside(&p.signature, "ds:Signature", &p.bare);
                p.with(
                    &p.evil
                        .replacen("</saml:Issuer>", &format!("</saml:Issuer>{signature}"), 1),
                )
            },
            "shape:",
        ),
        (
            "XSW7: evil in Extensions",
            |p| {
                p.response.replacen(
                    "</saml:Issuer>",
                    &format!("</saml:Issuer><samlp:Extensions>{}</samlp:Extensions>", p.evil),
                    1,
                )
            },
            "shape:",
        ),
        (
            "XSW8: the original in an Object",
            |p| {
                let signature = inside(
                    &p.signature,
                    "ds:Signature",
                    &format!("<ds:Object>{}</ds:Object>", p.bare),
                );
                p.with(
                    &p.evil
                        .replacen("</saml:Issuer>", &format!("</saml:Issuer>{signature}"), 1),
                )
            },
            "shape:",
        ),
        (
            "the original in Advice",
            |p| {
                p.with(&inside(
                    &p.evil,
                    "saml:Assertion",
                    &format!("<saml:Advice>{}</saml:Advice>", p.assertion),
                ))
            },
            "shape:",
        ),
        (
            "the original in an attribute's value",
            |p| {
                p.with(&p.evil.replacen("<saml:AttributeStatement>", &format!("<saml:AttributeStatement><saml:Attribute Name=\"x\"><saml:AttributeValue>{}</saml:AttributeValue></saml:Attribute>", p.assertion), 1))
            },
            "shape:",
        ),
        (
            "one ID twice, evil first",
            |p| {
                p.with(&format!(
                    "{}{}",
                    p.evil
                        .replace("_evil", &p.assertion.split(" ID=\"").nth(1).unwrap()[..34]),
                    p.assertion
                ))
            },
            "shape:",
        ),
        (
            "evil that is signed by reference to another",
            |p| p.with(&after(&p.evil, &p.signature)),
            "signature: it is not about the element",
        ),
        (
            "evil with the original's ID",
            |p| {
                let id = p.assertion.split(" ID=\"").nth(1).unwrap().split('"').next().unwrap();
                p.with(&after(&p.evil.replace("_evil", id), &p.signature))
            },
            "signature: what it is about was changed",
        ),
        (
            "evil called Assertion elsewhere",
            |p| {
                p.response
                    .replace("</samlp:Response>", "<Assertion xmlns=\"urn:evil\"/></samlp:Response>")
            },
            "shape:",
        ),
        (
            "an xml:id",
            |p| p.response.replacen("<saml:NameID ", "<saml:NameID xml:id=\"x\" ", 1),
            "shape: an xml:id",
        ),
        (
            "an ID of a foreign namespace",
            |p| {
                p.response
                    .replacen("<samlp:Status>", "<samlp:Status xmlns:e=\"urn:e\" e:ID=\"x\">", 1)
            },
            "shape: an xml:id",
        ),
        (
            "an Id beside the ID",
            |p| {
                let id = p.assertion.split(" ID=\"").nth(1).unwrap().split('"').next().unwrap();
                p.response
                    .replacen("<samlp:Status>", &format!("<samlp:Status Id=\"{id}\">"), 1)
            },
            "shape: an ID that stands there twice",
        ),
        (
            "a signature in the response that is the assertion's",
            |p| {
                p.with(&p.bare)
                    .replacen("</saml:Issuer>", &format!("</saml:Issuer>{}", p.signature), 1)
            },
            "signature: it is not about the element",
        ),
        (
            "two signatures",
            |p| p.response.replacen(&p.signature, &format!("{0}{0}", p.signature), 1),
            "shape:",
        ),
        (
            "the prefix bound to another namespace",
            |p| {
                p.response.replacen(
                    "xmlns:samlp=\"urn:oasis:names:tc:SAML:2.0:protocol\"",
                    "xmlns:samlp=\"urn:evil\"",
                    1,
                )
            },
            "shape: the root is another element",
        ),
    ];
    for (what, forge, words) in forgeries {
        let asked = Asked::begin(&gateway, "corp");
        refused(&gateway, &asked, &forge(&Pieces::of(&asked)), words, what);
    }
    // The pieces themselves are good.
    let asked = Asked::begin(&gateway, "corp");
    assert!(asked.sign_in(&gateway, &Pieces::of(&asked).response).is_ok());
}

fn after(element: &str, more: &str) -> String {
    element.replacen("</saml:Issuer>", &format!("</saml:Issuer>{more}"), 1)
}

#[test]
fn a_signed_response_cannot_be_wrapped_either() {
    let gateway = gateway();
    for form in ["XSW1", "XSW2", "root"] {
        let asked = Asked::begin(&gateway, "corp");
        let says = Says::honest(&asked).signing(Signed::Response);
        let response = says.signed().split_once("?>\n").unwrap().1.trim().to_owned();
        let signature = piece(&response, "ds:Signature").to_owned();
        let bare = response.replace(&signature, "");
        let evil = bare.replace(">alice<", ">root<").replace(&says.response_id, "_evil");
        let forged = match form {
            "XSW1" => after(&evil, &inside(&signature, "ds:Signature", &bare)),
            "XSW2" => after(&evil, &format!("{bare}{signature}")),
            _ => format!("{evil}{response}"),
        };
        let words = if form == "root" {
            "document: it is not well-formed"
        } else {
            "shape:"
        };
        refused(&gateway, &asked, &forged, words, form);
        assert!(
            asked.sign_in(&gateway, &response).is_ok(),
            "the original: {}",
            last_refusal(&gateway)
        );
    }
}

#[test]
fn what_was_changed_after_signing_does_not_hold() {
    let gateway = gateway();
    for (what, change) in [
        ("the name", (|text| text.replacen(">alice<", ">root<", 1)) as Change),
        ("a group", |text| text.replace(">others<", ">admins<")),
        ("a space", |text| text.replace(">others<", "> others<")),
        ("the recipient", |text| text.replace("Recipient=\"", "Recipient=\"x")),
        ("a namespace", |text| {
            text.replace("xmlns:xsi=\"http", "xmlns:xsi=\"https")
        }),
    ] {
        let asked = Asked::begin(&gateway, "corp");
        let signed = Says::honest(&asked).signing(Signed::Assertion).signed();
        refused(
            &gateway,
            &asked,
            &change(&signed),
            "signature: what it is about was changed",
            what,
        );
    }
    // A good signature around a bad one.
    let asked = Asked::begin(&gateway, "corp");
    let inner = sign(&Says::honest(&asked).unsigned(), INNER, &Manner::default());
    let broken = inner.replace(">others<", ">admins<");
    let outer = sign(&broken, OUTER, &Manner::default());
    assert!(xmlsec_agrees(&outer, OUTER, "idp-cert.pem") && !xmlsec_agrees(&outer, INNER, "idp-cert.pem"));
    refused(
        &gateway,
        &asked,
        &outer,
        "signature: what it is about was changed",
        "a bad one inside",
    );
    control(&gateway);
}

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
fn only_a_key_of_the_metadata_signs() {
    let gateway = gateway();
    let begin = || Asked::begin(&gateway, "corp");
    let asked = begin();
    refused(
        &gateway,
        &asked,
        &Says::honest(&asked).signing(Signed::Nothing).signed(),
        "signature: nothing is signed",
        "unsigned",
    );
    for (what, key) in [
        ("another key, its certificate along", "attacker"),
        ("our own key", "sp"),
    ] {
        for signed in [Signed::Assertion, Signed::Response, Signed::Both] {
            let asked = begin();
            let mut says = Says::honest(&asked).signing(signed);
            says.manner.key = key;
            refused(
                &gateway,
                &asked,
                &says.signed(),
                "signature: it was made by no key",
                &format!("{what}, {signed:?}"),
            );
        }
    }
    let good = |asked: &Asked| Says::honest(asked).signing(Signed::Assertion).signed();
    let asked = begin();
    let response = good(&asked);
    let value = piece(&response, "ds:SignatureValue").to_owned();
    let bare = |inside: &str| response.replace(&value, &format!("<ds:SignatureValue>{inside}</ds:SignatureValue>"));
    let key_info = piece(&response, "ds:KeyInfo").to_owned();
    for (what, forged, words) in [
        ("no value", bare(""), "signature: its value is empty"),
        ("spaces", bare(" \n"), "signature: its value is empty"),
        ("no base64", bare("!!"), "signature: its value is empty or no base64"),
        ("zeros", bare(&"A".repeat(344)), "signature: it was made by no key"),
        ("a zero", bare("AA=="), "signature: it was made by no key"),
        ("no value at all", response.replace(&value, ""), "shape:"),
        (
            "no signed info",
            response.replace(piece(&response, "ds:SignedInfo"), ""),
            "shape:",
        ),
        (
            "no digest",
            response.replace(piece(&response, "ds:DigestValue"), "<ds:DigestValue/>"),
            "signature: it was made by no key",
        ),
        (
            "empty signature",
            response.replace(
                piece(&response, "ds:Signature"),
                "<ds:Signature xmlns:ds=\"http://www.w3.org/2000/09/xmldsig#\"/>",
            ),
            "shape:",
        ),
        (
            "a retrieval method",
            response.replace(
                &key_info,
                "<ds:KeyInfo><ds:RetrievalMethod URI=\"http://127.0.0.1:1/\"/></ds:KeyInfo>",
            ),
            "shape: a KeyInfo",
        ),
        (
            "an assertion in KeyInfo",
            response.replace(&key_info, "<ds:KeyInfo><saml:Subject/></ds:KeyInfo>"),
            "shape: a KeyInfo",
        ),
    ] {
        refused(&gateway, &asked, &forged, words, what);
    }
    // The key that comes along counts for nothing.
    let asked = begin();
    let response = good(&asked);
    let other = response.replace(
        piece(&response, "ds:X509Certificate"),
        &format!(
            "<ds:X509Certificate>{}</ds:X509Certificate>",
            crate::support::saml::der("attacker-cert.pem")
        ),
    );
    assert!(asked.sign_in(&gateway, &other).is_ok(), "{}", last_refusal(&gateway));
}

#[test]
fn weak_and_strange_algorithms_are_refused() {
    let gateway = gateway();
    let sha1 = "http://www.w3.org/2000/09/xmldsig#sha1";
    let old = "http://www.w3.org/2000/09/xmldsig#";
    let sign_with = |change: &dyn Fn(&mut Manner)| {
        let asked = Asked::begin(&gateway, "corp");
        let mut says = Says::honest(&asked).signing(Signed::Assertion);
        change(&mut says.manner);
        (asked, says)
    };
    let (asked, says) = sign_with(&|manner| manner.method = format!("{old}rsa-sha1"));
    refused(
        &gateway,
        &asked,
        &says.signed(),
        "algorithm: the signature",
        "RSA with SHA-1",
    );
    let (asked, says) = sign_with(&|manner| manner.digest = sha1.to_owned());
    refused(&gateway, &asked, &says.signed(), "algorithm: the digest", "SHA-1");
    let (asked, says) = sign_with(&|manner| {
        manner.key = "hmac";
        manner.method = "http://www.w3.org/2001/04/xmldsig-more#hmac-sha256".to_owned();
    });
    refused(
        &gateway,
        &asked,
        &says.signed(),
        "algorithm: the signature",
        "HMAC with the certificate as its key",
    );
    let (asked, says) = sign_with(&|manner| {
        manner.canonicalization =
            "<ds:CanonicalizationMethod Algorithm=\"http://www.w3.org/TR/2001/REC-xml-c14n-20010315\"/>".to_owned()
    });
    refused(
        &gateway,
        &asked,
        &says.signed(),
        "algorithm: the canonicalization",
        "inclusive canonicalization of the signature",
    );
    let (asked, says) = sign_with(&|manner| {
        manner.transforms = transforms("").replace(EXCLUSIVE, "http://www.w3.org/TR/2001/REC-xml-c14n-20010315")
    });
    refused(
        &gateway,
        &asked,
        &says.signed(),
        "algorithm: the canonicalization",
        "inclusive canonicalization of the assertion",
    );
    let (asked, says) =
        sign_with(&|manner| manner.transforms = transforms("").replace(EXCLUSIVE, &format!("{EXCLUSIVE}WithComments")));
    refused(
        &gateway,
        &asked,
        &says.signed(),
        "algorithm: the canonicalization",
        "with comments",
    );
    let enveloped = "<ds:Transform Algorithm=\"http://www.w3.org/2000/09/xmldsig#enveloped-signature\"/>";
    let (asked, says) = sign_with(&|manner| manner.transforms = format!("<ds:Transforms>{enveloped}</ds:Transforms>"));
    refused(
        &gateway,
        &asked,
        &says.signed(),
        "algorithm: the transforms",
        "no canonicalization",
    );
    // What xmlsec1 does not make, it need not: the list is looked at before the signature.
    let xpath = "<ds:Transform Algorithm=\"http://www.w3.org/TR/1999/REC-xpath-19991116\"><ds:XPath>count(//. | //@* | //namespace::*) &gt; 0</ds:XPath></ds:Transform>";
    let xslt = "<ds:Transform Algorithm=\"http://www.w3.org/TR/1999/REC-xslt-19991116\"><x:stylesheet xmlns:x=\"http://www.w3.org/1999/XSL/Transform\" version=\"1.0\"/></ds:Transform>";
    let good = {
        let asked = Asked::begin(&gateway, "corp");
        (Says::honest(&asked).signing(Signed::Assertion).signed(), asked)
    };
    let reference = piece(&good.0, "ds:Reference").to_owned();
    let uri = reference.split('"').nth(1).unwrap().to_owned();
    let instead = |old: &str, new: &str| {
        assert!(good.0.contains(old), "{old}");
        good.0.replacen(old, new, 1)
    };
    for (what, forged, words) in [
        (
            "XPath",
            instead("</ds:Transforms>", &format!("{xpath}</ds:Transforms>")),
            "algorithm: the transforms",
        ),
        (
            "XPath that takes long",
            instead(enveloped, xpath),
            "algorithm: the transforms",
        ),
        ("XSLT", instead(enveloped, xslt), "algorithm: the transforms"),
        (
            "base64",
            instead(
                enveloped,
                "<ds:Transform Algorithm=\"http://www.w3.org/2000/09/xmldsig#base64\"/>",
            ),
            "algorithm: the transforms",
        ),
        ("no transforms", instead(piece(&good.0, "ds:Transforms"), ""), "shape:"),
        (
            "the transforms turned around",
            instead(
                piece(&good.0, "ds:Transforms"),
                &format!("<ds:Transforms><ds:Transform Algorithm=\"{EXCLUSIVE}\"/>{enveloped}</ds:Transforms>"),
            ),
            "algorithm:",
        ),
        (
            "MD5",
            instead("2001/04/xmldsig-more#rsa-sha256", "2001/04/xmldsig-more#rsa-md5"),
            "algorithm: the signature",
        ),
        (
            "a digest by MD5",
            instead(
                "http://www.w3.org/2001/04/xmlenc#sha256",
                "http://www.w3.org/2001/04/xmldsig-more#md5",
            ),
            "algorithm: the digest",
        ),
        (
            "PSS",
            instead(
                "2001/04/xmldsig-more#rsa-sha256",
                "2007/05/xmldsig-more#sha256-rsa-MGF1",
            ),
            "algorithm: the signature",
        ),
        (
            "ECDSA by an RSA key",
            instead("#rsa-sha256", "#ecdsa-sha256"),
            "signature: it was made by no key",
        ),
        (
            "an HMAC cut short",
            instead(
                "#rsa-sha256\"/>",
                "#rsa-sha256\"><ds:HMACOutputLength>0</ds:HMACOutputLength></ds:SignatureMethod>",
            )
            .replacen("<ds:SignatureMethod", "<ds:SignatureMethod", 1),
            "shape:",
        ),
        (
            "two references",
            instead(&reference, &format!("{reference}{reference}")),
            "shape:",
        ),
        (
            "a reference to all of it",
            instead(&format!("URI=\"{uri}\""), "URI=\"\""),
            "shape: a reference",
        ),
        (
            "a reference without URI",
            instead(&format!(" URI=\"{uri}\""), ""),
            "shape: a reference",
        ),
        (
            "a reference by XPointer",
            instead(
                &format!("URI=\"{uri}\""),
                &format!("URI=\"#xpointer(id('{}'))\"", &uri[1..]),
            ),
            "signature:",
        ),
        (
            "a prefix list of other elements",
            instead(
                &format!("<ds:Transform Algorithm=\"{EXCLUSIVE}\"/>"),
                &format!("<ds:Transform Algorithm=\"{EXCLUSIVE}\"><saml:Subject/></ds:Transform>"),
            ),
            "shape:",
        ),
        (
            "a prefix list that was added",
            instead(
                &format!("<ds:Transform Algorithm=\"{EXCLUSIVE}\"/>"),
                &format!(
                    "<ds:Transform Algorithm=\"{EXCLUSIVE}\"><InclusiveNamespaces xmlns=\"{EXCLUSIVE}\" PrefixList=\"xs\"/></ds:Transform>"
                ),
            ),
            "signature: it was made by no key",
        ),
        (
            "a prefix list for the signature",
            instead(
                &format!("<ds:CanonicalizationMethod Algorithm=\"{EXCLUSIVE}\"/>"),
                &format!(
                    "<ds:CanonicalizationMethod Algorithm=\"{EXCLUSIVE}\"><InclusiveNamespaces xmlns=\"{EXCLUSIVE}\" PrefixList=\"saml\"/></ds:CanonicalizationMethod>"
                ),
            ),
            "signature: it was made by no key",
        ),
        (
            "a manifest",
            instead("</ds:KeyInfo>", "</ds:KeyInfo><ds:Object><ds:Manifest/></ds:Object>"),
            "shape:",
        ),
        (
            "text in the signature",
            instead("<ds:SignedInfo>", "<ds:SignedInfo>x"),
            "shape: text between",
        ),
        (
            "an attribute in the signature",
            instead("<ds:Reference ", "<ds:Reference Type=\"urn:x\" "),
            "shape: an attribute",
        ),
    ] {
        refused(&gateway, &good.1, &forged, words, what);
    }
    assert!(good.1.sign_in(&gateway, &good.0).is_ok(), "{}", last_refusal(&gateway));
}

#[test]
fn nothing_is_fetched_for_a_stranger() {
    let gateway = gateway();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let url = format!("http://{}/x", listener.local_addr().unwrap());
    let asked = Asked::begin(&gateway, "corp");
    let good = Says::honest(&asked).signing(Signed::Assertion).signed();
    let reference = piece(&good, "ds:Reference").to_owned();
    let elsewhere = reference.replacen(reference.split('"').nth(1).unwrap(), &url, 1);
    let key_info = piece(&good, "ds:KeyInfo").to_owned();
    for (what, forged) in [
        ("a reference", good.replace(&reference, &elsewhere)),
        ("a further reference", good.replace(&reference, &format!("{elsewhere}{reference}"))),
        ("a retrieval method", good.replace(&key_info, &format!("<ds:KeyInfo><ds:RetrievalMethod URI=\"{url}\"/></ds:KeyInfo>"))),
        ("a DTD", good.replacen("<samlp:Response", &format!("<!DOCTYPE r SYSTEM \"{url}\"><samlp:Response"), 1)),
        ("an entity", good.replacen("<samlp:Response", &format!("<!DOCTYPE r [<!ENTITY e SYSTEM \"{url}\">]><samlp:Response"), 1)),
        ("a schema", good.replacen("<samlp:Response ", &format!("<samlp:Response xmlns:i=\"http://www.w3.org/2001/XMLSchema-instance\" i:schemaLocation=\"urn:x {url}\" "), 1)),
        ("a style sheet", good.replacen("<samlp:Response", &format!("<?xml-stylesheet href=\"{url}\"?><samlp:Response"), 1)),
    ] {
        refused(&gateway, &asked, &forged, ":", what);
    }
    let cipher = encrypt(&good, Cipher::default());
    let value = piece(&cipher, "xenc:CipherValue").to_owned();
    let forged = cipher.replace(&value, &format!("<xenc:CipherReference URI=\"{url}\"/>"));
    refused(
        &gateway,
        &asked,
        &forged,
        "shape: encrypted data without its bytes",
        "a cipher reference",
    );
    match listener.accept() {
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
        other => panic!("somebody came: {other:?}"),
    }
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
