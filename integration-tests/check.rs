//! The endpoints that an ingress asks, asked as an ingress would: what each of them reads, what it answers, and what it never
//! believes. Real proxies are in `ingress`.

use std::io::{BufReader, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::gateway::{Gateway, PASSWORD, Setup, users_toml};
use crate::support::http::{Request, Response, read};
use crate::support::mlflow::{Mlflow, NEWEST};

/// The host that MLflow is asked for behind the ingress.
const HOST: &str = "mlflow.example.test";
const IDENTITY: [&str; 5] = [
    "x-forwarded-user",
    "x-forwarded-email",
    "x-forwarded-groups",
    "x-mlgate-roles",
    "x-mlgate-assertion",
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Family {
    AuthRequest,
    ForwardAuth,
    ExtAuthz,
}

const FAMILIES: [Family; 3] = [Family::AuthRequest, Family::ForwardAuth, Family::ExtAuthz];

impl Family {
    /// As its proxies ask about a request.
    fn asks(self, asked: &Request) -> Request {
        let mut question = match self {
            Self::AuthRequest => Request::get("/auth/check/auth-request")
                .header("X-Original-URL", &format!("http://{HOST}{}", asked.target))
                .header("X-Original-Method", &asked.method),
            Self::ForwardAuth => Request::get("/auth/check/forward-auth")
                .header("X-Forwarded-Method", &asked.method)
                .header("X-Forwarded-Proto", "http")
                .header("X-Forwarded-Host", HOST)
                .header("X-Forwarded-Uri", &asked.target),
            Self::ExtAuthz => Request::new(&asked.method, &format!("/auth/check/ext-authz{}", asked.target))
                .header("Host", HOST)
                .header("Content-Length", "0"),
        };
        question = question.header("X-Forwarded-For", "203.0.113.7");
        question.headers.extend(asked.headers.iter().cloned());
        question
    }

    fn refuses_what_it_cannot_read(self) -> u16 {
        if self == Self::AuthRequest { 403 } else { 400 }
    }
}

fn gateway(mlflow: &str, trusted: &str) -> Gateway {
    let mut setup = Setup::new(mlflow);
    setup.sections.push_str(&format!(
        "\n[network]\ntrusted_proxies = [\"{trusted}\"]\n[check]\nendpoints = [\"auth-request\", \"forward-auth\", \"ext-authz\"]\n\
         redirect_hosts = [\"{HOST}\"]\n"
    ));
    let groups: Vec<String> = (0..400)
        .map(|number| format!("a group with a long name, {number}"))
        .collect();
    let many = users_toml()
        .split("[[user]]")
        .find(|user| user.contains("\"vera\""))
        .unwrap()
        .replace("vera", "many")
        .replace(
            "[\"viewers\"]",
            &format!("{:?}", [vec!["viewers".to_owned()], groups].concat()),
        );
    std::fs::write(setup.path("users.toml"), format!("{}[[user]]{many}", users_toml())).unwrap();
    setup.start()
}

const TRUSTED: &str = "127.0.0.1/32";

fn experiment(mlflow: &Mlflow, name: &str) -> String {
    let made = Request::new("POST", "/api/2.0/mlflow/experiments/create").json(&json!({"name": name}));
    mlflow.ask(&made).json()["experiment_id"].as_str().unwrap().to_owned()
}

fn get_experiment(id: &str) -> Request {
    Request::get(&format!("/api/2.0/mlflow/experiments/get?experiment_id={id}"))
}

fn head_size(answer: &Response) -> usize {
    let headers: usize = answer
        .headers
        .iter()
        .map(|(name, value)| name.len() + value.len() + 4)
        .sum();
    headers + "HTTP/1.1 200 OK\r\n\r\n".len()
}

#[test]
fn who_may_is_answered_200_with_who_they_are() {
    let mlflow = Mlflow::shared(NEWEST);
    let gateway = gateway(&mlflow.url(), TRUSTED);
    let id = experiment(&mlflow, "a/check-who");
    let bearer = format!("Bearer {}", gateway.token("tom-a"));
    let cookie = gateway.sign_in("tom-a");
    for family in FAMILIES {
        for credential in [("Authorization", bearer.as_str()), ("Cookie", cookie.as_str())] {
            let asked = get_experiment(&id)
                .header(credential.0, credential.1)
                .header("X-Forwarded-User", "root")
                .header("X-Mlgate-Roles", "admin");
            let answer = gateway.send(&family.asks(&asked));
            assert_eq!(answer.status, 200, "{family:?}: {}", answer.text());
            assert_eq!(answer.header("cache-control"), Some("no-store"));
            assert_eq!(answer.header("x-forwarded-user"), Some("tom-a"));
            assert_eq!(answer.header("x-forwarded-email"), Some("tom-a@example.test"));
            assert_eq!(answer.header("x-forwarded-groups"), Some("team-a"));
            assert_eq!(answer.header("x-mlgate-roles"), Some("team-a"));
            assert_eq!(answer.header("x-mlgate-assertion").unwrap().split('.').count(), 3);
            assert_eq!(answer.all("set-cookie").count(), 0);
            assert!(answer.body.is_empty() && head_size(&answer) < 4096);
        }
        let open = gateway.send(&family.asks(&Request::get("/health")));
        assert_eq!(open.status, 200);
        for name in IDENTITY {
            assert_eq!(open.header(name), Some(""), "{name} of nobody");
        }
        let vendors = family.asks(&Request::get("/gateway/x").header("Authorization", &bearer));
        assert_ne!(
            gateway.send(&vendors).header("x-forwarded-user"),
            Some("tom-a"),
            "not to vendors"
        );
    }
    let many = gateway.sign_in("many");
    for family in FAMILIES {
        let answer = gateway.send(&family.asks(&get_experiment(&id).header("Cookie", &many)));
        assert_eq!((answer.status, answer.header("x-mlgate-roles")), (200, Some("viewer")));
        assert!(
            answer
                .header("x-forwarded-groups")
                .unwrap()
                .starts_with("viewers,a%20group")
        );
        assert!(head_size(&answer) < 4096, "{}", head_size(&answer));
    }
}

/// The answer to the form of vera, who comes from somewhere.
fn sign_in(gateway: &Gateway, origin: &str, rd: &str) -> Response {
    let form = gateway.send(&Request::get("/auth/login/local").navigation());
    let cookie = form.header("set-cookie").unwrap().split(';').next().unwrap().to_owned();
    let html = form.text();
    let token = html.split("name=\"csrf_token\"").nth(1).unwrap();
    let token = token.split("value=\"").nth(1).unwrap().split('"').next().unwrap();
    let fields = [
        ("username", "vera"),
        ("password", PASSWORD),
        ("rd", rd),
        ("csrf_token", token),
    ];
    let sent = Request::new("POST", "/auth/login/local")
        .header("Cookie", &cookie)
        .header("Origin", origin);
    gateway.send(&sent.form(&fields))
}

#[test]
fn one_cookie_serves_the_hosts_of_a_domain() {
    let mlflow = Mlflow::shared(NEWEST);
    let mut setup = Setup::new(&mlflow.url());
    setup.top = "public_url = \"https://auth.example.test\"\n".to_owned();
    setup.session = "cookie_domain = \"example.test\"".to_owned();
    setup.sections.push_str(&format!(
        "\n[network]\ntrusted_proxies = [\"{TRUSTED}\"]\n[check]\nendpoints = [\"forward-auth\"]\nredirect_hosts = [\"{HOST}\"]\n"
    ));
    let gateway = setup.start();
    let page = Request::get("/?x=1").navigation();
    let stranger = gateway.send(&Family::ForwardAuth.asks(&page));
    let asked = format!("https://{HOST}/?x=1");
    let rd: String = url::form_urlencoded::byte_serialize(asked.as_bytes()).collect();
    let location = format!("https://auth.example.test/auth/login?rd={rd}");
    // The ingress speaks plain HTTP here; browsers do not.
    assert_eq!(stranger.header("location"), Some(location.as_str()));
    let signed_in = sign_in(&gateway, "https://auth.example.test", &asked);
    assert_eq!(signed_in.header("location"), Some(asked.as_str()));
    let cookie = signed_in
        .all("set-cookie")
        .find(|cookie| cookie.starts_with("__Secure-mlgate="));
    let cookie = cookie.unwrap();
    assert!(
        cookie.contains("Domain=example.test") && cookie.contains("Secure"),
        "{cookie}"
    );
    let cookie = cookie.split(';').next().unwrap();
    assert_eq!(
        gateway
            .send(&Family::ForwardAuth.asks(&page.header("Cookie", cookie)))
            .status,
        200
    );
    let post = |origin: &str| {
        let asked = Request::new("POST", "/api/2.0/mlflow/experiments/search")
            .header("Cookie", cookie)
            .header("Origin", origin);
        gateway.send(&Family::ForwardAuth.asks(&asked)).status
    };
    assert_eq!(post(&format!("https://{HOST}")), 200);
    assert_eq!(post("https://auth.example.test"), 403);
    assert_eq!(post(&format!("http://{HOST}")), 403);
}

#[test]
fn who_is_not_signed_in_is_sent_there_or_told_so() {
    let mlflow = Mlflow::shared(NEWEST);
    let gateway = gateway(&mlflow.url(), TRUSTED);
    let page = "/?a=b%20c&d=%2F";
    let rd: String = url::form_urlencoded::byte_serialize(format!("http://{HOST}{page}").as_bytes()).collect();
    let place = format!("{}/auth/login?rd={rd}", gateway.url());
    for family in FAMILIES {
        let person = gateway.send(&family.asks(&Request::get(page).navigation()));
        let program = gateway.send(&family.asks(&Request::get(page).header("Accept", "*/*")));
        let bad = gateway.send(&family.asks(&Request::get(page).header("Authorization", "Bearer mlg_pat_x")));
        for answer in [&program, &bad] {
            assert_eq!(answer.status, 401, "{family:?}");
            assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
            assert_eq!(answer.header("location"), None, "a program is never sent elsewhere");
        }
        assert_eq!(person.header("location"), Some(place.as_str()), "{family:?}");
        if family == Family::AuthRequest {
            assert_eq!(
                (person.status, program.header("x-auth-redirect")),
                (401, Some(place.as_str()))
            );
            assert_eq!(person.header("x-auth-redirect"), Some(place.as_str()));
        } else {
            assert_eq!(person.status, 302);
            assert_eq!(program.json()["error_code"], "UNAUTHENTICATED");
        }
    }
    // And back to that very page, on its own host.
    let back = |rd: &str| {
        let answer = sign_in(&gateway, &gateway.origin(), rd);
        answer.header("location").unwrap_or_default().to_owned()
    };
    let asked = format!("http://{HOST}{page}");
    assert_eq!(back(&asked), asked);
    assert_eq!(back("http://elsewhere.example.test/"), "/");
}

#[test]
fn who_may_not_is_refused_and_the_trail_says_what_was_asked() {
    let mlflow = Mlflow::shared(NEWEST);
    let gateway = gateway(&mlflow.url(), TRUSTED);
    let id = experiment(&mlflow, "a/check-refused");
    for family in FAMILIES {
        for (user, status) in [("tom-b", 403), ("nina", 403), ("tom-a", 200)] {
            let cookie = gateway.sign_in(user);
            let answer = gateway.send(&family.asks(&get_experiment(&id).header("Cookie", &cookie)));
            assert_eq!(answer.status, status, "{family:?} {user}");
        }
        let unknown = family.asks(&Request::get("/api/2.0/mlflow/no-such").header("Cookie", &gateway.sign_in("ada")));
        assert_eq!(gateway.send(&unknown).status, 403, "{family:?}");
    }
    let events = gateway.events();
    let asked: Vec<&Value> = events
        .iter()
        .filter(|event| event["http"]["check"].is_string())
        .collect();
    assert_eq!(asked.len(), 12);
    for family in ["auth-request", "forward-auth", "ext-authz"] {
        let of = |user: &str| {
            let found = asked
                .iter()
                .find(|event| event["http"]["check"] == family && event["actor"]["user"] == user);
            found.unwrap_or_else(|| panic!("{family} {user}"))
        };
        let (yes, no) = (of("tom-a"), of("tom-b"));
        assert_eq!(
            (&yes["outcome"], &no["outcome"]),
            (&json!("allowed"), &json!("refused"))
        );
        assert_eq!(yes["action"], "experiment.get");
        assert_eq!(yes["http"]["path"], "/api/2.0/mlflow/experiments/get");
        assert_eq!(yes["actor"]["address"], "203.0.113.7");
        assert_eq!(
            (&yes["http"]["status"], &no["http"]["status"]),
            (&json!(200), &json!(403))
        );
    }
    assert!(gateway.verify_audit().status.success());
}

#[test]
fn what_an_ingress_does_not_say_is_not_guessed() {
    let mlflow = Mlflow::shared(NEWEST);
    let gateway = gateway(&mlflow.url(), TRUSTED);
    let token = format!("Bearer {}", gateway.token("ada"));
    let asked = Request::get("/api/2.0/mlflow/experiments/get?experiment_id=0").header("Authorization", &token);
    let own: [(Family, &[&str]); 3] = [
        (Family::AuthRequest, &["X-Original-URL", "X-Original-Method"]),
        (
            Family::ForwardAuth,
            &[
                "X-Forwarded-Method",
                "X-Forwarded-Proto",
                "X-Forwarded-Host",
                "X-Forwarded-Uri",
            ],
        ),
        (Family::ExtAuthz, &[]),
    ];
    let with = |question: &Request, name: &str, value: &str| {
        let mut question = question.clone();
        question.headers.retain(|(key, _)| key != name);
        question.header(name, value)
    };
    for (family, names) in own {
        let question = family.asks(&asked);
        assert_eq!(gateway.send(&question).status, 200, "the control");
        let refused = |question: &Request, what: &str| {
            let answer = gateway.send(question);
            assert_eq!(
                answer.status,
                family.refuses_what_it_cannot_read(),
                "{family:?}: {what}"
            );
            assert!(!answer.text().contains("X-Original"), "strangers are told no settings");
        };
        for name in names {
            let mut without = question.clone();
            without.headers.retain(|(key, _)| key != name);
            refused(&without, &format!("without {name}"));
            let log = gateway.log();
            assert!(
                log.contains(&format!("the header {} is missing", name.to_lowercase())),
                "{log}"
            );
            // Another family's word is none.
            let mut others = without.clone();
            for other in FAMILIES.iter().filter(|other| **other != family) {
                let theirs = other.asks(&Request::get("/health")).headers;
                others.headers.extend(
                    theirs
                        .into_iter()
                        .filter(|(key, _)| key.starts_with("X-") && key != "X-Forwarded-For"),
                );
            }
            if family == Family::AuthRequest {
                refused(&others, "with another family's headers");
            }
            refused(&question.clone().header(name, "GET"), &format!("{name} twice"));
            for bad in ["", "\u{e9}", "http://", "a b", "javascript:alert(1)"] {
                refused(&with(&question, name, bad), &format!("{name}: {bad:?}"));
            }
        }
    }
    for url in [
        "http://a:80b/%zz",
        "/api/2.0/mlflow/experiments/get",
        "//mlflow.example.test/health",
        "ftp://mlflow.example.test/health",
        "http://user@mlflow.example.test/health",
        "http://mlflow.example.test",
        "http://mlflow.example.test/health#/../x",
    ] {
        let question = with(&Family::AuthRequest.asks(&asked), "X-Original-URL", url);
        assert_eq!(gateway.send(&question).status, 403, "{url}");
    }
    // Traefik reads ingress-nginx's annotations, but writes other headers: these are then the client's.
    let traefik = ["X-Forwarded-Method", "X-Forwarded-Uri", "X-Forwarded-Server"];
    for written in [&traefik[..], &traefik[..2], &traefik[1..]] {
        let question = Family::AuthRequest.asks(&asked);
        let question = written
            .iter()
            .fold(question, |question, name| question.header(name, "traefik"));
        let expected = if written.len() == traefik.len() { 403 } else { 200 };
        assert_eq!(gateway.send(&question).status, expected, "{written:?}");
    }
    assert!(gateway.log().contains("must lead to /auth/check/forward-auth"));
    // What the URL leads to counts, whatever other headers say.
    let public = Family::AuthRequest
        .asks(&get_experiment("0"))
        .header("X-Forwarded-Uri", "/health")
        .header("X-Rewrite-Url", "/health");
    assert_eq!(gateway.send(&public).status, 401);
    let off = Setup::new(&mlflow.url()).start();
    for family in FAMILIES {
        let status = if family == Family::AuthRequest { 403 } else { 404 };
        assert_eq!(
            off.send(&family.asks(&Request::get("/health"))).status,
            status,
            "not switched on"
        );
    }
}

#[test]
fn a_second_spelling_of_a_header_that_decides_is_refused() {
    let mlflow = Mlflow::shared(NEWEST);
    let gateway = gateway(&mlflow.url(), TRUSTED);
    let bearer = format!("Bearer {}", gateway.token("vera"));
    for family in FAMILIES {
        let status = |name: &str| {
            let asked = get_experiment("0")
                .header("Authorization", &bearer)
                .header(name, "other");
            gateway.send(&family.asks(&asked)).status
        };
        assert_eq!(status("sec_ch_ua"), 200, "the control");
        for twin in ["X_MLFLOW_WORKSPACE", "X-MLflow.Run-Id", "X_Forwarded_User"] {
            assert_eq!(status(twin), family.refuses_what_it_cannot_read(), "{family:?} {twin}");
        }
    }
}

#[test]
fn nobody_asks_but_the_ingress() {
    let mlflow = Mlflow::shared(NEWEST);
    let gateway = gateway(&mlflow.url(), "192.0.2.1/32");
    let bearer = format!("Bearer {}", gateway.token("ada"));
    for family in FAMILIES {
        for asked in [
            Request::get("/health"),
            get_experiment("0").header("Authorization", &bearer),
        ] {
            let answer = gateway.send(&family.asks(&asked));
            assert_eq!(answer.status, family.refuses_what_it_cannot_read(), "{family:?}");
        }
    }
    let log = gateway.log();
    assert!(log.contains("127.0.0.1 is not in network.trusted_proxies"), "{log}");
}

#[test]
fn what_only_a_body_names_needs_the_right_to_all_of_its_kind() {
    let mlflow = Mlflow::shared(NEWEST);
    let gateway = gateway(&mlflow.url(), TRUSTED);
    let (mine, theirs) = (experiment(&mlflow, "a/check-body"), experiment(&mlflow, "b/check-body"));
    let [ed, vera, tom] = ["ed", "vera", "tom-a"].map(|user| format!("Bearer {}", gateway.token(user)));
    let post = |path: &str, who: &str| Request::new("POST", path).header("Authorization", who);
    for family in FAMILIES {
        let ask = |request: Request| gateway.send(&family.asks(&request)).status;
        for path in [
            "runs/create",
            "experiments/create",
            "registered-models/create",
            "runs/log-batch",
        ] {
            let path = format!("/api/2.0/mlflow/{path}");
            assert_eq!(ask(post(&path, &ed)), 200, "{family:?} {path}");
            assert_eq!(ask(post(&path, &vera)), 403, "{family:?} {path}");
            assert_eq!(ask(post(&path, &tom)), 403, "{family:?} {path}");
        }
        for path in ["experiments/search", "runs/search", "traces/search"] {
            let path = format!(
                "/api/{}/mlflow/{path}",
                if path == "traces/search" { "3.0" } else { "2.0" }
            );
            assert_eq!(ask(post(&path, &vera)), 200, "{family:?} {path}");
            assert_eq!(ask(post(&path, &tom)), 403, "lists are not cut down: {family:?} {path}");
        }
        assert_eq!(ask(post("/graphql", &vera)), 200);
        assert_eq!(ask(post("/graphql", &tom)), 403);
        // Any storage that MLflow reaches.
        assert_eq!(ask(post("/api/2.0/mlflow/model-versions/create", &ed)), 403);
        let search = "/api/2.0/mlflow/experiments/search?max_results=5";
        assert_eq!(ask(Request::get(search).header("Authorization", &tom)), 403);
        assert_eq!(ask(Request::get(search).header("Authorization", &vera)), 200);
        // What is named in the path or in the query is decided as ever.
        assert_eq!(ask(get_experiment(&mine).header("Authorization", &tom)), 200);
        assert_eq!(ask(get_experiment(&theirs).header("Authorization", &tom)), 403);
    }
    // Envoy may show the body.
    let shown = |body: Value, partial: Option<&str>| {
        let mut question = Family::ExtAuthz.asks(&post("/api/2.0/mlflow/runs/create", &tom).json(&body));
        question.headers.retain(|(name, _)| name != "Content-Length");
        question.body = body.to_string().into();
        if let Some(partial) = partial {
            question = question.header("x-envoy-auth-partial-body", partial);
        }
        gateway.send(&question).status
    };
    let of = |id: &str| json!({"experiment_id": id, "start_time": 1});
    assert_eq!(shown(of(&mine), Some("false")), 200);
    assert_eq!(shown(of(&theirs), Some("false")), 403);
    assert_eq!(shown(of(&mine), Some("true")), 400, "a part");
    assert_eq!(shown(of(&mine), None), 400, "nobody says that it is whole");
}

#[test]
fn a_change_signed_by_a_cookie_comes_from_the_host_that_was_asked_for() {
    let mlflow = Mlflow::shared(NEWEST);
    let gateway = gateway(&mlflow.url(), TRUSTED);
    let cookie = gateway.sign_in("ed");
    let here = format!("http://{HOST}");
    for family in FAMILIES {
        let ask = |header: Option<(&str, &str)>| {
            let mut asked = Request::new("POST", "/api/2.0/mlflow/runs/create").header("Cookie", &cookie);
            if let Some((name, value)) = header {
                asked = asked.header(name, value);
            }
            gateway.send(&family.asks(&asked)).status
        };
        assert_eq!(ask(Some(("Origin", &here))), 200, "{family:?}");
        assert_eq!(ask(Some(("Sec-Fetch-Site", "same-origin"))), 200, "{family:?}");
        for foreign in [
            None,
            Some(("Origin", "http://evil.example.test")),
            Some(("Origin", "http://mlflow.example.test.evil.example")),
            Some(("Origin", "https://mlflow.example.test")),
            Some(("Origin", "http://mlflow.example.test:8080")),
            Some(("Origin", gateway.origin().as_str())),
            Some(("Origin", "null")),
            Some(("Sec-Fetch-Site", "same-site")),
        ] {
            assert_eq!(ask(foreign), 403, "{family:?} {foreign:?}");
        }
    }
}

#[test]
fn more_than_can_be_answered_in_time_is_turned_away_at_once() {
    let mlflow = Mlflow::start(NEWEST);
    let gateway = gateway(&mlflow.url(), TRUSTED);
    let bearer = format!("Bearer {}", gateway.token("ada"));
    let id = experiment(&mlflow, "a/check-busy");
    let question = Family::ExtAuthz.asks(&get_experiment(&id).header("Authorization", &bearer));
    mlflow.process().signal("STOP");
    let waiting: Vec<TcpStream> = (0..560)
        .map(|_| {
            let stream = TcpStream::connect(gateway.authority()).unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
            (&stream).write_all(&question.bytes(&gateway.authority())).unwrap();
            stream
        })
        .collect();
    let begun = std::time::Instant::now();
    let answers: Vec<(u16, Option<String>)> = waiting
        .into_iter()
        .map(|stream| read(&mut BufReader::new(stream), false).unwrap())
        .map(|answer| (answer.status, answer.header("retry-after").map(str::to_owned)))
        .collect();
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    assert!(
        answers.iter().all(|answer| *answer == (503, Some("1".to_owned()))),
        "{answers:?}"
    );
    mlflow.process().signal("CONT");
    assert_eq!(gateway.send(&question).status, 200, "and all is well again");
    let busy = gateway.events();
    let busy = busy.iter().filter(|event| event["outcome"] == "failed");
    assert_eq!(busy.count(), 560, "each is in the trail");
}
