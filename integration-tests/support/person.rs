//! Somebody of the gateway's people, signed in as a browser would be.

use serde_json::{Value, json};

use super::gateway::Gateway;
use super::http::{Request, Response};

pub struct Person<'a> {
    pub gateway: &'a Gateway,
    cookie: String,
}

impl<'a> Person<'a> {
    pub fn new(gateway: &'a Gateway, name: &str) -> Self {
        Self {
            gateway,
            cookie: gateway.sign_in(name),
        }
    }

    pub fn send(&self, request: Request) -> Response {
        self.gateway.send(
            &request
                .header("Cookie", &self.cookie)
                .header("Origin", &self.gateway.origin()),
        )
    }

    pub fn get(&self, target: &str) -> Response {
        self.send(Request::get(target))
    }

    pub fn json(&self, method: &str, path: &str, body: &Value) -> Response {
        self.send(Request::new(method, path).json(body))
    }

    /// The status of a POST to a route of MLflow's first API, by what follows its prefix.
    pub fn post(&self, path: &str, body: &Value) -> u16 {
        self.json("POST", &format!("/api/2.0/mlflow/{path}"), body).status
    }

    /// A new experiment's id.
    pub fn experiment(&self, name: &str) -> String {
        let answer = self.json("POST", "/api/2.0/mlflow/experiments/create", &json!({"name": name}));
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()["experiment_id"].as_str().unwrap().to_owned()
    }
}
