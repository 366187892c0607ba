//! What a bootstrap starts from: packages that ibuild chooses and unpacks, and the files that tell apt of the archives.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use ibuild_cache::Stoppable;
use ibuild_graph::Value;

use crate::StageError;
use crate::executor::context::StageContext;
use crate::packages::{DebRef, PackageError, RESOLVER, minbase};
use crate::recipe::{ArchiveNames, PackageName, Variant};
use crate::snapshot::unpack::{Dialect, unpack};
use ibuild_debian::{Member, Name, open_deb};

/// Downloads at a time.
const PARALLEL: usize = 4;

/// Everything that decides what is there before the first program runs, but for the state of the archives.
#[derive(Debug, Clone)]
pub(crate) struct Base {
    /// Where packages come from. Their states and their order are in the key with the step's access to them.
    pub archives: ArchiveNames,
    /// Which packages are there from the start.
    pub variant: Variant,
    /// Packages beyond those of the variant.
    pub include: Vec<PackageName>,
    /// The files that tell the image's own apt about the archives, in the order in which they are written: absolute paths, and
    /// what is in them.
    pub sources: Vec<(String, Vec<u8>)>,
}

impl Base {
    /// The whole of it, for a key.
    pub(crate) fn value(&self) -> Value {
        let Self { archives, variant, include, sources } = self;
        let source = |(path, content): &(String, Vec<u8>)| {
            let content = Value::Digest(*blake3::hash(content).as_bytes());
            Value::List(vec![path.as_str().into(), content])
        };
        Value::map([
            ("archives", Value::texts(archives.all().iter().map(ToString::to_string))),
            ("resolver", RESOLVER.into()),
            ("variant", variant.word().into()),
            ("include", Value::texts(include.iter().map(PackageName::as_str))),
            ("sources", Value::List(sources.iter().map(source).collect())),
        ])
    }

    /// The packages, as the locked state of the archives has them.
    pub(crate) fn select(&self, context: &StageContext<'_>) -> Result<Vec<DebRef>, StageError> {
        let all = context.archives();
        let (view, fetcher) = (all.view(&[self.archives.first().clone()])?, all.fetcher()?);
        let extras: Result<Vec<Name>, _> = self.include.iter().map(|name| name.as_str().parse()).collect();
        Ok(minbase(context.store(), &view, &extras.map_err(PackageError::from)?, fetcher)?)
    }

    /// Unpacks packages of the archives into an empty directory.
    pub(crate) fn unpack(
        &self,
        context: &StageContext<'_>,
        debs: &[DebRef],
        root: &Path,
    ) -> Result<(), StageError> {
        let files: Vec<_> = debs.iter().map(DebRef::file).collect();
        context.archives().fetcher()?.fetch_all(&files, PARALLEL)?;
        skeleton(root, &self.sources)?;
        for deb in debs {
            let stored = context.store().packages().path(&deb.sha256);
            let cancel = context.supervisor().cancel().clone();
            unpack(
                Stoppable::new(open_deb(&stored, Member::Data).map_err(PackageError::from)?, cancel),
                root,
                Dialect::Package,
            )?;
        }
        Ok(())
    }
}

/// Lays packages out for dpkg, under the names that they have in an archive. They are copies: times and link counts of the
/// store are nobody's business.
pub(crate) fn lay_out_packages(
    context: &StageContext<'_>,
    debs: &[DebRef],
    dir: &Path,
) -> Result<(), StageError> {
    for deb in debs {
        let place = dir.join(format!("{}_{}.deb", deb.name, deb.architecture));
        let stored = context.store().packages().path(&deb.sha256);
        fs::copy(stored, &place).map_err(StageError::io("lay out", &place))?;
    }
    Ok(())
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
