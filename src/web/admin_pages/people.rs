//! Sessions and tokens of everybody: to find, to end, and to make a token for somebody.

use std::time::Duration;

use actix_web::{HttpResponse, web};
use askama::Template;

use crate::sessions::Session;
use crate::tokens::Token;
use crate::web::account::{lifetimes, minute};
use crate::web::admin_api::{NewToken, Whose};
use crate::web::words::{Fill, Words};

use super::{Choice, Entered, Entry, SESSIONS, Site, TOKENS, choices, typed};

/// Rows of one page.
const MOST: usize = 200;

pub(super) async fn sessions(admin: Entered) -> HttpResponse {
    let query = admin.here.query();
    let whose = whose(&admin);
    let mut found = match admin.parts.sessions_of(&whose).await {
        Ok(found) => found,
        Err(error) => return admin.failed(&error),
    };
    found.sort_by_key(|session| std::cmp::Reverse(session.created));
    let is_cut = found.len() > MOST;
    let one = only_one(&whose, found.iter().map(|session| &*session.identity));
    found.truncate(MOST);
    let done = match (query.one("done"), query.one("count")) {
        (Some("session"), _) => Some(admin.say().session_ended.to_owned()),
        (Some("sessions"), Some(count)) if count.bytes().all(|byte| byte.is_ascii_digit()) => {
            Some(admin.say().sessions_ended.with("count", count).to_string())
        }
        _ => None,
    };
    let page = SessionsPage {
        site: admin.here.pages().site(),
        menu: admin.menu(SESSIONS),
        search: Search::new(&admin, SESSIONS, &whose),
        done,
        rows: found.iter().map(SessionRow::new).collect(),
        cut: is_cut.then(|| admin.say().only_first.with("count", MOST).to_string()),
        all_of: one,
        revoke: admin.path("/auth/admin/sessions/revoke"),
        revoke_all: admin.path("/auth/admin/sessions/revoke-all"),
        csrf_token: &admin.csrf_token,
    };
    admin.page(200, page)
}

pub(super) async fn end_session(admin: Entered, body: web::Bytes) -> HttpResponse {
    let fields = match admin.form(&body).await {
        Ok(fields) => fields,
        Err(refused) => return refused,
    };
    let id = fields.one("id").unwrap_or_default();
    match admin.parts.end_session(&admin.acting, id).await {
        Ok(_) => {
            let (user, provider) = (fields.one("user"), fields.one("provider"));
            let looked_for = [
                ("user", user.unwrap_or_default()),
                ("provider", provider.unwrap_or_default()),
                ("done", "session"),
            ];
            admin.back_to(SESSIONS, &looked_for)
        }
        Err(error) => admin.failed(&error),
    }
}

pub(super) async fn end_sessions_of(admin: Entered, body: web::Bytes) -> HttpResponse {
    let fields = match admin.form(&body).await {
        Ok(fields) => fields,
        Err(refused) => return refused,
    };
    let whose = Whose {
        user: typed(&fields, "user").map(str::to_owned),
        provider: typed(&fields, "provider").map(str::to_owned),
    };
    match admin.parts.end_sessions_of(&admin.acting, &whose).await {
        Ok(ended) => {
            let count = ended.len().to_string();
            admin.back_to(SESSIONS, &[("done", "sessions"), ("count", &count)])
        }
        Err(error) => admin.failed(&error),
    }
}

pub(super) async fn tokens(admin: Entered) -> HttpResponse {
    token_page(&admin, None).await
}

pub(super) async fn revoke_token(admin: Entered, body: web::Bytes) -> HttpResponse {
    let fields = match admin.form(&body).await {
        Ok(fields) => fields,
        Err(refused) => return refused,
    };
    let id = fields.one("id").unwrap_or_default();
    match admin.parts.revoke_token(&admin.acting, id).await {
        Ok(_) => {
            let (user, provider) = (fields.one("user"), fields.one("provider"));
            let looked_for = [
                ("user", user.unwrap_or_default()),
                ("provider", provider.unwrap_or_default()),
                ("done", "token"),
            ];
            admin.back_to(TOKENS, &looked_for)
        }
        Err(error) => admin.failed(&error),
    }
}

/// Shows the new token, once: the answer is not to be kept, and no page of it can be asked for again.
pub(super) async fn make_token(admin: Entered, body: web::Bytes) -> HttpResponse {
    let fields = match admin.form(&body).await {
        Ok(fields) => fields,
        Err(refused) => return refused,
    };
    let text = |name: &str| typed(&fields, name).unwrap_or_default().to_owned();
    let wanted = NewToken {
        user: text("user"),
        provider: text("provider"),
        name: text("name"),
        lifetime_seconds: text("lifetime").parse().unwrap_or_default(),
        read_only: fields.one("read_only").is_some(),
    };
    match admin.parts.make_token(&admin.acting, &wanted).await {
        Ok((secret, token)) => {
            let made = Made {
                title: admin
                    .say()
                    .made_for
                    .with("name", &token.name)
                    .with("user", token.identity.qualified_user())
                    .to_string(),
                text: secret.expose().to_owned(),
            };
            token_page(&admin, Some(made)).await
        }
        Err(error) => admin.failed(&error),
    }
}

async fn token_page(admin: &Entered, made: Option<Made>) -> HttpResponse {
    let whose = whose(admin);
    let mut found = match admin.parts.tokens_of(&whose).await {
        Ok(found) => found,
        Err(error) => return admin.failed(&error),
    };
    found.sort_by_key(|token| std::cmp::Reverse(token.created));
    let is_cut = found.len() > MOST;
    found.truncate(MOST);
    let longest: Duration = admin.parts.personal_max_lifetime;
    let page = TokensPage {
        site: admin.here.pages().site(),
        menu: admin.menu(TOKENS),
        search: Search::new(admin, TOKENS, &whose),
        done: (admin.here.query().one("done") == Some("token")).then_some(admin.say().token_revoked),
        made,
        rows: found.iter().map(|token| TokenRow::new(token, admin.say())).collect(),
        cut: is_cut.then(|| admin.say().only_first.with("count", MOST).to_string()),
        revoke: admin.path("/auth/admin/tokens/revoke"),
        make: admin.path(TOKENS),
        providers: choices(admin.providers(), None),
        lifetimes: lifetimes(longest, admin.say()),
        csrf_token: &admin.csrf_token,
    };
    admin.page(200, page)
}

fn whose(admin: &Entered) -> Whose {
    let query = admin.here.query();
    Whose {
        user: typed(&query, "user").map(str::to_owned),
        provider: typed(&query, "provider").map(str::to_owned),
    }
}

/// Provider and user, where a user was looked for and all that was found is of one identity.
fn only_one<'a>(
    whose: &Whose,
    mut found: impl Iterator<Item = &'a crate::domain::Identity>,
) -> Option<(String, String)> {
    whose.user.as_ref()?;
    let first = found.next()?;
    found
        .all(|other| (&other.provider, &other.user) == (&first.provider, &first.user))
        .then(|| (first.provider.clone(), first.user.clone()))
}

struct Made {
    title: String,
    text: String,
}

/// The form over a list.
struct Search {
    action: String,
    user: String,
    provider: String,
    providers: Vec<Choice>,
}

impl Search {
    fn new(admin: &Entered, list: &str, whose: &Whose) -> Self {
        Self {
            action: admin.path(list),
            user: whose.user.clone().unwrap_or_default(),
            provider: whose.provider.clone().unwrap_or_default(),
            providers: choices(admin.providers(), whose.provider.as_deref()),
        }
    }
}

struct SessionRow {
    id: String,
    user: String,
    provider: String,
    address: String,
    since: String,
    last_seen: String,
    ends: String,
}

impl SessionRow {
    fn new(session: &Session) -> Self {
        Self {
            id: session.id.clone(),
            user: session.identity.user.clone(),
            provider: session.identity.provider.clone(),
            address: session.address.to_string(),
            since: minute(session.created),
            last_seen: minute(session.last_seen),
            ends: minute(session.expires),
        }
    }
}

struct TokenRow {
    id: String,
    name: String,
    user: String,
    provider: String,
    created: String,
    last_used: String,
    ends: String,
    read_only: bool,
    experiments: String,
    /// Where a terminal signed in from; `None` for a personal token.
    terminal: Option<String>,
}

impl TokenRow {
    fn new(token: &Token, say: &Words) -> Self {
        Self {
            id: token.id.clone(),
            name: token.name.clone(),
            user: token.identity.user.clone(),
            provider: token.identity.provider.clone(),
            created: minute(token.created),
            last_used: token.last_used.map_or_else(|| say.never.to_owned(), minute),
            ends: minute(token.expires),
            read_only: token.scope.read_only,
            experiments: token.scope.experiments.as_deref().unwrap_or_default().join(", "),
            terminal: token.family.as_ref().map(|family| family.address.to_string()),
        }
    }
}

#[derive(Template)]
#[template(path = "admin_sessions.html")]
struct SessionsPage<'a> {
    site: Site<'a>,
    menu: Vec<Entry>,
    search: Search,
    done: Option<String>,
    rows: Vec<SessionRow>,
    cut: Option<String>,
    /// Provider and user of all rows.
    all_of: Option<(String, String)>,
    revoke: String,
    revoke_all: String,
    csrf_token: &'a str,
}

#[derive(Template)]
#[template(path = "admin_tokens.html")]
struct TokensPage<'a> {
    site: Site<'a>,
    menu: Vec<Entry>,
    search: Search,
    done: Option<&'a str>,
    made: Option<Made>,
    rows: Vec<TokenRow>,
    cut: Option<String>,
    revoke: String,
    make: String,
    providers: Vec<Choice>,
    lifetimes: Vec<(u64, String)>,
    csrf_token: &'a str,
}
