//! The line that says what is waited for, on standard error: it moves on a terminal, and is said once elsewhere.

use std::io::{IsTerminal, Write, stderr};
use std::time::Duration;

const FRAMES: [char; 10] = ['⠋', '⠙', '⠹', '⠸', '⠼', '⠴', '⠦', '⠧', '⠇', '⠏'];
/// From the line's start, and nothing behind it.
const AFRESH: &str = "\r\u{1b}[K";

pub(super) struct Progress {
    what: &'static str,
    moves: bool,
    ticks: usize,
}

impl Progress {
    pub(super) fn new(what: &'static str) -> Self {
        Self {
            what,
            moves: stderr().is_terminal(),
            ticks: 0,
        }
    }

    pub(super) fn tick(&mut self, left: Duration) {
        let first = self.ticks == 0;
        let line = line(self.what, left, self.moves.then(|| FRAMES[self.ticks % FRAMES.len()]));
        self.ticks += 1;
        if self.moves {
            say(&format!("{AFRESH}{line}"));
        } else if first {
            say(&format!("{line}\n"));
        }
    }

    pub(super) fn end(self) {
        if self.moves && self.ticks > 0 {
            say(AFRESH);
        }
    }
}

fn line(what: &str, left: Duration, frame: Option<char>) -> String {
    let (minutes, seconds) = (left.as_secs() / 60, left.as_secs() % 60);
    match frame {
        Some(frame) => format!("{frame} {what} … {minutes}:{seconds:02}"),
        None => format!("{what}, for {minutes}:{seconds:02} minutes at most"),
    }
}

fn say(text: &str) {
    // Where nobody listens nothing is lost.
    let _ = stderr().write_all(text.as_bytes());
    let _ = stderr().flush();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_counts_down() {
        let left = Duration::from_secs(245);
        assert_eq!(line("Waiting", left, Some('⠋')), "⠋ Waiting … 4:05");
        assert_eq!(line("Waiting", left, None), "Waiting, for 4:05 minutes at most");
    }
}
