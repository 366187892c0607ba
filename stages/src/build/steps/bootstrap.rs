//! `bootstrap`: a minimal Debian from nothing but an archive.
//!
//! No tool of the host takes part. ibuild chooses the packages, unpacks them, and lets the new system's own dpkg install
//! them properly over what is there already.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use ibuild_graph::{Description, Value};

use super::StepContext;
use crate::build::StageError;
use crate::build::changeroot::{Changeroot, MadeSnapshot, Work, read_only};
use crate::build::environment::environment_of;
use crate::build::evidence::Evidence;
use crate::packages::{DebRef, Member, Name, PlannedDeb, minbase, open_deb};
use crate::recipe::{ArchiveNames, PackageName, Variant};
use crate::sandbox::Payload;
use crate::snapshot::unpack::{Dialect, unpack};

const IMPLEMENTATION: i64 = 1;

/// Downloads at a time.
const PARALLEL: usize = 4;

/// The archive's declaration and state are described for every step that may install.
pub(super) fn describe(variant: Variant, include: &[PackageName]) -> Description {
    let mut description = Description::new("bootstrap", IMPLEMENTATION);
    description.set("variant", variant.word());
    description.set("include", Value::texts(include.iter().map(PackageName::as_str)));
    description
}

pub(super) fn run(
    context: &StepContext<'_, '_>,
    archives: &ArchiveNames,
    include: &[PackageName],
) -> MadeSnapshot {
    let debs = resolve(context, archives, include)?;
    let files: Vec<_> = debs.iter().map(DebRef::file).collect();
    context.builder.archives().fetcher()?.fetch_all(&files, PARALLEL)?;
    let root = Changeroot::over(context.builder, None)?;
    skeleton(&root.upper(), &context.builder.archives().sources(archives))?;
    let pool = root.side_dir("debs")?;
    for deb in &debs {
        provide(context, deb, &root.upper(), &pool)?;
    }
    let script =
        root.side_file("bootstrap", install_script(&context.builder.archives().foreign(archives)))?;
    let program = "the configuration of the base system".to_owned();
    let argv = ["/bin/sh", "/run/ibuild/bootstrap"].map(str::to_owned).to_vec();
    let work = Work {
        program,
        payload: Payload::Exec { argv },
        binds: vec![read_only(script, "bootstrap"), read_only(pool, "debs")],
        from: None,
        archives: &[],
        env: environment_of(context.builder, context.name, context.step),
        timeout: context.step.timeout,
        limits: context.step.limits,
    };
    let name = context.name.to_string();
    let root = root.run(context.builder, &name, work)?;
    // What it would ask for is known ahead.
    context.builder.note_evidence(&name, Evidence { debs, asked: None, course: None });
    root.capture(context.builder, context.step)
}

/// The packages that it would install.
pub(super) fn plan(
    context: &StepContext<'_, '_>,
    archives: &ArchiveNames,
    include: &[PackageName],
) -> Result<BTreeSet<PlannedDeb>, StageError> {
    Ok(resolve(context, archives, include)?.iter().map(PlannedDeb::from).collect())
}

fn resolve(
    context: &StepContext<'_, '_>,
    archives: &ArchiveNames,
    include: &[PackageName],
) -> Result<Vec<DebRef>, StageError> {
    let all = context.builder.archives();
    let (view, fetcher) = (all.view(&[archives.first().clone()])?, all.fetcher()?);
    let extras: Result<Vec<Name>, _> = include.iter().map(|name| name.as_str().parse()).collect();
    Ok(minbase(context.builder.store(), &view, &extras?, fetcher)?)
}

/// What has to be there before the first package is. Since Debian 12 the directories at the top are links into `/usr`;
/// the oldest packages still ship files through them.
fn skeleton(root: &Path, sources: &[(String, Vec<u8>)]) -> Result<(), StageError> {
    let error = || StageError::io("prepare", root);
    for name in ["bin", "lib", "lib64", "sbin"] {
        fs::create_dir_all(root.join("usr").join(name)).map_err(error())?;
        symlink(Path::new("usr").join(name), root.join(name)).map_err(error())?;
    }
    for (name, mode) in [("dev", 0o755), ("proc", 0o555), ("run", 0o755), ("sys", 0o555), ("tmp", 0o1777)] {
        let dir = root.join(name);
        fs::create_dir(&dir).map_err(error())?;
        fs::set_permissions(&dir, fs::Permissions::from_mode(mode)).map_err(error())?;
    }
    write_deep(root, "var/lib/dpkg/status", b"")?;
    write_deep(root, "var/lib/dpkg/available", b"")?;
    sources.iter().try_for_each(|(path, content)| write_deep(root, path.trim_start_matches('/'), content))
}

fn write_deep(root: &Path, name: &str, content: &[u8]) -> Result<(), StageError> {
    let path = root.join(name);
    let parent = path.parent().unwrap_or(root);
    fs::create_dir_all(parent).map_err(StageError::io("create", parent))?;
    fs::write(&path, content).map_err(StageError::io("write", &path))
}

/// Unpacks a package and lays it out for dpkg under the name it has in an archive.
fn provide(context: &StepContext<'_, '_>, deb: &DebRef, root: &Path, pool: &Path) -> Result<(), StageError> {
    let stored = context.builder.store().packages().path(&deb.sha256);
    unpack(open_deb(&stored, Member::Data)?, root, Dialect::Package)?;
    let name = format!("{}_{}.deb", deb.name, deb.architecture);
    let place = pool.join(name);
    fs::hard_link(&stored, &place).map_err(StageError::io("lay out", &place))
}

/// Other architectures come last: all that is there until then is the machine's own.
fn install_script(foreign: &[String]) -> String {
    let added = foreign.iter().map(|architecture| format!("dpkg --add-architecture {architecture}\n"));
    INSTALL.to_owned() + &added.collect::<String>()
}

/// The files are there, but no package is installed: dpkg does it again, properly. Dependencies are complete but come in
/// the order of names, so they are forced, and checked at the end.
const INSTALL: &str = r#"set -eu
dpkg --force-depends --force-confold --install /run/ibuild/debs/*.deb
dpkg --audit
apt-get check
"#;
