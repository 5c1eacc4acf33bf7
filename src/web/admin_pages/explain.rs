//! `mlgate explain` as a page: would this request pass, and why.

use std::sync::Arc;

use actix_web::{HttpResponse, web};
use askama::Template;
use bytes::Bytes;

use crate::config::ProviderKind;
use crate::domain::{Access, Caller, Identity, Permission, Scope, Via};
use crate::pipeline::Typed;
use crate::policy::{Explained, Explanation};
use crate::web::front::Fields;
use crate::web::words::{Fill, Said, Words};

use super::{Choice, EXPLAIN, Entered, Entry, Fault, Next, Site, choices, typed};

const METHODS: [&str; 5] = ["GET", "POST", "PATCH", "PUT", "DELETE"];

pub(super) async fn show(admin: Entered) -> HttpResponse {
    let query = admin.here.query();
    explain_page(&admin, &query, None)
}

pub(super) async fn answer(admin: Entered, body: web::Bytes) -> HttpResponse {
    let fields = match admin.form(&body).await {
        Ok(fields) => fields,
        Err(refused) => return refused,
    };
    let field = |name: &str| typed(&fields, name).unwrap_or_default();
    let caller = caller(&admin, &fields);
    let mut request = Typed::new(field("method"), field("path"));
    let text = field("body");
    if !text.is_empty() {
        request.headers = vec![
            ("content-type".to_owned(), b"application/json".to_vec()),
            ("content-length".to_owned(), text.len().to_string().into_bytes()),
        ];
        request.body = Bytes::copy_from_slice(text.as_bytes());
    }
    let explained = match caller {
        Some(caller) => Box::pin(admin.gate.explain(field("upstream"), &caller, request)).await,
        None => None,
    };
    match explained {
        Some(Ok((action, told))) => explain_page(&admin, &fields, Some(Told::new(action, &told, admin.say()))),
        Some(Err(error)) => {
            tracing::warn!(%error, "a request cannot be explained");
            admin
                .here
                .trouble(502, admin.say().not_explained, Fault::Upstream, Some(Next::Admin))
                .into()
        }
        None => {
            let said = Said {
                text: admin.say().not_explained.to_owned(),
                detail: Some("there is no such provider, or no such MLflow server".to_owned()),
            };
            admin
                .here
                .trouble_told(400, &said, Fault::Request, Some(Next::Admin))
                .into()
        }
    }
}

/// Who would ask. Without groups, a local user has those of the users file.
fn caller(admin: &Entered, fields: &Fields) -> Option<Caller> {
    let config = &admin.here.front().config;
    let id = typed(fields, "provider")?;
    let provider = config.providers.iter().find(|provider| provider.id == id)?;
    let user = typed(fields, "user").unwrap_or_default();
    let mut groups: Vec<String> = typed(fields, "groups")
        .unwrap_or_default()
        .split(',')
        .map(|group| group.trim().to_owned())
        .filter(|group| !group.is_empty())
        .collect();
    if let (ProviderKind::Local(local), true) = (&provider.kind, groups.is_empty()) {
        let known = local.users.iter().find(|known| known.name == user);
        groups = known.map(|known| known.groups.clone()).unwrap_or_default();
    }
    Some(Caller {
        identity: Arc::new(Identity {
            provider: provider.id.clone(),
            subject: user.to_owned(),
            user: user.to_owned(),
            display_name: None,
            email: None,
            groups,
            authenticated_at: admin.parts.clock.now(),
        }),
        via: Via::Explain,
        credential: None,
        scope: Scope::default(),
        address: admin.here.visitor().address,
    })
}

fn explain_page(admin: &Entered, fields: &Fields, told: Option<Told>) -> HttpResponse {
    let config = &admin.here.front().config;
    let text = |name: &str| typed(fields, name).unwrap_or_default().to_owned();
    let providers = config.providers.iter().map(|provider| provider.id.clone());
    let upstreams = config.upstreams.iter().map(|upstream| upstream.name.clone());
    let page = ExplainPage {
        site: admin.here.pages().site(),
        menu: admin.menu(EXPLAIN),
        action: admin.path(EXPLAIN),
        csrf_token: &admin.csrf_token,
        user: text("user"),
        groups: text("groups"),
        path: text("path"),
        body: text("body"),
        providers: choices(providers, fields.one("provider")),
        upstreams: choices(upstreams, fields.one("upstream")),
        methods: choices(METHODS.map(str::to_owned), fields.one("method")),
        told,
    };
    admin.page(200, page)
}

struct Told {
    allowed: bool,
    /// In English, as the trail has it.
    reason: String,
    action: Option<&'static str>,
    roles: String,
    accesses: Vec<Needed>,
}

struct Needed {
    what: String,
    granted: bool,
    rules: Vec<LookedAt>,
}

struct LookedAt {
    role: String,
    permission: &'static str,
    pattern: String,
    hit: bool,
}

impl Told {
    fn new(action: Option<&'static str>, told: &Explanation, say: &Words) -> Self {
        Self {
            allowed: told.allowed,
            reason: told.reason.text.clone(),
            action,
            roles: told.roles.join(", "),
            accesses: told
                .accesses
                .iter()
                .map(|explained| Needed::new(explained, say))
                .collect(),
        }
    }
}

impl Needed {
    fn new(explained: &Explained, say: &Words) -> Self {
        let looked_at = explained.looked_at.iter().map(|rule| LookedAt {
            role: rule.role.clone(),
            permission: rule.permission.map_or("DENY", Permission::as_str),
            pattern: rule.pattern.clone(),
            hit: rule.hit,
        });
        Self {
            what: needed(&explained.access, say),
            granted: explained.granted,
            rules: looked_at.collect(),
        }
    }
}

/// An access in short, with its name: for whoever runs the gateway nothing is hidden.
fn needed(access: &Access, say: &Words) -> String {
    let (permission, resource) = match access {
        Access::Public => return say.any.to_owned(),
        Access::Member => return say.needs_role.to_owned(),
        Access::On { permission, resource } => (permission, resource),
        Access::AnyOf { permission, resources } => match resources.first() {
            Some(first) => (permission, first),
            None => return permission.to_string(),
        },
    };
    let name = resource.name().or(resource.id()).unwrap_or_default();
    format!("{permission} · {} {name}", say.one(resource.kind))
}

#[derive(Template)]
#[template(path = "admin_explain.html")]
struct ExplainPage<'a> {
    site: Site<'a>,
    menu: Vec<Entry>,
    action: String,
    csrf_token: &'a str,
    user: String,
    groups: String,
    path: String,
    body: String,
    providers: Vec<Choice>,
    upstreams: Vec<Choice>,
    methods: Vec<Choice>,
    told: Option<Told>,
}
