//! `[[protected_alias]]`: aliases and stages of models that need more than EDIT to be moved.

use std::sync::Arc;

use crate::domain::{Glob, Permission};

use super::node::Node;
use super::reader::Section;
use super::value;

/// MLflow's stages, as it writes them (`mlflow/entities/model_registry/model_version_stages.py`).
const STAGES: [&str; 4] = ["None", "Staging", "Production", "Archived"];

/// What is more than EDIT.
const PERMISSIONS: [(&str, Permission); 1] = [("MANAGE", Permission::Manage)];

#[derive(Clone, Debug)]
pub struct ProtectedAlias {
    pub registered_models: Vec<Glob>,
    pub aliases: Vec<String>,
    pub stages: Vec<String>,
    pub permission: Permission,
}

pub(super) fn read_all(root: &Section<'_>) -> Arc<[ProtectedAlias]> {
    root.sections("protected_alias").into_iter().filter_map(read).collect()
}

fn read(section: Section<'_>) -> Option<ProtectedAlias> {
    let models = section.list("registered_models", value::text);
    if section.node("registered_models").is_none() {
        section.problem("registered_models", "is missing: write [\"*\"] for all models");
    }
    let aliases = section.list("aliases", alias).unwrap_or_default();
    let stages = section.list("stages", stage).unwrap_or_default();
    if section.node("aliases").is_none() && section.node("stages").is_none() {
        section.problem(
            "aliases",
            "is missing: name aliases, or stages, that are to be protected",
        );
    }
    let permission = section.choice("permission", &PERMISSIONS);
    section.finish();
    Some(ProtectedAlias {
        registered_models: models?.iter().map(|pattern| Glob::parse(pattern)).collect(),
        aliases,
        stages,
        permission: permission?,
    })
}

fn alias(node: &Node) -> Result<String, String> {
    let text = value::text(node)?;
    if text.chars().all(|c| c.is_alphanumeric() || matches!(c, '-' | '_')) {
        Ok(text)
    } else {
        Err(format!(
            "must be a whole alias, of letters, digits, - and _, not {text:?}"
        ))
    }
}

fn stage(node: &Node) -> Result<String, String> {
    let text = value::text(node)?;
    let known = STAGES.iter().find(|stage| stage.eq_ignore_ascii_case(&text));
    known
        .map(|stage| (*stage).to_owned())
        .ok_or_else(|| format!("must be one of {}, not {text:?}", STAGES.join(", ")))
}
