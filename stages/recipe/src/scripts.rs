//! Scripts: directories of them become steps, and each one is looked into.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::fs::{self, Metadata};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use ibuild_host::bounded::{self, Unfit};
use ibuild_spec::RUN_DIR;
use ibuild_spec::bounds::LONGEST_SCRIPT;

use super::draft::{DraftKind, DraftScripts, DraftStep, Links, ScriptRules, Settings};
use super::model::{Notice, NoticeReason};
use super::network::default_network;
use super::parse::step_name_of;
use super::project_dir::{Found, ProjectDir};
use super::report::Problem;
use super::source::{At, Span};
use super::step::{INPUTS, SECRETS, StepKind};
use super::suggest;
use crate::ignore::Ignore;

/// Makes steps of the scripts of directories, and takes down what is no step or a strange one.
pub(super) struct Scripts<'a, 'r> {
    pub(super) project: &'a ProjectDir<'r>,
    pub(super) notices: &'a mut Vec<Notice>,
}

/// What is in directories of scripts, by name: of two of one name the one of the later directory.
type Merged = BTreeMap<OsString, At<PathBuf>>;

impl Scripts<'_, '_> {
    /// One step per script, in the order of their names' bytes; a gap if a directory cannot be read, so that
    /// nobody takes the rootfs for shorter than it is.
    pub(super) fn expand(&mut self, step: &DraftStep, scripts: &DraftScripts) -> Vec<DraftStep> {
        let Some(merged) = self.merged(scripts) else {
            return vec![step.clone()];
        };
        let names: BTreeSet<String> = merged.keys().map(|name| name.to_string_lossy().into_owned()).collect();
        for skip in scripts.skip.iter().filter(|skip| !names.contains(&skip.value)) {
            self.unknown(skip, &format!("there is no script `{}` to skip", skip.value), &names);
        }
        for (name, own) in &scripts.settings {
            if !names.contains(name) {
                let at = At { value: name.clone(), at: own.at.clone() };
                self.unknown(&at, &format!("there is no script `{name}` to set anything for"), &names);
            }
            own.value.inputs.iter().for_each(|input| self.project.find_input(input));
        }
        let is_skipped = |name: &OsStr| scripts.skip.iter().any(|skip| name == OsStr::new(&skip.value));
        let kept: Vec<_> = merged.iter().filter(|(name, _)| !is_skipped(name)).collect();
        let counts = (merged.len(), kept.len());
        // All are looked for before one is looked into.
        let judged: Vec<_> =
            kept.into_iter().map(|(_, script)| (script, self.judge(script, scripts.rules))).collect();
        if judged.iter().all(|(_, verdict)| *verdict == Classification::NoStep) {
            let is_here = |notice: &&Notice| {
                scripts.dirs.iter().any(|dir| notice.path.parent() == Some(dir.value.as_path()))
            };
            let left_out = self.notices.iter().find(is_here);
            self.project.report.push(nothing_left(scripts, counts, left_out));
        }
        let steps = judged.into_iter().filter(|(_, verdict)| *verdict == Classification::Step);
        steps.map(|(script, _)| self.script_step(step, script, scripts)).collect()
    }

    fn unknown(&self, name: &At<String>, message: &str, known: &BTreeSet<String>) {
        let hint = suggest::hint(&name.value, known.iter().map(String::as_str));
        self.project.report.push(Problem::at(name.at.clone(), message).hint_if(hint));
    }

    fn script_step(&self, template: &DraftStep, script: &At<PathBuf>, scripts: &DraftScripts) -> DraftStep {
        let mut step = template.clone();
        match step_name_of(&script.value) {
            Ok(value) => {
                if let Some(own) = scripts.settings.get(value.as_str()) {
                    step.settings = own.value.clone().over(step.settings);
                }
                step.name = Some(At { value, at: script.at.clone() });
            }
            Err(error) => {
                let message = format!("`{}` cannot name a step", script.value.display());
                self.project.report.push(Problem::at(script.at.clone(), message).hint(error.rule()));
            }
        }
        read_script(self.project, &mut step, script);
        let kind = StepKind::Script { path: script.value.clone() };
        step.kind = Some(DraftKind::Step { kind, links: Links::default() });
        step
    }

    fn merged(&mut self, scripts: &DraftScripts) -> Option<Merged> {
        let mut merged = Merged::new();
        for dir in &scripts.dirs {
            let names =
                self.names_in(dir)?.into_iter().filter(|name| self.may_be_step(dir, name, scripts.rules));
            let found: Vec<_> = names.collect();
            let place = |name: OsString| {
                let path = At { value: dir.value.join(&name), at: dir.at.clone() };
                (name, path)
            };
            merged.extend(found.into_iter().map(place));
        }
        Some(merged)
    }

    fn names_in(&self, dir: &At<PathBuf>) -> Option<Vec<OsString>> {
        let report = |problem: Problem| self.project.report.push(problem);
        if let Found::File(_) = self.project.find(dir)? {
            let problem =
                Problem::at(dir.at.clone(), format!("`{}` is not a directory", dir.value.display()));
            report(problem.hint("`script = \"FILE\"` runs one file"));
            return None;
        }
        let listed = fs::read_dir(self.project.dir.join(&dir.value))
            .and_then(|entries| entries.map(|entry| Ok(entry?.file_name())).collect::<Result<Vec<_>, _>>());
        let cannot = |error: std::io::Error| {
            let message = format!("cannot list `{}`: {}", dir.value.display(), error.kind());
            report(Problem::at(dir.at.clone(), message));
        };
        listed.map_err(cannot).ok()
    }

    /// Whether a name is one of a script; notes why it is none.
    fn may_be_step(&mut self, dir: &At<PathBuf>, name: &OsStr, rules: ScriptRules) -> bool {
        let reason = reason_to_leave_out(name, rules);
        self.notices.extend(reason.map(|reason| Notice { path: dir.value.join(name), reason }));
        reason.is_none()
    }

    /// Whether what has the name of a script is one.
    fn judge(&mut self, script: &At<PathBuf>, rules: ScriptRules) -> Classification {
        let Some(found) = self.project.find(script) else { return Classification::Mistake };
        let reason = match (found, rules) {
            (Found::File(file), _) if is_executable(&file) => return Classification::Step,
            (Found::Dir, ScriptRules::EveryFile) => {
                let message = format!("`{}` is a directory among scripts", script.value.display());
                let problem = Problem::at(script.at.clone(), message);
                self.project.report.push(problem.hint("scripts are not looked for any deeper"));
                return Classification::Mistake;
            }
            (Found::Dir, ScriptRules::RunParts) => NoticeReason::Directory,
            (Found::File(_), ScriptRules::RunParts) => NoticeReason::NotExecutable,
            (Found::File(_), ScriptRules::EveryFile) => NoticeReason::RunsAllTheSame,
        };
        self.notices.push(Notice { path: script.value.clone(), reason });
        if reason == NoticeReason::RunsAllTheSame { Classification::Step } else { Classification::NoStep }
    }
}

/// What comes of something among scripts.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Classification {
    Step,
    /// It is left out, which has been noted.
    NoStep,
    /// It should not be there, which has been reported.
    Mistake,
}

fn is_executable(file: &Metadata) -> bool {
    file.mode() & 0o111 != 0
}

/// There would be no step: so many files have names of scripts, and so many of them are not skipped.
fn nothing_left(scripts: &DraftScripts, (found, kept): (usize, usize), left_out: Option<&Notice>) -> Problem {
    let names: Vec<_> = scripts.dirs.iter().map(|dir| dir.value.display().to_string()).collect();
    let dirs = suggest::list(&names.iter().map(String::as_str).collect::<Vec<_>>());
    let problem = |message: String| Problem::at(scripts.dirs[0].at.clone(), message);
    match (found, kept) {
        (0, _) => problem(format!("there are no scripts in {dirs}"))
            .hint_if(left_out.map(|notice| format!("{notice}"))),
        (count, 0) => problem(format!("`skip` leaves no script of {dirs}"))
            .hint(format!("it names all {count} of them")),
        _ => problem(format!("no script of {dirs} is executable"))
            .hint("of a list of directories only executable files run: `chmod +x` them"),
    }
}

/// Checks the interpreter line, and decides about the network if the recipe does not.
pub(super) fn read_script(project: &ProjectDir<'_>, step: &mut DraftStep, script: &At<PathBuf>) {
    let At { value: path, at } = script;
    let bytes = match bounded::read(&project.dir.join(path), LONGEST_SCRIPT) {
        Ok(bytes) => bytes,
        Err(error) => {
            let message = format!("cannot read `{}`: {}", path.display(), bounded::explain(&error));
            let is_long = matches!(Unfit::of(&error), Some(Unfit::TooLarge { .. }));
            let hint = "what a script works on is no part of it: name that in `inputs`".to_owned();
            let problem = Problem::at(at.clone(), message);
            return project.report.push(problem.hint_if(is_long.then_some(hint)));
        }
    };
    let text = String::from_utf8_lossy(&bytes);
    if let Some((message, hint)) = interpreter_problem(&text) {
        let message = format!("`{}` {message}", path.display());
        project.report.push(Problem::at(at.clone(), message).hint(hint));
    }
    step.settings.network.get_or_insert_with(|| default_network(&text));
    refuse_taken_name(project, &step.settings, path, at);
}

/// A shell that is given a directory for a script says nothing and succeeds.
fn refuse_taken_name(project: &ProjectDir<'_>, settings: &Settings, path: &Path, at: &Span) {
    let taken =
        [("inputs", INPUTS, settings.inputs.is_empty()), ("secrets", SECRETS, settings.secrets.is_empty())];
    for (key, name, is_free) in taken {
        if is_free || path.file_name() != Some(OsStr::new(name)) {
            continue;
        }
        let message = format!("`{}` cannot be called `{name}` in a step with `{key}`", path.display());
        let hint = format!(
            "it would lie at `{RUN_DIR}/{name}`, which is where it finds them: give the script another name"
        );
        project.report.push(Problem::at(at.clone(), message).hint(hint));
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

fn reason_to_leave_out(name: &OsStr, rules: ScriptRules) -> Option<NoticeReason> {
    if Ignore::editor_files().ignores(name.as_bytes(), false) {
        return Some(NoticeReason::EditorBackup);
    }
    if name.as_bytes().starts_with(b".") {
        return Some(NoticeReason::Hidden);
    }
    let is_taken = |byte: &u8| byte.is_ascii_alphanumeric() || b"_-".contains(byte);
    match rules {
        ScriptRules::RunParts if !name.as_bytes().iter().all(is_taken) => Some(NoticeReason::Name),
        ScriptRules::RunParts | ScriptRules::EveryFile => None,
    }
}
