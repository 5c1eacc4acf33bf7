//! Metadata from a URL: fetched, again and again, and never worse than before.

use std::io::{BufReader, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use mlgate::config::{self, ProviderKind};
use mlgate::domain::{Clock, ManualClock, SystemClock, SystemRandom};
use mlgate::providers::{MetadataCache, Onward, ProviderError, RedirectProvider, Saml, SamlParts};
use mlgate::store::{MemoryStore, Sealer};
use url::Url;

use crate::support::gateway::{Setup, binary};
use crate::support::http::read_head;
use crate::support::saml::{Asked, Says, Signed, attribute, fixture, inflate, lines, metadata, parameter};

/// A place that serves whatever it holds.
struct Place {
    url: String,
    says: Arc<Mutex<(u16, String)>>,
}

impl Place {
    fn start(text: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/metadata?of=it", listener.local_addr().unwrap());
        let says = Arc::new(Mutex::new((200, text.to_owned())));
        let held = says.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                // A request's head has the form of an answer's for our reader: a line, then headers.
                let _ = read_head(&mut BufReader::new(&stream));
                let (status, text) = &mut *held.lock().unwrap();
                let answer = format!(
                    "HTTP/1.1 {status} X\r\nlocation: /x\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{text}",
                    text.len()
                );
                let _ = stream.write_all(answer.as_bytes());
            }
        });
        Self { url, says }
    }

    fn say(&self, status: u16, text: &str) {
        let mut says = self.says.lock().unwrap();
        (says.0, says.1) = (status, text.to_owned());
    }
}

struct Scene {
    place: Place,
    clock: Arc<ManualClock>,
    cache: Arc<MetadataCache>,
    folder: tempfile::TempDir,
    saml: Saml,
}

fn provider(folder: &Path, url: &str, cache: Arc<MetadataCache>, clock: Arc<ManualClock>) -> Saml {
    for name in ["sp-key.pem", "sp-cert.pem"] {
        std::fs::copy(fixture(name), folder.join(name)).unwrap();
        std::fs::set_permissions(folder.join(name), std::fs::Permissions::from_mode(0o600)).unwrap();
    }
    let file = folder.join("mlgate.toml");
    let top = "public_url = \"https://gate.test\"\n[[upstream]]\nname = \"m\"\nurl = \"http://127.0.0.1:1\"\n";
    std::fs::write(
        &file,
        format!("{top}{}", lines("corp", &format!("metadata_url = \"{url}\""))),
    )
    .unwrap();
    let config = config::load_with(&file, Vec::new(), &SystemRandom::new()).unwrap();
    let ProviderKind::Saml(saml) = config.providers.into_iter().next().unwrap().kind else {
        panic!("it is SAML")
    };
    let random = Arc::new(SystemRandom::new());
    let parts = SamlParts {
        cache,
        store: Arc::new(MemoryStore::new(clock.clone())),
        sealer: Arc::new(Sealer::new(&[[7; 32]], random.clone())),
        clock,
        random,
    };
    Saml::new("corp", *saml, parts).unwrap()
}

impl Scene {
    fn new(text: &str) -> Self {
        let (place, cache) = (Place::start(text), Arc::new(MetadataCache::default()));
        let clock = Arc::new(ManualClock::at(SystemClock.now()));
        let folder = tempfile::tempdir().unwrap();
        let saml = provider(folder.path(), &place.url, cache.clone(), clock.clone());
        Self {
            place,
            clock,
            cache,
            folder,
            saml,
        }
    }

    /// Whether an answer that this key signed is taken.
    async fn takes(&self, key: &'static str) -> Result<(), String> {
        let departure = self.saml.begin("").await.map_err(|error| error.to_string())?;
        let Onward::Redirect(url) = departure.onward else {
            panic!("a redirect")
        };
        let url = Url::parse(&url).unwrap();
        let asked = Asked {
            provider: "corp".to_owned(),
            request_id: attribute(&inflate(&parameter(&url, "SAMLRequest")), "ID"),
            relay_state: parameter(&url, "RelayState"),
            cookie: String::new(),
            site: "https://gate.test".to_owned(),
        };
        let mut says = Says::honest(&asked).signing(Signed::Assertion);
        says.manner.key = key;
        says.ahead = self.clock.now().seconds() - SystemClock.now().seconds();
        let form = [
            ("SAMLResponse".to_owned(), STANDARD.encode(says.signed())),
            ("RelayState".to_owned(), asked.relay_state),
        ];
        self.saml
            .receive(&form)
            .await
            .map(drop)
            .map_err(|error| error.to_string())
    }

    async fn later(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
        self.saml.refresh().await;
    }
}

#[tokio::test]
async fn nobody_is_asked_before_it_is_time() {
    let scene = Scene::new(&metadata(&["idp-cert.pem"]));
    assert!(matches!(scene.saml.health().await, Err(ProviderError::Unavailable(_))));
    // An answer alone makes nobody ask anybody.
    let form = [("SAMLResponse".to_owned(), STANDARD.encode("<x/>"))];
    assert!(matches!(
        scene.saml.receive(&form).await,
        Err(ProviderError::Unavailable(_))
    ));
    assert!(matches!(scene.saml.health().await, Err(ProviderError::Unavailable(_))));
    assert_eq!(scene.takes("idp").await, Ok(()));
    assert!(scene.saml.health().await.is_ok());
}

#[tokio::test]
async fn a_new_key_is_found_and_an_old_one_forgotten_in_time() {
    let scene = Scene::new(&metadata(&["idp-cert.pem"]));
    scene.saml.refresh().await;
    assert_eq!(scene.takes("idp").await, Ok(()));
    scene.place.say(200, &metadata(&["next-cert.pem", "idp-cert.pem"]));
    assert!(
        scene
            .takes("next")
            .await
            .unwrap_err()
            .contains("signature: it was made by no key")
    );
    // Answers that do not fit make nobody ask sooner.
    scene.later(60).await;
    assert!(scene.takes("next").await.is_err());
    scene.later(241).await;
    assert_eq!((scene.takes("next").await, scene.takes("idp").await), (Ok(()), Ok(())));
    scene.place.say(200, &metadata(&["next-cert.pem"]));
    scene.later(301).await;
    assert!(scene.takes("next").await.is_ok() && scene.takes("idp").await.is_err());
}

#[tokio::test]
async fn what_was_good_last_stays_until_something_better_comes() {
    let scene = Scene::new(&metadata(&["idp-cert.pem"]));
    scene.saml.refresh().await;
    let expired = metadata(&["next-cert.pem"]).replace("entityID=", "validUntil=\"2020-01-01T00:00:00Z\" entityID=");
    for (status, text) in [
        (200, metadata(&[])),
        (200, "<html/>".to_owned()),
        (200, String::new()),
        (200, "x".repeat(2 << 20)),
        (200, expired),
        (302, metadata(&["next-cert.pem"])),
        (404, metadata(&["next-cert.pem"])),
        (500, metadata(&["next-cert.pem"])),
    ] {
        scene.place.say(status, &text);
        scene.later(301).await;
        assert_eq!(
            scene.takes("idp").await,
            Ok(()),
            "{status} {}",
            text.get(..40).unwrap_or_default()
        );
    }
    // A reload begins with what was known, whatever the place says now.
    let anew = Scene {
        saml: provider(
            scene.folder.path(),
            &scene.place.url,
            scene.cache.clone(),
            scene.clock.clone(),
        ),
        ..scene
    };
    anew.saml.refresh().await;
    assert_eq!(anew.takes("idp").await, Ok(()));
    anew.place.say(200, &metadata(&["next-cert.pem"]));
    anew.later(301).await;
    assert!(anew.takes("next").await.is_ok() && anew.takes("idp").await.is_err());
}

#[tokio::test]
async fn what_has_expired_is_believed_no_more() {
    let end = mlgate::domain::Timestamp::from_seconds(SystemClock.now().seconds() + 60).rfc3339();
    let scene =
        Scene::new(&metadata(&["idp-cert.pem"]).replace("entityID=", &format!("validUntil=\"{end}\" entityID=")));
    assert_eq!(scene.takes("idp").await, Ok(()));
    scene.later(61).await;
    assert!(scene.takes("idp").await.unwrap_err().contains("has expired"));
    scene.place.say(200, &metadata(&["idp-cert.pem"]));
    scene.later(11).await;
    assert!(scene.saml.health().await.is_ok());
}

#[test]
fn the_check_finds_metadata_that_has_expired() {
    let mut setup = Setup::new("http://127.0.0.1:1");
    setup.sections += &crate::support::saml::provider(&setup, "corp", "");
    let file = setup.write();
    let check = || {
        let told = binary().args(["check", "--config"]).arg(&file).output().unwrap();
        (told.status.code(), String::from_utf8_lossy(&told.stdout).into_owned())
    };
    assert_eq!(check().0, Some(0), "{}", check().1);
    let expired = metadata(&["idp-cert.pem"]).replace("entityID=", "validUntil=\"2020-01-01T00:00:00Z\" entityID=");
    std::fs::write(setup.path("idp.xml"), expired).unwrap();
    let (code, told) = check();
    assert!(
        code == Some(1) && told.contains("provider[1].metadata_file: has expired"),
        "{told}"
    );
}
