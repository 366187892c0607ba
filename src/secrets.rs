//! The secrets of a project: where their values come from, and what is refused or said about that.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::str::FromStr;
use std::sync::{Arc, OnceLock};

use ibuild_stages::Secrets;
use ibuild_stages::recipe::{Recipe, SecretName, suggest};
use ibuild_stages::sandbox::{SecretValue, secret};
use zeroize::Zeroizing;

use crate::error::{Result, UsageError};
use crate::process;
use crate::settings::Settings;

/// A secret that is given by the file with its value, as in `--secret NAME=FILE`. The file is read once, when it is needed first, so
/// it may be a pipe; clones share what was read.
#[derive(Debug, Clone)]
pub struct SecretFile {
    /// The secret's name.
    pub name: SecretName,
    /// The file. A relative path is meant from the directory of the process.
    pub path: PathBuf,
    given: Given,
    value: Arc<OnceLock<SecretValue>>,
}

/// Where a secret's file is named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Given {
    /// On a command line, where people may have put the secret itself by mistake.
    Argument,
    /// In a file.
    Settings,
}

impl FromStr for SecretFile {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, path) = text.split_once('=').ok_or("write `NAME=FILE`: a secret's value is in a file")?;
        let name: SecretName =
            name.parse().map_err(|e: ibuild_stages::recipe::NameError| format!("{e}: {}", e.rule()))?;
        match path {
            "" => Err(format!("there is no file after `{name}=`")),
            path => Ok(Self { given: Given::Argument, ..Self::new(name, PathBuf::from(path)) }),
        }
    }
}

impl SecretFile {
    /// A secret in this file.
    pub fn new(name: SecretName, path: PathBuf) -> Self {
        Self { name, path, given: Given::Settings, value: Arc::default() }
    }

    /// What is in the file.
    fn value(&self) -> Result<SecretValue, UsageError> {
        if let Some(value) = self.value.get() {
            return Ok(value.clone());
        }
        let read = read(&self.path).and_then(|bytes| SecretValue::new(bytes).map_err(|e| e.to_string()));
        let value = read.map_err(|why| self.refused(&why))?;
        Ok(self.value.get_or_init(|| value).clone())
    }

    /// That the file cannot be the secret. What is no file may be the secret itself, given by mistake, and is not said again.
    fn refused(&self, why: &str) -> UsageError {
        let name = &self.name;
        match (self.given, self.path.try_exists()) {
            (Given::Settings, _) | (_, Ok(true)) => {
                UsageError::new(format!("`{}` cannot be the secret `{name}`: {why}", self.path.display()))
                    .hint("name a file that has the secret and nothing else in it")
            }
            _ => UsageError::new(format!("there is no such file for the secret `{name}`"))
                .hint("`--secret NAME=FILE` names a file; a value itself is never an argument"),
        }
    }

    /// Whether others than the owner of the file can read it.
    fn is_open_to_others(&self) -> bool {
        let meta = fs::metadata(&self.path);
        meta.is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o044 != 0)
    }

    /// Whether git has the file, as far as that can be found out.
    fn is_tracked(&self, dir: &Path) -> bool {
        let Ok(path) = std::path::absolute(&self.path) else { return false };
        let mut git = Command::new("git");
        git.arg("-C").arg(dir).args(["ls-files", "--error-unmatch", "--"]).arg(&path);
        git.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        path.starts_with(dir) && git.status().is_ok_and(|status| status.success())
    }
}

/// The bytes of a file or a pipe, and of none that has no end.
fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, String> {
    let in_words = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => "there is no such file".to_owned(),
        kind => kind.to_string(),
    };
    let kind = fs::metadata(path).map_err(in_words)?.file_type();
    if kind.is_dir() {
        return Err("it is a directory".to_owned());
    }
    if !kind.is_file() && !kind.is_fifo() {
        return Err("it is neither a file nor a pipe".to_owned());
    }
    // With room for all of it: a vector that grows leaves copies behind.
    const MOST: usize = secret::LONGEST + 1;
    let mut bytes = Zeroizing::new(Vec::with_capacity(MOST));
    let file = File::open(path).map_err(in_words)?;
    file.take(MOST as u64).read_to_end(&mut bytes).map_err(in_words)?;
    Ok(bytes)
}

/// The secrets that steps of a recipe ask for.
#[derive(Debug, Clone, Default)]
pub(crate) struct GivenSecrets {
    /// Those that are given.
    pub(crate) values: Secrets,
    /// Of the others those that the settings name, and why they cannot be had.
    unusable: BTreeMap<SecretName, UsageError>,
    /// Where the values are from.
    files: Vec<SecretFile>,
}

impl GivenSecrets {
    /// Those of `files`, and what the settings have for the others that the recipe asks for.
    ///
    /// # Errors
    ///
    /// Of kind [`Usage`](crate::ErrorKind::Usage) if one of `files` is asked for by no step, is given twice, or cannot be one. What
    /// is wrong with those of the settings is told when one is needed.
    pub(crate) fn of(recipe: &Recipe, files: &[SecretFile], settings: &Settings) -> Result<Self> {
        let asked = asked(recipe);
        let mut given = BTreeMap::new();
        for file in files {
            if !asked.contains(&file.name) {
                return Err(not_asked(&file.name, &asked).into());
            }
            if given.insert(file.name.clone(), file.value()?).is_some() {
                return Err(UsageError::new(format!("the secret `{}` is given twice", file.name)).into());
            }
        }
        let (mut unusable, mut files) = (BTreeMap::new(), files.to_vec());
        for (name, path) in settings.secrets.iter().filter(|(name, _)| asked.contains(*name)) {
            if given.contains_key(name) {
                continue;
            }
            let file = SecretFile::new(name.clone(), path.clone());
            match file.value() {
                Ok(value) => drop(given.insert(name.clone(), value)),
                Err(error) => drop(unusable.insert(name.clone(), error)),
            }
            files.push(file);
        }
        if !given.is_empty() {
            process::forbid_cores();
        }
        Ok(Self { values: given.into_iter().collect(), unusable, files })
    }

    /// Why a secret of the settings cannot be had, if that is so.
    pub(crate) fn why_unusable(&self, name: &SecretName) -> Option<&UsageError> {
        self.unusable.get(name)
    }

    /// Files that are not kept as secrets should be.
    pub(crate) fn notes(&self, dir: &Path) -> Vec<String> {
        let mut notes = Vec::new();
        for file in &self.files {
            let path = file.path.display();
            if file.is_open_to_others() {
                notes.push(format!("`{path}` can be read by other users: `chmod 600` it"));
            }
            if file.is_tracked(dir) {
                notes.push(format!(
                    "`{path}` is tracked by git, and so is no secret: make a new one, and keep it elsewhere"
                ));
            }
        }
        notes
    }
}

/// The names that steps ask for.
fn asked(recipe: &Recipe) -> BTreeSet<SecretName> {
    let steps = recipe.rootfses.values().flat_map(|rootfs| &rootfs.steps);
    steps.flat_map(|step| &step.secrets).map(|secret| secret.name.clone()).collect()
}

fn not_asked(name: &SecretName, asked: &BTreeSet<SecretName>) -> UsageError {
    let hint = suggest::hint(name.as_str(), asked.iter().map(SecretName::as_str));
    let how = || format!("a step asks for it with `secrets = [\"{name}\"]` in the recipe");
    UsageError::new(format!("no step asks for the secret `{name}`")).hint(hint.unwrap_or_else(how))
}

/// The steps that need secrets which are not given, in the words of an error.
pub(crate) struct Lacking {
    /// The stage.
    pub(crate) stage: String,
    /// What it lacks.
    pub(crate) names: Vec<SecretName>,
    /// Whether it is certain that it runs.
    pub(crate) runs: Runs,
}

/// Whether a stage runs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Runs {
    /// It does.
    Yes,
    /// If what it stands on is made again and comes out as something else.
    Perhaps,
}

/// Refuses to begin something that needs secrets.
pub(crate) fn refuse_lacking(lacking: &[Lacking]) -> Result<(), UsageError> {
    let Some(name) = lacking.iter().flat_map(|stage| &stage.names).next() else { return Ok(()) };
    let missing: BTreeSet<_> =
        lacking.iter().flat_map(|stage| &stage.names).map(SecretName::as_str).collect();
    let names = suggest::list(&missing.iter().copied().collect::<Vec<_>>());
    let (secrets, are) = if missing.len() == 1 { ("secret", "is") } else { ("secrets", "are") };
    let needs = lacking.iter().map(|Lacking { stage, names, runs }| {
        let needs = if *runs == Runs::Yes { "needs" } else { "may need" };
        let which = suggest::list(&names.iter().map(SecretName::as_str).collect::<Vec<_>>());
        format!("`{stage}` {needs} {}", if missing.len() == 1 { "it".to_owned() } else { which })
    });
    let needs = needs.collect::<Vec<_>>().join(", ");
    let error = UsageError::new(format!("the {secrets} {names} {are} not given: {needs}"));
    Err(error.hint(ibuild_stages::how_to_give(name.as_str())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_given_by_name_and_file() {
        let given: SecretFile = "TOKEN=a=b".parse().unwrap();
        assert_eq!((given.name.as_str(), given.path.as_path()), ("TOKEN", Path::new("a=b")));
        for wrong in ["TOKEN", "=x", "TOKEN=", "../x=y", ""] {
            assert!(wrong.parse::<SecretFile>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_is_no_secret_is_refused_with_the_reason() {
        let dir = tempfile::tempdir().unwrap();
        let check = |name: &str, why: &str| {
            let file = SecretFile::new("A".parse().unwrap(), dir.path().join(name));
            let error = file.value().unwrap_err().to_string();
            assert_eq!(error, format!("`{}` cannot be the secret `A`: {why}", file.path.display()));
        };
        fs::write(dir.path().join("empty"), "\n\n").unwrap();
        fs::write(dir.path().join("short"), "1234567\n").unwrap();
        fs::write(dir.path().join("long"), vec![b'x'; 70_000]).unwrap();
        std::os::unix::fs::symlink("/dev/zero", dir.path().join("zero")).unwrap();
        check("none", "there is no such file");
        check("", "it is a directory");
        check("zero", "it is neither a file nor a pipe");
        check("empty", "it is empty");
        check("short", "it has 7 bytes without the white space at its ends, and a secret has at least 8");
        check("long", "it has more than 64 KiB");
        // It may be the secret itself.
        let given: SecretFile = "A=tok-third-55555555".parse().unwrap();
        assert_eq!(given.value().unwrap_err().to_string(), "there is no such file for the secret `A`");
    }

    #[test]
    fn a_pipe_is_read_once() {
        let dir = tempfile::tempdir().unwrap();
        let pipe = dir.path().join("pipe");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let writer = std::thread::spawn({
            let pipe = pipe.clone();
            move || fs::write(pipe, "s3cr3t-value").unwrap()
        });
        let file = SecretFile::new("A".parse().unwrap(), pipe);
        let (first, again) = (file.value().unwrap(), file.clone().value().unwrap());
        writer.join().unwrap();
        assert!(first == again);
    }
}
