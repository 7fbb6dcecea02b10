//! Whether the decoding that the URL of an openGauss asks for can say what the tables have.

use engine_core::finding::{Finding, Severity};
use engine_core::selection::Selection;
use engine_core::{Error, Result};
use tokio_postgres::Client;

use super::finding;
use crate::connect::Server;
use crate::failure::translate;
use crate::family::Family;
use crate::opengauss::compatibility::has_dolphin;
use crate::source::catalog;
use crate::source::mppdb::decoding::Decoding;
use crate::source::mppdb::require::{Settings, sayable};

/// What would be refused when the stream opens.
pub(super) async fn check(
    client: &mut Client,
    server: &Server,
    selection: &Selection,
    decoding: Decoding,
) -> Result<Vec<Finding>> {
    let Decoding::Mppdb { style, .. } = decoding else { return Ok(Vec::new()) };
    let tables = catalog::read(client, Family::OpenGauss, selection).await?;
    let mut refused: Vec<Error> = Vec::new();
    let has_dolphin = has_dolphin(&server.endpoint);
    refused.extend(tables.iter().filter_map(|table| sayable(style, has_dolphin, table).err()));
    if decoding.is_parallel() {
        let settings = Settings::read(client).await?;
        refused.extend(settings.require().err());
        refused.extend(tables.iter().filter_map(|table| settings.require_zone(table).err()));
    }
    Ok(refused.iter().map(failed).collect())
}

fn failed(error: &Error) -> Finding {
    let place: Vec<&str> = error.place().iter().map(|(_, value)| value.as_str()).collect();
    let why = error.why().unwrap_or_default();
    let message = format!("{} ({}): {why}", error.what(), place.join("."));
    finding(Severity::Failed, "decoding", message, error.remedy())
}

/// Whether the task's slot, if it has one already, is of the plugin that is asked for.
pub(super) async fn slot(client: &Client, slot: &str, decoding: Decoding) -> Result<Option<Finding>> {
    let row = client
        .query_opt("SELECT plugin::text FROM pg_catalog.pg_replication_slots WHERE slot_name = $1", &[&slot])
        .await
        .map_err(|error| translate(error, "the source's replication slots can't be read"))?;
    let found: Option<String> = row.and_then(|row| row.get(0));
    Ok(found.filter(|found| found != decoding.plugin()).map(|found| {
        finding(
            Severity::Warning,
            &format!("replication slot {slot}"),
            format!(
                "is of {found}, and the URL asks for {}: a task that began with it does not go on so",
                decoding.plugin()
            ),
            Some(
                "give the URL the decoding that the task began with, or begin a new task with another --name",
            ),
        )
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine_core::ErrorKind;

    #[test]
    fn a_refusal_is_told_with_its_place_and_what_mends_it() {
        let error = Error::new(ErrorKind::Usage, "the style can't")
            .at("table", "shop.orders")
            .at("column", "paid")
            .because("it lies")
            .help("use another");
        let told = failed(&error);
        assert_eq!(told.severity, Severity::Failed);
        assert_eq!(
            told.to_string(),
            "failed: source decoding: the style can't (shop.orders.paid): it lies; use another"
        );
    }
}
