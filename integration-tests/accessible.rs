//! Every page of ours, looked at by axe in a real browser: light and dark, wide and on a phone, plain and with an operator's colours.

use serde_json::{Value, json};

use crate::support::browser::travel;
use crate::support::gateway::{PASSWORD, Setup};
use crate::support::mlflow::Mlflow;
use crate::support::root;

const OTHER: &str =
    "[[provider]]\nid = \"other\"\nkind = \"local\"\nlabel = \"Other people\"\nusers_file = \"users.toml\"\n";
/// A colour that nobody could read on white, nor a line of it see.
const BRAND: &str = "[pages]\noperator = \"Example & Co\"\naccent = \"#ffe14d\"\nlogo_file = \"logo.svg\"\n\
    notice = \"For work alone. Access: https://wiki.example.test/mlflow.\"\nnotice_de = \"Nur für die Arbeit. Zugang gibt ml@example.test.\"\n";
const LOGO: &str = r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 96 32"><rect width="96" height="32" rx="6" fill="#3a3a5c"/><circle cx="16" cy="16" r="8" fill="#ffe14d"/></svg>"##;

#[test]
fn nothing_keeps_anybody_out_of_any_page() {
    let mlflow = Mlflow::shared("3.18").url();
    let (mut plain, mut branded) = (Setup::new(&mlflow), Setup::new(&mlflow));
    plain.sections.push_str(OTHER);
    branded.sections.push_str(OTHER);
    branded.sections.push_str(BRAND);
    std::fs::write(branded.path("logo.svg"), LOGO).unwrap();
    let shots = root().join("target/screenshots");
    std::fs::create_dir_all(&shots).unwrap();
    let views = [
        (
            plain.start(),
            "plain",
            json!([["en", "light", 1280], ["ja", "dark", 360]]),
        ),
        (
            branded.start(),
            "branded",
            json!([["de", "light", 360], ["es", "dark", 1280]]),
        ),
    ];
    for (gateway, name, views) in &views {
        let seen = travel(
            "accessible",
            &json!({ "url": gateway.url(), "user": "ada", "password": PASSWORD, "views": views, "name": name, "shots": shots }),
        );
        assert_eq!(seen["faults"], json!([]), "{name}");
        assert_eq!(
            seen["complaints"],
            json!([]),
            "{name}: the content policy stops nothing of ours"
        );
        // A page that was not reached is not looked at.
        let looked_at = seen["looked_at"].as_array().map_or(0, Vec::len);
        assert_eq!(looked_at, 22 * 2, "{name}: {}", seen["looked_at"]);
        let logo = seen["logo"].as_f64().unwrap_or_default();
        assert!(logo > 0.0, "{name}: the logo is drawn");
        let unseen: Vec<&Value> = seen["unfocused"].as_array().unwrap().iter().collect();
        assert!(unseen.is_empty(), "{name}: the focus cannot be seen: {unseen:?}");
    }
}
