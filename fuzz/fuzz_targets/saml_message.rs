//! Any text as any SAML message, and as metadata. `fuzz/run.sh` runs it.
#![no_main]

use std::path::Path;
use std::sync::{Arc, LazyLock};

use libfuzzer_sys::fuzz_target;
use mlgate::domain::SystemRandom;
use mlgate::providers::fuzzing::{Scene, message};

static SCENE: LazyLock<Scene> = LazyLock::new(|| {
    let random = Arc::new(SystemRandom::new());
    Scene::load(Path::new("scene/mlgate.toml"), random).expect("run it in the folder fuzz")
});

fuzz_target!(|text: &str| message(text, &SCENE));
