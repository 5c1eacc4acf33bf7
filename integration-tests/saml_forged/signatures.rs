//! Keys, algorithms and transforms that are not on the list, and places to fetch from.

use std::net::TcpListener;

use crate::support::saml::{Asked, Cipher, EXCLUSIVE, Manner, Says, Signed, encrypt, last_refusal, piece, transforms};

use super::{gateway, refused};

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
            ),
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
