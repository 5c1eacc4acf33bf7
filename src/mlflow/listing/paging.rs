//! Full pages out of an upstream's pages with gaps: reads on until the page is full, and remembers where it stopped.

use crate::mlflow::MlflowError;

/// Upstream pages read for one answer. Past it the page is short, and its token still works.
const PAGES: usize = 400;

/// Bytes of rows in one answer, likewise.
pub(super) const BYTES: usize = 32 * 1024 * 1024;

/// How much larger each further upstream page is, so that a few rows among many cost few questions.
const GROWTH: usize = 4;

/// Where a page starts: so many rows after what an upstream token points at. It says nothing about rights, which are
/// asked for each row each time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Position {
    pub(super) token: Option<String>,
    pub(super) skip: usize,
    /// What was joined to the question when the token was given: it only counts rows under the same.
    pub(super) within: Option<String>,
    /// The walk goes by the ids that the index knows, and what is skipped are visible rows.
    pub(super) by_id: bool,
}

/// One page of the upstream.
pub(super) struct Page<R> {
    pub(super) rows: Vec<R>,
    pub(super) next: Option<String>,
}

/// A page for the client, and where the next one starts.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Filled<R> {
    pub(super) rows: Vec<R>,
    pub(super) next: Option<Position>,
}

/// What a row weighs in an answer.
pub(super) trait Weigh {
    fn bytes(&self) -> usize;
}

/// Reads from `start` until `want` rows are visible, and on to the next visible one: a page has a token exactly where
/// something follows. `share` is how many of the rows are likely visible. `fetch` reads the upstream's page at a token, of at most so many rows and never over `largest`.
pub(super) async fn fill<R: Weigh>(
    start: Position,
    want: usize,
    share: f64,
    largest: usize,
    mut fetch: impl AsyncFnMut(Option<&str>, usize) -> Result<Page<R>, MlflowError>,
    mut visible: impl AsyncFnMut(&R) -> Result<bool, MlflowError>,
) -> Result<Filled<R>, MlflowError> {
    let (mut at, mut rows, mut bytes) = (start, Vec::new(), 0);
    let expected = ((want + 1) as f64 / share.clamp(0.001, 1.0)).ceil() as usize;
    let mut size = expected.saturating_add(at.skip).min(largest);
    for _ in 0..PAGES {
        let page = fetch(at.token.as_deref(), size).await?;
        let count = page.rows.len();
        for (index, row) in page.rows.into_iter().enumerate().skip(at.skip) {
            if !visible(&row).await? {
                continue;
            }
            if rows.len() == want || bytes > BYTES {
                let next = Position {
                    token: at.token,
                    skip: index,
                    within: at.within,
                    by_id: false,
                };
                return Ok(Filled { rows, next: Some(next) });
            }
            bytes += row.bytes();
            rows.push(row);
        }
        let Some(token) = page.next else {
            return Ok(Filled { rows, next: None });
        };
        at = Position {
            token: Some(token),
            skip: at.skip.saturating_sub(count),
            within: at.within,
            by_id: false,
        };
        size = size.saturating_mul(GROWTH).min(largest);
    }
    Ok(Filled { rows, next: Some(at) })
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use proptest::prelude::{Strategy, any, prop};
    use proptest::{prop_assert, prop_assert_eq, proptest};

    use super::*;

    #[derive(Clone, Debug, PartialEq, Eq)]
    struct Row(usize, bool);

    impl Weigh for Row {
        fn bytes(&self) -> usize {
            1
        }
    }

    /// An upstream whose tokens are offsets, as MLflow's are.
    fn page_of(list: &[Row], token: Option<&str>, size: usize, asked: &mut usize) -> Page<Row> {
        *asked += 1;
        let from: usize = token.map_or(0, |token| token.parse().unwrap());
        let to = (from + size).min(list.len());
        Page {
            rows: list[from.min(to)..to].to_vec(),
            next: (to < list.len()).then(|| to.to_string()),
        }
    }

    fn fill_now(list: &[Row], start: Position, want: usize, largest: usize) -> (Filled<Row>, usize) {
        let mut asked = 0;
        let filled = fill(
            start,
            want,
            1.0,
            largest,
            async |token, size| Ok(page_of(list, token, size, &mut asked)),
            async |row: &Row| Ok(row.1),
        );
        let filled = filled.now_or_never().unwrap().unwrap();
        (filled, asked)
    }

    fn lists() -> impl Strategy<Value = Vec<Row>> {
        prop::collection::vec(any::<bool>(), 0..120).prop_map(|list| {
            list.into_iter()
                .enumerate()
                .map(|(index, seen)| Row(index, seen))
                .collect()
        })
    }

    proptest! {
        #[test]
        fn a_walk_sees_each_visible_row_once_in_order_in_full_pages(list in lists(), want in 1_usize..9, largest in 1_usize..20) {
            let (mut walked, mut start, mut ended) = (Vec::new(), Position::default(), false);
            for _ in 0..=list.len() {
                let (filled, _) = fill_now(&list, start.clone(), want, largest);
                if filled.next.is_some() {
                    prop_assert_eq!(filled.rows.len(), want);
                }
                walked.extend(filled.rows);
                match filled.next {
                    Some(next) => start = next,
                    None => { ended = true; break }
                }
            }
            prop_assert!(ended);
            let visible: Vec<Row> = list.into_iter().filter(|row| row.1).collect();
            prop_assert_eq!(walked, visible);
        }
    }

    #[test]
    fn few_rows_among_many_cost_few_questions() {
        let list: Vec<Row> = (0..10_000).map(|index| Row(index, index % 500 == 499)).collect();
        let (filled, asked) = fill_now(&list, Position::default(), 25, 1000);
        assert_eq!((filled.rows.len(), filled.next), (20, None));
        assert!(asked < 15, "{asked}");
    }

    #[test]
    fn a_full_page_costs_one_question() {
        let list: Vec<Row> = (0..100).map(|index| Row(index, true)).collect();
        let (filled, asked) = fill_now(&list, Position::default(), 25, 1000);
        assert_eq!((filled.rows.len(), asked), (25, 1));
        let next = Position {
            skip: 25,
            ..Position::default()
        };
        assert_eq!(filled.next, Some(next));
    }
}
