//! An example of a plugin with row code: masks the e-mail addresses of one table, derives a column
//! from them and drops the rows that a condition names. See README.md for how it is built and run.

use migration_sdk::batch::Row;
use migration_sdk::output::RowOutput;
use migration_sdk::types::TextType;
use migration_sdk::{
    Calls, ColumnSchema, Description, Endpoint, ExtraColumn, ExtraSource, Finding, LogicalType, Planner,
    PluginError, RowFailure, RunContext, TablePlan, TableSchema, Transformer, WriteColumn,
};
use serde::Deserialize;
use sha2::{Digest, Sha256};

/// Ends every masked address; the top-level domain is reserved, so that no mail can ever arrive.
const MASKED_DOMAIN: &str = "@example.invalid";
/// Hexadecimal digits before it: 64 bits keep different addresses different.
const MASKED_DIGITS: usize = 16;

/// Names are those of the table as the plugins before this one in the chain left it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    /// `customers`, or `shop.customers`.
    #[serde(default = "default_table")]
    table: String,
    /// Holds the addresses.
    #[serde(default = "default_email")]
    email: String,
    /// Name of the new column with the domain of each address.
    #[serde(default = "default_domain")]
    domain: String,
    /// Mixed into the masks, so that nobody can find an address by masking guesses.
    #[serde(default)]
    salt: String,
    /// Rows to leave out.
    drop: Option<Condition>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Condition {
    /// A text column.
    column: String,
    /// Rows with this value are left out.
    equals: String,
}

fn default_table() -> String {
    "customers".to_owned()
}

fn default_email() -> String {
    "email".to_owned()
}

fn default_domain() -> String {
    "email_domain".to_owned()
}

struct MaskCustomers {
    config: Config,
}

impl Planner for MaskCustomers {
    type Config = Config;

    fn describe() -> Description {
        Description::new(
            "mask-customers",
            env!("CARGO_PKG_VERSION"),
            "masks e-mail addresses, derives their domain, drops rows",
        )
    }

    fn configure(_: RunContext, config: Config) -> Result<Self, PluginError> {
        Ok(Self { config })
    }

    fn plan_table(&self, schema: &TableSchema, _: &Endpoint, _: &Endpoint) -> Result<TablePlan, PluginError> {
        let mut plan = TablePlan::unchanged(schema);
        let full_name = format!("{}.{}", schema.namespace, schema.name);
        if self.config.table != schema.name && self.config.table != full_name {
            return Ok(plan);
        }
        let (email, column) = text_column(schema, &self.config.email, "/email")?;
        if let LogicalType::Text(TextType { max_chars: Some(length), .. }) = &column.logical
            && (*length as usize) < MASKED_DIGITS + MASKED_DOMAIN.len()
        {
            return Err(PluginError::Unsupported(format!(
                "{full_name}.{}: a masked address does not fit {length} characters",
                self.config.email
            )));
        }
        plan.calls |= Calls::TRANSFORM;
        plan.transform_reads = vec![email];
        plan.transform_writes = vec![WriteColumn::Input(email), WriteColumn::Extra(0)];
        plan.extra_columns.push(ExtraColumn {
            name: self.config.domain.clone(),
            target_type: "text".to_owned(),
            logical: LogicalType::Text(TextType {
                max_chars: None,
                fixed: false,
                charset: None,
                collation: None,
            }),
            nullable: true,
            source: ExtraSource::Computed,
        });
        if let Some(condition) = &self.config.drop {
            let (ordinal, _) = text_column(schema, &condition.column, "/drop/column")?;
            plan.calls |= Calls::FILTER;
            plan.filter_reads = vec![ordinal];
            plan.findings.push(Finding::warning(
                Some(ordinal),
                format!("rows whose {} is '{}' are left out", condition.column, condition.equals),
            ));
        }
        Ok(plan)
    }
}

/// Ordinal and schema of a column that holds text.
fn text_column<'a>(
    schema: &'a TableSchema,
    name: &str,
    setting: &str,
) -> Result<(u32, &'a ColumnSchema), PluginError> {
    let invalid = |why: &str| {
        PluginError::InvalidConfig((
            setting.to_owned(),
            format!("{}.{} {why} {name}", schema.namespace, schema.name),
        ))
    };
    let ordinal = schema.column_index(name).ok_or_else(|| invalid("has no column"))?;
    match schema.columns.get(ordinal as usize) {
        Some(column) if matches!(column.logical, LogicalType::Text(_) | LogicalType::Enumeration(_)) => {
            Ok((ordinal, column))
        }
        _ => Err(invalid("has no text in its column")),
    }
}

impl Transformer for MaskCustomers {
    type Table = ();

    fn open_table(&self, _: &TableSchema, _: &TablePlan) -> Result<(), PluginError> {
        Ok(())
    }

    fn keep(&self, (): &(), row: Row<'_>) -> Result<bool, RowFailure> {
        match &self.config.drop {
            Some(condition) => Ok(row.text(0)? != Some(condition.equals.as_str())),
            None => Ok(true),
        }
    }

    fn transform(&self, (): &(), row: Row<'_>, output: &mut RowOutput<'_>) -> Result<(), RowFailure> {
        let Some(email) = row.text(0)? else {
            output.null(0)?;
            return output.null(1);
        };
        let domain = email.rsplit_once('@').map(|(_, domain)| domain.to_lowercase());
        output.text(0, mask(&self.config.salt, email).as_str())?;
        output.text(1, domain.as_deref())
    }
}

/// The same address always gets the same mask, so that unique keys and joins still hold.
fn mask(salt: &str, email: &str) -> String {
    let digest = Sha256::new().chain_update(salt).chain_update([0]).chain_update(email).finalize();
    let mut masked = hex::encode(digest);
    masked.truncate(MASKED_DIGITS);
    masked.push_str(MASKED_DOMAIN);
    masked
}

migration_sdk::export_plugin!(MaskCustomers: Transformer);

#[cfg(test)]
mod tests;
