//! MLflow's AI gateway: its secrets, endpoints and model definitions, and the calls to models.

use crate::domain::Kind::{GatewayEndpoint, GatewayModelDefinition, GatewaySecret};
use crate::domain::Permission::{Edit, Manage, Read, Use};

use super::At::{Body as B, BodyOrQuery as BQ, Path as P, Query as Q};
use super::Base::{AjaxThree, AjaxTwo, Root, Three};
use super::Need::{Every, Gateway, MaybeExperiment, MaybeGateway, MaybeNamed, Member, Named, Relay, Server};
use super::{At, Body, List, Need, Row, Version, delete, get, patch, post};

const fn endpoint(permission: crate::domain::Permission, at: At) -> Need {
    Gateway(GatewayEndpoint, permission, at)
}

const fn call(at: At) -> Need {
    Named(GatewayEndpoint, Use, at)
}

/// What MLflow's relay is asked by its own pages: which endpoints there are.
pub const RELAYED_LIST: &str = "api/2.0/endpoints/";

const ENDPOINT: At = B("endpoint_id");
const MODEL: At = B("model");

pub(super) const ROWS: &[Row] = &[
    post(
        Three,
        "gateway/secrets/create",
        "gateway_secret.create",
        &[Named(GatewaySecret, Edit, B("secret_name"))],
    )
    .since(Version(3, 8)),
    get(
        Three,
        "gateway/secrets/get",
        "gateway_secret.get",
        &[Gateway(GatewaySecret, Read, Q("secret_id"))],
    )
    .since(Version(3, 8)),
    get(Three, "gateway/secrets/list", "gateway_secret.list", &[Member])
        .list(List::GatewaySecrets)
        .since(Version(3, 8)),
    post(
        Three,
        "gateway/secrets/update",
        "gateway_secret.update",
        &[
            Gateway(GatewaySecret, Edit, B("secret_id")),
            MaybeNamed(GatewaySecret, Edit, B("secret_name")),
        ],
    )
    .since(Version(3, 8)),
    delete(
        Three,
        "gateway/secrets/delete",
        "gateway_secret.delete",
        &[Gateway(GatewaySecret, Manage, BQ("secret_id"))],
    )
    .since(Version(3, 8)),
    get(
        AjaxThree,
        "gateway/secrets/config",
        "gateway_secret.get_config",
        &[Every(GatewaySecret, Read)],
    )
    .since(Version(3, 8)),
    post(
        Three,
        "gateway/model-definitions/create",
        "gateway_model_definition.create",
        &[
            Named(GatewayModelDefinition, Edit, B("name")),
            MaybeGateway(GatewaySecret, Use, B("secret_id")),
        ],
    )
    .since(Version(3, 8)),
    get(
        Three,
        "gateway/model-definitions/get",
        "gateway_model_definition.get",
        &[Gateway(GatewayModelDefinition, Read, Q("model_definition_id"))],
    )
    .since(Version(3, 8)),
    get(
        Three,
        "gateway/model-definitions/list",
        "gateway_model_definition.list",
        &[Member],
    )
    .list(List::GatewayModelDefinitions)
    .since(Version(3, 8)),
    post(
        Three,
        "gateway/model-definitions/update",
        "gateway_model_definition.update",
        &[
            Gateway(GatewayModelDefinition, Edit, B("model_definition_id")),
            MaybeNamed(GatewayModelDefinition, Edit, B("name")),
            MaybeGateway(GatewaySecret, Use, B("secret_id")),
        ],
    )
    .since(Version(3, 8)),
    delete(
        Three,
        "gateway/model-definitions/delete",
        "gateway_model_definition.delete",
        &[Gateway(GatewayModelDefinition, Manage, BQ("model_definition_id"))],
    )
    .since(Version(3, 8)),
    post(
        Three,
        "gateway/endpoints/create",
        "gateway_endpoint.create",
        &[
            Named(GatewayEndpoint, Edit, B("name")),
            MaybeGateway(GatewayModelDefinition, Use, B("model_configs[].model_definition_id")),
            MaybeExperiment(Edit, B("experiment_id")),
        ],
    )
    .since(Version(3, 8)),
    get(
        Three,
        "gateway/endpoints/get",
        "gateway_endpoint.get",
        &[
            MaybeGateway(GatewayEndpoint, Read, Q("endpoint_id")),
            MaybeNamed(GatewayEndpoint, Read, Q("name")),
        ],
    )
    .since(Version(3, 8)),
    get(Three, "gateway/endpoints/list", "gateway_endpoint.list", &[Member])
        .list(List::GatewayEndpoints)
        .since(Version(3, 8)),
    post(
        Three,
        "gateway/endpoints/update",
        "gateway_endpoint.update",
        &[
            endpoint(Edit, ENDPOINT),
            MaybeNamed(GatewayEndpoint, Edit, B("name")),
            MaybeGateway(GatewayModelDefinition, Use, B("model_configs[].model_definition_id")),
            MaybeExperiment(Edit, B("experiment_id")),
        ],
    )
    .since(Version(3, 8)),
    delete(
        Three,
        "gateway/endpoints/delete",
        "gateway_endpoint.delete",
        &[endpoint(Manage, BQ("endpoint_id"))],
    )
    .since(Version(3, 8)),
    post(
        Three,
        "gateway/endpoints/set-tag",
        "gateway_endpoint.set_tag",
        &[endpoint(Edit, ENDPOINT)],
    )
    .since(Version(3, 8)),
    delete(
        Three,
        "gateway/endpoints/delete-tag",
        "gateway_endpoint.delete_tag",
        &[endpoint(Edit, BQ("endpoint_id"))],
    )
    .since(Version(3, 8)),
    post(
        Three,
        "gateway/endpoints/bindings/create",
        "gateway_endpoint.bind",
        &[endpoint(Edit, ENDPOINT)],
    )
    .since(Version(3, 8)),
    delete(
        Three,
        "gateway/endpoints/bindings/delete",
        "gateway_endpoint.unbind",
        &[endpoint(Edit, BQ("endpoint_id"))],
    )
    .since(Version(3, 8)),
    get(
        Three,
        "gateway/endpoints/bindings/list",
        "gateway_endpoint.list_bindings",
        &[Member, MaybeGateway(GatewayEndpoint, Read, Q("endpoint_id"))],
    )
    .list(List::GatewayBindings)
    .since(Version(3, 8)),
    post(
        Three,
        "gateway/endpoints/models/attach",
        "gateway_endpoint.attach_model",
        &[
            endpoint(Edit, ENDPOINT),
            MaybeGateway(GatewayModelDefinition, Use, B("model_config.model_definition_id")),
        ],
    )
    .since(Version(3, 8)),
    post(
        Three,
        "gateway/endpoints/models/detach",
        "gateway_endpoint.detach_model",
        &[endpoint(Edit, ENDPOINT)],
    )
    .since(Version(3, 8)),
    // Budgets and guardrails bind everyone.
    post(
        Three,
        "gateway/budgets/create",
        "gateway_budget.create",
        &[Server(Manage)],
    )
    .since(Version(3, 11)),
    post(
        Three,
        "gateway/budgets/update",
        "gateway_budget.update",
        &[Server(Manage)],
    )
    .since(Version(3, 11)),
    delete(
        Three,
        "gateway/budgets/delete",
        "gateway_budget.delete",
        &[Server(Manage)],
    )
    .since(Version(3, 11)),
    get(Three, "gateway/budgets/get", "gateway_budget.get", &[Server(Read)]).since(Version(3, 11)),
    get(Three, "gateway/budgets/list", "gateway_budget.list", &[Server(Read)]).since(Version(3, 11)),
    get(
        Three,
        "gateway/budgets/windows",
        "gateway_budget.list_windows",
        &[Server(Read)],
    )
    .since(Version(3, 11)),
    post(
        Three,
        "gateway/guardrails/create",
        "gateway_guardrail.create",
        &[Server(Manage)],
    )
    .since(Version(3, 12)),
    delete(
        Three,
        "gateway/guardrails/delete",
        "gateway_guardrail.delete",
        &[Server(Manage)],
    )
    .since(Version(3, 12)),
    get(
        Three,
        "gateway/guardrails/get",
        "gateway_guardrail.get",
        &[Server(Read)],
    )
    .since(Version(3, 12)),
    get(
        Three,
        "gateway/guardrails/list",
        "gateway_guardrail.list",
        &[Server(Read)],
    )
    .since(Version(3, 12)),
    get(
        Three,
        "gateway/guardrails/list-for-endpoint",
        "gateway_guardrail.list_for_endpoint",
        &[Server(Read), endpoint(Read, Q("endpoint_id"))],
    )
    .since(Version(3, 12)),
    post(
        Three,
        "gateway/guardrails/add-to-endpoint",
        "gateway_guardrail.add",
        &[Server(Manage), endpoint(Edit, ENDPOINT)],
    )
    .since(Version(3, 12)),
    delete(
        Three,
        "gateway/guardrails/remove-from-endpoint",
        "gateway_guardrail.remove",
        &[Server(Manage), endpoint(Edit, BQ("endpoint_id"))],
    )
    .since(Version(3, 12)),
    patch(
        Three,
        "gateway/guardrails/update-config",
        "gateway_guardrail.update",
        &[Server(Manage), endpoint(Edit, ENDPOINT)],
    )
    .since(Version(3, 12)),
    get(
        AjaxThree,
        "gateway/provider-config",
        "gateway.get_provider_config",
        &[Every(GatewayEndpoint, Read)],
    )
    .since(Version(3, 8)),
    get(
        AjaxThree,
        "gateway/supported-models",
        "gateway.list_supported_models",
        &[Every(GatewayEndpoint, Read)],
    )
    .since(Version(3, 8)),
    get(
        AjaxThree,
        "gateway/supported-providers",
        "gateway.list_supported_providers",
        &[Every(GatewayEndpoint, Read)],
    )
    .since(Version(3, 8)),
    // Relays to whatever MLFLOW_DEPLOYMENTS_TARGET names.
    get(AjaxTwo, "gateway-proxy", "gateway.proxy", &[Relay(Q("gateway_path"))]).list(List::RelayedEndpoints),
    post(AjaxTwo, "gateway-proxy", "gateway.proxy", &[Server(Manage)]),
    // Calls to models. The model's name is the endpoint's.
    post(
        Root,
        "gateway/{endpoint_name}/mlflow/invocations",
        "gateway_endpoint.invoke",
        &[call(P("endpoint_name"))],
    )
    .since(Version(3, 9)),
    post(
        Root,
        "gateway/mlflow/v1/chat/completions",
        "gateway_endpoint.invoke",
        &[call(MODEL)],
    )
    .since(Version(3, 9)),
    get(Root, "gateway/mlflow/v1/models", "gateway_endpoint.list", &[Member])
        .list(List::GatewayModels)
        .since(Version(3, 17)),
    post(
        Root,
        "gateway/openai/v1/chat/completions",
        "gateway_endpoint.invoke",
        &[call(MODEL)],
    )
    .since(Version(3, 9)),
    post(
        Root,
        "gateway/openai/v1/embeddings",
        "gateway_endpoint.invoke",
        &[call(MODEL)],
    )
    .since(Version(3, 9)),
    post(
        Root,
        "gateway/openai/v1/responses",
        "gateway_endpoint.invoke",
        &[call(MODEL)],
    )
    .since(Version(3, 9)),
    post(
        Root,
        "gateway/openai/v1/responses/compact",
        "gateway_endpoint.invoke",
        &[call(MODEL)],
    )
    .since(Version(3, 14)),
    post(
        Root,
        "gateway/anthropic/v1/messages",
        "gateway_endpoint.invoke",
        &[call(MODEL)],
    )
    .since(Version(3, 9)),
    post(
        Root,
        "gateway/typesafe/v1/systemone",
        "gateway_endpoint.invoke",
        &[call(MODEL)],
    )
    .since(Version(3, 17)),
    post(
        Root,
        "gateway/gemini/v1beta/models/{endpoint_name}:generateContent",
        "gateway_endpoint.invoke",
        &[call(P("endpoint_name"))],
    )
    .since(Version(3, 9)),
    post(
        Root,
        "gateway/gemini/v1beta/models/{endpoint_name}:streamGenerateContent",
        "gateway_endpoint.invoke",
        &[call(P("endpoint_name"))],
    )
    .since(Version(3, 9)),
    post(
        Root,
        "gateway/proxy/{endpoint_name}/{path...}",
        "gateway_endpoint.proxy",
        &[call(P("endpoint_name"))],
    )
    .with(Body::Stream)
    .since(Version(3, 13)),
];
