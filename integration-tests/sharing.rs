//! Sharing: who manages an experiment gives a group a permission on it, by the page or by a token, and never more.

use serde_json::{Value, json};

use crate::support::gateway::{Gateway, ROLES, Setup};
use crate::support::http::{Request, Response};
use crate::support::mlflow::{Mlflow, NEWEST};

struct Person<'a> {
    gateway: &'a Gateway,
    cookie: String,
    token: String,
}

impl<'a> Person<'a> {
    fn new(gateway: &'a Gateway, name: &str) -> Self {
        Self {
            gateway,
            cookie: gateway.sign_in(name),
            token: gateway.token(name),
        }
    }

    fn send(&self, request: Request) -> Response {
        let bearer = format!("Bearer {}", self.token);
        self.gateway.send(&request.header("Authorization", &bearer))
    }

    fn post(&self, path: &str, body: &Value) -> Response {
        self.send(Request::new("POST", path).json(body))
    }

    fn share(&self, experiment: &str, group: &str, permission: &str) -> u16 {
        let body = json!({"experiment": experiment, "group": group, "permission": permission});
        self.post("/auth/share", &body).status
    }

    fn reads(&self, experiment: &str) -> bool {
        let target = format!("/api/2.0/mlflow/experiments/get?experiment_id={experiment}");
        let status = self.send(Request::get(&target)).status;
        assert!(matches!(status, 200 | 403), "{status}");
        let listed = self.post("/api/2.0/mlflow/experiments/search", &json!({"max_results": 1000}));
        let rows = listed.json()["experiments"].take();
        let is_listed = rows
            .as_array()
            .is_some_and(|rows| rows.iter().any(|row| row["experiment_id"] == experiment));
        assert_eq!(status == 200, is_listed);
        is_listed
    }

    fn tags(&self, experiment: &str) -> u16 {
        let body = json!({"experiment_id": experiment, "key": "k", "value": "v"});
        self.post("/api/2.0/mlflow/experiments/set-experiment-tag", &body)
            .status
    }
}

fn experiment(person: &Person<'_>, name: &str) -> String {
    let made = person.post("/api/2.0/mlflow/experiments/create", &json!({"name": name}));
    assert_eq!(made.status, 200, "{}", made.text());
    made.json()["experiment_id"].as_str().unwrap().to_owned()
}

#[test]
fn a_share_gives_a_group_what_it_says() {
    let mlflow = Mlflow::shared(NEWEST);
    let mut setup = Setup::new(&mlflow.url());
    setup.sections = format!(
        "{ROLES}[[role]]\nname = \"sealed\"\ngroups = [\"local:viewers\"]\ngrants = [{{ permission = \"DENY\", experiments = [\"a/sealed-*\"] }}]\n"
    );
    let gateway = setup.start();
    let [tom_a, tom_b, ed, vera, nina] =
        ["tom-a", "tom-b", "ed", "vera", "nina"].map(|name| Person::new(&gateway, name));
    let id = experiment(&tom_a, "a/shared");
    assert!(!tom_b.reads(&id));
    // EDIT is not enough to share it, nor is a share; and nobody shares what they cannot see.
    for other in [&ed, &tom_b, &nina] {
        assert_eq!(other.share(&id, "team-b", "READ"), 403);
        let looked = other.send(Request::get(&format!("/auth/share?experiment={id}")));
        assert_eq!(looked.status, 403, "{}", looked.text());
    }
    assert_eq!(tom_a.share(&id, "local:team-b", "READ"), 200);
    assert!(tom_b.reads(&id));
    assert_eq!(tom_b.tags(&id), 403, "READ is no more than that");
    assert_eq!(tom_b.share(&id, "team-b", "MANAGE"), 403);
    assert_eq!(
        tom_a.share("a/shared", "team-b", "EDIT"),
        200,
        "by its name, and a group of one's own provider"
    );
    assert_eq!(tom_b.tags(&id), 200);
    let told = tom_a.send(Request::get(&format!("/auth/share?experiment={id}"))).json();
    assert_eq!(told["owner"], "local:tom-a");
    assert_eq!(told["shares"], json!([{"group": "local:team-b", "permission": "EDIT"}]));
    for (group, permission) in [("team-b", "DENY"), ("team-b", "edit"), ("", "READ"), ("a\nb", "READ")] {
        assert_eq!(tom_a.share(&id, group, permission), 400, "{group:?} {permission}");
    }
    // Several at once: none is written over.
    let groups = ["one", "two", "three", "four", "five", "six"];
    std::thread::scope(|scope| {
        let asked = groups.map(|group| {
            let (tom_a, id) = (&tom_a, &id);
            scope.spawn(move || tom_a.share(id, group, "READ"))
        });
        for asked in asked {
            assert_eq!(asked.join().unwrap(), 200);
        }
    });
    let told = tom_a.send(Request::get(&format!("/auth/share?experiment={id}"))).json();
    for group in groups {
        assert!(told["shares"].to_string().contains(&format!("local:{group}")), "{told}");
    }
    // DENY wins, and who holds no role at all gets nothing.
    let sealed = experiment(&tom_a, "a/sealed-1");
    assert_eq!(tom_a.share(&sealed, "viewers", "MANAGE"), 200);
    assert!(!vera.reads(&sealed));
    // Back again.
    assert_eq!(tom_a.share(&id, "team-b", "NONE"), 200);
    assert!(!tom_b.reads(&id));
    // A token that may only read changes nothing.
    let read_only = gateway.mlgate(&[
        "tokens",
        "create",
        "--user",
        "tom-a",
        "--provider",
        "local",
        "--name",
        "r",
        "--lifetime",
        "1h",
        "--read-only",
    ]);
    let reader = Person {
        gateway: &gateway,
        cookie: String::new(),
        token: String::from_utf8(read_only.stdout).unwrap().trim().to_owned(),
    };
    assert_eq!(reader.share(&id, "team-b", "READ"), 403);
    let events = gateway.events();
    let of = |outcome: &str| {
        events
            .iter()
            .filter(|event| event["action"] == "experiment.share" && event["outcome"] == outcome)
            .count()
    };
    assert!(
        of("allowed") == 10 && of("refused") >= 4,
        "{} {}",
        of("allowed"),
        of("refused")
    );
}

#[test]
fn the_page_shares_without_a_script() {
    let mlflow = Mlflow::shared(NEWEST);
    let gateway = Setup::new(&mlflow.url()).start();
    let [tom_a, tom_b] = ["tom-a", "tom-b"].map(|name| Person::new(&gateway, name));
    let id = experiment(&tom_a, "a/page <b>");
    let page = |person: &Person<'_>| {
        gateway.send(
            &Request::get(&format!("/auth/share?experiment={id}"))
                .navigation()
                .header("Cookie", &person.cookie),
        )
    };
    assert_eq!(page(&tom_b).status, 403);
    let shown = page(&tom_a);
    let text = shown.text();
    assert_eq!(shown.status, 200, "{text}");
    assert!(
        text.contains("a/page &#60;b&#62;") || text.contains("a/page &lt;b&gt;"),
        "{text}"
    );
    let token = text
        .split("name=\"csrf_token\" value=\"")
        .nth(1)
        .unwrap()
        .split('"')
        .next()
        .unwrap();
    let send = |token: &str, origin: &str| {
        gateway.send(
            &Request::new("POST", "/auth/share")
                .navigation()
                .header("Cookie", &tom_a.cookie)
                .header("Origin", origin)
                .form(&[
                    ("csrf_token", token),
                    ("experiment", &id),
                    ("group", "local:team-b"),
                    ("permission", "READ"),
                ]),
        )
    };
    assert_eq!(send("forged", &gateway.origin()).status, 403);
    assert_eq!(send(token, "https://evil.example").status, 403);
    assert!(!tom_b.reads(&id), "neither changed anything");
    assert_eq!(send(token, &gateway.origin()).status, 303);
    assert!(tom_b.reads(&id));
    assert!(page(&tom_a).text().contains("local:team-b"));
    // Who is not signed in is asked to.
    let stranger = gateway.send(&Request::get(&format!("/auth/share?experiment={id}")).navigation());
    assert_eq!(stranger.status, 303, "{}", stranger.text());
    let program = gateway.send(&Request::new("POST", "/auth/share").json(&json!({})));
    assert!(matches!(program.status, 401 | 403 | 303), "{}", program.status);
}

#[test]
fn sharing_can_be_switched_off() {
    let mlflow = Mlflow::shared(NEWEST);
    let gateway = Setup::new(&mlflow.url()).start();
    let [tom_a, tom_b] = ["tom-a", "tom-b"].map(|name| Person::new(&gateway, name));
    let id = experiment(&tom_a, "a/off");
    assert_eq!(tom_a.share(&id, "team-b", "READ"), 200);
    assert!(tom_b.reads(&id), "the control");
    drop(gateway);
    let mut setup = Setup::new(&mlflow.url());
    setup.upstream += "\nsharing = \"off\"";
    let gateway = setup.start();
    let [tom_a, tom_b] = ["tom-a", "tom-b"].map(|name| Person::new(&gateway, name));
    assert!(!tom_b.reads(&id), "what was shared before counts for nothing");
    assert_eq!(tom_a.share(&id, "team-b", "READ"), 400);
    assert!(tom_a.reads(&id));
}

#[test]
fn the_command_shares_by_a_users_token() {
    let mlflow = Mlflow::shared(NEWEST);
    let gateway = Setup::new(&mlflow.url()).start();
    let [tom_a, tom_b] = ["tom-a", "tom-b"].map(|name| Person::new(&gateway, name));
    let id = experiment(&tom_a, "a/command");
    let home = tempfile::tempdir().unwrap();
    let mlgate = |person: &Person<'_>, arguments: &[&str]| {
        let file = home.path().join("credentials.json");
        let entry = json!({"client_id": "mlgate-cli", "token_endpoint": format!("{}/auth/oauth2/token", gateway.url()),
                           "access_token": person.token, "issued_at": 0, "expires_at": 32_503_680_000_u64});
        let whole = json!({"version": 1, "default": gateway.url(), "gateways": {gateway.url(): entry}});
        std::fs::write(&file, whole.to_string()).unwrap();
        let only_mine = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(&file, only_mine).unwrap();
        crate::support::gateway::binary()
            .arg("share")
            .args(arguments)
            .env("MLGATE_CREDENTIALS", &file)
            .output()
            .unwrap()
    };
    let shared = mlgate(&tom_a, &["a/command", "--group", "team-b", "--permission", "READ"]);
    let told = String::from_utf8_lossy(&shared.stdout).into_owned();
    assert_eq!(
        shared.status.code(),
        Some(0),
        "{told}{}",
        String::from_utf8_lossy(&shared.stderr)
    );
    assert!(told.contains("local:team-b") && told.contains("READ"), "{told}");
    assert!(tom_b.reads(&id));
    let refused = mlgate(&tom_b, &[&id, "--group", "team-b", "--permission", "MANAGE"]);
    assert_eq!(
        refused.status.code(),
        Some(3),
        "{}",
        String::from_utf8_lossy(&refused.stderr)
    );
    let listed = mlgate(&tom_a, &[&id, "--json"]);
    let listed: Value = serde_json::from_slice(&listed.stdout).unwrap();
    assert_eq!(
        listed["shares"],
        json!([{"group": "local:team-b", "permission": "READ"}])
    );
    assert_eq!(
        mlgate(&tom_a, &[&id, "--group", "team-b"]).status.code(),
        Some(2),
        "without a permission"
    );
    let back = mlgate(&tom_a, &[&id, "--group", "team-b", "--permission", "none"]);
    assert_eq!(back.status.code(), Some(0));
    assert!(!tom_b.reads(&id));
}
