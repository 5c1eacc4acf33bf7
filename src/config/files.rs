//! Files that the configuration names: present, readable, of the right form, and secret where they must be.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use zeroize::Zeroizing;

use crate::domain::Secret;

/// More than any secret, certificate bundle or users file should ever be.
const MOST_BYTES: u64 = 4 << 20;

type Checked<T> = Result<T, String>;

pub(super) fn check_readable(path: &Path) -> Checked<()> {
    // Asked before opening: to open a pipe would wait for whoever writes into it.
    let meta = fs::metadata(path).map_err(|error| cannot_read(path, &error))?;
    if !meta.is_file() {
        return Err(format!("{} is not a file", path.display()));
    }
    File::open(path).map(drop).map_err(|error| cannot_read(path, &error))
}

/// The whole file, of which there must not be too much.
pub(super) fn read(path: &Path) -> Checked<Zeroizing<Vec<u8>>> {
    check_readable(path)?;
    let mut bytes = Zeroizing::new(Vec::new());
    let file = File::open(path).map_err(|error| cannot_read(path, &error))?;
    file.take(MOST_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| cannot_read(path, &error))?;
    if bytes.len() as u64 > MOST_BYTES {
        return Err(format!("{} is larger than {} MiB", path.display(), MOST_BYTES >> 20));
    }
    Ok(bytes)
}

/// Refuses a secret that every account of the machine can read or change.
pub(super) fn check_private(path: &Path) -> Checked<()> {
    let mode = fs::metadata(path)
        .map_err(|error| cannot_read(path, &error))?
        .permissions()
        .mode();
    if mode & 0o006 != 0 {
        return Err(format!(
            "{} can be read or written by everyone on this machine (mode {:03o}): chmod 600 it",
            path.display(),
            mode & 0o777
        ));
    }
    Ok(())
}

/// A secret of one line; the line's end is no part of it.
pub(super) fn secret_text(path: &Path) -> Checked<Secret> {
    let bytes = read(path)?;
    check_private(path)?;
    let text = std::str::from_utf8(&bytes).map_err(|_| format!("{} is not UTF-8 text", path.display()))?;
    let text = text.strip_suffix('\n').unwrap_or(text);
    let text = text.strip_suffix('\r').unwrap_or(text);
    if text.is_empty() {
        return Err(format!("{} is empty", path.display()));
    }
    if text.chars().any(char::is_control) {
        return Err(format!(
            "{} holds more than one line, or control characters",
            path.display()
        ));
    }
    Ok(Secret::new(text))
}

/// 32 random bytes: as they are, or as base64 or hex.
pub(super) fn secret_key(path: &Path) -> Checked<[u8; 32]> {
    let bytes = read(path)?;
    check_private(path)?;
    let key = <[u8; 32]>::try_from(bytes.as_slice()).ok().or_else(|| {
        let text = std::str::from_utf8(&bytes).ok()?.trim_end();
        let decoded = Zeroizing::new(STANDARD.decode(text).ok().or_else(|| hex::decode(text).ok())?);
        <[u8; 32]>::try_from(decoded.as_slice()).ok()
    });
    let how = "make one with: head -c 32 /dev/urandom";
    let key = key.ok_or_else(|| format!("{} must hold exactly 32 random bytes; {how}", path.display()))?;
    if key.iter().all(|byte| *byte == key[0]) {
        return Err(format!("{} is not random; {how}", path.display()));
    }
    Ok(key)
}

/// Certificates that are to be believed: each must be usable as a root.
pub(super) fn check_roots(path: &Path) -> Checked<()> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots
            .add(certificate)
            .map_err(|error| format!("{}: {error}", path.display()))?;
    }
    Ok(())
}

pub(super) fn certificates(path: &Path) -> Checked<Vec<CertificateDer<'static>>> {
    let bytes = read(path)?;
    let found = CertificateDer::pem_slice_iter(&bytes)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| format!("{} is no PEM certificate: {error}", path.display()))?;
    if found.is_empty() {
        return Err(format!("{} holds no PEM certificate", path.display()));
    }
    Ok(found)
}

/// The key must be private, and belong to the first certificate.
pub(super) fn check_key_pair(cert: &Path, key: &Path) -> Checked<()> {
    let chain = certificates(cert)?;
    let bytes = read(key)?;
    check_private(key)?;
    // The reader's own words might quote the key.
    let private =
        PrivateKeyDer::from_pem_slice(&bytes).map_err(|_| format!("{} holds no PEM private key", key.display()))?;
    CertifiedKey::from_der(chain, private, &rustls::crypto::ring::default_provider())
        .map_err(|error| format!("{} and {} do not fit together: {error}", cert.display(), key.display()))?;
    Ok(())
}

fn cannot_read(path: &Path, error: &std::io::Error) -> String {
    format!("{} cannot be read: {error}", path.display())
}
