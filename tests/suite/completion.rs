//! What the Tab key makes of names that are in the recipe, asked of the shells themselves.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;

use crate::harness::Sandbox;

/// A project with the scripts of all shells, and `ibuild` where a shell finds it.
fn lab() -> Sandbox {
    let sandbox = Sandbox::empty();
    sandbox.run(&["init", "pair", "demo"]).succeeds();
    for shell in ["bash", "zsh", "fish"] {
        sandbox.write(&format!("{shell}.completions"), &sandbox.run(&["completions", shell]).succeeds());
    }
    fs::create_dir(sandbox.path("bin")).unwrap();
    symlink(env!("CARGO_BIN_EXE_ibuild"), sandbox.path("bin/ibuild")).unwrap();
    sandbox
}

/// What a shell prints; nothing if there is no such shell.
#[allow(clippy::print_stderr, reason = "a test that is skipped says so")]
fn ask(sandbox: &Sandbox, shell: &str, arguments: &[&str], script: &str) -> Option<Vec<String>> {
    let path = format!("{}:/usr/bin:/bin", sandbox.path("bin").display());
    let mut command = Command::new(shell);
    command.args(arguments).args(["-c", script]).current_dir(sandbox.path(""));
    let output = match command.env_clear().env("PATH", path).env("HOME", sandbox.path("../home")).output() {
        Ok(output) => output,
        Err(_) => {
            eprintln!("SKIPPED: there is no `{shell}`");
            return None;
        }
    };
    assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{script}");
    let said = String::from_utf8(output.stdout).unwrap();
    let mut lines: Vec<_> = said.lines().map(str::to_owned).collect();
    lines.sort();
    Some(lines)
}

/// The words of a command line, the last of which is completed, and what it may become. Empty: what is no name.
const CASES: [(&str, &[&str]); 12] = [
    ("ibuild -C demo build w", &["workstation", "workstation.ova"]),
    ("ibuild -C demo build workstation.q", &["workstation.qcow2"]),
    ("ibuild -C demo build -t pair,g", &["pair,gateway", "pair,gateway.ova"]),
    ("ibuild -C demo plan pair ga", &["gateway", "gateway.ova"]),
    ("ibuild -C demo shell gateway/3", &["gateway/30_greeting"]),
    ("ibuild -C demo log 50", &["50_hint"]),
    ("ibuild -C demo build --until base/k", &["base/kernel"]),
    ("ibuild -C demo cache show ke", &["kernel"]),
    ("ibuild -C demo explain pair.", &["pair.ova"]),
    ("ibuild -C demo test r", &["reaches"]),
    ("ibuild init f", &["from-shell"]),
    ("ibuild -C nowhere build w", &[]),
];

#[test]
fn bash_completes_names_and_still_words() {
    let sandbox = lab();
    let complete = |line: &str| {
        let count = line.split(' ').count() - 1;
        let script = format!(
            "source ./bash.completions; COMP_WORDS=({line}); COMP_CWORD={count}; \
             _ibuild ibuild \"${{COMP_WORDS[COMP_CWORD]}}\" \"${{COMP_WORDS[COMP_CWORD-1]}}\"; \
             [ ${{#COMPREPLY[@]}} = 0 ] || printf '%s\\n' \"${{COMPREPLY[@]}}\""
        );
        ask(&sandbox, "bash", &["--norc"], &script).expect("there is a bash")
    };
    for (line, expected) in CASES.into_iter().filter(|(_, expected)| !expected.is_empty()) {
        assert_eq!(complete(line), expected, "{line}");
    }
    assert_eq!(complete("ibuild pla"), ["plan"]);
    assert!(complete("ibuild -C demo build --off").contains(&"--offline".to_owned()));
}

/// Outside of its line editor there is no `compadd`.
#[test]
fn zsh_completes_names() {
    let sandbox = lab();
    for (line, expected) in CASES.into_iter().filter(|(_, expected)| !expected.is_empty()) {
        let script = format!(
            "compdef() {{ }}; source ./zsh.completions; compadd() {{ shift; print -rl -- \"$@\" }}; \
             words=({line}); CURRENT=$#words; _ibuild"
        );
        let Some(found) = ask(&sandbox, "zsh", &["-f"], &script) else { return };
        assert_eq!(found, expected, "{line}");
    }
}

#[test]
fn fish_completes_names_and_still_words() {
    let sandbox = lab();
    let complete = |line: &str| {
        let script = format!("source ./fish.completions; complete -C '{line}'");
        ask(&sandbox, "fish", &["--no-config"], &script)
    };
    for (line, expected) in CASES {
        let Some(found) = complete(line) else { return };
        assert_eq!(found, expected, "{line}");
    }
    let words = complete("ibuild -C demo build --off").unwrap();
    assert!(words.iter().any(|word| word.starts_with("--offline")), "{words:?}");
}
