//! Any text as any SAML message, and as metadata. In this folder, with a nightly compiler:
//! `cargo +nightly fuzz run saml_message corpus/saml_message seeds/saml_message -- -max_len=65536`
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| mlgate::providers::fuzzing::message(text));
