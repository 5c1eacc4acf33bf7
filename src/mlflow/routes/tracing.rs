//! Traces and their assessments, in both API versions, and spans by OTLP.

use crate::domain::Permission::{Edit, Manage, Read};

use super::At::{Body as B, Path as P, Query as Q};
use super::Base::{AjaxThree, AjaxTwo, Root, Three, Two};
use super::Need::{Experiment, MaybeExperiment, MaybeModel, Member, Of, OfExisting, Spans};
use super::{Body, Child, List, Reply, Row, V3, V3_2, Version, delete, get, patch, post};

const TRACE: Child = Child::Trace;
const REQUEST_ID: super::At = P("request_id");
const TRACE_ID: super::At = P("trace_id");

pub(super) const ROWS: &[Row] = &[
    get(Two, "traces", "trace.search", &[Member]).list(List::TracesV2),
    post(Two, "traces", "trace.start", &[Experiment(Edit, B("experiment_id"))]),
    get(Two, "traces/{request_id}", "trace.get", &[Of(TRACE, Read, REQUEST_ID)]).until(V3_2),
    patch(Two, "traces/{request_id}", "trace.end", &[Of(TRACE, Edit, REQUEST_ID)]),
    get(
        Two,
        "traces/{request_id}/info",
        "trace.get_info",
        &[Of(TRACE, Read, REQUEST_ID)],
    ),
    patch(
        Two,
        "traces/{request_id}/tags",
        "trace.set_tag",
        &[Of(TRACE, Edit, REQUEST_ID)],
    ),
    delete(
        Two,
        "traces/{request_id}/tags",
        "trace.delete_tag",
        &[Of(TRACE, Edit, REQUEST_ID)],
    ),
    post(Two, "traces/search", "trace.search", &[Member])
        .list(List::TracesV3)
        .since(V3)
        .until(V3_2),
    get(
        Two,
        "traces/{trace_id}/assessments/{assessment_id}",
        "assessment.get",
        &[Of(TRACE, Read, TRACE_ID)],
    )
    .since(Version(3, 1))
    .until(V3_2),
    post(
        Two,
        "traces/{trace_id}/assessments",
        "assessment.create",
        &[Of(TRACE, Edit, TRACE_ID)],
    )
    .until(V3_2),
    patch(
        Two,
        "traces/{trace_id}/assessments/{assessment_id}",
        "assessment.update",
        &[Of(TRACE, Edit, TRACE_ID)],
    )
    .until(V3_2),
    delete(
        Two,
        "traces/{trace_id}/assessments/{assessment_id}",
        "assessment.delete",
        &[Of(TRACE, Edit, TRACE_ID)],
    )
    .until(V3_2),
    post(
        Two,
        "traces/delete-traces",
        "trace.delete",
        &[Experiment(Manage, B("experiment_id"))],
    ),
    post(
        Two,
        "traces/link-to-run",
        "trace.link_to_run",
        &[Of(Child::Run, Edit, B("run_id")), Of(TRACE, Read, B("trace_ids[]"))],
    )
    .since(Version(3, 3)),
    post(
        Two,
        "traces/link-prompts",
        "trace.link_prompts",
        &[
            Of(TRACE, Edit, B("trace_id")),
            MaybeModel(Read, B("prompt_versions[].name")),
        ],
    )
    .since(Version(3, 7)),
    get(
        AjaxTwo,
        "get-trace-artifact",
        "trace.download_artifact",
        &[Of(TRACE, Read, Q("request_id"))],
    ),
    get(
        AjaxThree,
        "get-trace-artifact",
        "trace.download_artifact",
        &[Of(TRACE, Read, Q("request_id"))],
    )
    .since(Version(3, 9)),
    get(Two, "get-online-trace-details", "trace.get_online_details", &[Member])
        .reply(Reply::Refused)
        .since(V3),
    get(Two, "unified-traces", "trace.search_unified", &[Member])
        .reply(Reply::Refused)
        .since(V3),
    post(
        Three,
        "traces",
        "trace.start",
        &[
            Experiment(
                Edit,
                B("trace.trace_info.trace_location.mlflow_experiment.experiment_id"),
            ),
            OfExisting(TRACE, Edit, B("trace.trace_info.trace_id")),
        ],
    )
    .since(Version(3, 2)),
    post(Three, "traces/search", "trace.search", &[Member])
        .list(List::TracesV3)
        .since(Version(3, 2)),
    get(Three, "traces/get", "trace.get", &[Of(TRACE, Read, Q("trace_id"))]).since(Version(3, 7)),
    get(
        Three,
        "traces/batchGet",
        "trace.get_batch",
        &[Member, MaybeExperiment(Read, Q("experiment_ids[]"))],
    )
    .list(List::Traces)
    .since(Version(3, 6)),
    post(
        Three,
        "traces/batchGetInfos",
        "trace.get_batch_infos",
        &[Member, MaybeExperiment(Read, B("experiment_ids[]"))],
    )
    .list(List::TraceInfos)
    .since(Version(3, 11)),
    post(
        Three,
        "traces/delete-traces",
        "trace.delete",
        &[Experiment(Manage, B("experiment_id"))],
    )
    .since(Version(3, 3)),
    post(
        Three,
        "traces/calculate-filter-correlation",
        "trace.correlate",
        &[Experiment(Read, B("experiment_ids[]"))],
    )
    .since(Version(3, 4)),
    post(
        Three,
        "traces/metrics",
        "trace.query_metrics",
        &[Experiment(Read, B("experiment_ids[]"))],
    )
    .since(Version(3, 9)),
    get(
        Three,
        "traces/{trace_id}",
        "trace.get_info",
        &[Of(TRACE, Read, TRACE_ID)],
    )
    .since(Version(3, 2)),
    patch(
        Three,
        "traces/{trace_id}/tags",
        "trace.set_tag",
        &[Of(TRACE, Edit, TRACE_ID)],
    )
    .since(Version(3, 3)),
    delete(
        Three,
        "traces/{trace_id}/tags",
        "trace.delete_tag",
        &[Of(TRACE, Edit, TRACE_ID)],
    )
    .since(Version(3, 3)),
    post(
        Three,
        "traces/{trace_id}/assessments",
        "assessment.create",
        &[Of(TRACE, Edit, TRACE_ID)],
    )
    .since(Version(3, 2)),
    get(
        Three,
        "traces/{trace_id}/assessments/{assessment_id}",
        "assessment.get",
        &[Of(TRACE, Read, TRACE_ID)],
    )
    .since(Version(3, 2)),
    patch(
        Three,
        "traces/{trace_id}/assessments/{assessment_id}",
        "assessment.update",
        &[Of(TRACE, Edit, TRACE_ID)],
    )
    .since(Version(3, 2)),
    delete(
        Three,
        "traces/{trace_id}/assessments/{assessment_id}",
        "assessment.delete",
        &[Of(TRACE, Edit, TRACE_ID)],
    )
    .since(Version(3, 2)),
    post(Root, "v1/traces", "trace.log_spans", &[Spans])
        .with(Body::Otlp)
        .since(Version(3, 4)),
];
