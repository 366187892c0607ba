//! JSON, one object a line, on standard output.

use ibuild::graph::{DirtyReason, Outcome, StageReport};
use ibuild::stages::BootOutcome;
use serde_json::{Value, json};

use super::{Failure, Voice, word};
use crate::terminal::report;

/// Says each thing as an object.
pub struct Events;

/// Prints one object. Every one has the version of their meaning.
pub fn emit(mut event: Value) {
    event["v"] = json!(1);
    report(&format!("{event}\n"));
}

impl Voice for Events {
    fn begin(&mut self, total: usize) {
        emit(json!({ "event": "begin", "stages": total }));
    }

    fn started(&mut self, stage: &str, reason: &DirtyReason) {
        emit(json!({ "event": "started", "stage": stage, "reason": reason.to_string() }));
    }

    fn finished(&mut self, stage: &str, report: &StageReport, failure: Option<&Failure>) {
        let mut event = json!({
            "event": "finished",
            "stage": stage,
            "outcome": word(&report.outcome),
            "seconds": report.elapsed.as_secs_f64(),
        });
        if let Outcome::Ran { reason, same_output, .. } = &report.outcome {
            event["reason"] = json!(reason.to_string());
            event["same_output"] = json!(same_output);
        }
        if let Some(Failure { reason, log }) = failure {
            event["reason"] = json!(reason);
            event["log"] = json!(log);
        }
        emit(event);
    }

    fn kept(&mut self, stage: &str) {
        emit(json!({ "event": "kept", "stage": stage }));
    }

    fn again(&mut self, _: usize) {}

    fn progress(&mut self, stage: &str, done: u64, total: u64) {
        if done == total {
            emit(json!({ "event": "progress", "stage": stage, "done": done, "total": total }));
        }
    }

    fn packed(&mut self, stage: &str, grains: u64, compressed: u64) {
        emit(json!({ "event": "packed", "stage": stage, "grains": grains, "compressed": compressed }));
    }

    fn boot_loader(&mut self, stage: &str, outcome: BootOutcome) {
        let outcome = match outcome {
            BootOutcome::Made => "made",
            BootOutcome::Found => "found",
        };
        emit(json!({ "event": "boot-loader", "stage": stage, "outcome": outcome }));
    }

    fn downloads(&mut self, _: usize, _: u64) {}

    fn note(&mut self, stage: &str, text: &str) {
        emit(json!({ "event": "note", "stage": stage, "text": text }));
    }

    fn ignored(&mut self, stage: &str, files: &[String]) {
        emit(json!({ "event": "ignored", "stage": stage, "files": files }));
    }

    fn nondeterministic(&mut self, stage: &str, paths: &[String]) {
        emit(json!({ "event": "nondeterministic", "stage": stage, "paths": paths }));
    }

    fn end(&mut self, fetched: u64) {
        if fetched > 0 {
            emit(json!({ "event": "fetched", "bytes": fetched }));
        }
    }
}
