//! `[[upstream]]`: the MLflow servers behind the gateway.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use url::Url;

use crate::domain::Secret;

use super::node::Node;
use super::protected_alias::ProtectedAlias;
use super::reader::Section;
use super::{files, value};

#[derive(Clone, Debug)]
pub struct Upstream {
    pub name: String,
    /// Lower case, without ports; empty: any.
    pub hosts: Vec<String>,
    /// http or https; its path goes in front of every forwarded path.
    pub url: Url,
    /// `None`: ask the server.
    pub mlflow_version: Option<String>,
    pub ca_file: Option<PathBuf>,
    pub client_cert_file: Option<PathBuf>,
    pub client_key_file: Option<PathBuf>,
    pub basic_auth: Option<(String, Secret)>,
    pub connect_timeout: Duration,
    pub response_timeout: Duration,
    /// `attribution = "enforce"`.
    pub attribution: bool,
    /// `sharing = "on"`.
    pub sharing: bool,
    pub artifact_roots: Vec<String>,
    /// `assistant = "admin"`.
    pub assistant: bool,
    /// `[[protected_alias]]`, the same on all upstreams.
    pub protected_aliases: Arc<[ProtectedAlias]>,
}

/// The upstreams, and the names that were given, those of broken entries included.
pub(super) fn read_all(
    root: &Section<'_>,
    protected_aliases: &Arc<[ProtectedAlias]>,
) -> (Vec<Upstream>, BTreeSet<String>) {
    let sections = root.sections("upstream");
    if sections.is_empty() {
        root.problem(
            "upstream",
            "is missing: add an [[upstream]] with the url of an MLflow server",
        );
    }
    let several = sections.len() > 1;
    let (mut names, mut hosts) = (BTreeSet::new(), BTreeSet::new());
    let upstreams = sections
        .into_iter()
        .filter_map(|section| read(section, several, &mut names, &mut hosts))
        .map(|upstream| Upstream {
            protected_aliases: protected_aliases.clone(),
            ..upstream
        })
        .collect();
    (upstreams, names)
}

fn read(
    section: Section<'_>,
    several: bool,
    names: &mut BTreeSet<String>,
    taken: &mut BTreeSet<String>,
) -> Option<Upstream> {
    let name = section.required("name", value::id);
    if let Some(name) = &name
        && !names.insert(name.clone())
    {
        section.problem("name", format!("{name:?} is the name of another upstream too"));
    }
    let hosts = section.list("hosts", value::host).unwrap_or_default();
    if several && hosts.is_empty() {
        section.problem(
            "hosts",
            "is missing: with several upstreams, each is chosen by its hosts",
        );
    }
    for host in &hosts {
        if !taken.insert(host.clone()) {
            section.problem(
                "hosts",
                format!("{host:?} is given twice: a host can lead to one upstream only"),
            );
        }
    }
    let url = section.required("url", value::web_url);
    let mlflow_version = section.value("mlflow_version", version).flatten();
    let ca_file = section.checked_file("ca_file", files::check_roots);
    let client_cert_file = section.file("client_cert_file");
    let client_key_file = section.file("client_key_file");
    read_client_pair(&section, client_cert_file.as_ref(), client_key_file.as_ref());
    let basic_auth = read_basic_auth(&section);
    let connect_timeout = section
        .value("connect_timeout", value::duration)
        .unwrap_or(Duration::from_secs(5));
    let response_timeout = section
        .value("response_timeout", value::duration)
        .unwrap_or(Duration::from_secs(300));
    let attribution = section.choice("attribution", &[("enforce", true), ("off", false)]);
    let sharing = section.choice("sharing", &[("on", true), ("off", false)]);
    let artifact_roots = section.list("artifact_roots", artifact_root).unwrap_or_default();
    let assistant = section.choice("assistant", &[("off", false), ("admin", true)]);
    section.finish();
    Some(Upstream {
        name: name?,
        hosts,
        url: url?,
        mlflow_version,
        ca_file,
        client_cert_file,
        client_key_file,
        basic_auth,
        connect_timeout,
        response_timeout,
        attribution: attribution?,
        sharing: sharing?,
        artifact_roots,
        assistant: assistant?,
        protected_aliases: Arc::default(),
    })
}

/// `None` for `auto`.
fn version(node: &Node) -> Result<Option<String>, String> {
    let text = value::text(node)?;
    let parts: Vec<_> = text.split('.').collect();
    let is_version = (2..=3).contains(&parts.len())
        && parts
            .iter()
            .all(|part| !part.is_empty() && part.len() < 6 && part.bytes().all(|byte| byte.is_ascii_digit()));
    match text.as_str() {
        "auto" => Ok(None),
        _ if is_version => Ok(Some(text)),
        _ => Err(format!(r#"must be "auto" or a version such as "3.18.0", not {text:?}"#)),
    }
}

/// A URI or an absolute path, of which what it names must be a part, not a neighbour: `..` has no place in it.
fn artifact_root(node: &Node) -> Result<String, String> {
    let text = value::text(node)?;
    let is_absolute = text.starts_with('/') || Url::parse(&text).is_ok_and(|url| url.password().is_none());
    if !is_absolute || text.split('/').any(|part| part == "..") || text.contains(['?', '#', '%', '\\']) {
        return Err("must be an absolute path or a URI such as \"s3://bucket/team\", without \"..\", \"?\", \"#\", \"%\" or \"\\\"".into());
    }
    Ok(text)
}

fn read_client_pair(section: &Section<'_>, cert: Option<&PathBuf>, key: Option<&PathBuf>) {
    match (
        section.node("client_cert_file").is_some(),
        section.node("client_key_file").is_some(),
    ) {
        (true, false) => section.problem("client_key_file", "is missing: client_cert_file needs its key"),
        (false, true) => section.problem("client_cert_file", "is missing: client_key_file needs its certificate"),
        _ => {}
    }
    if let (Some(cert), Some(key)) = (cert, key)
        && let Err(text) = files::check_key_pair(cert, key)
    {
        section.problem("client_key_file", text);
    }
}

fn read_basic_auth(section: &Section<'_>) -> Option<(String, Secret)> {
    let user = section.value("basic_auth_user", value::text);
    let password = section.secret("basic_auth_password", "basic_auth_password_file");
    let gives_password =
        section.node("basic_auth_password").is_some() || section.node("basic_auth_password_file").is_some();
    match (&user, gives_password) {
        (Some(user), _) if user.contains(':') => section.problem("basic_auth_user", "must not hold a colon"),
        (Some(_), false) => section.problem(
            "basic_auth_password_file",
            "is missing: basic_auth_user needs its password",
        ),
        (None, true) => section.problem("basic_auth_user", "is missing: the password needs its user"),
        _ => {}
    }
    Some((user?, password?))
}
