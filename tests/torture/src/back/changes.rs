//! Transactions on a `PostgreSQL`: what real applications do, and what is hard to take back in parallel.

use test_support::numbers::Numbers;

use crate::changes::{family_goes, large, taken_back, two};
use crate::tables::{COUNTERS, EVERYTHING, JOURNAL, PARENTS, PLACES, PLAIN, SEATS, WORDS};

/// The statements of one transaction.
pub(super) fn transaction(numbers: &mut Numbers) -> Vec<String> {
    let mut statements = match numbers.below(18) {
        0 => plain_rows(numbers),
        1 => swap_seats(numbers),
        2 => move_keys(numbers),
        3 => same_seat_again(numbers),
        4 => many_rows(numbers),
        5 => places(numbers),
        6 => family(numbers),
        7 => family_goes(numbers),
        8 => journal_moves(numbers),
        9 | 10 => vec![every_value(1 + numbers.below(EVERYTHING + 40), numbers.next())],
        11 => everything_else(numbers),
        12 => taken_back(numbers),
        13 => large(numbers),
        14 => there_and_back(numbers),
        15 => words(numbers),
        16 if numbers.below(8) == 0 => return vec!["TRUNCATE journal".to_owned()],
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

/// A few rows of the table without a key.
fn some_of(kind: u64, number: u64) -> String {
    format!("ctid IN (SELECT ctid FROM journal WHERE kind = {kind} LIMIT {number})")
}

fn mark(numbers: &mut Numbers) -> String {
    let (kind, number) = (numbers.below(JOURNAL), numbers.below(5));
    match numbers.below(4) {
        0 | 1 => format!("INSERT INTO journal VALUES ({kind}, 'mark', {number})"),
        2 => format!("DELETE FROM journal WHERE {}", some_of(kind, 2)),
        _ => format!("UPDATE journal SET n = n + 1 WHERE {}", some_of(kind, 2)),
    }
}

fn plain_rows(numbers: &mut Numbers) -> Vec<String> {
    let row = 1 + numbers.below(PLAIN + 2000);
    let number = numbers.below(1_000_000);
    vec![
        format!("INSERT INTO plain (n, v, changed) VALUES ({number}, repeat('y', {}), now())", number % 300),
        format!("UPDATE plain SET n = {number}, changed = clock_timestamp() WHERE id = {row}"),
        format!("DELETE FROM plain WHERE id = {}", row + 7),
    ]
}

/// Two to five rows pass the values of a unique column round in a ring, by way of values of nobody's.
fn swap_seats(numbers: &mut Numbers) -> Vec<String> {
    let aside = numbers.next();
    let mut rows: Vec<u64> = (0..2 + numbers.below(4)).map(|_| 1 + numbers.below(SEATS)).collect();
    rows.sort_unstable();
    rows.dedup();
    let list = rows.iter().map(u64::to_string).collect::<Vec<_>>().join(", ");
    let remember = format!(
        "CREATE TEMPORARY TABLE passing ON COMMIT DROP AS SELECT id, seat FROM seats WHERE id IN ({list})"
    );
    let step_aside = format!("UPDATE seats SET seat = 'aside {aside} ' || id WHERE id IN ({list})");
    let take = rows.iter().enumerate().map(|(place, row)| {
        let next = rows.get((place + 1) % rows.len()).copied().unwrap_or(*row);
        format!(
            "UPDATE seats SET n = n + 1, seat = coalesce((SELECT seat FROM passing WHERE id = {next}), seat) WHERE id = {row}"
        )
    });
    [remember, step_aside].into_iter().chain(take).collect()
}

/// Two rows swap their keys, or one goes where another has just been.
fn move_keys(numbers: &mut Numbers) -> Vec<String> {
    let (one, other) = two(numbers, SEATS);
    vec![
        format!("UPDATE seats SET id = -{one} WHERE id = {one}"),
        format!("UPDATE seats SET id = {one} WHERE id = {other}"),
        format!("UPDATE seats SET id = {other} WHERE id = -{one}"),
    ]
}

/// A row goes, and another one takes its unique values.
fn same_seat_again(numbers: &mut Numbers) -> Vec<String> {
    let ((one, other), number) = (two(numbers, SEATS), numbers.next());
    vec![
        format!(
            "CREATE TEMPORARY TABLE passing ON COMMIT DROP AS SELECT seat, bench FROM seats WHERE id = {one}"
        ),
        format!("DELETE FROM seats WHERE id IN ({one}, {other})"),
        format!(
            "INSERT INTO seats VALUES ({other}, coalesce((SELECT seat FROM passing), 'seat {number}'), \
             (SELECT bench FROM passing), 1), ({one}, 'new {number}', NULL, 1)"
        ),
    ]
}

fn many_rows(numbers: &mut Numbers) -> Vec<String> {
    let (begin, plain) = (1 + numbers.below(SEATS), 1 + numbers.below(PLAIN));
    vec![
        format!("UPDATE seats SET n = n + 1 WHERE id BETWEEN {begin} AND {begin} + 8"),
        format!("UPDATE plain SET n = n + 1 WHERE id BETWEEN {plain} AND {plain} + 40"),
    ]
}

fn places(numbers: &mut Numbers) -> Vec<String> {
    let (a, b) = (numbers.below(PLACES), numbers.below(PLACES));
    let other = (a + 1 + numbers.below(PLACES - 1)) % PLACES;
    match numbers.below(2) {
        0 => vec![
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
        format!("INSERT INTO parents VALUES ({parent}, 1) ON CONFLICT (id) DO UPDATE SET n = parents.n + 1"),
        format!(
            "INSERT INTO children (parent, tag) VALUES ({parent}, 'tag {}'), ({parent}, NULL)",
            numbers.below(400)
        ),
        format!("UPDATE children SET parent = {parent} WHERE id = {}", 1 + numbers.below(300)),
    ]
}

fn journal_moves(numbers: &mut Numbers) -> Vec<String> {
    let (from, to) = (numbers.below(JOURNAL), numbers.below(JOURNAL));
    vec![
        format!("UPDATE journal SET kind = {to} WHERE {}", some_of(from, 3)),
        format!("INSERT INTO journal VALUES ({from}, 'twice', 1), ({from}, 'twice', 1)"),
        format!("DELETE FROM journal WHERE {} AND what = 'twice'", some_of(to, 3)),
    ]
}

/// A row with values of most types, now and then one that is stored out of line.
fn every_value(id: u64, number: u64) -> String {
    let maybe =
        |value: String, bit: u64| if (number >> bit).is_multiple_of(8) { "NULL".to_owned() } else { value };
    let columns = [
        ("tiny", maybe(format!("{}", number as i64 % 128), 1)),
        ("small", maybe(format!("{}", number % 65_536), 2)),
        ("medium", maybe(format!("{}", number as i64 % 8_388_608), 3)),
        ("big", maybe(format!("{}", u64::MAX - number), 4)),
        ("exact", maybe(format!("-{}.{:010}", number % 1_000_000_007, number % 10_000_000_000), 5)),
        ("twice", maybe(format!("{}e3", number as f64 / 7.0), 7)),
        ("day", maybe(format!("date '1900-01-01' + {}", number % 60_000), 9)),
        (
            "moment",
            maybe(
                format!(
                    "timestamp '1970-01-02 00:00:00.000001' + {} * interval '1 microsecond'",
                    number % 4_000_000_000_000_000
                ),
                10,
            ),
        ),
        ("varied", maybe(format!("'é €😀 \\ ''{number}'"), 15)),
        ("latin", maybe(format!("'Ölçü {number}'"), 16)),
        (
            "prose",
            maybe(
                format!(
                    "(SELECT string_agg(md5((g * {})::text), '') FROM generate_series(1, {}) g)",
                    number % 100_000,
                    if number.is_multiple_of(5) { 400 } else { 2 }
                ),
                17,
            ),
        ),
        ("code", maybe(format!("decode(left(md5('{number}'), 12), 'hex')"), 18)),
        ("bytes", maybe(format!("decode(left(md5('{number}'), {}), 'hex')", 2 * (number % 17)), 19)),
        ("picture", maybe(format!("decode(repeat('00FF0A5C', {}), 'hex')", number % 50), 20)),
        (
            "document",
            maybe(format!("'{{\"n\": {}, \"deep\": [1, 2.5, null, \"é😀\"]}}'", number % 100_000), 23),
        ),
    ];
    let names = columns.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
    let values = columns.iter().map(|(_, value)| value.as_str()).collect::<Vec<_>>().join(", ");
    let sets =
        columns.iter().map(|(name, _)| format!("{name} = excluded.{name}")).collect::<Vec<_>>().join(", ");
    format!(
        "INSERT INTO everything (id, {names}) VALUES ({id}, {values}) ON CONFLICT (id) DO UPDATE SET {sets}"
    )
}

fn everything_else(numbers: &mut Numbers) -> Vec<String> {
    let id = 1 + numbers.below(EVERYTHING);
    match numbers.below(3) {
        0 => vec![format!("DELETE FROM everything WHERE id = {id}")],
        1 => vec![format!("UPDATE everything SET id = id + 100000 WHERE id = {id}")],
        // What is out of line stays as it is.
        _ => vec![format!(
            "UPDATE everything SET varied = gen_random_uuid()::text, document = '[{id}]', moment = now(), picture = NULL \
             WHERE id BETWEEN {id} AND {id} + 10"
        )],
    }
}

/// A row goes and comes back in one transaction, and another one is only there for its length.
fn there_and_back(numbers: &mut Numbers) -> Vec<String> {
    let ((one, _), aside) = (two(numbers, SEATS), numbers.next());
    vec![
        format!("INSERT INTO seats VALUES (-5, 'passing {aside}', NULL, 0)"),
        format!(
            "CREATE TEMPORARY TABLE passing ON COMMIT DROP AS SELECT seat, bench FROM seats WHERE id = {one}"
        ),
        format!("DELETE FROM seats WHERE id = {one}"),
        format!(
            "INSERT INTO seats VALUES ({one}, coalesce((SELECT seat FROM passing), 'back {aside}'), \
             (SELECT bench FROM passing), 2)"
        ),
        "DELETE FROM seats WHERE id = -5".to_owned(),
    ]
}

/// In one spelling: others are other words here, and the same to where they go.
fn words(numbers: &mut Numbers) -> Vec<String> {
    let (one, other) = two(numbers, WORDS);
    match numbers.below(3) {
        0 => vec![format!("DELETE FROM words WHERE word = 'été{one}'")],
        1 => vec![format!(
            "INSERT INTO words VALUES ('été{one}', NULL, 0) ON CONFLICT (word) DO UPDATE SET n = words.n + 1"
        )],
        // A unique value goes from one to the other.
        _ => vec![
            format!("UPDATE words SET root = NULL WHERE root = 'root{one}'"),
            format!("UPDATE words SET root = 'root{one}' WHERE word = 'été{other}'"),
        ],
    }
}
