//! Child processes that end with their test, however the test ends.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

/// A process group that is killed when this is dropped, and also when the test program dies: then its end of a pipe closes.
pub struct Server {
    child: Child,
    watcher: Child,
    _lifeline: ChildStdin,
}

impl Server {
    pub fn start(command: &mut Command) -> Self {
        let child = command
            .stdin(Stdio::null())
            .process_group(0)
            .spawn()
            .unwrap_or_else(|error| {
                panic!(
                    "{:?} does not start (was `make test` or integration-tests/setup.sh run?): {error}",
                    command.get_program()
                )
            });
        let mut watcher = Command::new("sh")
            .args([
                "-c",
                "read -r _; kill -KILL -\"$1\" 2>/dev/null",
                "watcher",
                &child.id().to_string(),
            ])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .unwrap();
        let lifeline = watcher.stdin.take().unwrap();
        Self {
            child,
            watcher,
            _lifeline: lifeline,
        }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Sends a signal (`TERM`, `HUP`, `STOP`, `KILL`, …) to the process alone.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill")
            .args([&format!("-{name}"), &self.id().to_string()])
            .status()
            .unwrap();
        assert!(sent.success(), "kill -{name}");
    }

    /// The exit code once it has ended by itself; panics past the limit.
    pub fn wait(&mut self, limit: Duration) -> Option<i32> {
        let mut code = None;
        until("the process ends", limit, || {
            let ended = self.child.try_wait().unwrap();
            code = ended.and_then(|status| status.code());
            ended.is_some()
        });
        code
    }

    /// Peak resident memory in KiB (VmHWM).
    pub fn peak_memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The watcher kills the whole group; its word is the same whether we or the pipe's end tell it.
        let _ = self._lifeline.write_all(b"\n");
        let _ = self.watcher.wait();
        let _ = self.child.wait();
    }
}

/// Waits for a condition, looking often; panics past the limit and says what was waited for.
pub fn until(what: &str, limit: Duration, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < limit, "waited {limit:?} until {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
