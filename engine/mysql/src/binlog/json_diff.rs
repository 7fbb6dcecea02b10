//! Differences of JSON documents, which MySQL logs with `binlog_row_value_options = PARTIAL_JSON`.
//!
//! A difference is a byte (0 replaces a value, 1 inserts one, 2 removes one), the path of the value
//! and, unless it is removed, the new value in binary JSON, each with its length before it. They are
//! applied one after the other.

use std::borrow::Cow;

use super::bytes::{Bytes, Malformed};
use super::json::{self, Members, Printer, check_depth};
use super::json_path::{self, Leg};

const REPLACE: u8 = 0;
const INSERT: u8 = 1;
const REMOVE: u8 = 2;

const ELSEWHERE: Malformed = Malformed("a difference of JSON documents is of a value that is not there");
const REPEATED: Malformed = Malformed("a JSON document repeats its parts");

/// Appends the text of `document` (in binary JSON) as the differences make it.
///
/// Errors when a difference is of a value that the document does not have, or inserts a member that
/// it has: then the two don't belong together.
pub(super) fn apply_into(document: &[u8], differences: &[u8], out: &mut Vec<u8>) -> Result<(), Malformed> {
    let mut input = Bytes::new(differences);
    let Some((&kind, data)) = document.split_first().filter(|_| !input.is_empty()) else {
        return if input.is_empty() { json::decode_into(document, out) } else { Err(ELSEWHERE) };
    };
    // Every value takes more than a byte, and each is taken apart and printed once at most.
    let values = document.len() + differences.len() + 1;
    let mut edited = Edited { root: Node::Packed { kind, data }, budget: values };
    while !input.is_empty() {
        let operation = input.u8()?;
        let length = input.length_encoded()? as usize;
        let path = json_path::parse(input.take(length)?)?;
        let mut value = || {
            let length = input.length_encoded()? as usize;
            let value = input.take(length)?.split_first();
            let (&kind, data) = value.ok_or(Malformed("a difference of JSON documents has no value"))?;
            Ok(Node::Packed { kind, data })
        };
        match operation {
            REPLACE => edited.replace(&path, value()?)?,
            INSERT => edited.insert(path, value()?)?,
            REMOVE => edited.remove(&path)?,
            _ => return Err(Malformed("a difference of JSON documents is of an unknown kind")),
        }
    }
    edited.root.print(&mut Printer { out, budget: values }, 0)
}

/// A value, whose containers are taken apart where something changes.
#[derive(Debug)]
enum Node<'d> {
    Packed {
        kind: u8,
        data: &'d [u8],
    },
    Array(Vec<Node<'d>>),
    /// By name, shorter names first, those of one length by their bytes.
    Object(Vec<(Cow<'d, [u8]>, Node<'d>)>),
}

/// A document while differences are applied to it.
struct Edited<'d> {
    root: Node<'d>,
    /// Members that may still be taken out of containers.
    budget: usize,
}

impl<'d> Edited<'d> {
    /// The value at a path, itself taken apart if it is a container.
    fn at(&mut self, path: &[Leg<'d>]) -> Result<&mut Node<'d>, Malformed> {
        let mut node = &mut self.root;
        node.open(&mut self.budget)?;
        for leg in path {
            node = node.member(leg)?;
            node.open(&mut self.budget)?;
        }
        Ok(node)
    }

    fn replace(&mut self, path: &[Leg<'d>], value: Node<'d>) -> Result<(), Malformed> {
        let (last, parents) = path.split_last().ok_or(ELSEWHERE)?;
        *self.at(parents)?.member(last)? = value;
        Ok(())
    }

    fn insert(&mut self, mut path: Vec<Leg<'d>>, value: Node<'d>) -> Result<(), Malformed> {
        let last = path.pop().ok_or(ELSEWHERE)?;
        match (self.at(&path)?, last) {
            (Node::Array(cells), Leg::Cell(cell)) => cells.insert(cell.inserted(cells.len()), value),
            (Node::Object(members), Leg::Member(name)) => {
                let name: Cow<'d, [u8]> = match name {
                    Cow::Borrowed(name) => name.as_bytes().into(),
                    Cow::Owned(name) => name.into_bytes().into(),
                };
                if members.iter().any(|(other, _)| *other == name) {
                    return Err(Malformed("a difference of JSON documents inserts a member that is there"));
                }
                let sorts_before = |other: &[u8]| (other.len(), other) < (name.len(), &*name);
                let place = members.partition_point(|(other, _)| sorts_before(other));
                members.insert(place, (name, value));
            }
            _ => return Err(ELSEWHERE),
        }
        Ok(())
    }

    fn remove(&mut self, path: &[Leg<'d>]) -> Result<(), Malformed> {
        let (last, parents) = path.split_last().ok_or(ELSEWHERE)?;
        match (self.at(parents)?, last) {
            (Node::Array(cells), Leg::Cell(cell)) => {
                let index = cell.existing(cells.len()).ok_or(ELSEWHERE)?;
                drop(cells.remove(index));
            }
            (Node::Object(members), Leg::Member(name)) => {
                let index = members.iter().position(|(other, _)| **other == *name.as_bytes());
                drop(members.remove(index.ok_or(ELSEWHERE)?));
            }
            _ => return Err(ELSEWHERE),
        }
        Ok(())
    }
}

impl Node<'_> {
    /// Takes a container apart, with its members left as they are.
    fn open(&mut self, budget: &mut usize) -> Result<(), Malformed> {
        let Self::Packed { kind, data } = *self else { return Ok(()) };
        if !Members::has(kind) {
            return Ok(());
        }
        let mut members = Members::open(kind, data)?;
        let count = members.left();
        *budget = budget.checked_sub(count).ok_or(REPEATED)?;
        *self = if members.are_named() {
            let mut named = Vec::with_capacity(count);
            while let Some(member) = members.next()? {
                let value = Self::Packed { kind: member.kind, data: member.data };
                named.push((member.name.unwrap_or_default().into(), value));
            }
            Self::Object(named)
        } else {
            let mut cells = Vec::with_capacity(count);
            while let Some(member) = members.next()? {
                cells.push(Self::Packed { kind: member.kind, data: member.data });
            }
            Self::Array(cells)
        };
        Ok(())
    }

    /// The member of an opened container.
    fn member(&mut self, leg: &Leg<'_>) -> Result<&mut Self, Malformed> {
        match (self, leg) {
            (Self::Array(cells), Leg::Cell(cell)) => {
                cell.existing(cells.len()).and_then(|index| cells.get_mut(index))
            }
            (Self::Object(members), Leg::Member(name)) => {
                let found = members.iter_mut().find(|(other, _)| **other == *name.as_bytes());
                found.map(|(_, value)| value)
            }
            _ => None,
        }
        .ok_or(ELSEWHERE)
    }

    fn print(&self, printer: &mut Printer<'_>, depth: usize) -> Result<(), Malformed> {
        let mut first = true;
        match self {
            Self::Packed { kind, data } => return printer.value(*kind, data, depth),
            Self::Array(cells) => {
                check_depth(depth)?;
                printer.out.push(b'[');
                for cell in cells {
                    printer.separate(&mut first, None)?;
                    cell.print(printer, depth + 1)?;
                }
                printer.out.push(b']');
            }
            Self::Object(members) => {
                check_depth(depth)?;
                printer.out.push(b'{');
                for (name, value) in members {
                    printer.separate(&mut first, Some(name))?;
                    value.print(printer, depth + 1)?;
                }
                printer.out.push(b'}');
            }
        }
        Ok(())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::json::tests::{document, json, text};
    use super::*;
    use proptest::prelude::*;
    use proptest::sample::Index;
    use serde_json::{Value, json};

    fn applied(document: &[u8], differences: &[u8]) -> Result<String, Malformed> {
        let mut out = Vec::new();
        apply_into(document, differences, &mut out)?;
        Ok(String::from_utf8(out).expect("UTF-8"))
    }

    fn with_length(bytes: &[u8]) -> Vec<u8> {
        let mut encoded = match bytes.len() {
            short @ ..=250 => vec![short as u8],
            long => vec![253, long as u8, (long >> 8) as u8, (long >> 16) as u8],
        };
        encoded.extend_from_slice(bytes);
        encoded
    }

    pub(crate) fn difference(operation: u8, path: &str, value: Option<&Value>) -> Vec<u8> {
        let value = value.map(|value| with_length(&document(value, false))).unwrap_or_default();
        [vec![operation], with_length(path.as_bytes()), value].concat()
    }

    /// What each difference makes of a document.
    fn after(before: &Value, differences: &[(u8, &str, Option<Value>)]) -> Result<String, Malformed> {
        let encoded: Vec<u8> = differences
            .iter()
            .flat_map(|(operation, path, value)| difference(*operation, path, value.as_ref()))
            .collect();
        applied(&document(before, false), &encoded)
    }

    #[test]
    fn as_a_server_wrote_them() {
        // JSON_SET(…, '$.new', 1.50, '$.bb[2]."x y"', CAST('2024-01-02 03:04:05' AS DATETIME)).
        let written = b"\x01\x05$.new\x0a\x0f\xf6\x07\x0b\x02\x80\x00\x00\x01\x32\x00\x0d$.bb[2].\"x y\"\x0b\x0f\x0c\x08\
                        \x00\x00\x00\x051D\xb2\x19";
        let before = document(&json!({"a": 2, "bb": [1, 2, {"x y": 3}], "pad": "p"}), false);
        assert_eq!(
            applied(&before, written).as_deref(),
            Ok(r#"{"a": 2, "bb": [1, 2, {"x y": "2024-01-02 03:04:05.000000"}], "new": 1.50, "pad": "p"}"#)
        );
    }

    #[test]
    fn members_are_ordered_as_the_server_orders_them() {
        let before = json!({"b": 1, "aaa": 2});
        let insert = |name: &'static str| (INSERT, name, Some(json!(0)));
        assert_eq!(
            after(&before, &[insert("$.aa"), insert("$.\"\""), insert("$.a"), insert("$.ab"), insert("$.é")])
                .as_deref(),
            Ok(r#"{"": 0, "a": 0, "b": 1, "aa": 0, "ab": 0, "é": 0, "aaa": 2}"#)
        );
    }

    #[test]
    fn one_difference_after_the_other() {
        let before = json!([1, [2, 3], {"a": 4}]);
        let differences = [
            (REMOVE, "$[0]", None),
            (INSERT, "$[0][1]", Some(json!({"x": []}))),
            (INSERT, "$[0][1].x[7]", Some(json!("first"))),
            (REPLACE, "$[0][1].x[last]", Some(json!(null))),
            (INSERT, "$[1].b", Some(json!(5))),
            (REMOVE, "$[1].a", None),
            (INSERT, "$[last-7]", Some(json!("front"))),
        ];
        assert_eq!(
            after(&before, &differences).as_deref(),
            Ok(r#"["front", [2, {"x": [null]}, 3], {"b": 5}]"#)
        );
        assert_eq!(after(&before, &[]).as_deref(), Ok(r#"[1, [2, 3], {"a": 4}]"#));
    }

    #[test]
    fn differences_of_another_document_are_refused() {
        let before = json!({"a": [1], "b": 2});
        for (operation, path) in [
            (REPLACE, "$"),
            (REPLACE, "$.c"),
            (REPLACE, "$.a[1]"),
            (REPLACE, "$.a.x"),
            (REPLACE, "$.b[0]"),
            (REPLACE, "$[0]"),
            (INSERT, "$"),
            (INSERT, "$.b"),
            (INSERT, "$.b.c"),
            (INSERT, "$.a.c"),
            (INSERT, "$[0]"),
            (INSERT, "$.c.d"),
            (REMOVE, "$"),
            (REMOVE, "$.c"),
            (REMOVE, "$.a[1]"),
            (REMOVE, "$.a[last-1]"),
            (REMOVE, "$.b[0]"),
            (3, "$.b"),
        ] {
            let value = (operation != REMOVE).then(|| json!(3));
            assert!(after(&before, &[(operation, path, value)]).is_err(), "{operation} {path}");
        }
        assert!(applied(&[], &difference(REMOVE, "$.a", None)).is_err());
        assert!(applied(&document(&before, false), &difference(REPLACE, "$.a", None)).is_err());
    }

    /// Members with a name or a number, the way they are written in a path.
    fn members(value: &Value) -> Vec<String> {
        match value {
            Value::Array(cells) => (0..cells.len()).map(|index| format!("[{index}]")).collect(),
            Value::Object(members) => {
                members.keys().map(|name| format!(".{}", Value::from(name.as_str()))).collect()
            }
            _ => Vec::new(),
        }
    }

    fn at<'v>(value: &'v mut Value, member: &str) -> &'v mut Value {
        match value {
            Value::Array(cells) => {
                &mut cells[member[1..member.len() - 1].parse::<usize>().expect("a number")]
            }
            Value::Object(members) => {
                let name: String = serde_json::from_str(&member[1..]).expect("a name");
                members.get_mut(&name).expect("a member")
            }
            _ => unreachable!("only containers have members"),
        }
    }

    /// Changes the document somewhere and answers the difference. Nothing if there is no such place.
    fn change(root: &mut Value, (operation, steps, value): &(u8, Vec<Index>, Value)) -> Option<Vec<u8>> {
        let mut path = "$".to_owned();
        let mut container = root;
        for step in steps {
            let inner: Vec<_> = members(container)
                .into_iter()
                .filter(|name| !members(at(container, name)).is_empty())
                .collect();
            if inner.is_empty() {
                break;
            }
            let name = step.get(&inner);
            path += name;
            container = at(container, name);
        }
        let names = members(container);
        let name = steps.first().filter(|_| !names.is_empty()).map(|step| step.get(&names).clone());
        match (*operation, container) {
            (REPLACE, container) => {
                let name = name?;
                *at(container, &name) = value.clone();
                Some(difference(REPLACE, &(path + &name), Some(value)))
            }
            (INSERT, Value::Array(cells)) => {
                let index = steps.first()?.index(cells.len() + 1);
                cells.insert(index, value.clone());
                Some(difference(INSERT, &format!("{path}[{index}]"), Some(value)))
            }
            (INSERT, Value::Object(members)) => {
                let name = format!("n{}", steps.first()?.index(50));
                if members.contains_key(&name) {
                    return None;
                }
                members.insert(name.clone(), value.clone());
                Some(difference(INSERT, &format!("{path}.{name}"), Some(value)))
            }
            (REMOVE, Value::Array(cells)) => {
                let name = name?;
                cells.remove(name[1..name.len() - 1].parse::<usize>().expect("a number"));
                Some(difference(REMOVE, &(path + &name), None))
            }
            (REMOVE, Value::Object(members)) => {
                let name = name?;
                members.remove(&serde_json::from_str::<String>(&name[1..]).expect("a name"));
                Some(difference(REMOVE, &(path + &name), None))
            }
            _ => None,
        }
    }

    proptest! {
        #[test]
        fn any_differences_make_what_they_say(
            before in json(),
            large: bool,
            changes in prop::collection::vec((0..3u8, prop::collection::vec(any::<Index>(), 1..5), json()), 0..12),
        ) {
            let mut expected = before.clone();
            let differences: Vec<u8> =
                changes.iter().filter_map(|each| change(&mut expected, each)).flatten().collect();
            prop_assert_eq!(applied(&document(&before, large), &differences), text(&document(&expected, large)));
        }

        #[test]
        fn any_bytes_are_survived(document: Vec<u8>, differences: Vec<u8>) {
            let _ = applied(&document, &differences);
            let _ = applied(&[&[0][..], &document].concat(), &difference(REPLACE, "$.a", Some(&json!(1))));
        }
    }
}
