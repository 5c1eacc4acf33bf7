//! A real SAML identity provider: Debian's SimpleSAMLphp under PHP's own web server.

use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use super::free_port;
use super::http::Request;
use super::process::{Server, until};

const PROGRAM: &str = "/usr/share/simplesamlphp/www";
pub const RSA_SHA256: &str = "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256";
pub const RSA_SHA1: &str = "http://www.w3.org/2000/09/xmldsig#rsa-sha1";

/// People have the password `NAME-pw`. alice is in ml-admins; bob in ml-engineers and in a group with an awkward name; carol's
/// assertions have no groups attribute at all. NameIDs are persistent, and are the user names.
pub struct SimpleSaml {
    pub authority: String,
    _server: Server,
    folder: TempDir,
}

/// The service provider that it should know, and how it answers it.
#[derive(Clone, Copy)]
pub struct Known<'a> {
    pub entity_id: &'a str,
    pub acs: &'a str,
    /// Where logout messages go, by redirect.
    pub slo: &'a str,
    /// PEM: checks the signatures of requests, encrypts assertions.
    pub certificate: Option<&'a str>,
    pub encrypt: bool,
    pub sign_response: bool,
    pub sign_assertion: bool,
    /// Whether requests without a good signature are turned away.
    pub wants_signed_requests: bool,
    /// What it signs with.
    pub algorithm: &'a str,
    /// As in a change of keys: a second certificate stands in its metadata, before that of the key that signs.
    pub next_key: bool,
}

impl Default for Known<'_> {
    fn default() -> Self {
        Self {
            entity_id: "",
            acs: "",
            slo: "",
            certificate: None,
            encrypt: false,
            sign_response: true,
            sign_assertion: true,
            wants_signed_requests: false,
            algorithm: RSA_SHA256,
            next_key: false,
        }
    }
}

impl SimpleSaml {
    pub fn start(known: &Known<'_>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path();
        for needed in ["cert", "log", "sessions", "tmp", "data", "metadata", "www"] {
            std::fs::create_dir(home.join(needed)).unwrap();
        }
        assert!(
            Path::new(PROGRAM).exists(),
            "SimpleSAMLphp is not installed; run integration-tests/setup.sh simplesaml"
        );
        std::os::unix::fs::symlink(PROGRAM, home.join("www/simplesaml")).unwrap();
        make_key(home, "idp");
        make_key(home, "next");
        let port = free_port();
        let authority = format!("127.0.0.1:{port}");
        let write = |name: &str, text: String| std::fs::write(home.join(name), text).unwrap();
        write("config.php", configuration(home, &authority));
        write("authsources.php", people());
        write("metadata/saml20-idp-hosted.php", itself(&authority, known));
        write("metadata/saml20-sp-remote.php", service_provider(known));
        let log = std::fs::File::create(home.join("log/out")).unwrap();
        let mut server = Server::start(
            Command::new("php")
                .args(["-d", &format!("error_log={}/log/php.log", home.display())])
                .args(["-S", &authority, "-t"])
                .arg(home.join("www"))
                .env("SIMPLESAMLPHP_CONFIG_DIR", home)
                // Its own requests to itself must not wait for the one that makes them.
                .env("PHP_CLI_SERVER_WORKERS", "4")
                .stdout(Stdio::from(log.try_clone().unwrap()))
                .stderr(Stdio::from(log)),
        );
        until("SimpleSAMLphp answers", Duration::from_secs(60), || {
            assert!(
                server.is_running(),
                "PHP ended: {}",
                std::fs::read_to_string(home.join("log/out")).unwrap_or_default()
            );
            std::net::TcpStream::connect(&authority).is_ok() && Request::get(METADATA).send(&authority).status == 200
        });
        Self {
            authority,
            _server: server,
            folder,
        }
    }

    pub fn entity_id(&self) -> String {
        self.metadata_url()
    }

    pub fn metadata_url(&self) -> String {
        format!("http://{}{METADATA}", self.authority)
    }

    pub fn metadata(&self) -> String {
        Request::get(METADATA).send(&self.authority).text()
    }

    /// Where a sign-in begins that the service provider did not ask for.
    pub fn idp_initiated_url(&self, entity_id: &str, relay_state: &str) -> String {
        let query = url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs([("spentityid", entity_id), ("RelayState", relay_state)])
            .finish();
        format!("http://{}/simplesaml/saml2/idp/SSOService.php?{query}", self.authority)
    }

    /// Where a person signs out at the provider itself, which tells the service providers.
    pub fn sign_out_url(&self, return_to: &str) -> String {
        let query = url::form_urlencoded::Serializer::new(String::new())
            .append_pair("ReturnTo", return_to)
            .finish();
        format!(
            "http://{}/simplesaml/saml2/idp/SingleLogoutService.php?{query}",
            self.authority
        )
    }

    /// Knows the service provider otherwise from now on.
    pub fn know(&self, known: &Known<'_>) {
        let write = |name: &str, text: String| std::fs::write(self.folder.path().join(name), text).unwrap();
        write("metadata/saml20-idp-hosted.php", itself(&self.authority, known));
        write("metadata/saml20-sp-remote.php", service_provider(known));
    }

    pub fn log(&self) -> String {
        ["log/ssp.log", "log/php.log", "log/out"]
            .map(|name| std::fs::read_to_string(self.folder.path().join(name)).unwrap_or_default())
            .concat()
    }
}

const METADATA: &str = "/simplesaml/saml2/idp/metadata.php";

fn make_key(home: &Path, name: &str) {
    let file = |end: &str| home.join("cert").join(format!("{name}.{end}"));
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30"])
        .args(["-subj", &format!("/CN={name}.example.test"), "-keyout"])
        .arg(file("key"))
        .arg("-out")
        .arg(file("pem"))
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}

/// A text as PHP reads it between single quotes.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
}

fn php(name: &str, entries: &[(&str, String)]) -> String {
    let mut text = format!("<?php\n{name} = [\n");
    for (key, value) in entries {
        let _ = writeln!(text, "  {} => {value},", quoted(key));
    }
    text + "];\n"
}

fn configuration(home: &Path, authority: &str) -> String {
    let folder = |name: &str| quoted(&format!("{}/{name}", home.display()));
    php(
        "$config",
        &[
            ("baseurlpath", quoted(&format!("http://{authority}/simplesaml/"))),
            ("certdir", folder("cert/")),
            ("loggingdir", folder("log/")),
            ("datadir", folder("data/")),
            ("tempdir", folder("tmp")),
            ("metadatadir", folder("metadata/")),
            ("secretsalt", quoted("only for tests")),
            ("auth.adminpassword", quoted("admin-pw")),
            ("technicalcontact_name", quoted("Test")),
            ("technicalcontact_email", quoted("na@example.test")),
            ("timezone", quoted("UTC")),
            ("logging.handler", quoted("file")),
            ("logging.level", "7".to_owned()),
            ("logging.logfile", quoted("ssp.log")),
            ("showerrors", "true".to_owned()),
            ("errorreporting", "false".to_owned()),
            ("enable.saml20-idp", "true".to_owned()),
            (
                "module.enable",
                "['exampleauth' => true, 'core' => true, 'saml' => true]".to_owned(),
            ),
            ("session.duration", "28800".to_owned()),
            ("session.cookie.name", quoted("SSPSID")),
            ("session.cookie.secure", "false".to_owned()),
            ("session.cookie.samesite", "null".to_owned()),
            ("session.phpsession.cookiename", quoted("SSPPHP")),
            ("session.phpsession.savepath", folder("sessions")),
            ("session.phpsession.httponly", "true".to_owned()),
            ("session.authtoken.cookiename", quoted("SSPAuth")),
            ("store.type", quoted("phpsession")),
            ("metadata.sources", "[['type' => 'flatfile']]".to_owned()),
            ("language.available", "['en']".to_owned()),
            ("language.default", quoted("en")),
            ("theme.use", quoted("default")),
            ("trusted.url.domains", "null".to_owned()),
        ],
    )
}

fn people() -> String {
    let mut entries = String::new();
    for (name, groups) in [
        ("alice", "['ml-admins']"),
        ("bob", r#"['ml-engineers', 'x < & > "y"']"#),
        ("carol", "[]"),
    ] {
        let _ = writeln!(entries, "    '{name}:{name}-pw' => person('{name}', {groups}),");
    }
    format!(
        "<?php\nif (!function_exists('person')) {{\n  function person($name, $groups) {{\n    return ['uid' => [$name], \
         'email' => [\"$name@example.test\"], 'displayName' => [ucfirst($name)]] + ($groups ? ['groups' => $groups] : []);\n  }}\n}}\n\
         $config = [\n  'admin' => ['core:AdminPassword'],\n  'test' => ['exampleauth:UserPass',\n{entries}  ],\n];\n"
    )
}

fn itself(authority: &str, known: &Known<'_>) -> String {
    let mut entries = vec![
        ("host", quoted("__DEFAULT__")),
        ("privatekey", quoted("idp.key")),
        ("certificate", quoted("idp.pem")),
        ("auth", quoted("test")),
        ("userid.attribute", quoted("uid")),
        ("signature.algorithm", quoted(known.algorithm)),
        ("sign.logout", "true".to_owned()),
        (
            "NameIDFormat",
            quoted("urn:oasis:names:tc:SAML:2.0:nameid-format:persistent"),
        ),
        (
            "attributes.NameFormat",
            quoted("urn:oasis:names:tc:SAML:2.0:attrname-format:basic"),
        ),
    ];
    if known.next_key {
        entries.push(("new_privatekey", quoted("next.key")));
        entries.push(("new_certificate", quoted("next.pem")));
    }
    php(&format!("$metadata['http://{authority}{METADATA}']"), &entries)
}

fn service_provider(known: &Known<'_>) -> String {
    let slo = format!(
        "[['Binding' => 'urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Redirect', 'Location' => {}]]",
        quoted(known.slo)
    );
    let name_id = "[10 => ['class' => 'saml:AttributeNameID', 'attribute' => 'uid', \
                   'Format' => 'urn:oasis:names:tc:SAML:2.0:nameid-format:persistent']]";
    let mut entries = vec![
        ("AssertionConsumerService", quoted(known.acs)),
        ("SingleLogoutService", slo),
        ("saml20.sign.response", known.sign_response.to_string()),
        ("saml20.sign.assertion", known.sign_assertion.to_string()),
        ("validate.authnrequest", known.wants_signed_requests.to_string()),
        ("validate.logout", known.wants_signed_requests.to_string()),
        ("assertion.encryption", known.encrypt.to_string()),
        ("authproc", name_id.to_owned()),
        (
            "NameIDFormat",
            quoted("urn:oasis:names:tc:SAML:2.0:nameid-format:persistent"),
        ),
    ];
    if let Some(pem) = known.certificate {
        let der: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
        entries.push(("certData", quoted(&der)));
    }
    php(&format!("$metadata[{}]", quoted(known.entity_id)), &entries)
}
