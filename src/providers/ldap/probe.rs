//! `check --connect`: whether each server takes the gateway's account, knows the bases, and follows groups in groups if it must.

use ldap3::Scope;

use super::directory::{Directory, Most, PATIENCE, Question, search};
use super::entry::Entry;
use super::filter;
use super::wire::Link;
use crate::config::{LdapUrl, NestedGroups};

type Problem = (&'static str, String);

pub(super) async fn all(directory: &Directory) -> Result<(), Vec<Problem>> {
    let mut problems = Vec::new();
    for url in &directory.config.urls {
        let found = server(directory, url).await;
        problems.extend(found.err().map(|(key, text)| (key, format!("{url}: {text}"))));
    }
    match problems.is_empty() {
        true => Ok(()),
        false => Err(problems),
    }
}

/// The first thing that is wrong with a server.
async fn server(directory: &Directory, url: &LdapUrl) -> Result<(), Problem> {
    let config = &directory.config;
    let link = directory
        .open(url, PATIENCE)
        .await
        .map_err(|error| ("url", error.to_string()))?;
    let bound = directory.bind_as_gateway(&link).await;
    bound.map_err(|error| ("bind_dn", error.to_string()))?;
    if config.user_dn.is_some() && config.bind.is_none() {
        // People read their own entries here; what the gateway sees as nobody says little.
        return Ok(());
    }
    let any = filter::of_any_user(&config.user_filter);
    let people = ask(&link, "user_base", &config.user_base, Scope::Subtree, &any).await?;
    if people.is_empty() {
        return Err((
            "user_base",
            "nobody is found there with user_filter: is the base right, and may bind_dn read it?".to_owned(),
        ));
    }
    let base = ask(&link, "group_base", &config.group_base, Scope::Base, "(objectClass=*)").await?;
    if base.is_empty() {
        return Err(("group_base", "is not there, or bind_dn may not read it".to_owned()));
    }
    if config.nested_groups == NestedGroups::ActiveDirectory && !follows_chains(&link, directory).await? {
        return Err((
            "nested_groups",
            "the directory does not follow groups in groups by itself, and says nothing about it: use \"recursive\""
                .to_owned(),
        ));
    }
    Ok(())
}

/// A directory that does not know the rule answers as if nobody were in any group. So: a member of a group, asked for by it.
async fn follows_chains(link: &Link, directory: &Directory) -> Result<bool, Problem> {
    let config = &directory.config;
    let key = "nested_groups";
    let groups = ask_for(link, key, &config.group_base, Scope::Subtree, "(member=*)", &["member"]).await?;
    let Some(member) = groups.first().and_then(|group| group.text("member")) else {
        // No group has a member yet: what the directory says of itself must do (LDAP_CAP_ACTIVE_DIRECTORY_OID).
        let root = ask_for(
            link,
            key,
            "",
            Scope::Base,
            "(objectClass=*)",
            &["supportedCapabilities"],
        )
        .await?;
        let mut capabilities = root.iter().flat_map(|root| root.texts("supportedCapabilities"));
        return Ok(capabilities.any(|oid| oid == "1.2.840.113556.1.4.800"));
    };
    let chained = filter::of_member(&filter::in_chain("(member={dn})"), member, "");
    let found = ask(link, key, &config.group_base, Scope::Subtree, &chained).await?;
    Ok(!found.is_empty())
}

async fn ask(link: &Link, key: &'static str, base: &str, scope: Scope, filter: &str) -> Result<Vec<Entry>, Problem> {
    ask_for(link, key, base, scope, filter, &["1.1"]).await
}

async fn ask_for(
    link: &Link,
    key: &'static str,
    base: &str,
    scope: Scope,
    filter: &str,
    attributes: &[&str],
) -> Result<Vec<Entry>, Problem> {
    let question = Question {
        base,
        scope,
        filter,
        attributes,
        most: Most::Enough(1),
    };
    let found = search(link, question).await;
    found.map_err(|failed| (key, crate::providers::ProviderError::from(failed).to_string()))
}
