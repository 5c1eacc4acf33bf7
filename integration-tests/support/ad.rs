//! A real Active Directory domain: Samba as its domain controller, on a loopback address of its own, for its ports are fixed.

use std::process::{Command, Stdio};
use std::sync::LazyLock;
use std::time::Duration;

use tempfile::TempDir;

use super::ca::Ca;
use super::free_port;
use super::process::{Server, until};

const BASE: &str = "DC=ad,DC=example,DC=test";

/// People have the password `NAME-pw`. alice is in ml-admins, in platform, in ml-engineers; bob in ml-engineers; carol in none
/// but the primary group.
pub struct Domain {
    server: Server,
    address: String,
    folder: TempDir,
}

impl Domain {
    /// One for all tests of a run: making it takes a quarter of a minute.
    pub fn shared() -> &'static Self {
        static DOMAIN: LazyLock<Domain> = LazyLock::new(Domain::start);
        &DOMAIN
    }

    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        // As unlikely to be taken as a free port.
        let [high, low] = free_port().to_be_bytes();
        let address = format!("127.77.{high}.{low}");
        let path = |name: &str| folder.path().join(name).display().to_string();
        std::fs::write(path("empty.conf"), "").unwrap();
        let provisioned = Command::new("samba-tool")
            .args([
                "domain",
                "provision",
                "--realm=AD.EXAMPLE.TEST",
                "--domain=ADTEST",
                "--server-role=dc",
            ])
            .args(["--dns-backend=NONE", "--adminpass=Adm1n-pass!", "--host-name=dc1"])
            .args([
                "-s",
                &path("empty.conf"),
                &format!("--targetdir={}", path("ad")),
                &format!("--host-ip={address}"),
            ])
            .output()
            .expect("Samba is not installed; run integration-tests/setup.sh samba");
        assert!(
            provisioned.status.success(),
            "{}",
            String::from_utf8_lossy(&provisioned.stderr)
        );
        Ca::new().write(folder.path(), &[&address]);
        std::fs::create_dir_all(path("ad/run")).unwrap();
        std::fs::write(path("ad/etc/smb.conf"), configuration(&path("ad"), &path(""), &address)).unwrap();
        change(folder.path(), PEOPLE);
        let log = std::fs::File::create(path("log")).unwrap();
        let mut server = Server::start(
            Command::new("/usr/sbin/samba")
                .args([
                    "-F",
                    "--no-process-group",
                    "-M",
                    "single",
                    "--configfile",
                    &path("ad/etc/smb.conf"),
                ])
                .stdout(Stdio::from(log.try_clone().unwrap()))
                .stderr(Stdio::from(log)),
        );
        until("the domain controller answers", Duration::from_secs(120), || {
            assert!(
                server.is_running(),
                "samba ended: {}",
                std::fs::read_to_string(path("log")).unwrap_or_default()
            );
            std::net::TcpStream::connect((address.as_str(), 636)).is_ok()
        });
        Self {
            server,
            address,
            folder,
        }
    }

    pub fn id(&self) -> u32 {
        self.server.id()
    }

    /// Lines of Python that see the domain as `db` and its base as `base`.
    pub fn change(&self, lines: &str) {
        change(self.folder.path(), lines);
    }

    /// A provider's lines for this domain; `more` comes last.
    pub fn provider(&self, id: &str, more: &str) -> String {
        format!(
            "[[provider]]\nid = \"{id}\"\nkind = \"ldap\"\nurl = \"ldaps://{}\"\nca_file = \"{}\"\nschema = \"active-directory\"\n\
             bind_dn = \"CN=gateway,CN=Users,{BASE}\"\nbind_password = \"gateway-pw\"\nuser_base = \"{BASE}\"\ngroup_base = \"{BASE}\"\n{more}\n",
            self.address,
            self.folder.path().join("ca.pem").display()
        )
    }
}

fn configuration(home: &str, keys: &str, address: &str) -> String {
    format!(
        "[global]\nnetbios name = DC1\nrealm = AD.EXAMPLE.TEST\nworkgroup = ADTEST\nserver role = active directory domain controller\n\
         server services = ldap, cldap, kdc\ndcerpc endpoint servers =\ninterfaces = {address}/8\nbind interfaces only = yes\n\
         private dir = {home}/private\nstate directory = {home}/state\ncache directory = {home}/cache\nlock directory = {home}/run\n\
         pid directory = {home}/run\nncalrpc dir = {home}/run/ncalrpc\nntp signd socket directory = {home}/run/ntp\n\
         winbindd socket directory = {home}/run/wb\nlog file = {home}/samba.log\ntls enabled = yes\n\
         tls cafile = {keys}/ca.pem\ntls certfile = {keys}/cert.pem\ntls keyfile = {keys}/key.pem\n"
    )
}

const PEOPLE: &str = r#"
mod(base, pwdProperties='0', minPwdLength='4', pwdHistoryLength='0', minPwdAge='0', lockoutThreshold='3', lockoutDuration='-600000000', lockOutObservationWindow='-600000000')
for u in 'alice bob carol gateway disabled expired mustchange locky leaver'.split(): db.newuser(u, u + '-pw', mailaddress=u + '@example.test')
for g in 'ml-admins ml-engineers platform loop-a loop-b'.split(): db.newgroup(g)
add = lambda g, m: db.add_remove_group_members(g, m, add_members_operation=True, member_types=['user', 'group'])
add('ml-admins', ['alice', 'leaver']); add('platform', ['ml-admins']); add('ml-engineers', ['bob', 'platform'])
add('loop-a', ['loop-b', 'bob']); add('loop-b', ['loop-a'])
mod('CN=disabled,CN=Users,' + base, userAccountControl='514')
mod('CN=expired,CN=Users,' + base, accountExpires='131000000000000000')
mod('CN=mustchange,CN=Users,' + base, pwdLastSet='0')
"#;

fn change(folder: &std::path::Path, lines: &str) {
    const START: &str = "import sys, ldb
from samba.param import LoadParm
from samba.auth import system_session
from samba.samdb import SamDB
lp = LoadParm(); lp.load(sys.argv[1]); db = SamDB(url=sys.argv[2], session_info=system_session(), lp=lp)
base = str(db.domain_dn())
def mod(dn, **kv):
    m = ldb.Message(ldb.Dn(db, dn))
    for k, v in kv.items(): m[k] = ldb.MessageElement(v, ldb.FLAG_MOD_REPLACE, k)
    db.modify(m)
";
    let done = Command::new("/usr/bin/python3")
        .args(["-c", &format!("{START}{lines}")])
        .arg(folder.join("ad/etc/smb.conf"))
        .arg(folder.join("ad/private/sam.ldb"))
        .output()
        .unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}
