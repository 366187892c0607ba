//! Files that a step gets from elsewhere: brought into the store before its sandbox starts, which has no network.

use std::fs;
use std::path::PathBuf;

use ibuild_debian::{Keyring, Url};

use crate::StageError;
use crate::executor::context::StageContext;
use crate::packages::{Gpgv, PackageError, PinnedError, PinnedFile, SignedFile};

/// A file that a step gets from elsewhere.
#[derive(Debug, Clone)]
pub(crate) struct FetchedFile {
    /// What it is, and where it may be.
    pub file: PinnedFile,
    /// Who has to have signed it.
    pub signature: Option<RequiredSignature>,
}

/// A signature that a file has to have.
#[derive(Debug, Clone)]
pub(crate) struct RequiredSignature {
    /// Where it may be.
    pub urls: Vec<Url>,
    /// The file of the project with the keys, for messages.
    pub key: PathBuf,
    /// The keys.
    pub keyring: Keyring,
}

impl FetchedFile {
    /// Sees to it that the store has the file, and that it is signed as it has to be.
    pub(crate) fn obtain(&self, context: &StageContext<'_>) -> Result<(), StageError> {
        let (fetcher, cancel) = (context.archives().fetcher()?, context.supervisor().cancel());
        fetcher.fetch_pinned(&self.file, cancel).map_err(|error| match error {
            PinnedError::Interrupted => StageError::Interrupted,
            error => PackageError::from(error).into(),
        })?;
        let Some(signature) = &self.signature else { return Ok(()) };
        let dir = context.store().run_dir()?;
        // As gpgv reads it, which takes no armoured one.
        let keyring = dir.path().join("keys.gpg");
        fs::write(&keyring, signature.keyring.bytes()).map_err(StageError::io("write", &keyring))?;
        let signed = SignedFile {
            sha256: self.file.sha256,
            url: self.file.urls.first().expect("a file has an address"),
            signatures: &signature.urls,
            verifier: &Gpgv::with_key(&keyring, &signature.key),
        };
        Ok(signed.verify(context.store(), fetcher)?)
    }
}
