//! Sharing an experiment: its maker, or who else has MANAGE on it, gives a group a permission on it.

use bytes::Bytes;
use http::Method;
use serde_json::json;

use super::lookup::ExperimentRef;
use super::workspace;
use super::{Answer, Mlflow, MlflowError, Outgoing, OutgoingBody, Request, marks};
use crate::domain::{Access, Kind, Permission, Resource, Share};

/// What is asked: of one experiment, by its id or its name.
#[derive(Clone, Debug)]
pub struct Sharing {
    pub experiment: String,
    /// `X-MLFLOW-WORKSPACE`, as it came.
    pub workspace: Option<String>,
    /// The group (`provider:group`) and what it is to have; `None` takes its share back. Without a change, the question is who has what.
    pub change: Option<(String, Option<Permission>)>,
}

/// How it stands, or will once the request is carried out.
#[derive(Clone, Debug)]
pub struct Shared {
    pub id: String,
    pub name: String,
    pub owner: Option<String>,
    pub shares: Vec<Share>,
}

impl Mlflow {
    /// The request that asks for it, and what comes of it. Needs MANAGE on the experiment, to look at it too.
    ///
    /// # Errors
    /// `Malformed` where sharing is off or there is no room for more; what a look-up ran into.
    pub async fn sharing(&self, asked: &Sharing) -> Result<(Request, Shared), MlflowError> {
        if !self.sharing {
            return Err(MlflowError::Malformed("Sharing is switched off here.".to_owned()));
        }
        let workspace = workspace::named(asked.workspace.clone())?;
        let lookup = self.lookup(workspace.as_deref());
        let found = if asked.experiment.bytes().all(|byte| byte.is_ascii_digit()) {
            // What others shared a moment ago must not be written over.
            lookup.forget_experiment(Some(&asked.experiment));
            lookup.experiment(&asked.experiment).await?
        } else {
            lookup.experiment_named(&asked.experiment).await?
        };
        let resource = match &found {
            Some(experiment) => experiment.resource(),
            None => Resource::unknown(Kind::Experiment, asked.experiment.as_str()),
        };
        let mut accesses = vec![Access::on(Permission::Manage, resource)];
        if let Some(workspace) = &workspace {
            let workspace = Resource::named(Kind::Workspace, workspace.as_str());
            accesses.push(Access::on(Permission::Use, workspace));
        }
        let shared = match &found {
            Some(experiment) => changed(experiment, asked)?,
            // Refused to all but those who manage every experiment; they are told by MLflow.
            None => Shared {
                id: asked.experiment.clone(),
                name: String::new(),
                owner: None,
                shares: Vec::new(),
            },
        };
        let tag = json!({"experiment_id": shared.id, "key": marks::SHARE, "value": marks::written(&shared.shares)});
        let request = Request {
            action: if asked.change.is_some() {
                "experiment.share"
            } else {
                "experiment.get_shares"
            },
            accesses,
            changes: asked.change.is_some(),
            is_left_to_mlflow: false,
            workspace,
            outgoing: Outgoing {
                method: Method::POST,
                target: "/api/2.0/mlflow/experiments/set-experiment-tag".to_owned(),
                body: OutgoingBody::Bytes(Bytes::from(tag.to_string())),
            },
            answer: Answer::Forward,
            place: None,
        };
        Ok((request, shared))
    }
}

fn changed(experiment: &ExperimentRef, asked: &Sharing) -> Result<Shared, MlflowError> {
    let marks = experiment.marks.as_deref();
    let mut shares = marks.map(|marks| marks.shares.clone()).unwrap_or_default();
    if let Some((group, permission)) = &asked.change {
        shares.retain(|share| share.group != *group);
        if let Some(permission) = permission {
            shares.push(Share {
                group: group.clone(),
                permission: *permission,
            });
        }
    }
    if shares.len() > marks::SHARES || marks::written(&shares).len() > marks::ROOM {
        return Err(MlflowError::Malformed(
            "The experiment is shared with as many groups as there is room for.".to_owned(),
        ));
    }
    Ok(Shared {
        id: experiment.id.clone(),
        name: experiment.name.clone(),
        owner: marks.and_then(|marks| marks.owner.clone()),
        shares,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(change: Option<(&str, Option<Permission>)>) -> Vec<Share> {
        let experiment = ExperimentRef {
            own_folder: None,
            id: "1".to_owned(),
            name: "a".to_owned(),
            marks: marks::read(&[(
                "mlgate.share",
                r#"[{"group":"idp:a","permission":"READ"},{"group":"idp:b","permission":"EDIT"}]"#,
            )]),
        };
        let asked = Sharing {
            experiment: "1".to_owned(),
            workspace: None,
            change: change.map(|(group, permission)| (group.to_owned(), permission)),
        };
        changed(&experiment, &asked).unwrap().shares
    }

    #[test]
    fn a_group_has_one_share_and_the_others_keep_theirs() {
        let share = |group: &str, permission| Share {
            group: group.to_owned(),
            permission,
        };
        let (a, b) = (share("idp:a", Permission::Read), share("idp:b", Permission::Edit));
        assert_eq!(after(None), [a.clone(), b.clone()]);
        assert_eq!(
            after(Some(("idp:a", Some(Permission::Edit)))),
            [b, share("idp:a", Permission::Edit)]
        );
        assert_eq!(after(Some(("idp:b", None))), [a]);
        assert_eq!(after(Some(("idp:c", None))).len(), 2);
    }
}
