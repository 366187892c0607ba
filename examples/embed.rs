//! A program that builds an image through the facade: `embed DIR TARGET`.

use std::path::Path;
use std::sync::Arc;

use ibuild::{BuildRequest, NullObserver, Result, Workspace, WorkspaceOptions};

#[allow(clippy::disallowed_methods, clippy::print_stdout, reason = "a program, not a library")]
fn main() -> Result<()> {
    ibuild::begin();
    ibuild::become_root()?;
    let mut words = std::env::args().skip(1);
    let dir = words.next().unwrap_or_else(|| ".".to_owned());
    let target = words.next().unwrap_or_else(|| "hello.ova".to_owned());
    let workspace = Workspace::open(Path::new(&dir), &WorkspaceOptions::default())?;
    let built = workspace.build(&BuildRequest::of([target]), Arc::new(NullObserver))?;
    println!("{} stages ran, {} were in the store", built.ran, built.cached);
    built.paths.iter().for_each(|path| println!("{}", path.display()));
    Ok(())
}
