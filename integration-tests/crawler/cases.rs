//! Every list, asked of both teams' things at once, and what of it is one team's.

use mlgate::mlflow::routes::Version;
use serde_json::{Value, json};
use url::form_urlencoded::Serializer;

use super::seed::Team;
use crate::support::http::Request;

/// Rows of a page, where there are pages.
pub const PAGE: usize = 7;

#[derive(Clone)]
pub struct Case {
    pub method: &'static str,
    pub path: &'static str,
    pub fields: Value,
    /// Whether `max_results` is understood.
    pub paged: bool,
    pub rows: &'static str,
    /// Where a row's id is.
    pub id: &'static str,
    /// The ids that the member must find, and no others.
    pub own: Vec<String>,
}

impl Case {
    pub fn request(&self, token: Option<&str>) -> Request {
        let mut fields = self.fields.clone();
        if self.paged {
            fields["max_results"] = json!(PAGE);
        }
        if let Some(token) = token {
            fields["page_token"] = json!(token);
        }
        if self.method == "POST" {
            return Request::new("POST", self.path).json(&fields);
        }
        let mut query = Serializer::new(String::new());
        for (key, value) in fields.as_object().unwrap() {
            let one = std::slice::from_ref(value);
            for value in value.as_array().map_or(one, Vec::as_slice) {
                query.append_pair(key, &value.as_str().map_or(value.to_string(), str::to_owned));
            }
        }
        match query.finish() {
            empty if empty.is_empty() => Request::get(self.path),
            query => Request::get(&format!("{}?{query}", self.path)),
        }
    }

    pub fn with(&self, name: &str, value: Value) -> Self {
        let mut changed = self.clone();
        changed.fields[name] = value;
        changed
    }
}

/// Some of each, in turn.
fn mixed(mine: &[String], theirs: &[String]) -> Value {
    let pairs = mine.iter().zip(theirs).flat_map(|(one, other)| [other, one]);
    json!(pairs.collect::<Vec<_>>())
}

pub fn cases(version: Version, mine: &Team, theirs: &Team) -> Vec<Case> {
    let paged = |method, path, fields, rows, id, own: &[String]| Case {
        method,
        path,
        fields,
        paged: true,
        rows,
        id,
        own: own.to_vec(),
    };
    let whole = |method, path, fields, rows, id, own: &[String]| Case {
        paged: false,
        ..paged(method, path, fields, rows, id, own)
    };
    let experiments = json!({ "experiment_ids": mixed(&mine.experiments, &theirs.experiments) });
    let runs = |name: &str| json!({ name: mixed(&mine.runs[..20], &theirs.runs[..20]), "metric_key": "m" });
    let few = json!({ "experiment_ids": mixed(&mine.experiments[..10], &theirs.experiments[..10]) });
    let prompts = json!({ "filter": "tags.`mlflow.prompt.is_prompt` = 'true'" });
    let all = || json!({});
    let by_age = json!({ "order_by": ["creation_time ASC"], "view_type": "ALL" });
    let mut cases = vec![
        paged(
            "POST",
            "/api/2.0/mlflow/experiments/search",
            by_age.clone(),
            "experiments",
            "/experiment_id",
            &mine.experiments,
        ),
        paged(
            "GET",
            "/ajax-api/2.0/mlflow/experiments/search",
            by_age,
            "experiments",
            "/experiment_id",
            &mine.experiments,
        ),
        paged(
            "POST",
            "/ajax-api/2.0/mlflow/runs/search",
            experiments.clone(),
            "runs",
            "/info/run_id",
            &mine.runs,
        ),
        paged(
            "GET",
            "/ajax-api/2.0/mlflow/registered-models/search",
            all(),
            "registered_models",
            "/name",
            &mine.models,
        ),
        paged(
            "GET",
            "/api/2.0/mlflow/registered-models/search",
            prompts.clone(),
            "registered_models",
            "/name",
            &mine.prompts,
        ),
        paged(
            "GET",
            "/api/2.0/mlflow/model-versions/search",
            all(),
            "model_versions",
            "/name",
            &mine.models,
        ),
        paged(
            "GET",
            "/ajax-api/2.0/mlflow/model-versions/search",
            prompts,
            "model_versions",
            "/name",
            &mine.prompts,
        ),
        paged(
            "GET",
            "/api/2.0/mlflow/model-versions/search",
            json!({ "filter": format!("run_id = '{}'", theirs.runs[0]) }),
            "model_versions",
            "/name",
            &[],
        ),
        paged(
            "GET",
            "/api/2.0/mlflow/traces",
            few.clone(),
            "traces",
            "/request_id",
            &mine.traces[..10],
        ),
        whole(
            "POST",
            "/ajax-api/2.0/mlflow/experiments/search-datasets",
            few,
            "dataset_summaries",
            "/experiment_id",
            &mine.experiments[..10],
        ),
        whole(
            "GET",
            "/ajax-api/2.0/mlflow/metrics/get-history-bulk",
            runs("run_id"),
            "metrics",
            "/run_id",
            &mine.runs[..20],
        ),
        whole(
            "GET",
            "/api/2.0/mlflow/metrics/get-history-bulk-interval",
            runs("run_ids"),
            "metrics",
            "/run_id",
            &mine.runs[..20],
        ),
        whole(
            "GET",
            "/api/2.0/mlflow-artifacts/artifacts",
            all(),
            "files",
            "/path",
            &mine.experiments,
        ),
    ];
    if version >= Version(3, 5) {
        let place = |id: &Value| json!({ "type": "MLFLOW_EXPERIMENT", "mlflow_experiment": { "experiment_id": id } });
        let ids = mixed(&mine.experiments, &theirs.experiments);
        let places: Vec<_> = ids.as_array().unwrap().iter().map(place).collect();
        cases.extend([
            paged(
                "POST",
                "/api/2.0/mlflow/logged-models/search",
                experiments.clone(),
                "models",
                "/info/model_id",
                &mine.logged_models,
            ),
            paged(
                "POST",
                "/ajax-api/3.0/mlflow/traces/search",
                json!({ "locations": places }),
                "traces",
                "/trace_id",
                &mine.traces,
            ),
            paged(
                "GET",
                "/api/3.0/mlflow/datasets/search",
                all(),
                "datasets",
                "/dataset_id",
                &mine.datasets,
            ),
            paged(
                "POST",
                "/ajax-api/3.0/mlflow/datasets/search",
                experiments,
                "datasets",
                "/dataset_id",
                &mine.datasets,
            ),
        ]);
        for (id, own) in mine.experiments.iter().zip(&mine.scorers) {
            let one = std::slice::from_ref(own);
            cases.push(whole(
                "GET",
                "/api/3.0/mlflow/scorers/list",
                json!({ "experiment_id": id }),
                "scorers",
                "/scorer_name",
                one,
            ));
        }
    }
    if version >= Version(3, 18) {
        let servers = &mine.mcp_servers;
        let short: Vec<_> = mine
            .skills
            .iter()
            .map(|name| name.rsplit('/').next().unwrap().to_owned())
            .collect();
        let traces = json!({ "trace_ids": mixed(&mine.traces[..20], &theirs.traces[..20]) });
        cases.extend([
            whole(
                "GET",
                "/ajax-api/3.0/mlflow/scorers/list",
                all(),
                "scorers",
                "/scorer_name",
                &mine.scorers,
            ),
            whole(
                "POST",
                "/api/3.0/mlflow/traces/batchGetInfos",
                traces,
                "trace_infos",
                "/trace_id",
                &mine.traces[..20],
            ),
            paged(
                "POST",
                "/api/3.0/mlflow/issues/search",
                all(),
                "issues",
                "/issue_id",
                &mine.issues,
            ),
            whole(
                "GET",
                "/api/3.0/mlflow/gateway/secrets/list",
                all(),
                "secrets",
                "/secret_id",
                &mine.secrets,
            ),
            whole(
                "GET",
                "/api/3.0/mlflow/gateway/model-definitions/list",
                all(),
                "model_definitions",
                "/model_definition_id",
                &mine.model_definitions,
            ),
            whole(
                "GET",
                "/ajax-api/3.0/mlflow/gateway/endpoints/list",
                all(),
                "endpoints",
                "/endpoint_id",
                &mine.endpoints,
            ),
            whole(
                "GET",
                "/gateway/mlflow/v1/models",
                all(),
                "data",
                "/id",
                &mine.endpoint_names,
            ),
            paged(
                "GET",
                "/api/3.0/mlflow/mcp-servers",
                all(),
                "mcp_servers",
                "/name",
                servers,
            ),
            paged(
                "GET",
                "/ajax-api/3.0/mlflow/mcp-servers/endpoints",
                all(),
                "mcp_access_endpoints",
                "/server_name",
                servers,
            ),
            paged("GET", "/api/3.0/mlflow/skills", all(), "skills", "/name", &short),
        ]);
    }
    cases
}
