//! Journeys through our own pages, over HTTP and without a network: refusals first, each with a control that passes.

mod account;
mod beginning;
mod look;
mod provider_logout;
mod sign_in;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use actix_web::body::MessageBody;
use actix_web::dev::{Service, ServiceResponse};
use actix_web::http::{Method, StatusCode, header};
use actix_web::{App, test, web};
use arc_swap::ArcSwap;
use async_trait::async_trait;
use url::form_urlencoded;

use crate::audit::Audit;
use crate::config::{self, Config};
use crate::domain::{Clock, Identity, ManualClock, Random, Secret, SystemRandom, Timestamp};
use crate::login::{Login, Parts, Provider};
use crate::outbound::provider::Bounds;
use crate::policy::Policy;
use crate::providers::{
    Departure, Ended, Issuers, KeyCache, Onward, PasswordProvider, ProviderError, RedirectProvider, Vouched, Way,
};
use crate::sessions::cookie::Cookies;
use crate::sessions::{Sessions, Settings};
use crate::store::{MemoryStore, Sealer};
use crate::telemetry::Metrics;
use crate::tokens::{self, Tokens};

use super::front::Front;
use super::pages::Pages;
use super::{account as account_pages, assets, callback, login, logout, provider_logout as provider_logout_pages};

const ORIGIN: &str = "https://mlflow.example.com";
const FORM: (header::HeaderName, &str) = (header::CONTENT_TYPE, "application/x-www-form-urlencoded");

struct Passwords;

fn identity(provider: &str, user: &str, at: Timestamp) -> Identity {
    Identity {
        provider: provider.to_owned(),
        subject: user.to_owned(),
        user: user.to_owned(),
        display_name: Some(format!("{user} <b>Example</b>")),
        email: None,
        groups: vec!["ml".to_owned()],
        authenticated_at: at,
    }
}

#[async_trait]
impl PasswordProvider for Passwords {
    async fn sign_in(&self, user: &str, password: &Secret) -> Result<Vouched, ProviderError> {
        assert!(!password.is_empty(), "an empty password reached the provider");
        match (self.canonical(user).as_str(), password.expose()) {
            (user @ ("alice" | "bob"), "right") => {
                Ok(Vouched::new(identity("local", user, Timestamp::from_seconds(0)), None))
            }
            ("dora", "right") => Err(ProviderError::AccountRefused("it is disabled".to_owned())),
            _ => Err(ProviderError::BadPassword),
        }
    }

    fn canonical(&self, user: &str) -> String {
        user.to_lowercase()
    }

    async fn recheck(&self, _: &Identity, _: Option<&str>) -> Result<Vouched, ProviderError> {
        Err(ProviderError::Unavailable("not asked here".to_owned()))
    }
}

struct Redirects(SystemRandom);

#[async_trait]
impl RedirectProvider for Redirects {
    async fn begin(&self, callback: &str) -> Result<Departure, ProviderError> {
        let random: &dyn Random = &self.0;
        let state = hex::encode(random.bytes::<16>());
        assert_eq!(callback, "https://mlflow.example.com/auth/callback/idp");
        Ok(Departure {
            onward: Onward::Redirect(format!("https://idp.example/authorize?state={state}")),
            memory: format!("memory of {state}"),
            state: Secret::new(state),
        })
    }

    async fn begin_as(&self, callback: &str, name: &str) -> Result<Departure, ProviderError> {
        let departure = self.begin(callback).await?;
        let Onward::Redirect(url) = &departure.onward else {
            panic!("a redirect")
        };
        Ok(Departure {
            onward: Onward::Redirect(format!("{url}&as={name}")),
            ..departure
        })
    }

    async fn complete(&self, _: &str, memory: &str, query: &[(String, String)]) -> Result<Vouched, ProviderError> {
        let value = |name: &str| {
            query
                .iter()
                .find(|(key, _)| key == name)
                .map(|(_, value)| value.as_str())
        };
        assert_eq!(Some(memory.trim_start_matches("memory of ")), value("state"));
        match value("code") {
            Some("good") => {
                let identity = identity("idp", "carol", Timestamp::from_seconds(0));
                Ok(Vouched {
                    names: vec!["theirs".to_owned()],
                    ..Vouched::new(identity, Some("kept".to_owned()))
                })
            }
            _ => Err(ProviderError::Refused("the nonce <differs>".to_owned())),
        }
    }

    async fn recheck(&self, _: &Identity, _: Option<&str>) -> Result<Vouched, ProviderError> {
        Err(ProviderError::Unavailable("not asked here".to_owned()))
    }

    async fn logout(&self, state: Option<&str>, return_to: &str) -> Option<Onward> {
        assert_eq!(
            (state, return_to),
            (Some("kept"), "https://mlflow.example.com/auth/signed-out")
        );
        Some(Onward::Redirect("https://idp.example/logout?x=y".to_owned()))
    }

    async fn ended(&self, logout_token: &str) -> Result<Ended, ProviderError> {
        match logout_token.split_once(' ') {
            Some(("carol", id)) => Ok(Ended {
                session: None,
                subject: Some("carol".to_owned()),
                id: id.to_owned(),
            }),
            Some(("theirs", id)) => Ok(Ended {
                session: Some("theirs".to_owned()),
                subject: None,
                id: id.to_owned(),
            }),
            _ => Err(ProviderError::Refused("the logout token is forged".to_owned())),
        }
    }

    fn issuer(&self) -> Option<&str> {
        Some("https://idp.example")
    }
}

const CONFIG: &str = r##"
public_url = "https://mlflow.example.com"
[[upstream]]
name = "production"
url = "http://127.0.0.1:1"
[check]
redirect_hosts = ["apps.example.com"]
[[provider]]
id = "local"
kind = "local"
users_file = "users.toml"
[[provider]]
id = "idp"
kind = "oidc"
issuer = "https://idp.example"
client_id = "mlgate"
[[role]]
name = "fraud-engineers"
groups = ["local:ml"]
grants = [{ permission = "EDIT", experiments = ["fraud/*"] }]
[limits]
login_attempts = "5/5m"
[pages]
operator = "Example & Co"
notice = """Only for work.
Ask <ml@example.com>."""
accent = "#8b1e3f"
"##;

fn config(folder: &Path) -> Config {
    let file = folder.join("mlgate.toml");
    std::fs::write(&file, CONFIG).unwrap();
    std::fs::write(folder.join("users.toml"), "").unwrap();
    config::load_with(&file, Vec::new(), &SystemRandom::new()).unwrap()
}

/// A gateway without MLflow: our own pages alone.
struct Stand {
    front: Arc<ArcSwap<Front>>,
    clock: Arc<ManualClock>,
    sessions: Arc<Sessions>,
    tokens: Arc<Tokens>,
    trail: PathBuf,
    _folder: tempfile::TempDir,
}

fn stand() -> Stand {
    stand_with(&["local", "idp"], |_| {})
}

fn stand_with(providers: &[&str], change: impl FnOnce(&mut Config)) -> Stand {
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(folder.path());
    change(&mut config);
    let clock = Arc::new(ManualClock::at(Timestamp::from_seconds(1_795_435_200)));
    let time: Arc<dyn Clock> = clock.clone();
    let random: Arc<dyn Random> = Arc::new(SystemRandom::new());
    let store = Arc::new(MemoryStore::new(time.clone()));
    let settings = Settings {
        secrets: config.session.secrets.clone(),
        idle_timeout: config.session.idle_timeout,
        absolute_timeout: config.session.absolute_timeout,
        recheck: config.session.recheck,
        outage_grace: config.session.outage_grace,
    };
    let secrets = config.session.secrets.clone();
    let sessions = Arc::new(Sessions::new(settings, store.clone(), time.clone(), random.clone()));
    let tokens = Arc::new(Tokens::new(
        tokens::Settings::new(&config.session, &config.tokens),
        store.clone(),
        time.clone(),
        random.clone(),
    ));
    let ways = providers.iter().map(|id| Provider {
        id: (*id).to_owned(),
        label: format!("The {id}"),
        domains: match id.starts_with("idp") {
            true => vec!["idp.example".to_owned()],
            false => Vec::new(),
        },
        way: match id.starts_with("idp") {
            true => Way::Redirect(Arc::new(Redirects(SystemRandom::new()))),
            false => Way::Password(Arc::new(Passwords)),
        },
    });
    let parts = Parts {
        providers: ways.collect(),
        sessions: sessions.clone(),
        tokens: tokens.clone(),
        issuers: Arc::new(Issuers::new(&[], &KeyCache::default(), &time, Bounds::default()).unwrap()),
        store,
        sealer: Arc::new(Sealer::new(&secrets, random.clone())),
        audit: Arc::new(Audit::open(&config.audit, time.clone()).unwrap()),
        metrics: Arc::new(Metrics::new().unwrap()),
        clock: time,
        random,
    };
    let trail = config.audit.file.clone();
    let front = Front {
        login: Login::new(&config, parts),
        pages: Arc::new(Pages::new(&config).unwrap()),
        cookies: Cookies::new(&config),
        sessions: sessions.clone(),
        policy: Arc::new(Policy::new(&config.roles)),
        config: Arc::new(config),
    };
    Stand {
        front: Arc::new(ArcSwap::from_pointee(front)),
        clock,
        sessions,
        tokens,
        trail,
        _folder: folder,
    }
}

/// One browser: it keeps cookies by name.
#[derive(Default)]
struct Browser {
    cookies: Vec<(String, String)>,
}

struct Answer {
    status: StatusCode,
    headers: header::HeaderMap,
    body: String,
}

impl Answer {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    fn location(&self) -> &str {
        self.header("location")
    }

    fn set_cookies(&self) -> Vec<&str> {
        self.headers
            .get_all("set-cookie")
            .map(|value| value.to_str().unwrap())
            .collect()
    }

    /// The value of a hidden field of the page's first form.
    fn field(&self, name: &str) -> String {
        let start = self.body.find(&format!("name=\"{name}\" value=\"")).expect("the field") + name.len() + 15;
        let end = self.body[start..].find('"').unwrap();
        self.body[start..start + end].to_owned()
    }
}

impl Stand {
    async fn ask(&self, request: test::TestRequest) -> Answer {
        self.ask_from([192, 0, 2, 1], request).await
    }

    async fn ask_from(&self, address: [u8; 4], request: test::TestRequest) -> Answer {
        let app = test::init_service(
            App::new()
                .app_data(web::Data::from(self.front.clone()))
                .configure(login::configure)
                .configure(callback::configure)
                .configure(logout::configure)
                .configure(provider_logout_pages::configure)
                .configure(account_pages::configure)
                .configure(assets::configure),
        )
        .await;
        let request = request.peer_addr(SocketAddr::from((address, 4711)));
        let response: ServiceResponse<_> = app.call(request.to_request()).await.unwrap();
        let (status, headers) = (response.status(), response.headers().clone());
        let body = response.into_body().try_into_bytes().ok().unwrap_or_default();
        Answer {
            status,
            headers,
            body: String::from_utf8_lossy(&body).into_owned(),
        }
    }

    fn events(&self) -> Vec<serde_json::Value> {
        let text = std::fs::read_to_string(&self.trail).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    fn actions(&self) -> Vec<String> {
        self.events()
            .iter()
            .map(|event| event["action"].as_str().unwrap().to_owned())
            .collect()
    }
}

impl Browser {
    fn cookie(&self, name: &str) -> Option<&str> {
        self.cookies
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }

    fn session(&self) -> Option<&str> {
        self.cookie("__Host-mlgate")
    }

    fn request(&self, method: Method, path: &str) -> test::TestRequest {
        let mut request = test::TestRequest::with_uri(path)
            .method(method)
            .insert_header((header::ACCEPT, "text/html,*/*;q=0.8"));
        if !self.cookies.is_empty() {
            let pairs: Vec<_> = self
                .cookies
                .iter()
                .map(|(name, value)| format!("{name}={value}"))
                .collect();
            request = request.insert_header((header::COOKIE, pairs.join("; ")));
        }
        request
    }

    async fn send(&mut self, stand: &Stand, request: test::TestRequest) -> Answer {
        let answer = stand.ask(request).await;
        for cookie in answer.set_cookies() {
            let (name, value) = cookie.split(';').next().unwrap().split_once('=').unwrap();
            self.cookies.retain(|(known, _)| known != name);
            if !cookie.contains("Max-Age=0") {
                self.cookies.push((name.to_owned(), value.to_owned()));
            }
        }
        answer
    }

    async fn get(&mut self, stand: &Stand, path: &str) -> Answer {
        self.send(stand, self.request(Method::GET, path)).await
    }

    fn form(&self, path: &str, fields: &[(&str, &str)]) -> test::TestRequest {
        let body = form_urlencoded::Serializer::new(String::new())
            .extend_pairs(fields)
            .finish();
        self.request(Method::POST, path).insert_header(FORM).set_payload(body)
    }

    async fn post(&mut self, stand: &Stand, path: &str, fields: &[(&str, &str)]) -> Answer {
        self.send(stand, self.form(path, fields).insert_header((header::ORIGIN, ORIGIN)))
            .await
    }

    async fn sign_in(&mut self, stand: &Stand, user: &str, password: &str, rd: &str) -> Answer {
        let form = self.get(stand, "/auth/login/local").await;
        let token = form.field("csrf_token");
        let fields = [
            ("username", user),
            ("password", password),
            ("rd", rd),
            ("csrf_token", &token),
        ];
        self.post(stand, "/auth/login/local", &fields).await
    }

    /// Begins at the identity provider; the state that it was given.
    async fn depart(&mut self, stand: &Stand, path: &str) -> String {
        let answer = self.get(stand, path).await;
        assert_eq!(answer.status, StatusCode::FOUND);
        answer
            .location()
            .strip_prefix("https://idp.example/authorize?state=")
            .unwrap()
            .to_owned()
    }

    async fn come_back(&mut self, stand: &Stand, state: &str, code: &str) -> Answer {
        self.get(stand, &format!("/auth/callback/idp?code={code}&state={state}"))
            .await
    }
}
