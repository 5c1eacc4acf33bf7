//! What is joined to a list's filter so that MLflow finds what the caller may see and little else. A hint and no more: each
//! row is still asked for its right, so a clause that finds too much costs time, and the caller's own filter cannot undo it.

use std::fmt::Write as _;
use std::sync::Arc;

use super::View;
use crate::mlflow::lookup::{Census, ExperimentRef};

/// What MLflow needs for a row of an answer, and for an id in a list of ids: CPU milliseconds on one machine, of which only
/// the ratio matters.
const ROW: f64 = 0.12;
const ID: f64 = 0.045;

/// Ids in one clause. They stand in page tokens too.
const IDS: usize = 400;

/// Of all experiments, what one caller may see.
#[derive(Debug)]
pub(in crate::mlflow) struct Seen {
    total: usize,
    visible: usize,
    /// Those whose names start and end like all of the visible ones.
    alike: usize,
    prefix: String,
    suffix: String,
    /// In order; empty where there are too many.
    ids: Vec<String>,
}

/// How to ask for a page.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Hint {
    pub(super) clause: Option<String>,
    /// How many of the rows that are found are visible ones, from 0 to 1.
    pub(super) share: f64,
}

impl Seen {
    pub(in crate::mlflow) fn of(census: &Census, view: &View<'_>) -> Self {
        let visible: Vec<&Arc<ExperimentRef>> = census
            .experiments
            .iter()
            .filter(|experiment| view.reads(experiment.resource()))
            .collect();
        let mut names = visible.iter().map(|experiment| experiment.name.as_str());
        let (prefix, suffix) = match names.next() {
            None => ("", ""),
            Some(first) => names.fold((first, first), |(prefix, suffix), name| {
                (common_prefix(prefix, name), common_suffix(suffix, name))
            }),
        };
        let prefix = plain_prefix(prefix);
        // The two must not stand for the same letters.
        let shortest = visible
            .iter()
            .map(|experiment| experiment.name.len())
            .min()
            .unwrap_or_default();
        let suffix = plain_suffix(suffix);
        let suffix = if prefix.len() + suffix.len() > shortest {
            ""
        } else {
            suffix
        };
        let alike = |experiment: &&Arc<ExperimentRef>| {
            let name = &experiment.name;
            name.len() >= prefix.len() + suffix.len() && name.starts_with(prefix) && name.ends_with(suffix)
        };
        Self {
            total: census.experiments.len(),
            visible: visible.len(),
            alike: census.experiments.iter().filter(alike).count(),
            prefix: prefix.to_owned(),
            suffix: suffix.to_owned(),
            ids: if visible.len() > IDS {
                Vec::new()
            } else {
                visible.iter().map(|experiment| experiment.id.clone()).collect()
            },
        }
    }

    pub(super) fn nothing(&self) -> bool {
        self.visible == 0
    }

    /// The cheapest way to a page of so many rows. `with_ids`: whether this MLflow has `experiment_id IN`.
    pub(super) fn hint(&self, want: usize, with_ids: bool) -> Hint {
        let rows = |among: usize| (want as f64 * among as f64 / self.visible.max(1) as f64).min(among as f64);
        let share = |among: usize| self.visible as f64 / among.max(1) as f64;
        let plain = (ROW * rows(self.total), None, share(self.total));
        let alike = (!self.prefix.is_empty() || !self.suffix.is_empty()).then(|| {
            let clause = format!("name LIKE '{}%{}'", self.prefix, self.suffix);
            (ROW * rows(self.alike), Some(clause), share(self.alike))
        });
        let by_id = (with_ids && !self.ids.is_empty()).then(|| {
            let mut clause = String::from("experiment_id IN (");
            for (index, id) in self.ids.iter().enumerate() {
                let _ = write!(clause, "{}'{id}'", if index == 0 { "" } else { "," });
            }
            clause.push(')');
            (ID * self.visible as f64 + ROW * rows(self.visible), Some(clause), 1.0)
        });
        let ways = [Some(plain), alike, by_id].into_iter().flatten();
        let (_, clause, share) = ways
            .min_by(|one, other| one.0.total_cmp(&other.0))
            .unwrap_or((0.0, None, 1.0));
        Hint { clause, share }
    }
}

/// The caller's filter and the clause, where the filter ends by its own: AND is MLflow's only connective.
pub(super) fn joined(filter: &str, clause: &str) -> Option<String> {
    if filter.trim().is_empty() {
        return Some(clause.to_owned());
    }
    ends_by_its_own(filter).then(|| format!("{filter} AND {clause}"))
}

/// Whether what follows is read as what it is: no open quote, no comment, no second statement.
fn ends_by_its_own(filter: &str) -> bool {
    let mut quote = None;
    let mut before = ' ';
    for letter in filter.chars() {
        match quote {
            _ if letter == '\\' || letter.is_control() => return false,
            Some(open) if letter == open => quote = None,
            Some(_) => {}
            None if matches!(letter, '\'' | '"' | '`') => quote = Some(letter),
            None if matches!(letter, ';' | '#') || matches!((before, letter), ('-', '-') | ('/', '*')) => return false,
            None => {}
        }
        before = if quote.is_none() { letter } else { ' ' };
    }
    quote.is_none()
}

fn common_prefix<'a>(one: &'a str, other: &str) -> &'a str {
    let same = one.chars().zip(other.chars()).take_while(|(one, other)| one == other);
    &one[..same.map(|(letter, _)| letter.len_utf8()).sum()]
}

fn common_suffix<'a>(one: &'a str, other: &str) -> &'a str {
    let same = one
        .chars()
        .rev()
        .zip(other.chars().rev())
        .take_while(|(one, other)| one == other);
    let length: usize = same.map(|(letter, _)| letter.len_utf8()).sum();
    &one[one.len() - length..]
}

/// Letters that every database and MLflow's parser read alike in a pattern. `_` stands for itself among others.
fn is_plain(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || matches!(letter, ' ' | '/' | '-' | '_' | '.' | ':' | '@' | '+')
}

fn plain_prefix(text: &str) -> &str {
    let end = text.find(|letter| !is_plain(letter)).unwrap_or(text.len());
    &text[..end]
}

fn plain_suffix(text: &str) -> &str {
    let start = text
        .char_indices()
        .rev()
        .find(|(_, letter)| !is_plain(*letter))
        .map_or(0, |(at, letter)| at + letter.len_utf8());
    &text[start..]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Access, SystemRandom};
    use crate::store::Sealer;

    fn seen(names: &[&str], may: fn(&str) -> bool) -> Seen {
        let experiments = names.iter().enumerate().map(|(index, name)| {
            Arc::new(ExperimentRef {
                own_folder: None,
                id: index.to_string(),
                name: (*name).to_owned(),
                marks: None,
            })
        });
        let census = Census {
            generation: 1,
            experiments: experiments.collect(),
        };
        let may = |access: &Access| match access {
            Access::On { resource, .. } => resource.name().is_some_and(may),
            _ => false,
        };
        let sealer = Sealer::new(&[[7; 32]], Arc::new(SystemRandom::default()));
        Seen::of(
            &census,
            &View {
                may: &may,
                sealer: &sealer,
                reader: "",
                rights: 0,
            },
        )
    }

    #[test]
    fn names_that_start_or_end_alike_are_asked_for_so() {
        let names = ["a/1", "b/1", "a/2", "c/x", "a/3", "b/x"];
        let hint = seen(&names, |name| name.starts_with("a/")).hint(25, false);
        assert_eq!(hint.clause.as_deref(), Some("name LIKE 'a/%'"));
        assert!((hint.share - 1.0).abs() < 1e-9);
        let hint = seen(&names, |name| name.ends_with("/x")).hint(25, false);
        assert_eq!(hint.clause.as_deref(), Some("name LIKE '%/x'"));
        let one = seen(&names, |name| name == "b/x");
        assert_eq!(one.hint(25, false).clause.as_deref(), Some("name LIKE 'b/x%'"));
        assert!(seen(&names, |_| false).nothing());
    }

    #[test]
    fn letters_with_a_meaning_are_left_out() {
        let names = ["o'b/1", "o'b/2", "o%b/1", "ö/1", "ö/2", "a\\b/1", "a\\b/2", "x"];
        for (starts, clause) in [
            ("o'", "name LIKE 'o%b/"),
            ("ö", "name LIKE '%/"),
            ("a\\", "name LIKE 'a%b/"),
        ] {
            let starts: &'static str = starts;
            let found = match starts {
                "o'" => seen(&names, |name| name.starts_with("o'")),
                "ö" => seen(&names, |name| name.starts_with('ö')),
                _ => seen(&names, |name| name.starts_with("a\\")),
            };
            let hint = found.hint(25, false).clause.unwrap_or_default();
            assert!(
                !hint.contains('\\') && hint.matches('\'').count() != 1,
                "{clause} {hint}"
            );
        }
    }

    #[test]
    fn ids_are_named_where_they_are_few_and_rows_are_read_on_where_many_are_visible() {
        let names: Vec<String> = (0..3000).map(|index| format!("{index}x")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let few = seen(&names, |name| name.len() == 2);
        let hint = few.hint(25, true);
        assert!(
            hint.clause
                .is_some_and(|clause| clause.starts_with("experiment_id IN ('0','1',"))
        );
        assert!(few.hint(25, false).clause.is_none_or(|clause| clause.contains("LIKE")));
        let many = seen(&names, |name| name.len() == 5);
        assert!(many.hint(25, true).clause.is_none_or(|clause| clause.contains("LIKE")));
    }

    #[test]
    fn a_filter_that_would_swallow_the_clause_is_not_joined() {
        for filter in [
            "name = 'a' --",
            "name = 'a' -- x",
            "name = 'a' /*",
            "name = 'a",
            "name = \"a'",
            "name = 'a';",
            "name = 'a\\'",
            "name = 'a' #",
            "name = 'a'\n",
            "tags.`a = 'b'",
        ] {
            assert_eq!(joined(filter, "x = 'y'"), None, "{filter}");
        }
        for filter in [
            "name = 'a'",
            "name = 'a -- b;#'",
            "name = \"it's\"",
            "tags.`a b` = 'c'",
            "name = 'ä'",
            "name = 'a''b'",
        ] {
            assert_eq!(joined(filter, "x = 'y'").unwrap(), format!("{filter} AND x = 'y'"));
        }
        assert_eq!(joined(" ", "x = 'y'").unwrap(), "x = 'y'");
    }
}
