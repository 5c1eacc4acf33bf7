//! `/auth/login`: choose a provider, go to it, or type a password.

use actix_web::http::StatusCode;
use actix_web::http::header::HeaderMap;
use actix_web::{HttpResponse, web};

use crate::domain::Secret;
use crate::login::{Begun, Browser, NotSignedIn};
use crate::providers::{Onward, Way};

use super::csrf::{Binding, Provenance};
use super::front::{FORM_LIMIT, Here, form};
use super::pages::{Fault, LoginForm, Next};
use super::words::Fill;

pub fn configure(config: &mut web::ServiceConfig) {
    config
        .service(
            web::resource("/auth/login")
                .route(web::get().to(choose))
                .route(web::head().to(choose))
                .default_service(web::to(only_get)),
        )
        .service(
            web::resource("/auth/login/{provider}")
                .app_data(web::PayloadConfig::new(FORM_LIMIT))
                .route(web::get().to(begin))
                .route(web::post().to(password))
                .default_service(web::to(only_get)),
        );
}

async fn choose(here: Here) -> HttpResponse {
    let return_to = here.return_to();
    let name = name_in(&here);
    let meant = || {
        let query = here.query();
        let hint = query.one("domain_hint").or(name.as_deref())?;
        here.login().meant_by(hint)
    };
    // A provider that is named is the only one.
    let query = here.query();
    let named = query.one("provider").and_then(|id| here.login().provider(id));
    let only = match here.login().choices() {
        [] => {
            return here.trouble(503, here.say().no_way_in, Fault::Gateway, None).into();
        }
        [only] => Some(only),
        _ => named.or_else(meant),
    };
    let Some(only) = only else {
        let choices: Vec<_> = here
            .login()
            .choices()
            .iter()
            .map(|choice| (choice.id.clone(), choice.label.clone()))
            .collect();
        return here.pages().choose(&choices, return_to.as_str()).into();
    };
    let href = here
        .pages()
        .path_of_provider(&only.id, return_to.as_str(), name.as_deref());
    // A redirect would take the fragment along to the provider and lose it there; a page can keep it.
    if matches!(only.way, Way::Redirect(_)) && runs_scripts(here.headers()) {
        return here.pages().onward(&only.label, &href).into();
    }
    here.redirect(StatusCode::FOUND, &href)
}

/// Who somebody says to be before they are asked (`login_hint`): one line of text. It is passed on, and proves nothing.
fn name_in(here: &Here) -> Option<String> {
    let query = here.query();
    let name = query.one("login_hint")?;
    let is_text = !name.is_empty() && name.len() <= LONGEST_NAME && !name.chars().any(char::is_control);
    is_text.then(|| name.to_owned())
}

/// Whether this is a browser that opens a page, rather than a program that follows redirects: only the former sends both.
fn runs_scripts(headers: &HeaderMap) -> bool {
    let says = |name: &str, value: &str| headers.get(name).is_some_and(|said| said == value);
    says("sec-fetch-dest", "document") && says("upgrade-insecure-requests", "1")
}

async fn begin(here: Here, provider: web::Path<String>) -> HttpResponse {
    let return_to = here.return_to();
    let name = name_in(&here);
    let begun = here
        .login()
        .begin(&provider, name.as_deref(), return_to.clone(), here.visitor());
    match begun.await {
        Ok(Begun::Form) => {
            let name = name.as_deref().unwrap_or_default();
            show_form(&here, &provider, return_to.as_str(), name, None)
        }
        Ok(Begun::Away { onward, browser }) => {
            let mut response = match onward {
                Onward::Redirect(url) => here.redirect(StatusCode::FOUND, &url),
                Onward::Form { url, fields } => {
                    let say = here.say();
                    let text = say
                        .one_moment_asks
                        .with("provider", label(&here, &provider))
                        .to_string();
                    here.pages().posting(say.signing_in, &text, &url, &fields).into()
                }
            };
            bind(&here, &mut response, &browser);
            response
        }
        Err(why) => here.not_signed_in(&why, label(&here, &provider)).into(),
    }
}

async fn password(here: Here, provider: web::Path<String>, body: web::Bytes) -> HttpResponse {
    let fields = form(here.headers(), &body);
    let field = |name: &str| fields.as_ref().and_then(|fields| fields.one(name)).unwrap_or_default();
    if here.provenance() == Provenance::Foreign {
        return here
            .trouble(403, here.say().from_another_site, Fault::Request, AGAIN)
            .into();
    }
    let is_form = |way: &Way| matches!(way, Way::Password(_));
    match here.login().provider(&provider) {
        Some(known) if is_form(&known.way) => {}
        Some(_) => return only_get(here).await,
        None => return here.not_signed_in(&NotSignedIn::UnknownProvider, "").into(),
    }
    let return_to = here.login().return_to(field("rd"));
    let pages = here.pages();
    let csrf = pages.csrf();
    let ours = here
        .browser()
        .is_some_and(|it| csrf.accepts(Binding::Login(it.as_str()), field("csrf_token")));
    if !ours {
        let problem = here.say().login_form_expired;
        return show_form(&here, &provider, return_to.as_str(), "", Some((403, problem)));
    }
    let (user, secret) = (field("username"), Secret::new(field("password")));
    match here
        .login()
        .password(&provider, user, &secret, return_to.clone(), here.visitor())
        .await
    {
        Ok(signed_in) => {
            let mut response = here.see_other(signed_in.return_to.as_str());
            set_cookie(&mut response, &here.front().cookies.set_session(&signed_in.cookie));
            response
        }
        Err(NotSignedIn::BadPassword) => {
            let problem = here.say().wrong_password;
            show_form(&here, &provider, return_to.as_str(), user, Some((401, problem)))
        }
        Err(why) => here.not_signed_in(&why, label(&here, &provider)).into(),
    }
}

/// As long as the form takes. Bytes.
const LONGEST_NAME: usize = 256;
const AGAIN: Option<Next<'static>> = Some(Next::StartAgain);

fn show_form(here: &Here, id: &str, rd: &str, username: &str, problem: Option<(u16, &str)>) -> HttpResponse {
    let browser = here.browser().cloned().unwrap_or_else(|| here.login().new_browser());
    let page = here.pages().login(&LoginForm {
        status: problem.map_or(200, |(status, _)| status),
        provider: id,
        label: label(here, id),
        rd,
        username,
        problem: problem.map(|(_, text)| text),
        csrf_token: &here.pages().csrf().token(Binding::Login(browser.as_str())),
        others: here.login().choices().len() > 1,
        request_id: problem.and(here.visitor().request_id),
    });
    let mut response = page.into();
    bind(here, &mut response, &browser);
    response
}

pub(super) fn label<'a>(here: &'a Here, provider: &str) -> &'a str {
    here.login()
        .provider(provider)
        .map_or(here.say().the_sign_in_service, |provider| &provider.label)
}

/// Binds what was begun to this browser, and keeps the one cookie for it fresh.
fn bind(here: &Here, response: &mut HttpResponse, browser: &Browser) {
    set_cookie(response, &here.front().cookies.set_login(browser.as_str()));
}

/// Adds a cookie that `Cookies` built.
pub(super) fn set_cookie(response: &mut HttpResponse, cookie: &str) {
    // Ours are plain ASCII; were one not, no cookie is the safe answer.
    if let Ok(value) = cookie.parse() {
        response
            .headers_mut()
            .append(actix_web::http::header::SET_COOKIE, value);
    }
}

async fn only_get(here: Here) -> HttpResponse {
    here.trouble(405, here.say().wrong_method, Fault::Request, AGAIN)
        .with_header("allow", "GET, HEAD")
        .into()
}
