//! Protected aliases and stages: what moves one of them needs more than EDIT on its model.

use super::lookup::Lookup;
use super::resolve::Parts;
use super::routes::Need;
use super::{MlflowError, tags};
use crate::config::ProtectedAlias;
use crate::domain::{Access, Kind, Permission, Resource};

/// What is to be moved.
#[derive(Clone, Copy, Debug)]
enum Moved<'a> {
    Alias(&'a str),
    Stage(&'a str),
}

/// The level that the lines ask for; `None` where none is about it.
fn level(protected: &[ProtectedAlias], model: &str, moved: Moved<'_>) -> Option<Permission> {
    protected
        .iter()
        .filter(|line| line.registered_models.iter().any(|pattern| pattern.matches(model)))
        .filter(|line| match moved {
            // A database may take another spelling for the same.
            Moved::Alias(alias) => line.aliases.iter().any(|known| tags::is_or_resembles(alias, known)),
            Moved::Stage(stage) => line.stages.iter().any(|known| known.eq_ignore_ascii_case(stage)),
        })
        .map(|line| line.permission)
        .max()
}

/// What a row's need comes to; nothing where no line is about what it moves.
pub(super) async fn accesses(
    lookup: &Lookup,
    protected: &[ProtectedAlias],
    parts: &Parts<'_>,
    need: Need,
) -> Result<Vec<Access>, MlflowError> {
    if protected.is_empty() {
        return Ok(Vec::new());
    }
    let value = |at| parts.values(at).map(|values| values.concat());
    match need {
        Need::MovesAlias(name, alias) => moved(lookup, protected, &value(name)?, &value(alias)?).await,
        Need::MovesStage(name, version, stage) => {
            transitioned(lookup, protected, &value(name)?, &value(version)?, &value(stage)?).await
        }
        Need::MovesAll(old, new) => renamed(lookup, protected, &value(old)?, &value(new)?).await,
        _ => Ok(Vec::new()),
    }
}

/// Setting an alias, or taking it off.
async fn moved(
    lookup: &Lookup,
    protected: &[ProtectedAlias],
    name: &str,
    alias: &str,
) -> Result<Vec<Access>, MlflowError> {
    match level(protected, name, Moved::Alias(alias)) {
        Some(level) => on_model(lookup, name, level).await,
        None => Ok(Vec::new()),
    }
}

/// Moving a version from one stage to another. Those that are archived for it leave the stage that it comes to.
async fn transitioned(
    lookup: &Lookup,
    protected: &[ProtectedAlias],
    name: &str,
    version: &str,
    stage: &str,
) -> Result<Vec<Access>, MlflowError> {
    if protected.iter().all(|line| line.stages.is_empty()) {
        return Ok(Vec::new());
    }
    let mut asked = level(protected, name, Moved::Stage(stage));
    if let Some(current) = lookup.stage_of(name, version).await? {
        asked = asked.max(level(protected, name, Moved::Stage(&current)));
    }
    match asked {
        Some(level) => on_model(lookup, name, level).await,
        None => Ok(Vec::new()),
    }
}

/// A model's new name takes its aliases and stages away from the old one, and brings them to where others may be protected.
async fn renamed(
    lookup: &Lookup,
    protected: &[ProtectedAlias],
    old: &str,
    new: &str,
) -> Result<Vec<Access>, MlflowError> {
    let Some(found) = lookup.registered(old).await? else {
        return Ok(Vec::new());
    };
    if found.model.prompt {
        return Ok(Vec::new());
    }
    let borne = || {
        let aliases = found.aliases.iter().map(|alias| Moved::Alias(alias));
        aliases.chain(found.stages.iter().map(|stage| Moved::Stage(stage)))
    };
    let asked = |name: &str| borne().filter_map(|moved| level(protected, name, moved)).max();
    let mut all = Vec::new();
    if let Some(level) = asked(old) {
        all.push(Access::on(level, found.model.resource()));
    }
    if let Some(level) = asked(new) {
        all.push(Access::on(level, Resource::named(Kind::RegisteredModel, new)));
    }
    Ok(all)
}

async fn on_model(lookup: &Lookup, name: &str, level: Permission) -> Result<Vec<Access>, MlflowError> {
    Ok(match lookup.model(name).await? {
        Some(model) if model.prompt => Vec::new(),
        Some(model) => vec![Access::on(level, model.resource())],
        None => vec![Access::on(level, Resource::named(Kind::RegisteredModel, name))],
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Glob;

    #[test]
    fn a_line_is_about_its_models_aliases_and_stages_in_any_spelling() {
        let protected = [ProtectedAlias {
            registered_models: vec![Glob::parse("fraud-*")],
            aliases: vec!["production".to_owned()],
            stages: vec!["Production".to_owned()],
            permission: Permission::Manage,
        }];
        let asked = |model, moved| level(&protected, model, moved);
        for alias in ["production", "Production", "producti\u{f6}n"] {
            assert_eq!(
                asked("fraud-a", Moved::Alias(alias)),
                Some(Permission::Manage),
                "{alias}"
            );
        }
        for stage in ["Production", "production"] {
            assert_eq!(asked("fraud-a", Moved::Stage(stage)), Some(Permission::Manage));
        }
        assert_eq!(asked("fraud-a", Moved::Alias("candidate")), None);
        assert_eq!(asked("fraud-a", Moved::Stage("Staging")), None);
        assert_eq!(asked("churn", Moved::Alias("production")), None);
    }
}
