//! `ibuild init`: starts a project from a template.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::ExitCode;

use ibuild::stages::recipe::{ProjectName, RECIPE_FILE, suggest};
use ibuild::{Context, Result, UsageError};

use crate::cli::InitArgs;
use crate::invocation::{shell_word, working_dir};
use crate::terminal::tell;

/// What the copies are not under version control for. The lock is: it says what the project is built from.
const GITIGNORE: &str = "/out/\n/ibuild.local.toml\n";

/// A file of a template.
struct File {
    path: &'static str,
    mode: u32,
    bytes: &'static [u8],
}

/// A project to start from.
struct Template {
    name: &'static str,
    /// What is said when it is there.
    target: &'static str,
    files: &'static [File],
}

macro_rules! file {
    ($mode:literal, $template:literal, $path:literal) => {
        File {
            path: $path,
            mode: $mode,
            bytes: include_bytes!(concat!("../../examples/", $template, "/", $path)),
        }
    };
}

static TEMPLATES: [Template; 1] = [Template {
    name: "hello",
    target: "hello.ova",
    files: &[
        file!(0o644, "hello", "ibuild.toml"),
        file!(0o644, "hello", "files/etc/fstab"),
        file!(0o644, "hello", "files/etc/systemd/network/80-dhcp.network"),
        file!(0o644, "hello", "files/etc/systemd/system.conf.d/50-slow.conf"),
        file!(0o755, "hello", "files/usr/local/bin/greet"),
        file!(0o755, "hello", "scripts/10-hostname"),
        file!(0o755, "hello", "scripts/20-locale"),
        file!(0o755, "hello", "scripts/30-user"),
        file!(0o755, "hello", "scripts/40-services"),
    ],
}];

pub fn run(args: &InitArgs) -> Result<ExitCode> {
    let template = find(&args.template)?;
    let dir = normal(&working_dir()?.join(&args.dir));
    refuse_to_overwrite(template, &dir)?;
    let name = project_name(&dir).unwrap_or_else(|| template.name.to_owned());
    let uuid = random_uuid()?;
    for file in template.files {
        let own = |recipe| of_its_own(recipe, template.name, &name, &uuid);
        let text = (file.path == RECIPE_FILE).then(|| own(file.bytes));
        write(&dir.join(file.path), file.mode, text.as_deref().unwrap_or(file.bytes))?;
    }
    if !dir.join(".gitignore").exists() {
        write(&dir.join(".gitignore"), 0o644, GITIGNORE.as_bytes())?;
    }
    tell!("made the project `{name}` in `{}`; next:", dir.display());
    if args.dir != Path::new(".") {
        tell!("  cd {}", shell_word(&args.dir.to_string_lossy()));
    }
    tell!("  ibuild doctor                        # what this machine lacks");
    tell!("  ibuild build --target {:<14} # the image, in out/", template.target);
    Ok(ExitCode::SUCCESS)
}

fn find(name: &str) -> Result<&'static Template> {
    let unknown = || {
        let known = TEMPLATES.iter().map(|template| template.name);
        let hint = suggest::hint(name, known).unwrap_or_default();
        let hint = format!("{hint}; a directory comes second: `ibuild init {} {name}`", TEMPLATES[0].name);
        UsageError::new(format!("there is no template `{name}`")).hint(hint)
    };
    Ok(TEMPLATES.iter().find(|template| template.name == name).ok_or_else(unknown)?)
}

/// Without `.` and `..`, so that the directory has a name. Nothing is there yet that could be a link.
fn normal(dir: &Path) -> std::path::PathBuf {
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

/// The recipe with the project's name and file system in place of the template's: two machines of which one has the disk of
/// the other would start from either.
fn of_its_own(recipe: &[u8], template: &str, name: &str, uuid: &str) -> Vec<u8> {
    const UUID: &str = "fs-uuid = \"";
    let recipe = String::from_utf8_lossy(recipe);
    let line = |name: &str| format!("[project]\nname = \"{name}\"\n");
    let recipe = recipe.replacen(&line(template), &line(name), 1);
    let Some((before, (_, after))) =
        recipe.split_once(UUID).and_then(|(before, rest)| Some((before, rest.split_once('"')?)))
    else {
        return recipe.into_bytes();
    };
    format!("{before}{UUID}{uuid}\"{after}").into_bytes()
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
    fn the_template_has_every_file_of_the_example() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
        for template in &TEMPLATES {
            let dir = root.join(template.name);
            let mut open = vec![dir.join("files"), dir.join("scripts")];
            while let Some(next) = open.pop() {
                if next.is_dir() {
                    open.extend(fs::read_dir(&next).unwrap().map(|entry| entry.unwrap().path()));
                    continue;
                }
                let path = next.strip_prefix(&dir).unwrap().to_str().unwrap();
                assert!(template.files.iter().any(|file| file.path == path), "{path} is not in the template");
            }
        }
    }

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
    fn only_the_project_is_renamed() {
        let recipe = b"[project]\nname = \"hello\"\n[image.hello]\nrootfs = \"hello\"\n";
        let text = String::from_utf8(of_its_own(recipe, "hello", "demo", "u")).unwrap();
        assert_eq!(text, "[project]\nname = \"demo\"\n[image.hello]\nrootfs = \"hello\"\n");
    }
}
