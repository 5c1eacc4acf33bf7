//! Registered models and prompts, their versions, and logged models.

use crate::domain::Permission::{Edit, Manage, Read};

use super::At::{Body as B, BodyOrQuery as BQ, Path as P, Query as Q};
use super::Base::{AjaxTwo, Root, Two};
use super::Need::{
    Experiment, MaybeOf, Member, Model, MovesAlias, MovesAll, MovesStage, NewModel, Of, RenamedModel, Source,
};
use super::{Child, List, Row, V3, delete, get, patch, post};

const MODEL_ID: super::At = P("model_id");

pub(super) const ROWS: &[Row] = &[
    post(
        Two,
        "registered-models/create",
        "registered_model.create",
        &[NewModel(B("name"))],
    ),
    get(Two, "registered-models/search", "registered_model.search", &[Member]).list(List::RegisteredModels),
    get(
        Two,
        "registered-models/get",
        "registered_model.get",
        &[Model(Read, Q("name"))],
    ),
    get(
        Two,
        "registered-models/get-latest-versions",
        "registered_model.get_latest_versions",
        &[Model(Read, Q("name"))],
    ),
    post(
        Two,
        "registered-models/get-latest-versions",
        "registered_model.get_latest_versions",
        &[Model(Read, B("name"))],
    ),
    post(
        Two,
        "registered-models/rename",
        "registered_model.rename",
        &[
            Model(Edit, B("name")),
            RenamedModel(B("name"), B("new_name")),
            MovesAll(B("name"), B("new_name")),
        ],
    ),
    patch(
        Two,
        "registered-models/update",
        "registered_model.update",
        &[Model(Edit, B("name"))],
    ),
    delete(
        Two,
        "registered-models/delete",
        "registered_model.delete",
        &[Model(Manage, BQ("name"))],
    ),
    post(
        Two,
        "registered-models/set-tag",
        "registered_model.set_tag",
        &[Model(Edit, B("name"))],
    ),
    delete(
        Two,
        "registered-models/delete-tag",
        "registered_model.delete_tag",
        &[Model(Edit, BQ("name"))],
    ),
    get(
        Two,
        "registered-models/alias",
        "registered_model.get_alias",
        &[Model(Read, Q("name"))],
    ),
    post(
        Two,
        "registered-models/alias",
        "registered_model.set_alias",
        &[Model(Edit, B("name")), MovesAlias(B("name"), B("alias"))],
    ),
    delete(
        Two,
        "registered-models/alias",
        "registered_model.delete_alias",
        &[Model(Edit, BQ("name")), MovesAlias(BQ("name"), BQ("alias"))],
    ),
    post(
        Two,
        "model-versions/create",
        "model_version.create",
        &[
            Model(Edit, B("name")),
            MaybeOf(Child::Run, Read, B("run_id")),
            MaybeOf(Child::LoggedModel, Read, B("model_id")),
            Source,
        ],
    ),
    get(Two, "model-versions/search", "model_version.search", &[Member]).list(List::ModelVersions),
    get(
        Two,
        "model-versions/get",
        "model_version.get",
        &[Model(Read, Q("name"))],
    ),
    get(
        Two,
        "model-versions/get-download-uri",
        "model_version.get_download_uri",
        &[Model(Read, Q("name"))],
    ),
    get(
        Root,
        "model-versions/get-artifact",
        "model_version.download_artifact",
        &[Model(Read, Q("name"))],
    ),
    patch(
        Two,
        "model-versions/update",
        "model_version.update",
        &[Model(Edit, B("name"))],
    ),
    delete(
        Two,
        "model-versions/delete",
        "model_version.delete",
        &[Model(Manage, BQ("name"))],
    ),
    post(
        Two,
        "model-versions/set-tag",
        "model_version.set_tag",
        &[Model(Edit, B("name"))],
    ),
    delete(
        Two,
        "model-versions/delete-tag",
        "model_version.delete_tag",
        &[Model(Edit, BQ("name"))],
    ),
    post(
        Two,
        "model-versions/transition-stage",
        "model_version.transition_stage",
        &[Model(Edit, B("name")), MovesStage(B("name"), B("version"), B("stage"))],
    ),
    post(
        Two,
        "logged-models",
        "logged_model.create",
        &[
            Experiment(Edit, B("experiment_id")),
            MaybeOf(Child::Run, Read, B("source_run_id")),
        ],
    )
    .since(V3),
    post(Two, "logged-models/search", "logged_model.search", &[Member])
        .list(List::LoggedModels)
        .since(V3),
    get(
        Two,
        "logged-models/{model_id}",
        "logged_model.get",
        &[Of(Child::LoggedModel, Read, MODEL_ID)],
    )
    .since(V3),
    patch(
        Two,
        "logged-models/{model_id}",
        "logged_model.finalize",
        &[Of(Child::LoggedModel, Edit, MODEL_ID)],
    )
    .since(V3),
    delete(
        Two,
        "logged-models/{model_id}",
        "logged_model.delete",
        &[Of(Child::LoggedModel, Manage, MODEL_ID)],
    )
    .since(V3),
    post(
        Two,
        "logged-models/{model_id}/params",
        "logged_model.log_params",
        &[Of(Child::LoggedModel, Edit, MODEL_ID)],
    )
    .since(V3),
    patch(
        Two,
        "logged-models/{model_id}/tags",
        "logged_model.set_tags",
        &[Of(Child::LoggedModel, Edit, MODEL_ID)],
    )
    .since(V3),
    delete(
        Two,
        "logged-models/{model_id}/tags/{tag_key}",
        "logged_model.delete_tag",
        &[Of(Child::LoggedModel, Edit, MODEL_ID)],
    )
    .since(V3),
    get(
        Two,
        "logged-models/{model_id}/artifacts/directories",
        "logged_model.list_artifacts",
        &[Of(Child::LoggedModel, Read, MODEL_ID)],
    )
    .since(V3),
    get(
        AjaxTwo,
        "logged-models/{model_id}/artifacts/files",
        "logged_model.download_artifact",
        &[Of(Child::LoggedModel, Read, MODEL_ID)],
    )
    .since(V3),
];
