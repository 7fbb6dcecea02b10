//! Identity columns of the target, set to go on where the source's do.

use std::collections::HashMap;
use std::sync::Arc;

use engine_core::error::Result;
use engine_core::plan::TargetTable;
use engine_core::schema::TableName;

use crate::task::TaskSpec;

/// Sets every identity column of `targets`, and answers how many there are.
pub(crate) async fn set(spec: &TaskSpec, targets: &[Arc<TargetTable>]) -> Result<usize> {
    let with_identity: Vec<_> =
        targets.iter().filter(|target| target.columns.iter().any(|column| column.identity)).collect();
    if with_identity.is_empty() {
        return Ok(0);
    }
    let now = spec.source.catalog(&spec.selection).await?;
    let next: HashMap<&TableName, u64> =
        now.iter().filter_map(|schema| Some((&schema.name, schema.next_identity?))).collect();
    for target in &with_identity {
        spec.target.set_identity(target, next.get(&target.source).copied()).await?;
    }
    Ok(with_identity.len())
}
