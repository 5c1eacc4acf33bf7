//! `mlgate audit` on a trail's files: a sound one passes, and each kind of tampering is found and named.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::Duration;

use mlgate::audit::{Actor, Audit, Event, Outcome, Why};
use mlgate::config;
use mlgate::domain::{SystemClock, Timestamp};

fn event(user: &str, action: &str) -> Event {
    Event {
        time: Timestamp::parse_rfc3339("2026-11-23T12:00:00Z").unwrap(),
        id: format!("{user}-{action}"),
        request_id: None,
        actor: Actor {
            user: Some(user.to_owned()),
            ..Actor::default()
        }
        .into(),
        action: action.to_owned().into(),
        resources: Vec::new(),
        upstream: None,
        outcome: Outcome::Allowed,
        reason: Why {
            code: "granted".into(),
            text: "=cmd()\u{202e}".to_owned(),
        },
        http: None,
    }
}

fn settings(file: &Path, rotate_size: u64) -> config::Audit {
    config::Audit {
        file: file.to_owned(),
        rotate_size,
        keep: Duration::from_secs(86_400),
        fsync: false,
        reads: true,
        on_failure: config::OnAuditFailure::Refuse,
    }
}

/// A trail of nine events; rotated after every few where `rotate_size` is small.
fn trail(folder: &Path, rotate_size: u64) -> PathBuf {
    let file = folder.join("a.jsonl");
    let audit = Audit::open(&settings(&file, rotate_size), Arc::new(SystemClock)).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    for action in ["run.create", "run.update", "run.delete"] {
        for user in ["ann", "bob", "cem"] {
            runtime.block_on(audit.record(event(user, action))).unwrap();
        }
    }
    audit.close();
    file
}

fn mlgate(arguments: &[&str], file: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_mlgate"))
        .arg("audit")
        .args(arguments)
        .arg(file)
        .output()
        .unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap() + std::str::from_utf8(&output.stderr).unwrap()
}

#[test]
fn each_kind_of_tampering_is_named_and_fails() {
    type Tamper = fn(&mut Vec<String>);
    let kinds: [(&str, Tamper); 4] = [
        ("edited", |lines| lines[3] = lines[3].replace("ann", "eve")),
        ("removed", |lines| drop(lines.remove(3))),
        ("reordered", |lines| lines.swap(3, 4)),
        ("truncated", |lines| lines.truncate(7)),
    ];
    for (kind, tamper) in kinds {
        let folder = tempfile::tempdir().unwrap();
        let file = trail(folder.path(), 1 << 30);
        let sound = mlgate(&["verify"], &file);
        assert_eq!(sound.status.code(), Some(0), "{}", said(&sound));
        let mut lines: Vec<_> = fs::read_to_string(&file).unwrap().lines().map(str::to_owned).collect();
        tamper(&mut lines);
        fs::write(&file, lines.join("\n") + "\n").unwrap();
        let broken = mlgate(&["verify"], &file);
        assert_eq!(broken.status.code(), Some(1), "{kind}");
        assert!(
            said(&broken).contains(kind) && said(&broken).contains("a.jsonl:"),
            "{kind}: {}",
            said(&broken)
        );
    }
}

#[test]
fn a_trail_holds_over_its_rotated_and_packed_files() {
    let folder = tempfile::tempdir().unwrap();
    let file = trail(folder.path(), 1200);
    let packed = || -> Vec<_> {
        let entries = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path());
        entries
            .filter(|path| path.extension().is_some_and(|end| end == "gz"))
            .collect()
    };
    // What a gateway leaves unpacked when it stops, the next one packs.
    let next = Audit::open(&settings(&file, 1200), Arc::new(SystemClock)).unwrap();
    let end = std::time::Instant::now() + Duration::from_secs(30);
    while packed().len() < 2 {
        assert!(std::time::Instant::now() < end, "{:?}", packed());
        std::thread::sleep(Duration::from_millis(5));
    }
    next.close();
    let mut packed = packed();
    assert_eq!(mlgate(&["verify"], &file).status.code(), Some(0));
    // As a shell puts `a.jsonl*`.
    let mut all: Vec<_> = fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    all.sort();
    assert!(all.iter().any(|path| path.ends_with("a.jsonl.head")), "{all:?}");
    let by_pattern = Command::new(env!("CARGO_BIN_EXE_mlgate"))
        .args(["audit", "verify"])
        .args(&all)
        .output();
    let by_pattern = by_pattern.unwrap();
    assert!(by_pattern.status.success(), "{all:?}: {}", said(&by_pattern));
    packed.sort();
    fs::remove_file(&packed[1]).unwrap();
    let broken = mlgate(&["verify"], &file);
    assert_eq!(broken.status.code(), Some(1));
    assert!(said(&broken).contains("removed"), "{}", said(&broken));
}

#[test]
fn search_takes_what_fits_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let file = trail(folder.path(), 1200);
    let count = |arguments: &[&str]| {
        let arguments = [&["search", "--format", "json"], arguments].concat();
        let output = mlgate(&arguments, &file);
        assert_eq!(output.status.code(), Some(0), "{}", said(&output));
        said(&output).lines().count()
    };
    assert_eq!(count(&[]), 9);
    assert_eq!(count(&["--user", "ann"]), 3);
    assert_eq!(count(&["--user", "ann", "--action", "run.delete"]), 1);
    assert_eq!(count(&["--outcome", "refused"]), 0);
    assert_eq!(count(&["--since", "2026-11-24"]), 0);
    assert_eq!(count(&["--until", "2026-11-23"]), 9);
    let table = said(&mlgate(&["search", "--user", "ann"], &file));
    assert!(!table.contains('\u{202e}'), "{table}");
}
