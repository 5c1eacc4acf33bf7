//! Storage that a client names: what one must hold to point MLflow at it.

use crate::domain::{Access, Kind, Permission, Resource};

use super::MlflowError;
use super::lookup::{Child, Lookup};

/// What MLflow's clients and screens write as the source of a prompt, which has no files (`mlflow/prompt/constants.py`).
const PROMPT_PLACEHOLDERS: [&str; 2] = ["dummy-source", "prompt-template"];

/// `experiments/create.artifact_location`: within `roots`, or for those who run the server. Nothing more is needed
/// within the roots.
pub fn of_location(roots: &[String], uri: &str) -> Vec<Access> {
    if roots.iter().any(|root| is_inside(root, uri)) {
        Vec::new()
    } else {
        vec![whole_server()]
    }
}

/// `model-versions/create.source`, with the `run_id` that the request names beside it (which needs its own access).
///
/// # Errors
/// When the upstream cannot be asked.
pub async fn of_source(
    lookup: &Lookup,
    roots: &[String],
    uri: &str,
    run_id: Option<&str>,
) -> Result<Vec<Access>, MlflowError> {
    if let Some(rest) = uri.strip_prefix("models:/") {
        return of_model_uri(lookup, rest).await;
    }
    if let Some(rest) = uri.strip_prefix("runs:/") {
        let run = rest.split('/').next().unwrap_or_default();
        return match segments(rest) {
            Some(_) => Ok(vec![of_child(lookup, Child::Run, run, Permission::Read).await?]),
            None => Ok(vec![whole_server()]),
        };
    }
    if PROMPT_PLACEHOLDERS.contains(&uri) {
        return Ok(Vec::new());
    }
    if roots.iter().any(|root| is_inside(root, uri)) {
        return of_place(lookup, uri).await;
    }
    if let Some(run) = run_id
        && let Some(own) = lookup.run_artifact_uri(run).await?
        && is_inside(&own, uri)
    {
        return Ok(vec![of_child(lookup, Child::Run, run, Permission::Read).await?]);
    }
    match uri.strip_prefix("mlflow-artifacts:/") {
        Some(path) if segments(path).is_some() => of_artifact_path(lookup, path, Permission::Read).await,
        _ => Ok(vec![whole_server()]),
    }
}

/// `m-…`, `name/version`, `name/stage` or `name@alias`.
async fn of_model_uri(lookup: &Lookup, rest: &str) -> Result<Vec<Access>, MlflowError> {
    let Some(parts) = segments(rest) else {
        return Ok(vec![whole_server()]);
    };
    let name = match (parts.as_slice(), parts.first().and_then(|part| part.rsplit_once('@'))) {
        ([_, _], _) => parts[0],
        ([_], Some((name, alias))) if !name.is_empty() && !alias.is_empty() => name,
        ([id], None) if id.starts_with("m-") => {
            return Ok(vec![of_child(lookup, Child::LoggedModel, id, Permission::Read).await?]);
        }
        _ => return Ok(vec![whole_server()]),
    };
    let resource = match lookup.model(name).await? {
        Some(model) => model.resource(),
        None => Resource::unknown(Kind::RegisteredModel, name),
    };
    Ok(vec![Access::on(Permission::Read, resource)])
}

/// A path of the artifact proxy, decoded once, without a leading slash; empty for the root. Within an experiment's own
/// folder it must be the folder of something that is known to be in that experiment; the rest of the store is nobody's,
/// so it needs the permission on every experiment.
///
/// # Errors
/// `Malformed` for a path with more than one spelling.
pub async fn of_artifact_path(lookup: &Lookup, path: &str, permission: Permission) -> Result<Vec<Access>, MlflowError> {
    let everything = |kind| vec![Access::on(permission, Resource::every(kind))];
    if path.is_empty() {
        return Ok(everything(Kind::Experiment));
    }
    let Some(parts) = segments(path) else {
        return Err(MlflowError::Malformed(
            "an artifact path must have one spelling: no empty, '.' or '..' part, no '%', '\\', '#', '?' or control character"
                .into(),
        ));
    };
    // In a workspace all paths lie below its own folder, whether they say so or not.
    let parts = match (parts.as_slice(), lookup.workspace()) {
        (["workspaces", named, rest @ ..], Some(own)) if *named == own => rest.to_vec(),
        _ => parts,
    };
    if parts.is_empty() {
        return Ok(everything(Kind::Experiment));
    }
    let experiment = match parts[0] {
        "skills" => return Ok(everything(Kind::Skill)),
        first => lookup.experiment(first).await?,
    };
    let Some(experiment) = experiment else {
        let unknown = || Resource::unknown(Kind::Experiment, parts[0]);
        let resource = Box::pin(by_own_folder(lookup, &parts)).await?;
        return Ok(vec![Access::on(permission, resource.unwrap_or_else(unknown))]);
    };
    let child = match parts[1..] {
        [] | ["models" | "traces"] => None,
        ["models", id] | ["models", id, "artifacts", ..] => Some((Child::LoggedModel, id)),
        ["traces", id] | ["traces", id, "artifacts", ..] => Some((Child::Trace, id)),
        [id] | [id, "artifacts", ..] => Some((Child::Run, id)),
        _ => return Ok(everything(Kind::Experiment)),
    };
    if let Some((child, id)) = child {
        let parent = lookup.experiment_of(child, id).await?;
        if parent.is_none_or(|parent| parent.id != experiment.id) {
            return Ok(vec![Access::on(
                permission,
                Resource::unknown(Kind::Experiment, parts[0]),
            )]);
        }
    }
    Ok(vec![Access::on(permission, experiment.resource())])
}

/// In a root that many share, what lies in the folder of a run, logged model or trace is still its experiment's.
async fn of_place(lookup: &Lookup, uri: &str) -> Result<Vec<Access>, MlflowError> {
    let parts = Place::parse(uri).map(|place| place.parts).unwrap_or_default();
    let Some((_, child, id)) = child_in(&parts) else {
        return Ok(Vec::new());
    };
    let experiment = lookup.experiment_of(child, id).await?;
    Ok(experiment
        .map(|experiment| Access::on(Permission::Read, experiment.resource()))
        .into_iter()
        .collect())
}

/// Experiments can have a folder of their own in the store. What lies in the folder of a run, logged model or trace is its
/// experiment's, if that is where the experiment has its files: a name alone could be anybody's folder.
async fn by_own_folder(lookup: &Lookup, parts: &[&str]) -> Result<Option<Resource>, MlflowError> {
    let Some((folder, child, id)) = child_in(parts) else {
        return Ok(None);
    };
    let experiment = lookup.experiment_of(child, id).await?;
    Ok(experiment
        .filter(|found| {
            found
                .own_folder
                .as_deref()
                .is_some_and(|own| own.split('/').eq(folder.iter().copied()))
        })
        .map(|found| found.resource()))
}

/// The first folder of a path that looks like a run's, logged model's or trace's, and what it lies in.
fn child_in<'a, 'b>(parts: &'b [&'a str]) -> Option<(&'b [&'a str], Child, &'a str)> {
    let is_hex = |text: &str| text.len() == 32 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    (0..parts.len()).find_map(|index| {
        let (folder, rest) = parts.split_at(index);
        let (child, id, rest) = match rest {
            ["models", id, rest @ ..] if id.starts_with("m-") => (Child::LoggedModel, *id, rest),
            ["traces", id, rest @ ..] if id.starts_with("tr-") => (Child::Trace, *id, rest),
            [id, rest @ ..] if is_hex(id) => (Child::Run, *id, rest),
            _ => return None,
        };
        matches!(rest, [] | ["artifacts", ..]).then_some((folder, child, id))
    })
}

async fn of_child(lookup: &Lookup, child: Child, id: &str, permission: Permission) -> Result<Access, MlflowError> {
    let resource = match lookup.experiment_of(child, id).await? {
        Some(experiment) => experiment.resource(),
        None => Resource::unknown(Kind::Experiment, id),
    };
    Ok(Access::on(permission, resource))
}

fn whole_server() -> Access {
    Access::on(Permission::Manage, Resource::server())
}

/// A path's parts, where every reader sees the same ones; one slash at the end says nothing.
fn segments(path: &str) -> Option<Vec<&str>> {
    let parts: Vec<&str> = path.strip_suffix('/').unwrap_or(path).split('/').collect();
    let odd = |part: &str| {
        matches!(part, "" | "." | "..")
            || part
                .chars()
                .any(|letter| letter.is_control() || matches!(letter, '%' | '\\' | '#' | '?'))
            || part.trim() != part
    };
    (!parts.iter().any(|part| odd(part))).then_some(parts)
}

/// A place in one spelling: scheme, host or bucket, and the parts of the path.
#[derive(Debug, PartialEq, Eq)]
struct Place<'a> {
    scheme: String,
    authority: &'a str,
    parts: Vec<&'a str>,
}

impl<'a> Place<'a> {
    /// `None` for what has no one meaning.
    fn parse(uri: &'a str) -> Option<Self> {
        let (scheme, rest) = match uri.split_once(':') {
            _ if uri.starts_with('/') => ("file", uri),
            Some((scheme, rest)) => (scheme, rest),
            None => return None,
        };
        let mut letters = scheme.bytes();
        let named = letters.next().is_some_and(|byte| byte.is_ascii_alphabetic())
            && letters.all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'));
        if !named {
            return None;
        }
        let (authority, path) = match rest.strip_prefix("//") {
            Some(_) if uri.starts_with('/') => return None,
            Some(rest) => rest.split_once('/').unwrap_or((rest, "")),
            None => ("", rest.strip_prefix('/')?),
        };
        let scheme = scheme.to_ascii_lowercase();
        // Credentials, ports and queries in a place are no business of a client's.
        if authority.contains(['@', ':', '%', '?', '#', '\\']) || (scheme == "file" && !authority.is_empty()) {
            return None;
        }
        let parts = if path.is_empty() { Vec::new() } else { segments(path)? };
        Some(Self {
            scheme,
            authority,
            parts,
        })
    }
}

/// Whether a place is a root or below it, by whole parts.
fn is_inside(root: &str, uri: &str) -> bool {
    let (Some(root), Some(place)) = (Place::parse(root), Place::parse(uri)) else {
        return false;
    };
    root.scheme == place.scheme && root.authority == place.authority && place.parts.starts_with(&root.parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_inside_its_root_by_whole_parts() {
        for (root, uri) in [
            ("s3://bucket/team", "s3://bucket/team"),
            ("s3://bucket/team", "s3://bucket/team/"),
            ("s3://bucket/team/", "s3://bucket/team/a/b"),
            ("s3://bucket", "s3://bucket/a"),
            ("S3://bucket/team", "s3://bucket/team/a"),
            ("/srv/artifacts", "/srv/artifacts/a b"),
            ("/srv/artifacts", "file:///srv/artifacts/a"),
            ("file:///srv/artifacts", "file:/srv/artifacts/a"),
            ("dbfs:/team", "dbfs:/team/a"),
            (
                "mlflow-artifacts:/1/r/artifacts",
                "mlflow-artifacts:/1/r/artifacts/model",
            ),
        ] {
            assert!(is_inside(root, uri), "{root} {uri}");
        }
    }

    #[test]
    fn a_place_outside_its_root_or_with_two_meanings_is_not_inside() {
        for (root, uri) in [
            ("s3://bucket/team", "s3://bucket/teammate"),
            ("s3://bucket/team", "s3://bucket"),
            ("s3://bucket/team", "s3://other/team/a"),
            ("s3://bucket/team", "gs://bucket/team/a"),
            ("s3://bucket/team", "s3://bucket/team/../other"),
            ("s3://bucket/team", "s3://bucket/team/./a"),
            ("s3://bucket/team", "s3://bucket/team//a"),
            ("s3://bucket/team", "s3://bucket/team/%2e%2e/a"),
            ("s3://bucket/team", "s3://bucket/team/a?x=1"),
            ("s3://bucket/team", "s3://bucket/team/a#x"),
            ("s3://bucket/team", "s3://bucket/team/a\\..\\b"),
            ("s3://bucket/team", "s3://bucket/team/a\n"),
            ("s3://bucket/team", "s3://key:secret@bucket/team/a"),
            ("s3://bucket/team", " s3://bucket/team/a"),
            ("/srv/artifacts", "/srv/artifacts2"),
            ("/srv/artifacts", "//srv/artifacts/a"),
            ("/srv/artifacts", "file://host/srv/artifacts/a"),
            ("/srv/artifacts", "file:////srv/artifacts/a"),
            ("/srv/artifacts", "srv/artifacts/a"),
            ("/srv/artifacts", "/srv/artifacts/.."),
            ("mlflow-artifacts:/1", "mlflow-artifacts://host/1/a"),
            ("", "/a"),
            ("", ""),
        ] {
            assert!(!is_inside(root, uri), "{root} {uri}");
        }
    }

    #[test]
    fn a_folder_that_is_somebodys_is_found_where_it_is() {
        let run = "0123456789abcdef0123456789abcdef";
        let found = |path: &str| {
            let parts = segments(path).unwrap();
            child_in(&parts).map(|(folder, child, id)| (folder.join("/"), child, id.to_owned()))
        };
        let a_run = |folder: &str| Some((folder.to_owned(), Child::Run, run.to_owned()));
        assert_eq!(found(&format!("team/x/{run}")), a_run("team/x"));
        assert_eq!(found(&format!("team/{run}/artifacts/a/b")), a_run("team"));
        assert_eq!(
            found(&format!("team/{run}/artifacts/{run}/artifacts")),
            a_run("team"),
            "the first"
        );
        assert_eq!(
            found("team/models/m-1/artifacts/MLmodel"),
            Some(("team".to_owned(), Child::LoggedModel, "m-1".to_owned()))
        );
        assert_eq!(
            found("team/traces/tr-1/artifacts/traces.json"),
            Some(("team".to_owned(), Child::Trace, "tr-1".to_owned()))
        );
        assert_eq!(found(run), a_run(""));
        for nobodys in [
            "team",
            "team/x",
            "team/models",
            "team/models/x/artifacts",
            &format!("team/{run}/elsewhere"),
        ] {
            assert_eq!(found(nobodys), None, "{nobodys}");
        }
    }

    #[test]
    fn a_location_outside_every_root_is_for_who_runs_the_server() {
        let roots = ["s3://bucket/team".to_owned()];
        assert_eq!(of_location(&roots, "s3://bucket/team/a"), []);
        for uri in [
            "s3://bucket/other",
            "file:///etc",
            "mlflow-artifacts:/1/r/artifacts",
            "x",
            "",
        ] {
            assert_eq!(of_location(&roots, uri), [whole_server()], "{uri}");
        }
        assert_eq!(of_location(&[], "/"), [whole_server()]);
    }
}
