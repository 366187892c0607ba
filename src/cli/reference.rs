//! docs/cli.md has every command and option of the parser, and every exit status, event, setting and environment variable of the
//! sources, and no others.

#[allow(dead_code, reason = "tests that run the commands need the rest")]
#[path = "../../tests/harness/documents.rs"]
mod documents;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use clap::error::ErrorKind;
use clap::{Arg, Command, CommandFactory, Parser};

use super::Cli;
use ibuild::Settings;

/// Around the part of the document that is written by this test.
const MARKS: [&str; 2] = ["<!-- commands: written by a test -->\n", "<!-- end of the commands -->"];

fn document_path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/cli.md")
}

fn document() -> String {
    fs::read_to_string(document_path()).expect("the document can be read")
}

/// Rows of the tables in a section, by what stands between backticks in their first cell.
fn rows(section: &str) -> BTreeMap<String, Vec<String>> {
    let heading = format!("\n## {section}\n");
    let document = document();
    let (_, rest) = document.split_once(&heading).unwrap_or_else(|| panic!("there is no section {section}"));
    let text = rest.split("\n## ").next().unwrap_or_default();
    let cells = |line: &str| line.trim_matches('|').split(" | ").map(|cell| cell.trim().to_owned()).collect();
    let rows = text.lines().filter(|line| line.starts_with("| `")).map(|line| -> (String, Vec<String>) {
        let cells: Vec<String> = cells(line);
        (cells[0].trim_matches('`').to_owned(), cells)
    });
    rows.collect()
}

fn keys(section: &str) -> BTreeSet<String> {
    rows(section).into_keys().collect()
}

/// The program's own sources without their tests.
fn sources() -> String {
    let mut open = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
    let mut text = String::new();
    while let Some(path) = open.pop() {
        if path.is_dir() {
            let entries = fs::read_dir(&path).expect("sources can be listed");
            open.extend(entries.map(|entry| entry.expect("an entry of a directory").path()));
        } else if !path.ends_with("src/cli/reference.rs") {
            let source = fs::read_to_string(&path).expect("sources are text");
            text += source.split("\n#[cfg(test)]\nmod ").next().unwrap_or_default();
        }
    }
    assert!(text.len() > 100_000, "the sources are not where this test looks");
    text
}

/// Texts between double quotes.
fn literals(code: &str) -> impl Iterator<Item = &str> {
    code.split('"').skip(1).step_by(2)
}

/// What stands between two marks, each time.
fn between<'t>(text: &'t str, start: &str, end: &str) -> Vec<&'t str> {
    text.split(start).skip(1).map(|rest| rest.split(end).next().unwrap_or_default()).collect()
}

/// An argument as one types it: `-t`, `--target TARGET`.
fn spelled(arg: &Arg) -> String {
    let names = arg.get_value_names().unwrap_or_default();
    let mut value = names.iter().map(|name| name.to_string()).collect::<Vec<_>>().join(" ");
    if arg.is_positional() || arg.get_num_args().is_some_and(|count| count.max_values() > 1) {
        let is_list = arg.get_num_args().is_some_and(|count| count.max_values() > 1);
        value += if is_list { "..." } else { "" };
    }
    if arg.is_positional() {
        return format!("`{value}`");
    }
    let value = if arg.get_action().takes_values() { format!(" {value}") } else { String::new() };
    let short = arg.get_short().map(|short| format!("-{short}"));
    let long = arg.get_long().map(|long| format!("--{long}"));
    match (short, long) {
        (Some(short), Some(long)) => format!("`{short}`, `{long}{value}`"),
        (short, long) => format!("`{}{value}`", short.or(long).expect("an option has a name")),
    }
}

/// What an argument is for, with what `--help` says besides: whether it is required, values, default, variable.
fn explained(arg: &Arg) -> String {
    let mut text = arg.get_help().map(ToString::to_string).unwrap_or_default().replace('|', "\\|");
    if !arg.get_action().takes_values() {
        return text;
    }
    if arg.is_positional() && arg.is_required_set() {
        text += " (required)";
    }
    let list =
        |words: Vec<String>| words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ");
    let values: Vec<_> = arg.get_possible_values().iter().map(|value| value.get_name().to_owned()).collect();
    if !values.is_empty() {
        write!(text, ". Values: {}", list(values)).expect("a text can be written");
    }
    let defaults = arg.get_default_values().iter().map(|value| value.to_string_lossy().into_owned());
    let defaults: Vec<_> = defaults.collect();
    if !defaults.is_empty() {
        write!(text, ". Default: {}", list(defaults)).expect("a text can be written");
    }
    if let Some(variable) = arg.get_env() {
        write!(text, ". Variable: `{}`", variable.to_string_lossy()).expect("a text can be written");
    }
    text
}

/// The section of a command and of those below it. Options of all commands are told once.
fn written(command: &Command, path: &str, text: &mut String) {
    let is_top = !path.contains(' ');
    let heading = if is_top { "Options of all commands".to_owned() } else { format!("`{path}`") };
    let about = if is_top { None } else { command.get_about() };
    write!(text, "\n### {heading}\n").expect("a text can be written");
    if let Some(about) = about {
        writeln!(text, "\n{about}.").expect("a text can be written");
    }
    let shown = |arg: &&Arg| {
        is_top == arg.is_global_set()
            && !arg.is_hide_set()
            && arg.get_id() != "help"
            && !(is_top && arg.get_id() == "version")
    };
    let arguments: Vec<_> = command.get_arguments().filter(shown).collect();
    if !arguments.is_empty() {
        text.push_str("\n| argument | what it does |\n|---|---|\n");
        for arg in arguments {
            writeln!(text, "| {} | {} |", spelled(arg), explained(arg)).expect("a text can be written");
        }
    }
    for sub in command.get_subcommands().filter(|sub| sub.get_name() != "help") {
        written(sub, &format!("{path} {}", sub.get_name()), text);
    }
}

#[test]
fn it_has_the_commands_and_options_of_the_parser() {
    let mut command = Cli::command();
    command.build();
    let mut expected = String::new();
    written(&command, "ibuild", &mut expected);
    let document = document();
    let (before, rest) = document.split_once(MARKS[0]).expect("the mark of the beginning");
    let (found, after) = rest.split_once(MARKS[1]).expect("the mark of the end");
    let expected = format!("{expected}\n");
    if std::env::var_os("IBUILD_BLESS").is_some() {
        let text = format!("{before}{}{expected}{}{after}", MARKS[0], MARKS[1]);
        fs::write(document_path(), text).expect("the document can be written");
        return;
    }
    let differs = found.lines().zip(expected.lines()).find(|(found, expected)| found != expected);
    assert!(
        found == expected,
        "docs/cli.md differs from the parser, first here: {differs:#?}\n\
         `IBUILD_BLESS=1 cargo nextest run --release -p ibuild --bin ibuild reference` writes it again"
    );
}

#[test]
fn it_has_the_exit_statuses() {
    let sources = sources();
    let numbers = |name: &str| -> BTreeSet<String> {
        let body = between(&sources, &format!("enum {name} {{"), "\n}").concat();
        between(&body, " = ", ",").into_iter().map(str::to_owned).collect()
    };
    let (statuses, standings) = (numbers("Status"), numbers("Standing"));
    assert!(statuses.len() > 4 && standings.len() > 2, "they are not where this test looks");
    let done = BTreeSet::from(["0".to_owned()]);
    assert_eq!(keys("Exit statuses"), &(&statuses | &standings) | &done);
}

#[test]
fn it_has_the_settings() {
    let error = toml::from_str::<Settings>("no-such-setting = 1").expect_err("there is no such setting");
    let known: BTreeSet<_> =
        between(error.message(), "`", "`").into_iter().step_by(2).map(str::to_owned).collect();
    let known = &known - &BTreeSet::from(["no-such-setting".to_owned()]);
    assert!(known.len() > 5, "{}", error.message());
    let rows = rows("Settings of the machine");
    assert_eq!(rows.keys().cloned().collect::<BTreeSet<_>>(), known);
    for (key, cells) in &rows {
        let example = cells[1].trim_matches('`');
        assert!(example.starts_with(&format!("{key} = ")), "the example of `{key}`: {example}");
        toml::from_str::<Settings>(example).unwrap_or_else(|error| panic!("`{example}`: {error}"));
    }
}

/// A block of TOML that begins with a key is one of settings; one of a recipe begins with a table, or with its schema.
#[test]
fn settings_in_other_documents_are_settings() {
    let mut count = 0;
    for document in documents::all() {
        let blocks = documents::blocks(&document.text, "toml");
        for block in
            blocks.into_iter().filter(|block| !block.starts_with('[') && !block.starts_with("schema"))
        {
            toml::from_str::<Settings>(block).unwrap_or_else(|error| panic!("{}: {error}", document.name));
            count += 1;
        }
    }
    assert!(count > 2, "the blocks are not where this test looks");
}

#[test]
fn it_has_the_events_and_their_fields() {
    let sources = sources();
    let mut emitted: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for event in between(&sources, "\"event\": \"", ";\n") {
        let (name, rest) = event.split_once('"').expect("the name ends");
        let object = rest.split("})").next().unwrap_or_default();
        let keys = object.split('"').skip(1).step_by(2).map(str::to_owned);
        emitted.entry(name.to_owned()).or_default().extend(keys);
    }
    let added = between(&sources, "event[\"", "\"]").into_iter().filter(|key| *key != "v").map(str::to_owned);
    emitted.get_mut("finished").expect("there is an event `finished`").extend(added);
    assert!(emitted.len() > 10, "they are not where this test looks");
    let rows = rows("Events");
    assert_eq!(rows.keys().collect::<Vec<_>>(), emitted.keys().collect::<Vec<_>>());
    for (event, keys) in emitted {
        let fields = &rows[&event][2];
        let told: BTreeSet<_> = between(fields, "`", "`").into_iter().step_by(2).map(str::to_owned).collect();
        let lacks: Vec<_> = keys.difference(&told).collect();
        assert!(lacks.is_empty(), "the row of `{event}` lacks {lacks:?}");
    }
}

#[test]
fn it_has_the_environment_variables() {
    let sources = sources();
    let reads = ["var_os(", "env::var(", "env = \"", "is_set(\"", "home(\""];
    let lines = sources.lines().filter(|line| reads.iter().any(|read| line.contains(read)));
    let is_name = |text: &&str| {
        text.len() > 3 && text.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_')
    };
    let names = lines.flat_map(|line| {
        let line = line.replace("value_name = \"", "value_name = \"-");
        literals(&line).filter(is_name).map(str::to_owned).collect::<Vec<_>>()
    });
    let own =
        literals(&sources).filter(|text| text.starts_with("IBUILD_")).filter(is_name).map(str::to_owned);
    let read: BTreeSet<_> = names.chain(own.collect::<Vec<_>>()).collect();
    assert!(read.contains("IBUILD_CACHE_DIR") && read.contains("NO_COLOR"), "{read:?}");
    assert_eq!(keys("Environment variables"), read);
}

/// The words of a command as a shell has them, as far as documents use it.
fn words(command: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quote = None;
    for c in command.chars() {
        match quote {
            Some(open) if c == open => quote = None,
            None if c == '\'' || c == '"' => quote = Some(c),
            None if c == ' ' => words.push(String::new()),
            _ => words.last_mut().expect("there is a word").push(c),
        }
    }
    words
}

/// `tests/documents` runs them, but some that take minutes or a machine of their own.
#[test]
fn every_command_in_the_documents_is_one() {
    let mut count = 0;
    for document in documents::all() {
        for command in documents::commands(&document.text) {
            count += 1;
            let Err(error) = Cli::try_parse_from(words(&command)) else { continue };
            let shows_help = matches!(
                error.kind(),
                ErrorKind::DisplayHelp | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
            );
            let is_fine = shows_help || documents::is_name_only(&error.to_string());
            assert!(is_fine, "{}: `{command}`: {error}", document.name);
        }
    }
    assert!(count > 40, "the commands are not where this test looks");
}
