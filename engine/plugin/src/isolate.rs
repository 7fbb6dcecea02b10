//! Finds the rows at which a plugin fails, and keeps the answers for all others.
//!
//! A failed part is cut in two until the row at fault stands alone. Both row functions are pure by
//! contract, so a row answers the same in whichever part it is.

use std::ops::Range;
use std::time::Instant;

use crate::engine::Limits;
use crate::failure::Failure;

/// How a part of a batch is being tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Attempt {
    /// With the full time for its size. Its verdict counts.
    Full,
    /// With a fraction of it: running out of time only means that the part is cut further.
    Quick,
}

/// Answers of a batch, part by part in row order, and the rows that have none.
pub(crate) struct Isolated<T> {
    pub(crate) parts: Vec<(Range<usize>, T)>,
    pub(crate) failed: Vec<(usize, Failure)>,
}

/// Why the search ended without a result.
pub(crate) enum GivenUp<E> {
    /// Something other than a failure at a row.
    Error(E),
    /// Too many rows failed, or finding them took too long: the last failure, and how many before.
    Plugin { failure: Failure, rows: usize },
}

/// Runs `call` over `0..rows`, in parts when it fails.
pub(crate) fn isolate<T, E>(
    rows: usize,
    limits: &Limits,
    mut call: impl FnMut(Range<usize>, Attempt) -> Result<Result<T, Failure>, E>,
) -> Result<Isolated<T>, GivenUp<E>> {
    let mut isolated = Isolated { parts: Vec::new(), failed: Vec::new() };
    let mut began = None;
    // The next part is the last one, so that parts are answered in row order.
    let mut waiting = vec![(0..rows, Attempt::Full)];
    while let Some((part, attempt)) = waiting.pop() {
        let failure = match call(part.clone(), attempt).map_err(GivenUp::Error)? {
            Ok(answer) => {
                isolated.parts.push((part, answer));
                continue;
            }
            Err(failure) => failure,
        };
        let began = *began.get_or_insert_with(Instant::now);
        let spent = isolated.failed.len() >= limits.isolated_rows || began.elapsed() > limits.isolation;
        if spent || rows == 0 {
            return Err(GivenUp::Plugin { failure, rows: isolated.failed.len() });
        }
        match (part.len(), attempt) {
            (1, Attempt::Full) => isolated.failed.push((part.start, failure)),
            (1, Attempt::Quick) if failure.kind != crate::failure::FailureKind::Timeout => {
                isolated.failed.push((part.start, failure));
            }
            (1, Attempt::Quick) => waiting.push((part, Attempt::Full)),
            (length, _) => {
                let middle = part.start + length / 2;
                waiting.push((middle..part.end, Attempt::Quick));
                waiting.push((part.start..middle, Attempt::Quick));
            }
        }
    }
    Ok(isolated)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::FailureKind;
    use std::convert::Infallible;

    /// Fails for parts that hold one of `bad`; answers with the rows.
    fn run(rows: usize, bad: &[usize], limits: &Limits) -> (Result<Isolated<Vec<usize>>, usize>, usize) {
        let mut calls = 0;
        let result = isolate(rows, limits, |part, _| {
            calls += 1;
            Ok::<_, Infallible>(if part.clone().any(|row| bad.contains(&row)) {
                Err(Failure { kind: FailureKind::Trap, message: "x".to_owned(), backtrace: Vec::new() })
            } else {
                Ok(part.collect())
            })
        });
        let result = result.map_err(|given_up| match given_up {
            GivenUp::Plugin { rows, .. } => rows,
            GivenUp::Error(never) => match never {},
        });
        (result, calls)
    }

    #[test]
    fn one_bad_row_costs_a_logarithm() {
        let (result, calls) = run(1024, &[700], &Limits::default());
        let isolated = result.unwrap_or_else(|_| panic!("isolated"));
        assert_eq!(isolated.failed.iter().map(|(row, _)| *row).collect::<Vec<_>>(), [700]);
        assert_eq!(calls, 21);
        let answered: Vec<usize> = isolated.parts.into_iter().flat_map(|(_, rows)| rows).collect();
        assert_eq!(answered, (0..1024).filter(|&row| row != 700).collect::<Vec<_>>());
    }

    #[test]
    fn a_plugin_that_always_fails_is_given_up() {
        let every: Vec<usize> = (0..1024).collect();
        let (result, calls) = run(1024, &every, &Limits::default());
        assert_eq!(result.err(), Some(64));
        assert!(calls < 200, "{calls}");
    }

    #[test]
    fn a_slow_row_gets_its_full_time_before_it_is_blamed() {
        let isolated = isolate(4, &Limits::default(), |part, attempt| {
            let slow = part.contains(&2) && (part.len() > 1 || attempt == Attempt::Quick);
            let kind = if part.contains(&0) { FailureKind::Trap } else { FailureKind::Timeout };
            let failing = part.contains(&0) || slow;
            Ok::<_, Infallible>(if failing {
                Err(Failure { kind, message: String::new(), backtrace: Vec::new() })
            } else {
                Ok(part.len())
            })
        });
        let isolated = isolated.unwrap_or_else(|_| panic!("isolated"));
        assert_eq!(isolated.failed.iter().map(|(row, _)| *row).collect::<Vec<_>>(), [0]);
        assert_eq!(isolated.parts, [(1..2, 1), (2..3, 1), (3..4, 1)]);
    }
}
