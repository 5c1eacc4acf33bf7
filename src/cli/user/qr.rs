//! An address as a QR code of half blocks.

use std::io::{IsTerminal, stdout};

use qrcode::render::unicode::Dense1x2;
use qrcode::{EcLevel, QrCode};

/// Black on white, whatever the terminal's colours are.
const PAPER: &str = "\u{1b}[30;107m";
const PLAIN: &str = "\u{1b}[0m";

/// Whether colours would be understood.
pub(super) fn is_coloured() -> bool {
    stdout().is_terminal()
}

/// `None` where the text is too long for one. Without colours it is drawn for light text on a dark ground, as terminals mostly are.
pub(super) fn draw(text: &str, coloured: bool) -> Option<String> {
    let code = QrCode::with_error_correction_level(text, EcLevel::L).ok()?;
    let mut renderer = code.render::<Dense1x2>();
    if !coloured {
        renderer.dark_color(Dense1x2::Light).light_color(Dense1x2::Dark);
    }
    let picture = renderer.quiet_zone(true).build();
    Some(picture.lines().fold(String::new(), |all, line| {
        if coloured {
            format!("{all}  {PAPER}{line}{PLAIN}\n")
        } else {
            format!("{all}  {line}\n")
        }
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_square_and_quiet_around() {
        let picture = draw("https://mlflow.example.com/auth/device?user_code=BDWP-HQPK", false).unwrap();
        let lines: Vec<&str> = picture.lines().map(str::trim_start).collect();
        // Version 4 has 33 modules a side, and 4 quiet ones all around; two of them stand above each other.
        assert_eq!((lines.len(), lines[3].chars().count()), (21, 41));
        assert!(lines[0].chars().all(|c| c == '█'), "light, all along");
        let coloured = draw("x", true).unwrap();
        assert!(
            coloured
                .lines()
                .all(|line| line.contains(PAPER) && line.ends_with(PLAIN))
        );
        assert!(draw(&"x".repeat(4000), false).is_none());
    }
}
