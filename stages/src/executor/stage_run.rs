//! Runs a payload over a snapshot and captures what it changed. All kinds of steps go through here.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use ibuild_cache::{Batch, RunDir};
use ibuild_graph::{Made, MadeResult};

use crate::StageError;
use crate::executor::context::StageContext;
use crate::executor::failed_state::{FailedState, Remains};
use crate::executor::resolved::OutputRules;
use crate::executor::secrets::SecretGuard;
use crate::executor::shown::ShownPlace;
use crate::executor::space::Watch;
use crate::inspect::logs;
use crate::packages::{DebRef, StageFetch, StageFetches, StageTls};
use crate::packages_used::package_usage::PackageUsage;
use crate::recipe::{self, ArchiveName};
use crate::sandbox::{
    self, CopySource, End, Ended, HostPaths, Payload, RunPolicy, SandboxError, SandboxView, SourcePlace,
    Spec, Stdio,
};
use crate::snapshot::capture::{CaptureContext, capture_until};
use crate::snapshot::volatile::VolatileList;
use crate::snapshot::{LayerStore, OwnLayer, Shape, Side, Snapshot, copy_xattrs};

/// Lines of a failed stage's output that are shown at once.
pub(super) const TAIL: usize = 40;

/// A snapshot that a step made, or why it did not.
pub(crate) type MadeSnapshot = MadeResult<Snapshot, StageError>;

/// A stage that takes longer and may do so by the recipe waits for something that does not come.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// More processes than any build has, and fewer than a machine has numbers for.
const MOST_PROCESSES: u32 = 16_384;

/// A work directory with an upper directory over a snapshot, ready for a sandbox.
pub(crate) struct StageRun {
    pub(super) dir: RunDir,
    lowers: Vec<String>,
    pub(super) parent: Option<Snapshot>,
}

/// What is run, and with what.
pub(crate) struct StageCommand<'a> {
    /// The stage's name.
    pub stage: &'a str,
    /// How messages call what is run: `` `scripts/30-user` ``.
    pub program: &'a str,
    /// All that it sees and does.
    pub view: &'a SandboxView,
    /// The latest time of any file, seconds since 1970.
    pub epoch: i64,
    /// The archives that it may install from.
    pub archives: &'a [ArchiveName],
    /// Another root file system to copy from.
    pub from: Option<&'a Snapshot>,
    /// The packages that a bootstrap has unpacked.
    pub base_packages: &'a [DebRef],
    /// How it is run.
    pub policy: RunPolicy,
    /// What keeps the secrets that it sees out of what is kept of it.
    pub guard: Option<&'a SecretGuard>,
}

/// What came of a payload.
pub(crate) struct Outcome {
    /// How it ended.
    pub(crate) ended: Result<Ended, SandboxError>,
    /// What it asked the archive for, if it could.
    asked: Option<Vec<StageFetch>>,
}

impl StageRun {
    /// Prepares a change to `parent`; without one, to an empty file system.
    pub(crate) fn over(context: &StageContext<'_>, parent: Option<&Snapshot>) -> Result<Self, StageError> {
        let dir = context.store().run_dir()?;
        let upper = dir.path().join("upper");
        fs::create_dir(&upper).map_err(StageError::io("create", &upper))?;
        let mode = fs::Permissions::from_mode(0o755);
        fs::set_permissions(&upper, mode).map_err(StageError::io("set the mode of", &upper))?;
        let lowers = parent.map(|parent| lower_names(context, parent)).transpose()?.unwrap_or_default();
        if let Some(top) = lowers.first() {
            inherit_root(context, parent, top, &upper)?;
        }
        Ok(Self { dir, lowers, parent: parent.cloned() })
    }

    /// Prepares a change to directories, topmost first, that nobody keeps.
    pub(crate) fn over_directories(
        context: &StageContext<'_>,
        lowers: Vec<String>,
    ) -> Result<Self, StageError> {
        let dir = context.store().run_dir()?;
        let upper = dir.path().join("upper");
        fs::create_dir(&upper).map_err(StageError::io("create", &upper))?;
        Ok(Self { dir, lowers, parent: None })
    }

    /// Where files can be put in advance.
    pub(crate) fn upper(&self) -> PathBuf {
        self.dir.path().join("upper")
    }

    /// A directory that the payload could write to, below `/run/ibuild`.
    pub(crate) fn output(&self, name: &str) -> PathBuf {
        self.dir.path().join(sandbox::OUTPUT_DIR).join(name)
    }

    /// Runs something of which only the answer counts, not what it changes. Says whether it succeeded.
    pub(crate) fn ask(
        &self,
        context: &StageContext<'_>,
        command: &StageCommand<'_>,
    ) -> Result<bool, StageError> {
        let Outcome { ended, .. } = self.in_sandbox(context, command, None)?;
        Ok(ended.is_ok_and(|ended| ended.end == End::SUCCESS))
    }

    /// Lets the payload run in a sandbox.
    pub(crate) fn in_sandbox(
        &self,
        context: &StageContext<'_>,
        command: &StageCommand<'_>,
        log: Option<&File>,
    ) -> Result<Outcome, StageError> {
        let lifetime = command.policy.timeout.unwrap_or(LONGEST);
        let begin = command.view.machine.clock.shown(SystemTime::now());
        let seen = Some(command.archives).filter(|archives| !archives.is_empty());
        let view = seen.map(|archives| context.archives().view(archives)).transpose()?;
        let tls = view.as_ref().map(|view| StageTls::new(view, begin, lifetime)).transpose()?;
        let spec = self.spec(context, command, tls.as_ref())?;
        let proxy = view.is_some().then(|| context.archives().proxy()).transpose()?;
        let asked = OnceLock::<Arc<StageFetches>>::new();
        let serve = |listener| match proxy.as_ref().zip(view.clone()).zip(tls.clone()) {
            Some(((proxy, view), tls)) => {
                let serving = proxy.serve(listener, command.stage, view, tls).map_err(SandboxError::serve)?;
                asked.get_or_init(|| serving.fetches());
                Ok(Some(serving))
            }
            None => Ok(None),
        };
        let ended = context.supervisor().run(&spec, log, serve);
        Ok(Outcome { ended, asked: asked.get().map(|asked| asked.take()) })
    }

    /// Runs a step's payload, and tells what it was made of as far as that is known. What a failed one had made is kept for
    /// a look inside.
    pub(crate) fn run(
        &self,
        context: &StageContext<'_>,
        command: &StageCommand<'_>,
    ) -> Result<Option<PackageUsage>, StageError> {
        let (log, log_path) = context.logs().create(command.stage)?;
        let program = command.program.to_owned();
        let watch = Watch::over(self.dir.path());
        let Outcome { ended, mut asked } = self.in_sandbox(context, command, Some(&log))?;
        let leaked =
            command.guard.and_then(|guard| guard.take_from(asked.as_deref_mut().unwrap_or_default()));
        let interrupted = matches!(ended, Err(SandboxError::Interrupted));
        if let Some(left) = watch.end().filter(|_| !interrupted) {
            // Whatever it said. What it had made is not kept, because that would keep the disk full.
            let store = context.store().layout().root().to_owned();
            let error = StageError::DiskFull { program, store, left };
            self.keep_word(context, command.stage, &error);
            return Err(error);
        }
        match ended {
            Ok(Ended { end: End::SUCCESS, survivors, unlimited }) => {
                report_end(context, command, survivors, &unlimited);
                if let Some(error) = leaked {
                    self.keep_word(context, command.stage, &error);
                    return Err(error);
                }
                FailedState::forget(context.store(), context.project_name(), command.stage)?;
                asked.map_or(Ok(None), |asked| PackageUsage::of(context.store(), &asked))
            }
            Ok(Ended { end, .. }) => {
                context.reports().refused(command.stage, asked.as_deref().unwrap_or_default());
                let tail = logs::tail(&log_path, TAIL);
                let error = StageError::Failed { program, end, tail, log: log_path };
                self.keep_failed(context, command.stage, &error, command.guard);
                Err(error)
            }
            Err(SandboxError::SourceChanged(path)) => Err(StageError::InputsChanged(path)),
            Err(source) => {
                let tail = logs::tail(&log_path, TAIL);
                let error = StageError::Sandbox { program, tail, log: log_path, source };
                if !interrupted {
                    self.keep_failed(context, command.stage, &error, command.guard);
                }
                Err(error)
            }
        }
    }

    fn spec(
        &self,
        context: &StageContext<'_>,
        command: &StageCommand<'_>,
        tls: Option<&StageTls>,
    ) -> Result<Spec, StageError> {
        let StageCommand { view, epoch, base_packages, from, policy, .. } = command;
        let shown = ShownPlace { run_dir: self.dir.path(), epoch: *epoch, base_packages };
        shown.lay_out(context, &view.shown)?;
        let from = from.map(|from| lower_names(context, from)).transpose()?.unwrap_or_default();
        let place = HostPaths {
            layers_dir: context.store().layout().layers(),
            lowers: self.lowers.clone(),
            run_dir: self.dir.path().to_owned(),
            from,
            sources: self.sources(context, view)?,
            authority: tls.map(|tls| tls.authority().to_owned()),
        };
        Ok(Spec::new(view, place, policy.clone()))
    }

    /// Where a copy finds what it copies of the project, the lists of that, and fetched files.
    fn sources(
        &self,
        context: &StageContext<'_>,
        view: &SandboxView,
    ) -> Result<Vec<Option<SourcePlace>>, StageError> {
        let Payload::Copy(items) = &view.payload else { return Ok(Vec::new()) };
        let place = |(number, item): (usize, &sandbox::CopyItem)| match &item.source {
            CopySource::Root { .. } => Ok(None),
            CopySource::Project { content, .. } => {
                let list = self.dir.path().join(format!("list-{number}"));
                let bytes = context.inputs().list(content)?.to_bytes();
                fs::write(&list, bytes).map_err(StageError::io("write", &list))?;
                Ok(Some(SourcePlace::Project { path: context.inputs().source(content)?, list }))
            }
            CopySource::Fetched { content, .. } => {
                Ok(Some(SourcePlace::Fetched(context.store().packages().path(content))))
            }
        };
        items.iter().enumerate().map(place).collect()
    }

    /// Captures what was changed as a new layer. Its tarball is left to be written while the next stage runs. What cannot be
    /// captured is kept for a look inside, as that of a payload that failed. What has a secret is neither captured nor kept.
    pub(crate) fn capture(
        self,
        context: &StageContext<'_>,
        stage: &str,
        output: &OutputRules,
        guard: Option<&SecretGuard>,
    ) -> MadeSnapshot {
        let trees = context.trees();
        let volatile = VolatileList::with(&output.volatile);
        let capture = CaptureContext { trees: &trees, epoch: output.epoch, volatile };
        let upper = self.upper();
        let cancel = context.supervisor().cancel().clone();
        let parent = self.parent.as_ref().map(|parent| parent.tree);
        let captured = capture_until(&cancel, &capture, &upper, parent).map_err(StageError::from);
        // By now the directory has what the layer would have, and nothing else.
        let captured = captured.and_then(|captured| match guard {
            Some(guard) => guard.check(&upper, &cancel).map(|()| captured),
            None => Ok(captured),
        });
        let captured = match captured.map_err(|error| SecretGuard::harmless(guard, error)) {
            Err(error) if !error.is_interrupt() => {
                match error.is_environment() {
                    true => self.keep_word(context, stage, &error),
                    false => self.keep_failed(context, stage, &error, guard),
                }
                return Err(error);
            }
            captured => captured?,
        };
        let mut facts = Batch::default();
        trees.flush(&mut facts);
        let changes = captured.changes;
        let layer = match changes.is_empty() {
            true => None,
            false => Some(context.layers().adopt(&upper, &changes)?),
        };
        let own = layer.map(|id| OwnLayer { id, shape: Shape::of(&changes) });
        let output = Snapshot::upon(self.parent.as_ref(), captured.tree, own);
        let store = context.store().clone();
        let commit = move || {
            if let Some(layer) = layer {
                LayerStore::new(&store).until(&cancel).pack(&layer, &changes, &mut facts)?;
            }
            Ok(facts)
        };
        Ok(Made { output, commit: Box::new(commit) })
    }

    /// Keeps what a failed stage had made, if there is room for saying so and no secret in it.
    fn keep_failed(
        &self,
        context: &StageContext<'_>,
        stage: &str,
        error: &StageError,
        guard: Option<&SecretGuard>,
    ) {
        let cancel = context.supervisor().cancel();
        let checked = guard.map_or(Ok(()), |guard| guard.check(&self.upper(), cancel));
        if let Err(StageError::Leaked { .. }) = checked {
            context.observer().warning(stage, "what it had made is not kept: it has a secret");
        }
        let kept = checked.and_then(|()| self.keep(context, stage, error, Remains::Upper(&self.upper())));
        if kept.is_err() {
            self.keep_word(context, stage, error);
        }
    }

    /// Keeps no more than how a stage failed. What it had made goes first, to make room for that. If not even the word can be
    /// kept, the failure is still what the build has to tell, and later on nothing is known of it.
    fn keep_word(&self, context: &StageContext<'_>, stage: &str, error: &StageError) {
        let gone = context.store().discard(&self.upper()).map_err(StageError::from);
        let _ = gone.and_then(|()| self.keep(context, stage, error, Remains::Word));
    }

    fn keep(
        &self,
        context: &StageContext<'_>,
        stage: &str,
        error: &StageError,
        remains: Remains<'_>,
    ) -> Result<(), StageError> {
        let layers = self.parent.as_ref().map(|parent| parent.layers.clone()).unwrap_or_default();
        let (store, project) = (context.store(), context.project_name());
        FailedState::keep(store, project, stage, remains, layers, error.in_a_line())
    }
}

/// Says what there is to know of a payload that has succeeded.
fn report_end(
    context: &StageContext<'_>,
    command: &StageCommand<'_>,
    survivors: Vec<String>,
    unlimited: &[&str],
) {
    let names = match command.guard {
        // A process can call itself by a part of a secret, which nobody would recognise.
        Some(_) => vec!["a process".to_owned(); survivors.len()],
        None => survivors,
    };
    context.reports().survivors(command.stage, &names);
    context.reports().unlimited(command.stage, unlimited);
}

/// The directories of a snapshot's layers, topmost first, all of them unpacked.
pub(crate) fn lower_names(
    context: &StageContext<'_>,
    snapshot: &Snapshot,
) -> Result<Vec<String>, StageError> {
    Ok(context.layers().lowers(&snapshot.layers)?)
}

/// An overlay's root looks like its upper directory: that has to look like the root below.
fn inherit_root(
    context: &StageContext<'_>,
    parent: Option<&Snapshot>,
    top: &str,
    upper: &Path,
) -> Result<(), StageError> {
    let Some(parent) = parent else { return Ok(()) };
    let root = context.trees().root(parent.tree)?.meta;
    let error = || StageError::io("prepare", upper);
    std::os::unix::fs::chown(upper, Some(root.uid), Some(root.gid)).map_err(error())?;
    fs::set_permissions(upper, fs::Permissions::from_mode(root.mode)).map_err(error())?;
    copy_xattrs(&context.store().layout().layers().join(top), upper, Side::Layer).map_err(error())
}

/// How a stage is run: what the recipe says, and against accidents a limit where it says nothing.
pub(crate) fn policy(timeout: Option<Duration>, limits: &recipe::Limits) -> RunPolicy {
    let timeout = Some(timeout.unwrap_or(LONGEST));
    RunPolicy { timeout, limits: machine_limits(limits), stdio: Stdio::Log }
}

/// Memory and disk have no limit unless the recipe sets one: how much is too much depends on the machine.
pub(crate) fn machine_limits(limits: &recipe::Limits) -> sandbox::Limits {
    sandbox::Limits {
        memory: limits.memory.map(|size| size.0),
        processes: Some(limits.processes.unwrap_or(MOST_PROCESSES)),
        disk: limits.disk.map(|size| size.0),
    }
}
