//! A stage that runs once more, for a comparison. What it makes is in no index, and goes when it has been looked at.

use std::io::{self, Write};
use std::path::PathBuf;

use ibuild_cache::{RunDir, Store, TreeId};

use crate::StageError;
use crate::executor::context::StageContext;
use crate::executor::resolved::{Changes, OutputRules};
use crate::executor::secrets::SecretGuard;
use crate::executor::space::Watch;
use crate::executor::stage_run::{Outcome, StageCommand, StageRun, TAIL};
use crate::inspect::inside::{Inside, InsideError, open_inside};
use crate::inspect::logs;
use crate::sandbox::{End, Ended, SandboxError};
use crate::snapshot::capture::{CaptureContext, capture_until};
use crate::snapshot::volatile::VolatileList;
use crate::snapshot::{Snapshot, TreeStore};

/// What a stage made when it ran once more.
pub(crate) struct SecondRun<'s> {
    /// The whole file system.
    pub tree: TreeId,
    /// The trees of the store and its own, which only this value knows.
    pub trees: TreeStore<'s>,
    /// What it was made over.
    parent: Option<Snapshot>,
    upper: PathBuf,
    _dir: RunDir,
}

/// Appended to the name of a stage, it makes the name of the log of its second run. No stage has such a name.
const LOG_SUFFIX: &str = "@verify";

impl<'s> SecondRun<'s> {
    /// Runs a payload in a sandbox that was prepared for it, and captures what it changed.
    pub(crate) fn of(
        run: StageRun,
        context: &StageContext<'s>,
        command: &StageCommand<'_>,
        output: &OutputRules,
    ) -> Result<Self, StageError> {
        let (log, path) = context.logs().create(&format!("{}{LOG_SUFFIX}", command.stage))?;
        let program = command.program.to_owned();
        let watch = Watch::over(run.dir.path());
        let Outcome { ended, .. } = run.in_sandbox(context, command, Some(&log))?;
        let interrupted = matches!(ended, Err(SandboxError::Interrupted));
        if let Some(left) = watch.end().filter(|_| !interrupted) {
            let store = context.store().layout().root().to_owned();
            return Err(StageError::DiskFull { program, store, left });
        }
        match ended {
            Ok(Ended { end: End::SUCCESS, .. }) => {}
            Ok(Ended { end, .. }) => {
                return Err(StageError::Failed { program, end, tail: logs::tail(&path, TAIL), log: path });
            }
            Err(source) => {
                return Err(StageError::Sandbox {
                    program,
                    tail: logs::tail(&path, TAIL),
                    log: path,
                    source,
                });
            }
        }
        let captured = Self::capture(run, context, output, command.guard);
        captured.map_err(|error| SecretGuard::harmless(command.guard, error))
    }

    fn capture(
        run: StageRun,
        context: &StageContext<'s>,
        output: &OutputRules,
        guard: Option<&SecretGuard>,
    ) -> Result<Self, StageError> {
        let upper = run.upper();
        let StageRun { dir, parent, .. } = run;
        let trees = TreeStore::new(context.store());
        let tree = match (&parent, output.changes) {
            (Some(parent), Changes::Discarded) => parent.tree,
            _ => {
                let volatile = VolatileList::with(&output.volatile);
                let capture = CaptureContext { trees: &trees, epoch: output.epoch, volatile };
                let below = parent.as_ref().map(|parent| parent.tree);
                let cancel = context.supervisor().cancel();
                let tree = capture_until(cancel, &capture, &upper, below)?.tree;
                // What differs is shown, and kept by `--keep`.
                guard.map_or(Ok(()), |guard| guard.check(&upper, cancel))?;
                tree
            }
        };
        Ok(Self { tree, trees, parent, upper, _dir: dir })
    }

    /// Writes a regular file of its tree to `out`, by its path from the root without a slash in front.
    ///
    /// # Errors
    ///
    /// If there is no such file, if it cannot be read, or if `out` does not take it.
    pub(crate) fn read(&self, store: &Store, path: &[u8], out: &mut dyn Write) -> Result<(), InsideError> {
        if let Some(mut file) =
            open_inside(&self.upper, path).map_err(StageError::io("open a file in", &self.upper))?
        {
            return io::copy(&mut file, out).map(drop).map_err(InsideError::Write);
        }
        // It left the parent's as it was.
        let missing = || InsideError::Missing(String::from_utf8_lossy(path).into_owned());
        Inside::of(store, self.parent.as_ref().ok_or_else(missing)?).read(path, out)
    }
}

/// Keeps the first bytes of what is written to it, and takes the rest.
pub(crate) struct FirstBytes {
    /// What was written.
    pub bytes: Vec<u8>,
    /// How much of it is kept.
    pub most: usize,
}

impl Write for FirstBytes {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let room = self.most - self.bytes.len();
        self.bytes.extend_from_slice(&buffer[..room.min(buffer.len())]);
        Ok(buffer.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
