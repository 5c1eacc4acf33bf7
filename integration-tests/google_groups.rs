//! Groups from Google's APIs, which cannot run here: a fake that follows their documentation, its refusals among them.

use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mlgate::config::{self, GoogleApi, OidcProvider};
use mlgate::domain::{Clock, SystemClock, SystemRandom};
use mlgate::providers::{ProviderError, RedirectProvider, Vouched};
use mlgate::server::Server;
use serde_json::json;
use url::Url;

use crate::ldap::{EXPERIMENT, readers};
use crate::oidc_checks::{RECHECK, Scene};
use crate::support::gateway::Setup;
use crate::support::google::{ACCOUNT, ADMIN, CUSTOMER, Google, key_file};
use crate::support::http::{Request, Response};
use crate::support::lying_provider::{CLIENT_ID, CLIENT_SECRET, LyingProvider};
use crate::support::mlflow::{Mlflow, NEWEST};
use crate::support::process::until;
use crate::support::root;

const ANN: &str = "ann@example.com";

/// The lines of a provider with groups from Google, read as the gateway reads them.
fn settings(api: &str, more: &str) -> config::GoogleGroups {
    let folder = tempfile::tempdir().unwrap();
    key_file(folder.path());
    let file = folder.path().join("mlgate.toml");
    std::fs::write(
        &file,
        format!(
            "public_url = \"http://localhost:8080\"\n[[upstream]]\nname = \"m\"\nurl = \"http://127.0.0.1:1\"\n\
             [[provider]]\nid = \"google\"\nkind = \"oidc\"\nissuer = \"https://accounts.google.com\"\nclient_id = \"x\"\n\
             google_groups = \"{api}\"\ngoogle_credentials_file = \"google.json\"\n{more}\n"
        ),
    )
    .unwrap();
    let config = config::load_with(&file, Vec::new(), &SystemRandom::new()).unwrap();
    let config::ProviderKind::Oidc(oidc) = &config.providers[0].kind else {
        panic!("it is OpenID Connect")
    };
    assert!(oidc.groups_claim.is_empty(), "Google's tokens have no groups");
    oidc.google_groups.clone().unwrap()
}

/// A scene in which the provider's people have their groups at Google.
fn scene(google: &Google, api: &str, more: &str) -> Scene {
    let settings = settings(api, more);
    Scene::at(google.places.clone(), |config: &mut OidcProvider| {
        config.google_groups = Some(settings);
        config.groups_claim = Vec::new();
    })
}

async fn groups(scene: &Scene) -> Vec<String> {
    scene.sign_in().await.unwrap().identity.groups
}

async fn is_away(scene: &Scene, words: &str) {
    match scene.sign_in().await {
        Err(ProviderError::Unavailable(text)) => assert!(text.contains(words), "{text:?} does not say {words:?}"),
        other => panic!("{words}: {other:?}"),
    }
}

/// ann is in `team`, which is in `division`, which is in `everyone`.
fn nested() -> Google {
    let google = Google::start();
    google.know(ANN, &["Team@example.com"]);
    google.know("Team@example.com", &["division@example.com"]);
    google.know("team@example.com", &["division@example.com"]);
    google.know("division@example.com", &["everyone@example.com", "team@example.com"]);
    google.know("everyone@example.com", &[]);
    google
}

const ALL: [&str; 3] = ["team@example.com", "division@example.com", "everyone@example.com"];

#[tokio::test]
async fn cloud_identity_tells_groups_of_groups_to_a_service_account_that_is_nobody_else() {
    let google = nested();
    google.set(|says| says.page = 2);
    let scene = scene(&google, "cloud-identity", "");
    assert_eq!(groups(&scene).await, ALL, "over two pages, in lower case");
    assert_eq!(google.asked("token", ""), 1, "no subject in the assertion");
    assert_eq!(google.asked("searchTransitiveGroups", ANN), 2);
    assert_eq!(google.asked("groups", ANN), 0);
    let says = google.says.lock().unwrap();
    assert!(!says.query.contains("parent"), "{}", says.query);
}

#[tokio::test]
async fn the_groups_of_one_customer_can_be_asked_for_alone() {
    let google = nested();
    let scene = scene(&google, "cloud-identity", &format!("google_customer = \"{CUSTOMER}\""));
    assert_eq!(groups(&scene).await, ALL);
    let says = google.says.lock().unwrap();
    assert!(
        says.query.ends_with(" && parent == 'customers/C046psxkn'"),
        "{}",
        says.query
    );
}

#[tokio::test]
async fn an_address_with_a_quote_asks_about_that_person_alone() {
    let google = nested();
    let brien = "o'brien@example.com";
    google.know(brien, &["irish@example.com"]);
    let scene = scene(&google, "cloud-identity", "");
    scene.idp.lie(|says| says.claims["email"] = brien.into());
    assert_eq!(groups(&scene).await, ["irish@example.com"]);
    let evil = "x'||member_key_id=='ann@example.com";
    scene.idp.lie(|says| says.claims["email"] = evil.into());
    assert!(scene.sign_in().await.is_err());
    assert_eq!(google.asked("searchTransitiveGroups", evil), 1);
}

#[tokio::test]
async fn an_edition_without_the_search_has_the_directory_walked_where_there_is_an_admin() {
    let google = nested();
    google.set(|says| {
        says.transitive = false;
        says.delegated.insert(ADMIN.to_owned());
        says.page = 1;
    });
    let scene = scene(&google, "cloud-identity", &format!("google_admin = \"{ADMIN}\""));
    assert_eq!(groups(&scene).await, ALL, "circles end");
    assert_eq!(google.asked("token", ADMIN), 1, "as the administrator");
    assert_eq!(google.asked("searchDirectGroups", ANN), 0);
    for (member, times) in [
        (ANN, 1),
        ("team@example.com", 1),
        ("division@example.com", 2),
        ("everyone@example.com", 1),
    ] {
        assert_eq!(google.asked("groups", member), times, "{member}, by pages of one");
    }
}

#[tokio::test]
async fn an_edition_without_the_search_and_no_admin_gives_the_direct_groups_and_says_so() {
    let google = nested();
    google.set(|says| says.transitive = false);
    let scene = scene(&google, "cloud-identity", "");
    let (log, _guard) = logged();
    assert_eq!(groups(&scene).await, ["team@example.com"]);
    let log = log.text();
    assert!(
        log.contains("only direct groups count") && log.contains("google_admin"),
        "{log}"
    );
    assert_eq!(google.asked("groups", ANN), 0);
}

#[tokio::test]
async fn the_directory_is_walked_as_the_administrator() {
    let google = nested();
    google.delegate();
    let admin = format!("google_admin = \"{ADMIN}\"");
    let walked = scene(&google, "directory", &admin);
    assert_eq!(groups(&walked).await, ALL);
    assert_eq!(google.asked("searchTransitiveGroups", ANN), 0);
    // A group of another organisation is a group; what it is in is not known.
    google.know(ANN, &["guests@elsewhere.test"]);
    assert_eq!(
        groups(&scene(&google, "directory", &admin)).await,
        ["guests@elsewhere.test"]
    );
    // Without an administrator the account is itself, which this directory does not let ask.
    is_away(&scene(&google, "directory", ""), "Not Authorized").await;
}

#[tokio::test]
async fn who_is_not_in_the_directory_is_refused() {
    let google = nested();
    google.set(|says| {
        says.groups.remove(ANN);
        says.delegated.insert(ADMIN.to_owned());
    });
    let scene = scene(&google, "directory", &format!("google_admin = \"{ADMIN}\""));
    let refused = scene.sign_in().await;
    assert!(matches!(refused, Err(ProviderError::AccountRefused(_))), "{refused:?}");
}

#[tokio::test]
async fn an_administrator_whom_the_domain_did_not_delegate_is_told_of() {
    let google = nested();
    let scene = scene(&google, "directory", &format!("google_admin = \"{ADMIN}\""));
    is_away(&scene, "unauthorized_client").await;
    assert_eq!(google.asked("groups", ANN), 0);
    let probed = scene.oidc.probe_groups().await.unwrap_err().to_string();
    assert!(
        probed.contains("unauthorized_client") || probed.contains("moment"),
        "{probed}"
    );
    google.delegate();
    scene.oidc.probe_groups().await.unwrap();
}

#[tokio::test]
async fn a_refusal_of_every_way_lets_nobody_in() {
    let google = Google::start();
    // Nobody is known: Google says "permission denied" then, too.
    is_away(&scene(&google, "cloud-identity", ""), "Error(2015)").await;
    assert_eq!(google.asked("searchDirectGroups", ANN), 1);
}

#[tokio::test]
async fn failures_let_nobody_in() {
    let forged = json!({"error": {"code": 500, "message": "Internal\r\nforged: line", "status": "INTERNAL"}});
    let quota = json!({"error": {"code": 403, "message": "Quota", "errors": [{"reason": "quotaExceeded"}]}});
    let unauthenticated =
        json!({"error": {"code": 401, "message": "Invalid Credentials", "status": "UNAUTHENTICATED"}});
    let cases = [
        ("searchTransitiveGroups", 500, forged),
        ("searchTransitiveGroups", 400, json!({"error": {"message": "bad"}})),
        ("searchTransitiveGroups", 401, unauthenticated),
        ("searchTransitiveGroups", 403, quota),
        ("searchTransitiveGroups", 404, json!({})),
        ("token", 500, json!({})),
        ("token", 400, json!({"error": "invalid_grant"})),
        ("token", 403, json!({"error": "access_denied"})),
    ];
    for (method, status, body) in cases {
        let google = nested();
        google.set(|says| drop(says.faults.insert(method, (status, "", body.clone()))));
        let scene = scene(&google, "cloud-identity", "");
        let answer = scene.sign_in().await;
        match answer {
            Err(ProviderError::Unavailable(text)) => assert!(!text.contains('\n'), "{text}"),
            other => panic!("{method} {status}: {other:?}"),
        }
        assert_eq!(
            google.asked("searchDirectGroups", ANN),
            0,
            "{method} {status}: fewer groups are no way out"
        );
    }
    for (method, status, body) in [
        ("searchTransitiveGroups", 200, json!("no JSON")),
        ("searchTransitiveGroups", 200, json!([])),
        (
            "searchTransitiveGroups",
            200,
            json!({"memberships": [{"groupKey": {}}]}),
        ),
        ("token", 200, json!({"token_type": "Bearer"})),
    ] {
        let google = nested();
        google.set(|says| drop(says.faults.insert(method, (status, "", body.clone()))));
        let answer = scene(&google, "cloud-identity", "").sign_in().await;
        assert!(answer.is_err(), "{method} {body}: {answer:?}");
    }
    let google = nested();
    google.set(|says| says.endless = true);
    let answer = scene(&google, "cloud-identity", "").sign_in().await;
    assert!(matches!(answer, Err(ProviderError::Refused(_))), "{answer:?}");
    assert_eq!(
        groups(&scene(&nested(), "cloud-identity", "")).await,
        ALL,
        "the control"
    );
}

#[tokio::test]
async fn an_api_that_is_asked_too_often_is_left_alone_as_long_as_it_says() {
    let google = nested();
    let busy = json!({"error": {"code": 429, "message": "Quota exceeded", "status": "RESOURCE_EXHAUSTED"}});
    google.set(|says| {
        drop(
            says.faults
                .insert("searchTransitiveGroups", (429, "Retry-After: 60\r\n", busy)),
        )
    });
    let scene = scene(&google, "cloud-identity", "");
    is_away(&scene, "too often").await;
    google.set(|says| says.faults.clear());
    scene.clock.advance(Duration::from_secs(59));
    is_away(&scene, "left alone").await;
    assert_eq!(google.asked("searchTransitiveGroups", ANN), 0);
    scene.clock.advance(Duration::from_secs(1));
    assert!(
        matches!(scene.sign_in().await, Err(ProviderError::Unavailable(_))),
        "a failure pauses two seconds"
    );
    scene.clock.advance(Duration::from_secs(2));
    assert_eq!(groups(&scene).await, ALL);
}

#[tokio::test]
async fn too_many_groups_or_too_long_a_name_are_refused_and_not_cut() {
    let google = nested();
    let many: Vec<String> = (0..2001).map(|number| format!("g{number}@example.com")).collect();
    google.set(|says| drop(says.groups.insert(ANN.to_owned(), many.clone())));
    let refused = scene(&google, "cloud-identity", "").sign_in().await;
    assert!(matches!(refused, Err(ProviderError::AccountRefused(_))), "{refused:?}");
    google.set(|says| drop(says.groups.insert(ANN.to_owned(), many[1..].to_vec())));
    assert_eq!(groups(&scene(&google, "cloud-identity", "")).await.len(), 2000);
    google.know(ANN, &[&"x".repeat(513)]);
    assert!(scene(&google, "cloud-identity", "").sign_in().await.is_err());
}

#[tokio::test]
async fn an_address_that_is_not_verified_finds_no_groups() {
    let google = nested();
    let scene = scene(&google, "cloud-identity", "");
    scene.idp.lie(|says| {
        says.claims["email_verified"] = false.into();
        says.claims["preferred_username"] = "ann".into();
    });
    let refused = scene.sign_in().await;
    assert!(matches!(refused, Err(ProviderError::AccountRefused(_))), "{refused:?}");
    assert_eq!(google.asked("searchTransitiveGroups", ANN), 0);
}

async fn recheck(scene: &Scene, vouched: &Vouched) -> Result<Vec<String>, ProviderError> {
    let again = scene.oidc.recheck(&vouched.identity, vouched.state.as_deref()).await?;
    Ok(again.identity.groups)
}

#[tokio::test]
async fn a_recheck_sees_who_left_a_group_and_asks_once_for_all_sessions_of_a_person() {
    let google = nested();
    let scene = scene(&google, "cloud-identity", "");
    let (laptop, phone) = (scene.sign_in().await.unwrap(), scene.sign_in().await.unwrap());
    assert_eq!(google.asked("searchTransitiveGroups", ANN), 1, "one answer serves both");
    google.know(ANN, &[]);
    scene.clock.advance(RECHECK / 10);
    let both = tokio::join!(recheck(&scene, &laptop), recheck(&scene, &phone));
    assert_eq!((both.0.unwrap(), both.1.unwrap()), (Vec::new(), Vec::new()));
    assert_eq!(
        google.asked("searchTransitiveGroups", ANN),
        2,
        "one question for two at once"
    );
}

#[tokio::test]
async fn a_recheck_without_an_answer_leaves_what_was_known() {
    let google = nested();
    let scene = scene(&google, "cloud-identity", "");
    let vouched = scene.sign_in().await.unwrap();
    scene.clock.advance(RECHECK / 10);
    let broken = (500, "", json!({}));
    google.set(|says| drop(says.faults.insert("searchTransitiveGroups", broken)));
    let answer = recheck(&scene, &vouched).await;
    assert!(
        matches!(answer, Err(ProviderError::Unavailable(_))),
        "the session goes on within its grace: {answer:?}"
    );
    google.set(|says| says.faults.clear());
    scene.clock.advance(Duration::from_secs(3));
    assert_eq!(recheck(&scene, &vouched).await.unwrap(), ALL);
}

#[test]
fn the_settings_are_read_whole() {
    let read = settings(
        "directory",
        &format!("google_admin = \"{ADMIN}\"\ngoogle_customer = \"{CUSTOMER}\""),
    );
    assert_eq!((read.api, read.admin.as_deref()), (GoogleApi::Directory, Some(ADMIN)));
    assert_eq!(
        (read.account.email.as_str(), read.customer.as_deref()),
        (ACCOUNT, Some(CUSTOMER))
    );
    let printed = format!("{read:?}");
    assert!(!printed.contains("PRIVATE") && !printed.contains("MII"), "{printed}");
}

#[test]
fn what_the_page_about_google_says_loads() {
    let page = std::fs::read_to_string(root().join("docs/providers/google.md")).unwrap();
    let block = page.split("```toml\n").nth(1).unwrap().split("```").next().unwrap();
    let block: String = block.lines().map(|line| format!("{}\n", line.trim())).collect();
    let folder = tempfile::tempdir().unwrap();
    key_file(folder.path());
    std::fs::write(folder.path().join("google-client-secret"), "secret\n").unwrap();
    use std::os::unix::fs::PermissionsExt;
    let private = std::fs::Permissions::from_mode(0o600);
    std::fs::set_permissions(folder.path().join("google-client-secret"), private).unwrap();
    let file = folder.path().join("mlgate.toml");
    let top = "public_url = \"https://mlflow.example.com\"\n[[upstream]]\nname = \"m\"\nurl = \"http://127.0.0.1:1\"\n";
    std::fs::write(&file, format!("{top}{block}")).unwrap();
    let config = config::load_with(&file, Vec::new(), &SystemRandom::new()).unwrap();
    let config::ProviderKind::Oidc(oidc) = &config.providers[0].kind else {
        panic!("it is OpenID Connect")
    };
    assert_eq!(oidc.google_groups.as_ref().unwrap().api, GoogleApi::CloudIdentity);
}

/// The whole gateway in this process, which alone can have Google's APIs elsewhere.
#[test]
fn a_member_of_a_nested_group_at_google_has_its_role_in_the_whole_gateway() {
    let (idp, google) = (LyingProvider::start(), nested());
    let mut setup = Setup::new(&Mlflow::shared(NEWEST).url());
    setup.sections += &format!(
        "[[provider]]\nid = \"google\"\nkind = \"oidc\"\nissuer = \"{}\"\nclient_id = \"{CLIENT_ID}\"\n\
         client_secret = \"{CLIENT_SECRET}\"\n{}",
        idp.issuer,
        readers("google:everyone@example.com")
    );
    let mut config = config::load_with(&setup.write(), Vec::new(), &SystemRandom::new()).unwrap();
    let config::ProviderKind::Oidc(oidc) = &mut config.providers[1].kind else {
        panic!("it is OpenID Connect")
    };
    oidc.google_groups = Some(settings("cloud-identity", ""));
    oidc.groups_claim = Vec::new();
    let places = google.places.clone();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let running = std::thread::spawn(move || {
        actix_web::rt::System::new().block_on(async {
            let server = Server::build_with(config, places).unwrap();
            tokio::select! {
                ended = server.run_until_stopped() => ended.unwrap(),
                _ = stopped => {}
            }
        });
    });
    let authority = setup.authority();
    until("the gateway is ready", Duration::from_secs(60), || {
        std::net::TcpStream::connect(&authority).is_ok() && Request::get("/auth/readyz").send(&authority).status == 200
    });
    let sign_in = |address: &str| {
        let departure = Request::get("/auth/login/google").navigation().send(&authority);
        let cookie = departure
            .header("set-cookie")
            .unwrap()
            .split(';')
            .next()
            .unwrap()
            .to_owned();
        let url = Url::parse(departure.header("location").unwrap()).unwrap();
        let sent = |name: &str| url.query_pairs().find(|(key, _)| key == name).unwrap().1.into_owned();
        let now = SystemClock.now().seconds();
        idp.lie(|says| {
            says.claims["nonce"] = sent("nonce").into();
            says.claims["email"] = address.into();
            (says.claims["iat"], says.claims["exp"]) = (now.into(), (now + 300).into());
        });
        let callback = format!("/auth/callback/google?code=c&state={}", sent("state"));
        Request::get(&callback)
            .navigation()
            .header("Cookie", &cookie)
            .send(&authority)
    };
    let status = |answer: &Response| {
        let cookies = answer.all("set-cookie").find(|cookie| cookie.starts_with("mlgate="));
        let cookie = cookies.unwrap().split(';').next().unwrap();
        Request::get(EXPERIMENT)
            .header("Cookie", cookie)
            .send(&authority)
            .status
    };
    assert_eq!(status(&sign_in(ANN)), 200);
    google.know("eve@example.com", &[]);
    assert_eq!(status(&sign_in("eve@example.com")), 403, "in no group, in no role");
    google.set(|says| drop(says.faults.insert("searchTransitiveGroups", (500, "", json!({})))));
    let away = sign_in("bob@example.com");
    assert_eq!(away.status, 503, "{}", away.text());
    assert!(away.text().contains("cannot be reached"), "{}", away.text());
    stop.send(()).unwrap();
    running.join().unwrap();
}

/// What is logged in this thread until the guard goes.
fn logged() -> (Log, tracing::subscriber::DefaultGuard) {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    (log, tracing::subscriber::set_default(subscriber))
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
