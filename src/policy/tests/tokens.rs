//! What a token's limits take away from what its owner holds.

use super::{ask, caller, edit, experiment, read, role};

use crate::domain::{Access, Kind, Permission, ReasonCode, Requires, Resource};
use crate::policy::Policy;

#[test]
fn a_read_only_token_reads_and_no_more() {
    let policy = Policy::new(&[role("editor", &["corp:team"], &[])]);
    let mut reader = caller(&["team"]);
    reader.scope.read_only = true;
    assert_eq!(ask(&policy, Some(reader.clone()), read(experiment("a"))), Ok(()));
    assert_eq!(
        ask(&policy, Some(reader.clone()), edit(experiment("a"))),
        Err(ReasonCode::ReadOnlyToken)
    );
    let using = vec![Access::on(Permission::Use, Resource::named(Kind::GatewayEndpoint, "e"))];
    assert_eq!(ask(&policy, Some(reader), using), Err(ReasonCode::ReadOnlyToken));
}

#[test]
fn a_token_for_named_experiments_reaches_those_alone_and_no_further_than_the_roles() {
    let policy = Policy::new(&[role(
        "r",
        &["corp:team"],
        &[
            (Some(Permission::Edit), Kind::Experiment, "*"),
            (None, Kind::Experiment, "fraud/sealed"),
            (Some(Permission::Edit), Kind::RegisteredModel, "*"),
        ],
    )]);
    let limited = |patterns: &[&str]| {
        let mut caller = caller(&["team"]);
        caller.scope.experiments = Some(patterns.iter().map(|pattern| (*pattern).to_owned()).collect());
        Some(caller)
    };
    let asked = |patterns: &[&str], accesses| ask(&policy, limited(patterns), accesses);
    assert_eq!(asked(&["fraud/*"], edit(experiment("fraud/a"))), Ok(()));
    assert_eq!(
        asked(&["fraud/*"], edit(experiment("churn"))),
        Err(ReasonCode::TokenScope)
    );
    assert_eq!(
        asked(&["fraud/*"], edit(experiment("fraud/sealed"))),
        Err(ReasonCode::Denied)
    );
    let model = || {
        vec![Access::on(
            Permission::Read,
            Resource::named(Kind::RegisteredModel, "m"),
        )]
    };
    assert_eq!(asked(&["*"], model()), Err(ReasonCode::TokenScope));
    assert_eq!(ask(&policy, Some(caller(&["team"])), model()), Ok(()), "the control");
    // A missing id looks like a hidden one; and a list of all is cut down.
    let unknown = || read(Resource::unknown(Kind::Experiment, "99"));
    assert_eq!(asked(&["fraud/*"], unknown()), Err(ReasonCode::TokenScope));
    let roles = policy.roles_of(&caller(&["team"]).identity, "production");
    let cut = roles.scoped(&limited(&["fraud/*"]).unwrap().scope);
    let other = Policy::new(&[role(
        "r",
        &["corp:team"],
        &[(Some(Permission::Read), Kind::Experiment, "*")],
    )]);
    let open = other.roles_of(&caller(&["team"]).identity, "production");
    assert!(!open.hide_some(Permission::Read, Kind::Experiment));
    let open = open.scoped(&limited(&["fraud/*"]).unwrap().scope);
    assert!(open.hide_some(Permission::Read, Kind::Experiment));
    assert!(cut.allow(Permission::Edit, &experiment("fraud/a")) && !cut.allow(Permission::Read, &experiment("churn")));
}

struct Changes(bool);

impl Requires for Changes {
    fn action(&self) -> &'static str {
        "test.change"
    }

    fn accesses(&self) -> &[Access] {
        &[Access::Member]
    }

    fn changes(&self) -> bool {
        self.0
    }
}

#[test]
fn a_token_that_may_only_read_changes_nothing_that_others_decide_on() {
    let policy = Policy::new(&[role("editor", &["corp:team"], &[])]);
    let may = |read_only, changes| {
        let mut alice = caller(&["team"]);
        alice.scope.read_only = read_only;
        let standing = policy.standing(&alice.identity, "production");
        policy
            .authorize(Some((alice, &standing)), Changes(changes))
            .map(|_| ())
            .map_err(|refusal| refusal.reason.code)
    };
    assert_eq!(may(true, true), Err(ReasonCode::ReadOnlyToken));
    assert_eq!((may(true, false), may(false, true)), (Ok(()), Ok(())));
}

struct LeftToOthers(bool);

impl Requires for LeftToOthers {
    fn action(&self) -> &'static str {
        "test.ask"
    }

    fn accesses(&self) -> &[Access] {
        &[Access::Member]
    }

    fn is_left_to_others(&self) -> bool {
        self.0
    }
}

#[test]
fn a_token_for_some_experiments_gets_nothing_that_others_decide_on() {
    let policy = Policy::new(&[role("admin", &["corp:team"], &[])]);
    let may = |limit: Option<&str>, is_left| {
        let mut alice = caller(&["team"]);
        alice.scope.experiments = limit.map(|pattern| vec![pattern.to_owned()].into());
        let standing = policy.standing(&alice.identity, "production");
        policy
            .authorize(Some((alice, &standing)), LeftToOthers(is_left))
            .map(|_| ())
            .map_err(|refusal| refusal.reason.code)
    };
    assert_eq!(may(Some("*"), true), Err(ReasonCode::TokenScope));
    assert_eq!((may(Some("*"), false), may(None, true)), (Ok(()), Ok(())));
}
