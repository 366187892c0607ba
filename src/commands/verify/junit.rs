//! A verification as JUnit XML, in the form that GitHub, GitLab and Jenkins read
//! (<https://github.com/testmoapp/junitxml>).

use std::time::Duration;

use ibuild::stages::{Project, StageVerdict};
use ibuild::{VerifiedStage, VerifyReport};

use super::text;
use crate::markup::escape;

/// The document: a test suite with one test case for each stage.
pub fn document(project: &Project<'_>, report: &VerifyReport) -> String {
    let failures = report.stages.iter().filter(|stage| !stage.is_accepted()).count();
    let elapsed: Duration = report.stages.iter().map(|stage| stage.verified.elapsed).sum();
    let seconds = elapsed.as_secs_f64();
    let cases: String = report.stages.iter().map(|stage| case(project, stage)).collect();
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n\
         <testsuite name=\"ibuild verify {}\" tests=\"{}\" failures=\"{failures}\" errors=\"0\" skipped=\"0\" time=\"{seconds:.3}\">\n\
         {cases}</testsuite>\n</testsuites>\n",
        escape(project.recipe.project.name.as_str()),
        report.stages.len(),
    )
}

fn case(project: &Project<'_>, stage: &VerifiedStage) -> String {
    let name = project.graph.name(stage.stage).as_str();
    let (class, short) = name.split_once('/').unwrap_or(("images", name));
    let seconds = stage.verified.elapsed.as_secs_f64();
    let open =
        format!("<testcase classname=\"{}\" name=\"{}\" time=\"{seconds:.3}\"", escape(class), escape(short));
    if stage.is_accepted() {
        return format!("{open}/>\n");
    }
    let message = match &stage.verified.verdict {
        StageVerdict::Equal => String::new(),
        StageVerdict::Failed { error, .. } => error.in_a_line(),
        StageVerdict::ImageDiffers { .. } => "other bytes from the same root file system".to_owned(),
        StageVerdict::Differs(files) => {
            format!("not reproducible: {}", files.first().map_or("", |file| &file.path))
        }
    };
    let account = text::difference(project, stage);
    format!(
        "{open}>\n<failure message=\"{}\">{}</failure>\n</testcase>\n",
        escape(&message),
        escape(&account)
    )
}
