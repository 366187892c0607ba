//! Decides from a script's text whether it wants packages, for steps whose recipe does not say.

use super::step::Network;

/// Words that mean apt wherever they stand: nobody writes them for another reason.
const UNMISTAKABLE: [&str; 4] = ["apt-get", "aptitude", "debootstrap", "mmdebstrap"];

/// Words after which the next one is still a command.
const PREFIXES: [&str; 14] = [
    "command", "do", "elif", "else", "env", "exec", "if", "nice", "sudo", "then", "time", "until", "while",
    "xargs",
];

/// The network a script gets by default.
///
/// Wrong in one direction is worse than in the other: a needless proxy is harmless, a missing one breaks the
/// build. So most words count anywhere outside a comment line, inside quotes too (`sh -c '...'`, Python's lists);
/// only `apt`, which is also a word of English, counts solely where a command may stand.
pub(super) fn default_network(text: &str) -> Network {
    let calls = text.lines().map(str::trim_start).filter(|line| !line.starts_with('#')).any(line_calls_apt);
    if calls { Network::Packages } else { Network::None }
}

fn line_calls_apt(line: &str) -> bool {
    line.split(|c: char| ";&|(){}`'\"!,[]".contains(c)).any(|segment| {
        let mut may_be_command = true;
        segment.split_whitespace().any(|word| {
            let command = command_name(word);
            let calls = UNMISTAKABLE.contains(&command) || (may_be_command && command == "apt");
            may_be_command = may_be_command && continues_prefix(word);
            calls
        })
    })
}

/// `/usr/bin/apt-get` calls apt-get; `/etc/apt` and `apt/sources.list` call nothing.
fn command_name(word: &str) -> &str {
    match word.rsplit_once('/') {
        Some((directory, name)) if directory.ends_with("bin") => name,
        _ => word,
    }
}

/// Variable assignments, options of a prefix and prefixes themselves.
fn continues_prefix(word: &str) -> bool {
    word.contains('=') || word.starts_with('-') || PREFIXES.contains(&word)
}
