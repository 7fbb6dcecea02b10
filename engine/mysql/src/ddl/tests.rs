use super::*;
use crate::server::{Flavor, GtidMode};

/// A server of the kinds that are tested against.
pub(super) fn server(flavor: Flavor) -> Server {
    let version_number = match flavor {
        Flavor::MySql => (9, 7, 4),
        Flavor::MariaDb => (10, 11, 19),
    };
    Server {
        flavor,
        version: String::new(),
        version_number,
        gtid_mode: GtidMode::MySql,
        gtid_mode_text: "ON".to_owned(),
        server_id: 1,
        server_uuid: None,
        log_bin: true,
        lower_case_table_names: 0,
        logs_cascades: false,
    }
}
