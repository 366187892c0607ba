//! Looks at the files a draft names: whether they are there, and which scripts a directory holds.

use std::path::{Path, PathBuf};

use ibuild_debian::{Keyring, KeyringError};
use ibuild_host::bounded;

use super::draft::{Draft, DraftKind, DraftSignature, DraftStep, Links};
use super::fetch::Signature;
use super::model::Notice;
use super::package_list::package_list;
use super::project_dir::{Found, ProjectDir};
use super::report::{Problem, Report};
use super::scripts::{Scripts, read_script};
use super::source::At;
use super::step::StepKind;

/// The keys of all who ever signed an archive are a tenth of it.
const LARGEST_KEYRING: u64 = 16 << 20;

/// Checks every file that `draft` names below `dir`, and replaces each directory of scripts by its scripts.
pub(super) fn expand(draft: &mut Draft, dir: &Path, report: &Report) {
    let mut files = Files { project: ProjectDir { dir, report }, notices: Vec::new() };
    for rootfs in draft.rootfses.values_mut() {
        let steps = std::mem::take(&mut rootfs.steps);
        rootfs.steps = steps.into_iter().flat_map(|step| files.expand(step)).collect();
    }
    for file in draft.tests.values().flatten().flat_map(|test| &test.files) {
        files.project.find(file);
    }
    for vendor in draft.archives.values_mut().flatten().filter_map(|draft| draft.vendor.as_mut()) {
        vendor.keyring = files.keyring(&vendor.key, "an archive's key");
    }
    draft.notices = files.notices;
    draft.notices.sort_by(|a, b| a.path.cmp(&b.path));
    draft.notices.dedup();
}

struct Files<'a> {
    project: ProjectDir<'a>,
    notices: Vec<Notice>,
}

impl Files<'_> {
    fn expand(&mut self, mut step: DraftStep) -> Vec<DraftStep> {
        step.settings.inputs.iter().for_each(|input| self.project.find_input(input));
        match step.kind.take() {
            Some(DraftKind::Scripts(scripts)) => {
                Scripts { project: &self.project, notices: &mut self.notices }.expand(&step, &scripts)
            }
            Some(DraftKind::PackagesFrom { list, recommends }) => {
                let names = package_list(&self.project, &list);
                let kind = names.map(|names| StepKind::Packages { names, recommends });
                step.kind = kind.map(|kind| DraftKind::Step { kind, links: Links::default() });
                vec![step]
            }
            Some(DraftKind::Step { mut kind, links }) => {
                if let StepKind::Fetch(rules) = &mut kind {
                    for (rule, signature) in rules.iter_mut().zip(&links.signatures) {
                        rule.signature = signature.as_ref().and_then(|draft| self.signature(draft));
                    }
                }
                if let StepKind::Copy(rules) = &kind {
                    let copied = links.copied.iter().zip(rules);
                    copied.for_each(|(path, rule)| self.project.find_but(path, &rule.exclude));
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
        match self.project.find(script) {
            Some(Found::File(_)) => read_script(&self.project, step, script),
            Some(Found::Dir) => {
                let problem =
                    Problem::at(script.at.clone(), format!("`{}` is a directory", script.value.display()));
                self.project
                    .report
                    .push(problem.hint("`scripts = \"DIR\"` makes a step of each file in a directory"));
            }
            None => {}
        }
    }

    fn signature(&self, draft: &DraftSignature) -> Option<Signature> {
        let DraftSignature { urls, key } = draft;
        let keyring = self.keyring(key, "the key of a signature")?;
        Some(Signature { urls: urls.clone(), key: key.value.clone(), keyring })
    }

    /// The keys in a file, which is to be something.
    fn keyring(&self, key: &At<PathBuf>, what: &str) -> Option<Keyring> {
        let problem = |why: String| {
            Problem::at(key.at.clone(), format!("`{}` cannot be {what}: {why}", key.value.display()))
        };
        if let Found::Dir = self.project.find(key)? {
            self.project.report.push(problem("it is a directory".to_owned()).hint(KeyringError::HINT));
            return None;
        }
        let read = bounded::read(&self.project.dir.join(&key.value), LARGEST_KEYRING)
            .map_err(|error| problem(bounded::explain(&error)));
        let parsed = read.and_then(|file| {
            Keyring::parse(&file).map_err(|error| problem(error.to_string()).hint(KeyringError::HINT))
        });
        parsed.map_err(|problem| self.project.report.push(problem)).ok()
    }
}
