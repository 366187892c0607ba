//! `bootstrap`: a minimal Debian from nothing but an archive.
//!
//! No tool of the host takes part. ibuild chooses the packages, unpacks them, and lets the new system's own dpkg install
//! them properly over what is there already.

use std::collections::BTreeSet;

use ibuild_graph::Value;

use super::StepRequest;
use super::program::view;
use crate::StageError;
use crate::executor::base::Base;
use crate::executor::resolved::{Changes, ResolvedStep, Start};
use crate::packages::PlannedDeb;
use crate::recipe::{ArchiveNames, PackageName, Variant};
use crate::sandbox::{Shown, ShownContent};

const IMPLEMENTATION: i64 = 2;

pub(super) fn resolve(
    request: &StepRequest<'_, '_>,
    archives: &ArchiveNames,
    variant: Variant,
    include: &[PackageName],
) -> Result<ResolvedStep, StageError> {
    let all = request.context.archives();
    let script = install_script(&all.foreign(archives)).into_bytes();
    let shown = vec![
        Shown { path: "bootstrap".into(), content: ShownContent::Program(script) },
        Shown { path: "debs".into(), content: ShownContent::BasePackages },
    ];
    let argv = ["/bin/sh", "/run/ibuild/bootstrap"].map(str::to_owned).to_vec();
    Ok(ResolvedStep {
        kind: "bootstrap",
        implementation: IMPLEMENTATION,
        request: vec![
            ("variant", variant.word().into()),
            ("include", Value::texts(include.iter().map(PackageName::as_str))),
        ],
        program: "the configuration of the base system".to_owned(),
        start: Start::Bootstrap(base(request, archives, variant, include)),
        // Its packages are there before it runs, so it reaches nothing.
        view: view(request, shown, argv, None),
        archives: request.archives()?,
        from: None,
        fetched: Vec::new(),
        output: request.output(Changes::Kept),
    })
}

fn base(
    request: &StepRequest<'_, '_>,
    archives: &ArchiveNames,
    variant: Variant,
    include: &[PackageName],
) -> Base {
    let sources = request.context.archives().sources(archives);
    Base { archives: archives.clone(), variant, include: include.to_vec(), sources }
}

/// The packages that it would install.
pub(super) fn plan(
    request: &StepRequest<'_, '_>,
    archives: &ArchiveNames,
    variant: Variant,
    include: &[PackageName],
) -> Result<BTreeSet<PlannedDeb>, StageError> {
    let debs = base(request, archives, variant, include).select(request.context)?;
    Ok(debs.iter().map(PlannedDeb::from).collect())
}

/// Other architectures come last: all that is there until then is the machine's own.
fn install_script(foreign: &[String]) -> String {
    let added =
        foreign.iter().map(|architecture| format!("/usr/bin/dpkg --add-architecture {architecture}\n"));
    INSTALL.to_owned() + &added.collect::<String>()
}

/// The files are there, but no package is installed: dpkg does it again, properly. Dependencies are complete but come in
/// the order of names, so they are forced, and checked at the end. Programs are named by their paths, because a
/// distribution may have others of the same name in front of them.
const INSTALL: &str = r#"set -eu
/usr/bin/dpkg --force-depends --force-confold --install /run/ibuild/debs/*.deb
/usr/bin/dpkg --audit
/usr/bin/apt-get check
"#;
