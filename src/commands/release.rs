//! `ibuild release`: a folder with images and everything that belongs to them.
//!
//! Images are made by root of a user namespace, who does not have the user's keys, agents and cards. So the command calls itself
//! for the images and documents, and signs as the user who called it.

use std::path::Path;
use std::process::{ExitCode, Stdio};
use std::sync::Arc;

use ibuild::release::{
    Key, Published, ReleaseCheck, StagedRelease, check_release, describe_version, read_edition,
};
use ibuild::stages::{Access, Unlocked};
use ibuild::{CheckFailed, Context, ExecutionOptions, ReleaseRequest, Result, output_dir};

use super::itself::{add_secrets, add_targets, itself, wait_for};
use crate::cli::{Global, ReleaseArgs};
use crate::interrupt;
use crate::invocation::{self, load_recipe, recipe_dir, shell_word};
use crate::terminal::{harmless, note, print};
use crate::ui::{Mode, Ui};

pub fn run(global: &Global, args: &ReleaseArgs) -> Result<ExitCode> {
    match (&args.check, &args.fill) {
        (Some(dir), _) => check(dir, args.key.as_deref()),
        (None, Some(dir)) => fill(global, args, dir),
        (None, None) => release(global, args),
    }
}

fn release(global: &Global, args: &ReleaseArgs) -> Result<ExitCode> {
    let dir = recipe_dir()?;
    let recipe = load_recipe(global, &dir, &args.targets.vars)?;
    let version = version(args)?;
    if let Some(previous) = &args.previous {
        read_edition(previous)?;
    }
    for signer in &args.sign {
        signer.check()?;
    }
    let default = || output_dir(&dir, None).join(format!("{}-{version}", recipe.project.name));
    let place = args.output.clone().unwrap_or_else(default);
    let staged = StagedRelease::beside(&place)?;
    let filled = call_itself(global, args, &version, staged.path())?;
    if filled != 0 {
        return Ok(ExitCode::from(filled));
    }
    staged.sign(&args.sign)?;
    let place = staged.place().to_owned();
    let published = staged.publish()?;
    print(&format!("{}\n", said(published, &place)))?;
    if args.sign.is_empty() && published == Published::New {
        note(global, &how_to_sign(&place));
    }
    Ok(ExitCode::SUCCESS)
}

fn said(published: Published, place: &Path) -> String {
    let place = shell_word(&place.to_string_lossy());
    match published {
        Published::New => format!("released {place}"),
        Published::Signed => format!("signed {place}"),
        Published::Unchanged => format!("unchanged {place}"),
    }
}

fn how_to_sign(place: &Path) -> String {
    let place = shell_word(&place.to_string_lossy());
    format!(
        "it is not signed: the same command with `--sign gpg:KEY` signs it, and so does `cd {place} && gpg --detach-sign \
         --output SHA256SUMS.gpg SHA256SUMS`"
    )
}

fn version(args: &ReleaseArgs) -> Result<String> {
    match &args.version {
        Some(version) => ibuild::release::checked_version(version),
        None => describe_version(&recipe_dir()?),
    }
}

/// Lets this program fill the folder, and tells with which status it ended.
fn call_itself(global: &Global, args: &ReleaseArgs, version: &str, dir: &Path) -> Result<u8> {
    let mut command = itself(global)?;
    command.arg("release").arg("--fill").arg(dir).args(["--version", version]);
    add_targets(&mut command, &args.targets);
    if let Some(previous) = &args.previous {
        command.arg("--previous").arg(previous);
    }
    add_secrets(&mut command, &args.secrets);
    for (is_wanted, option) in [(args.offline, "--offline"), (args.locked, "--locked")] {
        command.args(is_wanted.then_some(option));
    }
    wait_for(command.stdout(Stdio::null()))
}

fn fill(global: &Global, args: &ReleaseArgs, dir: &Path) -> Result<ExitCode> {
    let workspace = invocation::open_with(global, &args.targets.vars, &args.secrets)?;
    let request = ReleaseRequest {
        targets: args.targets.all(),
        version: version(args)?,
        previous: args.previous.as_deref().map(read_edition).transpose()?,
        execution: ExecutionOptions {
            access: if args.offline { Access::Offline } else { Access::Online },
            unlocked: if args.locked { Unlocked::Refuse } else { Unlocked::Record },
            cancel: interrupt::cancel_in_time()?,
            ..ExecutionOptions::default()
        },
    };
    let mode = if global.quiet { Mode::Quiet } else { Mode::Normal };
    let ui = Ui::new(mode, global, &workspace.project().graph);
    workspace.fill_release(&request, dir, Arc::new(ui))?;
    Ok(ExitCode::SUCCESS)
}

fn check(dir: &Path, key: Option<&Path>) -> Result<ExitCode> {
    let key = read_key(key)?;
    let ReleaseCheck { good, bad, unchecked } = check_release(dir, key.as_ref())?;
    let lines = |word: &str, lines: &[String]| {
        lines.iter().map(|line| format!("{word:<10} {}\n", harmless(line))).collect::<String>()
    };
    print(&(lines("good", &good) + &lines("bad", &bad) + &lines("unchecked", &unchecked)))?;
    match bad.len() {
        0 => Ok(ExitCode::SUCCESS),
        1 => Err(CheckFailed(format!("`{}` is not a good release: {}", dir.display(), bad[0])).into()),
        count => {
            Err(CheckFailed(format!("`{}` is not a good release: {count} things are wrong", dir.display()))
                .into())
        }
    }
}

/// The key that an option names.
pub(super) fn read_key(path: Option<&Path>) -> Result<Option<Key>> {
    let read = |path: &Path| {
        Key::read(path).map_err(ibuild::Error::from).with_context(|| format!("`{}`", path.display()))
    };
    path.map(read).transpose()
}
