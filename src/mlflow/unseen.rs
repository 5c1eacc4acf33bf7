//! What a request needs that an ingress carries: what is not seen could be anything, and no answer is cut down.

use std::collections::HashSet;

use super::lookup::Lookup;
use super::resolve::{Parts, Resolver, Terms};
use super::routes::{At, List, Need, Reply, Row, Verb, Version};
use super::{MlflowError, listing};
use crate::config::ProtectedAlias;
use crate::domain::{Access, Kind, Permission, Resource};

use Kind::{Experiment, Prompt, RegisteredModel};

/// From here on MLflow itself keeps clients from saying where a trace's files are.
const TRACES_STAY: Version = Version(3, 13);

fn every(kinds: &[Kind], permission: Permission) -> Vec<Access> {
    kinds
        .iter()
        .map(|kind| Access::on(permission, Resource::every(*kind)))
        .collect()
}

/// All that a request needs whose body is not seen.
pub(super) async fn all(lookup: &Lookup, terms: Terms<'_>, parts: &Parts<'_>) -> Result<Vec<Access>, MlflowError> {
    let row = parts.found.row;
    let resolver = Resolver { lookup, terms, parts };
    let mut all = Vec::new();
    for need in row.needs {
        if *need == Need::GraphQl {
            all.push(Access::Member);
        } else if let Some(accesses) = accesses(*need, row, !parts.target.query.is_empty(), terms.protected) {
            all.extend(accesses);
        } else {
            all.extend(Box::pin(resolver.of(*need)).await?);
        }
    }
    let mut seen = HashSet::new();
    all.retain(|access| seen.insert(access.clone()));
    Ok(all)
}

/// The accesses of a need whose value is in a body that is not seen: those of every value that it may have. `None` where the
/// value is seen.
fn accesses(need: Need, row: &Row, has_query: bool, protected: &[ProtectedAlias]) -> Option<Vec<Access>> {
    let may_be_missing = matches!(
        need,
        Need::MaybeExperiment(..)
            | Need::MaybeOf(..)
            | Need::OfExisting(..)
            | Need::MaybeModel(..)
            | Need::MaybeGateway(..)
            | Need::MaybeNamed(..)
    );
    let hidden = |at: At| match at {
        At::Body(_) | At::BodyOrQuery(_) => true,
        // MLflow reads the fields of a GET from its body when the query is empty.
        At::Query(_) => may_be_missing && row.method == Verb::Get && !has_query,
        At::Path(_) | At::Header(_) => false,
    };
    let models = |permission| every(&[RegisteredModel, Prompt], permission);
    let scorers = |permission| {
        vec![Access::AnyOf {
            permission,
            resources: vec![Resource::every(Kind::Scorer), Resource::every(Experiment)],
        }]
    };
    let accesses = match need {
        Need::Experiment(permission, at)
        | Need::MaybeExperiment(permission, at)
        | Need::ExperimentNamed(permission, at)
        | Need::Of(_, permission, at)
        | Need::MaybeOf(_, permission, at)
        | Need::OfExisting(_, permission, at)
        | Need::Dataset(permission, at)
        | Need::ArtifactPath(permission, at)
            if hidden(at) =>
        {
            every(&[Experiment], permission)
        }
        Need::NewExperiment(at) if hidden(at) => every(&[Experiment], Permission::Edit),
        // Beyond the right to make any experiment: where it keeps its files, a client's word decides in this mode.
        Need::Location(at) if hidden(at) => Vec::new(),
        Need::Model(permission, at) | Need::MaybeModel(permission, at) if hidden(at) => models(permission),
        Need::NewModel(at) if hidden(at) => models(Permission::Edit),
        Need::RenamedModel(old, new) if hidden(old) || hidden(new) => models(Permission::Edit),
        // Any alias or stage of any model, one that a line protects among them.
        Need::MovesAlias(one, other) | Need::MovesAll(one, other) if hidden(one) || hidden(other) => guarded(protected),
        Need::MovesStage(name, version, stage) if hidden(name) || hidden(version) || hidden(stage) => {
            guarded(protected)
        }
        Need::Scorer(permission, experiment, name) if hidden(experiment) || hidden(name) => scorers(permission),
        Need::Judges(..) => every(&[Kind::GatewayEndpoint], Permission::Use),
        Need::ChosenModel => every(&[Kind::GatewayEndpoint, Kind::GatewaySecret], Permission::Use),
        // It may be any place that MLflow's own credentials reach, and MLflow gives its files out.
        Need::Source => vec![Access::on(Permission::Manage, Resource::server())],
        Need::Gateway(kind, permission, at)
        | Need::MaybeGateway(kind, permission, at)
        | Need::Named(kind, permission, at)
        | Need::MaybeNamed(kind, permission, at)
            if hidden(at) =>
        {
            every(&[kind], permission)
        }
        Need::Workspace(permission, at) if hidden(at) => every(&[Kind::Workspace], permission),
        Need::Skills(permission) => every(&[Kind::Skill], permission),
        Need::Spans => every(&[Experiment], Permission::Edit),
        Need::Public
        | Need::Member
        | Need::Server(_)
        | Need::Relay(_)
        | Need::Every(..)
        | Need::Experiment(..)
        | Need::MaybeExperiment(..)
        | Need::ExperimentNamed(..)
        | Need::NewExperiment(_)
        | Need::Location(_)
        | Need::Of(..)
        | Need::MaybeOf(..)
        | Need::OfExisting(..)
        | Need::Dataset(..)
        | Need::Model(..)
        | Need::MaybeModel(..)
        | Need::NewModel(_)
        | Need::RenamedModel(..)
        | Need::MovesAlias(..)
        | Need::MovesStage(..)
        | Need::MovesAll(..)
        | Need::Scorer(..)
        | Need::Gateway(..)
        | Need::MaybeGateway(..)
        | Need::Named(..)
        | Need::MaybeNamed(..)
        | Need::McpServer(_)
        | Need::Skill(_)
        | Need::ArtifactPath(..)
        | Need::GraphQl
        | Need::Workspace(..) => return None,
    };
    Some(accesses)
}

fn guarded(protected: &[ProtectedAlias]) -> Vec<Access> {
    let strongest = protected.iter().map(|line| line.permission).max();
    strongest.map_or(Vec::new(), |permission| every(&[RegisteredModel], permission))
}

/// What the tags of a trace come to, which are not seen: where MLflow looks for its files was a tag once.
pub(super) fn trace_storage(row: &Row, version: Version) -> Vec<Access> {
    if row.action.starts_with("trace.") && !row.is_read() && version < TRACES_STAY {
        vec![Access::on(Permission::Manage, Resource::server())]
    } else {
        Vec::new()
    }
}

/// An answer that an ingress carries is not cut down: whoever gets it must be allowed to read everything in it.
/// `names_a_folder`: of the artifact store, which was decided on already.
pub(super) fn uncut(row: &Row, names_a_folder: bool) -> Vec<Access> {
    if row.needs.contains(&Need::GraphQl) {
        return every(&[Experiment, RegisteredModel, Prompt], Permission::Read);
    }
    match row.reply {
        Reply::List(List::ArtifactFolders) if names_a_folder => Vec::new(),
        Reply::List(list) => listing::uncut(list),
        Reply::Forward
        | Reply::Account(_)
        | Reply::ServerInfo
        | Reply::Refused
        | Reply::Assistant
        | Reply::OwnAccounts => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::routes::rows;
    use super::*;

    /// All that a row needs when nothing of its body is seen.
    fn of(action: &str) -> Vec<Access> {
        let row = rows().find(|row| row.action == action).unwrap();
        let needs = row.needs.iter().filter_map(|need| accesses(*need, row, true, &[]));
        needs.flatten().chain(uncut(row, false)).collect()
    }

    #[test]
    fn what_the_body_names_could_be_everything_of_its_kind() {
        let experiments = |permission| Access::on(permission, Resource::every(Experiment));
        assert_eq!(of("run.create"), [experiments(Permission::Edit)]);
        assert_eq!(of("experiment.delete"), [experiments(Permission::Manage)]);
        assert_eq!(of("experiment.create"), [experiments(Permission::Edit)]);
        assert_eq!(of("run.search"), [experiments(Permission::Read)]);
        assert_eq!(of("registered_model.create").len(), 2, "it may be a prompt");
        let server = Access::on(Permission::Manage, Resource::server());
        assert!(of("model_version.create").contains(&server), "any storage");
        assert_eq!(of("run.get"), [], "its id is in the query");
    }

    #[test]
    fn every_row_that_hides_a_value_needs_more_than_a_role() {
        for row in rows() {
            let hides = |need: &Need| match format!("{need:?}") {
                text if text.contains("Location") || text.starts_with("Moves") => false,
                text => text.contains("Body(") || text.contains("BodyOrQuery(") || text == "Source" || text == "Spans",
            };
            for need in row.needs.iter().filter(|need| hides(need)) {
                let found = accesses(*need, row, true, &[]).unwrap_or_default();
                assert!(!found.is_empty(), "{} {need:?}", row.action);
            }
        }
    }

    #[test]
    fn a_get_without_a_query_may_have_its_fields_in_a_body() {
        for row in rows().filter(|row| row.method == Verb::Get) {
            for need in row.needs {
                let text = format!("{need:?}");
                let may_hide = text.starts_with("Maybe") && text.contains("Query(");
                assert_eq!(
                    accesses(*need, row, false, &[]).is_some(),
                    may_hide,
                    "{} {need:?}",
                    row.action
                );
                assert_eq!(accesses(*need, row, true, &[]), None, "{} {need:?}", row.action);
            }
        }
    }

    #[test]
    fn a_trace_of_an_old_server_is_written_by_who_runs_it() {
        let row = rows().find(|row| row.action == "trace.set_tag").unwrap();
        assert_eq!(trace_storage(row, Version(2, 22)).len(), 1);
        assert_eq!(trace_storage(row, Version(3, 18)).len(), 0);
        let read = rows().find(|row| row.action == "trace.get_info").unwrap();
        assert_eq!(trace_storage(read, Version(2, 22)).len(), 0);
    }
}
