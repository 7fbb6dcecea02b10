//! Made-up reports that the tests of the displays share.

use engine_core::finding::{Finding, Severity};
use engine_pipeline::progress::{Phase, PhaseTimes, Report, TableProgress};

/// When the made-up task began, milliseconds since 1970.
pub(crate) const START_MS: u64 = 1_800_000_000_000;

fn table(name: &str, estimate: u64, rows: u64, copied: bool) -> TableProgress {
    TableProgress {
        table: format!("shop.{name}"),
        target: format!("public.{name}"),
        rows_estimate: Some(estimate),
        rows_copied: rows,
        bytes_copied: rows * 100,
        copied,
        changes_applied: 0,
        rows_filtered: 0,
        rows_dead: 0,
    }
}

fn times(phase: Phase, from: u64, to: Option<u64>) -> PhaseTimes {
    PhaseTimes { phase, started_ms: START_MS + from, finished_ms: to.map(|to| START_MS + to) }
}

/// Checks are being made.
pub(crate) fn precheck() -> Report {
    Report {
        task: "shop-to-postgres".into(),
        source: "mysql://mig@db1:3306/shop".into(),
        target: "postgres://mig@pg1:5432/postgres".into(),
        phase: Phase::Precheck,
        phases: vec![times(Phase::Precheck, 0, None)],
        resumed: false,
        tables: Vec::new(),
        builds_total: 0,
        builds_done: 0,
        building: Vec::new(),
        transactions_applied: 0,
        lag_ms: None,
        position: None,
        applied_at_ms: None,
        log_kept_until_ms: None,
        findings: Vec::new(),
        at_ms: START_MS + 100,
        pid: Some(4711),
        paused: false,
        waits_for: None,
        cut_over: None,
        check: None,
        error: None,
    }
}

/// Rows are being copied.
pub(crate) fn snapshot() -> Report {
    Report {
        phase: Phase::Snapshot,
        phases: vec![
            times(Phase::Precheck, 0, Some(400)),
            times(Phase::Schema, 400, Some(1000)),
            times(Phase::Snapshot, 1000, None),
        ],
        tables: vec![
            table("orders", 2_000_000, 500_000, false),
            table("customers", 100_000, 98_304, true),
            table("items", 8_000_000, 0, false),
        ],
        findings: vec![
            Finding {
                severity: Severity::Pass,
                subject: "source binlog_format".into(),
                message: "ROW".into(),
                fix: None,
            },
            Finding {
                severity: Severity::Warning,
                subject: "source binlog_expire_logs_seconds".into(),
                message: "the log is kept for one hour only".into(),
                fix: Some("SET GLOBAL binlog_expire_logs_seconds = 86400".into()),
            },
        ],
        at_ms: START_MS + 21_000,
        ..precheck()
    }
}

/// Changes are being applied.
pub(crate) fn streaming() -> Report {
    let mut report = snapshot();
    report.phase = Phase::Streaming;
    report.phases.pop();
    report.phases.extend([
        times(Phase::Snapshot, 1000, Some(101_000)),
        times(Phase::CatchUp, 101_000, Some(111_000)),
        times(Phase::Indexes, 111_000, Some(141_000)),
        times(Phase::Streaming, 141_000, None),
    ]);
    report.tables = vec![
        table("orders", 2_000_000, 2_012_345, true),
        table("customers", 100_000, 98_304, true),
        table("items", 8_000_000, 7_999_999, true),
    ];
    report.tables[0].changes_applied = 12_000;
    report.tables[2].changes_applied = 345;
    report.tables[2].rows_filtered = 12;
    report.tables[2].rows_dead = 3;
    report.builds_total = 5;
    report.builds_done = 5;
    report.transactions_applied = 3211;
    report.lag_ms = Some(300);
    report.position = Some("6e2d4d3c-0000-0000-0000-000000000001:1-3211".into());
    report.at_ms = START_MS + 181_000;
    report
}

/// Everything is done.
pub(crate) fn done() -> Report {
    let mut report = streaming();
    if let Some(last) = report.phases.last_mut() {
        last.finished_ms = Some(report.at_ms);
    }
    report.phase = Phase::Done;
    report.phases.push(times(Phase::Done, 181_000, None));
    report.lag_ms = Some(0);
    report
}
