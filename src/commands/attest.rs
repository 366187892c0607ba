//! `ibuild attest` and `ibuild check-attestation`: build records.

use std::fs;
use std::process::{ExitCode, Stdio};
use std::sync::Arc;

use ibuild::release::{read_record, sign_record};
use ibuild::stages::Access;
use ibuild::{
    BuildRequest, CheckFailed, ComparedRecord, Context, EnvironmentError, ExecutionOptions, RecordedVerdict,
    Result, SameAction,
};
use serde_json::json;

use super::itself::{add_secrets, add_targets, itself};
use super::release::read_key;
use crate::cli::{AttestArgs, CheckAttestationArgs, Global};
use crate::interrupt;
use crate::invocation;
use crate::terminal::{harmless, print, print_json};
use crate::ui::{Mode, Ui, counted};

/// Digits of a digest that tell it from others.
const SHORT: usize = 12;

pub fn run(global: &Global, args: &AttestArgs) -> Result<ExitCode> {
    let text = match args.sign.is_empty() {
        true => {
            let workspace = invocation::open_with(global, &args.targets.vars, &args.secrets)?;
            workspace.attest(&args.targets.all(), &ExecutionOptions::default())?
        }
        false => {
            for signer in &args.sign {
                signer.check()?;
            }
            let mut command = itself(global)?;
            command.arg("attest");
            add_targets(&mut command, &args.targets);
            add_secrets(&mut command, &args.secrets);
            let output =
                command.stderr(Stdio::inherit()).output().context("cannot start this program once more")?;
            match output.status.code().and_then(|code| u8::try_from(code).ok()) {
                Some(0) => sign_record(&output.stdout, &args.sign)?,
                status => return Ok(ExitCode::from(status.unwrap_or(130))),
            }
        }
    };
    match &args.output {
        Some(path) => fs::write(path, text).with_context(|| format!("cannot write `{}`", path.display()))?,
        None => print(&text)?,
    }
    Ok(ExitCode::SUCCESS)
}

pub fn check(global: &Global, args: &CheckAttestationArgs) -> Result<ExitCode> {
    let key = read_key(args.key.as_deref())?;
    let record = read_record(&args.file, key.as_ref())?;
    let workspace = invocation::open_with(global, &args.vars, &args.secrets)?;
    workspace.check_record_project(&record)?;
    if args.rebuild {
        let scratch = workspace.store.run_dir()?;
        let access = if args.offline { Access::Offline } else { Access::Online };
        let request = BuildRequest {
            output: Some(scratch.path().to_owned()),
            execution: ExecutionOptions {
                access,
                cancel: interrupt::cancel_in_time()?,
                ..ExecutionOptions::default()
            },
            ..BuildRequest::of(record.images.iter().map(|image| image.file.clone()))
        };
        let mode = if global.quiet { Mode::Quiet } else { Mode::Normal };
        workspace.build(&request, Arc::new(Ui::new(mode, global, &workspace.project().graph)))?;
    }
    let compared = workspace.compare_with_record(&record)?;
    match args.json {
        true => print_json(as_json(&compared))?,
        false => print(&as_text(&compared))?,
    }
    match compared.first_difference() {
        Some(stage) => {
            Err(CheckFailed(format!("the first stage that differs is `{}`", stage.escape_debug())).into())
        }
        None if compared.is_partial() => Err(EnvironmentError {
            message: "what can be compared is equal, the rest is not known".to_owned(),
            hint: "`--rebuild` builds what is not in the store".to_owned(),
        }
        .into()),
        None => Ok(ExitCode::SUCCESS),
    }
}

fn word(verdict: &RecordedVerdict) -> &'static str {
    match verdict {
        RecordedVerdict::Same => "same",
        RecordedVerdict::Differs { .. } => "differs",
        RecordedVerdict::NotThere => "not-there",
        RecordedVerdict::NotHere => "not-here",
    }
}

fn as_text(compared: &ComparedRecord) -> String {
    let mut text = String::new();
    for (stage, verdict) in &compared.stages {
        let said = word(verdict);
        let detail = match verdict {
            RecordedVerdict::Differs { here, there, same_action } => {
                let why = match same_action {
                    SameAction::Yes => {
                        "both are made of the same: the stage is not reproducible, or somebody has changed the record"
                    }
                    SameAction::No => "there it was made of something else",
                };
                format!("  b3:{here:.SHORT$} here, b3:{there:.SHORT$} there; {why}")
            }
            _ => String::new(),
        };
        text += &format!("{:<9} {}{detail}\n", said, harmless(stage));
    }
    let count = |wanted: &str| compared.stages.iter().filter(|(_, verdict)| word(verdict) == wanted).count();
    let sum = [
        ("same", "same"),
        ("differs", "differ"),
        ("not-there", "not in the record"),
        ("not-here", "not built here"),
    ];
    let sum = sum.map(|(wanted, said)| (count(wanted), said)).into_iter().filter(|(count, _)| *count > 0);
    let sum: Vec<_> = sum.map(|(count, said)| format!("{count} {said}")).collect();
    text + &format!("{}: {}\n", counted(compared.stages.len(), "stage", "stages"), sum.join(", "))
}

fn as_json(compared: &ComparedRecord) -> serde_json::Value {
    let stage = |(stage, verdict): &(String, RecordedVerdict)| {
        let (here, there, same) = match verdict {
            RecordedVerdict::Differs { here, there, same_action } => {
                (Some(here), Some(there), Some(*same_action == SameAction::Yes))
            }
            _ => (None, None, None),
        };
        json!({ "stage": stage, "outcome": word(verdict), "here": here, "there": there, "same_action": same })
    };
    json!({
        "v": 1,
        "ibuild": compared.builder,
        "first": compared.first_difference(),
        "stages": compared.stages.iter().map(stage).collect::<Vec<_>>(),
    })
}
