//! A verification as JUnit XML: a test case for each stage.

use ibuild::stages::{Project, StageVerdict};
use ibuild::{VerifiedStage, VerifyReport};

use super::text;
use crate::junit::{Case, Failure, Suite};

/// The document.
pub fn document(project: &Project<'_>, report: &VerifyReport) -> String {
    let name = format!("ibuild verify {}", project.recipe.project.name);
    let cases = report.stages.iter().map(|stage| case(project, stage)).collect();
    Suite { name: &name, cases }.to_xml()
}

fn case(project: &Project<'_>, stage: &VerifiedStage) -> Case {
    let name = project.graph.name(stage.stage).as_str();
    let (class, short) = name.split_once('/').unwrap_or(("images", name));
    let failure = (!stage.is_accepted())
        .then(|| Failure { message: message(stage), account: text::difference(project, stage) });
    Case { class: class.to_owned(), name: short.to_owned(), elapsed: stage.verified.elapsed, failure }
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
