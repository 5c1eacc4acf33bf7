//! Artifacts: the proxy to the store, and the routes that name a run.

use crate::domain::Permission::{Edit, Manage, Read};

use super::At::{Body as B, Path as P, Query as Q};
use super::Base::{AjaxTwo, Artifacts, Root, Two};
use super::Need::{ArtifactPath, MaybeOf, Of};
use super::{Body, Child, List, Row, Version, delete, get, post, put};

const PATH: super::At = P("artifact_path");
const RUN: &str = "run_id|run_uuid";

pub(super) const ROWS: &[Row] = &[
    get(
        Artifacts,
        "artifacts",
        "artifact.list",
        &[ArtifactPath(Read, Q("path"))],
    )
    .list(List::ArtifactFolders),
    get(
        Artifacts,
        "artifacts/{artifact_path...}",
        "artifact.download",
        &[ArtifactPath(Read, PATH)],
    ),
    put(
        Artifacts,
        "artifacts/{artifact_path...}",
        "artifact.upload",
        &[ArtifactPath(Edit, PATH)],
    )
    .with(Body::Stream),
    delete(
        Artifacts,
        "artifacts/{artifact_path...}",
        "artifact.delete",
        &[ArtifactPath(Manage, PATH)],
    ),
    post(
        Artifacts,
        "mpu/create/{artifact_path...}",
        "artifact.upload_create",
        &[ArtifactPath(Edit, PATH)],
    ),
    post(
        Artifacts,
        "mpu/complete/{artifact_path...}",
        "artifact.upload_complete",
        &[ArtifactPath(Edit, PATH)],
    ),
    post(
        Artifacts,
        "mpu/abort/{artifact_path...}",
        "artifact.upload_abort",
        &[ArtifactPath(Edit, PATH)],
    ),
    get(
        Artifacts,
        "presigned/{artifact_path...}",
        "artifact.presign_download",
        &[ArtifactPath(Read, PATH)],
    )
    .since(Version(3, 11)),
    get(Two, "artifacts/list", "artifact.list", &[Of(Child::Run, Read, Q(RUN))]),
    post(
        Two,
        "artifacts/presigned-download-url",
        "artifact.presign_download",
        &[Of(Child::Run, Read, B("run_id"))],
    )
    .since(Version(3, 15)),
    post(
        Two,
        "artifacts/presigned-upload-url",
        "artifact.presign_upload",
        &[
            MaybeOf(Child::Run, Edit, B("run_id")),
            MaybeOf(Child::LoggedModel, Edit, B("model_id")),
        ],
    )
    .since(Version(3, 12)),
    get(
        Root,
        "get-artifact",
        "artifact.download",
        &[Of(Child::Run, Read, Q(RUN))],
    ),
    post(
        AjaxTwo,
        "upload-artifact",
        "artifact.upload",
        &[Of(Child::Run, Edit, Q(RUN))],
    )
    .with(Body::Stream),
];
