//! `ibuild completions`: a script that completes command lines.
//!
//! Commands and options are in the script. Names of the recipe are not: for these it asks this program, which knows the recipe.

use std::process::ExitCode;

use clap::CommandFactory;
use clap_complete::Shell;
use ibuild::Result;

use crate::COMPLETER;
use crate::cli::Cli;
use crate::terminal::print;

pub fn run(shell: Shell) -> Result<ExitCode> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "ibuild", &mut script);
    print(&with_names(shell, &String::from_utf8_lossy(&script)))?;
    Ok(ExitCode::SUCCESS)
}

/// The script, with a question for names before all that it knows itself.
fn with_names(shell: Shell, script: &str) -> String {
    match shell {
        Shell::Bash => {
            let renamed = script.replacen("_ibuild() {", "_ibuild_words() {", 1);
            BASH.replace("COMPLETER", COMPLETER) + &renamed
        }
        Shell::Zsh => {
            let renamed = script.replacen("\n_ibuild() {", "\n_ibuild_words() {", 1);
            let (head, rest) = renamed.split_once("\nautoload").expect("the script begins as ever");
            format!("{head}\n{}\nautoload{rest}", ZSH.replace("COMPLETER", COMPLETER))
        }
        Shell::Fish => script.to_owned() + &FISH.replace("COMPLETER", COMPLETER),
        _ => script.to_owned(),
    }
}

const BASH: &str = r#"_ibuild() {
    local IFS=$'\n'
    COMPREPLY=($(ibuild COMPLETER "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null))
    unset IFS
    [ ${#COMPREPLY[@]} -gt 0 ] || _ibuild_words "$@"
}

"#;

const ZSH: &str = r#"
_ibuild() {
    local -a names
    names=(${(f)"$(ibuild COMPLETER "${(@)words[2,CURRENT]}" 2>/dev/null)"})
    if (( $#names )); then compadd -- $names; else _ibuild_words "$@"; fi
}
"#;

const FISH: &str = r#"
function __fish_ibuild_names
    set -l words (commandline -opc) (commandline -ct)
    ibuild COMPLETER $words[2..-1] 2>/dev/null
end
complete -c ibuild -n 'test (count (__fish_ibuild_names)) -gt 0' -f -a '(__fish_ibuild_names)'
complete -c ibuild -n '__fish_ibuild_using_subcommand build plan' -s t -l target -r -f -a '(__fish_ibuild_names)'
complete -c ibuild -n '__fish_ibuild_using_subcommand build' -l until -r -f -a '(__fish_ibuild_names)'
complete -c ibuild -n '__fish_ibuild_using_subcommand build' -l from -r -f -a '(__fish_ibuild_names)'
"#;

#[cfg(test)]
mod tests {
    use super::*;

    /// What is renamed is there, whatever version of the generator wrote it.
    #[test]
    fn names_are_asked_for_before_words() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "ibuild", &mut script);
            let script = with_names(shell, &String::from_utf8(script).unwrap());
            assert_eq!(script.matches(&format!("ibuild {COMPLETER} ")).count(), 1, "{shell}");
            if shell != Shell::Fish {
                assert_eq!(script.matches("_ibuild_words() {").count(), 1, "{shell}");
                assert_eq!(script.lines().filter(|line| *line == "_ibuild() {").count(), 1, "{shell}");
            }
        }
    }
}
