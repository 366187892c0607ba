//! A verification for people.

use std::fmt::Write;

use ibuild::stages::{DifferentFile, Project, StageVerdict, Variation};
use ibuild::{VerifiedStage, VerifyReport};

use super::word;
use crate::terminal::{harmless, harmless_line};
use crate::ui::{counted, seconds};

/// Lines of the log of a stage that failed.
const LAST_LINES: usize = 10;

/// Files of a stage that are described.
const MOST_FILES: usize = 20;

/// What is said of a stage when it has been compared.
pub fn line(project: &Project<'_>, stage: &VerifiedStage) -> String {
    let (name, verdict) = (project.graph.name(stage.stage), &stage.verified.verdict);
    let files = match verdict {
        StageVerdict::Differs(files) => format!("  {}", counted(files.len(), "file", "files")),
        _ => String::new(),
    };
    format!("{:<7} {name}  {}{files}", word(stage), seconds(stage.verified.elapsed))
}

/// The differences in build order, and a sum.
pub fn report(project: &Project<'_>, report: &VerifyReport) -> String {
    let mut text = String::new();
    for stage in report.stages.iter().filter(|stage| !stage.is_equal()) {
        text += &difference(project, stage);
        text.push('\n');
    }
    let (all, equal) = (report.stages.len(), report.stages.iter().filter(|stage| stage.is_equal()).count());
    let waived = report.stages.iter().filter(|stage| stage.is_accepted() && !stage.is_equal()).count();
    let mut besides = String::new();
    if waived > 0 {
        besides += &format!(
            "; {} that `reproducible = false` accepts",
            counted(waived, "difference", "differences")
        );
    }
    if report.left_out > 0 {
        besides += &format!("; {} left out", report.left_out);
    }
    let _ = match all {
        0 => writeln!(text, "nothing to verify{besides}"),
        all if equal == all => {
            writeln!(text, "{} reproducible{besides}", counted(all, "stage is", "stages are"))
        }
        1 => writeln!(text, "the stage is not reproducible{besides}"),
        all => writeln!(text, "{equal} of {all} stages are reproducible{besides}"),
    };
    text
}

/// What differs in a stage; nothing, if it made the same.
pub fn difference(project: &Project<'_>, stage: &VerifiedStage) -> String {
    let name = project.graph.name(stage.stage);
    match &stage.verified.verdict {
        StageVerdict::Equal => String::new(),
        StageVerdict::Failed { error, varied } => {
            let machine = on_machine(varied);
            let mut text =
                format!("{name} failed when it ran once more{machine}: {}\n", harmless(&error.in_a_line()));
            if let Some((tail, log)) = error.transcript() {
                let last = tail.iter().skip(tail.len().saturating_sub(LAST_LINES));
                last.for_each(|line| text += &format!("  | {}\n", harmless_line(line)));
                text += &format!("  the full log is at {}\n", log.display());
            }
            text
        }
        StageVerdict::ImageDiffers { account } => {
            let account = harmless_line(account);
            format!("{name} has other bytes when it is packed from the same root file system: {account}\n")
        }
        StageVerdict::Differs(files) => {
            let mut text = format!("{name}  {}\n", counted(files.len(), "file differs", "files differ"));
            files.iter().take(MOST_FILES).for_each(|different| text += &file(different));
            if files.len() > MOST_FILES {
                text += &format!("  and {} more\n", files.len() - MOST_FILES);
            }
            text
        }
    }
}

/// What of the machine was another one: ` with another readdir, cpus`.
pub fn on_machine(varied: &[Variation]) -> String {
    let words: Vec<_> = varied.iter().map(|variation| variation.word()).collect();
    if words.is_empty() { String::new() } else { format!(" with other {}", words.join(", ")) }
}

fn file(file: &DifferentFile) -> String {
    let aspects: Vec<_> = file.aspects.iter().map(|aspect| aspect.word()).collect();
    let machine = on_machine(&file.varied);
    let mut text = format!("  {}  {}{machine}\n", harmless_line(&file.path), aspects.join(", "));
    for line in &file.lines {
        text += &format!("    {}\n", harmless_line(line));
    }
    if let Some(cause) = file.cause {
        text += &format!("    cause: {cause}\n");
    }
    if let Some(call) = &file.call {
        text += &format!("    where: {} line {}: {}\n", call.program, call.line, harmless_line(&call.text));
    }
    if let Some(cause) = file.cause {
        text += &format!("    cure:  {}\n", cause.cure());
    }
    text
}
