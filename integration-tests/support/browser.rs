//! A real Chromium, driven by `browser.mjs`.

use std::process::Command;

use serde_json::Value;

use super::{parts, root};

/// Runs one journey of the script and gives what it saw.
pub fn travel(journey: &str, input: &Value) -> Value {
    let output = Command::new("node")
        .arg(root().join("integration-tests/support/browser.mjs"))
        .arg(parts().join("npm"))
        .args([journey, &input.to_string()])
        .output()
        .expect("node runs");
    assert!(
        output.status.success(),
        "{journey}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).expect("one line of JSON")
}
