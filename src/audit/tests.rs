//! The trail as a whole: written, cut, continued, rotated and checked.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::chain::tests::event;
use super::{Audit, AuditError, BreakKind, lines, verify, with_rotated};
use crate::config;
use crate::config::OnAuditFailure;
use crate::domain::{ManualClock, SystemClock, Timestamp};

const DAY: Timestamp = Timestamp::from_seconds(1_795_435_200);

fn settings(file: PathBuf) -> config::Audit {
    config::Audit {
        file,
        rotate_size: 1 << 30,
        keep: Duration::from_secs(86_400),
        fsync: false,
        reads: true,
        on_failure: OnAuditFailure::Refuse,
    }
}

fn open(settings: &config::Audit) -> Audit {
    // At the day of the events below: on another, the first note would begin another file.
    Audit::open(settings, Arc::new(ManualClock::at(DAY))).unwrap()
}

async fn write(settings: &config::Audit, actions: &[&str]) {
    let audit = open(settings);
    for action in actions {
        audit.record(event(action, "x")).await.unwrap();
    }
    audit.close();
}

fn kinds(file: &Path) -> Vec<BreakKind> {
    verify(&with_rotated(file))
        .unwrap()
        .breaks
        .iter()
        .map(|found| found.kind)
        .collect()
}

fn text_lines(file: &Path) -> Vec<String> {
    fs::read_to_string(file).unwrap().lines().map(str::to_owned).collect()
}

fn put_lines(file: &Path, lines: &[String]) {
    fs::write(file, lines.iter().map(|line| format!("{line}\n")).collect::<String>()).unwrap();
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = std::time::Instant::now() + Duration::from_secs(30);
    while !holds() {
        assert!(std::time::Instant::now() < end, "{what}: not so after 30 s");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_restart_goes_on_with_the_chain() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(folder.path().join("a.jsonl"));
    write(&settings, &["a.b", "c.d"]).await;
    write(&settings, &["e.f"]).await;
    let report = verify(&with_rotated(&settings.file)).unwrap();
    assert_eq!((report.events, report.first, report.last), (3, Some(1), Some(3)));
    assert!(report.breaks.is_empty(), "{:?}", report.breaks);
}

#[tokio::test]
async fn an_edited_removed_reordered_and_truncated_line_is_each_named() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(folder.path().join("a.jsonl"));
    write(&settings, &["a.a", "b.b", "c.c", "d.d"]).await;
    let good = text_lines(&settings.file);
    assert_eq!(kinds(&settings.file), []);

    let mut edited = good.clone();
    edited[1] = edited[1].replace("alice", "malla");
    put_lines(&settings.file, &edited);
    assert_eq!(kinds(&settings.file), [BreakKind::Edited]);

    put_lines(&settings.file, &[good[0].clone(), good[2].clone(), good[3].clone()]);
    assert_eq!(kinds(&settings.file), [BreakKind::Removed]);

    put_lines(
        &settings.file,
        &[good[0].clone(), good[2].clone(), good[1].clone(), good[3].clone()],
    );
    assert!(kinds(&settings.file).contains(&BreakKind::Reordered));

    put_lines(&settings.file, &good[..3]);
    assert_eq!(kinds(&settings.file), [BreakKind::Truncated]);

    fs::write(
        &settings.file,
        fs::read(&settings.file).unwrap().split_last().unwrap().1,
    )
    .unwrap();
    assert!(kinds(&settings.file).contains(&BreakKind::Truncated));

    put_lines(&settings.file, &good);
    assert_eq!(kinds(&settings.file), []);
}

#[tokio::test]
async fn an_edit_with_a_hash_made_anew_shows_at_the_next_line() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(folder.path().join("a.jsonl"));
    write(&settings, &["a.a", "b.b"]).await;
    let mut lines = text_lines(&settings.file);
    let mut forged = Vec::new();
    super::seal(&event("z.z", "forged"), &super::Link::start(), &mut forged).unwrap();
    lines[0] = String::from_utf8(forged).unwrap().trim_end().to_owned();
    put_lines(&settings.file, &lines);
    assert_eq!(kinds(&settings.file), [BreakKind::Edited]);
}

#[tokio::test]
async fn a_torn_last_line_is_cut_and_the_chain_holds() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(folder.path().join("a.jsonl"));
    write(&settings, &["a.a"]).await;
    let mut bytes = fs::read(&settings.file).unwrap();
    bytes.extend_from_slice(b"{\"v\":1,\"seq\":2,\"ti");
    fs::write(&settings.file, bytes).unwrap();
    write(&settings, &["b.b"]).await;
    assert_eq!(kinds(&settings.file), []);
    let all = fs::read_to_string(&settings.file).unwrap();
    assert!(all.contains("audit.torn") && all.contains("b.b"));
}

#[tokio::test]
async fn a_cut_end_stays_visible_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(folder.path().join("a.jsonl"));
    write(&settings, &["a.a", "b.b", "c.c"]).await;
    put_lines(&settings.file, &text_lines(&settings.file)[..1]);
    write(&settings, &["d.d"]).await;
    assert_eq!(kinds(&settings.file), [BreakKind::Removed]);
}

/// Packing 256 MiB takes seconds of a core; at a usual priority these were taken from requests.
#[tokio::test]
async fn packing_gives_way_to_requests() {
    const SCHED_IDLE: &str = "5";
    let folder = tempfile::tempdir().unwrap();
    let audit = open(&settings(folder.path().join("a.jsonl")));
    let policies = || {
        fs::read_dir("/proc/self/task").unwrap().filter_map(|task| {
            let stat = fs::read_to_string(task.ok()?.path().join("stat")).ok()?;
            let (name, rest) = stat.split_once('(')?.1.rsplit_once(") ")?;
            // proc(5): the policy is field 41, and the state after the name is field 3.
            (name == "audit-tidy").then(|| rest.split(' ').nth(41 - 3).map(str::to_owned))?
        })
    };
    until("the packing thread is idle's", || {
        policies().any(|policy| policy == SCHED_IDLE)
    })
    .await;
    audit.close();
}

#[tokio::test]
async fn rotation_by_size_and_by_day_keeps_one_chain_over_packed_files() {
    let folder = tempfile::tempdir().unwrap();
    let mut settings = settings(folder.path().join("a.jsonl"));
    settings.rotate_size = 3000;
    let audit = open(&settings);
    for index in 0..12 {
        let mut event = event("a.a", "x");
        event.time = DAY.plus(Duration::from_secs(if index < 6 { 0 } else { 86_400 }));
        audit.record(event).await.unwrap();
    }
    let files = || with_rotated(&settings.file);
    let is_packed = |path: &PathBuf| path.extension().is_some_and(|end| end == "gz");
    until("three are packed", || {
        files().iter().filter(|path| is_packed(path)).count() == 3
    })
    .await;
    audit.close();
    let files = files();
    assert_eq!(files.len(), 4, "{files:?}");
    let report = verify(&files).unwrap();
    assert!(report.breaks.is_empty(), "{:?}", report.breaks);
    assert_eq!(report.events, 12);
    write(&settings, &["b.b"]).await;
    assert_eq!(kinds(&settings.file), []);
}

#[tokio::test]
async fn a_second_writer_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(folder.path().join("a.jsonl"));
    let first = open(&settings);
    let second = Audit::open(&settings, Arc::new(SystemClock));
    assert!(matches!(second, Err(AuditError::InUse(_))));
    first.close();
    assert!(Audit::open(&settings, Arc::new(SystemClock)).is_ok());
}

#[tokio::test]
async fn the_trail_is_its_owners_alone() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(folder.path().join("a.jsonl"));
    write(&settings, &["a.a"]).await;
    assert_eq!(
        fs::metadata(&settings.file).unwrap().permissions().mode() & 0o777,
        0o600
    );
}

#[tokio::test]
async fn a_thousand_events_at_once_are_all_there() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(folder.path().join("a.jsonl"));
    let audit = Arc::new(open(&settings));
    let tasks: Vec<_> = (0..1000)
        .map(|_| {
            let audit = audit.clone();
            tokio::spawn(async move { audit.record(event("a.a", "x")).await })
        })
        .collect();
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    assert_eq!(lines(&settings.file).unwrap().count(), 1000);
    assert_eq!(kinds(&settings.file), []);
    assert!(audit.healthy());
}

#[test]
fn a_runtime_that_ends_leaves_nobody_waiting_and_nothing_uncarried() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(folder.path().join("a.jsonl"));
    let audit = Arc::new(open(&settings));
    let runtime = || {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
    };
    // Handed in, and never carried: this runtime has no further turn.
    let first = runtime();
    let begun = audit.clone();
    let left = first.spawn(async move { begun.record(event("a.left", "x")).await });
    first.block_on(async { tokio::task::yield_now().await });
    drop(first);
    let answer = runtime().block_on(async {
        let left = tokio::time::timeout(Duration::from_secs(5), left).await;
        assert!(left.is_ok(), "who handed it in still waits");
        tokio::time::timeout(Duration::from_secs(5), audit.record(event("b.next", "x"))).await
    });
    answer.expect("the next event is not carried").unwrap();
    Arc::into_inner(audit).unwrap().close();
    assert_eq!(kinds(&settings.file), []);
    assert!(fs::read_to_string(&settings.file).unwrap().contains("b.next"));
}

/// Sets how large a file this process may write: a disk of that size, as far as the trail can tell.
fn limit_files(bytes: &str) {
    let done = std::process::Command::new("prlimit")
        .args([
            format!("--pid={}", std::process::id()),
            format!("--fsize={bytes}:unlimited"),
        ])
        .status()
        .unwrap();
    assert!(done.success());
}

#[test]
fn a_full_disk_fails_events_whole_and_heals_by_itself() {
    // In a process of its own that ignores the signal of the limit, so that no other test runs into it.
    let output = std::process::Command::new("sh")
        .args([
            "-c",
            "trap '' XFSZ; exec \"$0\" --exact audit::tests::on_a_full_disk --ignored --test-threads=1",
        ])
        .arg(std::env::current_exe().unwrap())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && said.contains("1 passed"),
        "{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[tokio::test]
#[ignore = "limits its own process: a_full_disk_fails_events_whole_and_heals_by_itself runs it apart"]
async fn on_a_full_disk() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(folder.path().join("a.jsonl"));
    let audit = open(&settings);
    limit_files("4000");
    let mut answered = 0;
    while audit.record(event("run.create", "x")).await.is_ok() {
        answered += 1;
        assert!(answered < 100, "the limit does not hold");
    }
    assert!(answered > 0 && !audit.healthy());
    assert!(audit.record(event("run.create", "x")).await.is_err());
    assert_eq!(
        text_lines(&settings.file).len(),
        answered,
        "a refused event left something behind"
    );
    assert!(kinds(&settings.file).is_empty());
    limit_files("unlimited");
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    while !audit.healthy() {
        assert!(std::time::Instant::now() < deadline, "it does not heal");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    audit.record(event("run.update", "x")).await.unwrap();
    audit.close();
    assert!(kinds(&settings.file).is_empty());
    let lines = text_lines(&settings.file);
    assert!(
        lines[answered].contains("\"audit.recover\"") && lines.len() == answered + 2,
        "{lines:?}"
    );
}
