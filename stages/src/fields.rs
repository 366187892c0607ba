//! Names of fields of stage descriptions that are read again: by explanations, equivalence, garbage collection and the look
//! into the store. Who writes a field and who reads it use the same constant, so that a field which is renamed on one side alone
//! does not compile. Fields that only count are named where they are written.

/// The archives of a step that may install, and the states that they are in.
pub const ARCHIVE: &str = "archive";

/// Within [`ARCHIVE`]: the digests of the signed root of each suite.
pub const ROOTS: &str = "roots";

/// Everything that a stage sees, its content by digest. Where something else differs as well, that says the same in the words of
/// the recipe.
pub const CONTENTS: &str = "contents";

/// What a `copy` step copies.
pub const COPY: &str = "copy";

/// Within [`COPY`]: the files of one rule.
pub const COPY_FILES: &str = "files";

/// Within [`COPY`]: the name of a rule, by its place among the rules, from 0, and its target. The number in front keeps the
/// order, and the name is for messages.
pub fn copy_rule(number: usize, to: &str) -> String {
    format!("{number} to {to}")
}

/// Where a file of the project is described: the digest of its bytes.
pub const FILE_CONTENT: &str = "content";

/// What a `fetch` step fetches.
pub const FETCH: &str = "fetch";

/// Within [`FETCH`]: the digest of one file.
pub const FETCH_CONTENT: &str = "sha256";

/// The files of the project that a step sees.
pub const INPUTS: &str = "inputs";

/// The layers that an image is packed from.
pub const LAYERS: &str = "layers";

/// The shape of the layers that a step stands on.
pub const PARENT_LAYERS: &str = "names in parent layers";

/// The tree that a step stands on.
pub const PARENT_TREE: &str = "parent tree";

/// What a `copy-from` step copies, by the content that it has.
pub const PATHS: &str = "paths";

/// The text of a `script` step.
pub const SCRIPT: &str = "script";

/// The secrets that a step sees, by name: those that are keyed by their value with a digest.
pub const SECRETS: &str = "secret";

/// The trees that an image is made of.
pub const TREE: &str = "tree";
