//! The trail's files: the live one, those that were rotated away, and the small file that remembers where the chain stands.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;

use super::chain::Link;

/// No event is longer; a longer line is no event.
pub(super) const LONGEST_LINE: u64 = 8 * 1024 * 1024;

/// How much is packed between two looks at whether to go on. Bytes.
const PACKED_AT_ONCE: u64 = 1 << 20;

pub(super) fn beside(file: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(file);
    name.push(suffix);
    PathBuf::from(name)
}

/// Opens for reading and writing, made when it is missing, readable by its owner alone.
pub(super) fn open_private(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
}

/// The rotated files of a trail and the live file itself, oldest first. A file that has no rotated siblings stands alone.
pub fn with_rotated(file: &Path) -> Vec<PathBuf> {
    let mut found = rotated(file);
    found.push(file.to_owned());
    found
}

/// `NAME.FIRST-LAST` and `NAME.FIRST-LAST.gz` beside the live file, oldest first.
pub(super) fn rotated(file: &Path) -> Vec<PathBuf> {
    let Some(name) = file.file_name().and_then(|name| name.to_str()) else {
        return Vec::new();
    };
    let folder = file
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut found: Vec<(u64, PathBuf)> = entries
        .flatten()
        .filter_map(|entry| Some((first_of(name, entry.file_name().to_str()?)?, entry.path())))
        .collect();
    found.sort();
    // While one is being packed, the plain file and the packed one stand side by side.
    found.dedup_by_key(|(first, _)| *first);
    found.into_iter().map(|(_, path)| path).collect()
}

fn first_of(live: &str, name: &str) -> Option<u64> {
    let range = name.strip_prefix(live)?.strip_prefix('.')?;
    let (first, last) = range.strip_suffix(".gz").unwrap_or(range).split_once('-')?;
    last.parse::<u64>().ok()?;
    first.parse().ok()
}

/// The lines of a trail file, packed or not, each without its end; the last one is marked when its end is missing.
///
/// # Errors
/// When the file cannot be opened; reading errors come as items.
pub fn lines(path: &Path) -> io::Result<impl Iterator<Item = io::Result<(Vec<u8>, bool)>>> {
    let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
    let (file, packed) = match File::open(path) {
        // It was packed since it was listed.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            (File::open(beside(path, ".gz")).map_err(|_| named(error))?, true)
        }
        file => (
            file.map_err(named)?,
            path.extension().is_some_and(|extension| extension == "gz"),
        ),
    };
    let reader: Box<dyn Read> = if packed {
        Box::new(MultiGzDecoder::new(file))
    } else {
        Box::new(file)
    };
    let mut reader = BufReader::with_capacity(64 * 1024, reader);
    Ok(std::iter::from_fn(move || {
        let mut line = Vec::new();
        match Read::by_ref(&mut reader)
            .take(LONGEST_LINE)
            .read_until(b'\n', &mut line)
        {
            Ok(0) => None,
            Ok(_) => {
                let whole = line.last() == Some(&b'\n');
                if whole {
                    line.pop();
                }
                Some(Ok((line, whole)))
            }
            Err(error) => Some(Err(error)),
        }
    }))
}

/// The last whole line of a live file and where it ends; what follows it is a torn line.
pub(super) fn last_line(file: &mut File) -> io::Result<(Option<Vec<u8>>, u64)> {
    let length = file.seek(SeekFrom::End(0))?;
    let mut window = 64 * 1024;
    loop {
        let start = length.saturating_sub(window);
        file.seek(SeekFrom::Start(start))?;
        let mut bytes = Vec::new();
        Read::by_ref(file).take(window).read_to_end(&mut bytes)?;
        if let Some(end) = bytes.iter().rposition(|byte| *byte == b'\n') {
            let before = bytes[..end].iter().rposition(|byte| *byte == b'\n');
            if let Some(from) = before.map(|at| at + 1).or((start == 0).then_some(0)) {
                return Ok((Some(bytes[from..end].to_vec()), start + end as u64 + 1));
            }
        } else if start == 0 {
            return Ok((None, 0));
        }
        window = window.saturating_mul(4);
    }
}

/// Where the chain stands, kept beside the trail so that a cut end shows. One line: number, space, hash.
pub(super) fn read_head(head: &mut File) -> io::Result<Option<Link>> {
    let mut text = String::new();
    head.seek(SeekFrom::Start(0))?;
    Read::by_ref(head).take(256).read_to_string(&mut text)?;
    Ok(parse_head(&text))
}

pub(super) fn parse_head(text: &str) -> Option<Link> {
    let (seq, hash) = text.lines().next()?.split_once(' ')?;
    Some(Link {
        seq: seq.trim().parse().ok()?,
        hash: hash.to_owned(),
    })
}

pub(super) fn write_head(head: &File, link: &Link) -> io::Result<()> {
    // One width for every number: a shorter line never leaves the end of a longer one behind.
    head.write_all_at(format!("{:020} {}\n", link.seq, link.hash).as_bytes(), 0)
}

/// Packs a rotated file: the packed one is whole and on disk before the plain one goes.
///
/// # Errors
/// When a file cannot be read or written, or it was given up on the way; then the plain one stays.
pub(super) fn pack(path: &Path, given_up: impl Fn() -> bool) -> io::Result<()> {
    let (packing, packed) = (beside(path, ".gz.part"), beside(path, ".gz"));
    let mut target = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&packing)?;
    let mut encoder = GzEncoder::new(&mut target, Compression::fast());
    let mut source = File::open(path)?;
    while io::copy(&mut Read::by_ref(&mut source).take(PACKED_AT_ONCE), &mut encoder)? > 0 {
        if given_up() {
            return Err(io::Error::other("given up, for the gateway stops"));
        }
    }
    encoder.finish()?;
    target.sync_all()?;
    fs::rename(&packing, &packed)?;
    fs::remove_file(path)
}

/// Deletes rotated files whose last change is longer ago than `keep`.
pub(super) fn delete_old(file: &Path, keep: Duration) {
    for path in rotated(file) {
        let age = fs::metadata(&path)
            .and_then(|about| about.modified())
            .map(|changed| changed.elapsed());
        if let Ok(Ok(age)) = age
            && age > keep
            && let Err(error) = fs::remove_file(&path)
        {
            tracing::warn!(%error, "an old trail file cannot be deleted");
        }
    }
}
