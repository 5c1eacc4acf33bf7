//! Groups of an Entra ID account that are too many for its token: asked of Microsoft Graph, of which a fake runs here.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use mlgate::providers::{Places, ProviderError, RedirectProvider};
use serde_json::{Value, json};
use url::Url;

use crate::oidc_checks::Scene;

/// Answers by target, and what was asked: target and bearer token.
struct Graph {
    place: Url,
    answers: Arc<Mutex<HashMap<String, (u16, Value)>>>,
    asked: Arc<Mutex<Vec<(String, String)>>>,
}

const FIRST: &str = "/v1.0/me/transitiveMemberOf?$select=id&$top=999";

impl Graph {
    /// A member of these groups, so many a page.
    fn start(groups: &[&str], page: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let graph = Self {
            place: Url::parse(&format!("http://{}/", listener.local_addr().unwrap())).unwrap(),
            answers: Arc::default(),
            asked: Arc::default(),
        };
        let pages: Vec<_> = groups.chunks(page).collect();
        for (number, ids) in pages.iter().enumerate() {
            let entries: Vec<_> = ids
                .iter()
                .map(|id| json!({"@odata.type": "#microsoft.graph.group", "id": id}))
                .collect();
            let mut body = json!({"@odata.context": "https://graph.microsoft.com/v1.0/$metadata", "value": entries});
            if number + 1 < pages.len() {
                body["@odata.nextLink"] = graph.place.join(&page_at(number + 1)).unwrap().as_str().into();
            }
            graph.answer(&page_at(number), 200, body);
        }
        let (answers, asked) = (graph.answers.clone(), graph.asked.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                answer(stream, &answers, &asked);
            }
        });
        graph
    }

    fn answer(&self, target: &str, status: u16, body: Value) {
        self.answers.lock().unwrap().insert(target.to_owned(), (status, body));
    }

    fn asked(&self) -> Vec<(String, String)> {
        self.asked.lock().unwrap().clone()
    }
}

fn page_at(number: usize) -> String {
    match number {
        0 => FIRST.to_owned(),
        number => format!("{FIRST}&$skiptoken=page-{number}"),
    }
}

fn answer(
    mut stream: TcpStream,
    answers: &Mutex<HashMap<String, (u16, Value)>>,
    asked: &Mutex<Vec<(String, String)>>,
) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut bearer = String::new();
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok()?;
        let Some((name, value)) = header.split_once(':') else {
            break;
        };
        if name.eq_ignore_ascii_case("authorization") {
            bearer = value.trim().to_owned();
        }
    }
    let target = line.split(' ').nth(1)?.to_owned();
    asked.lock().unwrap().push((target.clone(), bearer));
    let (status, body) = answers
        .lock()
        .unwrap()
        .get(&target)
        .cloned()
        .unwrap_or((404, json!({})));
    let text = format!("HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n{body}");
    stream.write_all(text.as_bytes()).ok()
}

/// Somebody who is in too many groups, as a token of Entra ID says it; what it names as their source is a trap.
fn scene(graph: Option<&Graph>, trap: &Graph) -> Scene {
    let places = Places {
        graph: graph.map(|graph| graph.place.clone()),
        ..Places::default()
    };
    let scene = Scene::at(places, |_| {});
    scene.idp.lie(|says| {
        let claims = says.claims.as_object_mut().unwrap();
        claims.remove("groups");
        let endpoint = trap.place.join("tenant/users/subject-1/getMemberObjects").unwrap();
        claims.insert("_claim_names".to_owned(), json!({"groups": "src1"}));
        claims.insert(
            "_claim_sources".to_owned(),
            json!({"src1": {"endpoint": endpoint.as_str()}}),
        );
    });
    scene
}

fn trap() -> Graph {
    Graph::start(&[], 1)
}

async fn refusal(scene: &Scene) -> String {
    match scene.sign_in().await {
        Err(ProviderError::AccountRefused(text)) => text,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn groups_that_are_too_many_for_a_token_are_asked_of_graph_and_of_nobody_else() {
    let (graph, trap) = (Graph::start(&["a", "b", "c", "d", "e"], 2), trap());
    let scene = scene(Some(&graph), &trap);
    let groups = scene.sign_in().await.unwrap().identity.groups;
    assert_eq!(groups, ["a", "b", "c", "d", "e"]);
    let asked = graph.asked();
    let targets: Vec<_> = asked.iter().map(|(target, _)| target.clone()).collect();
    assert_eq!(targets, [page_at(0), page_at(1), page_at(2)]);
    assert!(asked.iter().all(|(_, bearer)| bearer == "Bearer access-1"), "{asked:?}");
    assert!(
        trap.asked().is_empty(),
        "the source that the token names is never followed"
    );
}

#[tokio::test]
async fn the_short_word_for_too_many_groups_is_understood_too() {
    let (graph, trap) = (Graph::start(&["a"], 9), trap());
    let scene = scene(Some(&graph), &trap);
    scene.idp.lie(|says| {
        says.claims.as_object_mut().unwrap().remove("_claim_names");
        says.claims["hasgroups"] = true.into();
    });
    assert_eq!(scene.sign_in().await.unwrap().identity.groups, ["a"]);
}

#[tokio::test]
async fn groups_that_the_token_names_are_asked_nobody() {
    let (graph, trap) = (Graph::start(&["a"], 9), trap());
    let scene = scene(Some(&graph), &trap);
    scene.idp.lie(|says| {
        says.claims.as_object_mut().unwrap().remove("_claim_names");
        says.claims["groups"] = json!(["ml"]);
    });
    assert_eq!(scene.sign_in().await.unwrap().identity.groups, ["ml"]);
    assert!(graph.asked().is_empty());
}

#[tokio::test]
async fn an_access_token_that_graph_does_not_take_refuses_and_tells_the_operator_what_to_do() {
    for (status, code) in [
        (403, "Authorization_RequestDenied"),
        (401, "InvalidAuthenticationToken"),
    ] {
        let (graph, trap) = (Graph::start(&["a"], 9), trap());
        graph.answer(
            FIRST,
            status,
            json!({"error": {"code": code, "message": "Insufficient privileges"}}),
        );
        let text = refusal(&scene(Some(&graph), &trap)).await;
        assert!(text.contains("\"User.Read\"") && text.contains("scopes"), "{text}");
        assert!(trap.asked().is_empty());
    }
}

#[tokio::test]
async fn an_issuer_without_a_graph_refuses() {
    let trap = trap();
    let text = refusal(&scene(None, &trap)).await;
    assert!(text.contains("more groups than"), "{text}");
    assert!(trap.asked().is_empty());
}

#[tokio::test]
async fn nobody_comes_in_with_a_part_of_their_groups() {
    let elsewhere = trap();
    let next = |link: Value| json!({"value": [{"id": "a"}], "@odata.nextLink": link});
    let endless = |graph: &Graph| next(graph.place.join(FIRST).unwrap().as_str().into());
    type Body<'a> = &'a dyn Fn(&Graph) -> Value;
    let answers: [(u16, Body<'_>); 12] = [
        (500, &|_| json!({})),
        (503, &|_| json!({})),
        (429, &|_| json!({"error": {"code": "TooManyRequests"}})),
        (400, &|_| json!({})),
        (404, &|_| json!({})),
        (200, &|_| json!({})),
        (200, &|_| json!({"value": "a"})),
        (200, &|_| json!({"value": [{"displayName": "nameless"}]})),
        (200, &|_| next(elsewhere.place.join(FIRST).unwrap().as_str().into())),
        (200, &|_| next(json!(7))),
        (200, &|_| next("/v1.0/relative".into())),
        (200, &endless),
    ];
    for (number, (status, body)) in answers.iter().enumerate() {
        let (graph, trap) = (Graph::start(&["a"], 9), trap());
        graph.answer(FIRST, *status, body(&graph));
        let scene = scene(Some(&graph), &trap);
        let answer = scene.sign_in().await;
        assert!(answer.is_err(), "{number}: {answer:?}");
    }
    assert!(elsewhere.asked().is_empty(), "the access token goes nowhere else");
    let many: Vec<String> = (0..2001).map(|number| number.to_string()).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let trap = trap();
    let text = refusal(&scene(Some(&Graph::start(&many, 999)), &trap)).await;
    assert!(text.contains("too many groups"), "{text}");
    let all = scene(Some(&Graph::start(&many[1..], 999)), &trap)
        .sign_in()
        .await
        .unwrap();
    assert_eq!(all.identity.groups.len(), 2000, "the control");
}

#[tokio::test]
async fn a_recheck_asks_again_with_the_new_access_token() {
    let (graph, trap) = (Graph::start(&["a", "b"], 9), trap());
    let scene = scene(Some(&graph), &trap);
    scene.idp.lie(|says| says.refresh_token = Some("refresh".to_owned()));
    let vouched = scene.sign_in().await.unwrap();
    graph.answer(FIRST, 200, json!({"value": [{"id": "b"}]}));
    let again = scene
        .oidc
        .recheck(&vouched.identity, vouched.state.as_deref())
        .await
        .unwrap();
    assert_eq!(again.identity.groups, ["b"]);
    assert_eq!(graph.asked().last().unwrap().1, "Bearer access-2");
    graph.answer(FIRST, 500, json!({}));
    let away = scene.oidc.recheck(&again.identity, again.state.as_deref()).await;
    assert!(matches!(away, Err(ProviderError::Unavailable(_))), "{away:?}");
}
