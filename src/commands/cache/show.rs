//! `ibuild cache show`: all that is known of a stage or of an action.

use std::process::ExitCode;
use std::time::Duration;

use ibuild::cache::{ActionKey, LayerId, Store};
use ibuild::graph::{Description, RememberedStage, RunReason};
use ibuild::stages::debian::Timestamp;
use ibuild::stages::snapshot::{Layer, LayerStore};
use ibuild::stages::{Artifact, Project, StageError, StageOutput, StoreContents, StoredBlob};
use ibuild::{Result, SHORTEST_PREFIX, UsageError, Workspace, digits_of_digest};
use serde_json::{Value, json};

use crate::cli::{Global, ShowArgs};
use crate::described;
use crate::invocation;
use crate::invocation::project_dir;
use crate::terminal::{print, print_json};
use crate::ui::{bytes, seconds};

pub fn run(global: &Global, args: &ShowArgs) -> Result<ExitCode> {
    let (store, key) = resolve(global, &args.name)?;
    let shown = Shown::of(&store, key)?;
    if args.json {
        print_json(shown.as_json())?;
    } else {
        print(&shown.as_text())?;
    }
    Ok(ExitCode::SUCCESS)
}

/// A prefix of a key needs no recipe; anything else is looked up in it.
fn resolve(global: &Global, name: &str) -> Result<(Store, ActionKey)> {
    let digits = digits_of_digest(name);
    let has_recipe = project_dir()?.join(ibuild::stages::recipe::RECIPE_FILE).exists();
    if has_recipe {
        let workspace = invocation::open(global, &[])?;
        match last_key(&workspace, name) {
            Err(_) if digits.is_some() => {}
            found => return Ok((workspace.store.clone(), found?)),
        }
    }
    let Some(digits) = digits else {
        let hint = format!(
            "a key is at least {SHORTEST_PREFIX} of the digits 0-9 and a-f; for a stage, use `-C DIR`"
        );
        return Err(UsageError::new(format!("`{name}` is no action key, and there is no recipe"))
            .hint(hint)
            .into());
    };
    let store = super::store(global)?;
    let key = by_prefix(&StoreContents::of(&store)?, digits)?;
    Ok((store, key))
}

fn last_key(workspace: &Workspace, name: &str) -> Result<ActionKey> {
    let project = Project::new(&workspace.recipe);
    let stage = project.graph.name(workspace.find_stage(name)?);
    let never = || {
        UsageError::new(format!("`{stage}` was never built"))
            .hint(format!("`ibuild build --until {stage}` builds it"))
    };
    Ok(workspace.memory().last_run(stage)?.ok_or_else(never)?.key)
}

fn by_prefix(contents: &StoreContents<'_>, digits: &str) -> Result<ActionKey> {
    match contents.keys_starting_with(digits).as_slice() {
        [key] => Ok(*key),
        [] => {
            let error = UsageError::new(format!("no action key starts with `{digits}`"));
            Err(error.hint("`ibuild cache ls` shows the keys that there are").into())
        }
        several => {
            let keys: Vec<_> =
                several.iter().take(8).map(|key| key.hex()[..digits.len() + 8].to_owned()).collect();
            let error = UsageError::new(format!("{} action keys start with `{digits}`", several.len()));
            Err(error.hint(format!("give more digits: {}", keys.join(", "))).into())
        }
    }
}

/// An action with everything around it.
struct Shown {
    key: ActionKey,
    /// The stages whose last run it was.
    stages: Vec<RememberedStage>,
    output: Option<StageOutput>,
    millis: Option<u64>,
    layers: Vec<ShownLayer>,
}

struct ShownLayer {
    id: LayerId,
    /// `None` if its tarball is gone.
    found: Option<Layer>,
    is_unpacked: bool,
}

impl Shown {
    fn of(store: &Store, key: ActionKey) -> Result<Self> {
        let contents = StoreContents::of(store)?;
        let stages = RememberedStage::all(store)?.into_iter().filter(|stage| stage.last.key == key).collect();
        let output = contents.output(&key);
        let layers = LayerStore::new(store);
        let ids = output.as_ref().and_then(StageOutput::snapshot).map(|snapshot| snapshot.layers.clone());
        let mut shown = Vec::new();
        for id in ids.unwrap_or_default() {
            shown.push(ShownLayer {
                id,
                found: layers.find(&id).map_err(StageError::from)?,
                is_unpacked: layers.is_unpacked(&id),
            });
        }
        Ok(Self { key, stages, output, millis: contents.millis(&key), layers: shown })
    }

    /// What the action was. It is kept with a stage's last run only.
    fn description(&self) -> Option<Description> {
        self.stages.iter().find_map(|stage| stage.last.description())
    }

    fn as_text(&self) -> String {
        let mut lines = vec![format!("action: {}", self.key)];
        for stage in &self.stages {
            let time = Timestamp(stage.last.time);
            lines.push(format!("stage: {} of {}, {time}", stage.stage, stage.project));
            lines.extend(stage.last.reason.as_ref().map(|reason| format!("  ran because: {reason}")));
        }
        lines.extend(self.millis.map(|millis| format!("took: {}", seconds(Duration::from_millis(millis)))));
        lines.extend(self.output_lines());
        match self.description() {
            Some(description) => {
                lines.push("description:".to_owned());
                let fields =
                    description.fields().iter().flat_map(|(name, value)| described::lines(name, value));
                lines.extend(fields.map(|line| format!("  {line}")).collect::<Vec<_>>());
            }
            None => {
                lines.push("description: not kept, because it is no stage's last run any more".to_owned())
            }
        }
        lines.join("\n") + "\n"
    }

    fn output_lines(&self) -> Vec<String> {
        match &self.output {
            None => vec!["result: not known any more".to_owned()],
            Some(StageOutput::Artifact(artifact)) => vec![artifact_line(artifact)],
            Some(StageOutput::Composed(made)) => {
                let part = |kind: &str, it: &StoredBlob| format!("  {kind} {}  {}", it.blob, bytes(it.size));
                let packs = made.packs.iter().map(|pack| part("pack", pack));
                let list = [artifact_line(&made.file), "made of:".to_owned()];
                list.into_iter().chain([part("list", &made.composition)]).chain(packs).collect()
            }
            Some(StageOutput::Snapshot(snapshot)) => {
                let first = vec![format!("tree: {}", snapshot.tree), "layers:".to_owned()];
                first
                    .into_iter()
                    .chain(self.layers.iter().map(|layer| format!("  {}", layer.as_line())))
                    .collect()
            }
        }
    }

    fn as_json(&self) -> Value {
        let stages = self.stages.iter().map(|stage| {
            json!({
                "project": stage.project,
                "stage": stage.stage.as_str(),
                "time": Timestamp(stage.last.time).to_string(),
                "reason": stage.last.reason.as_ref().map(RunReason::to_string),
            })
        });
        let fields = self.description().map(|description| {
            let field = |(name, value): (&String, _)| (name.clone(), described::as_json(value));
            Value::Object(description.fields().iter().map(field).collect())
        });
        let snapshot = self.output.as_ref().and_then(StageOutput::snapshot);
        let artifact = self
            .output
            .as_ref()
            .and_then(StageOutput::artifact)
            .map(|artifact| json!({ "blake3": artifact.blob.hex(), "size": artifact.size }));
        let blobs = self.output.as_ref().map(StageOutput::blobs).unwrap_or_default();
        json!({
            "key": self.key.hex(),
            "stages": stages.collect::<Vec<_>>(),
            "seconds": self.millis.map(|millis| millis as f64 / 1000.0),
            "description": fields,
            "tree": snapshot.map(|snapshot| snapshot.tree.hex()),
            "layers": self.layers.iter().map(ShownLayer::as_json).collect::<Vec<_>>(),
            "artifact": artifact,
            "blobs": blobs.iter().map(|stored| stored.blob.hex()).collect::<Vec<_>>(),
        })
    }
}

fn artifact_line(artifact: &Artifact) -> String {
    format!("artifact: {}  {}", artifact.blob, bytes(artifact.size))
}

impl ShownLayer {
    fn as_line(&self) -> String {
        let unpacked = if self.is_unpacked { "unpacked" } else { "packed" };
        match &self.found {
            None => format!("{}  gone", self.id),
            Some(layer) => {
                let (packed, raw) = (bytes(layer.blob_size), bytes(layer.raw_size));
                format!("{}  {packed} ({raw} raw)  {} changes  {unpacked}", self.id, layer.changes)
            }
        }
    }

    fn as_json(&self) -> Value {
        json!({
            "layer": self.id.hex(),
            "blob": self.found.as_ref().map(|layer| layer.blob.hex()),
            "size": self.found.as_ref().map(|layer| layer.blob_size),
            "raw_size": self.found.as_ref().map(|layer| layer.raw_size),
            "changes": self.found.as_ref().map(|layer| layer.changes),
            "unpacked": self.is_unpacked,
        })
    }
}
