//! One stage, run once more and compared.

use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use ibuild_compare::Program;
use ibuild_graph::RecordedStage;

use super::different_file::{DifferentFile, Runs};
use crate::StageError;
use crate::executor::stage_executor::{Again, StageExecutor};
use crate::output::StageOutput;

/// What came of running a stage once more.
#[derive(Debug)]
pub enum StageVerdict {
    /// It made the same.
    Equal,
    /// It made something else: these files differ.
    Differs(Vec<DifferentFile>),
    /// An image came out with other bytes from the same root file system: a mistake of ibuild, not of the recipe.
    ImageDiffers {
        /// A short account, for a report.
        account: String,
    },
    /// It failed, though it had succeeded.
    Failed(StageError),
}

/// A stage that was run once more.
#[derive(Debug)]
pub struct Verified {
    /// What came of it.
    pub verdict: StageVerdict,
    /// How long it took.
    pub elapsed: Duration,
}

/// Runs a stage once more from what its inputs made, and compares. Both versions of regular files that differ are written below
/// `keep`, in `1` and `2`.
///
/// # Errors
///
/// If the comparison itself is not possible: the store refuses, the disk is full, or somebody interrupts. That the stage
/// fails is a [verdict](StageVerdict::Failed).
pub fn verify_stage(
    executor: &StageExecutor<'_>,
    recorded: &RecordedStage<StageOutput>,
    keep: Option<&Path>,
) -> Result<Verified, StageError> {
    let start = Instant::now();
    let again = match executor.run_again(recorded) {
        Err(error) if error.is_interrupt() || error.is_environment() => return Err(error),
        Err(error) => {
            return Ok(Verified { verdict: StageVerdict::Failed(error), elapsed: start.elapsed() });
        }
        Ok(again) => again,
    };
    let elapsed = start.elapsed();
    let verdict = match (again, &recorded.output) {
        (Again::Step { run, program }, StageOutput::Snapshot(first)) => {
            let runs = Runs {
                store: executor.context().store(),
                first,
                second: &run,
                program: program.as_ref().map(|(name, text)| Program { name, text }),
                now: now(),
            };
            compare(&runs, keep)?
        }
        (Again::Image(account), _) => match account {
            None => StageVerdict::Equal,
            Some(account) => StageVerdict::ImageDiffers { account },
        },
        (Again::Step { .. }, _) => unreachable!("a step makes a snapshot"),
    };
    Ok(Verified { verdict, elapsed })
}

fn compare(runs: &Runs<'_>, keep: Option<&Path>) -> Result<StageVerdict, StageError> {
    if runs.first.tree == runs.second.tree {
        return Ok(StageVerdict::Equal);
    }
    if let Some(dir) = keep {
        runs.keep(dir)?;
    }
    Ok(StageVerdict::Differs(runs.different_files()?))
}

fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs() as i64)
}
