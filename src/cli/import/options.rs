//! Another program's options: each is taken once, and what nobody takes is left over.

use std::collections::BTreeMap;

use toml_edit::{DocumentMut, Item, Value};

use super::forms;

pub(super) struct Options {
    values: BTreeMap<String, Value>,
    /// What is to be said about options, in the order of their names.
    pub(super) remarks: BTreeMap<String, String>,
}

impl Options {
    /// # Errors
    /// Where it is neither TOML nor flags nor variables, or has tables. Shows nothing of its content.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        if let Some(values) = forms::read(text) {
            return Ok(Self {
                values: values?,
                remarks: BTreeMap::new(),
            });
        }
        let document: DocumentMut = text.parse().map_err(|error: toml_edit::TomlError| {
            let line = error.span().map(|span| 1 + text[..span.start].matches('\n').count());
            let line = line.map(|line| format!("line {line}: ")).unwrap_or_default();
            format!(
                "{line}is not TOML: {}; an alpha configuration (YAML) must be written as options of a --config file first",
                error.message().replace('\n', "; ")
            )
        })?;
        let mut values = BTreeMap::new();
        for (name, item) in document.iter() {
            let Item::Value(value) = item else {
                return Err(format!(
                    "{} is a table, which oauth2-proxy's configuration has none of",
                    name.escape_debug()
                ));
            };
            values.insert(name.replace('-', "_"), value.clone());
        }
        Ok(Self {
            values,
            remarks: BTreeMap::new(),
        })
    }

    pub(super) fn remark(&mut self, option: &str, text: impl Into<String>) {
        self.remarks.insert(option.to_owned(), text.into());
    }

    fn take<T>(&mut self, option: &str, what: &str, read: impl FnOnce(&Value) -> Option<T>) -> Option<T> {
        let value = self.values.remove(option)?;
        let read = read(&value);
        if read.is_none() {
            self.remark(option, format!("is not {what}, and is left out"));
        }
        read
    }

    /// `None` for a missing one, and for an empty one.
    pub(super) fn text(&mut self, option: &str) -> Option<String> {
        self.take(option, "one line of text", |value| plain(value.as_str()?))
            .filter(|text| !text.is_empty())
    }

    pub(super) fn flag(&mut self, option: &str) -> Option<bool> {
        self.take(option, "true or false", |value| match value {
            Value::String(text) => text.value().parse().ok(),
            _ => value.as_bool(),
        })
    }

    /// A list, or one text with commas.
    pub(super) fn list(&mut self, option: &str) -> Vec<String> {
        let entries = self.take(option, "a list of texts", |value| match value {
            Value::Array(array) => array.iter().map(|entry| plain(entry.as_str()?)).collect(),
            _ => value
                .as_str()?
                .split(',')
                .map(|part| plain(part.trim()))
                .collect::<Option<Vec<_>>>(),
        });
        entries
            .unwrap_or_default()
            .into_iter()
            .filter(|entry| !entry.is_empty())
            .collect()
    }

    /// Go's durations: `168h0m0s`, `1h30m`, `1.5h`. Milliseconds; `None` for none, and for nought.
    pub(super) fn duration(&mut self, option: &str) -> Option<u64> {
        self.take(option, "a duration", |value| match value {
            // A bare number is nanoseconds there.
            Value::Integer(nanos) => u64::try_from(*nanos.value()).ok().map(|nanos| nanos / 1_000_000),
            _ => go_duration(value.as_str()?),
        })
        .filter(|millis| *millis > 0)
    }

    /// Names of what nobody took.
    pub(super) fn rest(&self) -> Vec<String> {
        self.values.keys().cloned().collect()
    }
}

fn plain(text: &str) -> Option<String> {
    (!text.chars().any(char::is_control)).then(|| text.to_owned())
}

fn go_duration(text: &str) -> Option<u64> {
    if text == "0" {
        return Some(0);
    }
    let mut rest = text;
    let mut millis = 0.0;
    while !rest.is_empty() {
        let number = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (amount, after) = rest.split_at(number);
        let unit = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let factor = match &after[..unit] {
            "h" => 3_600_000.0,
            "m" => 60_000.0,
            "s" => 1000.0,
            "ms" => 1.0,
            "us" | "µs" => 0.001,
            "ns" => 0.000_001,
            _ => return None,
        };
        millis += amount.parse::<f64>().ok()? * factor;
        rest = &after[unit..];
    }
    // A hundred years: what `as` would saturate at is far away.
    (!text.is_empty() && millis < 3.2e12).then_some(millis as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_go_reads_them() {
        for (text, millis) in [
            ("168h0m0s", 604_800_000),
            ("1h30m", 5_400_000),
            ("1.5h", 5_400_000),
            ("250ms", 250),
            ("0", 0),
            ("0s", 0),
        ] {
            assert_eq!(go_duration(text), Some(millis), "{text}");
        }
        for text in [
            "",
            "h",
            "5",
            "5d",
            "-5m",
            "5 m",
            "1.2.3s",
            "99999999999999999h",
            "µ",
            "1µ",
        ] {
            assert_eq!(go_duration(text), None, "{text}");
        }
    }

    #[test]
    fn what_is_no_toml_is_told_by_line_and_not_shown() {
        let Err(text) = Options::parse("a = 1\ncookie_secret = hunter2\n") else {
            panic!("it is read")
        };
        assert!(
            text.starts_with("line 2: ") && text.contains("YAML") && !text.contains("hunter2"),
            "{text}"
        );
        let Err(text) = Options::parse("[providers]\n") else {
            panic!("it is read")
        };
        assert!(text.contains("table"), "{text}");
    }

    #[test]
    fn a_value_of_another_kind_is_left_out_and_told() {
        let mut options =
            Options::parse("client_id = 7\nupstreams = \"a, b\"\nreverse-proxy = \"true\"\nscope = \"\"\n").unwrap();
        assert_eq!(options.text("client_id"), None);
        assert_eq!(options.list("upstreams"), ["a", "b"]);
        assert_eq!(options.flag("reverse_proxy"), Some(true));
        assert_eq!(options.text("scope"), None);
        assert_eq!(options.remarks.keys().collect::<Vec<_>>(), ["client_id"]);
        assert!(options.rest().is_empty());
    }
}
