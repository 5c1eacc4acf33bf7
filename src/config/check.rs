//! `[check]`: the endpoints that an ingress asks, and where sign-in may return to.

use super::reader::Section;
use super::value;

#[derive(Clone, Debug, Default)]
pub struct Check {
    /// Lower case, without ports.
    pub redirect_hosts: Vec<String>,
}

pub(super) fn read(section: Section<'_>) -> Check {
    let endpoints = section.list("endpoints", value::text).unwrap_or_default();
    if !endpoints.is_empty() {
        section.problem(
            "endpoints",
            "cannot be used yet: the check endpoints come with a later version; leave it empty",
        );
    }
    let redirect_hosts = section.list("redirect_hosts", value::host).unwrap_or_default();
    section.finish();
    Check { redirect_hosts }
}
