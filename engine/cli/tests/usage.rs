//! Runs the binary where no server is needed: wrong usage, unreachable servers, files that are not
//! what they should be.

use std::path::Path;
use std::process::{Command, Output};

const SOURCE: &str = "mysql://mig:hidden-password@127.0.0.1:1/shop";
const TARGET: &str = "postgres://mig:hidden-password@127.0.0.1:1/shop";

/// Runs `engine` in a directory of its own, with none of its environment variables set.
fn engine(directory: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_engine"));
    for name in ["ENGINE_SOURCE", "ENGINE_TARGET", "ENGINE_STATE_DIR", "ENGINE_LOG", "ENGINE_LOG_FORMAT"] {
        command.env_remove(name);
    }
    command.current_dir(directory).args(arguments).output().expect("the binary starts")
}

/// Runs `engine` and checks the exit code, and that no output holds the password.
fn expect(code: i32, arguments: &[&str]) -> (String, String) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    expect_in(directory.path(), code, arguments)
}

fn expect_in(directory: &Path, code: i32, arguments: &[&str]) -> (String, String) {
    let output = engine(directory, arguments);
    let stdout = String::from_utf8(output.stdout).expect("text on standard output");
    let stderr = String::from_utf8(output.stderr).expect("text on standard error");
    assert_eq!(output.status.code(), Some(code), "{arguments:?}\n{stdout}\n{stderr}");
    assert!(!stdout.contains("hidden-password") && !stderr.contains("hidden-password"), "{stdout}{stderr}");
    (stdout, stderr)
}

fn write(directory: &Path, name: &str, content: impl AsRef<[u8]>) {
    std::fs::write(directory.join(name), content).expect("a writable file");
}

#[test]
fn help_and_version_are_data() {
    let (stdout, stderr) = expect(0, &["--help"]);
    assert!(stdout.contains("engine plan") && stderr.is_empty(), "{stdout}{stderr}");
    assert!(expect(0, &["--version"]).0.starts_with("engine "));
}

#[test]
fn unknown_options_are_usage_errors() {
    let (stdout, stderr) = expect(2, &["run", "--sorce", SOURCE]);
    assert!(stdout.is_empty() && stderr.contains("--sorce"), "{stderr}");
    expect(2, &["run", "--parallelism", "0"]);
    expect(2, &["run", "--mode", "fast"]);
    expect(2, &["run", "--log", "engine=loud"]);
    expect(2, &["dance"]);
}

#[test]
fn without_a_source_the_ways_to_give_one_are_named() {
    let (_, stderr) = expect(2, &["run", "--target", TARGET]);
    insta::assert_snapshot!(stderr, @r#"
    error: there is no source database
    help: give --source URL, or set ENGINE_SOURCE, or write source = "URL" into a file for --task; 'engine run --help' has examples
    "#);
}

#[test]
fn without_a_plugin_the_one_that_is_needed_is_named() {
    let (_, of_run) = expect(2, &["run", "--source", SOURCE, "--target", TARGET]);
    insta::assert_snapshot!(of_run, @"
    error: this migration needs the plugin mysql2og.wasm: MySQL's types have to be translated into PostgreSQL's, and plugins decide how
    help: build it with: cargo xtask plugins
    help: then add: --plugin target/guests/mysql2og.wasm
    ");
    let (_, of_plan) = expect(2, &["plan", "--source", SOURCE, "--target", TARGET]);
    assert_eq!(of_plan, of_run);
    let (_, stderr) = expect(2, &["plan", "--source", SOURCE, "--target", SOURCE]);
    assert!(stderr.contains("needs the plugin mysql2mysql.wasm"), "{stderr}");
}

#[test]
fn schemes_that_have_no_connector_are_usage_errors() {
    let (_, stderr) = expect(2, &["plan", "--source", "opengauss://a@127.0.0.1:1/b", "--target", TARGET]);
    insta::assert_snapshot!(stderr, @"
    error: rows can't be moved from PostgreSQL or openGauss to PostgreSQL or openGauss yet
    help: targets of a postgres:// or opengauss:// source are mysql:// and mariadb://
    ");
    let (_, stderr) = expect(2, &["plan", "--source", "oracle://a:hidden-password@h/b", "--target", TARGET]);
    assert!(stderr.contains("--source") && stderr.contains("oracle"), "{stderr}");
}

#[test]
fn an_unreachable_server_is_a_failure_that_names_it() {
    let arguments = ["run", "--source", SOURCE, "--target", TARGET, "--plugin", "mysql2og.wasm"];
    let (stdout, stderr) = expect(1, &arguments);
    assert!(stdout.is_empty() && stderr.starts_with("error: "), "{stdout}{stderr}");
    assert!(stderr.contains("127.0.0.1:1"), "{stderr}");
}

#[test]
fn errors_of_a_run_with_json_are_its_last_event() {
    let arguments = ["run", "--json", "--source", SOURCE, "--target", TARGET, "--plugin", "mysql2og.wasm"];
    let (stdout, _) = expect(1, &arguments);
    let last = stdout.lines().last().expect("an event");
    let event: serde_json::Value = serde_json::from_str(last).expect("JSON");
    assert_eq!(
        (&event["event"], &event["kind"], &event["exit_code"]),
        (&"error".into(), &"connection".into(), &1.into())
    );

    let (stdout, _) = expect(2, &["run", "--json", "--no-such-option"]);
    let event: serde_json::Value = serde_json::from_str(stdout.trim()).expect("JSON");
    assert_eq!((&event["kind"], &event["exit_code"]), (&"usage".into(), &2.into()));
}

#[test]
fn errors_of_other_commands_with_json_stay_off_standard_output() {
    let (stdout, stderr) = expect(2, &["plan", "--json", "--source", SOURCE, "--target", TARGET]);
    assert!(stdout.is_empty(), "{stdout}");
    let event: serde_json::Value = serde_json::from_str(stderr.trim()).expect("JSON");
    assert_eq!(event["kind"], "usage");
}

#[test]
fn mistakes_in_files_are_named_with_file_and_line() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    write(directory.path(), "t.toml", format!("source = \"{SOURCE}\"\nplugin_config = 1\n"));
    let (_, stderr) = expect_in(directory.path(), 2, &["run", "--task", "t.toml"]);
    assert!(stderr.contains("file t.toml") && stderr.contains("line 2"), "{stderr}");

    write(directory.path(), "t.toml", "source = \"mysql://a:${NO_SUCH_VARIABLE}@h/\"\n");
    let (_, stderr) = expect_in(directory.path(), 2, &["run", "--task", "t.toml"]);
    assert!(stderr.contains("NO_SUCH_VARIABLE") && stderr.contains("t.toml"), "{stderr}");

    write(directory.path(), "c.json", "{\"mysql2og\": {\n]}");
    let arguments =
        ["plan", "--source", SOURCE, "--target", TARGET, "--plugin", "p.wasm", "--plugin-config", "c.json"];
    let (_, stderr) = expect_in(directory.path(), 2, &arguments);
    assert!(stderr.contains("file c.json") && stderr.contains("line 2"), "{stderr}");

    let (_, stderr) = expect_in(directory.path(), 2, &["run", "--task", "missing.toml"]);
    assert!(stderr.contains("missing.toml"), "{stderr}");
}

#[test]
fn names_can_not_leave_the_state_directory() {
    let (_, stderr) = expect(2, &["run", "--source", SOURCE, "--target", TARGET, "--name", "../x"]);
    assert!(stderr.contains("'../x' can't be the name of a task"), "{stderr}");
    expect(2, &["status", "a/b"]);
}

#[test]
fn rows_set_aside_without_tasks() {
    let (stdout, stderr) = expect(1, &["dead-letter", "list", "shop"]);
    assert!(stdout.is_empty() && stderr.contains("there is no task 'shop'"), "{stderr}");
    let arguments = ["dead-letter", "retry", "shop", "--source", SOURCE, "--target", TARGET];
    let (_, stderr) = expect(1, &[&arguments[..], &["--plugin", "p.wasm"]].concat());
    assert!(stderr.contains("there is no task 'shop'"), "{stderr}");
    expect(2, &[&arguments[..], &["--name", "other"]].concat());
    let (_, stderr) = expect(1, &["dead-letter", "retry", "shop"]);
    assert!(stderr.contains("there is no task 'shop'"), "{stderr}");
    expect(2, &["dead-letter", "list", "../shop"]);

    let directory = tempfile::tempdir().expect("a temporary directory");
    begun(directory.path(), "shop");
    let list = |arguments: &[&str]| {
        expect_in(directory.path(), 0, &[&["dead-letter", "list", "shop"], arguments].concat()).0
    };
    assert_eq!(list(&[]), "shop: no row is set aside\n");
    assert_eq!(list(&["--json"]), "[]\n");
}

/// Leaves what a run of a task leaves in any case.
fn begun(directory: &Path, task: &str) {
    let task = directory.join("engine-state").join(task);
    std::fs::create_dir_all(&task).expect("a writable directory");
    write(&task, "lock", "");
}

#[test]
fn every_command_says_of_an_unknown_task_which_there_are() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let commands: [&[&str]; 11] = [
        &["status", "shpo"],
        &["pause", "shpo"],
        &["resume", "shpo"],
        &["stop", "shpo"],
        &["cutover", "shpo", "--yes"],
        &["verify", "shpo"],
        &["verify", "shpo", "--way-back"],
        &["reverse", "shpo"],
        &["drop", "shpo"],
        &["dead-letter", "list", "shpo"],
        &["dead-letter", "retry", "shpo"],
    ];
    for command in commands {
        let (_, stderr) = expect_in(directory.path(), 1, command);
        assert!(stderr.contains("there is no task 'shpo' in this state directory"), "{stderr}");
        assert!(stderr.contains("engine run begins one"), "{stderr}");
    }
    begun(directory.path(), "shop");
    begun(directory.path(), "books");
    for command in commands {
        let (_, stderr) = expect_in(directory.path(), 1, command);
        assert!(stderr.contains("its tasks are: books, shop"), "{stderr}");
        assert!(stderr.contains("--state-dir"), "{stderr}");
    }
    // One that is there lacks something else.
    for command in ["verify", "reverse", "drop"] {
        let (_, stderr) = expect_in(directory.path(), 2, &[command, "shop"]);
        assert!(stderr.contains("give the options that the task was run with"), "{stderr}");
    }
    let (_, stderr) = expect_in(directory.path(), 1, &["cutover", "shop", "--yes"]);
    assert!(stderr.contains("no engine is running this task"), "{stderr}");
}

#[test]
fn a_limit_of_no_rows_makes_no_sense() {
    let (_, stderr) = expect(2, &["run", "--dead-letter-limit", "0"]);
    assert!(stderr.contains("'none' stands for any number"), "{stderr}");
}

#[test]
fn status_without_tasks() {
    assert_eq!(expect(0, &["status"]).0, "no tasks in ./engine-state\n");
    assert_eq!(expect(0, &["status", "--json"]).0, "[]\n");
    let (stdout, stderr) = expect(1, &["status", "shop"]);
    assert!(stdout.is_empty() && stderr.contains("there is no task 'shop'"), "{stderr}");
}

#[test]
fn what_is_no_plugin_is_refused() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    write(directory.path(), "module.wasm", b"\0asm\x01\0\0\0");
    write(directory.path(), "text.wasm", "not WebAssembly");
    let (_, stderr) = expect_in(directory.path(), 1, &["plugin", "inspect", "module.wasm"]);
    assert!(stderr.contains("core WebAssembly module") && stderr.contains("module.wasm"), "{stderr}");
    expect_in(directory.path(), 1, &["plugin", "inspect", "text.wasm"]);
    expect_in(directory.path(), 2, &["plugin", "inspect", "missing.wasm"]);
    let (_, stderr) = expect_in(directory.path(), 1, &["plugin", "build", "no-such-directory"]);
    assert!(stderr.contains("no-such-directory"), "{stderr}");
}
