//! The operator's pages: what an admin sees and does there, and that nobody else does.

use serde_json::Value;

use crate::support::gateway::{Gateway, Setup};
use crate::support::http::{Request, Response};
use crate::support::mlflow::Mlflow;

const PAGES: [&str; 6] = ["", "/sessions", "/tokens", "/roles", "/audit", "/explain"];

fn gateway() -> Gateway {
    Setup::new(&Mlflow::shared("3.18").url()).start()
}

fn open(gateway: &Gateway, cookie: &str, path: &str) -> Response {
    let request = Request::get(&format!("/auth/admin{path}")).navigation();
    gateway.send(&request.header("Cookie", cookie))
}

fn send(gateway: &Gateway, cookie: &str, path: &str, fields: &[(&str, &str)]) -> Response {
    let request = Request::new("POST", &format!("/auth/admin{path}")).form(fields);
    gateway.send(&request.header("Cookie", cookie).header("Origin", &gateway.origin()))
}

/// The value of the first hidden field with this name.
fn field(page: &Response, name: &str) -> String {
    let text = page.text();
    let start = text.find(&format!("name=\"{name}\" value=\"")).expect("the field") + name.len() + 15;
    text[start..].split('"').next().unwrap().to_owned()
}

fn is_live(gateway: &Gateway, cookie: &str) -> bool {
    let read = Request::get("/ajax-api/2.0/mlflow/experiments/get?experiment_id=0");
    gateway.send(&read.header("Cookie", cookie)).status == 200
}

fn last(gateway: &Gateway, action: &str) -> Value {
    let mut events = gateway.events();
    events.retain(|event| event["action"] == action);
    events.pop().unwrap_or_else(|| panic!("no {action} in the trail"))
}

#[test]
fn the_operators_pages_are_for_admins_alone() {
    let gateway = gateway();
    let (ada, mona) = (gateway.sign_in("ada"), gateway.sign_in("mona"));
    for path in PAGES {
        let shown = open(&gateway, &ada, path);
        assert_eq!(shown.status, 200, "{path}: {}", shown.text());
        assert_eq!(shown.header("cache-control"), Some("no-store"), "{path}");
        let refused = open(&gateway, &mona, path);
        assert_eq!(refused.status, 403, "{path}");
        assert!(refused.text().contains("This needs MANAGE on the server."), "{path}");
        let stranger = open(&gateway, "x=y", path);
        assert_eq!(stranger.status, 302, "{path}");
        let back = stranger.header("location").unwrap();
        assert!(back.starts_with("/auth/login?rd=%2Fauth%2Fadmin"), "{back}");
        let program = gateway.send(&Request::get(&format!("/auth/admin{path}")));
        assert_eq!(program.status, 401, "{path}: no page for a program");
        // A token is for the API; shown beside a session it counts, and not the session.
        let token = format!("Bearer {}", gateway.token("ada"));
        let with_token = Request::get(&format!("/auth/admin{path}")).header("Authorization", &token);
        assert_eq!(gateway.send(&with_token.header("Cookie", &ada)).status, 401, "{path}");
    }
    let refused = last(&gateway, "admin.open");
    assert!(gateway.events().iter().any(|event| {
        event["action"] == "admin.open" && event["outcome"] == "refused" && event["actor"]["user"] == "mona"
    }));
    assert_eq!(refused["http"]["path"], "/auth/admin/explain");
    let german = Request::get("/auth/admin").navigation().header("Cookie", &mona);
    let german = gateway.send(&german.header("Accept-Language", "de-CH, de;q=0.9"));
    assert!(
        german.text().contains("Dafür ist MANAGE auf den Server nötig."),
        "{}",
        german.text()
    );
    // The account page leads there, for those who may.
    let account = |cookie: &str| {
        gateway
            .send(&Request::get("/auth/account").navigation().header("Cookie", cookie))
            .text()
    };
    assert!(account(&ada).contains("href=\"/auth/admin\"") && !account(&mona).contains("href=\"/auth/admin\""));
}

#[test]
fn an_admin_finds_and_ends_sessions_by_forms_of_ours_alone() {
    let gateway = gateway();
    let (ada, vera, again, ed) = (
        gateway.sign_in("ada"),
        gateway.sign_in("vera"),
        gateway.sign_in("vera"),
        gateway.sign_in("ed"),
    );
    let found = open(&gateway, &ada, "/sessions?user=vera");
    let text = found.text();
    assert!(
        text.contains("End the session of vera") && !text.contains("End the session of ed"),
        "{text}"
    );
    let (token, id) = (field(&found, "csrf_token"), field(&found, "id"));
    let end = [("csrf_token", token.as_str()), ("id", id.as_str()), ("user", "vera")];

    // Without the token, with another's, from elsewhere, by GET, as somebody else: nothing ends.
    assert_eq!(send(&gateway, &ada, "/sessions/revoke", &end[1..]).status, 403);
    let mona = gateway.sign_in("mona");
    assert_eq!(send(&gateway, &mona, "/sessions/revoke", &end).status, 403);
    let foreign = Request::new("POST", "/auth/admin/sessions/revoke").form(&end);
    let foreign = foreign.header("Cookie", &ada).header("Origin", "https://evil.example");
    assert_eq!(gateway.send(&foreign).status, 403);
    assert_ne!(open(&gateway, &ada, &format!("/sessions/revoke?id={id}")).status, 200);
    assert!(is_live(&gateway, &vera) && is_live(&gateway, &again));

    let done = send(&gateway, &ada, "/sessions/revoke", &end);
    assert_eq!(
        (done.status, done.header("location")),
        (303, Some("/auth/admin/sessions?user=vera&done=session"))
    );
    assert!(is_live(&gateway, &vera) != is_live(&gateway, &again), "one of the two");
    let event = last(&gateway, "session.end");
    assert_eq!(
        (
            &event["actor"]["user"],
            &event["resources"][0]["name"],
            &event["actor"]["via"]
        ),
        (&"ada".into(), &"local:vera".into(), &"session".into())
    );
    assert_eq!(
        send(&gateway, &ada, "/sessions/revoke", &end).status,
        404,
        "it has ended"
    );

    let all = [("csrf_token", token.as_str()), ("user", "vera"), ("provider", "local")];
    let done = send(&gateway, &ada, "/sessions/revoke-all", &all);
    assert_eq!(
        done.header("location"),
        Some("/auth/admin/sessions?done=sessions&count=1")
    );
    assert!(!is_live(&gateway, &vera) && !is_live(&gateway, &again));
    assert!(is_live(&gateway, &ed) && is_live(&gateway, &ada), "nobody else");
}

#[test]
fn an_admin_makes_and_revokes_tokens_for_others() {
    let gateway = gateway();
    let ada = gateway.sign_in("ada");
    let token = field(&open(&gateway, &ada, "/tokens"), "csrf_token");
    let wanted = [
        ("csrf_token", token.as_str()),
        ("user", "ed"),
        ("provider", "local"),
        ("name", "nightly"),
        ("lifetime", "3600"),
    ];
    let without = send(&gateway, &ada, "/tokens", &wanted[1..]);
    assert_eq!(without.status, 403);
    let mut nobody = wanted;
    nobody[1].1 = "nobody";
    assert_eq!(send(&gateway, &ada, "/tokens", &nobody).status, 403);
    let mut forever = wanted;
    forever[4].1 = "99999999999";
    assert_eq!(send(&gateway, &ada, "/tokens", &forever).status, 400);

    let made = send(&gateway, &ada, "/tokens", &wanted);
    assert_eq!(made.status, 200, "{}", made.text());
    let text = made.text();
    let start = text.find("mlg_pat_").expect("the token");
    let secret = text[start..].split('<').next().unwrap();
    let read = Request::get("/ajax-api/2.0/mlflow/experiments/get?experiment_id=0")
        .header("Authorization", &format!("Bearer {secret}"));
    assert_eq!(gateway.send(&read).status, 200);
    let event = last(&gateway, "token.issue");
    assert_eq!(
        (&event["actor"]["user"], &event["resources"][0]["name"]),
        (&"ada".into(), &"local:ed".into())
    );

    let listed = open(&gateway, &ada, "/tokens?user=ed&provider=local");
    assert!(
        listed.text().contains("Revoke the token nightly of ed"),
        "{}",
        listed.text()
    );
    assert!(!listed.text().contains("mlg_pat_"), "it is shown once");
    let id = field(&listed, "id");
    let revoke = [("csrf_token", token.as_str()), ("id", id.as_str())];
    assert_eq!(send(&gateway, &ada, "/tokens/revoke", &revoke[1..]).status, 403);
    assert_eq!(gateway.send(&read).status, 200);
    assert_eq!(send(&gateway, &ada, "/tokens/revoke", &revoke).status, 303);
    assert_eq!(gateway.send(&read).status, 401);
    assert_eq!(last(&gateway, "token.revoke")["actor"]["user"], "ada");
}

#[test]
fn an_admin_reads_the_trail_the_roles_and_why_a_request_would_be_refused() {
    let gateway = gateway();
    let (ada, tom) = (gateway.sign_in("ada"), gateway.sign_in("tom-a"));
    let create = Request::new("POST", "/ajax-api/2.0/mlflow/experiments/create")
        .json(&serde_json::json!({"name": "b/not-mine"}))
        .header("Cookie", &tom)
        .header("Origin", &gateway.origin());
    assert_eq!(gateway.send(&create).status, 403);
    let found = open(&gateway, &ada, "/audit?user=tom-a&outcome=refused&action=experiment.*").text();
    assert!(
        found.contains("experiment.create") && found.contains("experiment:b/not-mine"),
        "{found}"
    );
    let other = open(&gateway, &ada, "/audit?user=tom-b&outcome=refused").text();
    assert!(!other.contains("experiment:b/not-mine"), "{other}");
    let start = open(&gateway, &ada, "").text();
    assert!(
        start.contains("experiment.create"),
        "the overview has the latest refusals: {start}"
    );
    assert!(
        start.contains("none since the start") && start.contains("3.18"),
        "{start}"
    );

    let roles = open(&gateway, &ada, "/roles").text();
    for text in ["local:team-a", "experiments a/*", "EDIT", "local:admins", "built in"] {
        assert!(roles.contains(text), "{text}: {roles}");
    }

    let token = field(&open(&gateway, &ada, "/explain"), "csrf_token");
    let ask = |user: &str| {
        let fields = [
            ("csrf_token", token.as_str()),
            ("user", user),
            ("provider", "local"),
            ("groups", ""),
            ("upstream", "production"),
            ("method", "POST"),
            ("path", "/api/2.0/mlflow/experiments/create"),
            ("body", r#"{"name": "a/new"}"#),
        ];
        let told = send(&gateway, &ada, "/explain", &fields);
        assert_eq!(told.status, 200, "{}", told.text());
        told.text()
    };
    let allowed = ask("tom-a");
    assert!(
        allowed.contains("It is allowed.") && allowed.contains("Granted by the role team-a."),
        "{allowed}"
    );
    let refused = ask("tom-b");
    assert!(
        refused.contains("It is refused.") && refused.contains("experiment a/new"),
        "{refused}"
    );
    let unknown = [("csrf_token", token.as_str()), ("user", "x"), ("provider", "none")];
    assert_eq!(send(&gateway, &ada, "/explain", &unknown).status, 400);
    assert_eq!(send(&gateway, &ada, "/explain", &unknown[1..]).status, 403);
}

#[test]
fn a_refused_reload_is_told_on_the_overview() {
    let gateway = gateway();
    let ada = gateway.sign_in("ada");
    let good = std::fs::read_to_string(&gateway.config).unwrap();
    let wait_for = |text: &str| {
        crate::support::process::until(
            "the overview tells of the reload",
            std::time::Duration::from_secs(20),
            || open(&gateway, &ada, "").text().contains(text),
        );
    };
    std::fs::write(&gateway.config, format!("{good}\n[pages]\naccent = \"red\"\n")).unwrap();
    wait_for("pages.accent");
    std::fs::write(&gateway.config, good).unwrap();
    wait_for("The new configuration is in force.");
}
