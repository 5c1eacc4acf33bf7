//! The GraphQL documents of MLflow's own screens, through real servers: what they need, and what is cut from their answers.

use mlgate::domain::{Access, Kind, Permission, Resource};
use mlgate::mlflow::graphql;
use serde_json::{Value, json};

use crate::lists::{Pair, Team, names, pair, post, run};
use crate::support::mlflow::{Mlflow, NEWEST, OLDEST};

/// As MLflow's screens send it, shortened.
const GET_RUN: &str = r#"query GetRun($data: MlflowGetRunInput!) @component(name: "MLflow.ExperimentRunTracking") {
  mlflowGetRun(input: $data) { apiError { helpUrl code message }
    run { info { runName runUuid experimentId } experiment { experimentId name } modelVersions { status version source }
      data { metrics { key value } } inputs { datasetInputs { dataset { digest } } } } } }"#;
const SEARCH_RUNS: &str = r"query SearchRuns($data: MlflowSearchRunsInput!) { mlflowSearchRuns(input: $data) {
  apiError { code message } runs { info { runUuid experimentId } experiment { name } } } }";
const GET_EXPERIMENT: &str = r#"query MlflowGetExperimentQuery($input: MlflowGetExperimentInput!)
  @component(name: "MLflow.ExperimentRunTracking") { mlflowGetExperiment(input: $input) { apiError { code }
    experiment { artifactLocation experimentId name tags { key value } } } }"#;
const HISTORY: &str = r#"query GetMetricHistoryBulkInterval($data: MlflowGetMetricHistoryBulkIntervalInput!)
  @component(name: "MLflow.ExperimentRunTracking") { mlflowGetMetricHistoryBulkInterval(input: $data) {
    __typename metrics { timestamp step runId key value } apiError { code message } } }"#;

fn documents_are_cut(version: &'static str) {
    let team = Team::on(&Mlflow::shared(version));
    let pair = pair(&team, "graphql");
    let [run, other] = &pair.runs;
    for side in ["a", "b"] {
        let name = format!("graphql-{side}-model");
        team.make("/api/2.0/mlflow/registered-models/create", &json!({ "name": name }));
        let made = json!({ "name": name, "source": "s3://bucket/x", "run_id": run });
        team.make("/api/2.0/mlflow/model-versions/create", &made);
    }
    team.make(
        "/api/2.0/mlflow/runs/log-metric",
        &json!({ "run_id": run, "key": "m", "value": 0.1, "timestamp": 1 }),
    );
    run_document(&team, &pair, run, other, version);
}

fn run_document(team: &Team, pair: &Pair, mine: &str, other: &str, version: &str) {
    run(async {
        let ask = async |query: &str, variables: Value| {
            let body = json!({ "query": query, "variables": variables, "operationName": null });
            let (accesses, plan) = graphql::accesses(&team.lookup, body.to_string().as_bytes())
                .await
                .unwrap();
            let answer = team.cut(&plan.unwrap(), &post("/graphql", &body), "graphql-a").await;
            assert_eq!(answer["errors"], Value::Null, "{query}");
            (accesses, answer)
        };
        let experiment = |index: usize, name: &str| {
            Access::on(
                Permission::Read,
                Resource::one(Kind::Experiment, pair.ids[index].as_str(), name),
            )
        };
        let needed = [Access::Member, experiment(0, "graphql-a/1")];
        let (accesses, answer) = ask(GET_RUN, json!({ "data": { "runId": mine } })).await;
        assert_eq!(accesses, needed);
        let found = &answer["data"]["mlflowGetRun"]["run"];
        assert_eq!(found["experiment"]["name"], "graphql-a/1");
        assert_eq!(
            names(found["modelVersions"].as_array().unwrap(), "/name"),
            ["graphql-a-model"]
        );
        assert_eq!(found["data"]["metrics"][0]["value"], 0.1);
        let (accesses, _) = ask(GET_RUN, json!({ "data": { "runId": other } })).await;
        assert_eq!(accesses[1], experiment(1, "graphql-b/1"));
        let (accesses, _) = ask(GET_EXPERIMENT, json!({ "input": { "experimentId": pair.ids[1] } })).await;
        assert_eq!(accesses[1], experiment(1, "graphql-b/1"));
        let history = json!({ "data": { "runIds": [other, mine], "metricKey": "m" } });
        let (accesses, answer) = ask(HISTORY, history).await;
        assert_eq!(accesses, [Access::Member]);
        let metrics = &answer["data"]["mlflowGetMetricHistoryBulkInterval"]["metrics"];
        assert_eq!(metrics[0]["runId"], mine);
        if version == NEWEST {
            for ids in [&pair.ids[..], &pair.ids[1..]] {
                let (accesses, answer) = ask(SEARCH_RUNS, json!({ "data": { "experimentIds": ids } })).await;
                assert_eq!(accesses, [Access::Member]);
                let runs = answer["data"]["mlflowSearchRuns"]["runs"]
                    .as_array()
                    .cloned()
                    .unwrap_or_default();
                let visible = if ids.len() == 2 {
                    vec![mine.to_owned()]
                } else {
                    Vec::new()
                };
                assert_eq!(names(&runs, "/info/runUuid"), visible);
            }
        }
    });
}

#[test]
fn the_documents_of_the_screens_are_answered_and_cut_on_mlflow_3() {
    documents_are_cut(NEWEST);
}

#[test]
fn the_documents_of_the_screens_are_answered_and_cut_on_mlflow_2() {
    documents_are_cut(OLDEST);
}
