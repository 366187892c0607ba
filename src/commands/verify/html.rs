//! A verification as one page, with nothing to be fetched. It follows the reader's wish for light or dark.

use ibuild::stages::debian::Timestamp;
use ibuild::stages::{DifferentFile, Project, StageVerdict};
use ibuild::{VerifiedStage, VerifyReport};

use super::text::on_machine;
use super::word;
use crate::markup::escape;
use crate::ui::{counted, seconds};

const STYLE: &str = "\
:root { color-scheme: light dark; --line: #8884; --bad: #b3261e; --good: #2e7d32; --quiet: #666; }\n\
@media (prefers-color-scheme: dark) { :root { --bad: #ff8a80; --good: #81c784; --quiet: #aaa; } }\n\
body { font: 15px/1.45 system-ui, sans-serif; max-width: 70em; margin: 2em auto; padding: 0 1em; }\n\
h1 { font-size: 1.4em; } table { border-collapse: collapse; width: 100%; }\n\
td, th { text-align: left; padding: .3em .8em .3em 0; border-bottom: 1px solid var(--line); vertical-align: top; }\n\
td.time { text-align: right; font-variant-numeric: tabular-nums; }\n\
.waived { color: var(--quiet); font-weight: 600; } .differs, .failed { color: var(--bad); font-weight: 600; } .equal { color: var(--good); }\n\
code, pre { font-family: ui-monospace, monospace; font-size: .9em; }\n\
pre { overflow-x: auto; padding: .6em; border: 1px solid var(--line); border-radius: .3em; }\n\
details { margin: .6em 0; } summary { cursor: pointer; } .quiet { color: var(--quiet); }\n";

/// The page.
pub fn page(project: &Project<'_>, report: &VerifyReport) -> String {
    let name = escape(project.recipe.project.name.as_str());
    let sum = sum(report);
    let differing = report.stages.iter().filter(|stage| !stage.is_equal());
    let accounts: String = differing.map(|stage| account(project, stage)).collect();
    let rows: String = report.stages.iter().map(|stage| row(project, stage)).collect();
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{name}: reproducibility</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n\
         <h1>{name}: reproducibility</h1>\n<p>{sum}</p>\n{accounts}\
         <h2>All stages</h2>\n<table>\n<tr><th>stage</th><th>verdict</th><th>time</th></tr>\n{rows}</table>\n\
         </body>\n</html>\n"
    )
}

/// How many made the same, how many differ as the recipe accepts, and when that was.
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
    let now = std::time::UNIX_EPOCH.elapsed().map_or(0, |time| time.as_secs());
    format!("{text}. {}.", Timestamp(now))
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
