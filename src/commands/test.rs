//! `ibuild test`: builds the images of the recipe's machine tests, starts them, and does what the tests say.
//!
//! What a test leaves is in `tests/NAME` beside the targets: consoles, recordings of all cables, pictures, and the verdict
//! with the key of all that it rests on. A test that has passed is not done again as long as that key is the same.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use ibuild::graph::{Description, Value};
use ibuild::stages::Target;
use ibuild::stages::machine::trial::{Trial, TrialError, TrialImage, TrialObserver, file_digests};
use ibuild::stages::machine::{MachineError, Qemu};
use ibuild::stages::recipe::{
    Image, ImageName, MachineName, MachineTest, Recipe, TestAction, TestName, suggest,
};
use ibuild::stages::sandbox::Cancel;
use ibuild::{CheckFailed, Context, Error, Result, UsageError, Workspace};
use serde_json::json;

use super::build;
use crate::cli::{BuildArgs, Global, Targets, TestArgs};
use crate::failure::{in_a_line, report};
use crate::interrupt;
use crate::invocation;
use crate::invocation::Invocation;
use crate::invocation::{load_recipe, recipe_dir};
use crate::junit::{Case, Outcome, Suite};
use crate::terminal::{Style, print, tell};
use crate::ui::{emit, seconds};

/// Changes when a test means something else, or is done in another way.
const IMPLEMENTATION: i64 = 2;
const VERDICT: &str = "verdict.json";

pub fn run(global: &Global, args: &TestArgs) -> Result<ExitCode> {
    let recipe = load_recipe(global, &recipe_dir()?, &[])?;
    let tests = chosen(&recipe, &args.names)?;
    // Before a long build, not after it.
    let qemu = Qemu::find().map_err(MachineError::from)?;
    let targets = targets_of(&recipe, &tests)?;
    build::run(global, &build_args(&targets, args))?;
    let workspace = invocation::open_with(global, &[], &args.secrets)?;
    let bench = Bench { workspace: &workspace, qemu: &qemu, targets: &targets, args };
    let (mut cases, mut failed) = (Vec::new(), Vec::new());
    for test in tests {
        let start = Instant::now();
        let done = bench.test(test);
        cases.push(case(test, start.elapsed(), done.as_ref().err()));
        match done {
            Ok(()) => {}
            Err(error) if error.find::<TrialError>().is_some_and(TrialError::is_verdict) => {
                report(&error, Style::Plain, &Invocation::of(global));
                failed.push(format!("`{}`", test.name));
            }
            Err(error) => return Err(error),
        }
    }
    if let Some(path) = &args.junit {
        let name = format!("ibuild test {}", recipe.project.name);
        let suite = Suite { name: &name, cases };
        fs::write(path, suite.to_xml()).with_context(|| format!("cannot write `{}`", path.display()))?;
    }
    match failed.as_slice() {
        [] => Ok(ExitCode::SUCCESS),
        failed => Err(CheckFailed(format!("{} failed", failed.join(", "))).into()),
    }
}

/// A test for a server that reads JUnit XML.
fn case(test: &MachineTest, elapsed: Duration, error: Option<&Error>) -> Case {
    let outcome = error.map_or(Outcome::Passed, |error| Outcome::Failed {
        message: in_a_line(error),
        account: error.chain().map(|cause| cause.to_string() + "\n").collect(),
    });
    Case { class: "machines".to_owned(), name: test.name.to_string(), elapsed, outcome }
}

/// The tests of these names; all if there are none.
fn chosen<'r>(recipe: &'r Recipe, names: &[String]) -> Result<Vec<&'r MachineTest>> {
    let unknown = |name: &str| {
        let hint = suggest::hint(name, recipe.tests.keys().map(TestName::as_str));
        let error = UsageError::new(format!("there is no test `{name}`"));
        error.hint(hint.unwrap_or_else(|| "tests are the recipe's `[test.NAME]`".to_owned()))
    };
    let find = |name: &String| recipe.tests.get(name.as_str()).ok_or_else(|| unknown(name).into());
    match names {
        [] if recipe.tests.is_empty() => Err(UsageError::new("the recipe has no tests")
            .hint("write `[test.boots]` with `machines` and `expect`")
            .into()),
        [] => Ok(recipe.tests.values().collect()),
        names => names.iter().map(find).collect(),
    }
}

type TargetsOfImages = BTreeMap<ImageName, Target>;

/// What each image is started from: the first of its formats that has a disk.
fn targets_of(recipe: &Recipe, tests: &[&MachineTest]) -> Result<TargetsOfImages> {
    let target = |name: &ImageName| {
        let image: &Image = &recipe.images[name];
        let format = image.formats.iter().find(|format| format.boots());
        let format = *format.ok_or_else(|| TrialError::NoDisk(name.clone()))?;
        Ok((name.clone(), Target { image: name.clone(), format }))
    };
    tests.iter().flat_map(|test| test.machines.values()).map(target).collect()
}

fn build_args(targets: &TargetsOfImages, args: &TestArgs) -> BuildArgs {
    let targets = targets.values().map(ToString::to_string).collect();
    BuildArgs {
        targets: Targets { named: targets, targets: Vec::new(), vars: Vec::new() },
        secrets: args.secrets.clone(),
        offline: false,
        locked: false,
        jobs: None,
        nice: false,
        debug: false,
        keep_going: false,
        shell_on_failure: false,
        until: None,
        from: None,
        output: None,
        json: args.json,
    }
}

/// What tests are done with.
struct Bench<'a> {
    workspace: &'a Workspace,
    qemu: &'a Qemu,
    targets: &'a TargetsOfImages,
    args: &'a TestArgs,
}

impl Bench<'_> {
    /// Does a test, unless it is known how it ends. What it says goes to stderr, the verdict to stdout.
    fn test(&self, test: &MachineTest) -> Result<()> {
        let results = self.workspace.output_dir(None).join("tests").join(test.name.as_str());
        let key = self.key(test)?;
        let verdict = results.join(VERDICT);
        if !self.args.again && has_passed(&verdict, &key) {
            return self.passed(test, None);
        }
        let start = Instant::now();
        let done = self.until_judged(test, &results);
        let said = json!({
            "v": 1,
            "key": key,
            "passed": done.is_ok(),
            "seconds": start.elapsed().as_secs(),
        });
        fs::write(&verdict, format!("{said:#}\n"))
            .with_context(|| format!("cannot write `{}`", verdict.display()))?;
        match done {
            Ok(()) => self.passed(test, Some(start.elapsed())),
            Err(error) => {
                self.say(test, "failed", Some(start.elapsed()))?;
                Err(error.context(format!("test `{}` failed", test.name)))
            }
        }
    }

    /// Does a test, once more if QEMU itself failed: that says nothing about the images.
    fn until_judged(&self, test: &MachineTest, results: &Path) -> Result<()> {
        match self.run_trial(test, results) {
            Err(error) if error.find::<TrialError>().is_some_and(TrialError::is_emulator) => {
                tell!("{}; test `{}` begins anew", in_a_line(&error), test.name);
                self.run_trial(test, results)
            }
            done => done,
        }
    }

    fn run_trial(&self, test: &MachineTest, results: &Path) -> Result<()> {
        make_empty(results)?;
        let scratch = self.workspace.store.run_dir()?;
        let trial = Trial {
            recipe: &self.workspace.recipe,
            test,
            images: self.images(),
            results: results.to_owned(),
            scratch: scratch.path().to_owned(),
        };
        let cancel = interrupt::cancel_on_signals()?;
        Ok(trial.run(self.qemu, &mut Narrator { cancel })?)
    }

    fn images(&self) -> BTreeMap<ImageName, TrialImage> {
        let image = |(name, target): (&ImageName, &Target)| {
            let image = TrialImage { path: self.place(target), format: target.format };
            (name.clone(), image)
        };
        self.targets.iter().map(image).collect()
    }

    fn place(&self, target: &Target) -> PathBuf {
        self.workspace.output_dir(None).join(target.to_string())
    }

    /// Everything that a verdict rests on: disks, machines, what is done, and with what.
    fn key(&self, test: &MachineTest) -> Result<String> {
        let recipe = &self.workspace.recipe;
        let mut images = Vec::new();
        for name in test.machines.values() {
            let vm = serde_json::to_string(&recipe.images[name].vm)?;
            images.push(format!("{} {vm}", self.digest(&self.targets[name])?));
        }
        let files = file_digests(&recipe.dir, &test.files)?;
        let mut description = Description::new("machine test", IMPLEMENTATION);
        description.set("images", Value::texts(images));
        // How long it may take changes no verdict.
        let timeless = MachineTest { timeout: None, ..test.clone() };
        description.set("test", serde_json::to_string(&timeless)?);
        description
            .set("files", Value::texts(files.into_iter().map(|(name, digest)| format!("{digest} {name}"))));
        description.set("qemu", self.qemu.version());
        description.set("bios", self.qemu.bios_digest()?.to_string());
        Ok(description.key().to_string())
    }

    /// The digest of an image, from the manifest that the build has just put beside it.
    fn digest(&self, target: &Target) -> Result<String> {
        let path = self.workspace.output_dir(None).join(format!("{target}.manifest.json"));
        let manifest = fs::read(&path).with_context(|| format!("cannot read `{}`", path.display()))?;
        let manifest: serde_json::Value = serde_json::from_slice(&manifest)
            .with_context(|| format!("`{}` is no manifest", path.display()))?;
        Ok(manifest["blake3"].to_string())
    }

    fn passed(&self, test: &MachineTest, elapsed: Option<Duration>) -> Result<()> {
        self.say(test, "passed", elapsed)
    }

    fn say(&self, test: &MachineTest, verdict: &str, elapsed: Option<Duration>) -> Result<()> {
        let name = &test.name;
        if self.args.json {
            let seconds = elapsed.map(|elapsed| elapsed.as_secs_f64());
            emit(
                json!({ "event": "tested", "test": name, "verdict": verdict, "cached": seconds.is_none(), "seconds": seconds }),
            );
            return Ok(());
        }
        let time = elapsed.map_or_else(|| "cached".to_owned(), seconds);
        Ok(print(&format!("{verdict}  {name}  {time}\n"))?)
    }
}

/// Nothing of an earlier run is to be taken for this one's.
fn make_empty(results: &Path) -> Result<()> {
    match fs::remove_dir_all(results) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove `{}`", results.display()))
        }
        _ => fs::create_dir_all(results).with_context(|| format!("cannot create `{}`", results.display())),
    }
}

/// Whether the verdict there is a good one, and of the same test.
fn has_passed(verdict: &Path, key: &str) -> bool {
    let said = fs::read(verdict).ok();
    let said = said.and_then(|bytes| serde_json::from_slice::<serde_json::Value>(&bytes).ok());
    said.is_some_and(|said| said["key"] == key && said["passed"] == true)
}

/// Tells on stderr what machines are asked, and what they answer.
struct Narrator {
    cancel: Cancel,
}

impl TrialObserver for Narrator {
    fn awake(&mut self, on: &MachineName, after: Duration) {
        tell!("{on}  awake after {}", seconds(after));
    }

    fn step(&mut self, on: &MachineName, action: &TestAction) {
        let (key, value) = action.entry();
        let first = value.lines().next().unwrap_or_default();
        tell!("{on}  {key} {first}");
    }

    fn said(&mut self, on: &MachineName, line: &str) {
        tell!("{on}  | {line}");
    }

    fn keep_going(&mut self) -> bool {
        !self.cancel.is_cancelled()
    }
}
