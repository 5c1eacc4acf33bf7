//! The files that the pages need: embedded, named by their content, so that browsers may keep them for good.

use actix_web::{HttpResponse, web};
use sha2::{Digest, Sha256};

use crate::config;

use super::front::Here;
use super::pages::Fault;

pub fn configure(config: &mut web::ServiceConfig) {
    config.service(
        web::resource("/auth/assets/{hash}/{name}")
            .route(web::get().to(serve))
            .route(web::head().to(serve)),
    );
}

async fn serve(here: Here, path: web::Path<(String, String)>) -> HttpResponse {
    let (hash, name) = path.as_ref();
    let pages = here.pages();
    let Some(asset) = pages.asset(hash, name) else {
        return here.trouble(404, here.say().other_version, Fault::Request, None).into();
    };
    HttpResponse::Ok()
        .insert_header(("content-type", asset.content_type))
        .insert_header(("cache-control", "public, max-age=31536000, immutable"))
        .insert_header(("x-content-type-options", "nosniff"))
        // An image that is opened by itself is a page of this site: an operator's logo must not run anything.
        .insert_header((
            "content-security-policy",
            "default-src 'none'; style-src 'unsafe-inline'; sandbox",
        ))
        .body(asset.content.clone())
}

/// An operator's logo beyond this is a mistake.
const LOGO_LIMIT: u64 = 1024 * 1024;

/// One file: `/auth/assets/<hash>/<name>`.
#[derive(Debug)]
pub struct Asset {
    pub name: &'static str,
    /// 16 hex digits of the content's SHA-256.
    pub hash: String,
    pub content_type: &'static str,
    pub content: Vec<u8>,
}

/// All files of one configuration.
#[derive(Debug)]
pub struct Assets {
    assets: Vec<Asset>,
}

impl Assets {
    /// # Errors
    /// When the operator's logo cannot be read, is too large or is no image that browsers know.
    pub fn new(pages: &config::Pages) -> Result<Self, String> {
        let mut assets = vec![
            Asset::new(
                "style.css",
                "text/css; charset=utf-8",
                include_bytes!("../../templates/assets/style.css").into(),
            ),
            Asset::new(
                "fragment.js",
                "text/javascript; charset=utf-8",
                include_bytes!("../../templates/assets/fragment.js").into(),
            ),
            Asset::new(
                "submit.js",
                "text/javascript; charset=utf-8",
                include_bytes!("../../templates/assets/submit.js").into(),
            ),
            Asset::new(
                "icon.svg",
                "image/svg+xml",
                include_bytes!("../../templates/assets/icon.svg").into(),
            ),
        ];
        if let Some(accent) = &pages.accent {
            assets.push(Asset::new(
                "theme.css",
                "text/css; charset=utf-8",
                theme(accent)?.into_bytes(),
            ));
        }
        if let Some(file) = &pages.logo_file {
            assets.push(logo(file)?);
        }
        Ok(Self { assets })
    }

    pub fn find(&self, hash: &str, name: &str) -> Option<&Asset> {
        self.assets
            .iter()
            .find(|asset| asset.name == name && asset.hash == hash)
    }

    /// The path of a file, without the site's own prefix; `None` where this configuration has no such file.
    pub fn path(&self, name: &str) -> Option<String> {
        let asset = self.assets.iter().find(|asset| asset.name == name)?;
        Some(format!("/auth/assets/{}/{}", asset.hash, asset.name))
    }
}

impl Asset {
    fn new(name: &'static str, content_type: &'static str, content: Vec<u8>) -> Self {
        let hash = hex::encode(&Sha256::digest(&content)[..8]);
        Self {
            name,
            hash,
            content_type,
            content,
        }
    }
}

/// What lines are drawn on, as the sheet has it: the page and the card.
const LIGHT: [[u8; 3]; 2] = [[0xf4, 0xf6, 0xf8], [0xff, 0xff, 0xff]];
const DARK: [[u8; 3]; 2] = [[0x11, 0x16, 0x1c], [0x1a, 0x21, 0x29]];
/// What a line that says something needs against what is around it (WCAG 2.2, 1.4.11).
const LINE_CONTRAST: f64 = 3.0;

/// The operator's colour, with whichever of black and white can be read on it, and a shade of it that can be seen as a line.
fn theme(accent: &str) -> Result<String, String> {
    let wrong = || format!("pages.accent: '{accent}' is not a colour like #17527f");
    let digits = accent
        .strip_prefix('#')
        .filter(|digits| digits.len() == 6)
        .ok_or_else(wrong)?;
    let bytes = hex::decode(digits).map_err(|_| wrong())?;
    let rgb = <[u8; 3]>::try_from(bytes).map_err(|_| wrong())?;
    // 0.179 is where black and white contrast equally.
    let on_accent = if luminance(rgb) > 0.179 { "#000000" } else { "#ffffff" };
    let colours = |line: [u8; 3]| {
        let line = hex::encode(line);
        format!("--accent: #{digits}; --on-accent: {on_accent}; --accent-line: #{line};")
    };
    let (light, dark) = (seen_on(rgb, LIGHT, 0x00), seen_on(rgb, DARK, 0xff));
    Ok(format!(
        ":root {{ {} }}\n@media (prefers-color-scheme: dark) {{ :root {{ {} }} }}\n",
        colours(light),
        colours(dark)
    ))
}

/// The colour, moved towards black or white until it can be seen on these.
fn seen_on(rgb: [u8; 3], papers: [[u8; 3]; 2], towards: u8) -> [u8; 3] {
    let moved = |tenths: u16| {
        rgb.map(|byte| {
            let sum = u16::from(byte) * (10 - tenths) + u16::from(towards) * tenths;
            u8::try_from(sum / 10).unwrap_or(towards)
        })
    };
    (0..=10)
        .map(moved)
        .find(|shade| papers.iter().all(|paper| contrast(*shade, *paper) >= LINE_CONTRAST))
        .unwrap_or([towards; 3])
}

/// Contrast ratio as WCAG 2.2 defines it, 1 to 21.
fn contrast(one: [u8; 3], other: [u8; 3]) -> f64 {
    let (one, other) = (luminance(one), luminance(other));
    (one.max(other) + 0.05) / (one.min(other) + 0.05)
}

/// Relative luminance as WCAG 2.2 defines it, 0 to 1.
fn luminance(rgb: [u8; 3]) -> f64 {
    let linear = |byte: u8| {
        let share = f64::from(byte) / 255.0;
        if share <= 0.04045 {
            share / 12.92
        } else {
            ((share + 0.055) / 1.055).powf(2.4)
        }
    };
    rgb.iter()
        .zip([0.2126, 0.7152, 0.0722])
        .map(|(byte, weight)| linear(*byte) * weight)
        .sum()
}

fn logo(file: &std::path::Path) -> Result<Asset, String> {
    let wrong = |text: String| format!("pages.logo_file: {}: {text}", file.display());
    let (name, content_type) = match file.extension().and_then(|extension| extension.to_str()) {
        Some("svg") => ("logo.svg", "image/svg+xml"),
        Some("png") => ("logo.png", "image/png"),
        Some("jpg" | "jpeg") => ("logo.jpg", "image/jpeg"),
        Some("webp") => ("logo.webp", "image/webp"),
        _ => return Err(wrong("not .svg, .png, .jpg or .webp".to_owned())),
    };
    let size = std::fs::metadata(file).map_err(|error| wrong(error.to_string()))?.len();
    if size > LOGO_LIMIT {
        return Err(wrong(format!("{size} bytes, more than {LOGO_LIMIT}")));
    }
    let content = std::fs::read(file).map_err(|error| wrong(error.to_string()))?;
    Ok(Asset::new(name, content_type, content))
}

/// The name that a logo has among the assets, whatever its format.
pub const LOGOS: [&str; 4] = ["logo.svg", "logo.png", "logo.jpg", "logo.webp"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_found_by_its_hash_and_name_alone() {
        let assets = Assets::new(&config::Pages::default()).unwrap();
        let path = assets.path("style.css").unwrap();
        let hash = path.split('/').nth(3).unwrap();
        assert!(assets.find(hash, "style.css").is_some());
        assert!(assets.find(hash, "icon.svg").is_none());
        assert!(assets.find("0000000000000000", "style.css").is_none());
        assert!(assets.path("theme.css").is_none());
    }

    #[test]
    fn text_on_the_operators_colour_can_be_read() {
        assert!(theme("#ffee00").unwrap().contains("--on-accent: #000000"));
        assert!(theme("#17527f").unwrap().contains("--on-accent: #ffffff"));
        // Whatever the colour: text on it has 4.5, and lines of it 3 in light and dark.
        for grey in (0..=255).step_by(15) {
            for rgb in [[grey; 3], [grey, 0, 0], [0, grey, 0], [0, 0, grey], [grey, 255, 0]] {
                let text = [[0; 3], [255; 3]].map(|ink| contrast(ink, rgb));
                assert!(text[0].max(text[1]) >= 4.5, "{rgb:?}");
                for (papers, towards) in [(LIGHT, 0), (DARK, 255)] {
                    let line = seen_on(rgb, papers, towards);
                    assert!(
                        papers.iter().all(|paper| contrast(line, *paper) >= 3.0),
                        "{rgb:?} {line:?}"
                    );
                }
            }
        }
        let sheet = include_str!("../../templates/assets/style.css");
        for paper in LIGHT.into_iter().chain(DARK) {
            assert!(
                sheet.contains(&format!("#{};", hex::encode(paper))),
                "{paper:?} is the sheet's"
            );
        }
        for wrong in ["red", "#fff", "#12345g", "#123456;}", ""] {
            assert!(theme(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_logo_is_an_image_of_a_sensible_size() {
        let folder = tempfile::tempdir().unwrap();
        let good = folder.path().join("logo.svg");
        std::fs::write(&good, "<svg/>").unwrap();
        assert_eq!(logo(&good).unwrap().content_type, "image/svg+xml");
        assert!(logo(&folder.path().join("missing.png")).is_err());
        let page = folder.path().join("logo.html");
        std::fs::write(&page, "x").unwrap();
        assert!(logo(&page).is_err());
        let large = folder.path().join("large.png");
        std::fs::write(&large, vec![0; 1024 * 1024 + 1]).unwrap();
        assert!(logo(&large).is_err());
    }
}
