//! Conditions of an assertion: each must hold, and each must be there.

use crate::support::saml::{Asked, Says, Signed, in_seconds, last_refusal, piece, reset};

use super::{Change, control, gateway, refused};

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
