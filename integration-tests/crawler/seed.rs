//! What two teams have on one server: alike, and each thing with the word of its team in it.

use serde_json::{Value, json};

use crate::support::http::Request;
use crate::support::mlflow::{Mlflow, NEWEST, OLDEST};

/// One team's things. Things of one place in each list belong together.
#[derive(Default)]
pub struct Team {
    pub name: &'static str,
    /// In everything that is the team's, and in nothing else.
    pub word: &'static str,
    pub experiments: Vec<String>,
    pub experiment_names: Vec<String>,
    pub runs: Vec<String>,
    pub traces: Vec<String>,
    pub models: Vec<String>,
    pub prompts: Vec<String>,
    pub logged_models: Vec<String>,
    pub artifacts: Vec<String>,
    pub datasets: Vec<String>,
    pub scorers: Vec<String>,
    pub issues: Vec<String>,
    pub queues: Vec<String>,
    pub schemas: Vec<String>,
    pub secrets: Vec<String>,
    pub model_definitions: Vec<String>,
    pub endpoints: Vec<String>,
    pub endpoint_names: Vec<String>,
    pub mcp_servers: Vec<String>,
    pub skills: Vec<String>,
}

/// The team's grants, in the words of a configuration.
pub const GRANTS: &str = r#"grants = [{ permission = "EDIT", experiments = ["%/*"], registered_models = ["%-*"], prompts = ["%-*"],
    gateway_endpoints = ["%-*"], gateway_secrets = ["%-*"], gateway_model_definitions = ["%-*"], mcp_servers = ["com.team-%/*"], skills = ["@%/*", "%-*"] }]"#;

struct Maker<'a>(&'a Mlflow);

impl Maker<'_> {
    fn ask(&self, method: &str, path: &str, body: &Value) -> Value {
        let answer = self.0.ask(&Request::new(method, path).json(body));
        assert_eq!(answer.status, 200, "{path} {body}: {}", answer.text());
        serde_json::from_slice(&answer.body).unwrap_or_default()
    }

    fn make(&self, path: &str, body: &Value, id: &str) -> String {
        let made = self.ask("POST", path, body);
        let found = made.pointer(id).unwrap_or_else(|| panic!("{path}: {made}"));
        found.as_str().map_or_else(|| found.to_string(), str::to_owned)
    }

    fn file(&self, path: &str, text: &str) {
        let path = format!("/api/2.0/mlflow-artifacts/artifacts/{path}");
        let put = self.0.ask(&Request::new("PUT", &path).body("text/plain", text));
        assert_eq!(put.status, 200, "{path}: {}", put.text());
    }
}

const TWO: &str = "/api/2.0/mlflow";
const THREE: &str = "/api/3.0/mlflow";

impl Team {
    /// Every name of the team's that holds its word.
    pub fn names(&self) -> impl Iterator<Item = &String> {
        let names = [
            &self.experiment_names,
            &self.models,
            &self.prompts,
            &self.scorers,
            &self.endpoint_names,
            &self.mcp_servers,
            &self.skills,
        ];
        names.into_iter().flatten()
    }

    /// Makes `count` experiments with all that belongs to them, and a few of what is rare.
    pub fn settle(mlflow: &Mlflow, name: &'static str, word: &'static str, count: usize) -> Self {
        let maker = Maker(mlflow);
        let mut team = Self {
            name,
            word,
            ..Self::default()
        };
        for index in 0..count {
            team.add_experiment(&maker, index);
        }
        if mlflow.version != OLDEST {
            for index in 0..3 {
                team.add_evaluation(&maker, index);
            }
        }
        if mlflow.version == NEWEST {
            for index in 0..3 {
                team.add_newest(&maker, index);
            }
        }
        team
    }

    fn add_experiment(&mut self, maker: &Maker<'_>, index: usize) {
        let (name, word) = (self.name, self.word);
        let tag = json!({ "key": "k", "value": word });
        let title = format!("{name}/{index:03} {word}");
        let made = json!({ "name": title, "tags": [tag] });
        let experiment = maker.make(&format!("{TWO}/experiments/create"), &made, "/experiment_id");
        let made = json!({ "experiment_id": experiment, "run_name": word, "start_time": 1, "tags": [tag] });
        let run = maker.make(&format!("{TWO}/runs/create"), &made, "/run/info/run_id");
        let batch = json!({ "run_id": run, "params": [{ "key": "p", "value": word }],
            "metrics": [{ "key": "m", "value": 0.5, "timestamp": 1, "step": 0 }, { "key": word, "value": 1, "timestamp": 1, "step": 0 }] });
        maker.ask("POST", &format!("{TWO}/runs/log-batch"), &batch);
        let dataset =
            json!({ "name": word, "digest": format!("{index:03}{word}"), "source_type": "local", "source": word });
        let inputs = json!({ "run_id": run, "datasets": [{ "dataset": dataset }] });
        maker.ask("POST", &format!("{TWO}/runs/log-inputs"), &inputs);
        maker.file(&format!("{experiment}/{run}/artifacts/note.txt"), word);
        let trace = json!({ "experiment_id": experiment, "timestamp_ms": 1, "status": "OK", "tags": [tag],
            "request_metadata": [{ "key": "r", "value": word }] });
        let trace = maker.make(&format!("{TWO}/traces"), &trace, "/trace_info/request_id");
        maker.file(
            &format!("{experiment}/traces/{trace}/artifacts/traces.json"),
            &json!({ "spans": [], "request": word, "response": word }).to_string(),
        );
        let model = format!("{name}-model-{index:03}-{word}");
        let made = json!({ "name": model, "description": word });
        maker.ask("POST", &format!("{TWO}/registered-models/create"), &made);
        let source = format!("mlflow-artifacts:/{experiment}/{run}/artifacts");
        let made = json!({ "name": model, "source": source, "run_id": run, "description": word });
        maker.ask("POST", &format!("{TWO}/model-versions/create"), &made);
        let alias = json!({ "name": model, "alias": "champion", "version": "1" });
        maker.ask("POST", &format!("{TWO}/registered-models/alias"), &alias);
        let prompt = format!("{name}-prompt-{index:03}-{word}");
        let is_prompt = json!({ "key": "mlflow.prompt.is_prompt", "value": "true" });
        let made = json!({ "name": prompt, "tags": [is_prompt] });
        maker.ask("POST", &format!("{TWO}/registered-models/create"), &made);
        let text = json!({ "key": "mlflow.prompt.text", "value": word });
        let made = json!({ "name": prompt, "source": "prompt-template", "tags": [is_prompt, text] });
        maker.ask("POST", &format!("{TWO}/model-versions/create"), &made);
        if maker.0.version != OLDEST {
            let made = json!({ "experiment_id": experiment, "name": word, "source_run_id": run });
            let id = maker.make(&format!("{TWO}/logged-models"), &made, "/model/info/model_id");
            maker.file(&format!("{experiment}/models/{id}/artifacts/note.txt"), word);
            self.artifacts
                .push(format!("{experiment}/models/{id}/artifacts/note.txt"));
            self.logged_models.push(id);
        }
        self.artifacts.push(format!("{experiment}/{run}/artifacts/note.txt"));
        self.artifacts
            .push(format!("{experiment}/traces/{trace}/artifacts/traces.json"));
        self.experiment_names.push(title);
        self.experiments.push(experiment);
        self.runs.push(run);
        self.traces.push(trace);
        self.models.push(model);
        self.prompts.push(prompt);
    }

    /// What 3.5 has too.
    fn add_evaluation(&mut self, maker: &Maker<'_>, index: usize) {
        let (name, word) = (self.name, self.word);
        let experiment = &self.experiments[index];
        let tags = json!({ "k": word }).to_string();
        let made = json!({ "name": format!("{name}-{index}-{word}"), "experiment_ids": [experiment], "tags": tags });
        let dataset = maker.make(&format!("{THREE}/datasets/create"), &made, "/dataset/dataset_id");
        let records = json!([{ "inputs": { "q": word } }]).to_string();
        let path = format!("{THREE}/datasets/{dataset}/records");
        maker.ask("POST", &path, &json!({ "records": records }));
        self.datasets.push(dataset);
        let scorer = format!("{name}-{index}-{word}");
        let judge = json!({ "instructions": format!("Is {{{{ outputs }}}} a {word}?"), "model": "openai:/m" });
        let serialized = json!({ "name": scorer, "aggregations": [], "is_session_level_scorer": false,
            "mlflow_version": "3.5.1", "serialization_version": 1, "instructions_judge_pydantic_data": judge });
        let made = json!({ "experiment_id": experiment, "name": scorer, "serialized_scorer": serialized.to_string() });
        maker.ask("POST", &format!("{THREE}/scorers/register"), &made);
        self.scorers.push(scorer);
    }

    /// What is new since.
    fn add_newest(&mut self, maker: &Maker<'_>, index: usize) {
        let (name, word) = (self.name, self.word);
        let experiment = &self.experiments[index];
        let called = format!("{name}-{index}-{word}");
        let made = json!({ "experiment_id": experiment, "name": word, "description": word });
        let issue = maker.make(&format!("{THREE}/issues"), &made, "/issue/issue_id");
        self.issues.push(issue);
        let made = json!({ "experiment_id": experiment, "name": word, "queue_type": "CUSTOM" });
        let path = format!("{THREE}/review-queues/create");
        self.queues.push(maker.make(&path, &made, "/review_queue/queue_id"));
        let made = json!({ "experiment_id": experiment, "name": word, "type": "FEEDBACK", "input": { "text": {} } });
        let path = format!("{THREE}/label-schemas/create");
        self.schemas.push(maker.make(&path, &made, "/label_schema/schema_id"));
        let made = json!({ "secret_name": called, "secret_value": { "api_key": "sk-x" }, "provider": "openai" });
        let secret = maker.make(&format!("{THREE}/gateway/secrets/create"), &made, "/secret/secret_id");
        let made = json!({ "name": called, "secret_id": secret, "provider": "openai", "model_name": word });
        let path = format!("{THREE}/gateway/model-definitions/create");
        let definition = maker.make(&path, &made, "/model_definition/model_definition_id");
        let config = json!({ "model_definition_id": definition, "linkage_type": "PRIMARY", "weight": 1.0 });
        let made = json!({ "name": called, "model_configs": [config] });
        let path = format!("{THREE}/gateway/endpoints/create");
        self.endpoints.push(maker.make(&path, &made, "/endpoint/endpoint_id"));
        self.endpoint_names.push(called);
        self.secrets.push(secret);
        self.model_definitions.push(definition);
        let server = format!("com.team-{name}/s{index}-{word}");
        let made = json!({ "name": server, "description": word });
        maker.ask("POST", &format!("{THREE}/mcp-servers"), &made);
        let described = json!({ "name": server, "version": "1.0.0", "description": word });
        let made = json!({ "server_json": described, "status": "active" });
        maker.ask("POST", &format!("{THREE}/mcp-servers/{server}/versions"), &made);
        let made = json!({ "url": format!("https://{word}.example.com/mcp"), "server_version": "1.0.0" });
        maker.ask("POST", &format!("{THREE}/mcp-servers/{server}/endpoints"), &made);
        self.mcp_servers.push(server);
        let organization = if index == 0 { "" } else { name };
        let skill = format!("{name}-{index}-{word}");
        let made = json!({ "name": skill, "organization": organization, "description": word });
        maker.ask("POST", &format!("{THREE}/skills"), &made);
        self.skills.push(match organization {
            "" => skill,
            organization => format!("@{organization}/{skill}"),
        });
    }
}
