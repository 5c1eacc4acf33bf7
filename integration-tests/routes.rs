//! The table against the real servers' own lists of routes: a new MLflow with a new route fails here, and is refused at run time.

use std::collections::BTreeSet;
use std::process::Command;

use mlgate::mlflow::routes::{Reply, Version, rows};

use crate::support::mlflow::{MIDDLE, NEWEST, OLDEST, python};
use crate::support::root;

/// Asks a version's own application what it answers: one `METHOD /path` a line, parameters as `{}`.
const LIST: &str = r#"
import re, sys
from mlflow.server import app
def shape(path):
    return re.sub(r"<(?:[^<>:]+:)?[^<>]+>|\{[^{}]+\}", "{}", path)
routes = set()
for rule in app.url_map.iter_rules():
    for method in rule.methods - {"HEAD", "OPTIONS"}:
        routes.add((method, shape(rule.rule)))
try:
    from mlflow.server.fastapi_app import app as outer
except ImportError:
    outer = None
def walk(routers, prefix=""):
    for route in routers:
        methods = getattr(route, "methods", None)
        included = getattr(route, "original_router", None)
        if methods:
            for method in methods - {"HEAD", "OPTIONS"}:
                yield method, shape(prefix + route.path)
        elif included is not None:
            yield from walk(included.routes, prefix + getattr(route.include_context, "prefix", ""))
        elif getattr(route, "routes", None):
            yield from walk(route.routes, prefix)
if outer is not None:
    routes |= set(walk(outer.routes))
for method, path in sorted(routes):
    print(method, path)
"#;

/// Of the web framework itself, not of MLflow: the gateway refuses them, as all that is not in the table.
const FRAMEWORK: [&str; 4] = [
    "GET /openapi.json",
    "GET /docs",
    "GET /docs/oauth2-redirect",
    "GET /redoc",
];

fn of_server(version: &str) -> BTreeSet<String> {
    let listed = Command::new(python(version))
        .args(["-c", LIST])
        .env("MLFLOW_DISABLE_TELEMETRY", "true")
        .env("_MLFLOW_SERVER_SERVE_ARTIFACTS", "true")
        .env("_MLFLOW_SERVER_FILE_STORE", "sqlite:///:memory:")
        .output()
        .unwrap();
    assert!(listed.status.success(), "{}", String::from_utf8_lossy(&listed.stderr));
    let text = String::from_utf8(listed.stdout).unwrap();
    text.lines()
        .map(str::to_owned)
        .filter(|line| !FRAMEWORK.contains(&line.as_str()))
        .collect()
}

/// A template with its parameters as `{}`: as the server's list spells it.
fn shape(template: &str) -> String {
    let mut out = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{') {
        out.push_str(before);
        out.push_str("{}");
        rest = after.split_once('}').map_or("", |(_, after)| after);
    }
    out + rest
}

fn of_table(version: Version) -> BTreeSet<String> {
    rows()
        .filter(|row| row.holds_in(version) && !matches!(row.reply, Reply::Account(_) | Reply::OwnAccounts))
        .flat_map(|row| {
            row.templates()
                .map(|template| format!("{} {}", row.method.as_str(), shape(&template)))
                .collect::<Vec<_>>()
        })
        .collect()
}

fn compare(name: &str, version: Version) {
    let (server, table) = (of_server(name), of_table(version));
    // An MCP server's name is one parameter there and two segments here.
    let table: BTreeSet<_> = table
        .into_iter()
        .map(|line| line.replace("mcp-servers/{}/{}", "mcp-servers/{}"))
        .collect();
    let missing: Vec<_> = server.difference(&table).collect();
    let extra: Vec<_> = table.difference(&server).collect();
    assert!(
        missing.is_empty(),
        "MLflow {name} has routes that the table lacks: {missing:#?}"
    );
    assert!(
        extra.is_empty(),
        "the table has routes that MLflow {name} lacks: {extra:#?}"
    );
    assert!(server.len() > 100, "only {} routes were compared", server.len());
}

#[test]
fn the_table_is_the_newest_servers_list() {
    compare(NEWEST, Version(3, 18));
}

#[test]
fn the_table_is_the_middle_servers_list() {
    compare(MIDDLE, Version(3, 5));
}

#[test]
fn the_table_is_the_oldest_servers_list() {
    compare(OLDEST, Version(2, 22));
}

#[test]
fn an_action_is_a_noun_and_a_verb() {
    for row in rows() {
        let (noun, verb) = row.action.split_once('.').unwrap();
        let plain =
            |word: &str| !word.is_empty() && word.chars().all(|letter| letter.is_ascii_lowercase() || letter == '_');
        assert!(plain(noun) && plain(verb), "{}", row.action);
        assert!(
            !row.needs.is_empty(),
            "{} {} needs nothing",
            row.method.as_str(),
            row.path
        );
    }
}

#[test]
fn the_page_of_routes_is_the_table() {
    let mut page = String::from(
        "# MLflow's routes\n\nWhat each needs, and its action in the trail. A route or method that is not here is refused.\n\n\
         | versions | method | path | action | needs |\n| --- | --- | --- | --- | --- |\n",
    );
    for row in rows() {
        let until = if row.until.0 == u16::MAX {
            String::new()
        } else {
            format!(" to before {}.{}", row.until.0, row.until.1)
        };
        let needs = row
            .needs
            .iter()
            .map(|need| format!("`{need:?}`"))
            .collect::<Vec<_>>()
            .join(", ");
        let reply = match row.reply {
            Reply::Forward => "",
            Reply::List(_) => "; cut down to what may be seen",
            Reply::Account(_) => "; answered by the gateway",
            Reply::ServerInfo => "; `tracking_auth` set",
            Reply::OwnAccounts => "; refused unless `authorization = \"mlflow\"`",
            Reply::Refused => "; refused",
            Reply::Assistant => "; refused unless `assistant = \"admin\"`",
        };
        let paths = row
            .templates()
            .map(|template| format!("`{template}`"))
            .collect::<Vec<_>>()
            .join(" ");
        page += &format!(
            "| {}.{}+{until} | {} | {paths} | `{}` | {needs}{reply} |\n",
            row.since.0,
            row.since.1,
            row.method.as_str(),
            row.action
        );
    }
    let file = root().join("docs/routes.md");
    let kept = std::fs::read_to_string(&file).unwrap_or_default();
    if kept != page {
        let fresh = root().join("target/routes.md");
        std::fs::write(&fresh, page).unwrap();
        panic!("docs/routes.md is not the table any more; target/routes.md is");
    }
}
