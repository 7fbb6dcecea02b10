//! `engine precheck`: what has to be mended before a run, for people or as JSON.

use serde_json::json;

use engine_core::finding::{Finding, Severity};
use engine_core::{Error, ErrorKind, Result};
use engine_pipeline::precheck::{Item, Precheck, Side, failed, precheck as check};

use super::{print, to_json};
use crate::arguments::PrecheckArguments;
use crate::render::units::{count, plural};
use crate::render::{Gathered, Screen, gathered};
use crate::settings::Settings;
use crate::signals::{stop_on_signal, unless_stopped};
use crate::{connect, environment, exit};

/// Columns of the screen that a message may take.
const WIDTH: usize = 100;
/// Longest name of a check before its message begins on a line of its own.
const SUBJECT_WIDTH: usize = 26;

pub(super) async fn precheck(arguments: PrecheckArguments, screen: &Screen) -> Result<u8> {
    let settings = Settings::gather(arguments.task, None, &environment::variable)?;
    connect::check(&settings)?;
    let labels = (settings.source.to_string(), settings.target.to_string());
    let stop = stop_on_signal(screen)?;
    let list = unless_stopped(&stop, async {
        match Box::pin(connect::connect(settings)).await {
            Ok(spec) => Box::pin(check(&spec)).await,
            Err(error) if matches!(error.kind(), ErrorKind::Usage | ErrorKind::Interrupted) => Err(error),
            // That a server can't be reached is what is found.
            Err(error) => {
                let side = side_of(&error, &labels.1);
                Ok(Precheck {
                    items: vec![Item { side, asks: false, finding: failed("connection", &error) }],
                })
            }
        }
    })
    .await?;
    let count = |severity| list.count(severity);
    if arguments.json {
        print(&to_json(&json!({
            "source": labels.0,
            "target": labels.1,
            "passed": count(Severity::Pass),
            "notes": count(Severity::Note),
            "warnings": count(Severity::Warning),
            "failed": count(Severity::Failed),
            "items": list.items,
        }))?)?;
    } else {
        print(&text(&list, &labels.0, &labels.1))?;
    }
    Ok(code(&list))
}

/// The side that an error is about, which names the server that it had to do with.
fn side_of(error: &Error, target: &str) -> Side {
    let is_target = error.place().iter().any(|(_, value)| value == target);
    if is_target { Side::Target } else { Side::Source }
}

fn code(list: &Precheck) -> u8 {
    if list.count(Severity::Failed) > 0 {
        exit::FAILED
    } else if list.count(Severity::Warning) > 0 {
        exit::WARNINGS
    } else {
        exit::DONE
    }
}

/// The list for people: by side, what matters most first.
fn text(list: &Precheck, source: &str, target: &str) -> String {
    let sides = [
        (Side::Source, format!("SOURCE  {source}")),
        (Side::Tables, "TABLES".to_owned()),
        (Side::Target, format!("TARGET  {target}")),
    ];
    let mut parts = Vec::new();
    for (side, heading) in sides {
        let mut findings: Vec<&Finding> =
            list.items.iter().filter(|item| item.side == side).map(|item| &item.finding).collect();
        if findings.is_empty() {
            continue;
        }
        findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
        let findings = gathered(findings);
        let width = findings.iter().map(|group| subject(group.finding).chars().count()).max().unwrap_or(0);
        let lines = findings.iter().flat_map(|group| lines(group, width.min(SUBJECT_WIDTH)));
        parts.push([heading].into_iter().chain(lines).collect::<Vec<_>>().join("\n"));
    }
    parts.push(verdict(list));
    parts.join("\n\n")
}

/// The heading says which side it is.
fn subject(finding: &Finding) -> &str {
    let subject = finding.subject.as_str();
    subject.strip_prefix("source ").or_else(|| subject.strip_prefix("target ")).unwrap_or(subject)
}

fn lines(group: &Gathered<'_>, width: usize) -> Vec<String> {
    let finding = group.finding;
    let severity = match finding.severity {
        Severity::Pass => "pass",
        Severity::Note => "note",
        Severity::Warning => "WARNING",
        Severity::Failed => "FAILED",
    };
    let subject = subject(finding);
    let indent = " ".repeat(2 + 7 + 2 + width + 2);
    let space = WIDTH.saturating_sub(indent.len()).max(30);
    let mut texts = wrapped(&printable(&finding.message), space);
    for fix in finding.fix.iter().flat_map(|fix| fix.lines()) {
        let mut fix = wrapped(&printable(&format!("fix: {fix}")), space);
        texts.append(&mut fix);
    }
    texts.extend(group.others().into_iter().flat_map(|others| wrapped(&printable(&others), space)));
    let mut lines = Vec::new();
    let mut texts = texts.into_iter();
    if subject.chars().count() <= width {
        let first = texts.next().unwrap_or_default();
        lines.push(format!("  {severity:<7}  {subject:<width$}  {first}"));
    } else {
        lines.push(format!("  {severity:<7}  {subject}"));
    }
    lines.extend(texts.map(|text| format!("{indent}{text}")));
    lines
}

/// A name in a database may hold control characters, which must not reach the terminal.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// Breaks a text between words; a longer word has a line to itself.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

fn verdict(list: &Precheck) -> String {
    let of = |severity| list.count(severity) as u64;
    let (warnings, failures) = (of(Severity::Warning), of(Severity::Failed));
    let mut subjects: Vec<&str> =
        list.items.iter().filter(|item| item.asks).map(|item| item.finding.subject.as_str()).collect();
    let asked = subjects.len();
    subjects.dedup();
    let next = match (failures, warnings) {
        (1.., _) => "A run would stop before anything is written: mend what failed.",
        (0, 1..) if asked > 0 => &format!(
            "A run is possible. It asks about {asked} of the warnings, or takes --accept-warnings: {}.",
            subjects.join(", ")
        ),
        (0, 1..) => "A run is possible. Read the warnings before you begin.",
        (0, 0) => "Nothing stands in the way of a run.",
    };
    format!(
        "{} passed, {}, {}, {} failed. {next}",
        count(of(Severity::Pass)),
        plural(of(Severity::Note), "note", "notes"),
        plural(warnings, "warning", "warnings"),
        count(failures),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(side: Side, severity: Severity, subject: &str, message: &str, fix: Option<&str>) -> Item {
        let finding = Finding {
            severity,
            subject: subject.into(),
            message: message.into(),
            fix: fix.map(str::to_owned),
        };
        let asks = subject.starts_with("target ") && severity == Severity::Warning;
        Item { side, asks, finding }
    }

    fn list() -> Precheck {
        let long = "3 not moved: shop.v1, shop.v2, shop.v3; queries that read them fail on the target";
        Precheck {
            items: vec![
                item(Side::Source, Severity::Pass, "source version", "MySQL 9.7.4", None),
                item(
                    Side::Source,
                    Severity::Warning,
                    "source views",
                    long,
                    Some("write them anew for the target"),
                ),
                item(
                    Side::Source,
                    Severity::Failed,
                    "source binlog_format",
                    "is MIXED, must be ROW: other formats log statements, not rows",
                    Some("SET GLOBAL binlog_format = 'ROW'"),
                ),
                item(Side::Tables, Severity::Pass, "plan", "12 tables have a place in the target", None),
                item(
                    Side::Tables,
                    Severity::Note,
                    "shop.a_table_with_a_long_name.a_column",
                    "ON UPDATE CURRENT_TIMESTAMP\u{1b}[2J is not carried over",
                    None,
                ),
                item(Side::Target, Severity::Pass, "target version", "PostgreSQL 18.1", None),
            ],
        }
    }

    #[test]
    fn a_list_for_people() {
        insta::assert_snapshot!(text(&list(), "mysql://mig@db1:3306/shop", "postgres://mig@pg1:5432/shop"));
    }

    #[test]
    fn what_does_not_answer_is_shown_on_its_side() {
        let error = |server: &str| Error::new(ErrorKind::Connection, "can't be reached").at("server", server);
        let target = "mariadb://mig@db2/shop";
        assert_eq!(side_of(&error("mysql://mig@db1/shop"), target), Side::Source);
        assert_eq!(side_of(&error(target), target), Side::Target);
    }

    #[test]
    fn the_code_tells_the_worst() {
        let mut list = list();
        assert_eq!(code(&list), 1);
        list.items.retain(|item| item.finding.severity != Severity::Failed);
        assert_eq!(code(&list), 3);
        assert!(verdict(&list).ends_with("Read the warnings before you begin."));
        list.items.push(item(Side::Target, Severity::Warning, "target version", "newer than 18", None));
        assert!(
            verdict(&list)
                .ends_with("asks about 1 of the warnings, or takes --accept-warnings: target version.")
        );
        list.items.retain(|item| item.finding.severity != Severity::Warning);
        assert_eq!(code(&list), 0);
    }
}
