//! From what a row needs to accesses: reads the values from the request, and asks who their parents are.

use std::collections::BTreeSet;

use bytes::Bytes;
use serde_json::{Map, Value};

use super::canonical::{Target, hides_escape};
use super::lookup::{Child, ExperimentRef, Lookup};
use super::routes::{At, Found, Need, RELAYED_LIST};
use super::spans::Export;
use super::{MlflowError, aliases, fields, graphql, listing, sources, tags};
use crate::config::ProtectedAlias;
use crate::domain::{Access, Kind, Permission, Resource};

/// Ids that one request may name: each costs a look-up when it is new.
const IDS: usize = 1000;

/// The parts of a request that decide.
pub(super) struct Parts<'a> {
    pub(super) found: &'a Found,
    pub(super) target: &'a Target,
    /// `None` for an empty body, and for one that does not decide.
    pub(super) json: Option<&'a Map<String, Value>>,
    pub(super) body: &'a Bytes,
    pub(super) export: Option<&'a Export<'a>>,
    pub(super) header: &'a dyn Fn(&str) -> Result<Option<String>, MlflowError>,
}

/// What the operator laid down for the upstream.
#[derive(Clone, Copy)]
pub(super) struct Terms<'a> {
    pub(super) roots: &'a [String],
    pub(super) protected: &'a [ProtectedAlias],
}

fn malformed(text: impl Into<String>) -> MlflowError {
    MlflowError::Malformed(text.into())
}

impl Parts<'_> {
    /// The values at a place, without doubles; empty where there are none.
    pub(super) fn values(&self, at: At) -> Result<Vec<String>, MlflowError> {
        let found = match at {
            At::Path(name) => self.found.value(name).map(str::to_owned).into_iter().collect(),
            At::Query(names) => self.in_query(names)?,
            At::Body(names) => self.in_body(names)?,
            At::BodyOrQuery(names) if self.json.is_some() => self.in_body(names)?,
            At::BodyOrQuery(names) => self.in_query(names)?,
            At::Header(name) => (self.header)(name)?.into_iter().collect(),
        };
        if found.len() > IDS {
            return Err(malformed("The request names too many things at once."));
        }
        let unique: BTreeSet<_> = found.iter().collect();
        if unique.len() == found.len() {
            return Ok(found);
        }
        Ok(unique.into_iter().cloned().collect())
    }

    fn required(&self, at: At) -> Result<Vec<String>, MlflowError> {
        let found = self.values(at)?;
        if found.is_empty() {
            return Err(malformed(format!("{} is missing.", name_of(at))));
        }
        Ok(found)
    }

    fn in_query(&self, names: &str) -> Result<Vec<String>, MlflowError> {
        let mut all = Vec::new();
        for name in names.split('|') {
            let (name, repeated) = name.strip_suffix("[]").map_or((name, false), |name| (name, true));
            let values: Vec<_> = self
                .target
                .query
                .iter()
                .filter(|(key, _)| key == name)
                .map(|(_, value)| value.clone())
                .collect();
            if values.len() > 1 && !repeated {
                return Err(malformed(format!("{name} stands twice in the query.")));
            }
            all.push(values);
        }
        one_spelling(names, all)
    }

    fn in_body(&self, names: &str) -> Result<Vec<String>, MlflowError> {
        let Some(map) = self.json else { return Ok(Vec::new()) };
        let all = names
            .split('|')
            .map(|name| fields::texts(map, name))
            .collect::<Result<_, _>>()?;
        one_spelling(names, all)
    }
}

/// Alternative spellings must agree where several are used.
fn one_spelling(names: &str, all: Vec<Vec<String>>) -> Result<Vec<String>, MlflowError> {
    let mut used = all.into_iter().filter(|values| !values.is_empty());
    let first = used.next().unwrap_or_default();
    if used.any(|other| other != first) {
        return Err(malformed(format!("{} disagree.", names.replace('|', " and "))));
    }
    Ok(first)
}

fn name_of(at: At) -> &'static str {
    match at {
        At::Path(name) | At::Query(name) | At::Body(name) | At::BodyOrQuery(name) | At::Header(name) => {
            name.split('|').next().unwrap_or(name).trim_end_matches("[]")
        }
    }
}

/// What all of a row's needs come to, and the plan for a GraphQL answer.
pub(super) async fn accesses(
    lookup: &std::sync::Arc<Lookup>,
    terms: Terms<'_>,
    parts: &Parts<'_>,
) -> Result<(Vec<Access>, Option<listing::Plan>), MlflowError> {
    let resolver = Resolver { lookup, terms, parts };
    let mut all = Vec::new();
    let mut plan = None;
    for need in parts.found.row.needs {
        if *need == Need::GraphQl {
            let (accesses, found) = Box::pin(graphql::accesses(lookup, parts.body)).await?;
            all.extend(accesses);
            plan = found;
        } else if let Some(accesses) = resolver.remembered(*need)? {
            all.extend(accesses);
        } else {
            // Boxed, here and below: a future holds the room of all that it may await, and a worker's stack is small.
            all.extend(Box::pin(resolver.of(*need)).await?);
        }
    }
    if parts.found.row.action.starts_with("trace.") {
        all.extend(Box::pin(resolver.trace_storage()).await?);
    }
    if parts.found.row.action.starts_with("experiment.") {
        all.extend(Box::pin(resolver.scheduled()).await?);
    }
    if all.len() > 1 {
        let mut seen = std::collections::HashSet::new();
        all.retain(|access| seen.insert(access.clone()));
    }
    Ok((all, plan))
}

/// What each of a row's needs comes to.
pub(super) struct Resolver<'a> {
    pub(super) lookup: &'a Lookup,
    pub(super) terms: Terms<'a>,
    pub(super) parts: &'a Parts<'a>,
}

impl Resolver<'_> {
    /// What nearly every request needs, where nobody has to be asked: it costs no future. `None` where it does.
    fn remembered(&self, need: Need) -> Result<Option<Vec<Access>>, MlflowError> {
        let parts = self.parts;
        Ok(match need {
            Need::Public => Some(vec![Access::Public]),
            Need::Member => Some(vec![Access::Member]),
            Need::Server(permission) => Some(vec![Access::on(permission, Resource::server())]),
            Need::Every(kind, permission) => Some(vec![Access::on(permission, Resource::every(kind))]),
            Need::Relay(at) if parts.values(at)? == [RELAYED_LIST] => Some(vec![Access::Member]),
            Need::Relay(_) => Some(vec![Access::on(Permission::Manage, Resource::server())]),
            Need::Experiment(permission, at) => {
                held(permission, &parts.required(at)?, |id| self.lookup.held_experiment(id))
            }
            Need::Of(child, permission, at) => held(permission, &parts.required(at)?, |id| {
                self.lookup.held_experiment_of(child, id)
            }),
            _ => None,
        })
    }

    pub(super) async fn of(&self, need: Need) -> Result<Vec<Access>, MlflowError> {
        let parts = self.parts;
        Ok(match need {
            Need::Public | Need::Member | Need::Server(_) | Need::Relay(_) | Need::Every(..) => {
                self.remembered(need)?.unwrap_or_default()
            }
            // `accesses` reads these itself: they bring a plan.
            Need::GraphQl => Vec::new(),
            Need::Experiment(permission, at) => Box::pin(self.experiments(permission, parts.required(at)?)).await?,
            Need::MaybeExperiment(permission, at) => Box::pin(self.experiments(permission, parts.values(at)?)).await?,
            Need::ExperimentNamed(permission, at) => {
                Box::pin(self.experiment_named(permission, parts.required(at)?)).await?
            }
            Need::NewExperiment(at) => named(Kind::Experiment, Permission::Edit, parts.values(at)?)?,
            Need::Location(at) => match parts.values(at)?.first().filter(|uri| !uri.is_empty()) {
                Some(uri) => sources::of_location(self.terms.roots, uri),
                None => Vec::new(),
            },
            Need::Of(child, permission, at) => {
                Box::pin(self.children(child, permission, parts.required(at)?, false)).await?
            }
            Need::MaybeOf(child, permission, at) => {
                let ids = parts.values(at)?.into_iter().filter(|id| !id.is_empty()).collect();
                Box::pin(self.children(child, permission, ids, false)).await?
            }
            Need::OfExisting(child, permission, at) => {
                let ids = parts.values(at)?.into_iter().filter(|id| !id.is_empty()).collect();
                Box::pin(self.children(child, permission, ids, true)).await?
            }
            Need::Dataset(permission, at) => Box::pin(self.dataset(permission, parts.required(at)?)).await?,
            Need::Model(permission, at) => Box::pin(self.models(permission, parts.required(at)?)).await?,
            Need::MaybeModel(permission, at) => Box::pin(self.models(permission, parts.values(at)?)).await?,
            Need::NewModel(at) => {
                let kind = if tags::makes_prompt(parts.json)? {
                    Kind::Prompt
                } else {
                    Kind::RegisteredModel
                };
                named(kind, Permission::Edit, parts.required(at)?)?
            }
            Need::RenamedModel(old, new) => Box::pin(self.renamed(parts.required(old)?, parts.required(new)?)).await?,
            Need::MovesAlias(..) | Need::MovesStage(..) | Need::MovesAll(..) => {
                Box::pin(aliases::accesses(self.lookup, self.terms.protected, parts, need)).await?
            }
            Need::Source => Box::pin(self.source()).await?,
            Need::Scorer(permission, experiment, name) => {
                Box::pin(self.scorers(permission, parts.required(experiment)?, &parts.required(name)?)).await?
            }
            Need::Judges(experiment, described) => Box::pin(self.judges(experiment, described)).await?,
            Need::ChosenModel => Box::pin(self.chosen_model()).await?,
            Need::Gateway(kind, permission, at) => {
                Box::pin(self.gateway(kind, permission, parts.required(at)?)).await?
            }
            Need::MaybeGateway(kind, permission, at) => {
                Box::pin(self.gateway(kind, permission, parts.values(at)?)).await?
            }
            Need::Named(kind, permission, at) => {
                Box::pin(self.named_thing(kind, permission, parts.required(at)?)).await?
            }
            Need::MaybeNamed(kind, permission, at) => {
                Box::pin(self.named_thing(kind, permission, parts.values(at)?)).await?
            }
            Need::McpServer(permission) => {
                let (namespace, slug) = (
                    parts.required(At::Path("namespace"))?,
                    parts.required(At::Path("slug"))?,
                );
                named(
                    Kind::McpServer,
                    permission,
                    vec![format!("{}/{}", namespace.concat(), slug.concat())],
                )?
            }
            Need::Skill(permission) => {
                let name = parts.required(At::Path("name"))?.concat();
                let organization = parts.values(At::Path("organization"))?.concat();
                named(Kind::Skill, permission, vec![skill_name(&organization, &name)])?
            }
            Need::Skills(permission) => {
                let organization = parts.values(At::Body("organization"))?.concat();
                let names = [
                    parts.values(At::Body("name"))?,
                    parts.values(At::Body("skills[].name"))?,
                ]
                .concat();
                if names.is_empty() {
                    return Err(malformed("name is missing."));
                }
                named(
                    Kind::Skill,
                    permission,
                    names.iter().map(|name| skill_name(&organization, name)).collect(),
                )?
            }
            Need::ArtifactPath(permission, at) => {
                let path = parts.values(at)?.concat();
                // The root holds a folder for each experiment: a list, cut down like others.
                if path.is_empty() && permission == Permission::Read {
                    return Ok(vec![Access::Member]);
                }
                if hides_escape(&path) {
                    return Err(malformed("The path is escaped twice."));
                }
                Box::pin(sources::of_artifact_path(self.lookup, &path, permission)).await?
            }
            Need::Spans => Box::pin(self.spans()).await?,
            Need::Workspace(permission, at) => named(Kind::Workspace, permission, parts.required(at)?)?,
        })
    }

    pub(super) async fn experiments(
        &self,
        permission: Permission,
        ids: Vec<String>,
    ) -> Result<Vec<Access>, MlflowError> {
        if let Some(id) = ids.iter().find(|id| !is_experiment_id(id)) {
            return Err(malformed(format!("'{}' is no experiment id.", shown(id))));
        }
        let found = self.lookup.experiments(&ids).await?;
        Ok(ids
            .into_iter()
            .zip(found)
            .map(|(id, experiment)| {
                let resource = experiment.map(|experiment| experiment.resource());
                Access::on(
                    permission,
                    resource.unwrap_or_else(|| Resource::unknown(Kind::Experiment, id)),
                )
            })
            .collect())
    }

    /// A trace's files are where its tags say: to point them elsewhere is for who runs the server. The 2.x client sends back
    /// what the server told it.
    async fn trace_storage(&self) -> Result<Vec<Access>, MlflowError> {
        let parts = self.parts;
        let tags = tags::named(parts.found, parts.target, parts.json);
        let moved: Vec<_> = tags.iter().filter(|tag| tag.is_storage()).collect();
        if moved.is_empty() {
            return Ok(Vec::new());
        }
        let named = [
            At::Path("request_id"),
            At::Path("trace_id"),
            At::Body("trace.trace_info.trace_id"),
        ];
        let mut own = Vec::new();
        for at in named {
            for id in parts.values(at)? {
                own = self.lookup.tags_of_trace(&id).await?;
            }
        }
        let stays = |tag: &tags::Tag<'_>| {
            own.iter()
                .any(|(key, value)| *key == tag.key && Some(value.as_str()) == tag.value)
        };
        if moved.into_iter().all(stays) {
            Ok(Vec::new())
        } else {
            Ok(vec![Access::on(Permission::Manage, Resource::server())])
        }
    }

    async fn experiment_named(&self, permission: Permission, names: Vec<String>) -> Result<Vec<Access>, MlflowError> {
        let mut all = Vec::new();
        for name in names {
            let resource = match self.lookup.experiment_named(&name).await? {
                Some(experiment) => experiment.resource(),
                None => Resource::named(Kind::Experiment, name),
            };
            all.push(Access::on(permission, resource));
        }
        Ok(all)
    }

    async fn children(
        &self,
        child: Child,
        permission: Permission,
        ids: Vec<String>,
        only_existing: bool,
    ) -> Result<Vec<Access>, MlflowError> {
        if let Some(id) = ids.iter().find(|id| !is_child_id(child, id)) {
            return Err(malformed(format!("'{}' is no id of its kind.", shown(id))));
        }
        let found = self.lookup.experiments_of(child, &ids).await?;
        let resources = ids.into_iter().zip(found).filter_map(|(id, found)| match found {
            Some(experiment) => Some(experiment.resource()),
            None => (!only_existing).then(|| Resource::unknown(Kind::Experiment, id)),
        });
        Ok(resources.map(|resource| Access::on(permission, resource)).collect())
    }

    async fn dataset(&self, permission: Permission, ids: Vec<String>) -> Result<Vec<Access>, MlflowError> {
        let mut all = Vec::new();
        for id in ids {
            let parents = self.lookup.experiments_of_dataset(&id).await?;
            if parents.is_empty() {
                all.push(Access::on(permission, Resource::unknown(Kind::Experiment, id)));
            }
            all.extend(
                parents
                    .into_iter()
                    .map(|parent| Access::on(permission, parent.resource())),
            );
        }
        Ok(all)
    }

    async fn models(&self, permission: Permission, names: Vec<String>) -> Result<Vec<Access>, MlflowError> {
        let mut all = Vec::new();
        for name in names {
            all.push(match self.lookup.model(&name).await? {
                Some(model) => Access::on(permission, model.resource()),
                // It could become either; who may not have it as either learns nothing of whether it is there.
                None => Access::AnyOf {
                    permission,
                    resources: [Kind::RegisteredModel, Kind::Prompt]
                        .map(|kind| Resource::named(kind, name.as_str()))
                        .into(),
                },
            });
        }
        Ok(all)
    }

    async fn renamed(&self, old: Vec<String>, new: Vec<String>) -> Result<Vec<Access>, MlflowError> {
        let kind = match self.lookup.model(&old.concat()).await? {
            Some(model) => model.kind(),
            None => Kind::RegisteredModel,
        };
        named(kind, Permission::Edit, new)
    }

    async fn source(&self) -> Result<Vec<Access>, MlflowError> {
        let source = self.parts.required(At::Body("source"))?.concat();
        let run = self.parts.values(At::Body("run_id"))?.concat();
        let run = Some(run.as_str()).filter(|run| !run.is_empty());
        Box::pin(sources::of_source(self.lookup, self.terms.roots, &source, run)).await
    }

    pub(super) async fn gateway(
        &self,
        kind: Kind,
        permission: Permission,
        ids: Vec<String>,
    ) -> Result<Vec<Access>, MlflowError> {
        let mut all = Vec::new();
        for id in ids {
            let resource = match self.lookup.gateway_object(kind, &id).await? {
                Some((id, name)) => Resource::one(kind, id, name),
                None => Resource::unknown(kind, id),
            };
            all.push(Access::on(permission, resource));
        }
        Ok(all)
    }

    pub(super) async fn named_thing(
        &self,
        kind: Kind,
        permission: Permission,
        names: Vec<String>,
    ) -> Result<Vec<Access>, MlflowError> {
        if kind != Kind::GatewayEndpoint || permission == Permission::Edit {
            return named(kind, permission, names);
        }
        let mut all = Vec::new();
        for name in names {
            let resource = match self.lookup.gateway_endpoint_named(&name).await? {
                Some((id, name)) => Resource::one(kind, id, name),
                None => Resource::named(kind, name),
            };
            all.push(Access::on(permission, resource));
        }
        Ok(all)
    }

    /// The experiment and the run that the headers name, and every trace that is there already.
    async fn spans(&self) -> Result<Vec<Access>, MlflowError> {
        let experiment = self.parts.required(At::Header("x-mlflow-experiment-id"))?;
        let mut all = self.experiments(Permission::Edit, experiment).await?;
        let run = self.parts.values(At::Header("x-mlflow-run-id"))?;
        all.extend(self.children(Child::Run, Permission::Edit, run, false).await?);
        let traces = self.parts.export.map(|export| export.traces.iter().cloned().collect());
        all.extend(
            self.children(Child::Trace, Permission::Edit, traces.unwrap_or_default(), true)
                .await?,
        );
        Ok(all)
    }
}

/// All of them, or nothing.
fn held(
    permission: Permission,
    ids: &[String],
    find: impl Fn(&str) -> Option<std::sync::Arc<ExperimentRef>>,
) -> Option<Vec<Access>> {
    ids.iter()
        .map(|id| find(id).map(|experiment| Access::on(permission, experiment.resource())))
        .collect()
}

fn named(kind: Kind, permission: Permission, names: Vec<String>) -> Result<Vec<Access>, MlflowError> {
    names
        .into_iter()
        .map(|name| {
            if name.chars().any(char::is_control) {
                return Err(malformed("A name has a control character."));
            }
            Ok(Access::on(permission, Resource::named(kind, name)))
        })
        .collect()
}

pub(super) fn skill_name(organization: &str, name: &str) -> String {
    let organization = organization.trim_start_matches('@');
    if organization.is_empty() {
        name.to_owned()
    } else {
        format!("@{organization}/{name}")
    }
}

fn is_experiment_id(id: &str) -> bool {
    (1..=19).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_digit()) && (id == "0" || !id.starts_with('0'))
}

fn is_child_id(child: Child, id: &str) -> bool {
    let hex = |text: &str| {
        (1..=64).contains(&text.len()) && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    };
    match child {
        Child::Run => id.len() == 32 && hex(id),
        Child::LoggedModel => id.strip_prefix("m-").is_some_and(|rest| rest.len() == 32 && hex(rest)),
        Child::Trace => hex(id.strip_prefix("tr-").unwrap_or(id)),
        Child::Issue | Child::ReviewQueue | Child::LabelSchema | Child::PromptOptimizationJob => {
            (1..=100).contains(&id.len())
                && id
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
        }
    }
}

/// What of a wrong id may go back to its sender.
fn shown(id: &str) -> String {
    id.chars()
        .filter(|character| character.is_ascii_graphic())
        .take(64)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_has_one_spelling() {
        for id in ["0", "1", "9223372036854775807"] {
            assert!(is_experiment_id(id), "{id}");
        }
        for id in [
            "",
            " 1",
            "1 ",
            "01",
            "+1",
            "-1",
            "1_0",
            "\u{661}",
            "\u{ff12}",
            "2\n",
            "12345678901234567890",
            "1.0",
        ] {
            assert!(!is_experiment_id(id), "{id:?}");
        }
        let run = "0123456789abcdef0123456789abcdef";
        assert!(is_child_id(Child::Run, run) && is_child_id(Child::LoggedModel, &format!("m-{run}")));
        assert!(is_child_id(Child::Trace, &format!("tr-{run}")) && is_child_id(Child::Trace, run));
        for id in [
            "",
            &run.to_uppercase(),
            &run[1..],
            &format!("{run}0"),
            &format!(" {}", &run[1..]),
        ] {
            assert!(!is_child_id(Child::Run, id), "{id:?}");
        }
    }
}
