//! Renames that may take each other's names.

use crate::identifier::fit;

/// A rename of one of several things that share a space of names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rename {
    /// Its name.
    pub(crate) from: String,
    /// The name that it gets.
    pub(crate) to: String,
}

/// A name that nothing else has, for as long as something is on its way to another.
pub(crate) fn passing(name: &str) -> String {
    fit(&format!("_migration_renamed_{name}"))
}

/// The same renames in an order in which no name is taken at the time; a circle goes by a passing name.
pub(crate) fn order(mut renames: Vec<Rename>) -> Vec<Rename> {
    let mut ordered = Vec::with_capacity(renames.len() + 1);
    while !renames.is_empty() {
        let free = renames.iter().position(|rename| renames.iter().all(|other| other.from != rename.to));
        match free {
            Some(free) => ordered.push(renames.remove(free)),
            None => {
                let Some(first) = renames.first_mut() else { break };
                let aside = passing(&first.from);
                ordered.push(Rename { from: std::mem::replace(&mut first.from, aside.clone()), to: aside });
            }
        }
    }
    ordered
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identifier::quote;

    fn shown(renames: &[(&str, &str)]) -> String {
        let renames = renames
            .iter()
            .map(|(from, to)| Rename { from: (*from).to_owned(), to: (*to).to_owned() })
            .collect();
        let ordered = order(renames);
        ordered
            .iter()
            .map(|one| format!("{} > {}", quote(&one.from), quote(&one.to)))
            .collect::<Vec<_>>()
            .join(", ")
    }

    #[test]
    fn a_name_is_free_before_it_is_taken() {
        assert_eq!(shown(&[("b", "a"), ("a", "c")]), r#""a" > "c", "b" > "a""#);
    }

    #[test]
    fn a_circle_goes_by_a_passing_name() {
        assert_eq!(
            shown(&[("a", "b"), ("b", "a")]),
            r#""a" > "_migration_renamed_a", "b" > "a", "_migration_renamed_a" > "b""#
        );
    }
}
