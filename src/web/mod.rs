pub mod account;
pub mod admin_api;
pub mod assets;
pub mod callback;
pub mod csrf;
pub mod front;
pub mod login;
pub mod logout;
pub mod pages;

#[cfg(test)]
mod tests;
