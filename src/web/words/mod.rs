//! What the pages say, in each of their languages, and which one a browser wants. What programs are told stays English.

mod catalogue;
mod de;
mod en;
mod es;
mod fr;
mod ja;
mod told;
mod zh;

use std::fmt::{self, Display};

use crate::config::BUILT_IN_CLIENT;
use crate::domain::{Access, Kind, Resource, Target};

pub use catalogue::Words;
pub use told::Said;

/// The first is for whoever asks for none that there is.
const LANGUAGES: [&Words; 6] = [&en::WORDS, &de::WORDS, &fr::WORDS, &es::WORDS, &zh::WORDS, &ja::WORDS];

/// Of a header; no browser sends as much. Bytes.
const LONGEST: usize = 1024;

impl Words {
    /// English, for whom no language is known.
    pub fn english() -> &'static Self {
        &en::WORDS
    }

    /// The language that `Accept-Language` likes best of ours (RFC 9110, 12.5.4; basic filtering of RFC 4647, so that `de-AT`
    /// gets `de`). `values` are the fields as they came; what cannot be read counts for nothing.
    pub fn wanted<'a>(values: impl Iterator<Item = &'a [u8]>) -> &'static Self {
        // (quality, language); the first of equals wins.
        let mut best: Option<(u16, &'static Self)> = None;
        let mut refused: Vec<&'static str> = Vec::new();
        let mut anything: Option<u16> = None;
        for value in values {
            let Ok(value) = std::str::from_utf8(value) else {
                continue;
            };
            if value.len() > LONGEST {
                continue;
            }
            for range in value.split(',') {
                let Some((range, quality)) = read_range(range) else {
                    continue;
                };
                if range == "*" {
                    anything = Some(quality);
                    continue;
                }
                let Some(words) = named(range) else { continue };
                match quality {
                    0 => refused.push(words.tag),
                    quality if best.is_none_or(|(found, _)| quality > found) => best = Some((quality, words)),
                    _ => {}
                }
            }
        }
        match (best, anything) {
            // Whoever takes anything sooner than what is named takes English.
            (Some((quality, words)), anything) if anything.is_none_or(|other| other <= quality) => words,
            _ => LANGUAGES
                .into_iter()
                .find(|words| !refused.contains(&words.tag))
                .unwrap_or(&en::WORDS),
        }
    }

    /// One of a kind.
    pub fn one(&self, kind: Kind) -> &'static str {
        self.kinds[kind as usize]
    }

    /// What a client is called: the built-in one has a name of ours.
    pub fn client<'a>(&'a self, id: &str, label: &'a str) -> &'a str {
        if id == BUILT_IN_CLIENT {
            self.mlgate_command
        } else {
            label
        }
    }

    /// A length of time in whole units.
    pub fn duration(&self, seconds: u64) -> String {
        let (count, one, several) = match seconds {
            86_400 | 172_800.. => (seconds / 86_400, self.day, self.days),
            3600 | 7200.. => (seconds / 3600, self.hour, self.hours),
            60 | 120.. => (seconds / 60, self.minute, self.minutes),
            _ => (seconds, self.second, self.seconds),
        };
        match count {
            1 => one.to_owned(),
            count => several.with("count", count).to_string(),
        }
    }

    /// What a role's line of a grant is about.
    pub fn granted_on(&self, kind: Kind, patterns: &[String]) -> String {
        match (kind, patterns) {
            (Kind::Server, _) => self.all_of_kinds[kind as usize].to_owned(),
            (kind, [all]) if all == "*" => self.all_of_kinds[kind as usize].to_owned(),
            (kind, patterns) => format!("{} {}", self.some_of_kinds[kind as usize], patterns.join(", ")),
        }
    }

    /// What somebody lacks. An id, and what it was resolved to, stay unsaid: a hidden thing must look like a missing one.
    pub fn missing(&self, access: &Access) -> String {
        let on = |permission: &str, resource: &Resource| {
            let text = match &resource.target {
                Target::Every => self.needs_on_every,
                Target::One { id: None, .. } if resource.kind == Kind::Server => self.needs_on_server,
                Target::One {
                    id: None,
                    name: Some(_),
                } => self.needs_on_named,
                Target::One { .. } | Target::Unknown { .. } => self.needs_on_some,
            };
            text.with("permission", permission)
                .with("kind", self.one(resource.kind))
                .with("name", resource.name().unwrap_or_default())
                .to_string()
        };
        match access {
            Access::Public | Access::Member => self.needs_role.to_owned(),
            Access::On { permission, resource } => on(permission.as_str(), resource),
            Access::AnyOf { permission, resources } => resources
                .first()
                .map_or_else(|| self.needs_role.to_owned(), |first| on(permission.as_str(), first)),
        }
    }
}

/// A language range and its quality in thousandths.
fn read_range(range: &str) -> Option<(&str, u16)> {
    let mut parts = range.split(';').map(str::trim);
    let tag = parts.next().filter(|tag| !tag.is_empty())?;
    match (parts.next(), parts.next()) {
        (None, _) => Some((tag, 1000)),
        (Some(weight), None) => {
            let (key, value) = weight.split_once('=')?;
            if !key.trim().eq_ignore_ascii_case("q") {
                return None;
            }
            Some((tag, read_quality(value.trim())?))
        }
        _ => None,
    }
}

/// `qvalue` of RFC 9110, 12.4.2: up to three digits after the point.
fn read_quality(text: &str) -> Option<u16> {
    let (whole, rest) = text.split_once('.').unwrap_or((text, ""));
    let is_number = rest.len() <= 3 && rest.bytes().all(|byte| byte.is_ascii_digit());
    let thousandths = format!("{rest:0<3}").parse().ok().filter(|_| is_number)?;
    match whole {
        "0" => Some(thousandths),
        "1" if thousandths == 0 => Some(1000),
        _ => None,
    }
}

fn named(range: &str) -> Option<&'static Words> {
    let primary = range.split('-').next().unwrap_or_default();
    LANGUAGES
        .into_iter()
        .find(|words| words.tag.eq_ignore_ascii_case(primary))
}

/// Puts values where a text has `{name}`.
pub trait Fill {
    fn with(self, name: &'static str, value: impl Display) -> Filled;
}

/// A text with the values for its places.
pub struct Filled {
    text: &'static str,
    values: Vec<(&'static str, String)>,
}

impl Fill for &'static str {
    fn with(self, name: &'static str, value: impl Display) -> Filled {
        Filled {
            text: self,
            values: vec![(name, value.to_string())],
        }
    }
}

impl Fill for Filled {
    fn with(mut self, name: &'static str, value: impl Display) -> Filled {
        self.values.push((name, value.to_string()));
        self
    }
}

impl Display for Filled {
    /// In one pass: a value that looks like a place is none.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.text;
        while let Some((before, after)) = rest.split_once('{') {
            f.write_str(before)?;
            let Some((name, after)) = after.split_once('}') else {
                return f.write_str(after);
            };
            let value = self.values.iter().find(|(known, _)| *known == name);
            f.write_str(value.map_or("", |(_, value)| value))?;
            rest = after;
        }
        f.write_str(rest)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn wanted(header: &str) -> &'static str {
        Words::wanted(std::iter::once(header.as_bytes())).tag
    }

    #[test]
    fn the_best_of_our_languages_is_spoken() {
        assert_eq!(wanted("de"), "de");
        assert_eq!(wanted("de-AT, de;q=0.9, en;q=0.8"), "de");
        assert_eq!(wanted("fr-CH, fr;q=0.9, en;q=0.8, de;q=0.7, *;q=0.5"), "fr");
        assert_eq!(wanted("ES-419"), "es");
        assert_eq!(wanted("zh-CN,zh;q=0.9"), "zh");
        assert_eq!(wanted("zh-Hans-SG"), "zh");
        assert_eq!(wanted("ja-JP;q=1.0"), "ja");
        assert_eq!(wanted("en;q=0.5, ja;q=0.501"), "ja", "the weight counts, not the order");
        assert_eq!(wanted("es;q=0.8, fr;q=0.8"), "es", "the first of equals");
        assert_eq!(wanted("sv, de;q=0.3"), "de", "what there is not is passed over");
        let twice = ["sv".as_bytes(), b"fr"];
        assert_eq!(Words::wanted(twice.into_iter()).tag, "fr", "over several fields");
    }

    #[test]
    fn who_wants_none_of_them_gets_english() {
        let long = format!("de,{}", "x".repeat(LONGEST));
        for header in [
            "",
            "sv",
            "*",
            "deutsch",
            "de;q=0",
            "de;q=2",
            "de;q=0.1234",
            "de;level=1",
            "de;q",
            ";q=1",
            &long,
        ] {
            assert_eq!(wanted(header), "en", "{header}");
        }
        assert_eq!(Words::wanted(std::iter::empty()).tag, "en");
        assert_eq!(Words::wanted(std::iter::once(&b"\xff"[..])).tag, "en");
        assert_eq!(wanted("de;q=0.5, *"), "en", "anything sooner than German");
        assert_eq!(wanted("en;q=0, *"), "de", "anything but English");
    }

    #[test]
    fn every_language_says_everything_with_the_same_places() {
        let places = |text: &str| -> BTreeSet<String> {
            text.split('{')
                .skip(1)
                .map(|rest| rest.split_once('}').expect("a closed place").0.to_owned())
                .collect()
        };
        for words in LANGUAGES {
            for ((name, text), (_, english)) in words.each().into_iter().zip(en::WORDS.each()) {
                assert!(!text.trim().is_empty(), "{}: {name} is empty", words.tag);
                assert_eq!(text.trim(), text, "{}: {name} has space around it", words.tag);
                assert_eq!(places(text), places(english), "{}: {name}", words.tag);
            }
            for kinds in [words.kinds, words.all_of_kinds, words.some_of_kinds] {
                assert!(kinds.iter().all(|kind| !kind.is_empty()), "{}", words.tag);
            }
        }
    }

    /// WCAG 2.2, 2.5.3: who speaks to a page says what they see on the button.
    #[test]
    fn what_a_button_shows_is_in_its_name() {
        for words in LANGUAGES {
            for (shown, name) in [
                (words.end, words.end_session_of),
                (words.end, words.end_session_of_user),
                (words.revoke, words.revoke_token_named),
                (words.revoke, words.revoke_token_of_user),
                (words.stop, words.stop_sharing_with),
            ] {
                assert!(
                    name.to_lowercase().contains(&shown.to_lowercase()),
                    "{}: {name}",
                    words.tag
                );
            }
        }
    }

    #[test]
    fn no_language_is_left_in_english() {
        // Words that other languages share with English.
        let shared = |text: &str| text.split_whitespace().count() < 3;
        for words in LANGUAGES.into_iter().filter(|words| words.tag != "en") {
            for ((name, text), (_, english)) in words.each().into_iter().zip(en::WORDS.each()) {
                assert!(text != english || shared(english), "{}: {name}: {text}", words.tag);
            }
        }
    }

    #[test]
    fn a_value_that_looks_like_a_place_is_none() {
        let text = "{who} of {what}".with("who", "{what}").with("what", "x");
        assert_eq!(text.to_string(), "{what} of x");
    }

    #[test]
    fn a_length_of_time_is_told_in_whole_units() {
        let words = Words::english();
        assert_eq!(words.duration(30 * 86_400), "30 days");
        assert_eq!(words.duration(1800), "30 minutes");
        assert_eq!(words.duration(5), "5 seconds");
        assert_eq!(words.duration(1), "1 second");
        assert_eq!(
            (words.duration(3600), words.duration(3601)),
            ("1 hour".to_owned(), "60 minutes".to_owned())
        );
        assert_eq!(de::WORDS.duration(7200), "2 Stunden");
    }
}
