//! What README and the documents show: commands, sessions with their output, recipes.

use std::fs;
use std::path::Path;

/// A document by its path in the repository.
pub struct Document {
    pub name: String,
    pub text: String,
}

/// README, ARCHITECTURE and all of `docs/`.
pub fn all() -> Vec<Document> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let docs = fs::read_dir(root.join("docs")).expect("docs");
    let docs = docs.map(|entry| entry.expect("an entry of a directory").path());
    let mut paths: Vec<_> =
        ["README.md", "ARCHITECTURE.md"].map(|name| root.join(name)).into_iter().chain(docs).collect();
    paths.sort();
    let document = |path: &Path| Document {
        name: path.strip_prefix(root).expect("below the root").display().to_string(),
        text: fs::read_to_string(path).expect("documents are text"),
    };
    paths.iter().map(|path| document(path)).collect()
}

/// README.
pub fn readme() -> String {
    all().into_iter().find(|document| document.name == "README.md").expect("README").text
}

/// The blocks of one language.
pub fn blocks<'t>(text: &'t str, language: &str) -> Vec<&'t str> {
    let start = format!("\n```{language}\n");
    text.split(&start).skip(1).map(|rest| rest.split("\n```").next().unwrap_or_default()).collect()
}

/// A command of a session, and what it is shown to print.
#[derive(Debug)]
pub struct Shown {
    pub command: String,
    pub output: Vec<String>,
}

/// All that is typed in the sessions of a document, in its order.
pub fn sessions(text: &str) -> Vec<Shown> {
    let mut typed: Vec<Shown> = Vec::new();
    for block in blocks(text, "console") {
        for line in block.lines() {
            match (line.strip_prefix("$ "), typed.last_mut()) {
                (Some(command), _) => typed.push(Shown { command: command.to_owned(), output: Vec::new() }),
                (None, Some(last)) => last.output.push(line.to_owned()),
                (None, None) => panic!("a session begins with a command: {line}"),
            }
        }
    }
    typed
}

/// Every command of ibuild that a document names: in its sessions, in indented lines, and between backticks.
pub fn commands(text: &str) -> Vec<String> {
    let mut found: Vec<_> = sessions(text).into_iter().map(|shown| shown.command).collect();
    let mut prose = String::new();
    for (number, part) in text.split("```").enumerate() {
        if number % 2 == 0 {
            prose += part;
        }
    }
    let indented = prose.lines().filter_map(|line| line.strip_prefix("    "));
    found.extend(indented.map(|line| line.split("  #").next().unwrap_or_default().trim().to_owned()));
    let quoted = prose.split('`').skip(1).step_by(2);
    found.extend(quoted.map(|text| text.split_whitespace().collect::<Vec<_>>().join(" ")));
    // What a pipe gives to others is theirs to read.
    found.iter_mut().for_each(|command| command.truncate(command.find(" | ").unwrap_or(command.len())));
    found.retain(|command| {
        let verb = command.strip_prefix("ibuild ").and_then(|rest| rest.chars().next());
        verb.is_some_and(|first| first.is_ascii_lowercase())
    });
    found.sort();
    found.dedup();
    found
}

/// Whether that is what the parser says of `ibuild explain`, which names the command and is not to be typed so.
pub fn is_name_only(said: &str) -> bool {
    let reasons =
        ["required arguments were not provided", "a value is required for", "requires a subcommand"];
    reasons.iter().any(|reason| said.contains(reason))
}

/// A line without what differs from one run to the next: times, sizes, digests, dates.
fn normal(line: &str) -> String {
    let mut words: Vec<String> = Vec::new();
    let mut tokens = line.split_whitespace().peekable();
    while let Some(token) = tokens.next() {
        let unit = tokens.peek().map(|unit| unit.trim_end_matches(','));
        let is_number = token.parse::<f64>().is_ok();
        let word = match unit {
            Some("ms" | "s" | "min" | "h") if is_number => "TIME",
            Some("B" | "KiB" | "MiB" | "GiB") if is_number => "SIZE",
            _ if token.starts_with("b3:") => "DIGEST",
            _ if token.len() == 20 && token.ends_with('Z') && token.contains('T') => "DATE",
            _ => token,
        };
        if word == "TIME" || word == "SIZE" {
            tokens.next();
        }
        if word != "TIME" || words.last().is_none_or(|last| last != "TIME") {
            words.push(word.to_owned());
        }
    }
    words.join(" ")
}

/// Compares what was printed with what a document shows, in which `...` stands for any lines.
#[track_caller]
pub fn assert_shown(shown: &Shown, printed: &str) {
    let mut lines = printed.lines().map(normal).peekable();
    let mut skips = false;
    for expected in &shown.output {
        if expected == "..." {
            skips = true;
            continue;
        }
        let expected = normal(expected);
        while skips && lines.peek().is_some_and(|line| *line != expected) {
            lines.next();
        }
        let found = lines.next();
        assert_eq!(found.as_deref(), Some(expected.as_str()), "`{}` printed:\n{printed}", shown.command);
        skips = false;
    }
    let rest: Vec<_> = lines.collect();
    assert!(skips || rest.is_empty(), "`{}` also printed {rest:#?}", shown.command);
}

#[test]
fn what_differs_from_run_to_run_does_not_count() {
    assert_eq!(normal("ran     a/b  1 min 3.2 s  [1/7]"), "ran a/b TIME [1/7]");
    assert_eq!(
        normal("built x  b3:12ab  219 MiB  0 run, 7 cached  3 ms"),
        "built x DIGEST SIZE 0 run, 7 cached TIME"
    );
    assert_eq!(normal("at least 0.1 s, at most 10.2 s"), "at least TIME at most TIME");
    let shown = |output: &[&str]| Shown {
        command: "x".to_owned(),
        output: output.iter().map(|line| (*line).to_owned()).collect(),
    };
    assert_shown(&shown(&["a", "...", "c 1 s"]), "a\nb\nb\nc 2 ms\n");
    assert_shown(&shown(&["..."]), "a\n");
    assert!(std::panic::catch_unwind(|| assert_shown(&shown(&["a"]), "a\nb\n")).is_err());
    assert!(std::panic::catch_unwind(|| assert_shown(&shown(&["...", "c"]), "a\nb\n")).is_err());
}
