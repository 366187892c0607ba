//! The names in a recipe, each a type of its own, checked once when read.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};

/// A text that cannot be a name of the kind asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{found}` is not a valid {what}")]
pub struct NameError {
    what: &'static str,
    rule: &'static str,
    found: String,
}

impl NameError {
    /// What such a name consists of, for a hint.
    pub fn rule(&self) -> &'static str {
        self.rule
    }
}

macro_rules! name_newtype {
    ($(#[$doc:meta])* $name:ident, $what:literal, $grammar:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, NameError> {
                if ($grammar.accepts)(text) {
                    Ok(Self(text.to_owned()))
                } else {
                    Err(NameError { what: $what, rule: $grammar.rule, found: text.to_owned() })
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    };
}

struct Grammar {
    accepts: fn(&str) -> bool,
    rule: &'static str,
}

/// No `/`, so that `rootfs/step` has one reading; no upper case, so that names are safe as file names everywhere.
const SLUG: Grammar = Grammar {
    accepts: |text| {
        starts_with(text, |c| c.is_ascii_lowercase() || c.is_ascii_digit())
            && text.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || b"._+-".contains(&c))
    },
    rule: "names consist of `a-z`, `0-9`, `.`, `_`, `+` and `-`, and start with a letter or digit",
};

const VARIABLE: Grammar = Grammar {
    accepts: |text| {
        !text.is_empty() && text.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'_' || c == b'-')
    },
    rule: "names of variables consist of letters, digits, `_` and `-`",
};

const ENVIRONMENT: Grammar = Grammar {
    accepts: |text| {
        starts_with(text, |c| c.is_ascii_alphabetic() || c == b'_')
            && text.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'_')
    },
    rule: "names of environment variables consist of letters, digits and `_`, and start with no digit",
};

/// The name of a file, and what stands in front of a `=`.
const SECRET: Grammar = Grammar {
    accepts: |text| {
        text.len() <= LONGEST_SECRET_NAME
            && starts_with(text, |c| c.is_ascii_alphanumeric() || c == b'_')
            && text.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'_' || c == b'-')
    },
    rule: "names of secrets consist of letters, digits, `_` and `-`, do not start with `-`, and have at most 64 characters",
};

/// In characters.
const LONGEST_SECRET_NAME: usize = 64;

/// A trailing `-` would ask apt to remove, a leading one would be an option.
const PACKAGE: Grammar = Grammar {
    accepts: |text| {
        let (package, version) = text.split_once('=').unwrap_or((text, "0"));
        let (name, architecture) = package.split_once(':').unwrap_or((package, "any"));
        name.len() >= 2
            && starts_with(name, |c| c.is_ascii_lowercase() || c.is_ascii_digit())
            && name.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || b"+.-".contains(&c))
            && !name.ends_with('-')
            && (ARCHITECTURE.accepts)(architecture)
            && starts_with(version, |c| c.is_ascii_digit())
            && version.bytes().all(|c| c.is_ascii_alphanumeric() || b".+-:~".contains(&c))
    },
    rule: "packages are named like `nftables`, `libc6:i386` or `sudo=1.9.16p2-3`",
};

const ARCHITECTURE: Grammar = Grammar {
    accepts: |text| {
        starts_with(text, |c| c.is_ascii_lowercase())
            && text.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-')
    },
    rule: "architectures are named like `amd64`",
};

fn starts_with(text: &str, accepts: fn(u8) -> bool) -> bool {
    text.bytes().next().is_some_and(accepts)
}

name_newtype!(/** Names the project. */ ProjectName, "project name", SLUG);
name_newtype!(/** Names an archive of packages: `debian` of `[archive.debian]`. */ ArchiveName, "archive name", SLUG);
name_newtype!(/** Names a chain of steps: `base` of `[rootfs.base]`. */ RootfsName, "rootfs name", SLUG);
name_newtype!(/** Names a step within its rootfs. */ StepName, "step name", SLUG);
name_newtype!(/** Names a disk: `workstation` of `[image.workstation]`. */ ImageName, "image name", SLUG);
name_newtype!(/** Names a machine test: `boots` of `[test.boots]`. */ TestName, "test name", SLUG);
name_newtype!(/** Names a machine within a test. */ MachineName, "machine name", SLUG);
name_newtype!(/** Names a profile: `debug` of `[profile.debug]`. */ ProfileName, "profile name", SLUG);
name_newtype!(/** Names an entry of `[vars]`. */ VarName, "variable name", VARIABLE);
name_newtype!(/** Names a variable of a step's environment. */ EnvName, "environment variable", ENVIRONMENT);
name_newtype!(/** Names a secret: its file below `/run/ibuild/secrets`, and what `--secret` gives. */ SecretName, "secret name", SECRET);
name_newtype!(/** A package as given to apt: a name, with an architecture or a version if need be. */ PackageName, "package name", PACKAGE);
name_newtype!(/** A Debian architecture. */ Architecture, "architecture", ARCHITECTURE);

impl Architecture {
    /// What an archive holds when its table does not say.
    pub(super) fn amd64() -> Self {
        Self("amd64".to_owned())
    }
}

/// The archives that packages of a root file system come from, in the order of the recipe; at least one. As JSON
/// a single one is just its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArchiveNames(Vec<ArchiveName>);

impl ArchiveNames {
    /// `None` for none.
    pub(super) fn new(names: Vec<ArchiveName>) -> Option<Self> {
        (!names.is_empty()).then_some(Self(names))
    }

    /// The one that the root file system starts from.
    pub fn first(&self) -> &ArchiveName {
        &self.0[0]
    }

    /// All of them.
    pub fn all(&self) -> &[ArchiveName] {
        &self.0
    }
}

impl Serialize for ArchiveNames {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.0[..] {
            [single] => single.serialize(serializer),
            several => several.serialize(serializer),
        }
    }
}

/// Names a stage: one step of one rootfs. Written `hello/30-user`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StepPath {
    /// The rootfs in whose `steps` the step stands.
    pub rootfs: RootfsName,
    /// The step's name there.
    pub step: StepName,
}

/// A text that does not name a stage.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StepPathError {
    /// There is no `/` between a rootfs and a step.
    #[error("`{0}` does not name a stage: stages are written `rootfs/step`")]
    NoStep(String),
    /// One of the two halves is not a name.
    #[error(transparent)]
    Name(#[from] NameError),
}

impl FromStr for StepPath {
    type Err = StepPathError;

    fn from_str(text: &str) -> Result<Self, StepPathError> {
        let (rootfs, step) = text.split_once('/').ok_or_else(|| StepPathError::NoStep(text.to_owned()))?;
        Ok(Self { rootfs: rootfs.parse()?, step: step.parse()? })
    }
}

impl fmt::Display for StepPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.rootfs, self.step)
    }
}

impl Serialize for StepPath {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
