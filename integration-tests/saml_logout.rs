//! Single logout: requests and answers that hold, and those that only look as if they did.

use std::time::Instant;

use crate::login_saml::EXPERIMENT;
use crate::support::gateway::{Gateway, Setup};
use crate::support::http::{Request, Response};
use crate::support::mlflow::{Mlflow, NEWEST};
use crate::support::saml::{
    Asked, BOUND, ENTITY, Manner, SLO, Says, attribute, deflate, in_seconds, inflate, parameter, piece, provider,
    reset, sign, sign_bytes, transforms, xmlsec_agrees,
};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use url::form_urlencoded::byte_serialize;

const RSA_SHA256: &str = "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256";
const OUTER: &str = "/*/*[local-name()='Signature']";

fn gateway() -> Gateway {
    let mut setup = Setup::new(&Mlflow::shared(NEWEST).url());
    setup.sections += &provider(&setup, "corp", "");
    setup.start()
}

/// One person's session, and what the provider calls it.
struct SignedIn {
    cookie: String,
    index: String,
}

fn sign_in(gateway: &Gateway, name: &str) -> SignedIn {
    let asked = Asked::begin(gateway, "corp");
    let mut says = Says::honest(&asked);
    says.name_id = name.to_owned();
    let index = format!("s-{}", says.assertion_id);
    let cookie = asked
        .sign_in(gateway, &says.signed())
        .unwrap_or_else(|answer| panic!("{}", answer.text()));
    SignedIn { cookie, index }
}

fn status(gateway: &Gateway, who: &SignedIn) -> u16 {
    gateway
        .send(&Request::get(EXPERIMENT).header("Cookie", &who.cookie))
        .status
}

/// A request of the provider's to end sessions; without indexes, all of the name.
fn request(gateway: &Gateway, name: &str, indexes: &[&str]) -> String {
    let indexes: String = indexes
        .iter()
        .map(|index| format!("<samlp:SessionIndex>{index}</samlp:SessionIndex>"))
        .collect();
    message(
        gateway,
        "LogoutRequest",
        "",
        &format!("<saml:NameID>{name}</saml:NameID>{indexes}"),
    )
}

fn message(gateway: &Gateway, kind: &str, attributes: &str, body: &str) -> String {
    let id = STANDARD.encode(in_seconds(0)).replace('=', "") + &free_number();
    format!(
        "<samlp:{kind} xmlns:samlp=\"urn:oasis:names:tc:SAML:2.0:protocol\" xmlns:saml=\"urn:oasis:names:tc:SAML:2.0:assertion\" ID=\"_{id}\" Version=\"2.0\" \
         IssueInstant=\"{}\" Destination=\"{}/auth/saml/corp/slo\"{attributes}><saml:Issuer>{ENTITY}</saml:Issuer>{body}</samlp:{kind}>",
        in_seconds(0),
        gateway.url()
    )
}

fn free_number() -> String {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed).to_string()
}

fn escaped(text: &str) -> String {
    byte_serialize(text.as_bytes()).collect()
}

/// The query of the redirect binding, signed by a key.
fn query(name: &str, packed: &str, relay_state: Option<&str>, key: &str, method: &str, digest: &str) -> String {
    let relay = relay_state
        .map(|state| format!("&RelayState={}", escaped(state)))
        .unwrap_or_default();
    let signed = format!("{name}={}{relay}&SigAlg={}", escaped(packed), escaped(method));
    let signature = STANDARD.encode(sign_bytes(signed.as_bytes(), key, digest));
    format!("{signed}&Signature={}", escaped(&signature))
}

fn honest_query(text: &str) -> String {
    query(
        "SAMLRequest",
        &deflate(text.as_bytes()),
        Some("theirs & back"),
        "idp",
        RSA_SHA256,
        "sha256",
    )
}

fn by_query(gateway: &Gateway, query: &str) -> Response {
    gateway.send(&Request::get(&format!("/auth/saml/corp/slo?{query}")).navigation())
}

/// With a signature in it, as the POST binding has it.
fn signed(text: &str, manner: &Manner) -> String {
    let id = attribute(text, "ID");
    let template = format!(
        "<ds:Signature xmlns:ds=\"http://www.w3.org/2000/09/xmldsig#\"><ds:SignedInfo>{}<ds:SignatureMethod Algorithm=\"{}\"/><ds:Reference URI=\"#{id}\">{}\
         <ds:DigestMethod Algorithm=\"{}\"/><ds:DigestValue/></ds:Reference></ds:SignedInfo><ds:SignatureValue/><ds:KeyInfo><ds:X509Data><ds:X509Certificate/></ds:X509Data></ds:KeyInfo></ds:Signature>",
        manner.canonicalization,
        manner.method,
        transforms(""),
        manner.digest
    );
    sign(
        &text.replacen("</saml:Issuer>", &format!("</saml:Issuer>{template}"), 1),
        OUTER,
        manner,
    )
}

fn by_form(gateway: &Gateway, field: &str, text: &str) -> Response {
    let form = [(field, STANDARD.encode(text)), ("RelayState", "theirs".to_owned())];
    let form: Vec<_> = form.iter().map(|(name, value)| (*name, value.as_str())).collect();
    gateway.send(
        &Request::new("POST", "/auth/saml/corp/slo")
            .header("Origin", "https://idp.example.test")
            .header("Accept", "text/html")
            .form(&form),
    )
}

#[track_caller]
fn refused(gateway: &Gateway, answer: &Response, words: &str, what: &str) {
    assert_eq!(answer.status, 403, "{what}: {}", answer.text());
    let events = gateway.events();
    let event = events.iter().rfind(|event| event["action"] == "session.end").unwrap();
    assert_eq!(event["outcome"], "refused", "{what}: {event}");
    let told = event["reason"]["text"].as_str().unwrap();
    assert!(told.contains(words), "{what}: {told:?} does not say {words:?}");
}

#[test]
fn the_provider_ends_the_session_that_it_names_or_all_of_a_name() {
    let gateway = gateway();
    let (laptop, phone, bob) = (
        sign_in(&gateway, "alice"),
        sign_in(&gateway, "alice"),
        sign_in(&gateway, "bob"),
    );
    let all = |expected: [u16; 3]| {
        assert_eq!([&laptop, &phone, &bob].map(|who| status(&gateway, who)), expected);
    };
    all([200, 200, 200]);
    let text = request(&gateway, "alice", &[&laptop.index]);
    let answer = by_query(&gateway, &honest_query(&text));
    assert_eq!(answer.status, 303, "{}", answer.text());
    all([401, 200, 200]);
    // The answer goes back the way the request came, signed, with their RelayState.
    let url = url::Url::parse(answer.header("location").unwrap()).unwrap();
    assert!(url.as_str().starts_with(SLO), "{url}");
    assert_eq!(parameter(&url, "RelayState"), "theirs & back");
    let told = inflate(&parameter(&url, "SAMLResponse"));
    assert_eq!(attribute(&told, "InResponseTo"), attribute(&text, "ID"));
    assert!(told.contains("status:Success") && !told.contains("Signature"), "{told}");
    // A name of somebody else with the right index ends nothing, and neither does an index that is none.
    for (name, index) in [("bob", phone.index.as_str()), ("alice", "s-nothing")] {
        assert_eq!(
            by_query(&gateway, &honest_query(&request(&gateway, name, &[index]))).status,
            303
        );
    }
    all([401, 200, 200]);
    let answer = by_form(
        &gateway,
        "SAMLRequest",
        &signed(&request(&gateway, "alice", &[]), &Manner::default()),
    );
    assert_eq!(answer.status, 200, "{}", answer.text());
    let page = answer.text();
    assert!(
        page.contains(&format!("action=\"{SLO}\"")) && page.contains("name=\"RelayState\" value=\"theirs\""),
        "{page}"
    );
    let field = page
        .split("name=\"SAMLResponse\" value=\"")
        .nth(1)
        .unwrap()
        .split('"')
        .next()
        .unwrap()
        .replace("&#43;", "+")
        .replace("&#x2B;", "+");
    let told = String::from_utf8(STANDARD.decode(field).unwrap()).unwrap();
    assert!(xmlsec_agrees(&told, OUTER, "sp-cert.pem"), "{told}");
    all([401, 401, 200]);
}

#[test]
fn the_browser_that_brings_the_word_loses_its_cookie() {
    let gateway = gateway();
    let alice = sign_in(&gateway, "alice");
    let target = format!("/auth/saml/corp/slo?{}", honest_query(&request(&gateway, "alice", &[])));
    let answer = gateway.send(&Request::get(&target).navigation().header("Cookie", &alice.cookie));
    let cookie = answer.header("set-cookie").unwrap();
    assert!(cookie.starts_with("mlgate=;"), "{cookie}");
}

#[test]
fn a_request_by_query_must_be_signed_as_it_came() {
    let gateway = gateway();
    let alice = sign_in(&gateway, "alice");
    let text = request(&gateway, "alice", &[]);
    let packed = deflate(text.as_bytes());
    let good = honest_query(&text);
    let signature = good.split("&Signature=").nth(1).unwrap().to_owned();
    let bomb = deflate(&vec![b' '; 8 << 20]);
    let query_of = |text: &str| honest_query(text);
    let double = format!(
        "{good}&SAMLRequest={}",
        escaped(&deflate(request(&gateway, "bob", &[]).as_bytes()))
    );
    let cases: Vec<(&str, String, &str)> = vec![
        (
            "nothing",
            String::new(),
            "binding: the query holds not exactly one message",
        ),
        (
            "unsigned",
            format!("SAMLRequest={}", escaped(&packed)),
            "signature: nothing is signed",
        ),
        (
            "without algorithm",
            format!("SAMLRequest={}&Signature={signature}", escaped(&packed)),
            "signature: nothing is signed",
        ),
        (
            "by a stranger",
            query("SAMLRequest", &packed, None, "attacker", RSA_SHA256, "sha256"),
            "signature: it was made by no key",
        ),
        (
            "by ourselves",
            query("SAMLRequest", &packed, None, "sp", RSA_SHA256, "sha256"),
            "signature: it was made by no key",
        ),
        (
            "RSA with SHA-1",
            query(
                "SAMLRequest",
                &packed,
                None,
                "idp",
                "http://www.w3.org/2000/09/xmldsig#rsa-sha1",
                "sha1",
            ),
            "algorithm: the signature",
        ),
        (
            "another RelayState",
            good.replace("theirs", "others"),
            "signature: it was made by no key",
        ),
        (
            "no RelayState",
            good.replace(&format!("&RelayState={}", escaped("theirs & back")), ""),
            "signature: it was made by no key",
        ),
        (
            "a request as a response",
            good.replace("SAMLRequest=", "SAMLResponse="),
            "signature: it was made by no key",
        ),
        ("two messages", double, "binding: a parameter that stands there twice"),
        (
            "an odd spelling",
            format!("{good}&SAML%52equest=x"),
            "binding: a parameter that stands there twice",
        ),
        (
            "only an odd spelling",
            good.replace("SAMLRequest=", "SAML%52equest="),
            "binding: a parameter that stands there twice",
        ),
        (
            "both kinds",
            format!("{good}&SAMLResponse=x"),
            "binding: the query holds not exactly one message",
        ),
        (
            "another encoding",
            format!("{good}&SAMLEncoding=urn%3Ax"),
            "binding: another encoding",
        ),
        (
            "escaped otherwise",
            good.replacen(
                &format!("SAMLRequest={}", &packed[..1]),
                &format!("SAMLRequest=%{:02X}", packed.as_bytes()[0]),
                1,
            ),
            "signature: it was made by no key",
        ),
        (
            "a bomb",
            query("SAMLRequest", &bomb, None, "idp", RSA_SHA256, "sha256"),
            "document: it has more than 262144 bytes",
        ),
        (
            "no deflate",
            query(
                "SAMLRequest",
                &STANDARD.encode(&text),
                None,
                "idp",
                RSA_SHA256,
                "sha256",
            ),
            "binding: the message cannot be inflated",
        ),
        (
            "no base64",
            query("SAMLRequest", "%%", None, "idp", RSA_SHA256, "sha256"),
            "binding: the message is no base64",
        ),
        (
            "a comment",
            query_of(&text.replace(">alice<", ">alice<!---->.evil<")),
            "document: it holds a DTD",
        ),
        (
            "a DTD",
            query_of(&format!("<!DOCTYPE x>{text}")),
            "document: it holds a DTD",
        ),
        (
            "a response in its place",
            query_of(&text.replace("LogoutRequest", "LogoutResponse")),
            "shape: the root",
        ),
        (
            "a signature inside too",
            query_of(&signed(&text, &Manner::default())),
            "shape: a signature in a message",
        ),
        (
            "two names",
            query_of(&text.replace("<saml:NameID>", "<saml:NameID>bob</saml:NameID><saml:NameID>")),
            "shape: the message",
        ),
        (
            "no name",
            query_of(&text.replace("<saml:NameID>alice</saml:NameID>", "")),
            "shape: the message",
        ),
        (
            "another issuer",
            query_of(&text.replace(ENTITY, "https://other.test")),
            "condition: Issuer is another",
        ),
        (
            "another destination",
            query_of(&reset(
                &text,
                "samlp:LogoutRequest",
                "Destination",
                Some("https://other.test"),
            )),
            "condition: Destination is another",
        ),
        (
            "no destination",
            query_of(&reset(&text, "samlp:LogoutRequest", "Destination", None)),
            "condition: Destination is missing",
        ),
        (
            "an old one",
            query_of(&reset(
                &text,
                "samlp:LogoutRequest",
                "IssueInstant",
                Some(&in_seconds(-400)),
            )),
            "condition: IssueInstant is too long ago",
        ),
        (
            "an expired one",
            query_of(&reset(
                &text,
                "samlp:LogoutRequest",
                "NotOnOrAfter",
                Some(&in_seconds(-70)),
            )),
            "condition: the request has expired",
        ),
        (
            "extensions",
            query_of(&text.replace("</saml:Issuer>", "</saml:Issuer><samlp:Extensions/>")),
            "shape: the message",
        ),
    ];
    for (what, query, words) in cases {
        let start = Instant::now();
        let answer = by_query(&gateway, &query);
        assert!(start.elapsed() < BOUND, "{what} took {:?}", start.elapsed());
        refused(&gateway, &answer, words, what);
        assert_eq!(status(&gateway, &alice), 200, "{what} ended a session");
    }
    assert_eq!(by_query(&gateway, &good).status, 303);
    assert_eq!(status(&gateway, &alice), 401, "the control ends it");
    refused(
        &gateway,
        &by_query(&gateway, &good),
        "replay: the request was used before",
        "once more",
    );
}

#[test]
fn a_posted_request_must_be_signed_inside() {
    let gateway = gateway();
    let alice = sign_in(&gateway, "alice");
    let text = request(&gateway, "alice", &[]);
    let good = signed(&text, &Manner::default());
    let signature = piece(&good, "ds:Signature").to_owned();
    let bob = request(&gateway, "bob", &[]);
    let wrapped = bob.replacen(
        "</saml:Issuer>",
        &format!(
            "</saml:Issuer>{}",
            signature.replacen(
                "</ds:SignatureValue>",
                &format!("</ds:SignatureValue><ds:Object>{text}</ds:Object>"),
                1
            )
        ),
        1,
    );
    let weak = Manner {
        method: "http://www.w3.org/2000/09/xmldsig#rsa-sha1".to_owned(),
        ..Manner::default()
    };
    let stranger = Manner {
        key: "attacker",
        ..Manner::default()
    };
    for (what, message, words) in [
        ("unsigned", text.clone(), "signature: nothing is signed"),
        (
            "by a stranger",
            signed(&text, &stranger),
            "signature: it was made by no key",
        ),
        ("RSA with SHA-1", signed(&text, &weak), "algorithm: the signature"),
        (
            "another name",
            good.replace(">alice<", ">bob<"),
            "signature: what it is about was changed",
        ),
        (
            "another message's signature",
            bob.replacen("</saml:Issuer>", &format!("</saml:Issuer>{signature}"), 1),
            "signature: it is not about the element",
        ),
        ("wrapped", wrapped, "shape:"),
        (
            "a comment",
            good.replace(">alice<", ">ali<!---->ce<"),
            "document: it holds a DTD",
        ),
    ] {
        refused(&gateway, &by_form(&gateway, "SAMLRequest", &message), words, what);
        assert_eq!(status(&gateway, &alice), 200, "{what} ended a session");
    }
    let both = gateway.send(
        &Request::new("POST", "/auth/saml/corp/slo")
            .header("Accept", "text/html")
            .form(&[("SAMLRequest", "x"), ("SAMLResponse", "y")]),
    );
    refused(
        &gateway,
        &both,
        "binding: the form holds not exactly one message",
        "both kinds",
    );
    assert_eq!(by_form(&gateway, "SAMLRequest", &good).status, 200);
    assert_eq!(status(&gateway, &alice), 401, "the control ends it");
}

/// Signs out here; the URL of the provider to which the browser is sent.
fn sign_out(gateway: &Gateway, who: &SignedIn) -> url::Url {
    let ask = gateway.send(&Request::get("/auth/logout").navigation().header("Cookie", &who.cookie));
    let page = ask.text();
    let token = page
        .split("name=\"csrf_token\" value=\"")
        .nth(1)
        .unwrap()
        .split('"')
        .next()
        .unwrap();
    let answer = gateway.send(
        &Request::new("POST", "/auth/logout")
            .navigation()
            .header("Cookie", &who.cookie)
            .header("Origin", &gateway.origin())
            .form(&[("csrf_token", token)]),
    );
    assert_eq!(answer.status, 200, "{}", answer.text());
    let page = answer.text();
    let href = page
        .split("href=\"")
        .find(|rest| rest.starts_with(SLO))
        .unwrap()
        .split('"')
        .next()
        .unwrap();
    url::Url::parse(&href.replace("&#38;", "&").replace("&amp;", "&")).unwrap()
}

#[test]
fn the_provider_is_asked_to_end_its_own_session_and_may_answer_once() {
    let gateway = gateway();
    let alice = sign_in(&gateway, "alice");
    let url = sign_out(&gateway, &alice);
    assert_eq!(
        status(&gateway, &alice),
        401,
        "signed out here, whatever the provider does"
    );
    let asked = inflate(&parameter(&url, "SAMLRequest"));
    assert!(
        asked.contains(">alice</saml:NameID>") && asked.contains(&format!("<samlp:SessionIndex>{}<", alice.index)),
        "{asked}"
    );
    assert_eq!(parameter(&url, "SigAlg"), RSA_SHA256);
    let id = attribute(&asked, "ID");
    let answer = |id: &str, status: &str| {
        let body = format!(
            "<samlp:Status><samlp:StatusCode Value=\"urn:oasis:names:tc:SAML:2.0:status:{status}\"/></samlp:Status>"
        );
        message(&gateway, "LogoutResponse", &format!(" InResponseTo=\"{id}\""), &body)
    };
    let by = |text: &str, key: &str| {
        by_query(
            &gateway,
            &query(
                "SAMLResponse",
                &deflate(text.as_bytes()),
                None,
                key,
                RSA_SHA256,
                "sha256",
            ),
        )
    };
    refused(
        &gateway,
        &by(&answer(&id, "Success"), "attacker"),
        "signature: it was made by no key",
        "a stranger's answer",
    );
    assert_eq!(by(&answer("_unknown", "Success"), "idp").status, 400);
    let done = by(&answer(&id, "Success"), "idp");
    assert_eq!(
        (done.status, done.header("location")),
        (303, Some("/auth/signed-out")),
        "{}",
        done.text()
    );
    assert_eq!(by(&answer(&id, "Success"), "idp").status, 400, "once");
    let alice = sign_in(&gateway, "alice");
    let id = attribute(&inflate(&parameter(&sign_out(&gateway, &alice), "SAMLRequest")), "ID");
    let posted = by_form(
        &gateway,
        "SAMLResponse",
        &signed(&answer(&id, "Responder"), &Manner::default()),
    );
    assert_eq!(posted.status, 502, "{}", posted.text());
    assert!(
        posted.text().contains("did not end all of its sessions"),
        "{}",
        posted.text()
    );
}
