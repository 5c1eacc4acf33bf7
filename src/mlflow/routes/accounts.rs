//! Users and roles of MLflow's own, where `authorization = "mlflow"` leaves the policy to them (3.18 with its auth app).

use super::Base::{Three, Two};
use super::Need::Member;
use super::{Need, Reply, Row, Version, delete, get, patch, post};

const SINCE: Version = Version(3, 14);
/// MLflow decides.
const NEEDS: &[Need] = &[Member];

const fn own(row: Row) -> Row {
    row.reply(Reply::OwnAccounts).since(SINCE)
}

pub(super) const ROWS: &[Row] = &[
    own(get(Two, "users/list", "account.list", NEEDS)),
    own(get(Two, "users/get", "account.get_user", NEEDS)),
    own(post(Two, "users/create", "account.create", NEEDS)),
    own(patch(Two, "users/update-password", "account.update_password", NEEDS)),
    own(patch(Two, "users/update-admin", "account.update_admin", NEEDS)),
    own(delete(Two, "users/delete", "account.delete", NEEDS)),
    own(get(Three, "users/permissions/list", "account.list_permissions", NEEDS)),
    own(get(Three, "users/permissions/get", "account.get_permission", NEEDS)),
    own(post(Three, "users/permissions/grant", "account.grant", NEEDS)),
    own(post(Three, "users/permissions/revoke", "account.revoke", NEEDS)),
    own(post(Three, "roles/create", "role.create", NEEDS)),
    own(get(Three, "roles/get", "role.get", NEEDS)),
    own(get(Three, "roles/list", "role.list", NEEDS)),
    own(patch(Three, "roles/update", "role.update", NEEDS)),
    own(delete(Three, "roles/delete", "role.delete", NEEDS)),
    own(post(Three, "roles/assign", "role.assign", NEEDS)),
    own(delete(Three, "roles/unassign", "role.unassign", NEEDS)),
    own(get(Three, "roles/users/list", "role.list_users", NEEDS)),
    own(post(Three, "roles/permissions/add", "role.add_permission", NEEDS)),
    own(delete(
        Three,
        "roles/permissions/remove",
        "role.remove_permission",
        NEEDS,
    )),
    own(get(Three, "roles/permissions/list", "role.list_permissions", NEEDS)),
    own(patch(
        Three,
        "roles/permissions/update",
        "role.update_permission",
        NEEDS,
    )),
];
