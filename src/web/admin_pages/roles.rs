//! The roles as configured, and who holds them.

use actix_web::HttpResponse;
use askama::Template;

use crate::web::account::{RightLine, lines_of};
use crate::web::words::Fill;

use super::{Entered, Entry, ROLES, Site};

const BUILT_IN: [&str; 4] = ["viewer", "editor", "manager", "admin"];

pub(super) async fn show(admin: Entered) -> HttpResponse {
    let config = &admin.here.front().config;
    let roles = config.roles.iter().map(|role| Role {
        name: role.name.clone(),
        is_built_in: BUILT_IN.contains(&role.name.as_str()),
        groups: role.groups.join(", "),
        users: role.users.join(", "),
        upstreams: role.upstreams.join(", "),
        lines: lines_of(&role.name, std::slice::from_ref(role), admin.say()),
    });
    let page = RolesPage {
        site: admin.here.pages().site(),
        menu: admin.menu(ROLES),
        roles: roles.collect(),
    };
    admin.page(200, page)
}

struct Role {
    name: String,
    is_built_in: bool,
    groups: String,
    users: String,
    /// Empty: all.
    upstreams: String,
    lines: Vec<RightLine>,
}

#[derive(Template)]
#[template(path = "admin_roles.html")]
struct RolesPage<'a> {
    site: Site<'a>,
    menu: Vec<Entry>,
    roles: Vec<Role>,
}
