//! The policy against a naive evaluator, which looks at every rule and tries a star at every length.

use proptest::prelude::{Just, Strategy, prop, prop_assert_eq, prop_oneof, proptest};

use super::{ask, caller, role};

use crate::domain::{Access, Kind, Permission, Resource, Target};
use crate::policy::Policy;

type Rule = (Option<Permission>, Kind, String);

fn permissions() -> impl Strategy<Value = Permission> {
    prop_oneof![
        Just(Permission::Read),
        Just(Permission::Use),
        Just(Permission::Edit),
        Just(Permission::Manage),
    ]
}

fn kinds() -> impl Strategy<Value = Kind> {
    prop_oneof![4 => Just(Kind::Experiment), 1 => Just(Kind::RegisteredModel)]
}

fn rules() -> impl Strategy<Value = Vec<Rule>> {
    let patterns = prop_oneof![
        4 => "[abé*]{0,5}",
        1 => "[abé]{1,3}[*]",
        1 => "[*][abé]{1,3}",
        1 => "id:[17*]{0,3}",
        1 => Just("*".to_owned()),
    ];
    prop::collection::vec((prop::option::weighted(0.8, permissions()), kinds(), patterns), 0..8)
}

fn resources() -> impl Strategy<Value = Resource> {
    let some = |text| prop::option::weighted(0.9, text);
    let targets = prop_oneof![
        6 => (some("[17]{0,3}"), some("[abé]{0,6}")).prop_map(|(id, name)| Target::One { id, name }),
        1 => Just(Target::Every),
        1 => "[17]{1,3}".prop_map(|id| Target::Unknown { id }),
    ];
    (kinds(), targets).prop_map(|(kind, target)| Resource {
        kind,
        target,
        marks: None,
    })
}

fn matches(pattern: &str, text: Option<&str>) -> bool {
    let chars = |text: &str| text.chars().collect::<Vec<_>>();
    text.is_some_and(|text| star(&chars(pattern), &chars(text)))
}

fn star(pattern: &[char], text: &[char]) -> bool {
    match pattern.split_first() {
        None => text.is_empty(),
        Some(('*', rest)) => (0..=text.len()).any(|skipped| star(rest, &text[skipped..])),
        Some((first, rest)) => text
            .split_first()
            .is_some_and(|(head, tail)| head == first && star(rest, tail)),
    }
}

fn is_about((level, kind, pattern): &Rule, resource: &Resource) -> bool {
    *kind == resource.kind
        && match &resource.target {
            _ if pattern == "*" => true,
            Target::Every | Target::Unknown { .. } => level.is_none(),
            Target::One { id, name } => match pattern.strip_prefix("id:") {
                Some(pattern) => matches(pattern, id.as_deref()),
                None => matches(pattern, name.as_deref()),
            },
        }
}

proptest! {
    #[test]
    fn the_policy_agrees_with_a_naive_evaluator(
        first in rules(),
        second in rules(),
        resource in resources(),
        asked in permissions(),
    ) {
        let of = |name, rules: &[Rule]| {
            let grants: Vec<_> = rules.iter().map(|(level, kind, pattern)| (*level, *kind, pattern.as_str())).collect();
            role(name, &["corp:team"], &grants)
        };
        let policy = Policy::new(&[of("first", &first), of("second", &second)]);
        let hits: Vec<_> = first.iter().chain(&second).filter(|rule| is_about(rule, &resource)).collect();
        let best = if hits.iter().all(|(level, ..)| level.is_some()) {
            hits.iter().filter_map(|(level, ..)| *level).max()
        } else {
            None
        };
        let anna = caller(&["team"]);
        let level = policy.standing(&anna.identity, "production").roles().level(&resource);
        prop_assert_eq!(level, best);
        let allowed = ask(&policy, Some(anna), vec![Access::on(asked, resource)]).is_ok();
        prop_assert_eq!(allowed, best.is_some_and(|level| level >= asked));
    }
}
