//! What other programs are given of the help: completions and manual pages.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::Command;

use crate::harness::Sandbox;

#[test]
fn completions_for_every_shell() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = Sandbox::empty().run(&["completions", shell]).succeeds();
        assert!(script.contains("ibuild") && script.contains("explain"), "{shell}");
    }
}

/// All manual pages, by their names.
fn pages(sandbox: &Sandbox) -> BTreeMap<String, String> {
    sandbox.run(&["man", "--output", "pages/man1"]).succeeds();
    let files = fs::read_dir(sandbox.path("pages/man1")).unwrap().map(|file| file.unwrap());
    let page = |file: fs::DirEntry| {
        (file.file_name().into_string().unwrap(), fs::read_to_string(file.path()).unwrap())
    };
    files.map(page).collect()
}

#[test]
fn a_manual_page_for_every_command() {
    let sandbox = Sandbox::empty();
    let pages = pages(&sandbox);
    let mut names = BTreeSet::from(["ibuild.1".to_owned()]);
    for command in commands(&sandbox, &[]) {
        names.insert(format!("ibuild-{command}.1"));
        let below = commands(&sandbox, &[&command]);
        names.extend(below.iter().map(|below| format!("ibuild-{command}-{below}.1")));
    }
    assert!(pages.keys().eq(&names), "{:?}, not {names:?}", pages.keys());
    for (words, name) in
        [(&[][..], "ibuild.1"), (&["build"], "ibuild-build.1"), (&["cache", "gc"], "ibuild-cache-gc.1")]
    {
        let printed = sandbox.run(&[&["man"], words].concat()).succeeds();
        assert_eq!(Some(&printed), pages.get(name), "{name}");
        assert!(printed.contains("\\-\\-cache\\-dir") && printed.contains("IBUILD_CACHE_DIR"), "{printed}");
    }
    assert_eq!(pages, self::pages(&Sandbox::empty()), "they depend on where they are made");
    sandbox
        .run(&["man", "cache", "buy"])
        .fails(2, "error: there is no command `cache buy`\nhint: `ibuild man` lists all commands\n");
}

/// What the help of a command lists.
fn commands(sandbox: &Sandbox, words: &[&str]) -> Vec<String> {
    let help = sandbox.run(&[words, &["--help"]].concat()).succeeds();
    let listed =
        help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    // Long descriptions go on further right.
    let names = listed.filter_map(|line| line.strip_prefix("  ")?.split(' ').next());
    names.filter(|name| !name.is_empty() && *name != "help").map(str::to_owned).collect()
}

#[test]
fn real_groff_and_man_take_the_manual_pages() {
    let sandbox = Sandbox::empty();
    for name in pages(&sandbox).keys() {
        let page = sandbox.path("pages/man1").join(name);
        for (program, arguments) in
            [("groff", &["-man", "-ww", "-Tutf8", "-z"][..]), ("man", &["--warnings", "-E", "UTF-8", "-l"])]
        {
            let mut command = Command::new(program);
            let Ok(output) = command.args(arguments).arg(&page).env("LC_ALL", "C.UTF-8").output() else {
                return eprintln!("SKIPPED: there is no `{program}`");
            };
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success() && said.is_empty(), "{program} says of {name}: {said}");
        }
    }
}
