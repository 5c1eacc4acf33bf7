pub mod assets;
pub mod csrf;
pub mod pages;
