//! What every page has in common: headers, markup, assets.

use actix_web::http::StatusCode;

use super::{Browser, stand};

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
    let page = stand.front.load().pages.posting(
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
