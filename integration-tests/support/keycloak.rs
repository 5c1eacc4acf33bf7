//! A real Keycloak with one realm, and its admin API: clients for gateways, people who come, change and go.

use std::fmt::Write as _;
use std::os::unix::fs::symlink;
use std::process::{Command, Stdio};
use std::sync::LazyLock;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::http::{Request, Response};
use super::process::{Server, until};
use super::{free_port, parts};

pub const CLIENT_SECRET: &str = "gateway-secret-0123456789abcdef";
const ADMIN_PASSWORD: &str = "admin-pw";
const REALM: &str = include_str!("keycloak-realm.json");

/// The realm `test`. People have the password `NAME-pw`. alice is in ml-admins, in platform, in ml-engineers; bob in
/// ml-engineers; carol in none. Tokens and assertions name the groups that a person is in themselves (`groups`), and the realm
/// roles, which groups hand down: `mlflow-engineers` is that of ml-engineers.
pub struct Keycloak {
    pub authority: String,
    _server: Server,
    _folder: TempDir,
}

/// A service provider as Keycloak should know it.
#[derive(Default)]
pub struct SamlClient<'a> {
    pub entity_id: &'a str,
    pub acs: &'a str,
    /// Where logout messages go, by redirect and by POST.
    pub slo: &'a str,
    /// PEM. With it requests must be signed by its key.
    pub certificate: Option<&'a str>,
    /// Whether assertions are encrypted for the certificate.
    pub encrypt: bool,
    /// Whether Keycloak itself posts the end of sessions, instead of the browser.
    pub backchannel: bool,
    /// Further attributes of the client, which win over those above.
    pub attributes: Value,
}

impl Keycloak {
    /// One for all tests of a run: it takes a third of a minute to start. What a test changes must be its own: a client, a person.
    pub fn shared() -> &'static Self {
        static SHARED: LazyLock<Keycloak> = LazyLock::new(Keycloak::start);
        &SHARED
    }

    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path();
        let installed = parts().join("keycloak");
        assert!(
            installed.join(".built").exists(),
            "Keycloak is not installed; run integration-tests/setup.sh keycloak"
        );
        // It takes the folder of its own script, links followed, for its home, and writes there.
        std::fs::create_dir_all(home.join("bin")).unwrap();
        std::fs::create_dir_all(home.join("data/import")).unwrap();
        std::fs::copy(installed.join("bin/kc.sh"), home.join("bin/kc.sh")).unwrap();
        for shared in ["lib", "conf", "providers", "themes"] {
            symlink(installed.join(shared), home.join(shared)).unwrap();
        }
        std::fs::write(home.join("data/import/test-realm.json"), REALM).unwrap();
        let port = free_port();
        let authority = format!("127.0.0.1:{port}");
        let log = std::fs::File::create(home.join("log")).unwrap();
        let mut server = Server::start(
            Command::new(home.join("bin/kc.sh"))
                .args(["start", "--optimized", "--import-realm", "--cache=local"])
                .args(["--http-enabled=true", "--http-host=127.0.0.1"])
                .arg(format!("--http-port={port}"))
                .arg(format!("--hostname=http://{authority}"))
                .env("KC_BOOTSTRAP_ADMIN_USERNAME", "admin")
                .env("KC_BOOTSTRAP_ADMIN_PASSWORD", ADMIN_PASSWORD)
                .env("JAVA_OPTS_KC_HEAP", "-Xms64m -Xmx512m")
                .stdout(Stdio::from(log.try_clone().unwrap()))
                .stderr(Stdio::from(log)),
        );
        let log = home.join("log");
        until("Keycloak answers", Duration::from_secs(300), || {
            assert!(
                server.is_running(),
                "Keycloak ended: {}",
                std::fs::read_to_string(&log).unwrap_or_default()
            );
            std::net::TcpStream::connect(&authority).is_ok()
                && Request::get("/realms/test/.well-known/openid-configuration")
                    .send(&authority)
                    .status
                    == 200
        });
        Self {
            authority,
            _server: server,
            _folder: folder,
        }
    }

    pub fn issuer(&self) -> String {
        format!("http://{}/realms/test", self.authority)
    }

    /// A provider's lines for one of the realm's clients; `more` comes last.
    pub fn provider(&self, id: &str, client: &str, more: &str) -> String {
        let mut text = format!("[[provider]]\nid = \"{id}\"\nkind = \"oidc\"\n");
        for (key, value) in [
            ("label", "\"Keycloak\"".to_owned()),
            ("issuer", format!("{:?}", self.issuer())),
            ("client_id", format!("{client:?}")),
            ("client_secret", format!("{CLIENT_SECRET:?}")),
            ("user_claim", "\"preferred_username\"".to_owned()),
            ("groups_claim", "[\"/groups\", \"/roles\"]".to_owned()),
        ] {
            if !more.contains(&format!("{key} = ")) {
                let _ = writeln!(text, "{key} = {value}");
            }
        }
        text + more + "\n"
    }

    /// The SAML metadata of the realm.
    pub fn metadata_url(&self) -> String {
        format!("{}/protocol/saml/descriptor", self.issuer())
    }

    pub fn metadata(&self) -> String {
        let answer = Request::get("/realms/test/protocol/saml/descriptor").send(&self.authority);
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.text()
    }

    /// Where a sign-in begins at Keycloak itself, for a SAML client with the attribute `saml_idp_initiated_sso_url_name`.
    pub fn idp_initiated_url(&self, name: &str) -> String {
        format!("{}/protocol/saml/clients/{name}", self.issuer())
    }

    /// A confidential OpenID client with the secret [`CLIENT_SECRET`]; `attributes` are added to its own.
    pub fn oidc_client(&self, id: &str, redirect: &str, attributes: &Value) {
        self.create("clients", &oidc_client(id, redirect, attributes));
    }

    /// Likewise, one whose sessions end in frames of the browser that signs out.
    pub fn frontchannel_client(&self, id: &str, redirect: &str, attributes: &Value) {
        let mut client = oidc_client(id, redirect, attributes);
        client["frontchannelLogout"] = true.into();
        self.create("clients", &client);
    }

    /// Responses and assertions are signed; `groups` lists the groups, `Role` the realm roles.
    pub fn saml_client(&self, client: &SamlClient<'_>) {
        let der = client.certificate.map(|pem| {
            pem.lines()
                .filter(|line| !line.starts_with("-----"))
                .collect::<String>()
        });
        self.create(
            "clients",
            &json!({
                "clientId": client.entity_id, "protocol": "saml", "enabled": true, "redirectUris": [client.acs],
                "frontchannelLogout": !client.backchannel, "fullScopeAllowed": true,
                "attributes": merged(json!({
                    "saml_assertion_consumer_url_post": client.acs,
                    "saml_single_logout_service_url_redirect": client.slo,
                    "saml_single_logout_service_url_post": client.slo,
                    "saml.server.signature": "true",
                    "saml.assertion.signature": "true",
                    "saml.signature.algorithm": "RSA_SHA256",
                    "saml_signature_canonicalization_method": "http://www.w3.org/2001/10/xml-exc-c14n#",
                    "saml.authnstatement": "true",
                    "saml.force.post.binding": "true",
                    "saml_name_id_format": "username",
                    "saml_force_name_id_format": "true",
                    "saml.client.signature": client.certificate.is_some().to_string(),
                    "saml.signing.certificate": der,
                    "saml.encrypt": client.encrypt.to_string(),
                    "saml.encryption.certificate": der,
                }), &client.attributes),
                "protocolMappers": [{
                    "name": "groups", "protocol": "saml", "protocolMapper": "saml-group-membership-mapper",
                    "config": {"attribute.name": "groups", "attribute.nameformat": "Basic", "single": "true", "full.path": "false"},
                }],
            }),
        );
    }

    /// What Keycloak makes of a service provider's metadata, as it would import it.
    pub fn reads_metadata(&self, text: &str) -> Value {
        let answer = self.admin_with("POST", "client-description-converter", |request| {
            request.body("application/xml", text)
        });
        self.done(&answer);
        answer.json()
    }

    /// A person of the test's own, in one group by its path or in none.
    pub fn person(&self, name: &str, group: Option<&str>) {
        self.create(
            "users",
            &json!({
                "username": name, "enabled": true, "email": format!("{name}@example.test"), "emailVerified": true,
                "firstName": name, "lastName": "Test", "groups": group.as_slice(),
                "credentials": [{"type": "password", "value": format!("{name}-pw"), "temporary": false}],
            }),
        );
    }

    /// By the group's path, `/ml-engineers/platform`.
    pub fn remove_from_group(&self, name: &str, group: &str) {
        let found = self.get(&format!("group-by-path/{}", group.trim_start_matches('/')));
        let path = format!("users/{}/groups/{}", self.id_of(name), found["id"].as_str().unwrap());
        self.done(&self.admin("DELETE", &path, None));
    }

    pub fn disable(&self, name: &str) {
        let path = format!("users/{}", self.id_of(name));
        self.done(&self.admin("PUT", &path, Some(&json!({"enabled": false}))));
    }

    /// Ends all sessions of a person, as an administrator does; clients are told by back channel.
    pub fn sign_out(&self, name: &str) {
        let path = format!("users/{}/logout", self.id_of(name));
        self.done(&self.admin("POST", &path, None));
    }

    /// The sessions of a person, by the `sid` of their tokens.
    pub fn sessions_of(&self, name: &str) -> Vec<String> {
        let found = self.get(&format!("users/{}/sessions", self.id_of(name)));
        let sessions = found.as_array().unwrap().iter();
        sessions
            .map(|session| session["id"].as_str().unwrap().to_owned())
            .collect()
    }

    /// Ends one session, by the `sid` of its tokens.
    pub fn end_session(&self, sid: &str) {
        self.done(&self.admin("DELETE", &format!("sessions/{sid}"), None));
    }

    fn id_of(&self, name: &str) -> String {
        let found = self.get(&format!("users?exact=true&username={name}"));
        found[0]["id"].as_str().unwrap().to_owned()
    }

    fn create(&self, what: &str, value: &Value) {
        self.done(&self.admin("POST", what, Some(value)));
    }

    fn get(&self, path: &str) -> Value {
        let answer = self.admin("GET", path, None);
        self.done(&answer);
        answer.json()
    }

    #[track_caller]
    fn done(&self, answer: &Response) {
        assert!(
            (200..300).contains(&answer.status),
            "Keycloak: {} {}",
            answer.status,
            answer.text()
        );
    }

    /// Asks the admin API about something below the realm.
    fn admin(&self, method: &str, path: &str, body: Option<&Value>) -> Response {
        self.admin_with(method, path, |request| match body {
            Some(body) => request.json(body),
            None => request,
        })
    }

    fn admin_with(&self, method: &str, path: &str, body: impl FnOnce(Request) -> Request) -> Response {
        let token = Request::new("POST", "/realms/master/protocol/openid-connect/token")
            .form(&[
                ("grant_type", "password"),
                ("client_id", "admin-cli"),
                ("username", "admin"),
                ("password", ADMIN_PASSWORD),
            ])
            .send(&self.authority)
            .json();
        let bearer = format!("Bearer {}", token["access_token"].as_str().unwrap());
        let request = Request::new(method, &format!("/admin/realms/test/{path}")).header("Authorization", &bearer);
        body(request).send(&self.authority)
    }
}

fn merged(mut attributes: Value, more: &Value) -> Value {
    for (name, value) in more.as_object().into_iter().flatten() {
        attributes[name] = value.clone();
    }
    attributes
}

fn oidc_client(id: &str, redirect: &str, attributes: &Value) -> Value {
    json!({
        "clientId": id, "enabled": true, "secret": CLIENT_SECRET, "redirectUris": [redirect],
        "standardFlowEnabled": true, "publicClient": false,
        "attributes": merged(json!({
            "pkce.code.challenge.method": "S256",
            "post.logout.redirect.uris": redirect.split("/auth/").next().map(|site| format!("{site}/*")),
        }), attributes),
        "protocolMappers": [
            {
                "name": "groups", "protocol": "openid-connect", "protocolMapper": "oidc-group-membership-mapper",
                "config": {"claim.name": "groups", "full.path": "false", "id.token.claim": "true", "userinfo.token.claim": "true"},
            },
            {
                "name": "roles", "protocol": "openid-connect", "protocolMapper": "oidc-usermodel-realm-role-mapper",
                "config": {
                    "claim.name": "roles", "multivalued": "true", "jsonType.label": "String",
                    "id.token.claim": "true", "userinfo.token.claim": "true",
                },
            },
        ],
    })
}
