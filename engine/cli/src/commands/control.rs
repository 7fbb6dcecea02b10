//! `engine pause`, `resume` and `stop`: asks the process that runs a task.

use serde_json::json;

use engine_core::Result;
use engine_pipeline::control::{Condition, Request, ask};
use engine_pipeline::state;

use super::print;
use crate::arguments::ControlArguments;
use crate::settings::{STATE_DIR, check_name};

pub(super) async fn control(arguments: &ControlArguments, request: Request) -> Result<()> {
    let name = check_name(arguments.name.clone())?;
    if !state::is_known(&arguments.state_dir, &name) {
        return Err(state::unknown_task(&arguments.state_dir, &name));
    }
    let (condition, position) = ask(&arguments.state_dir, &name, &request).await?;
    if arguments.json {
        return print(
            &json!({"task": name, "condition": condition.name(), "position": position}).to_string(),
        );
    }
    let option = if arguments.state_dir.as_os_str() == STATE_DIR {
        String::new()
    } else {
        format!(" --state-dir {}", arguments.state_dir.display())
    };
    print(&text(&name, condition, position.as_deref(), &option))
}

fn text(name: &str, condition: Condition, position: Option<&str>, option: &str) -> String {
    let at = position.map(|position| format!(" at {position}")).unwrap_or_default();
    match condition {
        Condition::Running => format!("{name} goes on{at}"),
        Condition::Paused => format!(
            "{name} is paused{at}: nothing is read or written\nnext: engine resume {name}{option} goes on, engine stop \
             {name}{option} ends it"
        ),
        Condition::CutOver => format!("{name} is cut over{at}"),
        Condition::Stopped => format!("{name} has ended{at}; engine run goes on from there"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_for_people() {
        let all = [Condition::Running, Condition::Paused, Condition::Stopped]
            .map(|condition| text("shop", condition, Some("server=1;gtid=a:1-7"), " --state-dir /s"));
        insta::assert_snapshot!(all.join("\n"), @"
        shop goes on at server=1;gtid=a:1-7
        shop is paused at server=1;gtid=a:1-7: nothing is read or written
        next: engine resume shop --state-dir /s goes on, engine stop shop --state-dir /s ends it
        shop has ended at server=1;gtid=a:1-7; engine run goes on from there
        ");
    }
}
