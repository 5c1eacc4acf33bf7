//! What the policy grants and refuses, as sentences, and against a naive evaluator.

mod naive;
mod tokens;

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use super::{Permit, Policy, Refusal};

use crate::config::{Grant, Role};
use crate::domain::{
    Access, Caller, Glob, Identity, Kind, Marks, Permission, ReasonCode, Requires, Resource, Scope, Share, Timestamp,
    Via,
};

struct Ask(Vec<Access>);

impl Requires for Ask {
    fn action(&self) -> &'static str {
        "test.ask"
    }

    fn accesses(&self) -> &[Access] {
        &self.0
    }
}

fn caller(groups: &[&str]) -> Caller {
    Caller {
        identity: Arc::new(Identity {
            provider: "corp".to_owned(),
            subject: "1".to_owned(),
            user: "alice".to_owned(),
            display_name: None,
            email: None,
            groups: groups.iter().map(|group| (*group).to_owned()).collect(),
            authenticated_at: Timestamp::from_seconds(0),
        }),
        via: Via::Session,
        credential: None,
        scope: Scope::default(),
        address: IpAddr::V4(Ipv4Addr::LOCALHOST),
    }
}

fn role(name: &str, groups: &[&str], grants: &[(Option<Permission>, Kind, &str)]) -> Role {
    Role {
        name: name.to_owned(),
        groups: groups.iter().map(|group| (*group).to_owned()).collect(),
        users: Vec::new(),
        upstreams: Vec::new(),
        workspaces: Vec::new(),
        device_flow: true,
        grants: grants
            .iter()
            .map(|(permission, kind, pattern)| Grant {
                permission: *permission,
                patterns: vec![(*kind, vec![(*pattern).to_owned()])],
            })
            .collect(),
    }
}

fn experiment(name: &str) -> Resource {
    Resource::one(Kind::Experiment, "7", name)
}

fn authorize(
    policy: &Policy,
    caller: Option<Caller>,
    upstream: &str,
    accesses: Vec<Access>,
) -> Result<Permit<Ask>, Box<Refusal<Ask>>> {
    let standing = caller
        .as_ref()
        .map(|caller| policy.standing(&caller.identity, upstream));
    policy.authorize(caller.zip(standing.as_ref()), Ask(accesses))
}

fn ask(policy: &Policy, caller: Option<Caller>, accesses: Vec<Access>) -> Result<(), ReasonCode> {
    authorize(policy, caller, "production", accesses)
        .map(|_| ())
        .map_err(|refusal| refusal.reason.code)
}

fn edit(resource: Resource) -> Vec<Access> {
    vec![Access::on(Permission::Edit, resource)]
}

fn read(resource: Resource) -> Vec<Access> {
    vec![Access::on(Permission::Read, resource)]
}

#[test]
fn nobody_has_a_role_unless_a_line_gives_it() {
    let policy = Policy::new(&[role("viewer", &["corp:team"], &[])]);
    assert_eq!(
        ask(&policy, Some(caller(&[])), read(experiment("a"))),
        Err(ReasonCode::NoRole)
    );
    assert_eq!(
        ask(&policy, Some(caller(&["other"])), vec![Access::Member]),
        Err(ReasonCode::NoRole)
    );
    assert_eq!(ask(&policy, Some(caller(&["team"])), vec![Access::Member]), Ok(()));
    assert_eq!(ask(&policy, Some(caller(&["team"])), read(experiment("a"))), Ok(()));
}

#[test]
fn a_group_counts_with_its_provider_alone() {
    let policy = Policy::new(&[role("viewer", &["okta:team"], &[]), role("editor", &["*:writers"], &[])]);
    assert_eq!(
        ask(&policy, Some(caller(&["team"])), read(experiment("a"))),
        Err(ReasonCode::NoRole)
    );
    assert_eq!(
        ask(&policy, Some(caller(&["okta:team"])), read(experiment("a"))),
        Err(ReasonCode::NoRole)
    );
    assert_eq!(ask(&policy, Some(caller(&["writers"])), edit(experiment("a"))), Ok(()));
}

#[test]
fn a_role_holds_on_its_upstreams_alone() {
    let mut only_staging = role("viewer", &["corp:team"], &[]);
    only_staging.upstreams = vec!["staging".to_owned()];
    let policy = Policy::new(&[only_staging]);
    assert_eq!(
        ask(&policy, Some(caller(&["team"])), read(experiment("a"))),
        Err(ReasonCode::NoRole)
    );
    assert!(authorize(&policy, Some(caller(&["team"])), "staging", read(experiment("a"))).is_ok());
}

#[test]
fn a_request_without_accesses_is_refused() {
    let policy = Policy::new(&[role("admin", &["corp:team"], &[])]);
    assert_eq!(
        ask(&policy, Some(caller(&["team"])), Vec::new()),
        Err(ReasonCode::UnknownRoute)
    );
    assert_eq!(ask(&policy, None, Vec::new()), Err(ReasonCode::UnknownRoute));
}

#[test]
fn nobody_gets_what_is_public_and_nothing_else() {
    let policy = Policy::new(&[role("viewer", &["*:team"], &[])]);
    assert_eq!(ask(&policy, None, vec![Access::Public]), Ok(()));
    assert_eq!(
        ask(&policy, None, vec![Access::Public, Access::Member]),
        Err(ReasonCode::NotSignedIn)
    );
    assert_eq!(ask(&policy, None, read(experiment("a"))), Err(ReasonCode::NotSignedIn));
}

#[test]
fn all_accesses_must_be_granted() {
    let policy = Policy::new(&[role(
        "r",
        &["corp:team"],
        &[(Some(Permission::Edit), Kind::Experiment, "mine/*")],
    )]);
    let both = |second: &str| {
        vec![
            Access::on(Permission::Edit, experiment("mine/a")),
            Access::on(Permission::Read, experiment(second)),
        ]
    };
    assert_eq!(ask(&policy, Some(caller(&["team"])), both("mine/b")), Ok(()));
    assert_eq!(
        ask(&policy, Some(caller(&["team"])), both("theirs/b")),
        Err(ReasonCode::NotGranted)
    );
}

#[test]
fn deny_wins_over_every_other_role() {
    let policy = Policy::new(&[
        role("manager", &["corp:team"], &[]),
        role("sealed", &["corp:team"], &[(None, Kind::Experiment, "fraud/sealed-*")]),
    ]);
    assert_eq!(
        ask(&policy, Some(caller(&["team"])), read(experiment("fraud/sealed-1"))),
        Err(ReasonCode::Denied)
    );
    assert_eq!(
        ask(&policy, Some(caller(&["team"])), read(experiment("fraud/open"))),
        Ok(())
    );
}

#[test]
fn a_missing_id_and_a_hidden_one_look_the_same() {
    let policy = Policy::new(&[
        role("viewer", &["corp:all"], &[]),
        role(
            "part",
            &["corp:part"],
            &[(Some(Permission::Read), Kind::Experiment, "a*")],
        ),
        role("sealed", &["corp:sealed"], &[(None, Kind::Experiment, "b*")]),
    ]);
    let refused = |groups: &[&str], resource| {
        authorize(&policy, Some(caller(groups)), "production", read(resource))
            .err()
            .map(|refusal| refusal.reason)
    };
    let missing = || Resource::unknown(Kind::Experiment, "99");
    assert_eq!(
        refused(&["all"], missing()),
        None,
        "who sees all gets MLflow's own answer"
    );
    assert_eq!(refused(&["part"], missing()), refused(&["part"], experiment("b1")));
    assert_eq!(
        refused(&["all", "sealed"], missing()),
        refused(&["all", "sealed"], experiment("b1"))
    );
    assert!(refused(&["part"], missing()).is_some() && refused(&["all", "sealed"], missing()).is_some());
}

#[test]
fn anothers_standing_is_none() {
    let policy = Policy::new(&[role("admin", &["corp:admins"], &[])]);
    let (admin, other) = (caller(&["admins"]), caller(&["team"]));
    let standing = policy.standing(&admin.identity, "production");
    let decide = |caller| {
        policy
            .authorize(Some((caller, &standing)), Ask(read(experiment("a"))))
            .is_ok()
    };
    assert!(decide(admin), "the control");
    assert!(!decide(other));
}

#[test]
fn a_refusal_does_not_give_away_what_an_id_was_resolved_to() {
    let policy = Policy::new(&[role(
        "part",
        &["corp:part"],
        &[(Some(Permission::Read), Kind::Experiment, "a*")],
    )]);
    let refusal = authorize(
        &policy,
        Some(caller(&["part"])),
        "production",
        read(experiment("secret-name")),
    )
    .err()
    .unwrap();
    assert!(!refusal.reason.text.contains("secret-name") && !refusal.reason.text.contains('7'));
}

#[test]
fn the_server_is_in_no_built_in_role_but_admin() {
    for (name, expected) in [
        ("viewer", false),
        ("editor", false),
        ("manager", false),
        ("admin", true),
    ] {
        let policy = Policy::new(&[role(name, &["corp:team"], &[])]);
        let caller = caller(&["team"]);
        assert_eq!(
            ask(&policy, Some(caller.clone()), read(Resource::server())).is_ok(),
            expected,
            "{name}"
        );
        assert_eq!(
            policy.roles_of(&caller.identity, "production").are_admin(),
            expected,
            "{name}"
        );
    }
}

#[test]
fn the_built_in_roles_reach_their_level_and_no_further() {
    for (name, level) in [
        ("viewer", Permission::Read),
        ("editor", Permission::Edit),
        ("manager", Permission::Manage),
        ("admin", Permission::Manage),
    ] {
        let policy = Policy::new(&[role(name, &["corp:team"], &[])]);
        for kind in Kind::ALL.into_iter().filter(|kind| *kind != Kind::Server) {
            for asked in [Permission::Read, Permission::Use, Permission::Edit, Permission::Manage] {
                let allowed = ask(
                    &policy,
                    Some(caller(&["team"])),
                    vec![Access::on(asked, Resource::named(kind, "x"))],
                );
                assert_eq!(allowed.is_ok(), asked <= level, "{name} asks {asked} on {kind:?}");
            }
        }
    }
}

#[test]
fn explain_says_what_authorize_decides() {
    let policy = Policy::new(&[role(
        "r",
        &["corp:team"],
        &[(Some(Permission::Edit), Kind::Experiment, "mine/*")],
    )]);
    let caller = caller(&["team"]);
    let accesses = edit(experiment("theirs"));
    let told = policy.explain(Some(&caller), "production", &Ask(accesses));
    assert!(!told.allowed && !told.accesses[0].granted);
    assert_eq!(told.accesses[0].looked_at.len(), 1);
    assert!(!told.accesses[0].looked_at[0].hit);
    let accesses = edit(experiment("mine/1"));
    let told = policy.explain(Some(&caller), "production", &Ask(accesses));
    assert!(told.allowed && told.accesses[0].looked_at[0].hit);
    assert_eq!(told.accesses[0].role.as_deref(), Some("r"));
}

fn marked(owner: Option<&str>, shares: &[(&str, Permission)]) -> Resource {
    let shares = shares.iter().map(|(group, permission)| Share {
        group: (*group).to_owned(),
        permission: *permission,
    });
    experiment("x").marked(Some(Arc::new(Marks {
        owner: owner.map(str::to_owned),
        shares: shares.collect(),
    })))
}

#[test]
fn who_made_a_thing_manages_it_unless_it_is_denied() {
    let policy = Policy::new(&[
        role("r", &["corp:team"], &[(Some(Permission::Read), Kind::Prompt, "p")]),
        role("d", &["corp:sealed"], &[(None, Kind::Experiment, "x")]),
    ]);
    let ask = |groups: &[&str], permission, resource| {
        ask(&policy, Some(caller(groups)), vec![Access::on(permission, resource)])
    };
    let mine = || marked(Some("corp:alice"), &[]);
    assert_eq!(ask(&["team"], Permission::Manage, mine()), Ok(()));
    for owner in ["corp:bob", "other:alice", "corp:Alice", ""] {
        let theirs = marked(Some(owner), &[]);
        assert_eq!(
            ask(&["team"], Permission::Read, theirs),
            Err(ReasonCode::NotGranted),
            "{owner}"
        );
    }
    assert_eq!(
        ask(&["team", "sealed"], Permission::Read, mine()),
        Err(ReasonCode::Denied)
    );
    assert_eq!(ask(&[], Permission::Read, mine()), Err(ReasonCode::NoRole), "a leaver");
    let new = Resource::named(Kind::Experiment, "y");
    assert_eq!(ask(&["team"], Permission::Edit, new), Err(ReasonCode::NotGranted));
}

#[test]
fn a_share_gives_a_group_what_it_says_and_no_more() {
    let policy = Policy::new(&[role(
        "r",
        &["corp:team"],
        &[(Some(Permission::Read), Kind::Prompt, "p")],
    )]);
    let ask = |permission, shares: &[(&str, Permission)]| {
        let alice = caller(&["team"]);
        ask(&policy, Some(alice), vec![Access::on(permission, marked(None, shares))])
    };
    assert_eq!(ask(Permission::Edit, &[("corp:team", Permission::Edit)]), Ok(()));
    assert_eq!(
        ask(Permission::Manage, &[("corp:team", Permission::Edit)]),
        Err(ReasonCode::NotGranted)
    );
    for other in ["okta:team", "team", "*:team", "corp:teams"] {
        assert_eq!(
            ask(Permission::Read, &[(other, Permission::Manage)]),
            Err(ReasonCode::NotGranted),
            "{other}"
        );
    }
    let both = [("corp:team", Permission::Read), ("corp:team", Permission::Edit)];
    assert_eq!(ask(Permission::Edit, &both), Ok(()));
    let accesses = read(marked(None, &both));
    let told = policy.explain(Some(&caller(&["team"])), "production", &Ask(accesses));
    assert!(told.allowed && told.reason.text.contains("corp:team"), "{told:?}");
    assert!(told.accesses[0].looked_at[0].hit);
}

struct Within(Vec<Access>, Option<&'static str>);

impl Requires for Within {
    fn action(&self) -> &'static str {
        "test.ask"
    }

    fn accesses(&self) -> &[Access] {
        &self.0
    }

    fn workspace(&self) -> Option<&str> {
        self.1
    }
}

#[test]
fn a_role_of_some_workspaces_holds_in_those_alone() {
    let mut team = role("r", &["corp:team"], &[(Some(Permission::Edit), Kind::Experiment, "*")]);
    team.workspaces = vec![Glob::parse("team-*")];
    let everywhere = role(
        "v",
        &["corp:team"],
        &[(Some(Permission::Read), Kind::Experiment, "open")],
    );
    let policy = Policy::new(&[team, everywhere]);
    let alice = caller(&["team"]);
    let standing = policy.standing(&alice.identity, "production");
    let may = |workspace, accesses: Vec<Access>| {
        let asked = Within(accesses, workspace);
        let told = policy.explain(Some(&alice), "production", &asked);
        let decided = policy.authorize(Some((alice.clone(), &standing)), asked).is_ok();
        assert_eq!(told.allowed, decided);
        decided
    };
    assert!(may(Some("team-a"), edit(experiment("x"))));
    assert!(!may(Some("other"), read(experiment("x"))));
    assert!(!may(None, read(experiment("x"))), "none named is MLflow's default");
    assert!(!may(Some("default"), read(experiment("x"))));
    for workspace in [None, Some("other"), Some("team-a")] {
        assert!(may(workspace, read(experiment("open"))));
    }
}

#[test]
fn a_mark_that_others_could_have_written_gives_nothing() {
    let reads = role("r", &["corp:team"], &[(Some(Permission::Read), Kind::Prompt, "p")]);
    let mine = || {
        vec![Access::on(
            Permission::Read,
            marked(Some("corp:alice"), &[("corp:team", Permission::Read)]),
        )]
    };
    let asked = |others| {
        ask(
            &Policy::new(std::slice::from_ref(&reads)).without_marks_where(others),
            Some(caller(&["team"])),
            mine(),
        )
    };
    assert_eq!(asked(false), Ok(()));
    assert_eq!(asked(true), Err(ReasonCode::NotGranted));
}
