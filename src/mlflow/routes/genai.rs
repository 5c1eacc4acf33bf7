//! Evaluation: datasets, scorers, issues, review queues, label schemas, prompt optimization.

use crate::domain::Permission::{Edit, Manage, Read};

use super::At::{Body as B, BodyOrQuery as BQ, Path as P, Query as Q};
use super::Base::{AjaxThree, Three};
use super::Need::{ChosenModel, Dataset, Experiment, Judges, MaybeExperiment, MaybeOf, Member, Of, Scorer, Server};
use super::{Child, List, Row, Version, delete, get, patch, post, put};

const DATASET: super::At = P("dataset_id");
const JOB: Child = Child::PromptOptimizationJob;
const QUEUE: Child = Child::ReviewQueue;
const SCHEMA: Child = Child::LabelSchema;

pub(super) const ROWS: &[Row] = &[
    post(
        Three,
        "datasets/create",
        "dataset.create",
        &[Experiment(Edit, B("experiment_ids[]"))],
    )
    .since(Version(3, 4)),
    get(Three, "datasets/search", "dataset.search", &[Member])
        .list(List::Datasets)
        .since(Version(3, 4)),
    post(Three, "datasets/search", "dataset.search", &[Member])
        .list(List::Datasets)
        .since(Version(3, 4)),
    get(Three, "datasets/{dataset_id}", "dataset.get", &[Dataset(Read, DATASET)]).since(Version(3, 4)),
    delete(
        Three,
        "datasets/{dataset_id}",
        "dataset.delete",
        &[Dataset(Manage, DATASET)],
    )
    .since(Version(3, 4)),
    get(
        Three,
        "datasets/{dataset_id}/experiment-ids",
        "dataset.get_experiments",
        &[Dataset(Read, DATASET)],
    )
    .since(Version(3, 4)),
    post(
        Three,
        "datasets/{dataset_id}/add-experiments",
        "dataset.add_experiments",
        &[Dataset(Edit, DATASET), Experiment(Edit, B("experiment_ids[]"))],
    )
    .since(Version(3, 7)),
    post(
        Three,
        "datasets/{dataset_id}/remove-experiments",
        "dataset.remove_experiments",
        &[Dataset(Edit, DATASET)],
    )
    .since(Version(3, 7)),
    get(
        Three,
        "datasets/{dataset_id}/records",
        "dataset.get_records",
        &[Dataset(Read, DATASET)],
    )
    .since(Version(3, 4)),
    post(
        Three,
        "datasets/{dataset_id}/records",
        "dataset.upsert_records",
        &[Dataset(Edit, DATASET)],
    )
    .since(Version(3, 4)),
    delete(
        Three,
        "datasets/{dataset_id}/records",
        "dataset.delete_records",
        &[Dataset(Edit, DATASET)],
    )
    .since(Version(3, 10)),
    patch(
        Three,
        "datasets/{dataset_id}/tags",
        "dataset.set_tags",
        &[Dataset(Edit, DATASET)],
    )
    .since(Version(3, 4)),
    delete(
        Three,
        "datasets/{dataset_id}/tags/{key}",
        "dataset.delete_tag",
        &[Dataset(Edit, DATASET)],
    )
    .since(Version(3, 4)),
    post(
        Three,
        "scorers/register",
        "scorer.register",
        &[
            Experiment(Edit, B("experiment_id")),
            Scorer(Edit, B("experiment_id"), B("name")),
            Judges(B("experiment_id"), B("serialized_scorer")),
        ],
    )
    .since(Version(3, 4)),
    get(
        Three,
        "scorers/get",
        "scorer.get",
        &[Scorer(Read, Q("experiment_id"), Q("name"))],
    )
    .since(Version(3, 4)),
    get(Three, "scorers/list", "scorer.list", &[Member])
        .list(List::Scorers)
        .since(Version(3, 4)),
    get(
        Three,
        "scorers/versions",
        "scorer.list_versions",
        &[Scorer(Read, Q("experiment_id"), Q("name"))],
    )
    .since(Version(3, 4)),
    delete(
        Three,
        "scorers/delete",
        "scorer.delete",
        &[Scorer(Manage, BQ("experiment_id"), BQ("name"))],
    )
    .since(Version(3, 4)),
    put(
        Three,
        "scorers/online-config",
        "scorer.set_online_config",
        &[
            Scorer(Edit, B("experiment_id"), B("name")),
            Judges(B("experiment_id"), B("serialized_scorer")),
        ],
    )
    .since(Version(3, 9)),
    get(Three, "scorers/online-configs", "scorer.get_online_configs", &[Member])
        .list(List::OnlineConfigs)
        .since(Version(3, 9)),
    // Runs scorers on the server's host.
    post(
        AjaxThree,
        "scorer/invoke",
        "scorer.invoke",
        &[
            Experiment(Edit, B("experiment_id")),
            MaybeOf(Child::Trace, Read, B("trace_ids[]")),
            Judges(B("experiment_id"), B("serialized_scorer")),
        ],
    )
    .since(Version(3, 9)),
    post(
        AjaxThree,
        "genai/evaluate/invoke",
        "evaluation.invoke",
        &[
            Experiment(Edit, B("experiment_id")),
            MaybeOf(Child::Trace, Read, B("trace_ids[]")),
            Judges(B("experiment_id"), B("serialized_scorers[]")),
        ],
    )
    .since(Version(3, 14)),
    post(
        Three,
        "issues",
        "issue.create",
        &[
            Experiment(Edit, B("experiment_id")),
            MaybeOf(Child::Run, Read, B("source_run_id")),
        ],
    )
    .since(Version(3, 11)),
    post(
        Three,
        "issues/search",
        "issue.search",
        &[Member, MaybeExperiment(Read, B("experiment_id"))],
    )
    .list(List::Issues)
    .since(Version(3, 11)),
    get(
        Three,
        "issues/{issue_id}",
        "issue.get",
        &[Of(Child::Issue, Read, P("issue_id"))],
    )
    .since(Version(3, 11)),
    patch(
        Three,
        "issues/{issue_id}",
        "issue.update",
        &[Of(Child::Issue, Edit, P("issue_id"))],
    )
    .since(Version(3, 11)),
    post(
        AjaxThree,
        "issues/invoke",
        "issue.invoke",
        &[
            Experiment(Edit, B("experiment_id")),
            MaybeOf(Child::Trace, Read, B("trace_ids[]")),
            ChosenModel,
        ],
    )
    .since(Version(3, 11)),
    post(
        AjaxThree,
        "issues/schedule/state",
        "issue.schedule",
        &[Server(Manage), Experiment(Edit, B("experiment_id"))],
    )
    .since(Version(3, 18)),
    post(
        Three,
        "review-queues/create",
        "review_queue.create",
        &[Experiment(Edit, B("experiment_id"))],
    )
    .since(Version(3, 14)),
    post(
        Three,
        "review-queues/get-or-create-user",
        "review_queue.get_or_create",
        &[Experiment(Edit, B("experiment_id"))],
    )
    .since(Version(3, 14)),
    get(
        Three,
        "review-queues/get",
        "review_queue.get",
        &[Of(QUEUE, Read, Q("queue_id"))],
    )
    .since(Version(3, 14)),
    get(
        Three,
        "review-queues/get-by-name",
        "review_queue.get_by_name",
        &[Experiment(Read, Q("experiment_id"))],
    )
    .since(Version(3, 14)),
    get(
        Three,
        "review-queues/list",
        "review_queue.list",
        &[Experiment(Read, Q("experiment_id"))],
    )
    .since(Version(3, 14)),
    post(
        Three,
        "review-queues/update",
        "review_queue.update",
        &[Of(QUEUE, Edit, B("queue_id"))],
    )
    .since(Version(3, 14)),
    post(
        Three,
        "review-queues/delete",
        "review_queue.delete",
        &[Of(QUEUE, Manage, B("queue_id"))],
    )
    .since(Version(3, 14)),
    post(
        Three,
        "review-queues/items/add",
        "review_queue.add_items",
        &[Of(QUEUE, Edit, B("queue_id"))],
    )
    .since(Version(3, 14)),
    get(
        Three,
        "review-queues/items/list",
        "review_queue.list_items",
        &[Of(QUEUE, Read, Q("queue_id"))],
    )
    .since(Version(3, 14)),
    post(
        Three,
        "review-queues/items/remove",
        "review_queue.remove_items",
        &[Of(QUEUE, Edit, B("queue_id"))],
    )
    .since(Version(3, 14)),
    post(
        Three,
        "review-queues/items/set-status",
        "review_queue.set_item_status",
        &[Of(QUEUE, Edit, B("queue_id"))],
    )
    .since(Version(3, 14)),
    post(
        Three,
        "label-schemas/create",
        "label_schema.create",
        &[Experiment(Edit, B("experiment_id"))],
    )
    .since(Version(3, 14)),
    get(
        Three,
        "label-schemas/get",
        "label_schema.get",
        &[Of(SCHEMA, Read, Q("schema_id"))],
    )
    .since(Version(3, 14)),
    get(
        Three,
        "label-schemas/get-by-name",
        "label_schema.get_by_name",
        &[Experiment(Read, Q("experiment_id"))],
    )
    .since(Version(3, 14)),
    get(
        Three,
        "label-schemas/list",
        "label_schema.list",
        &[Experiment(Read, Q("experiment_id"))],
    )
    .since(Version(3, 14)),
    patch(
        Three,
        "label-schemas/update",
        "label_schema.update",
        &[Of(SCHEMA, Edit, B("schema_id"))],
    )
    .since(Version(3, 14)),
    delete(
        Three,
        "label-schemas/delete",
        "label_schema.delete",
        &[Of(SCHEMA, Manage, BQ("schema_id"))],
    )
    .since(Version(3, 14)),
    // Jobs run on the server's host and call models.
    post(
        Three,
        "prompt-optimization/jobs",
        "prompt_optimization.create",
        &[Server(Manage), Experiment(Edit, B("experiment_id"))],
    )
    .since(Version(3, 10)),
    get(
        Three,
        "prompt-optimization/jobs/search",
        "prompt_optimization.search",
        &[Experiment(Read, Q("experiment_id"))],
    )
    .since(Version(3, 10)),
    post(
        Three,
        "prompt-optimization/jobs/search",
        "prompt_optimization.search",
        &[Experiment(Read, B("experiment_id"))],
    )
    .since(Version(3, 10)),
    get(
        Three,
        "prompt-optimization/jobs/{job_id}",
        "prompt_optimization.get",
        &[Of(JOB, Read, P("job_id"))],
    )
    .since(Version(3, 10)),
    delete(
        Three,
        "prompt-optimization/jobs/{job_id}",
        "prompt_optimization.delete",
        &[Of(JOB, Manage, P("job_id"))],
    )
    .since(Version(3, 10)),
    post(
        Three,
        "prompt-optimization/jobs/{job_id}/cancel",
        "prompt_optimization.cancel",
        &[Of(JOB, Edit, P("job_id"))],
    )
    .with(super::Body::MaybeJson)
    .since(Version(3, 10)),
];
