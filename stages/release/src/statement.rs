//! The build record: an in-toto Statement v1 (<https://github.com/in-toto/attestation/blob/main/spec/v1/statement.md>) with SLSA
//! provenance v1 (<https://slsa.dev/spec/v1.0/provenance>).
//!
//! `resolvedDependencies` are what the build was made of: the recipe, the signed roots of the archives, the packages of the lock,
//! files of the project, and files that were fetched. `byproducts`
//! are the stages in build order, each with its action key (everything that can change its result) and the digest of what it made, so that
//! two records tell at which stage two builds part without any image. Digests under names of ibuild's own: `ibuildTree`, of a root file
//! system; `ibuildAction`, of everything that can change the result of a stage. Both are BLAKE3. There is no time and no machine in it.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::ReleaseFacts;

const TYPE: &str = "https://in-toto.io/Statement/v1";
const PREDICATE: &str = "https://slsa.dev/provenance/v1";
const BUILD: &str = "urn:ibuild:build:1";
const TREE: &str = "ibuildTree";
const ACTION: &str = "ibuildAction";

/// An image of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordedImage {
    /// The file's name, which is the target's.
    pub file: String,
    /// Its SHA-256, in hexadecimal.
    pub sha256: String,
    /// Its BLAKE3 digest, in hexadecimal.
    pub blake3: String,
}

/// A stage of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordedStage {
    /// Its name.
    pub stage: String,
    /// Its action key, in hexadecimal.
    pub action: String,
    /// The digest of what it made, in hexadecimal.
    pub output: String,
}

/// Something that a build was made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dependency {
    /// How people call it.
    pub name: String,
    /// Where it is, if it is in an archive.
    pub uri: Option<String>,
    /// What it is.
    pub digest: DependencyDigest,
}

/// The digest of something that a build was made of, in hexadecimal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DependencyDigest {
    /// The SHA-256 of its bytes.
    Sha256(String),
    /// The BLAKE3 digest of its bytes.
    Blake3(String),
    /// The BLAKE3 digest of a directory: of names, kinds, modes and contents.
    Tree(String),
}

/// A build record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// The project's name.
    pub project: String,
    /// The version of ibuild.
    pub builder: String,
    /// What was built.
    pub images: Vec<RecordedImage>,
    /// By which stages, in build order.
    pub stages: Vec<RecordedStage>,
}

/// Why something is no build record.
#[derive(Debug, thiserror::Error)]
pub enum StatementError {
    /// It is not the JSON of one.
    #[error("it is not a build record")]
    Form(#[from] serde_json::Error),
    /// It is a record of something else.
    #[error("it is a record of `{0}`, not of a build with ibuild")]
    Type(String),
    /// It has no image, or no stage.
    #[error("it has no image, or no stage")]
    Empty,
    /// It says something twice.
    #[error("it has `{0}` twice")]
    Twice(String),
    /// A digest is missing, or none.
    #[error("it has no {0} of `{1}`")]
    Digest(&'static str, String),
}

#[derive(Serialize, Deserialize)]
struct Document {
    #[serde(rename = "_type")]
    kind: String,
    subject: Vec<Resource>,
    #[serde(rename = "predicateType")]
    predicate_type: String,
    predicate: Predicate,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Predicate {
    build_definition: Definition,
    run_details: Details,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Definition {
    build_type: String,
    external_parameters: Parameters,
    #[serde(default)]
    resolved_dependencies: Vec<Resource>,
}

#[derive(Serialize, Deserialize)]
struct Parameters {
    project: String,
    targets: Vec<String>,
    epoch: u64,
}

#[derive(Serialize, Deserialize)]
struct Details {
    builder: Builder,
    byproducts: Vec<Resource>,
}

#[derive(Serialize, Deserialize)]
struct Builder {
    id: String,
    version: BTreeMap<String, String>,
}

/// A ResourceDescriptor of in-toto.
#[derive(Serialize, Deserialize)]
struct Resource {
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    uri: Option<String>,
    digest: BTreeMap<String, String>,
}

/// The text of a record. The same for everybody who builds the same with the same ibuild.
pub fn statement(
    release: &ReleaseFacts,
    images: &[RecordedImage],
    dependencies: &[Dependency],
    stages: &[RecordedStage],
) -> String {
    let document = Document {
        kind: TYPE.to_owned(),
        subject: images.iter().map(subject).collect(),
        predicate_type: PREDICATE.to_owned(),
        predicate: Predicate {
            build_definition: Definition {
                build_type: BUILD.to_owned(),
                external_parameters: Parameters {
                    project: release.project.clone(),
                    targets: images.iter().map(|image| image.file.clone()).collect(),
                    epoch: release.epoch,
                },
                resolved_dependencies: dependencies.iter().map(dependency).collect(),
            },
            run_details: Details {
                builder: Builder {
                    id: "urn:ibuild".to_owned(),
                    version: BTreeMap::from([("ibuild".to_owned(), release.builder.clone())]),
                },
                byproducts: stages.iter().map(byproduct).collect(),
            },
        },
    };
    serde_json::to_string_pretty(&document).expect("a record is plain data") + "\n"
}

/// Reads a record.
///
/// # Errors
///
/// If it is none of ibuild, or lacks a digest.
pub fn read_statement(text: &[u8]) -> Result<Statement, StatementError> {
    let document: Document = serde_json::from_slice(text)?;
    let definition = document.predicate.build_definition;
    let types = [(document.kind, TYPE), (document.predicate_type, PREDICATE), (definition.build_type, BUILD)];
    if let Some((other, _)) = types.into_iter().find(|(said, expected)| said != expected) {
        return Err(StatementError::Type(other));
    }
    let Details { builder, byproducts } = document.predicate.run_details;
    let image = |it: &Resource| {
        let (sha256, blake3) = (it.digest("sha256")?, it.digest("blake3")?);
        Ok(RecordedImage { file: it.name.clone(), sha256, blake3 })
    };
    let stage = |it: &Resource| {
        let output = it.digest(TREE).or_else(|_| it.digest("blake3"))?;
        Ok(RecordedStage { stage: it.name.clone(), action: it.digest(ACTION)?, output })
    };
    check_names(&document.subject)?;
    check_names(&byproducts)?;
    Ok(Statement {
        project: definition.external_parameters.project,
        builder: builder.version.get("ibuild").cloned().unwrap_or_default(),
        images: document.subject.iter().map(image).collect::<Result<_, StatementError>>()?,
        stages: byproducts.iter().map(stage).collect::<Result<_, StatementError>>()?,
    })
}

/// A record is of something, and says nothing twice: who looks a thing up would find one of two answers.
fn check_names(resources: &[Resource]) -> Result<(), StatementError> {
    let mut names = BTreeSet::new();
    match resources.iter().find(|it| !names.insert(it.name.as_str())) {
        Some(again) => Err(StatementError::Twice(again.name.clone())),
        None if resources.is_empty() => Err(StatementError::Empty),
        None => Ok(()),
    }
}

impl Resource {
    fn digest(&self, algorithm: &'static str) -> Result<String, StatementError> {
        let digest = self.digest.get(algorithm);
        let is_one = |digest: &&String| digest.len() == 64 && digest.bytes().all(|c| c.is_ascii_hexdigit());
        digest.filter(is_one).cloned().ok_or_else(|| StatementError::Digest(algorithm, self.name.clone()))
    }
}

fn digests<const N: usize>(digests: [(&str, &String); N]) -> BTreeMap<String, String> {
    digests.into_iter().map(|(algorithm, digest)| (algorithm.to_owned(), digest.clone())).collect()
}

fn subject(image: &RecordedImage) -> Resource {
    let digest = digests([("sha256", &image.sha256), ("blake3", &image.blake3)]);
    Resource { name: image.file.clone(), uri: None, digest }
}

fn dependency(it: &Dependency) -> Resource {
    let digest = match &it.digest {
        DependencyDigest::Sha256(digest) => digests([("sha256", digest)]),
        DependencyDigest::Blake3(digest) => digests([("blake3", digest)]),
        DependencyDigest::Tree(digest) => digests([(TREE, digest)]),
    };
    Resource { name: it.name.clone(), uri: it.uri.clone(), digest }
}

fn byproduct(it: &RecordedStage) -> Resource {
    let digest = digests([(TREE, &it.output), (ACTION, &it.action)]);
    Resource { name: it.stage.clone(), uri: None, digest }
}
