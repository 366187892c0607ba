//! Files that a recipe names and that somebody has signed: the signature is verified when such a file is needed, and that it was
//! good is remembered. The digest in the recipe decides what the file is; the signature says whether whoever wrote that digest
//! down had the file of the one who signs.

use std::path::Path;

use ibuild_cache::{Batch, Encoder, Record, Sha256, Store, Table};
use ibuild_debian::{DetachedSignature, SignatureFormError, Url};
use serde::{Deserialize, Serialize};

use crate::PackageError;
use crate::archive::verify::{Gpgv, Verifier, VerifyError};
use crate::fetch::fetch_error::FetchError;
use crate::fetch::fetcher::Fetcher;

/// Why a file counts as not signed.
#[derive(Debug, thiserror::Error)]
pub enum SignedFileError {
    /// The signature is not to be had.
    #[error("its signature is needed")]
    Fetch(#[from] FetchError),
    /// What is where the signature should be is none.
    #[error("`{url}`: {source}")]
    Form {
        /// Its address.
        url: Url,
        /// What it is.
        source: SignatureFormError,
    },
    /// It is not by one of the keys, or not of this file.
    #[error(transparent)]
    Verify(#[from] VerifyError),
}

impl SignedFileError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Fetch(error) => {
                return error.hint().map(|hint| hint.replace("try another `mirror`", "correct `signature`"));
            }
            Self::Form { .. } => {
                "`url` of `signature` names a file such as `tool-1.0.tar.xz.asc`, which was made by `gpg --detach-sign`"
            }
            Self::Verify(VerifyError::OtherKey { .. } | VerifyError::UnknownKey { .. }) => {
                "`key` of `signature` names another key than the signer's: ask its makers for theirs, and compare fingerprints"
            }
            Self::Verify(VerifyError::Bad(_) | VerifyError::Form(_)) => {
                "ask its makers whether this file and key are theirs; until then do not use the file"
            }
            Self::Verify(error) => error.hint(),
        };
        Some(hint.to_owned())
    }
}

/// A file of the store, and who is to have signed it.
#[derive(Debug)]
pub struct SignedFile<'a> {
    /// Its digest.
    pub sha256: Sha256,
    /// Its address, for messages.
    pub url: &'a Url,
    /// Where its detached signature may be, in the order in which to ask.
    pub signatures: &'a [Url],
    /// Whose signatures are good.
    pub verifier: &'a Gpgv,
}

/// That a file was signed by one of a set of keys.
#[derive(Serialize, Deserialize)]
struct Signers(Vec<String>);

impl Record for Signers {
    const SCHEMA: u16 = 1;
}

impl SignedFile<'_> {
    /// Makes sure that the file, which is in the store, is signed by one of the keys. What was verified once with the same keys
    /// needs no network.
    pub fn verify(&self, store: &Store, fetcher: &Fetcher) -> Result<(), PackageError> {
        let row = self.row().map_err(|source| self.refused(source.into()))?;
        if store.index().record::<Signers>(Table::Packages, &row)?.is_some() {
            return Ok(());
        }
        let signers = self.signers(&store.packages().path(&self.sha256), fetcher);
        let mut batch = Batch::default();
        batch.put_record(Table::Packages, &row, &Signers(signers.map_err(|source| self.refused(source))?));
        Ok(store.index().commit(batch)?)
    }

    fn signers(&self, file: &Path, fetcher: &Fetcher) -> Result<Vec<String>, SignedFileError> {
        let bytes = fetcher.fetch_whole(self.signatures)?;
        let signature = DetachedSignature::parse(&bytes).map_err(|source| {
            let url = self.signatures.first().expect("a signature has an address").clone();
            SignedFileError::Form { url, source }
        })?;
        Ok(self.verifier.verify_file(&signature, file)?)
    }

    fn refused(&self, source: SignedFileError) -> PackageError {
        PackageError::SignedFile { url: self.url.to_string(), source: Box::new(source) }
    }

    fn row(&self) -> Result<Vec<u8>, VerifyError> {
        let mut encoder = Encoder::new("ibuild signed file 1");
        encoder.digest(self.sha256.as_bytes());
        encoder.digest(self.verifier.trust()?.as_bytes());
        Ok(encoder.finish())
    }
}
