//! From a URL's scheme to a connector: the only place of this crate that names databases.

use std::sync::Arc;

use engine_core::endpoint::EndpointUrl;
use engine_core::source::Source;
use engine_core::target::Target;
use engine_core::{Error, ErrorKind, Result};
use engine_mysql::{MysqlSource, MysqlTarget, ReplicatedSource};
use engine_pipeline::task::TaskSpec;
use engine_postgres::{PostgresSource, PostgresTarget};

use crate::settings::{Settings, stands};

/// The connector that reads a scheme.
#[derive(Clone, Copy)]
enum SourceKind {
    Mysql,
    Postgres,
}

/// The connector that writes a scheme.
#[derive(Clone, Copy)]
enum TargetKind {
    Mysql,
    Postgres,
}

/// Checks that the two databases can be what they are to be, and that somebody translates between
/// them. Opens no connection.
pub(crate) fn check(settings: &Settings) -> Result<()> {
    let source = source_kind(&settings.source)?;
    if let Some(replica) = &settings.read_from
        && !matches!((source_kind(replica)?, source), (SourceKind::Mysql, SourceKind::Mysql))
    {
        let error = Error::new(ErrorKind::Usage, "rows can be read from a replica of MySQL and MariaDB only");
        return Err(stands(error, "read-from", settings.read_from_file.as_deref()));
    }
    let target = target_kind(&settings.target)?;
    match (source, target) {
        (SourceKind::Mysql, TargetKind::Postgres) if settings.plugins.is_empty() => {
            Err(Error::new(ErrorKind::Usage, "this migration needs the plugin mysql2og.wasm")
                .because("MySQL's types have to be translated into PostgreSQL's, and plugins decide how")
                .help(
                    "build it with: cargo xtask plugins\n\
                     then add: --plugin target/guests/mysql2og.wasm",
                ))
        }
        (SourceKind::Mysql, TargetKind::Mysql) if settings.plugins.is_empty() => Err(Error::new(
            ErrorKind::Usage,
            "this migration needs the plugin mysql2mysql.wasm",
        )
        .because(
            "versions of MySQL and MariaDB differ in their types, and plugins decide what becomes of them",
        )
        .help(
            "build it with: cargo xtask plugins\n\
                     then add: --plugin target/guests/mysql2mysql.wasm",
        )),
        (SourceKind::Postgres, TargetKind::Mysql) if settings.plugins.is_empty() => {
            Err(Error::new(ErrorKind::Usage, "this migration needs the plugin og2mysql.wasm")
                .because("PostgreSQL's types have to be translated into MySQL's, and plugins decide how")
                .help(
                    "build it with: cargo xtask plugins\n\
                     then add: --plugin target/guests/og2mysql.wasm",
                ))
        }
        (SourceKind::Postgres, TargetKind::Postgres) => Err(Error::new(
            ErrorKind::Usage,
            "rows can't be moved from PostgreSQL or openGauss to PostgreSQL or openGauss yet",
        )
        .help("targets of a postgres:// or opengauss:// source are mysql:// and mariadb://")),
        (SourceKind::Mysql, TargetKind::Mysql | TargetKind::Postgres)
        | (SourceKind::Postgres, TargetKind::Mysql) => Ok(()),
    }
}

/// Connects both sides and completes the task.
pub(crate) async fn connect(settings: Settings) -> Result<TaskSpec> {
    let (source_kind, target_kind) = (source_kind(&settings.source)?, target_kind(&settings.target)?);
    let source: Arc<dyn Source> = match source_kind {
        SourceKind::Mysql => match settings.read_from {
            Some(replica) => Arc::new(ReplicatedSource::connect(settings.source.clone(), replica).await?),
            None => Arc::new(MysqlSource::connect(settings.source.clone()).await?),
        },
        SourceKind::Postgres => {
            let target = settings.target.to_string();
            Arc::new(PostgresSource::connect(settings.source.clone(), &settings.name, &target).await?)
        }
    };
    let target: Arc<dyn Target> = match target_kind {
        TargetKind::Mysql => Arc::new(MysqlTarget::connect(settings.target.clone()).await?),
        TargetKind::Postgres => Arc::new(PostgresTarget::connect(&settings.target).await?),
    };
    Ok(TaskSpec {
        name: settings.name,
        source,
        target,
        source_label: settings.source.to_string(),
        target_label: settings.target.to_string(),
        selection: settings.selection,
        mode: settings.mode,
        until: settings.until,
        plugins: settings.plugins,
        inverse: None,
        plugin_config: settings.plugin_config,
        parallelism: settings.parallelism,
        dead_letter_limit: settings.dead_letter_limit,
        structure_by_hand: Vec::new(),
        state_dir: settings.state_dir,
    })
}

fn source_kind(url: &EndpointUrl) -> Result<SourceKind> {
    match url.scheme.as_str() {
        "mysql" | "mariadb" => Ok(SourceKind::Mysql),
        "postgres" | "opengauss" => Ok(SourceKind::Postgres),
        other => Err(Error::new(ErrorKind::Usage, format!("'{other}' can't be a source"))
            .at("option", "--source")
            .because("there is no connector that reads it")
            .help("sources are mysql://, mariadb://, postgres:// and opengauss://; were --source and --target swapped?")),
    }
}

fn target_kind(url: &EndpointUrl) -> Result<TargetKind> {
    match url.scheme.as_str() {
        "mysql" | "mariadb" => Ok(TargetKind::Mysql),
        "postgres" | "opengauss" => Ok(TargetKind::Postgres),
        other => Err(Error::new(ErrorKind::Usage, format!("'{other}' can't be a target"))
            .at("option", "--target")
            .because("there is no connector that writes it")
            .help("targets are postgres://, opengauss://, mysql:// and mariadb://; were --source and --target swapped?")),
    }
}
