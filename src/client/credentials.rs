//! The credentials file (docs/credentials.md), which the commands and the Python package share.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokio::time::{Instant, sleep};

use crate::domain::{Random, Timestamp};

use super::lock::Lock;
use super::pkce::unguessable;
use super::{Environment, Failure, GatewayUrl};

const VERSION: u32 = 1;
/// Far more than any number of gateways takes.
const LONGEST: u64 = 1 << 20;
/// A refresh takes one request; whoever holds the lock longer hangs.
const PATIENCE: Duration = Duration::from_secs(90);
const BETWEEN_LOOKS: Duration = Duration::from_millis(20);

/// What is kept of one sign-in. `Debug` would print tokens, so there is none.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Entry {
    pub(super) client_id: String,
    pub(super) token_endpoint: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) revocation_endpoint: Option<String>,
    pub(super) access_token: String,
    /// Unix seconds by this machine's clock, rounded down.
    pub(super) issued_at: i64,
    /// Unix seconds: `issued_at` and the token's lifetime.
    pub(super) expires_at: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) refresh_token: Option<String>,
    /// Of a newer version; kept.
    #[serde(flatten)]
    pub(super) further: Map<String, Value>,
}

impl Entry {
    /// Whether the token is good for a while: not in its last quarter, nor in its last minute.
    pub(super) fn is_fresh(&self, now: Timestamp) -> bool {
        let lifetime = self.expires_at.saturating_sub(self.issued_at).max(0);
        let margin = (lifetime / 4).clamp(1, 60);
        // A clock that was set back makes an old token look new.
        let is_born = now.seconds() >= self.issued_at.saturating_sub(60);
        is_born && now < Timestamp::from_seconds(self.expires_at.saturating_sub(margin))
    }

    pub(super) fn is_alive(&self, now: Timestamp) -> bool {
        now < Timestamp::from_seconds(self.expires_at)
    }
}

#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Contents {
    version: u32,
    /// The gateway that was signed in to last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) default: Option<String>,
    #[serde(default)]
    pub(super) gateways: BTreeMap<String, Entry>,
    #[serde(flatten)]
    further: Map<String, Value>,
}

impl Default for Contents {
    fn default() -> Self {
        Self {
            version: VERSION,
            default: None,
            gateways: BTreeMap::new(),
            further: Map::new(),
        }
    }
}

impl Contents {
    pub(super) fn entry(&self, url: &GatewayUrl) -> Option<&Entry> {
        self.gateways.get(&url.to_string())
    }

    /// Forgets a sign-in; another one becomes the default where there is just one left.
    pub(super) fn forget(&mut self, url: &GatewayUrl) -> Option<Entry> {
        let forgotten = self.gateways.remove(&url.to_string());
        if self.default.as_deref() == Some(&url.to_string()) && self.gateways.len() == 1 {
            self.default = self.gateways.keys().next().cloned();
        }
        forgotten
    }
}

pub(super) struct Credentials {
    file: PathBuf,
    owns_folder: bool,
}

/// The right to write, as long as it lives.
pub(super) struct Turn<'c> {
    credentials: &'c Credentials,
    _lock: Lock,
}

impl Credentials {
    pub(super) fn new(environment: &Environment) -> Result<Self, Failure> {
        let named = environment.credentials.as_ref().ok_or_else(|| {
            Failure::Failed("there is no home folder to keep credentials in; set MLGATE_CREDENTIALS to a file".into())
        })?;
        // A link to the file is followed: replacing it would leave two files.
        let file = fs::canonicalize(named).unwrap_or_else(|_| named.clone());
        Ok(Self {
            file,
            owns_folder: environment.owns_folder,
        })
    }

    /// What is there now; empty where there is no file.
    pub(super) fn read(&self) -> Result<Contents, Failure> {
        let file = match File::open(&self.file) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Contents::default()),
            Err(error) => return Err(self.failed("cannot be read", &error)),
        };
        self.refuse_readable_by_others(&file)?;
        let mut text = String::new();
        file.take(LONGEST)
            .read_to_string(&mut text)
            .map_err(|error| self.failed("cannot be read", &error))?;
        let contents: Contents = serde_json::from_str(&text).map_err(|error| {
            // The cause would quote a token: its place is enough.
            self.failed(
                "is damaged; remove it and sign in again",
                &format!("line {}, column {}", error.line(), error.column()),
            )
        })?;
        if contents.version > VERSION {
            return Err(self.failed(
                "was written by a newer mlgate",
                &format!("version {}", contents.version),
            ));
        }
        Ok(contents)
    }

    #[cfg(unix)]
    fn refuse_readable_by_others(&self, file: &File) -> Result<(), Failure> {
        use std::os::unix::fs::PermissionsExt;
        let mode = file
            .metadata()
            .map_err(|error| self.failed("cannot be read", &error))?
            .permissions()
            .mode();
        if mode & 0o077 == 0 {
            return Ok(());
        }
        Err(Failure::Refused(format!(
            "{} can be read or written by others on this machine (mode {:o}), so what is in it may be known to them. \
             Sign out and in again after: chmod 600 {}",
            self.file.display(),
            mode & 0o777,
            self.file.display()
        )))
    }

    #[cfg(not(unix))]
    fn refuse_readable_by_others(&self, _file: &File) -> Result<(), Failure> {
        Ok(())
    }

    /// Takes the lock, unless `early` finds in the file what was wanted of it while another process holds it.
    pub(super) async fn turn<T>(
        &self,
        mut early: impl FnMut(&Contents) -> Option<T>,
    ) -> Result<std::result::Result<Turn<'_>, T>, Failure> {
        let folder = self.folder();
        self.make_folder(&folder)
            .map_err(|error| Failure::Failed(format!("{} cannot be made: {error}", folder.display())))?;
        let start = Instant::now();
        loop {
            match Lock::attempt(&self.file).map_err(|error| self.failed("cannot be locked", &error))? {
                Some(lock) => {
                    return Ok(Ok(Turn {
                        credentials: self,
                        _lock: lock,
                    }));
                }
                None if start.elapsed() > PATIENCE => {
                    return Err(Failure::Failed(format!(
                        "another process has held {}.lock for more than {} s",
                        self.file.display(),
                        PATIENCE.as_secs()
                    )));
                }
                None => sleep(BETWEEN_LOOKS).await,
            }
            if let Some(found) = early(&self.read()?) {
                return Ok(Err(found));
            }
        }
    }

    /// Takes the lock.
    pub(super) async fn own_turn(&self) -> Result<Turn<'_>, Failure> {
        match self.turn(|_| None::<std::convert::Infallible>).await? {
            Ok(turn) => Ok(turn),
            Err(never) => match never {},
        }
    }

    fn folder(&self) -> PathBuf {
        match self.file.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
            _ => PathBuf::from("."),
        }
    }

    #[cfg(unix)]
    fn make_folder(&self, folder: &Path) -> io::Result<()> {
        use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
        if !folder.exists() {
            // Those above it are as the user's umask makes them; a folder of ours is closed to others from the start.
            if let Some(above) = folder.parent() {
                fs::create_dir_all(above)?;
            }
            match DirBuilder::new().mode(0o700).create(folder) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                _ => {}
            }
        }
        if self.owns_folder && fs::metadata(folder)?.permissions().mode() & 0o077 != 0 {
            fs::set_permissions(folder, fs::Permissions::from_mode(0o700))?;
        }
        Ok(())
    }

    #[cfg(not(unix))]
    fn make_folder(&self, folder: &Path) -> io::Result<()> {
        fs::create_dir_all(folder)
    }

    fn failed(&self, what: &str, error: &dyn std::fmt::Display) -> Failure {
        Failure::Failed(format!("{} {what}: {error}", self.file.display()))
    }
}

impl Turn<'_> {
    pub(super) fn read(&self) -> Result<Contents, Failure> {
        self.credentials.read()
    }

    /// Puts a new file in the old one's place: a reader sees the one or the other, and a crash leaves one of them.
    pub(super) fn write(&self, contents: &Contents, random: &dyn Random) -> Result<(), Failure> {
        let folder = self.credentials.folder();
        let fresh = folder.join(format!(".credentials-{}", unguessable(random)));
        let written = write_new(&fresh, contents).and_then(|()| fs::rename(&fresh, &self.credentials.file));
        if let Err(error) = written {
            let _ = fs::remove_file(&fresh);
            return Err(self.credentials.failed("cannot be written", &error));
        }
        // Without it a power cut could bring the old file back, whose refresh token is used up. Not every file system offers it.
        let _ = File::open(&folder).and_then(|folder| folder.sync_all());
        Ok(())
    }
}

fn write_new(file: &Path, contents: &Contents) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    let mut file = private(&mut options).open(file)?;
    let mut text = serde_json::to_vec_pretty(contents)?;
    text.push(b'\n');
    file.write_all(&text)?;
    file.sync_all()
}

/// A file that is made is its owner's alone.
#[cfg(unix)]
pub(super) fn private(options: &mut OpenOptions) -> &mut OpenOptions {
    use std::os::unix::fs::OpenOptionsExt;
    options.mode(0o600)
}

#[cfg(not(unix))]
pub(super) fn private(options: &mut OpenOptions) -> &mut OpenOptions {
    options
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use crate::domain::SystemRandom;

    use super::*;

    fn entry(issued_at: i64, lifetime: i64) -> Entry {
        Entry {
            client_id: "mlgate-cli".into(),
            token_endpoint: "https://a.test/auth/oauth2/token".into(),
            revocation_endpoint: None,
            access_token: "mlg_at_x".into(),
            issued_at,
            expires_at: issued_at + lifetime,
            refresh_token: Some("mlg_rt_x".into()),
            further: Map::new(),
        }
    }

    fn below(folder: &Path) -> Credentials {
        Credentials {
            file: folder.join("mlgate/credentials.json"),
            owns_folder: true,
        }
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_token_is_refreshed_before_it_ends_and_after_the_clock_was_set_back() {
        let at = Timestamp::from_seconds;
        let half_an_hour = entry(1000, 1800);
        assert!(half_an_hour.is_fresh(at(1000)) && half_an_hour.is_fresh(at(2739)));
        assert!(
            !half_an_hour.is_fresh(at(2740)) && half_an_hour.is_alive(at(2799)) && !half_an_hour.is_alive(at(2800))
        );
        let five_seconds = entry(1000, 5);
        assert!(five_seconds.is_fresh(at(1003)) && !five_seconds.is_fresh(at(1004)));
        assert!(!half_an_hour.is_fresh(at(900)));
        assert!(!entry(1000, i64::MIN).is_fresh(at(1000)));
    }

    #[tokio::test]
    async fn the_file_is_its_owners_alone_and_is_replaced_whole() {
        let folder = tempfile::tempdir().unwrap();
        let credentials = below(folder.path());
        let turn = credentials.own_turn().await.unwrap();
        let mut contents = turn.read().unwrap();
        contents.gateways.insert("https://a.test".into(), entry(1, 2));
        let random = SystemRandom::new();
        turn.write(&contents, &random).unwrap();
        assert_eq!(mode(&credentials.file), 0o600);
        assert_eq!(mode(&credentials.folder()), 0o700);
        assert_eq!(mode(&folder.path().join("mlgate/credentials.json.lock")), 0o600);
        turn.write(&contents, &random).unwrap();
        let names = fs::read_dir(credentials.folder()).unwrap().count();
        assert_eq!(names, 2, "nothing is left behind but the file and its lock");
        // What a newer version wrote is kept.
        let text = fs::read_to_string(&credentials.file).unwrap();
        fs::write(
            &credentials.file,
            text.replace("\"client_id\"", "\"new\": 1, \"client_id\""),
        )
        .unwrap();
        let read = turn.read().unwrap();
        turn.write(&read, &random).unwrap();
        assert!(fs::read_to_string(&credentials.file).unwrap().contains("\"new\": 1"));
    }

    #[tokio::test]
    async fn a_loose_folder_of_ours_is_closed_and_a_loose_file_refused() {
        let folder = tempfile::tempdir().unwrap();
        let credentials = below(folder.path());
        fs::create_dir(credentials.folder()).unwrap();
        fs::set_permissions(credentials.folder(), fs::Permissions::from_mode(0o755)).unwrap();
        let turn = credentials.own_turn().await.unwrap();
        assert_eq!(mode(&credentials.folder()), 0o700);
        turn.write(&Contents::default(), &SystemRandom::new()).unwrap();
        assert!(turn.read().is_ok());
        for loose in [0o640, 0o604, 0o622] {
            fs::set_permissions(&credentials.file, fs::Permissions::from_mode(loose)).unwrap();
            assert!(matches!(turn.read(), Err(Failure::Refused(text)) if text.contains("chmod 600")));
        }
    }

    #[test]
    fn what_is_wrong_with_a_file_never_quotes_it() {
        let folder = tempfile::tempdir().unwrap();
        let credentials = below(folder.path());
        assert!(credentials.read().unwrap().gateways.is_empty());
        fs::create_dir(credentials.folder()).unwrap();
        for text in [
            "{\"version\": 1, \"gateways\": {\"x\": \"mlg_rt_secret\"}}",
            "mlg_rt_secret",
            "{\"version\": 2, \"gateways\": {}}",
        ] {
            fs::write(&credentials.file, text).unwrap();
            fs::set_permissions(&credentials.file, fs::Permissions::from_mode(0o600)).unwrap();
            let Err(Failure::Failed(told)) = credentials.read() else {
                panic!("{text}")
            };
            assert!(!told.contains("mlg_rt_secret"), "{told}");
        }
    }

    #[tokio::test]
    async fn who_waits_for_the_lock_sees_what_the_holder_wrote() {
        let folder = tempfile::tempdir().unwrap();
        let credentials = below(folder.path());
        let turn = credentials.own_turn().await.unwrap();
        let contents = Contents {
            default: Some("https://a.test".into()),
            ..Contents::default()
        };
        turn.write(&contents, &SystemRandom::new()).unwrap();
        let found = credentials.turn(|contents| contents.default.clone()).await.unwrap();
        assert_eq!(found.err(), Some("https://a.test".to_owned()));
    }

    #[test]
    fn the_last_one_left_is_the_default() {
        let url = |text: &str| GatewayUrl::parse(text).unwrap();
        let mut contents = Contents::default();
        for name in ["https://a.test", "https://b.test", "https://c.test"] {
            contents.gateways.insert(name.into(), entry(1, 2));
        }
        contents.default = Some("https://a.test".into());
        assert!(contents.forget(&url("https://a.test")).is_some());
        assert_eq!(contents.default.as_deref(), Some("https://a.test"), "not one of two");
        contents.default = Some("https://b.test".into());
        contents.forget(&url("https://b.test"));
        assert_eq!(contents.default.as_deref(), Some("https://c.test"));
    }
}
