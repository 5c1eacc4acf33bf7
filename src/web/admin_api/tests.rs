//! The operator's API: what it does, what it refuses, and what it leaves in the trail.

use actix_web::App;
use actix_web::test::{TestRequest, call_service, init_service, read_body_json};
use arc_swap::ArcSwap;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;
use crate::config;
use crate::domain::{ManualClock, SystemRandom, Timestamp};
use crate::sessions::Settings;
use crate::store::MemoryStore;
use crate::tokens;

struct OnlyAlice;

#[async_trait]
impl Directory for OnlyAlice {
    async fn identity(&self, provider: &str, user: &str) -> Result<Identity, ProviderError> {
        if (provider, user) == ("local", "alice") {
            Ok(identity(user))
        } else {
            Err(ProviderError::AccountRefused("there is no such user".into()))
        }
    }
}

fn identity(user: &str) -> Identity {
    Identity {
        provider: "local".into(),
        subject: user.into(),
        user: user.into(),
        display_name: None,
        email: None,
        groups: vec!["team".into()],
        authenticated_at: Timestamp::from_seconds(1_795_435_200),
    }
}

fn parts(folder: &TempDir) -> Data<ArcSwap<AdminParts>> {
    const HOUR: Duration = Duration::from_secs(3600);
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::at(Timestamp::from_seconds(1_795_435_200)));
    let random: Arc<dyn Random> = Arc::new(SystemRandom::new());
    let store = Arc::new(MemoryStore::new(clock.clone()));
    let settings = Settings {
        secrets: vec![[1; 32]],
        idle_timeout: HOUR,
        absolute_timeout: HOUR * 24,
        recheck: HOUR,
        outage_grace: HOUR,
    };
    let tokens = Tokens::new(
        tokens::Settings {
            secrets: vec![[1; 32]],
            recheck: HOUR,
            outage_grace: HOUR,
            access_lifetime: HOUR,
            refresh_idle: HOUR,
            refresh_absolute: HOUR,
        },
        store.clone(),
        clock.clone(),
        random.clone(),
    );
    let audit = config::Audit {
        file: folder.path().join("trail.jsonl"),
        rotate_size: 1 << 20,
        keep: HOUR,
        fsync: false,
        reads: true,
        on_failure: OnAuditFailure::Refuse,
    };
    Data::new(ArcSwap::from_pointee(AdminParts {
        sessions: Arc::new(Sessions::new(settings, store, clock.clone(), random.clone())),
        tokens: Arc::new(tokens),
        directory: Arc::new(OnlyAlice),
        audit: Arc::new(Audit::open(&audit, clock.clone()).unwrap()),
        on_audit_failure: OnAuditFailure::Refuse,
        personal_max_lifetime: HOUR * 24,
        last_reload: Arc::default(),
        clock,
        random,
    }))
}

macro_rules! ask {
    ($app:expr, $request:expr) => {{
        let answer = call_service(&$app, $request.to_request()).await;
        let status = answer.status().as_u16();
        let body: Value = read_body_json(answer).await;
        (status, body)
    }};
}

#[actix_web::test]
async fn the_operator_lists_and_ends_sessions() {
    let folder = TempDir::new().unwrap();
    let parts = parts(&folder);
    let app = init_service(App::new().app_data(parts.clone()).configure(configure)).await;
    let address = "10.0.0.1".parse().unwrap();
    let (alice, _) = parts
        .load()
        .sessions
        .open(identity("alice"), address, None)
        .await
        .unwrap();
    let (bob, session) = parts
        .load()
        .sessions
        .open(identity("bob"), address, None)
        .await
        .unwrap();

    let (status, lines) = ask!(app, TestRequest::get().uri("/auth/admin/api/sessions?user=bob"));
    assert_eq!(status, 200);
    assert_eq!(
        lines,
        json!([{
            "id": session.id, "user": "bob", "provider": "local", "created": "2026-11-23T12:00:00.000000Z",
            "expires": "2026-11-24T12:00:00.000000Z", "last_seen": "2026-11-23T12:00:00.000000Z", "address": "10.0.0.1",
        }])
    );
    let one = format!("/auth/admin/api/sessions/{}", session.id);
    assert_eq!(ask!(app, TestRequest::delete().uri(&one)).0, 200);
    assert_eq!(ask!(app, TestRequest::delete().uri(&one)).0, 404);
    assert!(parts.load().sessions.find(bob.expose()).await.unwrap().is_none());
    assert!(parts.load().sessions.find(alice.expose()).await.unwrap().is_some());

    assert_eq!(
        ask!(app, TestRequest::delete().uri("/auth/admin/api/sessions?user=alice")).0,
        400
    );
    let all = "/auth/admin/api/sessions?user=alice&provider=local";
    assert_eq!(ask!(app, TestRequest::delete().uri(all)).1.as_array().unwrap().len(), 1);
    assert!(parts.load().sessions.find(alice.expose()).await.unwrap().is_none());
    let trail = std::fs::read_to_string(folder.path().join("trail.jsonl")).unwrap();
    assert_eq!(trail.matches("\"session.end\"").count(), 2);
}

#[actix_web::test]
async fn the_operator_makes_lists_and_ends_tokens() {
    let folder = TempDir::new().unwrap();
    let parts = parts(&folder);
    let app = init_service(App::new().app_data(parts.clone()).configure(configure)).await;
    let wanted =
        json!({"user": "alice", "provider": "local", "name": "ci", "lifetime_seconds": 3600, "read_only": true});
    let (status, made) = ask!(app, TestRequest::post().uri("/auth/admin/api/tokens").set_json(&wanted));
    assert_eq!(status, 201);
    let text = made["token"].as_str().unwrap();
    assert_eq!(
        parts.load().tokens.find(text).await.unwrap().unwrap().identity.groups,
        ["team"]
    );

    let (_, lines) = ask!(app, TestRequest::get().uri("/auth/admin/api/tokens"));
    assert_eq!(lines[0]["name"], "ci");
    assert_eq!(lines[0]["read_only"], true);
    assert!(lines[0]["last_used"].is_string());
    let one = format!("/auth/admin/api/tokens/{}", made["id"].as_str().unwrap());
    assert_eq!(ask!(app, TestRequest::delete().uri(&one)).0, 200);
    assert!(parts.load().tokens.find(text).await.unwrap().is_none());
    let trail = std::fs::read_to_string(folder.path().join("trail.jsonl")).unwrap();
    assert!(trail.contains("\"token.issue\"") && trail.contains("\"token.revoke\"") && !trail.contains(text));
}

#[actix_web::test]
async fn tokens_for_strangers_too_long_or_malformed_are_refused() {
    let folder = TempDir::new().unwrap();
    let app = init_service(App::new().app_data(parts(&folder)).configure(configure)).await;
    let right = json!({"user": "alice", "provider": "local", "name": "ci", "lifetime_seconds": 60});
    for (field, value, expected) in [
        ("user", json!("mallory"), 403),
        ("provider", json!("other"), 403),
        ("lifetime_seconds", json!(86_401), 400),
        ("lifetime_seconds", json!(0), 400),
        ("name", json!(" "), 400),
        ("name", json!("a\u{1b}[31m"), 400),
        ("unknown", json!(1), 400),
    ] {
        let mut wanted = right.clone();
        wanted[field] = value;
        let (status, body) = ask!(app, TestRequest::post().uri("/auth/admin/api/tokens").set_json(&wanted));
        assert_eq!(status, expected, "{wanted} {body}");
        assert!(body["error_code"].is_string());
    }
    assert_eq!(
        ask!(app, TestRequest::post().uri("/auth/admin/api/tokens").set_json(&right)).0,
        201
    );
}

#[actix_web::test]
async fn without_anybody_who_acts_every_route_refuses() {
    let folder = TempDir::new().unwrap();
    let bare = App::new()
        .app_data(parts(&folder))
        .service(web::scope(PREFIX).configure(routes));
    let app = init_service(bare).await;
    let wanted = json!({"user": "alice", "provider": "local", "name": "ci", "lifetime_seconds": 60});
    for request in [
        TestRequest::get().uri("/auth/admin/api/sessions"),
        TestRequest::delete().uri("/auth/admin/api/sessions?user=a&provider=b"),
        TestRequest::delete().uri("/auth/admin/api/sessions/00000000000000000000000000000000"),
        TestRequest::get().uri("/auth/admin/api/tokens"),
        TestRequest::post().uri("/auth/admin/api/tokens").set_json(&wanted),
        TestRequest::delete().uri("/auth/admin/api/tokens/00000000000000000000000000000000"),
    ] {
        assert_eq!(ask!(app, request).0, 403);
    }
}
