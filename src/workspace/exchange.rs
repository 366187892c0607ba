//! Results for other stores: what stages made, with all that they stand on.

use std::collections::BTreeSet;

use ibuild_cache::{Cancel, Sha256, Store};
use ibuild_stages::exchange::{Export, Imported, Source, Trust, export, import};
use ibuild_stages::packages::Lock;

use super::Workspace;
use crate::error::Result;
use crate::release::Key;

/// Which packages go along.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ExportedPackages {
    /// None: a build that finds all results needs none.
    #[default]
    None,
    /// Those that the stages used, and the states of their archives.
    Used,
}

/// Whom an archive of results has to be from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImportTrust {
    /// Anybody: whoever made the archive is believed.
    Anybody,
    /// Who has the secret key of this one.
    Key(Key),
}

impl Trust for ImportTrust {
    fn accepts(&self, manifest: &[u8], signature: Option<&[u8]>) -> std::result::Result<(), String> {
        match (self, signature) {
            (Self::Anybody, _) => Ok(()),
            (Self::Key(_), None) => Err("it is not signed".to_owned()),
            (Self::Key(key), Some(signature)) => {
                key.verify(manifest, signature).map(drop).map_err(|error| error.to_string())
            }
        }
    }
}

impl Workspace {
    /// Collects the results of stages or targets, and of everything that they need; without names, of all images.
    ///
    /// # Errors
    ///
    /// Of kind [`Usage`](crate::ErrorKind::Usage) for names that the recipe does not have, and for stages that are not built.
    pub fn export(&self, names: &[String], packages: ExportedPackages) -> Result<Export<'_>> {
        let project = self.project();
        let executor = self.quiet_executor(&project)?;
        let wanted = self.wanted(&project, names)?;
        let needed = project.graph.needed_for(&wanted.into_iter().collect::<Vec<_>>()).into_iter().collect();
        let stages = self.built(&project, &executor, &needed)?;
        let packages = match packages {
            ExportedPackages::None => BTreeSet::new(),
            ExportedPackages::Used => {
                let names = needed.iter().map(|stage| project.graph.name(*stage).to_string()).collect();
                self.packages_of(&names)?
            }
        };
        Ok(export(&self.store, &project, &stages, &packages)?)
    }

    /// The packages that stages used, the signed roots of the lock, and what these name, as far as the store has it.
    fn packages_of(&self, stages: &BTreeSet<String>) -> Result<BTreeSet<Sha256>> {
        let lock = Lock::read(&self.lock_path())?.unwrap_or_default();
        let used = lock.debs().filter(|(_, by)| by.iter().any(|stage| stages.contains(stage)));
        let mut found: BTreeSet<_> = used.map(|(locked, _)| locked.deb.sha256).collect();
        for release in lock.releases() {
            let root = release.inrelease.sha256;
            let Some(bytes) = self.store.packages().read(&root)? else { continue };
            found.insert(root);
            for word in
                String::from_utf8_lossy(&bytes).split_ascii_whitespace().filter(|word| word.len() == 64)
            {
                let Ok(index) = word.parse::<Sha256>() else { continue };
                if self.store.packages().size(&index)?.is_some() {
                    found.insert(index);
                }
            }
        }
        Ok(found)
    }
}

/// Takes all results of an archive into a store, or none. The program has called [`become_root`](crate::become_root).
///
/// # Errors
///
/// With the first thing that is wrong with it.
pub fn import_results(
    store: &Store,
    source: Source,
    sender: &ImportTrust,
    cancel: &Cancel,
) -> Result<Imported> {
    Ok(import(store, source, sender, cancel)?)
}
