//! A verification as one page.

use ibuild::stages::{DifferentFile, Project, StageVerdict};
use ibuild::{VerifiedStage, VerifyReport};

use super::page::{self, Origin};
use super::text::on_machine;
use super::word;
use crate::markup::escape;
use crate::ui::{counted, seconds};

/// The page.
pub fn page(project: &Project<'_>, report: &VerifyReport, origin: &Origin) -> String {
    let differing = report.stages.iter().filter(|stage| !stage.is_equal());
    let accounts: String = differing.map(|stage| account(project, stage)).collect();
    let rows: String = report.stages.iter().map(|stage| row(project, stage)).collect();
    let body = format!(
        "<p>{}. {}</p>\n{accounts}\
         <h2>All stages</h2>\n<table>\n<tr><th>stage</th><th>verdict</th><th>time</th></tr>\n{rows}</table>\n",
        sum(report),
        origin.sentences()
    );
    page::page(project, &body)
}

/// How many made the same, and how many differ as the recipe accepts.
fn sum(report: &VerifyReport) -> String {
    let equal = report.stages.iter().filter(|stage| stage.is_equal()).count();
    let waived = report.stages.iter().filter(|stage| stage.is_accepted()).count() - equal;
    let mut text = format!(
        "{equal} of {} made the same when they ran once more",
        counted(report.stages.len(), "stage", "stages")
    );
    if waived > 0 {
        text += &format!("; {waived} differ as <code>reproducible = false</code> accepts");
    }
    if report.left_out > 0 {
        text += &format!("; {} left out", report.left_out);
    }
    text
}

fn row(project: &Project<'_>, stage: &VerifiedStage) -> String {
    let (name, word) = (escape(project.graph.name(stage.stage).as_str()), word(stage));
    let link = match stage.is_equal() {
        true => format!("<code>{name}</code>"),
        false => format!("<a href=\"#{name}\"><code>{name}</code></a>"),
    };
    let time = seconds(stage.verified.elapsed);
    format!("<tr><td>{link}</td><td class=\"{word}\">{word}</td><td class=\"time\">{time}</td></tr>\n")
}

fn account(project: &Project<'_>, stage: &VerifiedStage) -> String {
    let name = escape(project.graph.name(stage.stage).as_str());
    let body = match &stage.verified.verdict {
        StageVerdict::Equal => String::new(),
        StageVerdict::Failed { error, varied } => {
            let machine = on_machine(varied);
            format!("<p>It failed when it ran once more{machine}: {}</p>\n", escape(&error.in_a_line()))
        }
        StageVerdict::ImageDiffers { account } => {
            format!("<p>Other bytes from the same root file system: {}</p>\n", escape(account))
        }
        StageVerdict::Differs(files) => files.iter().map(file).collect(),
    };
    format!("<section id=\"{name}\">\n<h2><code>{name}</code></h2>\n{body}</section>\n")
}

fn file(file: &DifferentFile) -> String {
    let aspects: Vec<_> = file.aspects.iter().map(|aspect| aspect.word()).collect();
    let mut text = format!(
        "<details open>\n<summary><code>{}</code> <span class=\"quiet\">{}{}</span></summary>\n",
        escape(&file.path),
        aspects.join(", "),
        on_machine(&file.varied)
    );
    if !file.lines.is_empty() {
        text += &format!("<pre>{}</pre>\n", escape(&file.lines.join("\n")));
    }
    if let Some(cause) = file.cause {
        text += &format!("<p>Cause: {}. Cure: {}.</p>\n", escape(cause.sentence()), escape(cause.cure()));
    }
    if let Some(call) = &file.call {
        let (program, line) = (escape(&call.program), call.line);
        text += &format!("<p>Where: {program} line {line}: <code>{}</code></p>\n", escape(&call.text));
    }
    text + "</details>\n"
}
