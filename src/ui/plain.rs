//! Lines that stay, for logs and pipes.

use std::collections::{BTreeMap, BTreeSet};

use ibuild::graph::{DirtyReason, Outcome, StageReport};

use super::{FOUND, Failure, Voice, bytes, seconds, word};
use crate::terminal::tell;

/// How much is said.
enum Volume {
    Problems,
    Everything,
}

/// Says each thing once, on standard error.
pub struct Plain {
    volume: Volume,
    total: usize,
    settled: usize,
    running: BTreeSet<String>,
    /// Of what is not said: what may tell why a stage failed, if it does.
    unsaid: BTreeMap<String, Vec<String>>,
}

impl Plain {
    pub fn new() -> Self {
        let (running, unsaid) = Default::default();
        Self { volume: Volume::Everything, total: 0, settled: 0, running, unsaid }
    }

    pub fn quiet() -> Self {
        Self { volume: Volume::Problems, ..Self::new() }
    }

    fn say(&self, line: &str) {
        if matches!(self.volume, Volume::Everything) {
            tell!("{line}");
        }
    }
}

impl Voice for Plain {
    fn begin(&mut self, total: usize) {
        (self.total, self.settled) = (total, 0);
    }

    fn started(&mut self, stage: &str, reason: &DirtyReason) {
        self.running.insert(stage.to_owned());
        self.say(&format!("run     {stage}  {reason}"));
    }

    fn finished(&mut self, stage: &str, report: &StageReport, _: Option<&Failure>) {
        self.settled += 1;
        let unsaid = self.unsaid.remove(stage).unwrap_or_default();
        if report.outcome == Outcome::Failed {
            unsaid.iter().for_each(|line| tell!("{line}"));
        }
        let was_begun = self.running.remove(stage);
        let note = match report.outcome {
            Outcome::Ran { same_output: true, .. } => "  made the same as before",
            Outcome::Hit => FOUND,
            _ => "",
        };
        if was_begun || !matches!(report.outcome, Outcome::Hit | Outcome::Skipped) {
            let (settled, total, word) = (self.settled, self.total, word(&report.outcome));
            self.say(&format!("{word:<7} {stage}  {}  [{settled}/{total}]{note}", seconds(report.elapsed)));
        }
    }

    fn again(&mut self, stages: usize) {
        self.settled = self.settled.saturating_sub(stages);
    }

    fn progress(&mut self, _: &str, _: u64, _: u64) {}

    fn downloads(&mut self, _: usize, _: u64) {}

    fn note(&mut self, stage: &str, text: &str) {
        let line = format!("note    {stage}  {text}");
        match self.volume {
            Volume::Everything => tell!("{line}"),
            Volume::Problems => self.unsaid.entry(stage.to_owned()).or_default().push(line),
        }
    }

    fn end(&mut self, fetched: u64) {
        if fetched > 0 {
            self.say(&format!("{} fetched", bytes(fetched)));
        }
    }
}
