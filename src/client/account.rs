//! Who a token is, as the gateway says (`/auth/account`).

use serde_json::Value;

use crate::domain::visible;

pub struct Account(Value);

impl Account {
    pub(super) fn new(told: Value) -> Option<Self> {
        told.get("user").and_then(Value::as_str)?;
        Some(Self(told))
    }

    pub fn user(&self) -> String {
        self.text("user")
    }

    pub fn provider(&self) -> String {
        self.text("provider")
    }

    pub fn groups(&self) -> Vec<String> {
        self.list("groups")
    }

    pub fn roles(&self) -> Vec<String> {
        self.list("roles")
    }

    /// As the gateway writes it, RFC 3339.
    pub fn expires(&self) -> String {
        self.text("expires")
    }

    /// All that was told, for `--json`.
    pub fn whole(&self) -> &Value {
        &self.0
    }

    fn text(&self, name: &str) -> String {
        self.0
            .get(name)
            .and_then(Value::as_str)
            .map(visible)
            .unwrap_or_default()
    }

    fn list(&self, name: &str) -> Vec<String> {
        let all = self.0.get(name).and_then(Value::as_array);
        all.into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .map(visible)
            .collect()
    }
}
