//! Signing in by SAML at real identity providers: Keycloak and SimpleSAMLphp, on other sites than the gateway.

use std::time::Duration;

use serde_json::{Value, json};

use crate::login_saml::EXPERIMENT;
use crate::support::browser::travel;
use crate::support::gateway::{Gateway, Setup};
use crate::support::http::Request;
use crate::support::keycloak::{Keycloak, SamlClient};
use crate::support::mlflow::{Mlflow, NEWEST};
use crate::support::oidc::Walker;
use crate::support::process::until;
use crate::support::saml::{fixture, lines, write_key};
use crate::support::simplesaml::{Known, RSA_SHA1, SimpleSaml};

/// For browsers `localhost` and `127.0.0.1` are two sites.
fn setup() -> Setup {
    let mut setup = Setup::new(&Mlflow::shared(NEWEST).url());
    setup.top = format!("public_url = \"http://localhost:{}\"\n", setup.port);
    write_key(&setup);
    setup
}

fn certificate() -> String {
    std::fs::read_to_string(fixture("sp-cert.pem")).unwrap()
}

/// What the identity provider is told of us.
struct Ours {
    entity_id: String,
    acs: String,
    slo: String,
}

impl Ours {
    fn of(setup: &Setup, id: &str) -> Self {
        let base = format!("http://localhost:{}/auth/saml/{id}", setup.port);
        Self {
            entity_id: format!("{base}/metadata"),
            acs: format!("{base}/acs"),
            slo: format!("{base}/slo"),
        }
    }
}

fn role(id: &str, group: &str) -> String {
    format!(
        "[[role]]\nname = \"{id}-engineers\"\ngroups = [\"{id}:{group}\"]\ngrants = [{{ permission = \"READ\", experiments = [\"*\"] }}]\n"
    )
}

/// A gateway that Keycloak knows; requests must be signed there, and assertions are encrypted where wanted.
fn at_keycloak(client: SamlClient<'_>, binding: &str, session: &str) -> Gateway {
    let keycloak = Keycloak::shared();
    let mut setup = setup();
    let (ours, certificate) = (Ours::of(&setup, "kc"), certificate());
    keycloak.saml_client(&SamlClient {
        entity_id: &ours.entity_id,
        acs: &ours.acs,
        slo: &ours.slo,
        certificate: Some(&certificate),
        ..client
    });
    let more = format!(
        "label = \"Keycloak\"\nmetadata_url = \"{}\"\nbinding = \"{binding}\"\ngroups_attribute = \"Role\"",
        keycloak.metadata_url()
    );
    setup.session = session.to_owned();
    setup.sections += &(lines("kc", &more) + &role("kc", "mlflow-engineers"));
    setup.start()
}

fn at_simplesaml(known: Known<'_>, more: &str) -> (SimpleSaml, Gateway) {
    let mut setup = setup();
    let (ours, certificate) = (Ours::of(&setup, "ssp"), certificate());
    let idp = SimpleSaml::start(&Known {
        entity_id: &ours.entity_id,
        acs: &ours.acs,
        slo: &ours.slo,
        certificate: Some(&certificate),
        ..known
    });
    std::fs::write(setup.path("ssp.xml"), idp.metadata()).unwrap();
    let more = format!("label = \"SimpleSAMLphp\"\nmetadata_file = \"ssp.xml\"\n{more}");
    setup.sections += &(lines("ssp", &more) + &role("ssp", "ml-admins"));
    (idp, setup.start())
}

fn site(gateway: &Gateway) -> String {
    format!("http://localhost:{}", gateway.setup.port)
}

fn browse(gateway: &Gateway, label: &str, user: &str) -> Value {
    let password = format!("{user}-pw");
    travel(
        "by_provider",
        &json!({"url": site(gateway), "label": label, "user": user, "password": password, "path": EXPERIMENT}),
    )
}

fn member_and_stranger(gateway: &Gateway, label: &str, what: &str) {
    let seen = browse(gateway, label, "alice");
    assert_eq!(seen["status"], 200, "{what}: {seen} {}", gateway.log());
    let seen = browse(gateway, label, "carol");
    assert_eq!(seen["status"], 403, "{what}: {seen}");
    assert!(
        seen["page"].as_str().unwrap().contains("holds no role"),
        "{what}: {seen}"
    );
}

#[test]
fn keycloak_signs_people_in_with_the_roles_of_the_groups_above_theirs() {
    for (encrypt, binding) in [(false, "redirect"), (true, "post")] {
        let gateway = at_keycloak(
            SamlClient {
                encrypt,
                ..SamlClient::default()
            },
            binding,
            "",
        );
        member_and_stranger(&gateway, "Keycloak", &format!("encrypted: {encrypt}, {binding}"));
    }
}

#[test]
fn keycloak_may_encrypt_in_each_way_that_it_knows() {
    for (content, transport, digest, mask) in [
        (
            "http://www.w3.org/2009/xmlenc11#aes256-gcm",
            "http://www.w3.org/2009/xmlenc11#rsa-oaep",
            "http://www.w3.org/2001/04/xmlenc#sha256",
            "http://www.w3.org/2009/xmlenc11#mgf1sha256",
        ),
        (
            "http://www.w3.org/2001/04/xmlenc#aes128-cbc",
            "http://www.w3.org/2001/04/xmlenc#rsa-oaep-mgf1p",
            "http://www.w3.org/2000/09/xmldsig#sha1",
            "",
        ),
    ] {
        let attributes = json!({
            "saml.encryption.algorithm": content,
            "saml.encryption.keyAlgorithm": transport,
            "saml.encryption.digestMethod": digest,
            "saml.encryption.maskGenerationFunction": mask,
        });
        let gateway = at_keycloak(
            SamlClient {
                encrypt: true,
                attributes,
                ..SamlClient::default()
            },
            "redirect",
            "",
        );
        let seen = browse(&gateway, "Keycloak", "alice");
        assert_eq!(seen["status"], 200, "{content} {transport}: {seen} {}", gateway.log());
    }
}

#[test]
fn simplesamlphp_signs_people_in_in_each_of_its_ways() {
    for (what, known) in [
        ("as it comes", Known::default()),
        (
            "requests must be signed",
            Known {
                wants_signed_requests: true,
                ..Known::default()
            },
        ),
        (
            "only the response signed",
            Known {
                sign_assertion: false,
                ..Known::default()
            },
        ),
        (
            "only the assertion signed",
            Known {
                sign_response: false,
                ..Known::default()
            },
        ),
        (
            "encrypted",
            Known {
                encrypt: true,
                ..Known::default()
            },
        ),
        (
            "encrypted, only the assertion signed",
            Known {
                encrypt: true,
                sign_response: false,
                ..Known::default()
            },
        ),
        (
            "the next key first in the metadata",
            Known {
                next_key: true,
                ..Known::default()
            },
        ),
    ] {
        let (_idp, gateway) = at_simplesaml(known, "");
        let seen = browse(&gateway, "SimpleSAMLphp", "alice");
        assert_eq!(seen["status"], 200, "{what}: {seen} {}", gateway.log());
    }
    let (_idp, gateway) = at_simplesaml(Known::default(), "");
    member_and_stranger(&gateway, "SimpleSAMLphp", "as it comes");
}

#[test]
fn simplesamlphp_with_sha1_is_refused() {
    let known = Known {
        algorithm: RSA_SHA1,
        ..Known::default()
    };
    let (_idp, gateway) = at_simplesaml(known, "");
    let mut walker = Walker::default();
    let form = walker.go(&format!("{}/auth/login/ssp", site(&gateway)));
    let landed = at_simplesaml_form(&mut walker, &form.text());
    assert_eq!(landed.status, 403, "{}", landed.text());
    let told = crate::support::saml::last_refusal(&gateway);
    assert!(told.contains("algorithm: the "), "{told}");
}

/// Fills in the form of SimpleSAMLphp and carries its answer over, as its page's script does.
fn at_simplesaml_form(walker: &mut Walker, form: &str) -> crate::support::http::Response {
    let hidden = |page: &str, name: &str| {
        let (_, rest) = page
            .split_once(&format!("name=\"{name}\""))
            .unwrap_or_else(|| panic!("no {name} in {page}"));
        rest.split_once("value=\"")
            .unwrap()
            .1
            .split('"')
            .next()
            .unwrap()
            .replace("&amp;", "&")
    };
    let state = hidden(form, "AuthState");
    let answer = walker.submit(
        "",
        &[("username", "alice"), ("password", "alice-pw"), ("AuthState", &state)],
    );
    let page = answer.text();
    let action = page
        .split("action=\"")
        .nth(1)
        .unwrap()
        .split('"')
        .next()
        .unwrap()
        .to_owned();
    walker.submit(
        &action,
        &[
            ("SAMLResponse", &hidden(&page, "SAMLResponse")),
            ("RelayState", &hidden(&page, "RelayState")),
        ],
    )
}

/// Signs out at the place that is named, or at the gateway, and looks who still knows whom.
fn sign_out(gateway: &Gateway, label: &str, at: Option<&str>) -> Value {
    travel(
        "sign_out_everywhere",
        &json!({"url": site(gateway), "label": label, "user": "alice", "password": "alice-pw", "path": EXPERIMENT, "sign_out": at}),
    )
}

fn check_sign_out(gateway: &Gateway, seen: &Value, what: &str) {
    assert_eq!(
        (&seen["before"], &seen["after"]),
        (&json!(200), &json!(401)),
        "{what}: {seen} {}",
        gateway.log()
    );
    assert_eq!(
        seen["asksAgain"], true,
        "{what}: the provider's own session ended too: {seen}"
    );
    // The answer came from another site, and without our cookies: the browser binding does not rest on them there.
    assert_eq!(seen["cookiesWithPost"][0], "", "{what}: {seen}");
    // MLflow's own page may complain that its next request was refused; ours keep to their policies.
    let complaints = seen["complaints"].to_string();
    assert!(!complaints.contains("Content Security Policy"), "{what}: {seen}");
}

#[test]
fn signing_out_here_signs_out_there() {
    let gateway = at_keycloak(SamlClient::default(), "redirect", "");
    let seen = sign_out(&gateway, "Keycloak", None);
    check_sign_out(&gateway, &seen, "Keycloak");
    assert_eq!(seen["landed"], format!("{}/auth/signed-out", site(&gateway)));
    let known = Known {
        wants_signed_requests: true,
        ..Known::default()
    };
    let (_idp, gateway) = at_simplesaml(known, "");
    let seen = sign_out(&gateway, "SimpleSAMLphp", None);
    check_sign_out(&gateway, &seen, "SimpleSAMLphp");
    assert_eq!(seen["landed"], format!("{}/auth/signed-out", site(&gateway)));
}

#[test]
fn signing_out_there_signs_out_here() {
    let gateway = at_keycloak(SamlClient::default(), "redirect", "");
    let there = format!("{}/protocol/openid-connect/logout", Keycloak::shared().issuer());
    let seen = sign_out(&gateway, "Keycloak", Some(&there));
    check_sign_out(&gateway, &seen, "Keycloak");
    let (idp, gateway) = at_simplesaml(Known::default(), "");
    let back = format!("http://{}/simplesaml/", idp.authority);
    let seen = sign_out(&gateway, "SimpleSAMLphp", Some(&idp.sign_out_url(&back)));
    check_sign_out(&gateway, &seen, "SimpleSAMLphp");
    let ended = gateway.events();
    let ended = ended.iter().rfind(|event| event["action"] == "session.end").unwrap();
    assert!(
        ended["reason"]["text"].as_str().unwrap().contains("single logout"),
        "{ended}"
    );
}

#[test]
fn an_administrator_of_keycloak_ends_sessions_without_a_browser() {
    let keycloak = Keycloak::shared();
    keycloak.person("saml-leaver", Some("/ml-engineers"));
    let gateway = at_keycloak(
        SamlClient {
            backchannel: true,
            ..SamlClient::default()
        },
        "redirect",
        "",
    );
    let mut walker = Walker::default();
    let form = walker.go(&format!("{}/auth/login/kc?rd=%2Fauth%2Faccount", site(&gateway)));
    let page = form.text();
    let action = page
        .split("action=\"")
        .nth(1)
        .unwrap()
        .split('"')
        .next()
        .unwrap()
        .replace("&amp;", "&");
    let answer = walker.submit(&action, &[("username", "saml-leaver"), ("password", "saml-leaver-pw")]);
    let page = answer.text();
    let field = |name: &str| {
        let (_, rest) = page
            .split_once(&format!("NAME=\"{name}\""))
            .or_else(|| page.split_once(&format!("name=\"{name}\"")))
            .unwrap_or_else(|| panic!("{page}"));
        let rest = rest
            .split_once("VALUE=\"")
            .or_else(|| rest.split_once("value=\""))
            .unwrap()
            .1;
        rest.split('"').next().unwrap().to_owned()
    };
    let acs = Ours::of(&gateway.setup, "kc").acs;
    let landed = walker.submit(
        &acs,
        &[
            ("SAMLResponse", &field("SAMLResponse")),
            ("RelayState", &field("RelayState")),
        ],
    );
    assert_eq!(landed.status, 200, "{} {}", landed.text(), gateway.log());
    let cookie = walker
        .cookie(&format!("localhost:{}", gateway.setup.port), "mlgate")
        .unwrap();
    let status = || gateway.send(&Request::get(EXPERIMENT).header("Cookie", &cookie)).status;
    assert_eq!(status(), 200);
    keycloak.sign_out("saml-leaver");
    until("the session is gone", Duration::from_secs(20), || status() == 401);
}

#[test]
fn old_groups_are_asked_for_again_silently_and_the_page_comes_back() {
    let gateway = at_keycloak(SamlClient::default(), "redirect", "recheck = \"3s\"");
    let seen = travel(
        "asked_again",
        &json!({"url": site(&gateway), "label": "Keycloak", "user": "alice", "password": "alice-pw", "old": 3500}),
    );
    assert_eq!(
        seen["landed"],
        format!("{}/?x=1#/experiments/7", site(&gateway)),
        "{seen} {}",
        gateway.log()
    );
    assert_eq!(seen["same"], true, "{seen}");
    let through = seen["through"].to_string();
    assert!(
        through.contains("/auth/saml/kc/acs") && through.contains("/realms/test/protocol/saml"),
        "{seen}"
    );
    let renewed = gateway
        .events()
        .iter()
        .filter(|event| event["action"] == "session.renew")
        .count();
    assert_eq!(renewed, 1);
}

#[test]
fn a_tile_at_the_provider_signs_in_where_that_is_allowed() {
    let (idp, gateway) = at_simplesaml(Known::default(), "allow_idp_initiated = true");
    let mut walker = Walker::default();
    let start = idp.idp_initiated_url(&Ours::of(&gateway.setup, "ssp").entity_id, "https://evil.test/");
    let form = walker.go(&start);
    let landed = at_simplesaml_form(&mut walker, &form.text());
    assert_eq!(
        walker.at.0,
        format!("localhost:{}", gateway.setup.port),
        "{} {}",
        landed.text(),
        gateway.log()
    );
    let cookie = walker
        .cookie(&format!("localhost:{}", gateway.setup.port), "mlgate")
        .unwrap();
    assert_eq!(
        gateway.send(&Request::get(EXPERIMENT).header("Cookie", &cookie)).status,
        200
    );
}

#[test]
fn metadata_from_a_url_is_waited_for_refused_when_it_is_none_and_found_by_the_check() {
    let keycloak = Keycloak::shared();
    let check = |url: &str| {
        let mut setup = setup();
        setup.sections += &lines("kc", &format!("metadata_url = \"{url}\""));
        let file = setup.write();
        let told = crate::support::gateway::binary()
            .args(["check", "--connect", "--config"])
            .arg(file)
            .output()
            .unwrap();
        (told.status.code(), String::from_utf8_lossy(&told.stdout).into_owned())
    };
    let (code, told) = check(&keycloak.metadata_url());
    assert_eq!(code, Some(0), "{told}");
    let (code, told) = check(&format!("http://{}/realms/test", keycloak.authority));
    assert!(code == Some(1) && told.contains("provider[1].metadata_url: "), "{told}");
    let (code, told) = check("http://127.0.0.1:1/metadata");
    assert!(code == Some(1) && told.contains("cannot be reached"), "{told}");
    // A gateway whose provider is away starts, says so, and lets others in.
    let mut setup = setup();
    let port = crate::support::free_port();
    setup.sections += &lines("kc", &format!("metadata_url = \"http://127.0.0.1:{port}/metadata\""));
    let gateway = setup.start();
    let answer = gateway.send(&Request::get("/auth/login/kc").navigation());
    assert_eq!(answer.status, 503, "{}", answer.text());
    let ready = Request::get("/auth/readyz").send(&gateway.admin_authority());
    assert!(
        ready.status == 200 && ready.text().contains("metadata was not fetched"),
        "{}",
        ready.text()
    );
    let form = gateway.send(&Request::get("/auth/login/local").navigation());
    assert_eq!(form.status, 200, "the other way in is open");
}

#[test]
fn keycloak_can_import_the_metadata_of_the_gateway() {
    let (_idp, gateway) = at_simplesaml(Known::default(), "name_id_format = \"persistent\"");
    let text = gateway.send(&Request::get("/auth/saml/ssp/metadata")).text();
    let client = Keycloak::shared().reads_metadata(&text);
    let ours = Ours::of(&gateway.setup, "ssp");
    assert_eq!(client["clientId"], ours.entity_id);
    let attribute = |name: &str| client["attributes"][name].as_str().unwrap_or_default();
    assert_eq!(attribute("saml_assertion_consumer_url_post"), ours.acs, "{client}");
    assert_eq!(attribute("saml_single_logout_service_url_redirect"), ours.slo);
    assert_eq!(attribute("saml_single_logout_service_url_post"), ours.slo);
    assert_eq!(attribute("saml.client.signature"), "true");
    assert_eq!(attribute("saml.assertion.signature"), "true");
    for name in ["saml.signing.certificate", "saml.encryption.certificate"] {
        assert_eq!(
            attribute(name),
            crate::support::saml::der("sp-cert.pem"),
            "{name}: {client}"
        );
    }
}
