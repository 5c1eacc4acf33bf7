//! Black-box tests: real servers, real sockets, the real binary. Unit tests live in the files that they test.
#![cfg(test)]

mod support;

mod access;
mod active_directory;
mod architecture;
mod attribution;
mod audit;
mod borrowed;
mod chart;
mod client;
mod cost;
mod crash;
mod crawler;
mod demo;
mod entra_groups;
mod every_provider;
mod google_groups;
mod graphql;
mod ldap;
mod ldap_refused;
mod leavers;
mod lists;
mod login_oidc;
mod login_saml;
mod logout_tokens;
mod oauth;
mod oidc_checks;
mod ownership;
mod pages;
mod provider_logout;
mod proxying;
mod replicas;
mod routes;
mod running;
mod saml_canonical;
mod saml_forged;
mod saml_logout;
mod saml_metadata;
mod saml_providers;
mod spellings;
mod store;
mod teams;
mod trusted_issuers;
mod ui;
