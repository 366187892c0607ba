//! The secrets of steps: what is given, what a step gets of it, and what keeps it out of all that is kept of the step.

use std::collections::BTreeMap;

use ibuild_cache::Store;

use crate::StageError;
use crate::packages::StageFetch;
use crate::recipe::{SecretEffect, SecretName, Step, StepSecret};
use crate::sandbox::{Found, KeyedBy, Mask, Scanner, SecretValue, ShownSecret};

/// The secrets that are given, by name.
#[derive(Debug, Clone, Default)]
pub struct Secrets(BTreeMap<SecretName, SecretValue>);

impl Secrets {
    /// Whether this one is given.
    pub fn has(&self, name: &SecretName) -> bool {
        self.0.contains_key(name)
    }

    /// What a step gets to see of them.
    pub(super) fn shown_to(&self, step: &Step, store: &Store) -> Result<Vec<ShownSecret>, StageError> {
        let shown = |StepSecret { name, effect }: &StepSecret| {
            let value = self.0.get(name).cloned();
            let keyed = match (effect, &value) {
                (SecretEffect::AccessOnly, _) => KeyedBy::Name,
                (SecretEffect::Output, None) => KeyedBy::Value(None),
                (SecretEffect::Output, Some(value)) => {
                    KeyedBy::Value(Some(value.keyed_digest(&store.own_key()?)))
                }
            };
            Ok(ShownSecret { name: name.to_string(), keyed, value })
        };
        step.secrets.iter().map(shown).collect()
    }
}

impl FromIterator<(SecretName, SecretValue)> for Secrets {
    fn from_iter<I: IntoIterator<Item = (SecretName, SecretValue)>>(secrets: I) -> Self {
        Self(secrets.into_iter().collect())
    }
}

/// Keeps the secrets of a run out of what is kept of it.
pub(crate) struct SecretGuard {
    pub(super) mask: Mask,
    pub(super) scanner: Scanner,
}

impl SecretGuard {
    /// For a run that sees these secrets; `None` if it sees none.
    ///
    /// # Errors
    ///
    /// If one of them is not given.
    pub(crate) fn of(secrets: &[ShownSecret]) -> Result<Option<Self>, StageError> {
        let is_missing = |secret: &&ShownSecret| secret.value.is_none();
        let missing: Vec<_> = secrets.iter().filter(is_missing).map(|secret| secret.name.clone()).collect();
        if !missing.is_empty() {
            return Err(StageError::MissingSecrets(missing));
        }
        let both = Mask::of(secrets).zip(Scanner::of(secrets));
        Ok(both.map(|(mask, scanner)| Self { mask, scanner }))
    }

    /// An error, or in place of one that would tell a secret one that does not.
    pub(super) fn harmless(guard: Option<&Self>, error: StageError) -> StageError {
        let Some(guard) = guard else { return error };
        let said = error.in_a_line();
        match guard.scanner.find(said.as_bytes()) {
            Some(found) => guard.leak(format!("the error `{}`", guard.mask.text(&said)), found),
            None => error,
        }
    }

    /// Takes secrets out of what a run asked the archive for. The first of them is an error: what a stage asks for is kept with its
    /// result.
    pub(super) fn take_from(&self, asked: &mut [StageFetch]) -> Option<StageError> {
        let found =
            asked.iter().find_map(|fetch| Some((fetch, self.scanner.find(fetch.address.as_bytes())?)));
        let error = found.map(|(fetch, found)| {
            self.leak(format!("the request for `{}`", self.mask.text(&fetch.address)), found)
        });
        for StageFetch { address, problem, .. } in asked {
            *address = self.mask.text(address);
            *problem = problem.take().map(|problem| self.mask.text(&problem));
        }
        error
    }

    pub(super) fn leak(&self, place: String, found: Found) -> StageError {
        StageError::Leaked { place, found }
    }
}
