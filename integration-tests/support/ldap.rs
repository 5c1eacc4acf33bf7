//! A real slapd on free ports: TLS, memberOf over groups in groups, password policy, size limits, and a referral to elsewhere.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use super::ca::Ca;
use super::free_port;
use super::process::{Server, until};

pub const BASE: &str = "dc=example,dc=test";
/// Where the referral below `ou=elsewhere` points.
const NOWHERE: &str = "ldap://127.0.0.1:1/dc=elsewhere,dc=test";

/// People have the password `NAME-pw`. alice is in ml-admins, in platform, in ml-engineers; bob in ml-engineers and in a
/// circle of groups; dora in many-1 to many-120; carol in none.
pub struct Slapd {
    server: Option<Server>,
    pub port: u16,
    pub tls_port: u16,
    pub folder: TempDir,
}

impl Slapd {
    /// With a certificate for `localhost`.
    pub fn start() -> Self {
        Self::start_as("localhost")
    }

    pub fn start_as(name: &str) -> Self {
        let mut slapd = Self {
            server: None,
            port: free_port(),
            tls_port: free_port(),
            folder: tempfile::tempdir().unwrap(),
        };
        let folder = slapd.folder.path();
        std::fs::create_dir(folder.join("db")).unwrap();
        Ca::new().write(folder, &[name]);
        std::fs::write(folder.join("slapd.conf"), configuration(folder)).unwrap();
        std::fs::write(folder.join("data.ldif"), data()).unwrap();
        let added = Command::new("/usr/sbin/slapadd")
            .args(["-q", "-f"])
            .arg(folder.join("slapd.conf"))
            .arg("-l")
            .arg(folder.join("data.ldif"))
            .output()
            .expect("slapd is not installed; run integration-tests/setup.sh slapd");
        assert!(added.status.success(), "{}", String::from_utf8_lossy(&added.stderr));
        slapd.run();
        slapd
    }

    pub fn run(&mut self) {
        let urls = format!("ldap://127.0.0.1:{} ldaps://127.0.0.1:{}", self.port, self.tls_port);
        self.server = Some(Server::start(
            Command::new("/usr/sbin/slapd")
                .args(["-d", "0", "-h", &urls, "-f"])
                .arg(self.folder.path().join("slapd.conf"))
                .stdout(Stdio::null())
                .stderr(Stdio::null()),
        ));
        until("slapd answers", Duration::from_secs(30), || {
            assert!(self.server.as_mut().unwrap().is_running(), "slapd ended");
            std::net::TcpStream::connect(("127.0.0.1", self.port)).is_ok()
        });
    }

    pub fn stop(&mut self) {
        self.server = None;
    }

    /// Hangs without closing anything.
    pub fn pause(&self) {
        self.server.as_ref().unwrap().signal("STOP");
    }

    pub fn resume(&self) {
        self.server.as_ref().unwrap().signal("CONT");
    }

    /// Makes changes as the directory's administrator.
    pub fn modify(&self, ldif: &str) {
        let mut tool = Command::new("ldapmodify")
            .args(["-x", "-D", "cn=admin,dc=example,dc=test", "-w", "admin-pw", "-H"])
            .arg(format!("ldap://127.0.0.1:{}", self.port))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        tool.stdin.take().unwrap().write_all(ldif.as_bytes()).unwrap();
        assert!(tool.wait().unwrap().success(), "ldapmodify: {ldif}");
    }

    /// A provider's lines for this directory, over ldaps; `more` comes last.
    pub fn provider(&self, id: &str, more: &str) -> String {
        let url = format!("ldaps://localhost:{}", self.tls_port);
        self.provider_at(id, &format!("\"{url}\""), more)
    }

    pub fn provider_at(&self, id: &str, url: &str, more: &str) -> String {
        let mut text = format!("[[provider]]\nid = \"{id}\"\nkind = \"ldap\"\nurl = {url}\n");
        for (key, value) in [
            ("label", "Corp".to_owned()),
            ("ca_file", self.folder.path().join("ca.pem").display().to_string()),
            ("bind_dn", format!("cn=gateway,ou=services,{BASE}")),
            ("bind_password", "gateway-pw".to_owned()),
            ("user_base", format!("ou=people,{BASE}")),
            ("group_base", format!("ou=groups,{BASE}")),
        ] {
            if !more.contains(&format!("{key} = ")) {
                let _ = writeln!(text, "{key} = \"{value}\"");
            }
        }
        text + more + "\n"
    }
}

fn configuration(folder: &Path) -> String {
    let mut text = String::new();
    for schema in ["core", "cosine", "inetorgperson", "nis", "dyngroup"] {
        let _ = writeln!(text, "include /etc/ldap/schema/{schema}.schema");
    }
    text += "modulepath /usr/lib/ldap\n";
    for module in ["back_mdb", "ppolicy", "dynlist"] {
        let _ = writeln!(text, "moduleload {module}");
    }
    let folder = folder.display();
    let _ = write!(
        text,
        "pidfile {folder}/slapd.pid\nargsfile {folder}/slapd.args\n\
         TLSCACertificateFile {folder}/ca.pem\nTLSCertificateFile {folder}/cert.pem\nTLSCertificateKeyFile {folder}/key.pem\n\
         # Whoever does not page gets 50 entries and an error.\n\
         sizelimit size.soft=50 size.hard=50 size.pr=50 size.prtotal=unlimited\n\
         database mdb\nsuffix \"{BASE}\"\nrootdn \"cn=admin,{BASE}\"\nrootpw admin-pw\ndirectory {folder}/db\nmaxsize 67108864\ndbnosync\n\
         index objectClass,uid,cn,mail,member,entryUUID eq\n\
         access to attrs=userPassword by anonymous auth by self write by * none\n\
         access to * by dn.exact=\"cn=gateway,ou=services,{BASE}\" read by self read by anonymous auth by * none\n\
         overlay dynlist\n# The star makes memberOf hold the groups of groups too.\n\
         dynlist-attrset groupOfURLs memberURL member+memberOf@groupOfNames*\n\
         overlay ppolicy\nppolicy_default \"cn=default,ou=policies,{BASE}\"\nppolicy_use_lockout\n"
    );
    text
}

fn data() -> String {
    let mut text = format!("dn: {BASE}\nobjectClass: dcObject\nobjectClass: organization\no: Example\ndc: example\n");
    for unit in ["people", "groups", "services", "policies"] {
        let _ = write!(
            text,
            "\ndn: ou={unit},{BASE}\nobjectClass: organizationalUnit\nou: {unit}\n"
        );
    }
    let _ = write!(
        text,
        "\ndn: ou=elsewhere,{BASE}\nobjectClass: referral\nobjectClass: extensibleObject\nou: elsewhere\nref: {NOWHERE}\n\
         \ndn: cn=gateway,ou=services,{BASE}\nobjectClass: organizationalRole\nobjectClass: simpleSecurityObject\ncn: gateway\nuserPassword: gateway-pw\n\
         \ndn: cn=default,ou=policies,{BASE}\nobjectClass: device\nobjectClass: pwdPolicy\ncn: default\npwdAttribute: userPassword\n\
         pwdLockout: TRUE\npwdMaxFailure: 3\npwdLockoutDuration: 600\npwdMustChange: TRUE\npwdMaxAge: 86400\npwdGraceAuthNLimit: 1\n"
    );
    for name in [
        "alice",
        "bob",
        "carol",
        "dora",
        "locky",
        "expired",
        "grace",
        "mustreset",
        "closed",
    ] {
        let _ = write!(
            text,
            "\ndn: uid={name},ou=people,{BASE}\nobjectClass: inetOrgPerson\nuid: {name}\ncn: {name}\nsn: Test\n\
             displayName: {name} Test\nmail: {name}@example.test\nuserPassword: {name}-pw\n"
        );
        text += match name {
            "expired" => "pwdChangedTime: 20200101000000Z\npwdGraceUseTime: 20200102000000Z\n",
            "grace" => "pwdChangedTime: 20200101000000Z\n",
            "mustreset" => "pwdReset: TRUE\n",
            "closed" => "pwdEndTime: 20200101000000Z\n",
            _ => "",
        };
    }
    let _ = write!(
        text,
        "\ndn: uid=we\\,ird(*),ou=people,{BASE}\nobjectClass: inetOrgPerson\nuid: we,ird(*)\ncn: weird\nsn: Test\nuserPassword: weird-pw\n"
    );
    let person = |name: &str| format!("uid={name},ou=people,{BASE}");
    let group = |name: &str| format!("cn={name},ou=groups,{BASE}");
    let mut add = |name: &str, members: &[String]| {
        let _ = write!(text, "\ndn: {}\nobjectClass: groupOfNames\ncn: {name}\n", group(name));
        for member in members {
            let _ = writeln!(text, "member: {member}");
        }
    };
    add("ml-admins", &[person("alice"), person("we\\,ird(*)")]);
    add("platform", &[group("ml-admins")]);
    add("ml-engineers", &[person("bob"), group("platform")]);
    add("loop-a", &[group("loop-b"), person("bob")]);
    add("loop-b", &[group("loop-a")]);
    for number in 1..=120 {
        add(&format!("many-{number}"), &[person("dora")]);
    }
    let _ = write!(
        text,
        "\ndn: cn=unix,ou=groups,{BASE}\nobjectClass: posixGroup\ncn: unix\ngidNumber: 100\nmemberUid: alice\n"
    );
    text
}
