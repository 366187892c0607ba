//! The stages and targets that names mean.

use std::collections::{BTreeMap, BTreeSet};

use ibuild_graph::{StageId, StageName};
use ibuild_stages::recipe::suggest;
use ibuild_stages::{Job, Project, StageOutput, Target};

use super::Workspace;
use crate::error::{Result, UsageError};

/// Fewer digits name half a store.
pub const SHORTEST_PREFIX: usize = 4;

/// The first digits of a digest, if a text may be that: hexadecimal, with `b3:` before them, or at least
/// [`SHORTEST_PREFIX`] of them.
pub fn digits_of_digest(text: &str) -> Option<&str> {
    let digits = text.strip_prefix("b3:").unwrap_or(text);
    // What starts with `b3:` cannot be a name.
    let is_meant = digits.len() >= SHORTEST_PREFIX || digits.len() < text.len();
    let is_digit = |digit: u8| digit.is_ascii_digit() || (b'a'..=b'f').contains(&digit);
    (is_meant && digits.len() <= 64 && digits.bytes().all(is_digit)).then_some(digits)
}

impl Workspace {
    /// The stage that a text names. The first of these that there is:
    ///
    /// - `rootfs/step`, or a target,
    /// - a rootfs, which means its last step,
    /// - an image that has one listed format,
    /// - a step, if no other rootfs has one of that name,
    /// - the first digits of the key of a stage's last run, or of the digest of what that made. Of several that made the same
    ///   the first one, as the others have only passed it on.
    ///
    /// # Errors
    ///
    /// Of kind [`Usage`](crate::ErrorKind::Usage), with all stages that may be meant, or the nearest names that there are. If the
    /// store refuses.
    pub fn find_stage(&self, text: &str) -> Result<StageId> {
        match self.find_stages(text)?.as_slice() {
            [stage] => Ok(*stage),
            several => Err(ambiguous(&self.project(), text, several.iter().copied()).into()),
        }
    }

    /// The stages that a text names: as [`Workspace::find_stage`], and an image means its listed formats.
    ///
    /// # Errors
    ///
    /// As [`Workspace::find_stage`].
    pub fn find_stages(&self, text: &str) -> Result<Vec<StageId>> {
        let project = self.project();
        if let Some(found) = named(&project, text)? {
            return Ok(found);
        }
        let by_digest = digits_of_digest(text).map(|digits| self.made(&project, digits)).transpose()?;
        let found = by_digest.unwrap_or_default();
        match found.len() {
            0 => Err(unknown_name(&project, text).into()),
            1 => Ok(found.into_iter().collect()),
            _ => Err(ambiguous(&project, text, found).into()),
        }
    }

    /// The stages whose last run has a key, or made something with a digest, that starts with these digits.
    fn made(&self, project: &Project<'_>, digits: &str) -> Result<BTreeSet<StageId>> {
        let memory = self.memory();
        let mut first = BTreeMap::new();
        for stage in project.graph.in_build_order() {
            let Some(last) = memory.last_run(project.graph.name(stage))? else { continue };
            let output: Option<StageOutput> = memory.result(&last.key)?.and_then(|result| result.output());
            let digests = [Some(last.key.hex()), output.map(|output| output.digest())];
            for digest in digests.into_iter().flatten().filter(|digest| digest.starts_with(digits)) {
                first.entry(digest).or_insert(stage);
            }
        }
        Ok(first.into_values().collect())
    }
}

/// The stages that have a name, or a part of one.
fn named(project: &Project<'_>, text: &str) -> Result<Option<Vec<StageId>>> {
    if let Some(stage) = project.graph.find(&StageName::new(text)) {
        return Ok(Some(vec![stage]));
    }
    if text.contains('/') || project.recipe.rootfses.contains_key(text) {
        let name = project.recipe.find_stage(text)?;
        return Ok(Some(vec![project.step_stage(&name).expect("every step has a stage")]));
    }
    if project.recipe.products().any(|(name, _)| name.as_str() == text) {
        let targets = project.targets(text)?;
        return Ok(Some(targets.iter().filter_map(|target| project.target_stage(target)).collect()));
    }
    let steps: Vec<_> =
        project.graph.in_build_order().filter(|stage| step_name(project, *stage) == Some(text)).collect();
    match steps.as_slice() {
        [] => Ok(None),
        [step] => Ok(Some(vec![*step])),
        several => Err(ambiguous(project, text, several.iter().copied()).into()),
    }
}

/// The name of a step without its rootfs.
fn step_name<'p>(project: &'p Project<'_>, stage: StageId) -> Option<&'p str> {
    match project.job(stage) {
        Job::Step { name, .. } => Some(name.step.as_str()),
        Job::Image { .. } => None,
    }
}

fn ambiguous(project: &Project<'_>, text: &str, stages: impl IntoIterator<Item = StageId>) -> UsageError {
    let mut names: Vec<_> =
        stages.into_iter().map(|stage| format!("`{}`", project.graph.name(stage))).collect();
    names.sort_unstable();
    UsageError::new(format!("`{text}` may mean {} different stages", names.len()))
        .hint(format!("name one of them: {}", names.join(", ")))
}

fn unknown_name(project: &Project<'_>, text: &str) -> UsageError {
    let error = UsageError::new(format!("there is no stage or target `{text}`"));
    if let Err(target) = project.targets(text)
        && target.names_image()
    {
        return error.hint(target.hint());
    }
    let rootfses = project.recipe.rootfses.keys().map(|name| name.as_str());
    let images = project.recipe.products().map(|(name, _)| name.as_str());
    let listed = listed_stages(project);
    let stages = listed.iter().map(|stage| project.graph.name(*stage).as_str());
    let known: Vec<_> = rootfses.chain(images).chain(stages).collect();
    let steps = listed.iter().filter_map(|stage| step_name(project, *stage));
    let hint = suggest::near(text, known.iter().copied().chain(steps))
        .map(|near| format!("did you mean `{near}`?"))
        .or_else(|| suggest::hint(text, known));
    error.hint(hint.unwrap_or_else(|| "`ibuild graph` draws what there is".to_owned()))
}

/// All stages of a project in build order, images only in the formats that the recipe lists.
pub fn listed_stages(project: &Project<'_>) -> Vec<StageId> {
    let is_listed = |stage: &StageId| match project.job(*stage) {
        Job::Step { .. } => true,
        Job::Image { target, listed, .. } => listed.contains(&target.format),
    };
    project.graph.in_build_order().filter(is_listed).collect()
}

/// The targets that texts name, each once and in their order; all images in their listed formats, if there are no texts.
pub(super) fn requested_targets(project: &Project<'_>, texts: &[String]) -> Result<Vec<Target>> {
    let images = project.recipe.products().map(|(name, _)| name.as_str());
    let named: Vec<&str> =
        if texts.is_empty() { images.collect() } else { texts.iter().map(String::as_str).collect() };
    if named.is_empty() {
        let error = UsageError::new("the recipe has no `[image.NAME]` that could be built");
        return Err(error.hint("`ibuild build --until STAGE` builds a stage without an image").into());
    }
    let mut targets = Vec::new();
    for text in named {
        for target in project.targets(text)? {
            if !targets.contains(&target) {
                targets.push(target);
            }
        }
    }
    Ok(targets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_digits_are_a_name() {
        for (text, digits) in [
            ("5f1c", Some("5f1c")),
            ("5f1", None),
            ("b3:5", Some("5")),
            ("5F1C", None),
            ("tools", None),
            ("b3:tools", None),
        ] {
            assert_eq!(digits_of_digest(text), digits, "{text}");
        }
        assert_eq!(digits_of_digest(&"0".repeat(65)), None);
    }
}
