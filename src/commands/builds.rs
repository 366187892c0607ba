//! `ibuild builds`: the builds that the store remembers, the last one first.

use std::process::ExitCode;
use std::time::Duration;

use ibuild::Result;
use ibuild::cache::Record;
use ibuild::graph::Build;
use ibuild::stages::StageOutput;
use ibuild::stages::debian::Timestamp;
use serde_json::{Value, json};

use crate::cli::{BuildsArgs, Global};
use crate::invocation;
use crate::table::{Align, table};
use crate::terminal::{print, print_json, tell};
use crate::ui::seconds;

/// Digits of a digest that tell it from others.
const SHORT: usize = 12;

pub fn run(global: &Global, args: &BuildsArgs) -> Result<ExitCode> {
    let workspace = invocation::open(global, &[])?;
    let project = workspace.recipe.project.name.as_str();
    let mut builds = Build::all(&workspace.store)?;
    builds.retain(|(_, build)| build.project == project);
    builds.reverse();
    builds.truncate(args.last.map_or(usize::MAX, std::num::NonZeroUsize::get));
    if args.json {
        print_json(json!({ "builds": builds.iter().map(as_json).collect::<Vec<_>>() }))?;
    } else if builds.is_empty() {
        tell!("nothing of `{project}` was built into this store yet");
    } else {
        print(&as_table(&builds))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn counts(build: &Build) -> (usize, usize) {
    let ran = build.stages.iter().filter(|stage| stage.ran).count();
    (ran, build.stages.len() - ran)
}

/// The digests of what was built, in hexadecimal, in the order of the targets.
fn digests(build: &Build) -> Vec<String> {
    build.made.iter().filter_map(|made| Some(StageOutput::from_bytes(made)?.digest())).collect()
}

fn as_table(builds: &[(u64, Build)]) -> String {
    use Align::{Left, Right};
    let head = ["BUILD", "WHEN", "TOOK", "RUN", "CACHED", "TARGETS", "DIGESTS"].map(str::to_owned);
    let rows = builds.iter().map(|(number, build)| {
        let (ran, cached) = counts(build);
        let digests: Vec<_> =
            digests(build).iter().map(|digest| format!("b3:{}", &digest[..SHORT])).collect();
        [
            number.to_string(),
            Timestamp(build.time).to_string(),
            seconds(Duration::from_millis(build.millis)),
            ran.to_string(),
            cached.to_string(),
            build.targets.join(" "),
            digests.join(" "),
        ]
    });
    let rows: Vec<_> = std::iter::once(head).chain(rows).collect();
    table([Right, Left, Right, Right, Right, Left, Left], &rows)
}

fn as_json((number, build): &(u64, Build)) -> Value {
    let (ran, cached) = counts(build);
    json!({
        "build": number,
        "time": Timestamp(build.time).to_string(),
        "seconds": build.millis as f64 / 1000.0,
        "run": ran,
        "cached": cached,
        "targets": build.targets,
        "blake3": digests(build),
    })
}
