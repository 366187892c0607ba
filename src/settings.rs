//! `ibuild.local.toml`: settings of the machine. None of them is part of a key.

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use ibuild_stages::host::bounded;
use ibuild_stages::packages::MirrorOverride;
use ibuild_stages::recipe::{SecretName, suggest};
use ibuild_stages::spec::{ByteSize, UnitError};
use serde::de::Error;
use serde::{Deserialize, Deserializer};

use crate::error::{Context, Result, UsageError};

/// The file's name, beside the recipe.
pub const LOCAL_FILE: &str = "ibuild.local.toml";

/// Settings of the machine.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Settings {
    /// Where Debian's archive is fetched from: an address, or several in the order in which they are asked.
    #[serde(deserialize_with = "texts")]
    pub mirror: Vec<String>,
    /// Where Debian's security archive is fetched from.
    #[serde(deserialize_with = "texts")]
    pub security_mirror: Vec<String>,
    /// Where packages are taken from that are not in the store: other stores, by their directories, beside the recipe if
    /// relative, or by addresses of their `packages` directories.
    #[serde(deserialize_with = "texts")]
    pub stores: Vec<String>,
    /// Snapshot services, which have files that no mirror has any more: addresses without a moment.
    #[serde(deserialize_with = "texts")]
    pub snapshots: Vec<String>,
    /// Files with certificates of authorities that are believed besides those of the machine, for mirrors that speak
    /// https. Relative ones are beside the recipe.
    #[serde(deserialize_with = "paths")]
    pub ca: Vec<PathBuf>,
    /// Files with the values of secrets, by their names. Relative ones are beside the recipe.
    #[serde(deserialize_with = "secret_files")]
    pub secrets: BTreeMap<SecretName, PathBuf>,
    /// Stages at a time.
    #[serde(deserialize_with = "jobs")]
    pub jobs: Option<NonZeroUsize>,
    /// Where everything is remembered. A relative path is beside the recipe.
    pub cache_dir: Option<PathBuf>,
    /// What `cache gc` leaves the store, unless it is told otherwise.
    #[serde(deserialize_with = "size")]
    pub cache_budget: Option<ByteSize>,
    /// What unpacked layers may take after a build.
    #[serde(deserialize_with = "size")]
    pub unpacked_budget: Option<ByteSize>,
}

/// A mistake and what to do, which reach [`told`] as two lines.
fn mistake<E: Error>(what: impl fmt::Display, hint: impl fmt::Display) -> E {
    E::custom(format!("{what}\n{hint}"))
}

fn size<'de, D: Deserializer<'de>>(from: D) -> Result<Option<ByteSize>, D::Error> {
    let text = String::deserialize(from)?;
    text.parse().map(Some).map_err(|e: UnitError| mistake(&e, e.hint()))
}

fn jobs<'de, D: Deserializer<'de>>(from: D) -> Result<Option<NonZeroUsize>, D::Error> {
    let number = i64::deserialize(from)?;
    let jobs = usize::try_from(number).ok().and_then(NonZeroUsize::new);
    let wrong = || {
        mistake(
            format!("`{number}` is no number of stages at a time"),
            "name 1 or more, or leave `jobs` out: then it is the number of processors",
        )
    };
    jobs.map(Some).ok_or_else(wrong)
}

/// One text need not be written as a list.
#[derive(Deserialize)]
#[serde(untagged, expecting = "a text, or a list of texts")]
enum Texts {
    One(String),
    Several(Vec<String>),
}

fn texts<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    Ok(match Texts::deserialize(from)? {
        Texts::One(text) => vec![text],
        Texts::Several(texts) => texts,
    })
}

fn paths<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<PathBuf>, D::Error> {
    Ok(texts(from)?.into_iter().map(PathBuf::from).collect())
}

fn secret_files<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeMap<SecretName, PathBuf>, D::Error> {
    let named = |(name, path): (String, PathBuf)| match name.parse::<SecretName>() {
        Ok(name) => Ok((name, path)),
        Err(error) => Err(mistake(&error, error.rule())),
    };
    BTreeMap::<String, PathBuf>::deserialize(from)?.into_iter().map(named).collect()
}

impl Settings {
    /// The mirrors that are set.
    pub fn mirrors(&self) -> MirrorOverride {
        MirrorOverride {
            main: self.mirror.clone(),
            security: self.security_mirror.clone(),
            ca: self.ca.clone(),
            stores: self.stores.clone(),
            snapshots: self.snapshots.clone(),
        }
    }

    /// The settings beside a recipe; none if there is no file.
    pub fn read(dir: &Path) -> Result<Self> {
        let path = dir.join(LOCAL_FILE);
        const LARGEST: u64 = 1 << 20;
        let bytes = match bounded::read(&path, LARGEST) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(e) => return Err(e).with_context(|| format!("cannot read `{}`", path.display())),
        };
        let text = String::from_utf8(bytes)
            .map_err(|_| UsageError::new(format!("`{LOCAL_FILE}` is not UTF-8 text")))?;
        let mut settings: Self = toml::from_str(&text).map_err(|error| told(&text, &error))?;
        settings.ca.iter_mut().for_each(|path| *path = dir.join(&*path));
        settings.secrets.values_mut().for_each(|path| *path = dir.join(&*path));
        settings.cache_dir = settings.cache_dir.map(|path| dir.join(path));
        for store in settings.stores.iter_mut().filter(|store| !store.contains("://")) {
            *store = dir.join(&*store).to_string_lossy().into_owned();
        }
        Ok(settings)
    }
}

/// What is wrong with the settings: the place, the thing, and what to do.
fn told(text: &str, error: &toml::de::Error) -> UsageError {
    let place = error.span().map_or_else(String::new, |span| {
        let before = &text[..span.start.min(text.len())];
        let line = before.rsplit('\n').next().unwrap_or_default();
        format!(":{}:{}", before.matches('\n').count() + 1, line.chars().count() + 1)
    });
    let (what, hint) = what_and_hint(error.message());
    let told = UsageError::new(format!("`{LOCAL_FILE}{place}`: {what}"));
    match hint {
        Some(hint) => told.hint(hint),
        None => told,
    }
}

/// A reader's message as we would have put it.
fn what_and_hint(message: &str) -> (String, Option<String>) {
    let in_backticks = |text: &str| text.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>();
    if message.starts_with("unknown field ")
        && let [found, known @ ..] = in_backticks(message).as_slice()
    {
        let near = suggest::near(found, known.iter().map(String::as_str));
        let all = || {
            format!(
                "settings are {}",
                known.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
            )
        };
        return (
            format!("there is no setting `{found}`"),
            Some(near.map_or_else(all, |near| format!("did you mean `{near}`?"))),
        );
    }
    if let Some((what, hint)) = message.split_once('\n') {
        return (what.to_owned(), Some(hint.to_owned()));
    }
    match message.strip_prefix("invalid type: ").and_then(|types| types.split_once(", expected ")) {
        Some((found, wanted)) => {
            let wanted = match wanted {
                "i64" => "a number",
                "a map" => "a table, as `[secrets]`",
                "path string" => "a path, in quotes",
                wanted => wanted,
            };
            (format!("this is the {found}"), Some(format!("it has to be {wanted}")))
        }
        None => (
            message.to_owned(),
            Some("a setting is a line like `jobs = 2` or `cache-budget = \"20 GiB\"`".to_owned()),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Classified;

    #[track_caller]
    fn check(text: &str, what: &str, hint: &str) {
        let error = told(text, &toml::from_str::<Settings>(text).unwrap_err());
        assert_eq!((error.to_string(), error.hints()), (what.to_owned(), vec![hint.to_owned()]), "{text}");
    }

    #[test]
    fn a_wrong_setting_has_a_place_and_a_remedy() {
        check(
            "mirorr = \"http://x\"",
            "`ibuild.local.toml:1:1`: there is no setting `mirorr`",
            "did you mean `mirror`?",
        );
        check(
            "# mine\ncache-budget = \"lots\"",
            "`ibuild.local.toml:2:16`: `lots` is not a size",
            "sizes are written like `100 GiB`, `768 MiB` or `64 KiB`",
        );
        let hint = "name 1 or more, or leave `jobs` out: then it is the number of processors";
        check("jobs = 0", "`ibuild.local.toml:1:8`: `0` is no number of stages at a time", hint);
        check("jobs = -3", "`ibuild.local.toml:1:8`: `-3` is no number of stages at a time", hint);
        check("jobs = \"x\"", "`ibuild.local.toml:1:8`: this is the string \"x\"", "it has to be a number");
        let rule = "names of secrets consist of letters, digits, `_` and `-`, do not start with `-`, and have at most 64 characters";
        check(
            "[secrets]\n\"a/b\" = \"x\"",
            "`ibuild.local.toml:1:1`: `a/b` is not a valid secret name",
            rule,
        );
        check(
            "[secrets]\nA = 3",
            "`ibuild.local.toml:2:5`: this is the integer `3`",
            "it has to be a path, in quotes",
        );
        let line = "a setting is a line like `jobs = 2` or `cache-budget = \"20 GiB\"`";
        check("mirror = 3", "`ibuild.local.toml:1:10`: a text, or a list of texts", line);
    }
}
