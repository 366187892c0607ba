//! A verification for programs: an object for each stage, and one at the end.

use ibuild::stages::{DifferentFile, Project, StageVerdict, Variation};
use ibuild::{VerifiedStage, VerifyReport};
use serde_json::{Value, json};

use super::word;
use crate::ui::emit;

/// What came of a stage.
pub fn stage(project: &Project<'_>, stage: &VerifiedStage) -> Value {
    let mut verified = json!({
        "event": "verified",
        "stage": project.graph.name(stage.stage).as_str(),
        "outcome": word(stage),
        "seconds": stage.verified.elapsed.as_secs_f64(),
        "files": [],
    });
    match &stage.verified.verdict {
        StageVerdict::Equal => {}
        StageVerdict::Differs(files) => verified["files"] = files.iter().map(file).collect(),
        StageVerdict::ImageDiffers { account } => verified["reason"] = json!(account),
        StageVerdict::Failed { error, varied } => {
            verified["reason"] = json!(error.in_a_line());
            verified["varied"] = words(varied);
        }
    }
    verified
}

fn words(varied: &[Variation]) -> Value {
    varied.iter().map(|variation| variation.word()).collect()
}

fn file(file: &DifferentFile) -> Value {
    json!({
        "path": file.path,
        "aspects": file.aspects.iter().map(|aspect| aspect.word()).collect::<Vec<_>>(),
        "varied": words(&file.varied),
        "lines": file.lines,
        "cause": file.cause.map(|cause| cause.word()),
        "cure": file.cause.map(|cause| cause.cure()),
        "call": file.call.as_ref().map(|call| json!({ "program": call.program, "line": call.line, "text": call.text })),
    })
}

/// What came of all of them.
pub fn summary(project: &Project<'_>, report: &VerifyReport) {
    let first = report.failures().next();
    emit(json!({
        "event": "end",
        "stages": report.stages.len(),
        "equal": report.stages.iter().filter(|stage| stage.is_equal()).count(),
        "left_out": report.left_out,
        "reproducible": report.is_reproducible(),
        "first": first.map(|stage| project.graph.name(stage.stage).as_str()),
    }));
}
