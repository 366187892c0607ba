//! Looks at the files a draft names: whether they are there, and which scripts a directory holds.

use std::ffi::OsStr;
use std::fs::{self, Metadata};
use std::path::{Path, PathBuf};

use ibuild_debian::{Keyring, KeyringError};
use ibuild_host::bounded::{self, Unfit};
use ibuild_spec::RUN_DIR;
use ibuild_spec::bounds::LONGEST_SCRIPT;

use super::draft::{Draft, DraftKind, DraftStep, Links};
use super::model::{Notice, NoticeReason};
use super::network::default_network;
use super::parse::step_name_of;
use super::report::{Problem, Report};
use super::source::{At, Span};
use super::step::{INPUTS, StepKind};
use super::suggest;
use crate::ignore::Ignore;

/// The keys of all who ever signed an archive are a tenth of it.
const LARGEST_KEYRING: u64 = 16 << 20;

/// Checks every file that `draft` names below `dir`, and replaces each directory of scripts by its scripts.
pub(super) fn expand(draft: &mut Draft, dir: &Path, report: &Report) {
    let mut project = Project { dir, report, notices: Vec::new() };
    for rootfs in draft.rootfses.values_mut() {
        let steps = std::mem::take(&mut rootfs.steps);
        rootfs.steps = steps.into_iter().flat_map(|step| project.expand(step)).collect();
    }
    for file in draft.tests.values().flatten().flat_map(|test| &test.files) {
        project.find(file);
    }
    for vendor in draft.archives.values_mut().flatten().filter_map(|draft| draft.vendor.as_mut()) {
        vendor.keyring = project.keyring(&vendor.key);
    }
    draft.notices = project.notices;
    draft.notices.sort_by(|a, b| a.path.cmp(&b.path));
    draft.notices.dedup();
}

/// What a path in the recipe's directory leads to.
enum Found {
    File,
    Dir,
}

struct Project<'a> {
    dir: &'a Path,
    report: &'a Report<'a>,
    notices: Vec<Notice>,
}

impl Project<'_> {
    fn expand(&mut self, mut step: DraftStep) -> Vec<DraftStep> {
        for input in &step.settings.inputs {
            self.find(input);
        }
        match step.kind.take() {
            Some(DraftKind::Scripts { dir, skip }) => self.expand_scripts(&step, &dir, &skip),
            Some(DraftKind::Step { kind, links }) => {
                for copied in &links.copied {
                    self.find(copied);
                }
                if let Some(script) = &links.script {
                    self.check_script(&mut step, script);
                }
                step.kind = Some(DraftKind::Step { kind, links });
                vec![step]
            }
            None => vec![step],
        }
    }

    fn check_script(&self, step: &mut DraftStep, script: &At<PathBuf>) {
        match self.find(script) {
            Some(Found::File) => self.read_script(step, &script.value, &script.at),
            Some(Found::Dir) => {
                let problem =
                    Problem::at(script.at.clone(), format!("`{}` is a directory", script.value.display()));
                self.report
                    .push(problem.hint("`scripts = \"DIR\"` makes a step of each file in a directory"));
            }
            None => {}
        }
    }

    /// One step per script, in the order of their names' bytes; a gap if the directory cannot be read, so that
    /// nobody takes the rootfs for shorter than it is.
    fn expand_scripts(&mut self, step: &DraftStep, dir: &At<PathBuf>, skip: &[At<String>]) -> Vec<DraftStep> {
        let Some(scripts) = self.scripts_in(dir) else {
            return vec![step.clone()];
        };
        self.check_skips(&scripts, skip);
        let skipped =
            |script: &&PathBuf| skip.iter().any(|skip| script.file_name() == Some(OsStr::new(&skip.value)));
        let (_, kept): (Vec<&PathBuf>, Vec<&PathBuf>) = scripts.iter().partition(skipped);
        if kept.is_empty() {
            let dir_name = dir.value.display();
            self.report.push(match scripts.len() {
                0 => Problem::at(dir.at.clone(), format!("there are no scripts in `{dir_name}`")),
                count => Problem::at(dir.at.clone(), format!("`skip` leaves no script of `{dir_name}`"))
                    .hint(format!("it names all {count} of them")),
            });
        }
        kept.into_iter().map(|script| self.script_step(step, script, &dir.at)).collect()
    }

    fn script_step(&self, template: &DraftStep, script: &Path, at: &Span) -> DraftStep {
        let mut step = template.clone();
        match step_name_of(script) {
            Ok(value) => step.name = Some(At { value, at: at.clone() }),
            Err(error) => {
                let message = format!("`{}` cannot name a step", script.display());
                self.report.push(Problem::at(at.clone(), message).hint(error.rule()));
            }
        }
        self.read_script(&mut step, script, at);
        let kind = StepKind::Script { path: script.to_owned() };
        step.kind = Some(DraftKind::Step { kind, links: Links::default() });
        step
    }

    fn check_skips(&self, scripts: &[PathBuf], skip: &[At<String>]) {
        let names: Vec<_> =
            scripts.iter().filter_map(|script| script.file_name()).map(OsStr::to_string_lossy).collect();
        for skip in skip.iter().filter(|skip| !names.iter().any(|name| *name == skip.value)) {
            let hint = suggest::hint(&skip.value, names.iter().map(|name| name.as_ref()));
            let message = format!("there is no script `{}` to skip", skip.value);
            self.report.push(Problem::at(skip.at.clone(), message).hint_if(hint));
        }
    }

    /// The scripts of a directory, sorted; what is left out is noted, what should not be there reported.
    fn scripts_in(&mut self, dir: &At<PathBuf>) -> Option<Vec<PathBuf>> {
        if let Found::File = self.find(dir)? {
            let problem =
                Problem::at(dir.at.clone(), format!("`{}` is not a directory", dir.value.display()));
            self.report.push(problem.hint("`script = \"FILE\"` runs one file"));
            return None;
        }
        let listed = fs::read_dir(self.dir.join(&dir.value))
            .and_then(|entries| entries.map(|entry| Ok(entry?.file_name())).collect::<Result<Vec<_>, _>>());
        let mut names = match listed {
            Ok(names) => names,
            Err(error) => {
                let message = format!("cannot list `{}`: {}", dir.value.display(), error.kind());
                self.report.push(Problem::at(dir.at.clone(), message));
                return None;
            }
        };
        names.sort();
        Some(names.into_iter().filter_map(|name| self.script(dir, &name)).collect())
    }

    fn script(&mut self, dir: &At<PathBuf>, name: &OsStr) -> Option<PathBuf> {
        let path = dir.value.join(name);
        if let Some(reason) = reason_to_leave_out(&name.to_string_lossy()) {
            self.notices.push(Notice { path, reason });
            return None;
        }
        let path = At { value: path, at: dir.at.clone() };
        match self.find(&path)? {
            Found::File => Some(path.value),
            Found::Dir => {
                let message = format!("`{}` is a directory among scripts", path.value.display());
                self.report.push(Problem::at(path.at, message).hint("scripts are not looked for any deeper"));
                None
            }
        }
    }

    /// The keys in a file.
    fn keyring(&self, key: &At<PathBuf>) -> Option<Keyring> {
        let problem = |why: String| {
            Problem::at(
                key.at.clone(),
                format!("`{}` cannot be an archive's key: {why}", key.value.display()),
            )
        };
        if let Found::Dir = self.find(key)? {
            self.report.push(problem("it is a directory".to_owned()).hint(KeyringError::HINT));
            return None;
        }
        let read = bounded::read(&self.dir.join(&key.value), LARGEST_KEYRING)
            .map_err(|error| problem(bounded::explain(&error)));
        let parsed = read.and_then(|file| {
            Keyring::parse(&file).map_err(|error| problem(error.to_string()).hint(KeyringError::HINT))
        });
        parsed.map_err(|problem| self.report.push(problem)).ok()
    }

    /// Checks the interpreter line, and decides about the network if the recipe does not.
    fn read_script(&self, step: &mut DraftStep, path: &Path, at: &Span) {
        let bytes = match bounded::read(&self.dir.join(path), LONGEST_SCRIPT) {
            Ok(bytes) => bytes,
            Err(error) => {
                let message = format!("cannot read `{}`: {}", path.display(), bounded::explain(&error));
                let is_long = matches!(Unfit::of(&error), Some(Unfit::TooLarge { .. }));
                let hint = "what a script works on is no part of it: name that in `inputs`".to_owned();
                return self.report.push(Problem::at(at.clone(), message).hint_if(is_long.then_some(hint)));
            }
        };
        let text = String::from_utf8_lossy(&bytes);
        if let Some((message, hint)) = interpreter_problem(&text) {
            let message = format!("`{}` {message}", path.display());
            self.report.push(Problem::at(at.clone(), message).hint(hint));
        }
        step.settings.network.get_or_insert_with(|| default_network(&text));
        self.refuse_name_of_inputs(step, path, at);
    }

    /// A shell that is given a directory for a script says nothing and succeeds.
    fn refuse_name_of_inputs(&self, step: &DraftStep, path: &Path, at: &Span) {
        if step.settings.inputs.is_empty() || path.file_name() != Some(OsStr::new(INPUTS)) {
            return;
        }
        let message = format!("`{}` cannot be called `{INPUTS}` in a step with `inputs`", path.display());
        let hint = format!(
            "it would lie at `{RUN_DIR}/{INPUTS}`, which is where it finds them: give the script another name"
        );
        self.report.push(Problem::at(at.clone(), message).hint(hint));
    }

    /// What is at `path`, followed through links as long as they stay in the recipe's directory. Reports the rest.
    fn find(&self, path: &At<PathBuf>) -> Option<Found> {
        match self.resolve(&path.value) {
            Ok(metadata) if metadata.is_dir() => return Some(Found::Dir),
            Ok(metadata) if metadata.is_file() => return Some(Found::File),
            Ok(_) => {
                let message = format!("`{}` is neither a file nor a directory", path.value.display());
                self.report.push(Problem::at(path.at.clone(), message));
            }
            Err(problem) => self.report.push(problem.into_problem(self, path)),
        }
        None
    }

    fn resolve(&self, path: &Path) -> Result<Metadata, Unreachable> {
        let target = self.dir.join(path).canonicalize()?;
        if !target.starts_with(self.dir.canonicalize()?) {
            return Err(Unreachable::Outside);
        }
        Ok(target.metadata()?)
    }

    /// The nearest name in the deepest directory that exists, or what that directory is missing.
    fn nearest(&self, path: &Path) -> Option<String> {
        let missing = path.ancestors().take_while(|part| !self.dir.join(part).exists()).last()?;
        let parent = missing.parent().unwrap_or(Path::new(""));
        let entries = fs::read_dir(self.dir.join(parent)).ok()?;
        let siblings: Vec<String> = entries
            .flatten()
            .map(|entry| parent.join(entry.file_name()).to_string_lossy().into_owned())
            .collect();
        suggest::hint(&missing.to_string_lossy(), siblings.iter().map(String::as_str))
    }
}

/// Why a path leads to nothing that may be used.
enum Unreachable {
    Outside,
    Io(std::io::Error),
}

impl From<std::io::Error> for Unreachable {
    fn from(error: std::io::Error) -> Self {
        Unreachable::Io(error)
    }
}

impl Unreachable {
    fn into_problem(self, project: &Project<'_>, path: &At<PathBuf>) -> Problem {
        use std::io::ErrorKind::{NotADirectory, NotFound};
        let shown = path.value.display();
        let problem = |message: String| Problem::at(path.at.clone(), message);
        match self {
            Unreachable::Outside => problem(format!("`{shown}` leads out of the recipe's directory"))
                .hint("links may only lead to what is in it"),
            Unreachable::Io(_) if project.dir.join(&path.value).is_symlink() => {
                problem(format!("`{shown}` leads nowhere"))
            }
            Unreachable::Io(error) if matches!(error.kind(), NotFound | NotADirectory) => {
                problem(format!("there is no `{shown}`")).hint_if(project.nearest(&path.value))
            }
            Unreachable::Io(error) => problem(format!("cannot look at `{shown}`: {}", error.kind())),
        }
    }
}

/// What keeps the kernel from finding the interpreter of a script, and the remedy.
fn interpreter_problem(text: &str) -> Option<(&'static str, &'static str)> {
    let first = text.split('\n').next().unwrap_or_default();
    let interpreter = first.strip_prefix("#!").map(str::trim_start);
    if !interpreter.is_some_and(|rest| rest.starts_with('/')) {
        return Some(("has no interpreter line", "start it with `#!/bin/sh -e` or `#!/bin/bash`"));
    }
    let windows = ("has Windows line endings", "the interpreter would not be found: end lines with LF only");
    first.ends_with('\r').then_some(windows)
}

fn reason_to_leave_out(name: &str) -> Option<NoticeReason> {
    if Ignore::editor_files().ignores(name.as_bytes(), false) {
        Some(NoticeReason::EditorBackup)
    } else if name.starts_with('.') {
        Some(NoticeReason::Hidden)
    } else {
        None
    }
}
