//! The house as a test: modules import only from floors below, and some words have owners.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const FLOORS: [(&str, u8); 17] = [
    ("domain", 0),
    ("config", 1),
    ("store", 2),
    ("outbound", 2),
    ("telemetry", 2),
    ("providers", 3),
    ("sessions", 3),
    ("tokens", 3),
    ("policy", 3),
    ("mlflow", 3),
    ("audit", 3),
    ("client", 3),
    ("login", 4),
    ("pipeline", 4),
    ("web", 5),
    ("server", 6),
    ("cli", 7),
];

/// A word, why it has owners, and the files or folders below `src` that may say it.
const OWNED: [(&str, &str, &[&str]); 11] = [
    (
        "actix",
        "the framework stays at the edge",
        &["web/", "server", "pipeline/incoming.rs", "pipeline/forward.rs", "cli/"],
    ),
    (
        "redis::",
        "one file speaks to Redis",
        &["store/redis.rs", "store/redis/", "store/mod.rs"],
    ),
    (
        "std::env",
        "only the configuration reads the environment, and one file for the commands of MLflow's users",
        &["config/", "client/environment.rs"],
    ),
    ("SystemTime::now", "the clock is an argument", &["domain/clock.rs"]),
    ("now_utc", "the clock is an argument", &["domain/clock.rs"]),
    (
        "SystemRandom::new",
        "randomness is an argument",
        &["domain/random.rs", "server", "config/", "cli/", "client/session.rs"],
    ),
    ("Ok(Permit {", "only the policy makes a permit", &["policy/permit.rs"]),
    (
        "openidconnect::",
        "one provider speaks OpenID Connect",
        &["providers/oidc/", "outbound/provider.rs"],
    ),
    (
        "ldap3::",
        "one provider speaks LDAP",
        &["providers/ldap/", "config/ldap.rs"],
    ),
    (
        "roxmltree",
        "XML is read within bounds, and for SAML alone",
        &["domain/xml.rs", "config/saml/", "providers/saml/"],
    ),
    ("rusqlite", "nobody opens MLflow's database", &[]),
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn sources() -> Vec<(String, String)> {
    rust_files("src")
}

/// The Rust files below a folder of the project, each with its text.
fn rust_files(top: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(top)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == "rs") {
                let name = path
                    .strip_prefix(root().join(top))
                    .unwrap()
                    .to_str()
                    .unwrap()
                    .to_owned();
                found.push((name, fs::read_to_string(path).unwrap()));
            }
        }
    }
    found.sort();
    found
}

/// What ships: without the tests at the end of a file, and without comments.
fn shipped(name: &str, text: &str) -> String {
    if name.ends_with("tests.rs") || name.contains("/tests/") {
        return String::new();
    }
    text.split("#[cfg(test)]\nmod tests {")
        .next()
        .unwrap_or_default()
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .fold(String::new(), |mut all, line| {
            all.push_str(line);
            all.push('\n');
            all
        })
}

fn floor_of(module: &str) -> Option<u8> {
    FLOORS.iter().find(|(name, _)| *name == module).map(|(_, floor)| *floor)
}

/// The top modules that a text imports: `crate::x`, and each of `crate::{x, y::z}`.
fn imports(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (at, _) in text.match_indices("crate::") {
        let rest = &text[at + "crate::".len()..];
        if let Some(group) = rest.strip_prefix('{') {
            let (mut depth, mut word) = (0, String::new());
            for character in group.chars() {
                match character {
                    '}' if depth == 0 => break,
                    '{' => depth += 1,
                    '}' => depth -= 1,
                    ',' if depth == 0 => found.push(std::mem::take(&mut word)),
                    _ if depth == 0 => word.push(character),
                    _ => {}
                }
            }
            found.push(word);
        } else {
            found.push(rest.to_owned());
        }
    }
    found
        .into_iter()
        .map(|path| {
            path.trim()
                .chars()
                .take_while(|character| character.is_alphanumeric() || *character == '_')
                .collect()
        })
        .collect()
}

#[test]
fn modules_import_only_from_floors_below() {
    let mut wrong = Vec::new();
    for (name, text) in sources() {
        let module = name.split(['/', '.']).next().unwrap_or_default();
        let Some(floor) = floor_of(module) else { continue };
        for import in imports(&shipped(&name, &text)) {
            match floor_of(&import) {
                Some(other) if import != module && other >= floor => wrong.push(format!("{name} imports {import}")),
                _ => {}
            }
        }
    }
    assert!(wrong.is_empty(), "upward or sideways imports:\n{}", wrong.join("\n"));
}

#[test]
fn the_import_reader_sees_groups_and_paths() {
    let text = "use crate::{web, login::{a, b}, domain::Clock};\nlet x = crate::store::memory::new();";
    assert_eq!(imports(text), ["web", "login", "domain", "store"]);
}

#[test]
fn every_module_stands_on_a_floor() {
    for (name, _) in sources()
        .iter()
        .filter(|(name, _)| !matches!(name.as_str(), "lib.rs" | "main.rs"))
    {
        let module = name.split(['/', '.']).next().unwrap_or_default();
        assert!(floor_of(module).is_some(), "{name} stands on no floor");
    }
}

#[test]
fn words_stay_with_their_owners() {
    let mut wrong = Vec::new();
    for (name, text) in sources() {
        let text = shipped(&name, &text);
        for (word, why, owners) in OWNED {
            if text.contains(word) && !owners.iter().any(|owner| name.starts_with(owner)) {
                wrong.push(format!("{name} says {word}: {why}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_file_fits_in_a_head() {
    let long: Vec<_> = [sources(), rust_files("integration-tests"), rust_files("benches")]
        .into_iter()
        .flatten()
        .filter(|(_, text)| text.lines().count() > 600)
        .map(|(name, _)| name)
        .collect();
    assert!(long.is_empty(), "over 600 lines: {long:?}");
}

#[test]
fn every_file_says_what_it_is_for() {
    let silent: Vec<_> = sources()
        .into_iter()
        .filter(|(_, text)| !text.starts_with("//! "))
        .map(|(name, _)| name)
        .collect();
    assert!(silent.is_empty(), "without a first line: {silent:?}");
}

fn tracked() -> Vec<PathBuf> {
    let listed = Command::new("git")
        .args(["ls-files", "-z"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(listed.status.success());
    String::from_utf8(listed.stdout)
        .unwrap()
        .split('\0')
        .filter(|name| !name.is_empty())
        .map(|name| root().join(name))
        .collect()
}

#[test]
fn nothing_names_a_machine_or_a_registry() {
    // Spelt in pieces, so that this file does not find itself.
    let hosts = [
        ["index", "crates"],
        ["static", "crates"],
        ["files", "pythonhosted"],
        ["registry", "npmjs"],
        ["proxy", "golang"],
        ["repo1", "maven"],
        ["deb", "debian"],
    ]
    .map(|pieces| pieces.join("."));
    let folders = ["work", "root", "farm", "tmp/wt"].map(|folder| format!("/{folder}/"));
    let starts =
        |before: Option<char>| before.is_none_or(|before| before.is_whitespace() || "\"'`=(:".contains(before));
    let mut wrong = Vec::new();
    for path in tracked().iter().filter(|path| !path.ends_with("Cargo.lock")) {
        let Ok(text) = fs::read_to_string(path) else { continue };
        for word in hosts.iter().filter(|word| text.contains(word.as_str())) {
            wrong.push(format!("{} says {word}", path.display()));
        }
        for word in &folders {
            // A path of a machine begins here; one that goes on (`src/root/`) is none.
            if text
                .match_indices(word.as_str())
                .any(|(at, _)| starts(text[..at].chars().next_back()))
            {
                wrong.push(format!("{} says {word}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn pages() -> Vec<(PathBuf, String)> {
    tracked()
        .into_iter()
        .filter(|path| path.extension().is_some_and(|end| end == "md"))
        .map(|path| (path.clone(), fs::read_to_string(path).unwrap()))
        .collect()
}

#[test]
fn links_between_pages_lead_somewhere() {
    let mut dead = Vec::new();
    for (path, text) in pages() {
        for (at, _) in text.match_indices("](") {
            let target = text[at + 2..].split([')', '#']).next().unwrap_or_default();
            if !target.is_empty() && !target.contains("://") && !path.parent().unwrap().join(target).exists() {
                dead.push(format!("{}: {target}", path.display()));
            }
        }
    }
    assert!(dead.is_empty(), "dead links:\n{}", dead.join("\n"));
}

/// What a page tells people to type: lines of its code blocks and inline code that begin with `mlgate `, without that word.
fn commands(page: &str) -> Vec<&str> {
    let (mut found, mut in_block) = (Vec::new(), false);
    for line in page.lines() {
        if line.starts_with("```") {
            in_block = !in_block;
        } else if in_block {
            found.extend(line.trim_start_matches("$ ").strip_prefix("mlgate "));
        } else {
            // Every second piece stands between backticks.
            let code = line.split('`').skip(1).step_by(2);
            found.extend(code.filter_map(|code| code.strip_prefix("mlgate ")));
        }
    }
    found
        .into_iter()
        .map(|typed| typed.split(['#', '…']).next().unwrap_or_default().trim())
        .filter(|typed| !typed.is_empty())
        .collect()
}

#[test]
fn the_reader_of_pages_tells_commands_from_prose() {
    let page = "mlgate stands; `mlgate audit verify F` and `mlgate …`\n```console\nmlgate serve --config F  # now\nmake test\n```\n";
    assert_eq!(commands(page), ["audit verify F", "serve --config F"]);
}

#[test]
fn commands_that_the_pages_name_exist() {
    let help = |words: &[&str]| {
        let mut asked = Command::new(env!("CARGO_BIN_EXE_mlgate"));
        let told = asked.args(words).arg("--help").output().unwrap();
        told.status
            .success()
            .then(|| String::from_utf8_lossy(&told.stdout).into_owned())
    };
    // The command that the words name, with all its options; nothing where there is none.
    let told = |words: &[&str]| {
        let first = help(words.get(..1)?)?;
        match words.get(1) {
            Some(second) if first.contains("\nCommands:") => help(&[words[0], second]),
            _ => Some(first),
        }
    };
    assert!(told(&["tokens", "create"]).is_some() && told(&["tokens", "no-such"]).is_none() && told(&["no"]).is_none());
    let mut missing = Vec::new();
    for (path, text) in pages() {
        for typed in commands(&text) {
            let words: Vec<&str> = typed.split_whitespace().collect();
            let is_known = told(&words).is_some_and(|help| {
                let mut options = words.iter().filter(|word| word.starts_with("--"));
                options.all(|option| help.split([' ', '\n', ',']).any(|word| word == *option))
            });
            if !is_known {
                missing.push(format!("{}: mlgate {typed}", path.display()));
            }
        }
    }
    assert!(missing.is_empty(), "{}", missing.join("\n"));
}

/// The code block that follows a text on a page.
fn block_after<'a>(page: &'a str, text: &str) -> &'a str {
    let (_, after) = page
        .split_once(text)
        .unwrap_or_else(|| panic!("the page does not say {text}"));
    let (_, block) = after.split_once("```toml\n").unwrap();
    block.split("```").next().unwrap()
}

#[test]
fn the_first_configuration_of_the_readme_passes_the_check() {
    let page = fs::read_to_string(root().join("README.md")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &[u8]| {
        use std::os::unix::fs::PermissionsExt;
        let file = folder.path().join(name);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, text).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    };
    let users = crate::support::gateway::users_toml();
    let hash = users.split('"').find(|word| word.starts_with("$argon2id$")).unwrap();
    write(
        "users.toml",
        block_after(&page, "`users.toml`:")
            .replace("$argon2id$…", hash)
            .as_bytes(),
    );
    write(
        "keys/current",
        &std::array::from_fn::<u8, 32, _>(|place| (place as u8).wrapping_mul(37) ^ 0x5a),
    );
    write("keys/client-secret", b"secret");
    let plain = block_after(&page, "`mlgate.toml`:");
    // The part that is commented out is what most people will need first.
    let with_oidc: String = plain
        .lines()
        .map(|line| match line.strip_prefix("# ") {
            Some(code) if code.starts_with("[[") || code.contains(" = ") => format!("{code}\n"),
            _ => format!("{line}\n"),
        })
        .collect();
    assert!(with_oidc.contains("\nkind = \"oidc\"\n"));
    let check = |text: &str| {
        write("mlgate.toml", text.as_bytes());
        let mut command = Command::new(env!("CARGO_BIN_EXE_mlgate"));
        let told = command
            .args(["check", "--config"])
            .arg(folder.path().join("mlgate.toml"));
        let told = told.output().unwrap();
        (
            told.status.success(),
            String::from_utf8_lossy(&told.stdout).into_owned(),
        )
    };
    for text in [plain, &with_oidc] {
        let (passes, told) = check(text);
        assert!(passes, "{told}");
    }
    assert!(
        !check(&format!("nonsense = 1\n{plain}")).0,
        "the check refuses what is wrong"
    );
}
