//! Users from a file: for small teams, the demo and break-glass.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use argon2::password_hash::phc::PasswordHash;
use argon2::{Argon2, PasswordVerifier};
use async_trait::async_trait;
use icu_normalizer::ComposingNormalizerBorrowed;
use tokio::sync::{Mutex, Semaphore};

use super::{PasswordProvider, ProviderError, Vouched};
use crate::config::{self, LocalUser};
use crate::domain::{Clock, Identity, Secret, Timestamp};

/// Longer ones are nobody's, and only make work. Bytes.
const LONGEST_PASSWORD: usize = 1024;
const LONGEST_NAME: usize = 256;
/// Each argon2 takes tens of MiB; more than this at once would starve the requests that are signed in.
const HASHES_AT_ONCE: usize = 4;
/// Waiting longer for a turn than this is refused: a flood of guesses must not grow a queue.
const PATIENCE: Duration = Duration::from_secs(10);
/// The file is looked at no more often than this.
const LOOK_PAUSE: Duration = Duration::from_secs(1);
/// Hashed against for users who do not exist, where the file has nobody to copy the cost from.
const NOBODY: &str = "$argon2id$v=19$m=19456,t=2,p=1$bm9ib2R5bm9ib2R5bm9i$bm9ib2R5bm9ib2R5bm9ib2R5bm9ib2R5bm9ib2R5bm8";

/// Size and time of a file: what shows that it changed.
type Stamp = Option<(u64, SystemTime)>;

/// The users by their canonical names, and a hash of nobody's that costs as much as theirs.
struct Users {
    by_name: HashMap<String, LocalUser>,
    decoy: String,
}

struct Seen {
    stamp: Stamp,
    looked: Timestamp,
}

/// The users of one file.
pub struct Local {
    id: String,
    file: PathBuf,
    users: ArcSwap<Users>,
    seen: Mutex<Seen>,
    turns: Arc<Semaphore>,
    clock: Arc<dyn Clock>,
}

impl Local {
    pub fn new(id: &str, config: config::LocalProvider, clock: Arc<dyn Clock>) -> Self {
        Self {
            id: id.to_owned(),
            users: ArcSwap::from_pointee(Users::new(config.users)),
            // Nothing of the file was seen here: the first question reads it again.
            seen: Mutex::new(Seen {
                stamp: None,
                looked: Timestamp::from_micros(i64::MIN),
            }),
            file: config.users_file,
            turns: Arc::new(Semaphore::new(HASHES_AT_ONCE)),
            clock,
        }
    }

    /// The user as the file says now; `None` for who is not there or disabled.
    pub async fn find(&self, user: &str) -> Option<Identity> {
        self.reread().await;
        let users = self.users.load_full();
        let user = users.by_name.get(&canonical(user)).filter(|user| !user.disabled)?;
        Some(self.identity(user, self.clock.now()))
    }

    fn identity(&self, user: &LocalUser, authenticated_at: Timestamp) -> Identity {
        Identity {
            provider: self.id.clone(),
            subject: user.name.clone(),
            user: user.name.clone(),
            display_name: user.display_name.clone(),
            email: user.email.clone(),
            groups: user.groups.clone(),
            authenticated_at,
        }
    }

    /// Takes over what the file says where it changed; a file that cannot be read leaves the users as they were.
    async fn reread(&self) {
        let mut seen = self.seen.lock().await;
        let now = self.clock.now();
        if seen.looked <= now && now.since(seen.looked) < LOOK_PAUSE {
            return;
        }
        seen.looked = now;
        let stamp = tokio::fs::metadata(&self.file)
            .await
            .ok()
            .and_then(|meta| Some((meta.len(), meta.modified().ok()?)));
        if stamp == seen.stamp && stamp.is_some() {
            return;
        }
        let file = self.file.clone();
        match tokio::task::spawn_blocking(move || config::load_users(&file)).await {
            Ok(Ok(users)) => {
                self.users.store(Arc::new(Users::new(users)));
                seen.stamp = stamp;
            }
            Ok(Err(problems)) => {
                // Once for each change, not once a second.
                if stamp.is_none() || seen.stamp != stamp {
                    let first = problems
                        .first()
                        .map(|problem| format!("{}: {}", problem.key, problem.text));
                    tracing::error!(provider = self.id, file = %self.file.display(), problem = first, "the users file is not taken over");
                }
                seen.stamp = stamp;
            }
            Err(_) => {}
        }
    }

    async fn verify(&self, hash: String, password: &Secret) -> Result<bool, ProviderError> {
        let busy = || ProviderError::Unavailable("too many sign-ins at once".to_owned());
        let turn = tokio::time::timeout(PATIENCE, self.turns.clone().acquire_owned()).await;
        let turn = turn.map_err(|_| busy())?.map_err(|_| busy())?;
        let password = password.clone();
        tokio::task::spawn_blocking(move || {
            // Kept to the end of the work, which goes on when nobody waits for it any more.
            let _turn = turn;
            PasswordHash::new(&hash).is_ok_and(|hash| {
                Argon2::default()
                    .verify_password(password.expose().as_bytes(), &hash)
                    .is_ok()
            })
        })
        .await
        .map_err(|_| busy())
    }
}

#[async_trait]
impl PasswordProvider for Local {
    async fn sign_in(&self, user: &str, password: &Secret) -> Result<Vouched, ProviderError> {
        let text = password.expose();
        if text.is_empty() || text.len() > LONGEST_PASSWORD || text.contains('\0') || user.len() > LONGEST_NAME {
            return Err(ProviderError::BadPassword);
        }
        self.reread().await;
        let users = self.users.load_full();
        let found = users.by_name.get(&canonical(user));
        let hash = found.map_or(users.decoy.as_str(), |user| user.password_hash.expose());
        // Unknown users are hashed for too: the time must not tell who exists.
        let matches = self.verify(hash.to_owned(), password).await?;
        let Some(user) = found.filter(|_| matches) else {
            return Err(ProviderError::BadPassword);
        };
        if user.disabled {
            return Err(ProviderError::AccountRefused("the account is disabled".to_owned()));
        }
        Ok(Vouched::new(self.identity(user, self.clock.now()), None))
    }

    fn canonical(&self, user: &str) -> String {
        canonical(user)
    }

    async fn recheck(&self, identity: &Identity, _state: Option<&str>) -> Result<Vouched, ProviderError> {
        self.reread().await;
        let users = self.users.load_full();
        // By the very name: a new user whose name only looks the same is somebody else.
        let user = users
            .by_name
            .get(&canonical(&identity.subject))
            .filter(|user| user.name == identity.subject);
        match user {
            None => Err(ProviderError::AccountRefused(
                "there is no such user any more".to_owned(),
            )),
            Some(user) if user.disabled => Err(ProviderError::AccountRefused("the account is disabled".to_owned())),
            Some(user) => Ok(Vouched::new(self.identity(user, identity.authenticated_at), None)),
        }
    }
}

impl Users {
    fn new(users: Vec<LocalUser>) -> Self {
        // The dearest parameters of the file: the decoy must not be quicker than anybody.
        let dearest = users
            .iter()
            .map(|user| user.password_hash.expose())
            .max_by_key(|hash| cost(hash));
        let decoy = dearest.map_or(NOBODY.to_owned(), decoy_like);
        let mut by_name = HashMap::new();
        for user in users {
            // Two names that look the same: the first has it, as the configuration says.
            by_name.entry(canonical(&user.name)).or_insert(user);
        }
        Self { by_name, decoy }
    }
}

fn cost(hash: &str) -> u64 {
    let Ok(hash) = PasswordHash::new(hash) else { return 0 };
    let value = |name| hash.params.get_decimal(name).map_or(1, u64::from);
    value("m").saturating_mul(value("t"))
}

/// The same parameters with salt and hash of nobody's.
fn decoy_like(hash: &str) -> String {
    let parts: Vec<_> = NOBODY.rsplitn(3, '$').collect();
    let of_nobody = hash.rsplitn(3, '$').nth(2).zip(parts.first().zip(parts.get(1)));
    of_nobody.map_or(NOBODY.to_owned(), |(params, (hash, salt))| {
        format!("{params}${salt}${hash}")
    })
}

/// One spelling of a name, whatever was typed: `Bob`, ` bob ` and full-width letters are one user to count guesses for.
pub(super) fn canonical(user: &str) -> String {
    let normal = ComposingNormalizerBorrowed::new_nfkc();
    let folded = normal.normalize(user.trim()).to_lowercase();
    normal.normalize(&folded).trim().to_owned()
}

#[cfg(test)]
mod tests {
    use argon2::{Params, PasswordHasher};

    use super::*;
    use crate::domain::ManualClock;

    fn hashed(password: &str) -> String {
        let params = Params::new(32, 1, 1, None).unwrap();
        Argon2::from(params)
            .hash_password_with_salt(password.as_bytes(), b"0123456789abcdef")
            .unwrap()
            .to_string()
    }

    fn user(name: &str, disabled: bool) -> String {
        format!(
            "[[user]]\nname = \"{name}\"\npassword_hash = \"{}\"\ngroups = [\"ml\"]\ndisabled = {disabled}\n",
            hashed("right")
        )
    }

    struct Bench {
        folder: tempfile::TempDir,
        clock: Arc<ManualClock>,
        local: Local,
    }

    impl Bench {
        fn new(text: &str) -> Self {
            let folder = tempfile::tempdir().unwrap();
            let clock = Arc::new(ManualClock::at(Timestamp::from_seconds(1000)));
            let users_file = folder.path().join("users.toml");
            std::fs::write(&users_file, text).unwrap();
            private(&users_file);
            let users = config::load_users(&users_file).unwrap();
            let local = Local::new("local", config::LocalProvider { users_file, users }, clock.clone());
            Self { folder, clock, local }
        }

        /// The file says something else, and the next look is due.
        fn write(&self, text: &str) {
            let path = self.folder.path().join("users.toml");
            std::fs::write(&path, text).unwrap();
            private(&path);
            self.clock.advance(Duration::from_secs(2));
        }

        async fn sign_in(&self, user: &str, password: &str) -> Result<Vouched, ProviderError> {
            self.local.sign_in(user, &Secret::new(password)).await
        }
    }

    fn private(path: &std::path::Path) {
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
    }

    #[tokio::test]
    async fn the_right_password_gives_the_identity_by_the_name_in_the_file() {
        let bench = Bench::new(&user("Ann", false));
        for typed in ["Ann", "ann", " ANN ", "Ａnn"] {
            let vouched = bench.sign_in(typed, "right").await.unwrap();
            assert_eq!(
                (vouched.identity.user.as_str(), vouched.identity.groups.as_slice()),
                ("Ann", &["ml".to_owned()][..])
            );
        }
    }

    #[tokio::test]
    async fn wrong_password_and_unknown_user_get_the_same_answer() {
        let bench = Bench::new(&user("ann", false));
        for (name, password) in [
            ("ann", "wrong"),
            ("nobody", "right"),
            ("", "right"),
            ("ann", "righ"),
            ("ann", "right "),
        ] {
            assert!(
                matches!(bench.sign_in(name, password).await, Err(ProviderError::BadPassword)),
                "{name} {password}"
            );
        }
    }

    #[tokio::test]
    async fn empty_overlong_and_nul_passwords_are_never_hashed() {
        let bench = Bench::new(&user("ann", false));
        bench.local.turns.close();
        for password in ["".to_owned(), "x".repeat(1025), "right\0".to_owned()] {
            assert!(matches!(
                bench.sign_in("ann", &password).await,
                Err(ProviderError::BadPassword)
            ));
        }
        // The control: this one would be hashed, and there is no turn for it.
        assert!(matches!(
            bench.sign_in("ann", "right").await,
            Err(ProviderError::Unavailable(_))
        ));
    }

    #[tokio::test]
    async fn a_disabled_user_is_refused_but_told_so_only_after_the_right_password() {
        let bench = Bench::new(&user("ann", true));
        assert!(matches!(
            bench.sign_in("ann", "right").await,
            Err(ProviderError::AccountRefused(_))
        ));
        assert!(matches!(
            bench.sign_in("ann", "wrong").await,
            Err(ProviderError::BadPassword)
        ));
    }

    #[tokio::test]
    async fn a_change_of_the_file_is_seen_and_a_bad_file_is_not_taken_over() {
        let bench = Bench::new(&user("ann", false));
        let identity = bench.sign_in("ann", "right").await.unwrap().identity;
        bench.write("this is no users file");
        assert!(bench.sign_in("ann", "right").await.is_ok());
        assert!(bench.local.recheck(&identity, None).await.is_ok());
        bench.write(&user("ann", true));
        assert!(matches!(
            bench.local.recheck(&identity, None).await,
            Err(ProviderError::AccountRefused(_))
        ));
        bench.write(&format!("{}{}", user("ben", false), user("cid", false)));
        assert!(matches!(
            bench.local.recheck(&identity, None).await,
            Err(ProviderError::AccountRefused(_))
        ));
        assert!(bench.sign_in("ben", "right").await.is_ok());
    }

    #[tokio::test]
    async fn a_user_is_found_unless_disabled() {
        let bench = Bench::new(&format!("{}{}", user("ann", false), user("off", true)));
        assert_eq!(bench.local.find("ANN").await.unwrap().user, "ann");
        assert!(bench.local.find("off").await.is_none());
        assert!(bench.local.find("nobody").await.is_none());
    }

    #[test]
    fn one_user_has_one_canonical_name() {
        for typed in ["bob", "Bob", " bob ", "BOB", "ｂｏｂ", "\u{a0}bob"] {
            assert_eq!(canonical(typed), "bob", "{typed:?}");
        }
        assert_eq!(canonical("Zoe\u{308}"), canonical("zo\u{eb}"));
        assert_ne!(canonical("bob"), canonical("rob"));
    }

    #[test]
    fn the_decoy_costs_what_the_dearest_user_costs() {
        let dear = hashed("x").replace("m=32", "m=64");
        let users = Users::new(
            [hashed("x"), dear]
                .into_iter()
                .enumerate()
                .map(|(n, hash)| LocalUser {
                    name: n.to_string(),
                    password_hash: Secret::new(hash),
                    groups: Vec::new(),
                    display_name: None,
                    email: None,
                    disabled: false,
                })
                .collect(),
        );
        assert!(users.decoy.starts_with("$argon2id$v=19$m=64,t=1,p=1$"));
        let decoy = PasswordHash::new(&users.decoy).unwrap();
        assert!(Argon2::default().verify_password(b"", &decoy).is_err());
        assert!(PasswordHash::new(NOBODY).is_ok_and(|hash| hash.hash.is_some() && hash.salt.is_some()));
    }
}
