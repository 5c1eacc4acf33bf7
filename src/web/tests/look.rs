//! What every page has in common: headers, markup, assets.

use actix_web::http::StatusCode;

use crate::web::words::Words;

use super::{Browser, stand, stand_with};

#[actix_web::test]
async fn every_page_carries_the_security_headers_and_nothing_inline() {
    let (stand, mut browser) = (stand(), Browser::default());
    browser.sign_in(&stand, "alice", "right", "/").await;
    for path in [
        "/auth/login",
        "/auth/login/local",
        "/auth/login/none",
        "/auth/account",
        "/auth/logout",
        "/auth/signed-out",
    ] {
        let answer = browser.get(&stand, path).await;
        let policy = answer.header("content-security-policy");
        for part in [
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "frame-ancestors 'none'",
            "base-uri 'none'",
            "form-action '",
        ] {
            assert!(policy.contains(part), "{path}: {part}");
        }
        assert_eq!(answer.header("x-content-type-options"), "nosniff", "{path}");
        assert_eq!(answer.header("cache-control"), "no-store", "{path}");
        assert_eq!(answer.header("referrer-policy"), "same-origin", "{path}");
        assert_eq!(answer.header("strict-transport-security"), "max-age=31536000", "{path}");
        let html = answer.body.to_lowercase();
        assert!(
            html.starts_with("<!doctype html>") && html.contains("<html lang=\"en\">"),
            "{path}"
        );
        for inline in ["<style", "style=", "onclick=", "onload=", "javascript:", "<script>"] {
            assert!(!html.contains(inline), "{path}: {inline}");
        }
        assert!(html.contains("<main") && html.contains("<h1"), "{path}");
        assert!(
            answer.body.contains("Example &#38; Co") && answer.body.contains("Ask &#60;ml@example.com&#62;."),
            "{path}"
        );
    }
}

#[actix_web::test]
async fn assets_are_served_for_good_under_their_hash() {
    let (stand, mut browser) = (stand(), Browser::default());
    let page = browser.get(&stand, "/auth/login/local").await;
    let paths: Vec<&str> = page
        .body
        .split('"')
        .filter(|part| part.starts_with("/auth/assets/"))
        .collect();
    assert_eq!(paths.len(), 5, "icon, sheet, theme, script, mark: {paths:?}");
    for path in &paths {
        let answer = browser.get(&stand, path).await;
        assert_eq!(answer.status, StatusCode::OK, "{path}");
        assert_eq!(answer.header("cache-control"), "public, max-age=31536000, immutable");
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
    }
    for path in [
        "/auth/assets/0000000000000000/style.css",
        "/auth/assets/x/..%2f..%2fCargo.toml",
    ] {
        assert_eq!(browser.get(&stand, path).await.status, StatusCode::NOT_FOUND, "{path}");
    }
}

#[actix_web::test]
async fn a_form_for_a_provider_is_escaped_and_leads_there_alone() {
    let stand = stand();
    let fields = [
        ("SAMLRequest", "a\"><script>".to_owned()),
        ("RelayState", "s&t".to_owned()),
    ];
    let page = stand.front.load().pages.spoken(Words::english()).posting(
        "Signing in",
        "One moment.",
        "https://idp.example/sso?a=1&b=\"2",
        &fields,
    );
    assert!(
        !page.html.contains("<script>") && !page.html.contains("\"2"),
        "{}",
        page.html
    );
    assert!(
        page.html.contains("name=\"RelayState\" value=\"s&#38;t\""),
        "{}",
        page.html
    );
    let policy = page.headers.iter().find(|(name, _)| *name == "content-security-policy");
    assert!(
        policy.unwrap().1.contains("form-action https://idp.example https:;"),
        "{policy:?}"
    );
}

const PAGES: [&str; 6] = [
    "/auth/login",
    "/auth/login/local",
    "/auth/login/none",
    "/auth/account",
    "/auth/logout",
    "/auth/signed-out",
];

#[actix_web::test]
async fn every_page_is_in_the_language_that_the_browser_asks_for() {
    let (stand, mut browser) = (stand(), Browser::default());
    browser.sign_in(&stand, "alice", "right", "/").await;
    for tag in ["en", "de", "fr", "es", "zh", "ja"] {
        let words = Words::wanted(std::iter::once(tag.as_bytes()));
        assert_eq!(words.tag, tag);
        for path in PAGES {
            let wanted = browser
                .request(actix_web::http::Method::GET, path)
                .insert_header(("accept-language", format!("sv, {tag};q=0.9, en;q=0.1")));
            let answer = browser.send(&stand, wanted).await;
            assert_eq!(answer.header("content-language"), tag, "{path}");
            assert_eq!(answer.header("vary"), "Accept-Language", "{path}");
            assert!(answer.body.contains(&format!("<html lang=\"{tag}\">")), "{path}");
            assert!(answer.body.contains(words.guarded), "{path}");
            // Of all texts of all pages, none is left in English.
            for ((name, english), (_, own)) in Words::english().each().into_iter().zip(words.each()) {
                let is_long = english.split_whitespace().count() > 3 && !english.contains('{');
                assert!(
                    tag == "en" || !is_long || english == own || !answer.body.contains(english),
                    "{tag} {path}: {name}"
                );
            }
        }
    }
}

#[actix_web::test]
async fn the_operators_notice_is_in_the_pages_language_where_there_is_one() {
    let stand = stand_with(&["local"], |config| {
        config.pages.notices = vec![("de", "Nur für die Arbeit.".to_owned())];
    });
    let mut browser = Browser::default();
    for (language, notice, other) in [
        ("de", "Nur für die Arbeit.", "Only for work."),
        ("fr", "Only for work.", "Nur für die Arbeit."),
    ] {
        let wanted = browser
            .request(actix_web::http::Method::GET, "/auth/login/local")
            .insert_header(("accept-language", language));
        let answer = browser.send(&stand, wanted).await;
        assert!(
            answer.body.contains(notice) && !answer.body.contains(other),
            "{language}"
        );
    }
}
