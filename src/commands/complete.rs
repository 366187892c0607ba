//! What the shells' completions ask for: names that are in the recipe. Not for people.
//!
//! Which argument a word stands for is read off the parser's own description of the command line, so that an option that comes to
//! a command is known here as well.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Arg, Command, CommandFactory};
use ibuild::stages::{Job, Project};
use ibuild::{listed_stages, load_recipe};

use crate::cli::Cli;
use crate::invocation;
use crate::templates::TEMPLATES;
use crate::terminal::print;

/// Prints what the last of these words may become, one a line; nothing if that is not for the recipe to say. The first word
/// is the one behind the program's name. A mistake in the recipe is not told here.
pub fn run(words: &[String]) -> ExitCode {
    let found = candidates(words).unwrap_or_default();
    let lines: String = found.into_iter().map(|name| name + "\n").collect();
    match print(&lines) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn candidates(words: &[String]) -> Option<BTreeSet<String>> {
    let (last, before) = words.split_last()?;
    let mut command = Cli::command();
    command.build();
    let place = Place::behind(&command, before)?;
    // Of `--target=a` a shell may make three words, or one.
    let typed = last.rsplit('=').next()?;
    let kind = match last.strip_prefix("--").and_then(|option| option.split_once('=')) {
        Some((option, _)) => Kind::of(place.command, place.option(option)?)?,
        None if last.starts_with('-') => return None,
        None => Kind::of(place.command, place.expected()?)?,
    };
    // Targets may be a list.
    let (head, typed) = match typed.rsplit_once(',') {
        Some((head, typed)) if kind == Kind::Target => (format!("{head},"), typed),
        _ => (String::new(), typed),
    };
    let names = kind.names(&place, typed)?;
    Some(
        names
            .into_iter()
            .filter(|name| name.starts_with(typed))
            .map(|name| format!("{head}{name}"))
            .collect(),
    )
}

/// Where in a command line one is.
struct Place<'c> {
    command: &'c Command,
    /// The option whose value comes next.
    pending: Option<&'c Arg>,
    /// How many words of the command stand for themselves.
    positionals: usize,
    directory: Option<PathBuf>,
}

impl<'c> Place<'c> {
    /// Behind these words; nowhere where they are those of another program.
    fn behind(command: &'c Command, words: &[String]) -> Option<Self> {
        let mut place = Self { command, pending: None, positionals: 0, directory: None };
        for word in words.iter().filter(|word| *word != "=") {
            if word == "--" {
                return None;
            }
            place.pass(word);
        }
        Some(place)
    }

    fn pass(&mut self, word: &str) {
        if let Some(option) = word.strip_prefix("--") {
            self.pending = match option.split_once('=') {
                Some(_) => None,
                None => self.option(option),
            };
        } else if let Some(letters) = word.strip_prefix('-').filter(|letters| !letters.is_empty()) {
            self.pass_letters(letters);
        } else if let Some(option) = self.pending {
            if option.get_id() == "directory" {
                self.directory = Some(word.into());
            }
            let takes_more = option.get_num_args().is_some_and(|count| count.max_values() > 1);
            self.pending = Some(option).filter(|_| takes_more);
        } else if let Some(below) = self.command.find_subcommand(word).filter(|_| self.positionals == 0) {
            self.command = below;
        } else {
            self.positionals += 1;
        }
    }

    /// `-t`, `-Cdir`, `-qv`.
    fn pass_letters(&mut self, letters: &str) {
        self.pending = None;
        for (at, letter) in letters.char_indices() {
            let known = |arg: &&Arg| arg.get_short() == Some(letter) && arg.get_action().takes_values();
            let Some(option) = self.command.get_arguments().find(known) else { continue };
            let value = &letters[at + letter.len_utf8()..];
            if value.is_empty() {
                self.pending = Some(option);
            } else if option.get_id() == "directory" {
                self.directory = Some(value.into());
            }
            return;
        }
    }

    /// An option with a value.
    fn option(&self, name: &str) -> Option<&'c Arg> {
        let known = |arg: &&Arg| arg.get_long() == Some(name) && arg.get_action().takes_values();
        self.command.get_arguments().find(known)
    }

    /// What the next word stands for.
    fn expected(&self) -> Option<&'c Arg> {
        let positional = || {
            let all: Vec<_> = self.command.get_positionals().collect();
            let last =
                all.last().filter(|last| last.get_num_args().is_some_and(|count| count.max_values() > 1));
            all.get(self.positionals).or(last).copied()
        };
        self.pending.or_else(positional)
    }
}

/// What is named.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Target,
    Stage,
    StageOrTarget,
    Test,
    Template,
    Profile,
}

impl Kind {
    fn of(command: &Command, arg: &Arg) -> Option<Self> {
        Some(match (command.get_name(), arg.get_id().as_str()) {
            ("build" | "plan" | "watch", "named" | "targets") | ("boot" | "clean", "target") => Self::Target,
            ("verify", "targets") => Self::Target,
            ("build", "until" | "from") | ("shell", "stage") | ("verify", "stages") => Self::Stage,
            ("log" | "rm", "stage") | ("verify", "named") | ("diff", "old" | "new") => Self::StageOrTarget,
            ("explain" | "ls" | "cat" | "mount" | "sources" | "show" | "pin" | "unpin", "name") => {
                Self::StageOrTarget
            }
            ("test", "names") => Self::Test,
            ("init", "template") => Self::Template,
            (_, "profile") => Self::Profile,
            _ => return None,
        })
    }

    /// All names of the kind that make sense where so much is typed.
    fn names(self, place: &Place<'_>, typed: &str) -> Option<BTreeSet<String>> {
        if self == Self::Template {
            return Some(TEMPLATES.iter().map(|template| template.name.to_owned()).collect());
        }
        if let Some(dir) = &place.directory {
            std::env::set_current_dir(dir).ok()?;
        }
        let recipe =
            load_recipe(&invocation::recipe_dir().ok()?, &ibuild::WorkspaceOptions::default().vars).ok()?;
        if self == Self::Profile {
            return Some(recipe.profiles.iter().map(ToString::to_string).collect());
        }
        let project = Project::new(&recipe);
        let mut names = BTreeSet::new();
        if matches!(self, Self::Target | Self::StageOrTarget) {
            names.extend(targets(&project, typed));
        }
        if matches!(self, Self::Stage | Self::StageOrTarget) {
            names.extend(stages(&project, typed));
        }
        if self == Self::Test {
            names.extend(recipe.tests.keys().map(ToString::to_string));
        }
        Some(names)
    }
}

/// Images, their listed formats, and once one is at the format, all that there are.
fn targets(project: &Project<'_>, typed: &str) -> Vec<String> {
    let images = project.recipe.products().map(|(name, _)| name.to_string());
    let listed = listed_stages(project);
    let is_meant = |stage: &ibuild::graph::StageId| {
        matches!(project.job(*stage), Job::Image { .. }) && (typed.contains('.') || listed.contains(stage))
    };
    let targets = project.graph.in_build_order().filter(is_meant);
    images.chain(targets.map(|stage| project.graph.name(stage).to_string())).collect()
}

/// Root file systems and stages; steps alone only if one begins so, because each is there by its stage already.
fn stages(project: &Project<'_>, typed: &str) -> Vec<String> {
    let mut names: Vec<_> = project.recipe.rootfses.keys().map(ToString::to_string).collect();
    let mut steps: Vec<String> = Vec::new();
    for stage in project.graph.in_build_order() {
        if let Job::Step { name, .. } = project.job(stage) {
            names.push(name.to_string());
            steps.push(name.step.to_string());
        }
    }
    if !typed.is_empty() && !typed.contains('/') {
        let is_unique = |step: &&String| steps.iter().filter(|other| other == step).count() == 1;
        names.extend(steps.iter().filter(is_unique).cloned());
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all_of(command: &Command, found: &mut Vec<(String, String)>) {
        for arg in command.get_arguments().filter(|arg| Kind::of(command, arg).is_some()) {
            found.push((command.get_name().to_owned(), arg.get_id().to_string()));
        }
        command.get_subcommands().for_each(|below| all_of(below, found));
    }

    /// An argument that is renamed is not completed any more, without a word.
    #[test]
    fn the_arguments_are_those_of_the_parser() {
        let mut command = Cli::command();
        command.build();
        let mut found = Vec::new();
        all_of(&command, &mut found);
        let count = found.len();
        // Every command has it.
        found.retain(|(_, argument)| argument != "profile");
        assert!(count > found.len());
        assert_eq!(found.len(), 28, "{found:?}");
    }

    #[test]
    fn a_place_is_found() {
        let mut command = Cli::command();
        command.build();
        let expected = |words: &str| {
            let words: Vec<_> = words.split(' ').map(str::to_owned).collect();
            let place = Place::behind(&command, &words)?;
            Some(format!("{} {}", place.command.get_name(), place.expected()?.get_id()))
        };
        for (words, meant) in [
            ("build", Some("build named")),
            ("build hello.ova", Some("build named")),
            ("build --until", Some("build until")),
            ("build --until =", Some("build until")),
            ("build --offline -t a", Some("build targets")),
            ("-C dir build -qj 3", Some("build named")),
            ("-Cdir cache show", Some("show name")),
            ("cat hello", Some("cat path")),
            ("shell hello", Some("shell command")),
            ("shell hello -- ls", None),
        ] {
            assert_eq!(expected(words).as_deref(), meant, "{words}");
        }
    }
}
