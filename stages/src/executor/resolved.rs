//! A step with everything resolved: one inert value that its key is made of and that it is run from.
//!
//! [`steps::resolve`](crate::steps::resolve) is the only code that looks at the recipe, the project and the archives. What
//! it finds is here, with bytes and digests instead of paths of the host. [`ResolvedStep::describe`] takes the value apart
//! field by field, so that one that is in no key does not compile; [`StageRun`](crate::executor::stage_run::StageRun) builds the
//! sandbox from it and from nothing else.

use ibuild_graph::{Description, Value};

use crate::executor::base::Base;
use crate::executor::fetched::FetchedFile;
use crate::fields::{self, ARCHIVE, CONTENTS, PARENT_LAYERS, PARENT_TREE, SECRETS};
use crate::recipe::{ArchiveName, ArchiveNames, INPUTS};
use crate::sandbox::{MACHINE_ID_WRITER, Payload, SandboxView, ShownContent};
use crate::snapshot::volatile::VOLATILE;
use crate::snapshot::{Snapshot, TARBALL_WRITER};

/// Raised when a change to the sandbox itself, or to what is done with a tree when it is captured, makes the same step give
/// another tree, or the same by another layer. What a step is *given* is in its key byte by byte and needs no version.
pub const SANDBOX: i64 = 9;

/// A step with everything resolved.
#[derive(Debug, Clone)]
pub(crate) struct ResolvedStep {
    /// The step's kind.
    pub kind: &'static str,
    /// The version of the kind's code.
    pub implementation: i64,
    /// What the recipe says, for explanations.
    pub request: Vec<(&'static str, Value)>,
    /// How messages call what is run: `` `scripts/30-user` ``.
    pub program: String,
    /// What the step stands on.
    pub start: Start,
    /// What its sandbox holds and does.
    pub view: SandboxView,
    /// The archives that it may install from.
    pub archives: Option<ArchiveAccess>,
    /// The root file system that it copies from.
    pub from: Option<Snapshot>,
    /// What it gets from elsewhere.
    pub fetched: Vec<FetchedFile>,
    /// What becomes of its changes.
    pub output: OutputRules,
}

/// What a step stands on.
#[derive(Debug, Clone)]
pub(crate) enum Start {
    /// The tree of another stage.
    Over(Snapshot),
    /// Nothing but packages.
    Bootstrap(Base),
}

/// The archives that a step may install from.
#[derive(Debug, Clone)]
pub(crate) struct ArchiveAccess {
    /// Their names in the recipe.
    pub names: ArchiveNames,
    /// How they are declared, in their order, and the states that the lock pins.
    pub state: Value,
}

/// What becomes of a step's changes.
#[derive(Debug, Clone)]
pub(crate) struct OutputRules {
    /// The latest time of any file, seconds since 1970.
    pub epoch: i64,
    /// Paths that are scrubbed besides those of [`VOLATILE`].
    pub volatile: Vec<String>,
    /// Whether they are kept at all.
    pub changes: Changes,
}

/// Whether a step's changes are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Changes {
    /// As a layer.
    Kept,
    /// The step is a check.
    Discarded,
}

/// Parts of the contents once more, in the words of the recipe, for explanations.
fn describe_in_words(view: &SandboxView, description: &mut Description) {
    if let Payload::Exec { .. } = view.payload {
        description.set("env", environment(view));
    }
    description.set(fields::INPUTS, inputs(view));
    if !view.secrets.is_empty() {
        let secrets = view.secrets.iter().map(|secret| (secret.name.as_str(), secret.value()));
        description.set(SECRETS, Value::map(secrets));
    }
}

impl ResolvedStep {
    /// Everything that can change what the step makes.
    ///
    /// | field | of |
    /// |---|---|
    /// | kind, implementation | the step's kind and the version of its code |
    /// | sandbox | the version of what every stage sees and of what is scrubbed and clamped afterwards |
    /// | contents | all that its sandbox holds and does, and what becomes of it, by bytes and digests |
    /// | epoch, volatile | the output rules, as the recipe says them |
    /// | machine id, layer | the versions of those who write these |
    /// | parent tree | the tree that it stands on |
    /// | names in parent layers | for steps that run a program, the shape of the layers that make that tree: it shows in how directories are listed |
    /// | env, inputs | parts of the contents, in the words of the recipe |
    /// | secret | the names of the secrets that it sees; for those with `affects-output` a digest of the value, keyed by a key that only the store has |
    /// | archive | addresses, keys, suites, components and locked states, for steps that may install |
    ///
    /// and what the recipe says of its kind. Left out on purpose is what [`RunPolicy`](crate::sandbox::RunPolicy) has.
    pub(crate) fn describe(&self) -> Description {
        // Nobody sees how messages call a program. Of another root file system only the entries that are copied count,
        // and these are in the payload, as the digests of fetched files are: where they come from changes nothing.
        let Self {
            kind,
            implementation,
            request,
            program: _,
            start,
            view,
            archives,
            from: _,
            fetched: _,
            output,
        } = self;
        let OutputRules { epoch, volatile, changes } = output;
        let mut description = Description::new(kind, *implementation);
        for (name, value) in request {
            description.set(name, value.clone());
        }
        description.set("sandbox", SANDBOX);
        description.set("machine id", MACHINE_ID_WRITER);
        description.set("layer", TARBALL_WRITER);
        description.set("epoch", *epoch);
        description.set("volatile", Value::texts(volatile));
        description.set(PARENT_TREE, start.tree());
        if let Some(ArchiveAccess { names: _, state }) = archives {
            description.set(ARCHIVE, state.clone());
        }
        if let Payload::Exec { .. } = view.payload {
            description.set(PARENT_LAYERS, start.layers());
        }
        describe_in_words(view, &mut description);
        let contents = [
            ("sees", view.value()),
            ("start", start.value()),
            ("scrubbed", Value::texts(VOLATILE.iter().copied())),
            ("changes", changes.value()),
        ];
        description.set(CONTENTS, Value::map(contents));
        description
    }

    /// The text that the recipe has for it to run, if that is one, and how messages call it.
    pub(crate) fn program_text(&self) -> Option<(String, String)> {
        let text = self.view.shown.iter().find_map(|shown| match &shown.content {
            ShownContent::Program(bytes) => String::from_utf8(bytes.clone()).ok(),
            _ => None,
        })?;
        match self.kind {
            "script" => Some((self.program.replace('`', ""), text)),
            // Its first line, which names the shell, is not the recipe's.
            "run" | "check" => Some((format!("`{}`", self.kind), text.split_once('\n')?.1.to_owned())),
            _ => None,
        }
    }

    /// The names of the archives that it may install from.
    pub(crate) fn archive_names(&self) -> &[ArchiveName] {
        self.archives.as_ref().map_or(&[], |archives| archives.names.all())
    }
}

impl Start {
    /// What is below the step's changes.
    pub(crate) fn parent(&self) -> Option<&Snapshot> {
        match self {
            Self::Over(parent) => Some(parent),
            Self::Bootstrap(_) => None,
        }
    }

    fn tree(&self) -> Value {
        Value::option(self.parent().map(|parent| Value::Digest(*parent.tree.as_bytes())))
    }

    /// How an overlay shows the layers.
    fn layers(&self) -> Value {
        Value::option(self.parent().map(|parent| Value::Digest(*parent.shape.as_bytes())))
    }

    fn value(&self) -> Value {
        match self {
            // Tree and layers have fields of their own.
            Self::Over(_) => "stage".into(),
            Self::Bootstrap(base) => Value::map([("base", base.value())]),
        }
    }
}

impl Changes {
    fn value(self) -> Value {
        match self {
            Self::Kept => "kept".into(),
            Self::Discarded => "discarded".into(),
        }
    }
}

fn environment(view: &SandboxView) -> Value {
    Value::map(view.env.iter().map(|(name, value)| (name.as_str(), value.clone().into())))
}

/// What is shown of the project, by its path there.
fn inputs(view: &SandboxView) -> Value {
    Value::map(view.shown.iter().filter_map(|shown| match &shown.content {
        ShownContent::Project(content) => {
            Some((shown.path.strip_prefix(INPUTS).ok()?.display().to_string(), content.value()))
        }
        _ => None,
    }))
}
