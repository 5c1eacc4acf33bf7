//! The users file of a local provider: `[[user]]` with name, password hash and groups.

use std::collections::BTreeSet;
use std::path::Path;

use argon2::password_hash::phc::PasswordHash;

use crate::domain::Secret;

use super::node::{self, Node, Shape};
use super::reader::{Reading, Section};
use super::{Problem, files, value};

#[derive(Clone, Debug)]
pub struct LocalUser {
    pub name: String,
    /// An argon2id PHC string.
    pub password_hash: Secret,
    pub groups: Vec<String>,
    pub display_name: Option<String>,
    pub email: Option<String>,
    pub disabled: bool,
}

/// Reads a users file alone, as its provider does when the file changes.
///
/// # Errors
/// All problems together; the list is never empty.
pub fn load_users(file: &Path) -> Result<Vec<LocalUser>, Vec<Problem>> {
    let reading = Reading::new(file.parent().unwrap_or(Path::new("/")));
    let users = read(&reading, file);
    match (users, reading.finish().0) {
        (Some(users), problems) if problems.is_empty() => Ok(users),
        (_, problems) => Err(problems),
    }
}

/// Problems go to `outer`, each with the users file's name.
pub(super) fn read(outer: &Reading, file: &Path) -> Option<Vec<LocalUser>> {
    let told = |mut problem: Problem| {
        problem.file = Some(file.to_owned());
        outer.report(problem);
    };
    let tree = files::read(file)
        .and_then(|bytes| String::from_utf8(bytes.to_vec()).map_err(|_| "is not UTF-8 text".to_owned()))
        .map_err(|text| Problem::new("", None, text))
        .and_then(|text| node::parse(&text));
    let tree = match tree {
        Ok(tree) => tree,
        Err(problem) => {
            told(problem);
            return None;
        }
    };
    let reading = Reading::new(&outer.directory);
    let root = Section::root(&reading, &tree);
    let mut names = BTreeSet::new();
    // All of them first: one broken entry must not hide the problems of the next.
    let users: Vec<_> = root
        .sections("user")
        .into_iter()
        .map(|section| read_user(section, &mut names))
        .collect();
    root.finish();
    let (problems, _, known) = reading.finish();
    outer.know(known.into_iter().map(|key| format!("users.toml:{key}")));
    let is_sound = problems.is_empty();
    problems.into_iter().for_each(told);
    users.into_iter().collect::<Option<_>>().filter(|_| is_sound)
}

fn read_user(section: Section<'_>, names: &mut BTreeSet<String>) -> Option<LocalUser> {
    let name = section.required("name", value::text);
    if let Some(name) = &name {
        if name.trim() != name || name.len() > 256 {
            section.problem(
                "name",
                "must not begin or end with a space, nor be longer than 256 bytes",
            );
        }
        if !names.insert(name.to_lowercase()) {
            section.problem(
                "name",
                format!("{name:?} stands here twice (capitals count for nothing)"),
            );
        }
    }
    let password_hash = section.required("password_hash", password_hash);
    let groups = section.list("groups", value::text).unwrap_or_default();
    let display_name = section.value("display_name", value::text);
    let email = section.value("email", value::text);
    if email.as_ref().is_some_and(|email| !email.contains('@')) {
        section.problem("email", "must be an email address");
    }
    let disabled = section.value("disabled", value::flag).unwrap_or(false);
    section.finish();
    Some(LocalUser {
        name: name?,
        password_hash: password_hash?,
        groups,
        display_name,
        email,
        disabled,
    })
}

/// Costs that a sign-in can bear: `m` in KiB, `t` passes, `p` lanes.
const MOST: [(&str, u32); 3] = [("m", 1 << 20), ("t", 64), ("p", 64)];

/// Says nothing of the hash itself.
fn password_hash(node: &Node) -> Result<Secret, String> {
    let how = "make one with: mlgate hash-password";
    let Shape::Text(text) = &node.shape else {
        return Err(format!("must be a text in quotes; {how}"));
    };
    let hash = PasswordHash::new(text).map_err(|_| format!("is no argon2id line; {how}"))?;
    if hash.algorithm.as_str() != "argon2id" || hash.salt.is_none() || hash.hash.is_none() {
        return Err(format!("is no whole argon2id line; {how}"));
    }
    argon2::Params::try_from(&hash).map_err(|_| format!("has parameters that argon2id does not know; {how}"))?;
    for (name, most) in MOST {
        if hash.params.get_decimal(name).is_some_and(|cost| cost > most) {
            return Err(format!(
                "has {name} above {most}: each sign-in would cost too much; {how}"
            ));
        }
    }
    Ok(Secret::new(text.clone()))
}
