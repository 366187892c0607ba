//! One stage, run once more and compared.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use ibuild_compare::Program;
use ibuild_graph::RecordedStage;

use super::different_file::{Aspect, DifferentFile, Runs};
use super::variation::Variation;
use crate::StageError;
use crate::executor::stage_executor::{Again, StageExecutor};
use crate::output::StageOutput;

/// How a stage is verified.
#[derive(Debug, Clone, Copy, Default)]
pub struct VerifyOptions<'a> {
    /// Where both versions of regular files that differ are written, in `1` and `2`.
    pub keep: Option<&'a Path>,
    /// What of the machine is varied after the plain second run.
    pub vary: &'a [Variation],
}

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
    Failed {
        /// Why.
        error: StageError,
        /// What of the machine was another one.
        varied: Vec<Variation>,
    },
}

/// A stage that was run once more.
#[derive(Debug)]
pub struct Verified {
    /// What came of it.
    pub verdict: StageVerdict,
    /// How long it took.
    pub elapsed: Duration,
}

/// Runs a stage once more from what its inputs made, and compares; and again with the machine varied.
///
/// # Errors
///
/// If the comparison itself is not possible: the store refuses, the disk is full, or somebody interrupts. That the stage
/// fails is a [verdict](StageVerdict::Failed).
pub fn verify_stage(
    executor: &StageExecutor<'_>,
    recorded: &RecordedStage<StageOutput>,
    options: VerifyOptions<'_>,
) -> Result<Verified, StageError> {
    let start = Instant::now();
    let verdict = Verification { executor, recorded, options }.verdict()?;
    Ok(Verified { verdict, elapsed: start.elapsed() })
}

/// How often a stage runs once more before a difference is said to come from the machine.
const CONFIRMATIONS: usize = 2;

/// A stage under verification.
struct Verification<'a> {
    executor: &'a StageExecutor<'a>,
    recorded: &'a RecordedStage<StageOutput>,
    options: VerifyOptions<'a>,
}

impl Verification<'_> {
    fn verdict(&self) -> Result<StageVerdict, StageError> {
        let noise = match self.compare(&[], self.options.keep)? {
            StageVerdict::Equal => Vec::new(),
            StageVerdict::Differs(files) => files,
            failed => return Ok(failed),
        };
        let is_step = self.recorded.output.snapshot().is_some();
        let found = match is_step && !self.options.vary.is_empty() {
            true => self.varied(noise)?,
            false => StageVerdict::Differs(noise),
        };
        Ok(match found {
            StageVerdict::Differs(files) if files.is_empty() => StageVerdict::Equal,
            found => found,
        })
    }

    /// What differs by itself, and what differs besides when the machine is another one.
    fn varied(&self, mut files: Vec<DifferentFile>) -> Result<StageVerdict, StageError> {
        let mut noise = Noise::of(&files);
        let keep = self.options.keep.filter(|_| files.is_empty());
        match self.compare(self.options.vary, keep)? {
            StageVerdict::Equal => return Ok(StageVerdict::Differs(files)),
            StageVerdict::Differs(found) => files.extend(found.into_iter().filter(|file| !noise.has(file))),
            // What differs by itself is told first: it may be why the stage fails.
            _ if !files.is_empty() => return Ok(StageVerdict::Differs(files)),
            failed => return self.which_fails(failed),
        }
        self.confirm(&mut noise, &files)?;
        if files.iter().any(|file| !noise.has(file)) {
            for variation in self.options.vary {
                let StageVerdict::Differs(found) = self.compare(&[*variation], None)? else { continue };
                let with_it: BTreeSet<_> = found.into_iter().map(|file| file.path).collect();
                let differs = |file: &&mut DifferentFile| !noise.has(file) && with_it.contains(&file.path);
                files.iter_mut().filter(differs).for_each(|file| file.varied.push(*variation));
            }
            files.iter_mut().filter(|file| !noise.has(file)).for_each(|file| self.blame(file));
        }
        files.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(StageVerdict::Differs(files))
    }

    /// Looks again at what differs by itself if more than that seems to depend on the machine: what is drawn by lot may have been
    /// equal by chance.
    fn confirm(&self, noise: &mut Noise, files: &[DifferentFile]) -> Result<(), StageError> {
        for _ in 0..CONFIRMATIONS {
            if files.iter().all(|file| noise.has(file)) {
                break;
            }
            if let StageVerdict::Differs(found) = self.compare(&[], None)? {
                noise.add(&found);
            }
        }
        Ok(())
    }

    /// Names the cause of a file that differs only when the machine is varied.
    fn blame(&self, file: &mut DifferentFile) {
        if file.varied.is_empty() {
            // Only several of them together make it differ.
            file.varied = self.options.vary.to_vec();
        }
        if let [only] = file.varied.as_slice()
            && let Some(cause) = only.cause()
        {
            file.cause = Some(cause);
            file.call = file.call.take().filter(|call| call.cause == cause);
        }
    }

    /// The first variation with which a stage fails that fails with all of them.
    fn which_fails(&self, with_all: StageVerdict) -> Result<StageVerdict, StageError> {
        for variation in self.options.vary {
            if let failed @ StageVerdict::Failed { .. } = self.compare(&[*variation], None)? {
                return Ok(failed);
            }
        }
        Ok(with_all)
    }

    /// Runs the stage once more on such a machine.
    fn compare(&self, varied: &[Variation], keep: Option<&Path>) -> Result<StageVerdict, StageError> {
        let again = match self.executor.run_again(self.recorded, varied) {
            Err(error) if error.is_interrupt() || error.is_environment() => return Err(error),
            Err(error) => return Ok(StageVerdict::Failed { error, varied: varied.to_vec() }),
            Ok(again) => again,
        };
        match (again, &self.recorded.output) {
            (Again::Step { run, program }, StageOutput::Snapshot(first)) => {
                let runs = Runs {
                    store: self.executor.context().store(),
                    first,
                    second: &run,
                    program: program.as_ref().map(|(name, text)| Program { name, text }),
                    now: now(),
                };
                different_files(&runs, keep)
            }
            (Again::Image(None), _) => Ok(StageVerdict::Equal),
            (Again::Image(Some(account)), _) => Ok(StageVerdict::ImageDiffers { account }),
            (Again::Step { .. }, _) => unreachable!("a step makes a snapshot"),
        }
    }
}

/// What differs by itself.
struct Noise {
    paths: BTreeSet<String>,
    /// Directories in which files have other names in each run.
    places: BTreeSet<String>,
}

impl Noise {
    fn of(files: &[DifferentFile]) -> Self {
        let mut noise = Self { paths: BTreeSet::new(), places: BTreeSet::new() };
        noise.add(files);
        noise
    }

    fn add(&mut self, files: &[DifferentFile]) {
        self.paths.extend(files.iter().map(|file| file.path.clone()));
        self.places.extend(files.iter().filter(|file| is_extra(file)).map(place));
    }

    fn has(&self, file: &DifferentFile) -> bool {
        self.paths.contains(&file.path) || is_extra(file) && self.places.contains(&place(file))
    }
}

fn is_extra(file: &DifferentFile) -> bool {
    file.aspects == [Aspect::Extra]
}

fn place(file: &DifferentFile) -> String {
    file.path.rsplit_once('/').map_or_else(String::new, |(dir, _)| dir.to_owned())
}

fn different_files(runs: &Runs<'_>, keep: Option<&Path>) -> Result<StageVerdict, StageError> {
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
