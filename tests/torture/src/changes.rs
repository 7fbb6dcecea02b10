//! Transactions of random kinds: what real applications do, and what is hard to apply in parallel.

use test_support::numbers::Numbers;

use crate::tables::{COUNTERS, EVERYTHING, JOURNAL, PARENTS, PLACES, PLAIN, SEATS, WORDS, every_value};

/// Variables are those of the transaction alone.
pub(crate) const FORGET: &str = "SET @seat0 = NULL, @seat1 = NULL, @seat2 = NULL, @seat3 = NULL, @seat4 = NULL, @seat = NULL, @bench = NULL, \
    @one = NULL, @other = NULL";

/// The statements of one transaction.
pub(crate) fn transaction(numbers: &mut Numbers) -> Vec<String> {
    let mut statements = match numbers.below(18) {
        0 => plain_rows(numbers),
        1 => swap_seats(numbers),
        2 => move_keys(numbers),
        3 => same_seat_again(numbers),
        4 => many_rows(numbers),
        5 => bench_for_a_while(numbers),
        6 => places(numbers),
        7 => family(numbers),
        8 => family_goes(numbers),
        9 => journal_moves(numbers),
        10 => vec![every_value(1 + numbers.below(EVERYTHING + 40), numbers.next())],
        11 => everything_else(numbers),
        12 => taken_back(numbers),
        13 => large(numbers),
        14 => there_and_back(numbers),
        15 => words(numbers),
        16 => words_pass_their_roots_on(numbers),
        _ => Vec::new(),
    };
    // Most transactions leave a mark in the table without a key, and many on the rows that everybody changes.
    if numbers.below(3) > 0 {
        statements.push(mark(numbers));
    }
    if numbers.below(2) == 0 {
        let counter = 1 + numbers.below(COUNTERS);
        statements.push(format!("UPDATE counters SET n = n + 1 WHERE id = {counter}"));
    }
    statements
}

pub(crate) fn two(numbers: &mut Numbers, limit: u64) -> (u64, u64) {
    let one = numbers.below(limit);
    (1 + one, 1 + (one + 1 + numbers.below(limit - 1)) % limit)
}

fn mark(numbers: &mut Numbers) -> String {
    let (kind, number) = (numbers.below(JOURNAL), numbers.below(5));
    match numbers.below(4) {
        0 | 1 => format!("INSERT INTO journal VALUES ({kind}, 'mark', {number})"),
        2 => format!("DELETE FROM journal WHERE kind = {kind} LIMIT 2"),
        _ => format!("UPDATE journal SET n = n + 1 WHERE kind = {kind} LIMIT 2"),
    }
}

fn plain_rows(numbers: &mut Numbers) -> Vec<String> {
    let row = 1 + numbers.below(PLAIN + 2000);
    let number = numbers.below(1_000_000);
    vec![
        format!("INSERT INTO plain (n, v, changed) VALUES ({number}, REPEAT('y', {}), NOW(6))", number % 300),
        format!("UPDATE plain SET n = {number}, changed = NOW(6) WHERE id = {row}"),
        format!("DELETE FROM plain WHERE id = {}", row + 7),
    ]
}

/// Two to five rows pass the values of a unique column round in a ring, by way of values of nobody's.
fn swap_seats(numbers: &mut Numbers) -> Vec<String> {
    let aside = numbers.next();
    let mut rows: Vec<u64> = (0..2 + numbers.below(4)).map(|_| 1 + numbers.below(SEATS)).collect();
    rows.sort_unstable();
    rows.dedup();
    if numbers.below(2) == 0 {
        rows.reverse();
    }
    let read = rows
        .iter()
        .enumerate()
        .map(|(place, row)| format!("SELECT seat INTO @seat{place} FROM seats WHERE id = {row}"));
    let step_aside = rows
        .iter()
        .enumerate()
        .map(|(place, row)| format!("UPDATE seats SET seat = 'aside {aside} {place}' WHERE id = {row}"));
    let take = rows.iter().enumerate().map(|(place, row)| {
        let next = (place + 1) % rows.len();
        // A row that is not there has no seat to give.
        format!("UPDATE seats SET seat = COALESCE(@seat{next}, seat), n = n + 1 WHERE id = {row}")
    });
    read.chain(step_aside).chain(take).collect()
}

/// Keys move up by one, which no single row can do first; and two rows swap their keys.
fn move_keys(numbers: &mut Numbers) -> Vec<String> {
    let (one, other) = two(numbers, SEATS);
    if numbers.below(2) == 0 {
        return vec![format!(
            "UPDATE seats SET id = id + 1 WHERE id BETWEEN {one} AND {one} + 6 ORDER BY id DESC"
        )];
    }
    vec![
        format!("UPDATE seats SET id = -{one} WHERE id = {one}"),
        format!("UPDATE seats SET id = {one} WHERE id = {other}"),
        format!("UPDATE seats SET id = {other} WHERE id = -{one}"),
    ]
}

/// A row goes, and another one takes its unique values.
fn same_seat_again(numbers: &mut Numbers) -> Vec<String> {
    let (one, other) = two(numbers, SEATS);
    vec![
        format!("SELECT seat, bench INTO @seat, @bench FROM seats WHERE id = {one}"),
        format!("DELETE FROM seats WHERE id IN ({one}, {other})"),
        format!(
            "INSERT INTO seats VALUES ({other}, COALESCE(@seat, CONCAT('seat ', UUID())), @bench, 1), \
             ({one}, CONCAT('new ', UUID()), NULL, 1)"
        ),
    ]
}

fn many_rows(numbers: &mut Numbers) -> Vec<String> {
    let begin = 1 + numbers.below(SEATS);
    let plain = 1 + numbers.below(PLAIN);
    vec![
        format!("UPDATE seats SET n = n + 1 WHERE id BETWEEN {begin} AND {begin} + 8"),
        format!("UPDATE plain SET n = n + 1 WHERE id BETWEEN {plain} AND {plain} + 15"),
        format!("UPDATE seats SET bench = bench + 1000 WHERE bench BETWEEN {begin} AND {begin} + 5"),
        format!(
            "UPDATE seats SET bench = bench - 1000 WHERE bench BETWEEN {begin} + 1000 AND {begin} + 1005 ORDER BY bench"
        ),
    ]
}

/// A unique value is NULL for a while, then somebody else's.
fn bench_for_a_while(numbers: &mut Numbers) -> Vec<String> {
    let (one, other) = two(numbers, SEATS);
    vec![
        format!("SELECT bench INTO @bench FROM seats WHERE id = {one}"),
        format!("UPDATE seats SET bench = NULL WHERE id = {one}"),
        format!("UPDATE seats SET bench = @bench WHERE id = {other}"),
    ]
}

fn places(numbers: &mut Numbers) -> Vec<String> {
    let (a, b) = (numbers.below(PLACES), numbers.below(PLACES));
    let other = (a + 1 + numbers.below(PLACES - 1)) % PLACES;
    match numbers.below(3) {
        // Two rows of a column swap their codes.
        0 => vec![
            format!("SELECT code INTO @one FROM places WHERE a = {a} AND b = {b}"),
            format!("SELECT code INTO @other FROM places WHERE a = {other} AND b = {b}"),
            format!("UPDATE places SET code = -code WHERE a = {a} AND b = {b} AND @other IS NOT NULL"),
            format!("UPDATE places SET code = COALESCE(@one, code) WHERE a = {other} AND b = {b}"),
            format!("UPDATE places SET code = COALESCE(@other, code), n = n + 1 WHERE a = {a} AND b = {b}"),
        ],
        1 => vec![
            format!("DELETE FROM places WHERE a = {a} AND b = {b}"),
            format!("INSERT INTO places VALUES ({a}, {b}, {}, 0)", numbers.below(1 << 30)),
        ],
        // A part of the key moves away, over the border of the rows there were.
        _ => vec![
            format!("UPDATE places SET a = a + 100 WHERE a = {a} AND b = {b}"),
            format!("UPDATE places SET a = a - 100 WHERE a = {other} + 100 AND b = {b}"),
        ],
    }
}

fn family(numbers: &mut Numbers) -> Vec<String> {
    let parent = 1 + numbers.below(PARENTS + 20);
    vec![
        format!("INSERT INTO parents VALUES ({parent}, 1) ON DUPLICATE KEY UPDATE n = n + 1"),
        format!(
            "INSERT INTO children (parent, tag) VALUES ({parent}, CONCAT('tag ', {})), ({parent}, NULL)",
            numbers.below(400)
        ),
        format!("UPDATE children SET parent = {parent} WHERE id = {}", 1 + numbers.below(300)),
    ]
}

pub(crate) fn family_goes(numbers: &mut Numbers) -> Vec<String> {
    let parent = 1 + numbers.below(PARENTS + 20);
    let tag = numbers.below(400);
    vec![
        format!("DELETE FROM children WHERE parent = {parent}"),
        format!("DELETE FROM parents WHERE id = {parent}"),
        format!("DELETE FROM children WHERE tag = 'tag {tag}'"),
    ]
}

fn journal_moves(numbers: &mut Numbers) -> Vec<String> {
    let (from, to) = (numbers.below(JOURNAL), numbers.below(JOURNAL));
    vec![
        format!("UPDATE journal SET kind = {to} WHERE kind = {from} LIMIT 3"),
        format!("INSERT INTO journal VALUES ({from}, 'twice', 1), ({from}, 'twice', 1)"),
        format!("DELETE FROM journal WHERE kind = {to} AND what = 'twice' LIMIT 3"),
    ]
}

fn everything_else(numbers: &mut Numbers) -> Vec<String> {
    let id = 1 + numbers.below(EVERYTHING);
    match numbers.below(3) {
        0 => vec![format!("DELETE FROM everything WHERE id = {id}")],
        1 => vec![format!("UPDATE everything SET id = id + 100000 WHERE id = {id}")],
        _ => vec![format!(
            "UPDATE everything SET varied = UUID(), document = JSON_ARRAY({id}), moment = NOW(6), picture = NULL \
             WHERE id BETWEEN {id} AND {id} + 10"
        )],
    }
}

/// Savepoints, whose changes never were.
pub(crate) fn taken_back(numbers: &mut Numbers) -> Vec<String> {
    let (one, other) = two(numbers, SEATS);
    vec![
        format!("UPDATE seats SET n = n + 100 WHERE id = {one}"),
        "SAVEPOINT here".to_owned(),
        format!("DELETE FROM seats WHERE id IN ({one}, {other})"),
        "INSERT INTO journal VALUES (0, 'never', 0)".to_owned(),
        "ROLLBACK TO here".to_owned(),
        format!("UPDATE seats SET n = n + 100 WHERE id = {other}"),
    ]
}

/// A transaction of some thousand rows, once in a while.
pub(crate) fn large(numbers: &mut Numbers) -> Vec<String> {
    let begin = numbers.below(PLAIN);
    if numbers.below(6) > 0 {
        return vec![format!("UPDATE plain SET n = n - 1 WHERE id = {begin}")];
    }
    vec![
        format!("INSERT INTO plain (n, v) SELECT n, v FROM plain WHERE id BETWEEN {begin} AND {begin} + 400"),
        format!("DELETE FROM plain WHERE id > {PLAIN} AND id % 2 = {}", numbers.below(2)),
    ]
}

/// A row goes and comes back in one transaction, and another one is only there for its length.
fn there_and_back(numbers: &mut Numbers) -> Vec<String> {
    let (one, _) = two(numbers, SEATS);
    let aside = numbers.next();
    vec![
        format!("INSERT INTO seats VALUES (-5, 'passing {aside}', NULL, 0)"),
        format!("SELECT seat, bench INTO @seat, @bench FROM seats WHERE id = {one}"),
        format!("DELETE FROM seats WHERE id = {one}"),
        format!("INSERT INTO seats VALUES ({one}, COALESCE(@seat, 'back {aside}'), @bench, 2)"),
        "DELETE FROM seats WHERE id = -5".to_owned(),
    ]
}

/// One of the spellings of a word, all of which are equal in the source.
fn spelling(numbers: &mut Numbers, word: u64) -> String {
    let spellings = ["été", "ETE", "Été", "ete", "éTÉ"];
    let spelling = spellings.get(numbers.below(spellings.len() as u64) as usize).unwrap_or(&"ete");
    let blanks = if numbers.below(3) == 0 { " " } else { "" };
    format!("'{spelling}{word}{blanks}'")
}

/// Words are spelt in another way, go and come back in another one.
fn words(numbers: &mut Numbers) -> Vec<String> {
    let word = 1 + numbers.below(WORDS);
    let (old, new) = (spelling(numbers, word), spelling(numbers, word));
    match numbers.below(4) {
        0 => vec![format!("UPDATE words SET word = {new}, n = n + 1 WHERE word = {old}")],
        1 => vec![
            format!("DELETE FROM words WHERE word = {old}"),
            format!("INSERT INTO words VALUES ({new}, NULL, 0)"),
        ],
        2 => vec![format!("DELETE FROM words WHERE word = {old}")],
        _ => vec![format!("INSERT INTO words VALUES ({new}, CONCAT('Root', {word}), 0)")],
    }
}

/// A unique value is given up in one spelling and taken in another one, by somebody else.
fn words_pass_their_roots_on(numbers: &mut Numbers) -> Vec<String> {
    let (one, other) = two(numbers, WORDS);
    let (from, to) = (spelling(numbers, one), spelling(numbers, other));
    let root = if numbers.below(2) == 0 { "root" } else { "Ròot" };
    vec![
        format!("UPDATE words SET root = NULL WHERE word = {from} OR root = 'root{one}'"),
        format!("UPDATE words SET root = '{root}{one}' WHERE word = {to}"),
    ]
}
