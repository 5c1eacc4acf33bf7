//! `/auth/share`: with whom an experiment is shared, and to change that; a page for people, JSON for programs.

use actix_web::dev::Payload;
use actix_web::{HttpRequest, HttpResponse, web};
use arc_swap::ArcSwap;
use askama::Template;
use serde::Deserialize;
use serde_json::json;

use crate::domain::{Permission, Share};
use crate::mlflow::{Shared, Sharing};
use crate::pipeline::{Gate, Halted, Incoming};
use crate::sessions::Session;

use super::account::{sign_in_first, signed_form};
use super::csrf::Binding;
use super::error::{self, Asking};
use super::front::{FORM_LIMIT, Here};
use super::guard;
use super::pages::{Fault, Next, Page, Site};
use super::words::{Fill, Words};

const PATH: &str = "/auth/share";
const PERMISSIONS: [Permission; 4] = [Permission::Read, Permission::Use, Permission::Edit, Permission::Manage];
/// Takes a share back.
const NONE: &str = "NONE";

pub fn configure(config: &mut web::ServiceConfig) {
    config.service(
        web::resource(PATH)
            .app_data(web::PayloadConfig::new(FORM_LIMIT))
            .route(web::get().to(show))
            .route(web::head().to(show))
            .route(web::post().to(change)),
    );
}

/// What a program sends.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    experiment: String,
    group: String,
    permission: String,
}

async fn show(here: Here, request: HttpRequest, gate: web::Data<ArcSwap<Gate>>) -> HttpResponse {
    let query = here.query();
    let Some(experiment) = query.one("experiment").filter(|id| !id.is_empty()) else {
        return told_wrong(&here, |say| say.which_experiment);
    };
    let asked = Sharing {
        experiment: experiment.to_owned(),
        workspace: None,
        change: None,
    };
    if here.authorization().is_some() {
        return match ask(&request, &gate, asked).await {
            Ok(shared) => in_json(&shared),
            Err(halted) => answer(&here, &request, &gate, *halted).await,
        };
    }
    let session = match here.session().await {
        Ok(Some(session)) => session,
        Ok(None) => return sign_in_first(&here),
        Err(why) => return here.not_signed_in(&why, "").into(),
    };
    match ask(&request, &gate, asked).await {
        Ok(shared) => page(&here, &session, &shared).into(),
        Err(halted) => answer(&here, &request, &gate, *halted).await,
    }
}

async fn change(here: Here, request: HttpRequest, gate: web::Data<ArcSwap<Gate>>, body: web::Bytes) -> HttpResponse {
    if here.authorization().is_some() {
        let Ok(wanted) = serde_json::from_slice::<Wanted>(&body) else {
            let text = "The body must be JSON with experiment, group and permission.";
            return error::malformed(text, here.visitor().request_id.unwrap_or_default());
        };
        let Some(asked) = wanted.asked() else {
            return told_wrong(&here, |say| say.wrong_permission);
        };
        return match ask(&request, &gate, asked).await {
            Ok(shared) => in_json(&shared),
            Err(halted) => answer(&here, &request, &gate, *halted).await,
        };
    }
    let fields = match signed_form(&here, &body).await {
        Ok((_, fields)) => fields,
        Err(refused) => return refused,
    };
    let field = |name: &str| fields.one(name).unwrap_or_default().to_owned();
    let wanted = Wanted {
        experiment: field("experiment"),
        group: field("group"),
        permission: field("permission"),
    };
    let Some(asked) = wanted.asked() else {
        return told_wrong(&here, |say| say.wrong_permission);
    };
    match ask(&request, &gate, asked).await {
        Ok(shared) => here.see_other(&here.pages().path(&format!("{PATH}?experiment={}&done=yes", shared.id))),
        Err(halted) => answer(&here, &request, &gate, *halted).await,
    }
}

impl Wanted {
    fn asked(self) -> Option<Sharing> {
        let known = PERMISSIONS
            .into_iter()
            .find(|permission| permission.as_str() == self.permission);
        let permission = match known {
            Some(permission) => Some(permission),
            None if self.permission == NONE => None,
            None => return None,
        };
        Some(Sharing {
            experiment: self.experiment,
            workspace: None,
            change: Some((self.group, permission)),
        })
    }
}

async fn ask(request: &HttpRequest, gate: &web::Data<ArcSwap<Gate>>, asked: Sharing) -> Result<Shared, Box<Halted>> {
    let gate = gate.load_full();
    let seen = guard::seen(request).unwrap_or_else(|| gate.see(request));
    let incoming = Incoming::new(request.clone(), Payload::None, gate.config(), seen);
    Box::pin(gate.share(incoming, asked)).await.map_err(Box::new)
}

async fn answer(here: &Here, request: &HttpRequest, gate: &web::Data<ArcSwap<Gate>>, halted: Halted) -> HttpResponse {
    let gate = gate.load_full();
    let id = here.visitor().request_id.unwrap_or_default();
    error::answer(&Asking::of(request), &gate, &here.front().pages, id, halted).await
}

fn told_wrong(here: &Here, text: fn(&Words) -> &'static str) -> HttpResponse {
    if here.authorization().is_none() {
        return here
            .trouble(400, text(here.say()), Fault::Request, Some(Next::Start))
            .into();
    }
    error::malformed(text(Words::english()), here.visitor().request_id.unwrap_or_default())
}

fn in_json(shared: &Shared) -> HttpResponse {
    HttpResponse::Ok()
        .insert_header(("cache-control", "no-store"))
        .json(json!({
            "experiment_id": shared.id,
            "name": shared.name,
            "owner": shared.owner,
            "shares": shared.shares,
        }))
}

fn page(here: &Here, session: &Session, shared: &Shared) -> Page {
    let pages = here.pages();
    let page = SharePage {
        site: pages.site(),
        name: &shared.name,
        id: &shared.id,
        owner: shared.owner.as_deref(),
        shares: &shared.shares,
        groups: session.identity.qualified_groups().collect(),
        permissions: PERMISSIONS.map(Permission::as_str),
        done: here.query().one("done").is_some(),
        csrf_token: pages.csrf().token(Binding::Session(&session.id)),
        action: pages.path(PATH),
        home: pages.home(),
    };
    pages.page(200, &pages.signed_in_forms(), page)
}

#[derive(Template)]
#[template(path = "share.html")]
struct SharePage<'a> {
    site: Site<'a>,
    name: &'a str,
    id: &'a str,
    owner: Option<&'a str>,
    shares: &'a [Share],
    groups: Vec<String>,
    permissions: [&'static str; 4],
    done: bool,
    csrf_token: String,
    action: String,
    home: &'a str,
}
