//! `ibuild packages import`: takes packages into the store that lie around elsewhere.

use std::path::Path;
use std::process::ExitCode;

use ibuild::Result;
use ibuild::cache::Store;
use ibuild::stages::packages::{Imported, import};

use crate::terminal::print;
use crate::ui::{bytes, counted};

pub fn run(store: &Store, dir: &Path) -> Result<ExitCode> {
    let Imported { added, bytes: size, known, skipped } = import(store, dir)?;
    print(&format!(
        "{} imported, {}; {known} were here, {skipped} are not whole\n",
        counted(added, "package", "packages"),
        bytes(size)
    ))?;
    Ok(ExitCode::SUCCESS)
}
