//! `ibuild init`: starts a project from a template.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use ibuild::stages::recipe::{ProjectName, RECIPE_FILE, suggest};
use ibuild::{Context, Result, UsageError};

use crate::cli::InitArgs;
use crate::invocation::{shell_word, working_dir};
use crate::templates::{File, TEMPLATES, Template};
use crate::terminal::tell;

/// What the copies are not under version control for. The lock is: it says what the project is built from.
const GITIGNORE: &str = "/out/\n/ibuild.local.toml\n";

pub fn run(args: &InitArgs) -> Result<ExitCode> {
    let Wanted { template, dir: given } = wanted(args)?;
    let dir = normal(&working_dir()?.join(&given));
    refuse_to_overwrite(template, &dir)?;
    let name = project_name(&dir).unwrap_or_else(|| template.name.to_owned());
    let own = Own { template, name: &name, uuid: random_uuid()? };
    for file in template.files {
        write(&dir.join(file.path), file.mode, &own.bytes(file))?;
    }
    if !dir.join(".gitignore").exists() {
        write(&dir.join(".gitignore"), 0o644, GITIGNORE.as_bytes())?;
    }
    tell!("made the project `{name}` from the template `{}` in `{}`; next:", template.name, dir.display());
    if given != Path::new(".") {
        tell!("  cd {}", shell_word(&given.to_string_lossy()));
    }
    let next = || NEXT.iter().chain(template.next);
    let width = next().map(|(command, _)| command.len()).max().unwrap_or_default();
    for (command, what) in next() {
        tell!("  {command:<width$}  # {what}");
    }
    Ok(ExitCode::SUCCESS)
}

/// What somebody has to do with every new project.
const NEXT: [(&str, &str); 1] = [("ibuild doctor", "what this machine lacks")];

/// What is to be made of what, and where.
struct Wanted {
    template: &'static Template,
    dir: PathBuf,
}

/// A first word that is no template is the directory, unless it looks like a slip.
fn wanted(args: &InitArgs) -> Result<Wanted> {
    let default = &TEMPLATES[0];
    let Some(first) = &args.template else { return Ok(Wanted { template: default, dir: ".".into() }) };
    let found = TEMPLATES.iter().find(|template| template.name == first);
    match (found, &args.dir) {
        (Some(template), dir) => {
            Ok(Wanted { template, dir: dir.clone().unwrap_or_else(|| PathBuf::from(".")) })
        }
        (None, None) if Path::new(first).is_dir() || !is_slip(first) => {
            Ok(Wanted { template: default, dir: first.into() })
        }
        (None, _) => Err(unknown_template(first, args.dir.as_deref()).into()),
    }
}

fn names() -> impl Iterator<Item = &'static str> {
    TEMPLATES.iter().map(|template| template.name)
}

/// Whether a word differs from the name of a template as by a slip of the hand. `my-server` does not.
fn is_slip(word: &str) -> bool {
    suggest::near(word, names()).is_some_and(|name| name.len().abs_diff(word.len()) <= 1)
}

fn unknown_template(name: &str, dir: Option<&Path>) -> UsageError {
    let known: Vec<_> = names().collect();
    let hint = match (suggest::near(name, known.iter().copied()), dir) {
        (Some(near), None) => format!(
            "did you mean `{near}`? for a directory of that name: `ibuild init {} {name}`",
            TEMPLATES[0].name
        ),
        (Some(near), Some(_)) => format!("did you mean `{near}`?"),
        (None, _) => format!("templates are {}", suggest::list(&known)),
    };
    UsageError::new(format!("there is no template `{name}`")).hint(hint)
}

/// Without `.` and `..`, so that the directory has a name. Nothing is there yet that could be a link.
fn normal(dir: &Path) -> PathBuf {
    fs::canonicalize(dir).unwrap_or_else(|_| dir.components().collect())
}

/// All or nothing: half of a template over half of a project helps nobody.
fn refuse_to_overwrite(template: &Template, dir: &Path) -> Result<()> {
    let Some(file) = template.files.iter().find(|file| fs::symlink_metadata(dir.join(file.path)).is_ok())
    else {
        return Ok(());
    };
    let error = UsageError::new(format!("`{}` is there already", dir.join(file.path).display()));
    Err(error.hint("give another directory: `ibuild init TEMPLATE DIR`").into())
}

/// The directory's name, if a project can be called that.
fn project_name(dir: &Path) -> Option<String> {
    let name: ProjectName = dir.file_name()?.to_str()?.parse().ok()?;
    Some(name.to_string())
}

/// What a project has of its own.
struct Own<'a> {
    template: &'static Template,
    name: &'a str,
    uuid: String,
}

impl Own<'_> {
    /// A file with the project's name and file system in place of the template's: two machines of which one has the disk of
    /// the other would start from either.
    fn bytes(&self, file: &File) -> Vec<u8> {
        let Ok(text) = std::str::from_utf8(file.bytes) else { return file.bytes.to_owned() };
        let line = |name: &str| format!("[project]\nname = \"{name}\"\n");
        let text = text.replace(self.template.uuid, &self.uuid);
        match file.path {
            RECIPE_FILE => text.replacen(&line(self.template.name), &line(self.name), 1).into_bytes(),
            _ => text.into_bytes(),
        }
    }
}

/// A new UUID of version 4 (RFC 9562).
fn random_uuid() -> Result<String> {
    let mut random = [0; 16];
    let read = fs::File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut random));
    read.context("cannot read `/dev/urandom`")?;
    let bits = u128::from_be_bytes(random) & !(0xf << 76) & !(0b11 << 62) | 4 << 76 | 0b10 << 62;
    let hex = format!("{bits:032x}");
    Ok(format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]))
}

fn write(path: &Path, mode: u32, bytes: &[u8]) -> Result<()> {
    let parent = path.parent().unwrap_or(path);
    fs::create_dir_all(parent).with_context(|| format!("cannot create `{}`", parent.display()))?;
    let write = || {
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
        file.write_all(bytes)
    };
    write().with_context(|| format!("cannot write `{}`", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_is_random_and_says_so() {
        let (one, other) = (random_uuid().unwrap(), random_uuid().unwrap());
        assert_ne!(one, other);
        for uuid in [one, other] {
            let lengths: Vec<_> = uuid.split('-').map(str::len).collect();
            assert_eq!(lengths, [8, 4, 4, 4, 12], "{uuid}");
            assert!(uuid[14..].starts_with('4') && uuid[19..].starts_with(['8', '9', 'a', 'b']), "{uuid}");
        }
    }

    #[test]
    fn a_project_has_a_name_and_a_file_system_of_its_own() {
        for template in &TEMPLATES {
            let own = Own { template, name: "demo", uuid: "u-u".to_owned() };
            let text = |path: &str| {
                let file =
                    template.files.iter().find(|file| file.path == path).expect("it is in the template");
                String::from_utf8(own.bytes(file)).unwrap()
            };
            let recipe = text(RECIPE_FILE);
            assert!(recipe.contains("[project]\nname = \"demo\"\n"), "{recipe}");
            assert!(recipe.contains("fs-uuid = \"u-u\""), "{recipe}");
            for file in template.files.iter().map(|file| text(file.path)) {
                assert!(!file.contains(template.uuid), "{file}");
                assert!(!file.contains("UUID=") || file.contains("UUID=u-u"), "{file}");
            }
        }
    }

    #[test]
    fn slips_are_told_from_directories() {
        for (word, slip) in
            [("helo", true), ("hello2", true), ("my-hello", false), ("myproj", false), ("x", false)]
        {
            assert_eq!(is_slip(word), slip, "{word}");
        }
    }
}
