//! From what an assertion states to a person: user name, address, groups.

use indexmap::IndexSet;

use super::response::{Attribute, Statement};
use crate::config::{SamlProvider, UserAttribute};
use crate::providers::ProviderError;

const PERSISTENT: &str = "urn:oasis:names:tc:SAML:2.0:nameid-format:persistent";
const TRANSIENT: &str = "urn:oasis:names:tc:SAML:2.0:nameid-format:transient";
const EMAIL: &str = "urn:oasis:names:tc:SAML:1.1:nameid-format:emailAddress";
/// Entra ID's word for more groups than it tells.
const OVERAGE: &str = "http://schemas.microsoft.com/claims/groups.link";

const MOST_GROUPS: usize = 2000;
const LONGEST_GROUP: usize = 512;
const LONGEST_USER: usize = 256;

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Person {
    pub(super) subject: String,
    pub(super) user: String,
    pub(super) display_name: Option<String>,
    pub(super) email: Option<String>,
    pub(super) groups: Vec<String>,
}

/// # Errors
/// When there is no usable name, or the groups are not all there.
pub(super) fn person(config: &SamlProvider, statement: &Statement) -> Result<Person, ProviderError> {
    let values = |name: &str| values(&statement.attributes, name);
    let format = statement.name_id.format.as_deref();
    let user = match &config.user_attribute {
        UserAttribute::NameId if format == Some(TRANSIENT) => {
            return Err(refused(
                "the provider gives a new NameID at each sign-in: set user_attribute",
            ));
        }
        UserAttribute::NameId => statement.name_id.value.clone(),
        UserAttribute::Named(name) => match values(name).as_slice() {
            [one] => (*one).to_owned(),
            [] => return Err(refused(format!("the provider says no {name}"))),
            _ => return Err(refused(format!("the provider says several values of {name}"))),
        },
    };
    let is_plain = |text: &str| !text.chars().any(char::is_control);
    if user.is_empty() || user.len() > LONGEST_USER || !is_plain(&user) {
        return Err(refused("the provider says no usable user name"));
    }
    let email = values(&config.email_attribute).first().map(|email| (*email).to_owned());
    let email = email.or_else(|| (format == Some(EMAIL)).then(|| statement.name_id.value.clone()));
    Ok(Person {
        // A persistent NameID never goes to another person; elsewhere the name must do.
        subject: match format {
            Some(PERSISTENT) => statement.name_id.value.clone(),
            _ => user.clone(),
        },
        user,
        display_name: values(&config.display_name_attribute)
            .first()
            .map(|name| name.chars().filter(|c| !c.is_control()).take(200).collect()),
        email: email.filter(|email| email.len() <= LONGEST_USER && is_plain(email)),
        groups: groups(config, statement)?,
    })
}

fn groups(config: &SamlProvider, statement: &Statement) -> Result<Vec<String>, ProviderError> {
    let told = values(&statement.attributes, &config.groups_attribute);
    // Too many or too long are refused, not cut: the one that is cut off may be the one that denies.
    if told.is_empty() && statement.attributes.iter().any(|attribute| attribute.name == OVERAGE) {
        return Err(refused(
            "the account is in more groups than the provider puts into an assertion",
        ));
    }
    if told.iter().any(|name| name.len() > LONGEST_GROUP) {
        return Err(refused("a group's name is too long"));
    }
    let groups: IndexSet<String> = told.into_iter().map(str::to_owned).collect();
    match groups.len() > MOST_GROUPS {
        true => Err(refused("the account is in too many groups")),
        false => Ok(groups.into_iter().collect()),
    }
}

/// All values of the attributes with this name or, where none has it, with this friendly name.
fn values<'a>(attributes: &'a [Attribute], name: &str) -> Vec<&'a str> {
    let by = |fits: &dyn Fn(&Attribute) -> bool| -> Vec<&'a str> {
        let found = attributes.iter().filter(|attribute| fits(attribute));
        found
            .flat_map(|attribute| attribute.values.iter().map(String::as_str))
            .collect()
    };
    match by(&|attribute| attribute.name == name) {
        none if none.is_empty() => by(&|attribute| attribute.friendly_name.as_deref() == Some(name)),
        found => found,
    }
}

fn refused(text: impl Into<String>) -> ProviderError {
    ProviderError::AccountRefused(text.into())
}
