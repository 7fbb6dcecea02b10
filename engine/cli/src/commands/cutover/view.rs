//! What a cut-over looks like: a line for each step, or an event.

use serde_json::{Value, json};
use std::time::{Duration, Instant};

use engine_core::Result;
use engine_pipeline::cut_over::{Completed, Event, Progressed, Step};
use engine_pipeline::progress::now_ms;

use crate::commands::print;
use crate::render::Screen;
use crate::render::units::duration_ms;

/// Time between two lines about the same wait.
const WAITING: Duration = Duration::from_secs(5);

/// Shows one cut-over.
pub(super) struct View {
    task: String,
    json: bool,
    screen: Screen,
    /// The step that is under way, and when it was last spoken of.
    current: Option<(Step, Instant)>,
}

impl View {
    pub(super) fn new(task: &str, json: bool, screen: Screen) -> Self {
        Self { task: task.to_owned(), json, screen, current: None }
    }

    /// Shows a step.
    pub(super) fn event(&mut self, event: &Event) -> Result<()> {
        if self.json {
            return print(&with_task(json!(event), &self.task).to_string());
        }
        let Event::Step { step, state, detail, took_ms, .. } = event else { return Ok(()) };
        if *state != Progressed::Underway {
            self.current = None;
            return print(&line(*step, *state, detail, *took_ms));
        }
        match self.current {
            Some((current, told)) if current == *step => {
                if told.elapsed() >= WAITING {
                    self.current = Some((*step, Instant::now()));
                    self.screen.line(&format!("{:<12} {detail}", step.name()));
                }
            }
            _ => self.current = Some((*step, Instant::now())),
        }
        Ok(())
    }

    /// Shows the end.
    pub(super) fn completed(&self, completed: &Completed) -> Result<()> {
        if self.json {
            let event = Event::CutOver(completed.clone());
            return print(&with_task(json!(event), &self.task).to_string());
        }
        print(&summary(completed))
    }
}

fn with_task(mut event: Value, task: &str) -> Value {
    if let Value::Object(fields) = &mut event {
        fields.insert("task".to_owned(), json!(task));
        fields.insert("at_ms".to_owned(), json!(now_ms()));
    }
    event
}

fn line(step: Step, state: Progressed, detail: &str, took_ms: u64) -> String {
    let mark = if state == Progressed::Failed { "FAILED: " } else { "" };
    format!("{:<12} {:>7}  {mark}{detail}", step.name(), duration_ms(took_ms))
}

fn summary(completed: &Completed) -> String {
    let Completed { task, source, target, position, way_back, frozen_ms, undo } = completed;
    let of_source = match undo {
        Some(statement) => format!(
            "the source {source} is read-only; leave it so until you are sure,\n     then or to go back: {statement}"
        ),
        None => format!("keep writes away from the source {source} until you are sure"),
    };
    let way_back = match way_back {
        Some(_) => format!(
            "\n  4. to have {source} follow, so that you can go back: engine reverse, with the options of the task\n     \
             (to do without, so that the target need not keep its log for it: engine drop --way-back)"
        ),
        None => String::new(),
    };
    format!(
        "\n{task} is cut over, after {} without writes.\n  position  {position}\n\nnow:\n  \
         1. point the applications at {target}\n  \
         2. {of_source}\n  \
         3. no engine runs this task any more; its end is on record in _migration of the target{way_back}",
        duration_ms(*frozen_ms)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_and_end_for_people() {
        let mut text = [
            line(Step::Ready, Progressed::Done, "3 tables, nothing speaks against it", 80),
            line(
                Step::StillQuiet,
                Progressed::Failed,
                "the source was written to after writes were stopped",
                12,
            ),
            line(
                Step::RollBack,
                Progressed::Done,
                "the source takes writes again, and the task follows it",
                61_000,
            ),
        ]
        .join("\n");
        let completed = Completed {
            task: "shop".into(),
            source: "mysql://mig@db1:3306/shop".into(),
            target: "postgres://mig@pg1:5432/shop".into(),
            position: "server=1;gtid=a:1-7".into(),
            frozen_ms: 2300,
            undo: Some("SET GLOBAL read_only = OFF".into()),
            way_back: Some("system=7;slot=engine_shop_back_1;lsn=0/1".into()),
        };
        text.push('\n');
        text.push_str(&summary(&completed));
        text.push('\n');
        text.push_str(&summary(&Completed { undo: None, way_back: None, ..completed }));
        insta::assert_snapshot!(text);
    }
}
