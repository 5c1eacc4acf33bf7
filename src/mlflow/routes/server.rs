//! The server itself: its page, health, accounts, jobs, webhooks, workspaces, GraphQL, the assistant.

use crate::domain::Permission::{Manage, Read};

use super::At::Path as P;
use super::Base::{AjaxThree, Root, Three, Two};
use super::Need::{GraphQl, Member, Public, Server, Workspace};
use super::{Body, List, Question, Reply, Row, Version, delete, get, patch, post, put};

pub(super) const ROWS: &[Row] = &[
    get(Root, "", "page.view", &[Member]),
    get(Root, "static-files/{path...}", "page.view_asset", &[Member]),
    // The same files by Flask's own name for them.
    get(Root, "build/{path...}", "page.view_asset", &[Member]),
    get(Root, "health", "server.health", &[Public]),
    get(Root, "version", "server.version", &[Public]),
    get(Three, "server-info", "server.info", &[Public])
        .reply(Reply::ServerInfo)
        .since(Version(3, 10)),
    get(Root, "server-info", "server.info", &[Public])
        .reply(Reply::ServerInfo)
        .since(Version(3, 9))
        .until(Version(3, 10)),
    get(AjaxThree, "ui-telemetry", "page.get_telemetry", &[Member]).since(Version(3, 8)),
    post(AjaxThree, "ui-telemetry", "page.send_telemetry", &[Member]).since(Version(3, 8)),
    post(Root, "graphql", "graphql.query", &[GraphQl]),
    get(Root, "graphql", "graphql.query", &[Member]).reply(Reply::Refused),
    get(Two, "users/current", "account.get", &[Member]).reply(Reply::Account(Question::CurrentUser)),
    get(Three, "users/current/permissions", "account.get_permissions", &[Member])
        .reply(Reply::Account(Question::CurrentPermissions)),
    get(Three, "users/roles/list", "account.list_roles", &[Member]).reply(Reply::Account(Question::CurrentRoles)),
    // Webhooks make the server call out.
    get(Two, "webhooks", "webhook.list", &[Server(Read)]).since(Version(3, 3)),
    post(Two, "webhooks", "webhook.create", &[Server(Manage)]).since(Version(3, 3)),
    get(Two, "webhooks/{webhook_id}", "webhook.get", &[Server(Read)]).since(Version(3, 3)),
    patch(Two, "webhooks/{webhook_id}", "webhook.update", &[Server(Manage)]).since(Version(3, 3)),
    delete(Two, "webhooks/{webhook_id}", "webhook.delete", &[Server(Manage)]).since(Version(3, 3)),
    post(Two, "webhooks/{webhook_id}/test", "webhook.test", &[Server(Manage)])
        .with(Body::MaybeJson)
        .since(Version(3, 3)),
    // Jobs run code on the server's host.
    post(Root, "ajax-api/3.0/jobs/", "job.create", &[Server(Manage)]).since(Version(3, 5)),
    post(Root, "ajax-api/3.0/jobs/search", "job.search", &[Server(Read)]).since(Version(3, 5)),
    get(Root, "ajax-api/3.0/jobs/{job_id}", "job.get", &[Server(Read)]).since(Version(3, 5)),
    patch(
        Root,
        "ajax-api/3.0/jobs/cancel/{job_id}",
        "job.cancel",
        &[Server(Manage)],
    )
    .with(Body::MaybeJson)
    .since(Version(3, 9)),
    get(AjaxThree, "jobs/{job_id}", "job.get", &[Server(Read)]).since(Version(3, 11)),
    patch(AjaxThree, "jobs/cancel/{job_id}", "job.cancel", &[Server(Manage)])
        .with(Body::MaybeJson)
        .since(Version(3, 11)),
    post(AjaxThree, "demo/generate", "demo.generate", &[Server(Manage)])
        .with(Body::MaybeJson)
        .since(Version(3, 10)),
    post(AjaxThree, "demo/delete", "demo.delete", &[Server(Manage)])
        .with(Body::MaybeJson)
        .since(Version(3, 10)),
    get(Three, "workspaces", "workspace.list", &[Member])
        .list(List::Workspaces)
        .since(Version(3, 10)),
    post(Three, "workspaces", "workspace.create", &[Server(Manage)]).since(Version(3, 10)),
    get(
        Three,
        "workspaces/{workspace_name}",
        "workspace.get",
        &[Workspace(Read, P("workspace_name"))],
    )
    .since(Version(3, 10)),
    patch(
        Three,
        "workspaces/{workspace_name}",
        "workspace.update",
        &[Server(Manage)],
    )
    .since(Version(3, 10)),
    delete(
        Three,
        "workspaces/{workspace_name}",
        "workspace.delete",
        &[Server(Manage)],
    )
    .since(Version(3, 10)),
    // A route with a slip in its path, that no handler stands behind.
    post(
        Root,
        "api/2.0mlflow/experiments/search-datasets",
        "experiment.search_datasets",
        &[Member],
    )
    .reply(Reply::Refused),
    post(
        Root,
        "ajax-api/2.0mlflow/experiments/search-datasets",
        "experiment.search_datasets",
        &[Member],
    )
    .reply(Reply::Refused),
    // The assistant runs code on the server's host, for whom it takes for the machine's own user.
    get(AjaxThree, "assistant/config", "assistant.get_config", &[Server(Manage)])
        .reply(Reply::Assistant)
        .since(Version(3, 9)),
    put(AjaxThree, "assistant/config", "assistant.set_config", &[Server(Manage)])
        .reply(Reply::Assistant)
        .since(Version(3, 9)),
    post(
        AjaxThree,
        "assistant/message",
        "assistant.send_message",
        &[Server(Manage)],
    )
    .reply(Reply::Assistant)
    .since(Version(3, 9)),
    get(
        AjaxThree,
        "assistant/providers",
        "assistant.list_providers",
        &[Server(Manage)],
    )
    .reply(Reply::Assistant)
    .since(Version(3, 15)),
    get(
        AjaxThree,
        "assistant/providers/{provider}/health",
        "assistant.check_provider",
        &[Server(Manage)],
    )
    .reply(Reply::Assistant)
    .since(Version(3, 9)),
    get(
        AjaxThree,
        "assistant/providers/{provider}/models",
        "assistant.list_models",
        &[Server(Manage)],
    )
    .reply(Reply::Assistant)
    .since(Version(3, 13)),
    patch(
        AjaxThree,
        "assistant/sessions/{session_id}",
        "assistant.update_session",
        &[Server(Manage)],
    )
    .reply(Reply::Assistant)
    .since(Version(3, 9)),
    post(
        AjaxThree,
        "assistant/sessions/{session_id}/permission",
        "assistant.permit",
        &[Server(Manage)],
    )
    .reply(Reply::Assistant)
    .since(Version(3, 15)),
    get(
        AjaxThree,
        "assistant/sessions/{session_id}/stream",
        "assistant.stream",
        &[Server(Manage)],
    )
    .reply(Reply::Assistant)
    .since(Version(3, 9)),
    post(
        AjaxThree,
        "assistant/sessions/{session_id}/tool-result",
        "assistant.send_tool_result",
        &[Server(Manage)],
    )
    .reply(Reply::Assistant)
    .since(Version(3, 16)),
    post(
        AjaxThree,
        "assistant/skills/install",
        "assistant.install_skill",
        &[Server(Manage)],
    )
    .reply(Reply::Assistant)
    .since(Version(3, 9)),
];
