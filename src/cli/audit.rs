//! `mlgate audit`: check a trail's chain, follow it, search it.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};

use crate::audit::{self, Record};
use crate::domain::Timestamp;

use super::Exit;

#[derive(Args, Debug)]
pub struct Audit {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Check the chain; exit 1 where it does not hold.
    Verify {
        /// A trail's live file (its rotated files are found beside it), or files of one trail.
        #[arg(required = true)]
        files: Vec<PathBuf>,
        #[arg(long)]
        json: bool,
    },
    /// Print events as they are written.
    Tail {
        #[arg(required = true)]
        files: Vec<PathBuf>,
        #[command(flatten)]
        filter: Filter,
        #[arg(long, value_enum, default_value_t = Format::Table)]
        format: Format,
        /// Start with this many of the events that are there.
        #[arg(long, short = 'n', default_value_t = 10)]
        lines: usize,
        /// Print what is there and end.
        #[arg(long)]
        no_follow: bool,
    },
    /// Print the events that match.
    Search {
        #[arg(required = true)]
        files: Vec<PathBuf>,
        #[command(flatten)]
        filter: Filter,
        #[arg(long, value_enum, default_value_t = Format::Table)]
        format: Format,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    Json,
    Table,
    Csv,
}

/// What an event must be; without any, all are.
#[derive(Args, Debug, Default)]
struct Filter {
    /// The user name, or provider:user.
    #[arg(long)]
    user: Option<String>,
    /// `run.create`, or with a star: `run.*`.
    #[arg(long)]
    action: Option<String>,
    /// A resource's id or name, or kind:name (`experiment:fraud/*`).
    #[arg(long)]
    resource: Option<String>,
    /// allowed, refused or failed.
    #[arg(long, value_parser = ["allowed", "refused", "failed"])]
    outcome: Option<String>,
    /// RFC 3339 (2026-11-23T12:00:00Z), or a date.
    #[arg(long, value_parser = moment)]
    since: Option<Timestamp>,
    /// RFC 3339, or a date, which counts to its end.
    #[arg(long, value_parser = end_of_moment)]
    until: Option<Timestamp>,
}

pub fn run(audit: Audit, out: &mut dyn Write) -> io::Result<Exit> {
    match audit.command {
        Command::Verify { files, json } => verify(&files, json, out),
        Command::Search { files, filter, format } => search(&files, &filter, format, out),
        Command::Tail {
            files,
            filter,
            format,
            lines,
            no_follow,
        } => {
            let mut tails: Vec<_> = files.into_iter().map(Tail::new).collect();
            let mut table = Table::new(format);
            let mut first = Vec::new();
            for tail in &mut tails {
                first.extend(tail.news()?.into_iter().filter(|(_, record)| filter.takes(record)));
            }
            first.sort_by(|left, right| left.1.time.cmp(&right.1.time));
            for (line, record) in first.iter().skip(first.len().saturating_sub(lines)) {
                table.row(line, record, out)?;
            }
            drop(first);
            if no_follow {
                return Ok(Exit::Done);
            }
            loop {
                out.flush()?;
                std::thread::sleep(Duration::from_millis(200));
                for tail in &mut tails {
                    for (line, record) in tail.news()?.iter().filter(|(_, record)| filter.takes(record)) {
                        table.row(line, record, out)?;
                    }
                }
            }
        }
    }
}

/// The trails that are meant: a live file alone stands for its rotated files too; several files are one trail, oldest first.
fn trail(files: &[PathBuf]) -> io::Result<Vec<PathBuf>> {
    if let [live] = files {
        return Ok(audit::with_rotated(live));
    }
    let mut numbered = Vec::new();
    // A pattern of the shell (`mlgate.jsonl*`) names more than events: what remembers the trail's end, and files that are being packed.
    let is_packed_too = |file: &PathBuf| {
        let mut packed = file.clone().into_os_string();
        packed.push(".gz");
        files.contains(&packed.into())
    };
    let has_events = |file: &&PathBuf| {
        let ends = file.extension().and_then(|end| end.to_str());
        !matches!(ends, Some("head" | "part")) && !is_packed_too(file)
    };
    for file in files.iter().filter(has_events) {
        let first = audit::lines(file)?.next().transpose()?;
        let seq = first
            .and_then(|(line, _)| serde_json::from_slice::<Record>(&line).ok())
            .map_or(u64::MAX, |record| record.seq);
        numbered.push((seq, file.clone()));
    }
    numbered.sort();
    Ok(numbered.into_iter().map(|(_, file)| file).collect())
}

fn verify(files: &[PathBuf], json: bool, out: &mut dyn Write) -> io::Result<Exit> {
    let report = audit::verify(&trail(files)?)?;
    if json {
        serde_json::to_writer_pretty(&mut *out, &report)?;
        writeln!(out)?;
    } else {
        for found in &report.breaks {
            writeln!(out, "{found}")?;
        }
        let events = report.events;
        match (report.first, report.last) {
            (Some(first), Some(last)) => writeln!(out, "{events} events, {first} to {last}")?,
            _ => writeln!(out, "no events")?,
        }
        let verdict = if report.breaks.is_empty() {
            "the chain holds"
        } else {
            "the chain does NOT hold"
        };
        writeln!(out, "{verdict}")?;
    }
    Ok(if report.breaks.is_empty() {
        Exit::Done
    } else {
        Exit::Failed
    })
}

fn search(files: &[PathBuf], filter: &Filter, format: Format, out: &mut dyn Write) -> io::Result<Exit> {
    let mut table = Table::new(format);
    for file in trail(files)? {
        for line in audit::lines(&file)? {
            let (line, _) = line?;
            match serde_json::from_slice::<Record>(&line) {
                Ok(record) if filter.takes(&record) => table.row(&line, &record, out)?,
                Ok(_) => {}
                Err(_) => tracing::warn!(file = %file.display(), "a line is no event; `mlgate audit verify` says more"),
            }
        }
    }
    Ok(Exit::Done)
}

impl Filter {
    fn takes(&self, record: &Record) -> bool {
        let actor = &record.actor;
        let user = |wanted: &String| match wanted.split_once(':') {
            Some((provider, user)) if actor.provider.as_deref() == Some(provider) => {
                actor.user.as_deref() == Some(user)
            }
            _ => actor.user.as_deref() == Some(wanted),
        };
        let resource = |wanted: &String| {
            record.resources.iter().any(|touched| {
                let is = |text: &str| {
                    [&touched.id, &touched.name]
                        .into_iter()
                        .flatten()
                        .any(|value| matches(text, value))
                };
                is(wanted)
                    || wanted
                        .split_once(':')
                        .is_some_and(|(kind, text)| kind == touched.kind && is(text))
            })
        };
        let at = Timestamp::parse_rfc3339(&record.time).ok();
        self.user.as_ref().is_none_or(user)
            && self
                .action
                .as_ref()
                .is_none_or(|wanted| matches(wanted, &record.action))
            && self.resource.as_ref().is_none_or(resource)
            && self
                .outcome
                .as_ref()
                .is_none_or(|wanted| serde_json::to_value(record.outcome).is_ok_and(|is| is == **wanted))
            && self.since.is_none_or(|since| at.is_some_and(|at| at >= since))
            && self.until.is_none_or(|until| at.is_some_and(|at| at <= until))
    }
}

/// A text with one star at most, at its end.
fn matches(wanted: &str, text: &str) -> bool {
    wanted
        .strip_suffix('*')
        .map_or(wanted == text, |start| text.starts_with(start))
}

fn moment(text: &str) -> Result<Timestamp, String> {
    Timestamp::parse_rfc3339(text)
        .or_else(|_| Timestamp::parse_rfc3339(&format!("{text}T00:00:00Z")))
        .map_err(|_| "write it as 2026-11-23T12:00:00Z or 2026-11-23".to_owned())
}

fn end_of_moment(text: &str) -> Result<Timestamp, String> {
    let whole_day = text.len() == "2026-11-23".len();
    moment(text).map(|at| {
        if whole_day {
            at.plus(Duration::from_micros(86_400_000_000 - 1))
        } else {
            at
        }
    })
}

/// Prints records one by one.
struct Table {
    format: Format,
    begun: bool,
}

impl Table {
    fn new(format: Format) -> Self {
        Self { format, begun: false }
    }

    fn row(&mut self, line: &[u8], record: &Record, out: &mut dyn Write) -> io::Result<()> {
        let begun = std::mem::replace(&mut self.begun, true);
        let resources: Vec<String> = record
            .resources
            .iter()
            .map(|touched| {
                let what = touched.name.as_deref().or(touched.id.as_deref()).unwrap_or("*");
                format!("{}:{what}", touched.kind)
            })
            .collect();
        let outcome = serde_json::to_value(record.outcome)?;
        let status = record
            .http
            .as_ref()
            .map(|http| http.status.to_string())
            .unwrap_or_default();
        let user = record.actor.user.as_deref().unwrap_or("-");
        let columns = [
            record.time.as_str(),
            outcome.as_str().unwrap_or_default(),
            user,
            &record.action,
            &status,
            &resources.join(" "),
            &record.reason.text,
        ];
        let columns = columns.map(printable);
        match self.format {
            // As it is in the file: the hash covers these very bytes.
            Format::Json => {
                out.write_all(line)?;
                writeln!(out)
            }
            Format::Csv => {
                if !begun {
                    writeln!(out, "time,outcome,user,action,status,resources,reason")?;
                }
                writeln!(out, "{}", columns.map(|cell| csv(&cell)).join(","))
            }
            Format::Table => {
                let [time, outcome, user, action, status, resources, reason] = columns;
                writeln!(
                    out,
                    "{time}  {outcome:<7}  {user:<16}  {action:<26}  {status:<3}  {resources}  ({reason})"
                )
            }
        }
    }
}

/// What the terminal may see: no character that moves its cursor or turns the text around.
fn printable(text: &str) -> String {
    text.chars()
        .map(|character| {
            if audit::is_unsafe(character) || character.is_control() {
                '\u{fffd}'
            } else {
                character
            }
        })
        .collect()
}

/// RFC 4180; a leading `=`, `+`, `-` or `@` is kept from being a formula.
fn csv(cell: &str) -> String {
    let guard = if cell.starts_with(['=', '+', '@']) || (cell.starts_with('-') && cell.len() > 1) {
        "'"
    } else {
        ""
    };
    format!("\"{guard}{}\"", cell.replace('"', "\"\""))
}

/// A trail that grows: goes on in the new live file when the old one is rotated away.
struct Tail {
    path: PathBuf,
    open: Option<BufReader<File>>,
    /// The beginning of a line whose end is not written yet.
    part: Vec<u8>,
}

impl Tail {
    fn new(path: PathBuf) -> Self {
        Self {
            path,
            open: None,
            part: Vec::new(),
        }
    }

    /// What was written since the last call.
    fn news(&mut self) -> io::Result<Vec<(Vec<u8>, Record)>> {
        let mut found = Vec::new();
        if self.open.is_none() {
            self.open = Some(BufReader::new(File::open(&self.path)?));
        }
        self.read(&mut found)?;
        if self.was_rotated()? {
            self.open = Some(BufReader::new(File::open(&self.path)?));
            self.part.clear();
            self.read(&mut found)?;
        }
        Ok(found)
    }

    fn read(&mut self, found: &mut Vec<(Vec<u8>, Record)>) -> io::Result<()> {
        let Some(open) = &mut self.open else { return Ok(()) };
        while open.read_until(b'\n', &mut self.part)? > 0 {
            if self.part.last() != Some(&b'\n') {
                break;
            }
            self.part.pop();
            let line = std::mem::take(&mut self.part);
            if let Ok(record) = serde_json::from_slice(&line) {
                found.push((line, record));
            }
        }
        Ok(())
    }

    fn was_rotated(&self) -> io::Result<bool> {
        let Some(open) = &self.open else { return Ok(false) };
        match std::fs::metadata(&self.path) {
            Ok(now) => Ok(now.ino() != open.get_ref().metadata()?.ino()),
            // Between the rename and the new file.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = concat!(
        r#"{"v":1,"seq":1,"time":"2026-11-23T12:00:00.000000Z","id":"e","request_id":null,"actor":{"provider":"corp","subject":"1","#,
        r#""user":"alice","groups":[],"roles":[],"via":"session","session":null,"address":null},"action":"run.create","resources":"#,
        r#"[{"kind":"experiment","id":"7","name":"fraud/a","permission":"EDIT"}],"upstream":"p","outcome":"refused","reason":"#,
        r#"{"code":"not_granted","text":"=1+1"},"http":null,"prev":"","hash":""}"#,
    );

    fn takes(filter: Filter) -> bool {
        filter.takes(&serde_json::from_str(LINE).unwrap())
    }

    #[test]
    fn each_filter_takes_its_own_and_refuses_the_rest() {
        let some = |text: &str| Some(text.to_owned());
        for (user, expected) in [
            ("alice", true),
            ("corp:alice", true),
            ("okta:alice", false),
            ("bob", false),
        ] {
            assert_eq!(
                takes(Filter {
                    user: some(user),
                    ..Filter::default()
                }),
                expected,
                "{user}"
            );
        }
        for (action, expected) in [
            ("run.create", true),
            ("run.*", true),
            ("run", false),
            ("experiment.*", false),
        ] {
            assert_eq!(
                takes(Filter {
                    action: some(action),
                    ..Filter::default()
                }),
                expected,
                "{action}"
            );
        }
        for (resource, expected) in [
            ("7", true),
            ("fraud/*", true),
            ("experiment:fraud/a", true),
            ("prompt:fraud/a", false),
            ("8", false),
        ] {
            assert_eq!(
                takes(Filter {
                    resource: some(resource),
                    ..Filter::default()
                }),
                expected,
                "{resource}"
            );
        }
        for (outcome, expected) in [("refused", true), ("allowed", false)] {
            assert_eq!(
                takes(Filter {
                    outcome: some(outcome),
                    ..Filter::default()
                }),
                expected,
                "{outcome}"
            );
        }
        for (day, since, until) in [
            ("2026-11-22", true, false),
            ("2026-11-23", true, true),
            ("2026-11-24", false, true),
        ] {
            assert_eq!(
                takes(Filter {
                    since: moment(day).ok(),
                    ..Filter::default()
                }),
                since,
                "since {day}"
            );
            assert_eq!(
                takes(Filter {
                    until: end_of_moment(day).ok(),
                    ..Filter::default()
                }),
                until,
                "until {day}"
            );
        }
        assert!(moment("yesterday").is_err());
    }

    #[test]
    fn a_cell_is_never_a_formula() {
        assert_eq!(csv("=1+1"), "\"'=1+1\"");
        assert_eq!(csv("a\"b"), "\"a\"\"b\"");
    }
}
