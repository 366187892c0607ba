//! `ibuild cache export` and `ibuild cache import`: results on their way to another store.

use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use ibuild::cache::{LockMode, Store};
use ibuild::stages::exchange::{Imported, Sink, Source};
use ibuild::{Context, ExportedPackages, ImportTrust, Result, UsageError, import_results};
use serde_json::json;

use crate::cli::{ExportArgs, Global, ImportArgs};
use crate::commands::release::read_key;
use crate::interrupt;
use crate::invocation;
use crate::terminal::{note, print, print_json};
use crate::ui::{bytes, counted};

pub fn export(global: &Global, args: &ExportArgs) -> Result<ExitCode> {
    let place = Place::of(args.to.as_deref())?;
    let workspace = invocation::open(global, &args.vars)?;
    let _shared = invocation::share_store(global, &workspace)?;
    if let Some(signer) = &args.sign {
        signer.check()?;
    }
    let packages = if args.with_packages { ExportedPackages::Used } else { ExportedPackages::None };
    let export = workspace.export(&args.names, packages)?;
    let signature = args.sign.as_ref().map(|signer| signer.sign(export.manifest().as_bytes())).transpose()?;
    let (sink, unfinished) = place.sink()?;
    let exported = export.write(sink, signature.as_deref())?;
    if let Some((temp, path)) = unfinished {
        let readable = std::fs::Permissions::from_mode(0o644);
        temp.as_file()
            .set_permissions(readable)
            .and_then(|()| temp.as_file().sync_all())
            .context("cannot write the archive")?;
        temp.persist(&path)
            .map_err(|error| error.error)
            .with_context(|| format!("cannot write `{}`", path.display()))?;
    }
    let results = counted(exported.results, "result", "results");
    note(global, &format!("exported {results}, {}", bytes(exported.bytes)));
    Ok(ExitCode::SUCCESS)
}

pub fn import(store: &Store, global: &Global, args: &ImportArgs) -> Result<ExitCode> {
    let sender = match read_key(args.require_signature.as_deref())? {
        Some(key) => ImportTrust::Key(key),
        None => ImportTrust::Anybody,
    };
    let source = match args.from.as_os_str() == "-" {
        true => Source::tar(io::stdin()),
        false => {
            Source::open(&args.from).with_context(|| format!("cannot read `{}`", args.from.display()))?
        }
    };
    let shared = store.share(LockMode::Try)?;
    let _shared = match shared {
        Some(shared) => Some(shared),
        None => {
            note(global, "waits for another ibuild that cleans the store up");
            store.share(LockMode::Wait)?
        }
    };
    let cancel = interrupt::cancel_in_time()?;
    let Imported { new, known, packages } = import_results(store, source, &sender, &cancel)?;
    if args.json {
        print_json(json!({ "v": 1, "new": new, "known": known, "packages": packages }))?;
    } else {
        let results = counted(new, "result", "results");
        let files = counted(packages, "package or index", "packages and indices");
        print(&format!("imported {results}; {known} were there; {files}\n"))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Where an archive goes.
enum Place {
    Stdout,
    Directory(PathBuf),
    File(PathBuf),
}

/// A file that gets its name when it is whole.
type Unfinished = (tempfile::NamedTempFile, PathBuf);

impl Place {
    fn of(to: Option<&Path>) -> Result<Self> {
        Ok(match to {
            Some(path) if path.as_os_str() != "-" => {
                let is_directory = path.is_dir() || path.to_string_lossy().ends_with('/');
                if is_directory { Self::Directory(path.to_owned()) } else { Self::File(path.to_owned()) }
            }
            _ if io::stdout().is_terminal() => {
                let error = UsageError::new("an archive is not for a terminal");
                return Err(error
                    .hint(
                        "`--to FILE` writes it to a file; or pipe it: `... | ssh HOST ibuild cache import -`",
                    )
                    .into());
            }
            _ => Self::Stdout,
        })
    }

    fn sink(self) -> Result<(Sink, Option<Unfinished>)> {
        Ok(match self {
            Self::Stdout => (Sink::tar(BufWriter::with_capacity(1 << 20, io::stdout())), None),
            Self::Directory(dir) => (Sink::Directory(dir), None),
            Self::File(path) => {
                let parent =
                    path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
                let context = || format!("cannot write into `{}`", parent.display());
                let temp = tempfile::NamedTempFile::new_in(parent).with_context(context)?;
                let file: File = temp.reopen().with_context(context)?;
                let writer: Box<dyn Write> = Box::new(BufWriter::with_capacity(1 << 20, file));
                (Sink::tar(writer), Some((temp, path)))
            }
        })
    }
}
