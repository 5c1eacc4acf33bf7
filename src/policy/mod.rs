//! May they? Pure: no clock, no network, no web types. Only this module can make a permit.

mod explain;
mod grants;
mod permit;
mod roles;
mod rules;
#[cfg(test)]
mod tests;

pub use explain::{Explained, Explanation, LookedAt};
pub use permit::{Permit, Refusal};
pub use roles::{Policy, Roles, Standing};
