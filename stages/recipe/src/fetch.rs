//! Files that are fetched from elsewhere.

use std::path::PathBuf;

use ibuild_cache::Sha256;
use ibuild_debian::{Keyring, Url};
use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};

use super::account::Account;

/// One file to fetch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchRule {
    /// Where it may be, in the order in which to ask; at least one. Never part of a key: the digest decides what it is.
    pub urls: Vec<Url>,
    /// The digest of its bytes.
    pub sha256: Sha256,
    /// Where to, an absolute path in the machine: the file, or the directory that it is unpacked into.
    pub to: String,
    /// What becomes of it.
    pub form: FetchForm,
    /// Who owns what is made of it; root otherwise.
    pub owner: Option<Account>,
    /// The group of that; root otherwise.
    pub group: Option<Account>,
    /// Who has to have signed it.
    pub signature: Option<Signature>,
}

/// What becomes of a fetched file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FetchForm {
    /// It is copied.
    File {
        /// Its permissions.
        mode: u32,
    },
    /// It is unpacked.
    Archive {
        /// How many directories in front of the names of its members are left out.
        strip: u32,
    },
}

/// A detached signature of a fetched file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Signature {
    /// Where it may be, in the order in which to ask; at least one.
    #[serde(rename = "url")]
    pub urls: Vec<Url>,
    /// The file with the keys of which one has to have signed, relative to the recipe's directory.
    pub key: PathBuf,
    /// What is in that file.
    #[serde(skip)]
    pub keyring: Keyring,
}

/// In the words of the recipe.
impl Serialize for FetchRule {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { urls, sha256, to, form, owner, group, signature } = self;
        let mut table = serializer.serialize_struct("FetchRule", 8)?;
        table.serialize_field("url", urls)?;
        table.serialize_field("sha256", &sha256.hex())?;
        table.serialize_field("to", to)?;
        match form {
            FetchForm::File { mode } => table.serialize_field("mode", &format!("{mode:04o}"))?,
            FetchForm::Archive { strip } => {
                table.serialize_field("unpack", &true)?;
                table.serialize_field("strip", strip)?;
            }
        }
        table.serialize_field("owner", owner)?;
        table.serialize_field("group", group)?;
        table.serialize_field("signature", signature)?;
        table.end()
    }
}
