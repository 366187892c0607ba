//! What an archive of results says of itself.

use std::collections::{BTreeMap, BTreeSet};

use ibuild_cache::{ActionKey, BlobId, LayerId, Sha256, TreeId};
use serde::{Deserialize, Serialize};

/// The manifest's name in an archive.
pub const MANIFEST: &str = "manifest.json";
/// The name of its signature.
pub const SIGNATURE: &str = "manifest.json.sig";

/// The form of an archive.
const FORMAT: u32 = 1;

/// Milliseconds of a year: no stage takes so long, and sums of less stay numbers.
const LONGEST_RUN: u64 = 366 * 24 * 60 * 60 * 1000;

/// An archive of results.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The version of this form.
    pub format: u32,
    /// The results, each after its parent.
    pub results: Vec<ExportedResult>,
    /// The layers that they made.
    pub layers: Vec<ExportedLayer>,
    /// Everything that follows, in its order.
    pub entries: Vec<Entry>,
}

/// A result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExportedResult {
    /// The stage's name, for people.
    pub stage: String,
    /// The action.
    pub key: ActionKey,
    /// How long it took, in milliseconds.
    pub millis: u64,
    /// What it made.
    pub output: ExportedOutput,
    /// How it came to its packages: an entry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub packages: Option<BlobId>,
}

/// What an action made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum ExportedOutput {
    /// A root file system.
    Tree {
        /// The action whose root file system it stands on; the first stage of a chain has none.
        parent: Option<ActionKey>,
        /// The tree.
        tree: TreeId,
        /// The layer that makes it of the parent's; a stage that changed nothing has none.
        layer: Option<LayerId>,
        /// What keys of later stages know of the layer.
        shape: LayerShape,
    },
    /// A file that is a blob.
    File {
        /// Its digest and size.
        #[serde(flatten)]
        file: ExportedBlob,
    },
    /// A file that is made of parts.
    Composed {
        /// The file that comes of it.
        file: ExportedBlob,
        /// Which parts it is made of.
        composition: ExportedBlob,
        /// What they are parts of.
        packs: Vec<ExportedBlob>,
    },
}

/// What keys know of how an overlay shows a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LayerShape {
    /// The shape of its changes.
    Changes,
    /// Nothing but its name: a store of an earlier version had it.
    Name,
}

/// A blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExportedBlob {
    /// Its name.
    pub blob: BlobId,
    /// Its bytes.
    pub size: u64,
}

/// A layer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExportedLayer {
    /// Its name: the digest of its uncompressed tarball.
    pub layer: LayerId,
    /// Bytes of that.
    pub raw_size: u64,
    /// The compressed tarball.
    pub tarball: ExportedBlob,
}

/// A file of the archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Entry {
    /// Content by BLAKE3.
    Blob {
        /// Its name and size.
        #[serde(flatten)]
        file: ExportedBlob,
    },
    /// A package or an index of an archive, by SHA-256.
    Package {
        /// Its name.
        sha256: Sha256,
        /// Its bytes.
        size: u64,
    },
}

impl Entry {
    /// Its name in the archive.
    pub fn name(&self) -> String {
        match self {
            Self::Blob { file } => format!("blobs/{}", file.blob.hex()),
            Self::Package { sha256, .. } => format!("packages/{}", sha256.hex()),
        }
    }

    /// Its bytes.
    pub fn size(&self) -> u64 {
        match self {
            Self::Blob { file } => file.size,
            Self::Package { size, .. } => *size,
        }
    }
}

/// What is wrong with an archive, or keeps one from being made.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The manifest is not the JSON of one.
    #[error("its manifest is malformed")]
    Form(#[from] serde_json::Error),
    /// Another version of ibuild wrote it.
    #[error("it has format {0}, and this ibuild reads format {FORMAT}")]
    Format(u32),
    /// The manifest says something twice, or of something that it does not have.
    #[error("its manifest contradicts itself: {0}")]
    Contradiction(String),
}

impl Manifest {
    /// An empty one.
    pub fn new() -> Self {
        Self { format: FORMAT, results: Vec::new(), layers: Vec::new(), entries: Vec::new() }
    }

    /// Its text.
    pub fn to_text(&self) -> String {
        serde_json::to_string_pretty(self).expect("a manifest is plain data") + "\n"
    }

    /// Reads one.
    ///
    /// # Errors
    ///
    /// If it is none, or contradicts itself.
    pub fn read(text: &[u8]) -> Result<Self, ExportError> {
        #[derive(Deserialize)]
        struct Head {
            format: u32,
        }
        let Head { format } = serde_json::from_slice(text)?;
        if format != FORMAT {
            return Err(ExportError::Format(format));
        }
        let manifest: Self = serde_json::from_slice(text)?;
        manifest.check().map_err(ExportError::Contradiction)?;
        Ok(manifest)
    }

    /// The blobs that outputs and layers are made of.
    pub(super) fn named_blobs(&self) -> impl Iterator<Item = BlobId> {
        let outputs = self.results.iter().flat_map(|result| match &result.output {
            ExportedOutput::Tree { .. } => Vec::new(),
            ExportedOutput::File { file } => vec![file.blob],
            ExportedOutput::Composed { composition, packs, .. } => {
                packs.iter().chain([composition]).map(|it| it.blob).collect()
            }
        });
        outputs.chain(self.layers.iter().map(|layer| layer.tarball.blob))
    }

    /// Whether each name is there once, and all that results name is there, parents before what stands on them.
    fn check(&self) -> Result<(), String> {
        let (mut names, mut blobs) = (BTreeSet::new(), BTreeMap::new());
        for entry in &self.entries {
            if !names.insert(entry.name()) {
                return Err(format!("`{}` is there twice", entry.name()));
            }
            if let Entry::Blob { file } = entry {
                blobs.insert(file.blob, file.size);
            }
        }
        let has = |file: &ExportedBlob| match blobs.get(&file.blob) == Some(&file.size) {
            true => Ok(()),
            false => Err(format!("the blob {} is not there", file.blob.short())),
        };
        let has_blob = |blob: &BlobId| blobs.contains_key(blob);
        let mut layers = BTreeSet::new();
        for layer in &self.layers {
            has(&layer.tarball)?;
            if !layers.insert(layer.layer) {
                return Err(format!("the layer {} is there twice", layer.layer.short()));
            }
        }
        let mut keys = BTreeSet::new();
        for result in &self.results {
            check_output(result, &keys, &layers, &has)?;
            if result.millis > LONGEST_RUN {
                return Err(format!("`{}` took longer than a year", result.stage.escape_debug()));
            }
            if result.packages.is_some_and(|blob| !has_blob(&blob)) {
                let stage = result.stage.escape_debug();
                return Err(format!("what is known of the packages of `{stage}` is not there"));
            }
            if !keys.insert(result.key) {
                return Err(format!("`{}` is there twice", result.stage.escape_debug()));
            }
        }
        Ok(())
    }
}

fn check_output(
    result: &ExportedResult,
    keys: &BTreeSet<ActionKey>,
    layers: &BTreeSet<LayerId>,
    has: &impl Fn(&ExportedBlob) -> Result<(), String>,
) -> Result<(), String> {
    let stage = result.stage.escape_debug();
    match &result.output {
        ExportedOutput::Tree { parent, layer, .. } => {
            if parent.is_some_and(|parent| !keys.contains(&parent)) {
                return Err(format!("`{stage}` stands on a result that is not before it"));
            }
            if layer.is_some_and(|layer| !layers.contains(&layer)) {
                return Err(format!("the layer of `{stage}` is not there"));
            }
            if layer.is_none() && parent.is_none() {
                return Err(format!("`{stage}` is made of nothing"));
            }
            Ok(())
        }
        ExportedOutput::File { file } => has(file),
        ExportedOutput::Composed { composition, packs, .. } => {
            has(composition)?;
            packs.iter().try_for_each(has)
        }
    }
}

impl Default for Manifest {
    fn default() -> Self {
        Self::new()
    }
}
