//! `[pages]`: what the operator says on the gateway's own pages.

use std::path::{Path, PathBuf};

use super::node::Node;
use super::reader::Section;
use super::{files, value};

/// All optional.
#[derive(Clone, Debug, Default)]
pub struct Pages {
    pub operator: Option<String>,
    /// Shown under every page: acceptable use, where to ask for access.
    pub notice: Option<String>,
    /// The same in a language of the pages, by its tag (RFC 5646).
    pub notices: Vec<(&'static str, String)>,
    /// A CSS colour `#rrggbb`.
    pub accent: Option<String>,
    pub logo_file: Option<PathBuf>,
}

/// The languages of the pages, each with its key.
const NOTICES: [(&str, &str); 6] = [
    ("en", "notice_en"),
    ("de", "notice_de"),
    ("fr", "notice_fr"),
    ("es", "notice_es"),
    ("zh", "notice_zh"),
    ("ja", "notice_ja"),
];

pub(super) fn read(section: Section<'_>) -> Pages {
    let pages = Pages {
        operator: section.value("operator", value::text),
        notice: section.value("notice", value::prose),
        notices: NOTICES
            .into_iter()
            .filter_map(|(tag, key)| Some((tag, section.value(key, value::prose)?)))
            .collect(),
        accent: section.value("accent", colour),
        logo_file: section.checked_file("logo_file", check_logo),
    };
    section.finish();
    pages
}

fn colour(node: &Node) -> Result<String, String> {
    let text = value::text(node)?;
    match text.strip_prefix('#') {
        Some(digits) if digits.len() == 6 && digits.bytes().all(|byte| byte.is_ascii_hexdigit()) => Ok(text),
        _ => Err(format!("must be a colour such as \"#0b5fff\", not {text:?}")),
    }
}

fn check_logo(path: &Path) -> Result<(), String> {
    let is_image = path.extension().is_some_and(|ending| {
        ["svg", "png", "jpg", "jpeg", "webp"]
            .iter()
            .any(|known| ending == *known)
    });
    if !is_image {
        return Err("must be an .svg, .png, .jpg or .webp".into());
    }
    if files::read(path)?.len() > 1 << 20 {
        return Err("is larger than 1 MiB".into());
    }
    Ok(())
}
