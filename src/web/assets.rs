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
    let Some(asset) = here.pages().asset(hash, name) else {
        return here
            .trouble(
                404,
                "This file is of another version of the gateway.",
                Fault::Request,
                None,
            )
            .into();
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

/// The operator's colour, with whichever of black and white can be read on it.
fn theme(accent: &str) -> Result<String, String> {
    let wrong = || format!("pages.accent: '{accent}' is not a colour like #17527f");
    let digits = accent
        .strip_prefix('#')
        .filter(|digits| digits.len() == 6)
        .ok_or_else(wrong)?;
    let rgb = hex::decode(digits).map_err(|_| wrong())?;
    // Relative luminance as WCAG 2.2 defines it; 0.179 is where black and white contrast equally.
    let linear = |byte: u8| {
        let share = f64::from(byte) / 255.0;
        if share <= 0.04045 {
            share / 12.92
        } else {
            ((share + 0.055) / 1.055).powf(2.4)
        }
    };
    let luminance: f64 = rgb
        .iter()
        .zip([0.2126, 0.7152, 0.0722])
        .map(|(byte, weight)| linear(*byte) * weight)
        .sum();
    let on_accent = if luminance > 0.179 { "#000000" } else { "#ffffff" };
    let colours = format!("--accent: #{digits}; --on-accent: {on_accent};");
    Ok(format!(
        ":root {{ {colours} }}\n@media (prefers-color-scheme: dark) {{ :root {{ {colours} }} }}\n"
    ))
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
