//! `ibuild packages import`: takes packages into the store that lie around elsewhere.

use std::path::Path;
use std::process::ExitCode;

use anyhow::Result;
use ibuild::cache::Store;
use ibuild::stages::packages::{Imported, import};

use crate::terminal::print;
use crate::ui::bytes;

pub fn run(store: &Store, dir: &Path) -> Result<ExitCode> {
    let Imported { added, bytes: size, known, skipped } = import(store, dir)?;
    print(&format!(
        "{added} packages imported, {}; {known} were here, {skipped} are not whole\n",
        bytes(size)
    ))?;
    Ok(ExitCode::SUCCESS)
}
