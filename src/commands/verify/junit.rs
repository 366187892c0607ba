//! A verification as JUnit XML: a test case for each stage.

use std::time::Duration;

use ibuild::graph::StageId;
use ibuild::stages::{Project, StageVerdict};
use ibuild::{Error, VerifiedStage, VerifyReport};

use super::text;
use crate::failure::in_a_line;
use crate::junit::{Case, Outcome, Suite};

/// The document.
pub fn document(project: &Project<'_>, report: &VerifyReport) -> String {
    let name = format!("ibuild verify {}", project.recipe.project.name);
    let cases = report.stages.iter().map(|stage| case(project, stage)).collect();
    Suite { name: &name, cases }.to_xml()
}

/// The document of a verification that did not begin, because its build failed.
pub fn failed_build(project: &Project<'_>, error: &Error) -> String {
    let name = format!("ibuild verify {}", project.recipe.project.name);
    let account = error.chain().map(|cause| cause.to_string() + "\n").collect();
    let outcome = Outcome::Failed { message: in_a_line(error), account };
    let (class, name_of_case) = ("ibuild".to_owned(), "build".to_owned());
    let case = Case { class, name: name_of_case, elapsed: Duration::ZERO, outcome };
    Suite { name: &name, cases: vec![case] }.to_xml()
}

fn case(project: &Project<'_>, stage: &VerifiedStage) -> Case {
    let (class, name) = names(project, stage.stage);
    let outcome = match stage.is_accepted() {
        true => Outcome::Passed,
        false => Outcome::Failed { message: message(stage), account: text::difference(project, stage) },
    };
    Case { class, name, elapsed: stage.verified.elapsed, outcome }
}

/// What the case of a stage is one of, and its name.
pub(super) fn names(project: &Project<'_>, stage: StageId) -> (String, String) {
    let name = project.graph.name(stage).as_str();
    let (class, short) = name.split_once('/').unwrap_or(("images", name));
    (class.to_owned(), short.to_owned())
}

fn message(stage: &VerifiedStage) -> String {
    match &stage.verified.verdict {
        StageVerdict::Equal => String::new(),
        StageVerdict::Failed { error, .. } => error.in_a_line(),
        StageVerdict::ImageDiffers { .. } => "other bytes from the same root file system".to_owned(),
        StageVerdict::Differs(files) => {
            format!("not reproducible: {}", files.first().map_or("", |file| &file.path))
        }
    }
}
