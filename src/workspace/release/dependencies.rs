//! What a build was made of: the recipe, the states of its archives, packages, files of the project and of elsewhere.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use ibuild_graph::{Description, RecordedStage, Value};
use ibuild_stages::fields::{COPY, COPY_FILES, FILE_CONTENT, INPUTS, SCRIPT, copy_rule};
use ibuild_stages::packages::{Lock, LockedDeb, LockedRelease};
use ibuild_stages::recipe::{ArchiveName, CopyRule, FetchRule, Recipe, Step, StepKind};
use ibuild_stages::release::{Dependency, DependencyDigest};
use ibuild_stages::{Job, Project, StageOutput};
use sha2::{Digest, Sha256};

use super::{LOCK_FILE, RELEASED_RECIPE};

/// A stage as the store has it.
type BuiltStage = RecordedStage<StageOutput>;

/// What stages of a project were made of.
pub(super) fn dependencies(project: &Project<'_>, lock: &Lock, stages: &[&BuiltStage]) -> Vec<Dependency> {
    let steps = stages.iter().filter_map(|built| match project.job(built.stage) {
        Job::Step { step, .. } => Some((step, &built.description)),
        Job::Image { .. } => None,
    });
    let archives = steps.clone().flat_map(|(step, _)| archives(step)).map(ArchiveName::as_str).collect();
    let names = stages.iter().map(|built| project.graph.name(built.stage).to_string()).collect();
    let mut all = of_texts(project.recipe, lock);
    all.extend(of_archives(lock, &archives));
    all.extend(of_packages(lock, &names));
    for file in steps.flat_map(|(step, description)| of_step(step, description)) {
        if !all.contains(&file) {
            all.push(file);
        }
    }
    all
}

/// The archives that a root file system comes from.
fn archives(step: &Step) -> &[ArchiveName] {
    match &step.kind {
        StepKind::Bootstrap { archive, .. } => archive.all(),
        _ => &[],
    }
}

/// The recipe and the lock themselves.
fn of_texts(recipe: &Recipe, lock: &Lock) -> Vec<Dependency> {
    let recipe = sha256_of(recipe.show().to_string().as_bytes());
    let lock = sha256_of(lock.to_text().as_bytes());
    vec![named(RELEASED_RECIPE, recipe), named(LOCK_FILE, lock)]
}

/// The signed roots of the suites of archives. Each names its indices by their digests, so that they need no entries of their own.
fn of_archives(lock: &Lock, archives: &BTreeSet<&str>) -> Vec<Dependency> {
    let releases = lock.releases().iter().filter(|it| archives.contains(it.archive.as_str()));
    let root = |it: &LockedRelease| Dependency {
        name: format!("{} {}", it.archive, it.suite.as_str()),
        uri: Some(format!("{}/{}InRelease", it.base.canonical_url(), it.suite.directory())),
        digest: DependencyDigest::Sha256(it.inrelease.sha256.hex()),
    };
    releases.map(root).collect()
}

/// The packages that some stages used.
fn of_packages(lock: &Lock, stages: &BTreeSet<String>) -> Vec<Dependency> {
    let used = lock.debs().filter(|(_, by)| by.iter().any(|stage| stages.contains(stage)));
    let package = |LockedDeb { deb, .. }: &LockedDeb| Dependency {
        name: format!("{} {} {}", deb.name, deb.version, deb.architecture),
        uri: Some(format!("{}/{}", deb.base.canonical_url(), deb.path)),
        digest: DependencyDigest::Sha256(deb.sha256.hex()),
    };
    used.map(|(locked, _)| package(locked)).collect()
}

/// The files of the project that a step was made of, as they were then, and those that it fetched.
fn of_step(step: &Step, description: &Description) -> Vec<Dependency> {
    let field = |name: &str| description.fields().get(name).expect("a step describes what it is made of");
    let mut all = match &step.kind {
        StepKind::Copy(rules) => copied(rules, field(COPY)),
        StepKind::Fetch(rules) => rules.iter().map(fetched).collect(),
        StepKind::Script { path } => vec![named(&path.display().to_string(), digest(field(SCRIPT)))],
        _ => Vec::new(),
    };
    all.extend(step.inputs.iter().map(|input| {
        // As it is shown: without what a path may have besides names.
        let path: PathBuf = Path::new("/").join(&input.path).components().skip(1).collect();
        let name = path.display().to_string();
        named(&name, digest(member(field(INPUTS), &name)))
    }));
    all
}

fn copied(rules: &[CopyRule], described: &Value) -> Vec<Dependency> {
    let one = |(number, rule): (usize, &CopyRule)| {
        let files = member(member(described, &copy_rule(number, &rule.to)), COPY_FILES);
        named(&rule.from.display().to_string(), digest(files))
    };
    rules.iter().enumerate().map(one).collect()
}

fn fetched(rule: &FetchRule) -> Dependency {
    Dependency {
        name: rule.to.clone(),
        uri: rule.urls.first().map(ToString::to_string),
        digest: DependencyDigest::Sha256(rule.sha256.hex()),
    }
}

fn named(name: &str, digest: DependencyDigest) -> Dependency {
    Dependency { name: name.to_owned(), uri: None, digest }
}

fn member<'v>(map: &'v Value, name: &str) -> &'v Value {
    match map {
        Value::Map(members) => members.get(name.as_bytes()).expect("a description has a value for each file"),
        other => panic!("`{other}` has no members"),
    }
}

/// The digest of a script, or of a file or directory of the project, as a description has it.
fn digest(content: &Value) -> DependencyDigest {
    match content {
        Value::Text(text) => sha256_of(text.as_bytes()),
        Value::Bytes(bytes) => sha256_of(bytes),
        Value::Tree(digest) => DependencyDigest::Tree(hex(digest)),
        Value::Digest(digest) => DependencyDigest::Blake3(hex(digest)),
        file => digest(member(file, FILE_CONTENT)),
    }
}

fn sha256_of(bytes: &[u8]) -> DependencyDigest {
    DependencyDigest::Sha256(hex(&Sha256::digest(bytes).into()))
}

fn hex(digest: &[u8; 32]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}
