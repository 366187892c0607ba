//! A line for each running stage with its time, one for downloads, one for the whole.

use std::collections::HashMap;
use std::time::Duration;

use ibuild::graph::{DirtyReason, Outcome, StageReport};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::{FOUND, Failure, Voice, bytes, counted, seconds, word};
use crate::terminal::Style;

/// Says things on a terminal.
pub struct Fancy {
    lines: MultiProgress,
    total: ProgressBar,
    /// What the line of a running stage looks like.
    stage_line: &'static str,
    downloads: Option<ProgressBar>,
    running: HashMap<String, ProgressBar>,
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("the template is constant and valid")
}

impl Fancy {
    pub fn new(style_of_text: Style) -> Self {
        let lines = MultiProgress::new();
        let total = lines.add(ProgressBar::new(0));
        total.set_style(style("{bar:20} {pos}/{len} stages  {elapsed}"));
        let stage_line = match style_of_text {
            Style::Colour => "{spinner} {prefix}  {elapsed}  {wide_msg:.dim}",
            Style::Plain => "{spinner} {prefix}  {elapsed}  {wide_msg}",
        };
        Self { lines, total, stage_line, downloads: None, running: HashMap::new() }
    }

    fn line(&self, template: &str) -> ProgressBar {
        let line = self.lines.insert_before(&self.total, ProgressBar::new(0));
        line.set_style(style(template));
        line.enable_steady_tick(Duration::from_millis(100));
        line
    }
}

impl Voice for Fancy {
    fn begin(&mut self, total: usize) {
        self.total.set_length(total as u64);
        self.total.set_position(0);
        self.total.enable_steady_tick(Duration::from_millis(500));
    }

    fn started(&mut self, stage: &str, reason: &DirtyReason) {
        let line = self.line(self.stage_line);
        line.set_prefix(stage.to_owned());
        line.set_message(reason.to_string());
        self.running.insert(stage.to_owned(), line);
    }

    fn finished(&mut self, stage: &str, report: &StageReport, _: Option<&Failure>) {
        self.total.inc(1);
        let line = self.running.remove(stage);
        if let Some(line) = &line {
            line.finish_and_clear();
        }
        let note = match report.outcome {
            Outcome::Ran { same_output: true, .. } => "  made the same as before",
            Outcome::Hit => FOUND,
            _ => "",
        };
        if line.is_some() || !matches!(report.outcome, Outcome::Hit | Outcome::Skipped) {
            let said = format!("{:<7} {stage}  {}{note}", word(&report.outcome), seconds(report.elapsed));
            // Only fails when the terminal is gone, and then there is nobody to tell.
            let _ = self.lines.println(said);
        }
    }

    fn again(&mut self, stages: usize) {
        self.total.set_position(self.total.position().saturating_sub(stages as u64));
    }

    fn progress(&mut self, stage: &str, done: u64, total: u64) {
        if let Some(line) = self.running.get(stage) {
            line.set_message(format!("{} of {}", bytes(done), bytes(total)));
        }
    }

    fn downloads(&mut self, running: usize, total: u64) {
        if running == 0 {
            if let Some(line) = self.downloads.take() {
                line.finish_and_clear();
            }
            return;
        }
        if self.downloads.is_none() {
            self.downloads = Some(self.line("{spinner} {wide_msg}"));
        }
        if let Some(line) = &self.downloads {
            line.set_message(format!(
                "downloading {}, {} so far",
                counted(running, "file", "files"),
                bytes(total)
            ));
        }
    }

    fn note(&mut self, stage: &str, text: &str) {
        let _ = self.lines.println(format!("note    {stage}  {text}"));
    }

    fn end(&mut self, fetched: u64) {
        if fetched > 0 {
            let _ = self.lines.println(format!("{} fetched", bytes(fetched)));
        }
        self.total.finish_and_clear();
        let _ = self.lines.clear();
    }
}
