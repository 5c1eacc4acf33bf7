//! Black-box tests: real servers, real sockets, the real binary. Unit tests live in the files that they test.
#![cfg(test)]

mod support;

mod architecture;
mod audit;
mod graphql;
mod lists;
mod pages;
mod proxying;
mod running;
mod store;
