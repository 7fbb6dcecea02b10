//! Whether the partitions of PostgreSQL's partitioned tables can be read and followed: each is logged in its own way.

use engine_core::Result;
use engine_core::finding::{Finding, Severity};
use engine_core::selection::Selection;
use tokio_postgres::Client;

use super::{finding, list};
use crate::family::Family;
use crate::source::catalog::full_identity;
use crate::source::chunk::relation;
use crate::source::partition::{self, Kind, Partition};

/// Partitions whose replica identity is told of one by one.
const TOLD: usize = 50;

/// The partitions of the selection's tables. Those of openGauss are no relations.
pub(super) async fn read(client: &Client, family: Family, selection: &Selection) -> Result<Vec<Partition>> {
    if family.is_opengauss() {
        return Ok(Vec::new());
    }
    let mut partitions = partition::read(client).await?;
    partitions.retain(|partition| selection.matches(&partition.table));
    Ok(partitions)
}

/// Partitions whose rows are elsewhere.
pub(super) fn foreign(partitions: &[Partition]) -> Option<Finding> {
    let foreign: Vec<_> = partitions
        .iter()
        .filter(|partition| partition.kind == Kind::Foreign)
        .map(|partition| &partition.name)
        .collect();
    (!foreign.is_empty()).then(|| {
        finding(
            Severity::Failed,
            "partitions",
            format!("{}: foreign tables, whose rows are on another server", list(&foreign)),
            Some("ALTER TABLE … DETACH PARTITION them and migrate them from where they are, or exclude the table"),
        )
    })
}

/// Partitions whose changes, or whose rows of before, are not in the log.
pub(super) fn logged(partitions: &[Partition]) -> Vec<Finding> {
    let leaves = || partitions.iter().filter(|partition| partition.kind == Kind::Leaf);
    let wanting: Vec<_> = leaves().filter(|leaf| !leaf.is_full).collect();
    let mut findings: Vec<_> = wanting
        .iter()
        .take(TOLD)
        .map(|leaf| Finding {
            severity: Severity::Failed,
            subject: leaf.name.to_string(),
            message: format!(
                "a partition of {} whose replica identity is not FULL; each partition has its own",
                leaf.table
            ),
            fix: Some(full_identity(&leaf.name)),
        })
        .collect();
    if let Some(more) = wanting.len().checked_sub(TOLD).filter(|&more| more > 0) {
        let fix = "SELECT format('ALTER TABLE %s REPLICA IDENTITY FULL', relid) FROM pg_partition_tree('…') WHERE isleaf \
                   writes such a statement for each partition of a table; \\gexec of psql runs them";
        let message = format!("{more} more partitions have another replica identity than FULL");
        findings.push(finding(Severity::Failed, "replica identity", message, Some(fix)));
    }
    let unlogged: Vec<_> = leaves().filter(|leaf| leaf.is_unlogged).map(|leaf| &leaf.name).collect();
    if let Some(first) = unlogged.first() {
        let fix = format!("ALTER TABLE {} SET LOGGED, and so for each", relation(first));
        let message = format!("{}: unlogged, so that no change of theirs is in the log", list(&unlogged));
        findings.push(finding(Severity::Failed, "partitions", message, Some(&fix)));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::partition::tests::partition;

    #[test]
    fn every_partition_is_told_of_by_itself() {
        let branch = Partition { kind: Kind::Branch, is_full: false, ..partition(5, "branch") };
        assert!(logged(&[partition(2, "a"), branch]).is_empty());
        let findings = logged(&[
            Partition { is_full: false, ..partition(2, "a") },
            Partition { is_unlogged: true, ..partition(3, "b") },
        ]);
        let fixes: Vec<_> = findings.iter().filter_map(|finding| finding.fix.as_deref()).collect();
        assert_eq!(fixes[0], "ALTER TABLE \"shop\".\"a\" REPLICA IDENTITY FULL");
        assert!(fixes[1].starts_with("ALTER TABLE \"shop\".\"b\" SET LOGGED"), "{fixes:?}");
        let many: Vec<_> =
            (0..60).map(|number| Partition { is_full: false, ..partition(number, "many") }).collect();
        assert_eq!(logged(&many).len(), TOLD + 1);
    }

    #[test]
    fn rows_on_another_server_are_refused() {
        assert_eq!(foreign(&[partition(2, "a")]), None);
        let told = foreign(&[Partition { kind: Kind::Foreign, ..partition(2, "far") }]).expect("a finding");
        assert!(told.severity == Severity::Failed && told.message.starts_with("shop.far: "), "{told}");
    }
}
