//! Experiments, runs, metrics.

use crate::domain::Permission::{Edit, Manage, Read};

use super::At::{Body as B, Query as Q};
use super::Base::{AjaxTwo, Two};
use super::Need::{Experiment, ExperimentNamed, Location, MaybeOf, Member, NewExperiment, Of};
use super::{Child, List, Row, V3, Version, get, post};

/// Both names of a run's id; equal where both are sent.
const RUN: &str = "run_id|run_uuid";

pub(super) const ROWS: &[Row] = &[
    post(
        Two,
        "experiments/create",
        "experiment.create",
        &[NewExperiment(B("name")), Location(B("artifact_location"))],
    ),
    get(Two, "experiments/search", "experiment.search", &[Member]).list(List::Experiments),
    post(Two, "experiments/search", "experiment.search", &[Member]).list(List::Experiments),
    get(
        Two,
        "experiments/get",
        "experiment.get",
        &[Experiment(Read, Q("experiment_id"))],
    ),
    get(
        Two,
        "experiments/get-by-name",
        "experiment.get_by_name",
        &[ExperimentNamed(Read, Q("experiment_name"))],
    ),
    post(
        Two,
        "experiments/delete",
        "experiment.delete",
        &[Experiment(Manage, B("experiment_id"))],
    ),
    post(
        Two,
        "experiments/restore",
        "experiment.restore",
        &[Experiment(Manage, B("experiment_id"))],
    ),
    post(
        Two,
        "experiments/update",
        "experiment.update",
        &[Experiment(Edit, B("experiment_id")), NewExperiment(B("new_name"))],
    ),
    post(
        Two,
        "experiments/set-experiment-tag",
        "experiment.set_tag",
        &[Experiment(Edit, B("experiment_id"))],
    ),
    post(
        Two,
        "experiments/delete-experiment-tag",
        "experiment.delete_tag",
        &[Experiment(Edit, B("experiment_id"))],
    )
    .since(Version(3, 2)),
    post(
        AjaxTwo,
        "experiments/search-datasets",
        "experiment.search_datasets",
        &[Member],
    )
    .list(List::Inputs),
    post(
        Two,
        "runs/create",
        "run.create",
        &[Experiment(Edit, B("experiment_id"))],
    ),
    post(
        AjaxTwo,
        "runs/create-promptlab-run",
        "run.create_promptlab",
        &[Experiment(Edit, B("experiment_id"))],
    ),
    get(Two, "runs/get", "run.get", &[Of(Child::Run, Read, Q(RUN))]),
    post(Two, "runs/search", "run.search", &[Member]).list(List::Runs),
    post(Two, "runs/update", "run.update", &[Of(Child::Run, Edit, B(RUN))]),
    post(Two, "runs/delete", "run.delete", &[Of(Child::Run, Manage, B("run_id"))]),
    post(
        Two,
        "runs/restore",
        "run.restore",
        &[Of(Child::Run, Manage, B("run_id"))],
    ),
    post(Two, "runs/set-tag", "run.set_tag", &[Of(Child::Run, Edit, B(RUN))]),
    post(
        Two,
        "runs/delete-tag",
        "run.delete_tag",
        &[Of(Child::Run, Edit, B("run_id"))],
    ),
    post(
        Two,
        "runs/log-metric",
        "run.log_metric",
        &[
            Of(Child::Run, Edit, B(RUN)),
            MaybeOf(Child::LoggedModel, Edit, B("model_id")),
        ],
    ),
    post(
        Two,
        "runs/log-parameter",
        "run.log_param",
        &[Of(Child::Run, Edit, B(RUN))],
    ),
    post(
        Two,
        "runs/log-batch",
        "run.log_batch",
        &[
            Of(Child::Run, Edit, B("run_id")),
            MaybeOf(Child::LoggedModel, Edit, B("metrics[].model_id")),
        ],
    ),
    post(
        Two,
        "runs/log-model",
        "run.log_model",
        &[Of(Child::Run, Edit, B("run_id"))],
    ),
    post(
        Two,
        "runs/log-inputs",
        "run.log_inputs",
        &[
            Of(Child::Run, Edit, B("run_id")),
            MaybeOf(Child::LoggedModel, Edit, B("models[].model_id")),
        ],
    ),
    post(
        Two,
        "runs/outputs",
        "run.log_outputs",
        &[
            Of(Child::Run, Edit, B("run_id")),
            MaybeOf(Child::LoggedModel, Edit, B("models[].model_id")),
        ],
    )
    .since(V3),
    get(
        Two,
        "metrics/get-history",
        "metric.get_history",
        &[Of(Child::Run, Read, Q(RUN))],
    ),
    get(
        AjaxTwo,
        "metrics/get-history-bulk",
        "metric.get_history_bulk",
        &[Member],
    )
    .list(List::MetricHistory),
    get(
        Two,
        "metrics/get-history-bulk-interval",
        "metric.get_history_bulk_interval",
        &[Member],
    )
    .list(List::MetricHistoryInterval),
];
