//! Runs a payload over a snapshot and captures what it changed. All kinds of steps go through here.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use ibuild_cache::{Batch, RunDir};
use ibuild_graph::{Made, MadeResult};

use super::builder::Builder;
use super::evidence::Evidence;
use super::shell::FailedState;
use super::space::Watch;
use super::{StageError, logs};
use crate::packages::{APT_CONF_PATH, CA_PATH, StageFetch, StageFetches, StageTls, apt_conf};
use crate::recipe::{ArchiveName, ArchiveNames, Limits, Network, Step};
use crate::sandbox::{
    self, Access, Bind, Ended, Inject, NetworkSpec, PROXY_PORT, Payload, SandboxError, Spec, Stdio,
};
use crate::snapshot::capture::{CaptureContext, capture};
use crate::snapshot::volatile::VolatileList;
use crate::snapshot::{LayerStore, Side, Snapshot, copy_xattrs};

/// Lines of a failed stage's output that are shown at once.
const TAIL: usize = 40;

/// A snapshot that a step made, or why it did not.
pub(super) type MadeSnapshot = MadeResult<Snapshot, StageError>;

/// A stage that takes longer and may do so by the recipe waits for something that does not come.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// More processes than any build has, and fewer than a machine has numbers for.
const MOST_PROCESSES: u32 = 16_384;

/// A work directory with an upper directory over a snapshot, ready for a sandbox.
pub(super) struct Changeroot {
    run: RunDir,
    lowers: Vec<String>,
    parent: Option<Snapshot>,
}

/// What came of a payload.
struct Outcome {
    /// How it ended.
    ended: Result<Ended, SandboxError>,
    /// What it asked the archive for, if it could.
    asked: Option<Vec<StageFetch>>,
}

/// What a payload needs besides the snapshot.
pub(super) struct Work<'a> {
    /// How messages call it: `` `scripts/30-user` ``.
    pub program: String,
    /// What to do.
    pub payload: Payload,
    /// What it may read.
    pub binds: Vec<Bind>,
    /// Another root file system to copy from.
    pub from: Option<&'a Snapshot>,
    /// The archives that it may install from.
    pub archives: &'a [ArchiveName],
    /// Its whole environment.
    pub env: BTreeMap<String, String>,
    /// How long it may take, if the recipe says.
    pub timeout: Option<Duration>,
    /// How much of the machine it may take, as far as the recipe says.
    pub limits: Limits,
}

impl Changeroot {
    /// Prepares a change to `parent`; without one, to an empty file system.
    pub(super) fn over(builder: &Builder<'_>, parent: Option<&Snapshot>) -> Result<Self, StageError> {
        let run = builder.store().run_dir()?;
        let upper = run.path().join("upper");
        fs::create_dir(&upper).map_err(StageError::io("create", &upper))?;
        let mode = fs::Permissions::from_mode(0o755);
        fs::set_permissions(&upper, mode).map_err(StageError::io("set the mode of", &upper))?;
        let lowers = parent.map(|parent| lower_names(builder, parent)).transpose()?.unwrap_or_default();
        if let Some(top) = lowers.first() {
            inherit_root(builder, parent, top, &upper)?;
        }
        Ok(Self { run, lowers, parent: parent.cloned() })
    }

    /// Where files can be put in advance.
    pub(super) fn upper(&self) -> PathBuf {
        self.run.path().join("upper")
    }

    /// A new directory beside it, for what the sandbox is given or gives back.
    pub(super) fn side_dir(&self, name: &str) -> Result<PathBuf, StageError> {
        let dir = self.run.path().join(name);
        fs::create_dir(&dir).map_err(StageError::io("create", &dir))?;
        Ok(dir)
    }

    /// A new file beside it, for a script that is in no file of the project.
    pub(super) fn side_file(&self, name: &str, content: impl AsRef<[u8]>) -> Result<PathBuf, StageError> {
        let path = self.run.path().join(name);
        fs::write(&path, content).map_err(StageError::io("write", &path))?;
        Ok(path)
    }

    /// Runs something of which only the answer counts, not what it changes. Says whether it succeeded.
    pub(super) fn ask(
        &self,
        builder: &Builder<'_>,
        stage: &str,
        work: &Work<'_>,
    ) -> Result<bool, StageError> {
        let Outcome { ended, .. } = self.in_sandbox(builder, stage, work, None)?;
        Ok(ended.is_ok_and(|ended| ended.status == 0))
    }

    /// Lets the payload run in a sandbox.
    fn in_sandbox(
        &self,
        builder: &Builder<'_>,
        stage: &str,
        work: &Work<'_>,
        log: Option<&File>,
    ) -> Result<Outcome, StageError> {
        let lifetime = work.timeout.unwrap_or(LONGEST);
        let seen = Some(work.archives).filter(|archives| !archives.is_empty());
        let view = seen.map(|archives| builder.archives().view(archives)).transpose()?;
        let tls = view.as_ref().map(|view| StageTls::new(view, lifetime)).transpose()?;
        let spec = self.spec(builder, work, tls.as_ref())?;
        let proxy = view.is_some().then(|| builder.archives().proxy()).transpose()?;
        let asked = OnceLock::<Arc<StageFetches>>::new();
        let serve = |listener| match proxy.as_ref().zip(view.clone()).zip(tls.clone()) {
            Some(((proxy, view), tls)) => {
                let serving = proxy.serve(listener, stage, view, tls).map_err(SandboxError::serve)?;
                asked.get_or_init(|| serving.fetches());
                Ok(Some(serving))
            }
            None => Ok(None),
        };
        let ended = builder.supervisor().run(&spec, log, serve);
        Ok(Outcome { ended, asked: asked.get().map(|asked| asked.take()) })
    }

    /// Runs a step's payload. What a failed one had made is kept for a look inside.
    pub(super) fn run(self, builder: &Builder<'_>, stage: &str, work: Work<'_>) -> Result<Self, StageError> {
        let (log, log_path) = builder.logs().create(stage)?;
        let program = work.program.clone();
        let watch = Watch::over(self.run.path());
        let Outcome { ended, asked } = self.in_sandbox(builder, stage, &work, Some(&log))?;
        let interrupted = matches!(ended, Err(SandboxError::Interrupted));
        if let Some(left) = watch.end().filter(|_| !interrupted) {
            // Whatever it said. What it had made is not kept, because that would keep the disk full.
            let store = builder.store().layout().root().to_owned();
            return Err(StageError::DiskFull { program, store, left });
        }
        match ended {
            Ok(Ended { status: 0, survivors, unlimited }) => {
                builder.report_survivors(stage, &survivors);
                builder.report_unlimited(stage, &unlimited);
                FailedState::forget(builder.store(), builder.project_name(), stage)?;
                if let Some(asked) = asked
                    && let Some(evidence) = Evidence::of(builder.store(), &asked)?
                {
                    builder.note_evidence(stage, evidence);
                }
                Ok(self)
            }
            Ok(Ended { status, .. }) => {
                builder.report_refused(stage, asked.as_deref().unwrap_or_default());
                let tail = logs::tail(&log_path, TAIL);
                self.keep_failed(builder, stage)?;
                Err(StageError::Failed { program, status, tail, log: log_path })
            }
            Err(source) => {
                if !interrupted {
                    self.keep_failed(builder, stage)?;
                }
                Err(StageError::Sandbox { program, log: log_path, source })
            }
        }
    }

    fn spec(
        &self,
        builder: &Builder<'_>,
        work: &Work<'_>,
        tls: Option<&StageTls>,
    ) -> Result<Spec, StageError> {
        let from = work.from.map(|from| lower_names(builder, from)).transpose()?.unwrap_or_default();
        let network = if tls.is_some() { NetworkSpec::Proxy } else { NetworkSpec::Isolated };
        Ok(Spec {
            layers_dir: builder.store().layout().layers(),
            lowers: self.lowers.clone(),
            run_dir: self.run.path().to_owned(),
            binds: work.binds.clone(),
            from,
            inject: injections(tls),
            network,
            env: work.env.clone(),
            payload: work.payload.clone(),
            stdio: Stdio::Log,
            timeout: Some(work.timeout.unwrap_or(LONGEST)),
            limits: machine_limits(&work.limits),
        })
    }

    /// Captures what was changed as a new layer. Its tarball is left to be written while the next stage runs.
    pub(super) fn capture(self, builder: &Builder<'_>, step: &Step) -> MadeSnapshot {
        let trees = builder.trees();
        let volatile = VolatileList::with(&step.volatile);
        let context = CaptureContext { trees: &trees, epoch: builder.epoch(), volatile };
        let upper = self.upper();
        let captured = capture(&context, &upper, self.parent.as_ref().map(|parent| parent.tree))?;
        let mut facts = Batch::default();
        trees.flush(&mut facts);
        let changes = captured.changes;
        let layer = match changes.is_empty() {
            true => None,
            false => Some(LayerStore::new(builder.store()).adopt(&upper, &changes)?),
        };
        let output = Snapshot::upon(self.parent.as_ref(), captured.tree, layer);
        let store = builder.store().clone();
        let keep = move || {
            if let Some(layer) = layer {
                LayerStore::new(&store).pack(&layer, &changes, &mut facts)?;
            }
            Ok(facts)
        };
        Ok(Made { output, keep: Box::new(keep) })
    }

    fn keep_failed(self, builder: &Builder<'_>, stage: &str) -> Result<(), StageError> {
        let layers = self.parent.as_ref().map(|parent| parent.layers.clone()).unwrap_or_default();
        FailedState::keep(builder.store(), builder.project_name(), stage, &self.upper(), layers)
    }
}

/// The directories of a snapshot's layers, topmost first, all of them unpacked.
pub(super) fn lower_names(builder: &Builder<'_>, snapshot: &Snapshot) -> Result<Vec<String>, StageError> {
    Ok(LayerStore::new(builder.store()).lowers(&snapshot.layers)?)
}

/// An overlay's root looks like its upper directory: that has to look like the root below.
fn inherit_root(
    builder: &Builder<'_>,
    parent: Option<&Snapshot>,
    top: &str,
    upper: &Path,
) -> Result<(), StageError> {
    let Some(parent) = parent else { return Ok(()) };
    let root = builder.trees().root(parent.tree)?.meta;
    let error = || StageError::io("prepare", upper);
    std::os::unix::fs::chown(upper, Some(root.uid), Some(root.gid)).map_err(error())?;
    fs::set_permissions(upper, fs::Permissions::from_mode(root.mode)).map_err(error())?;
    copy_xattrs(&builder.store().layout().layers().join(top), upper, Side::Layer).map_err(error())
}

/// What the recipe says, and against accidents a limit where it says nothing. Memory and disk have none: how much is too
/// much depends on the machine.
pub(super) fn machine_limits(limits: &Limits) -> sandbox::Limits {
    sandbox::Limits {
        memory: limits.memory.map(|size| size.0),
        processes: Some(limits.processes.unwrap_or(MOST_PROCESSES)),
        disk: limits.disk.map(|size| size.0),
    }
}

/// What every stage sees and no snapshot has.
fn injections(tls: Option<&StageTls>) -> Vec<Inject> {
    let mut files = vec![Inject {
        path: "/usr/sbin/policy-rc.d".into(),
        content: "#!/bin/sh\n# No services are started while an image is built.\nexit 101\n".to_owned(),
        mode: 0o755,
    }];
    if let Some(tls) = tls {
        let readable = |path: &str, content| Inject { path: path.into(), content, mode: 0o644 };
        files.push(readable(APT_CONF_PATH, apt_conf(PROXY_PORT)));
        files.push(readable(CA_PATH, tls.authority().to_owned()));
    }
    files
}

/// The archives that a step may install from.
pub(super) fn reachable<'a>(step: &Step, archives: &'a ArchiveNames) -> &'a [ArchiveName] {
    if step.network == Network::Packages { archives.all() } else { &[] }
}

/// A bind for the sandbox, read-only.
pub(super) fn read_only(source: PathBuf, target: impl Into<PathBuf>) -> Bind {
    Bind { source, target: target.into(), access: Access::ReadOnly }
}
