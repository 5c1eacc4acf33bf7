//! Patterns and the grants that hold them.

use crate::domain::{Glob, Kind, Permission, Resource, Target};

/// A pattern on a resource: a whole name with `*` for any run of characters, or `id:…`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Pattern {
    Anything,
    Name(Glob),
    Id(Glob),
}

impl Pattern {
    pub(super) fn parse(text: &str) -> Self {
        match text.strip_prefix("id:") {
            _ if text == "*" => Self::Anything,
            Some(id) => Self::Id(Glob::parse(id)),
            None => Self::Name(Glob::parse(text)),
        }
    }

    fn covers(&self, resource: &Resource) -> bool {
        match (self, &resource.target) {
            (Self::Anything, _) => true,
            (_, Target::Every | Target::Unknown { .. }) => false,
            (Self::Name(glob), Target::One { name, .. }) => name.as_deref().is_some_and(|name| glob.matches(name)),
            (Self::Id(glob), Target::One { id, .. }) => id.as_deref().is_some_and(|id| glob.matches(id)),
        }
    }
}

/// One permission, or DENY, on one pattern of one kind.
#[derive(Clone, Debug)]
pub(super) struct Rule {
    /// `None` is DENY.
    pub(super) permission: Option<Permission>,
    pub(super) kind: Kind,
    pub(super) pattern: Pattern,
    /// As the operator wrote it, for `explain`.
    pub(super) text: Box<str>,
}

impl Rule {
    pub(super) fn new(permission: Option<Permission>, kind: Kind, text: &str) -> Self {
        Self {
            permission,
            kind,
            pattern: Pattern::parse(text),
            text: text.into(),
        }
    }

    /// Whether this rule is about the resource. A DENY on anything of a kind stands against an access to all of the kind:
    /// only so does a missing id look like a hidden one.
    pub(super) fn is_about(&self, resource: &Resource) -> bool {
        self.kind == resource.kind
            && match (self.permission, &resource.target) {
                (None, Target::Every | Target::Unknown { .. }) => true,
                _ => self.pattern.covers(resource),
            }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn covers(pattern: &str, name: &str) -> bool {
        Pattern::parse(pattern).covers(&Resource::named(Kind::Experiment, name))
    }

    #[test]
    fn a_star_stands_for_any_run_of_characters_and_nothing_else_is_special() {
        for (pattern, name, expected) in [
            ("fraud/*", "fraud/a/b", true),
            ("fraud/*", "fraud/", true),
            ("fraud/*", "fraud", false),
            ("fraud/*", "xfraud/a", false),
            ("*-prod", "a-prod", true),
            ("*-prod", "a-prod2", false),
            ("a*b*c", "aXbYc", true),
            ("a*b*c", "abc", true),
            ("a*b*c", "acb", false),
            ("a*a", "a", false),
            ("a.c", "abc", false),
            ("[ab]?", "a?", false),
            ("[ab]?", "[ab]?", true),
            ("Fraud", "fraud", false),
            ("*", "", true),
            ("**", "anything", true),
        ] {
            assert_eq!(covers(pattern, name), expected, "{pattern} on {name}");
        }
    }

    #[test]
    fn an_id_pattern_looks_at_the_id_alone() {
        let pattern = Pattern::parse("id:12");
        assert!(pattern.covers(&Resource::one(Kind::Experiment, "12", "x")));
        assert!(!pattern.covers(&Resource::one(Kind::Experiment, "123", "12")));
        assert!(!pattern.covers(&Resource::named(Kind::Experiment, "id:12")));
    }

    #[test]
    fn only_a_bare_star_reaches_what_has_no_known_name() {
        let unknown = Resource::unknown(Kind::Experiment, "99");
        assert!(Pattern::parse("*").covers(&unknown));
        assert!(!Pattern::parse("**").covers(&unknown));
        assert!(!Pattern::parse("id:99").covers(&unknown));
    }
}
