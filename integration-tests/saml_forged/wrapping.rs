//! Signature wrapping: what is signed is moved about, and something else is put where it was.

use crate::support::saml::{Asked, Manner, Says, Signed, last_refusal, piece, sign, xmlsec_agrees};

use super::{Change, INNER, OUTER, control, gateway, refused};

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

fn after(element: &str, more: &str) -> String {
    element.replacen("</saml:Issuer>", &format!("</saml:Issuer>{more}"), 1)
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
