//! The stages that names mean.

use ibuild_graph::{StageId, StageName};
use ibuild_stages::recipe::suggest;
use ibuild_stages::{Job, Project, Target};

use crate::error::{Result, UsageError};

/// The stage that a text names: a stage, a rootfs, or a target.
///
/// # Errors
///
/// Of kind [`Usage`](crate::ErrorKind::Usage), with the nearest names that there are.
pub fn find_stage(project: &Project<'_>, text: &str) -> Result<StageId> {
    if let Some(id) = project.graph.find(&StageName::new(text)) {
        return Ok(id);
    }
    match project.recipe.find_stage(text) {
        Ok(name) => Ok(project.step_stage(&name).expect("every step has a stage")),
        Err(error) if text.contains('/') => Err(error.into()),
        Err(_) => Err(unknown_name(project, text).into()),
    }
}

/// The stages that a text names: as [`find_stage`], and an image means its listed formats.
///
/// # Errors
///
/// As [`find_stage`].
pub fn find_stages(project: &Project<'_>, text: &str) -> Result<Vec<StageId>> {
    let is_product = project.recipe.products().any(|(name, _)| name.as_str() == text);
    if !is_product || project.recipe.rootfses.contains_key(text) {
        return Ok(vec![find_stage(project, text)?]);
    }
    let targets = project.targets(text)?;
    Ok(targets.iter().filter_map(|target| project.target_stage(target)).collect())
}

fn unknown_name(project: &Project<'_>, text: &str) -> UsageError {
    let rootfses = project.recipe.rootfses.keys().map(|name| name.as_str());
    let images = project.recipe.products().map(|(name, _)| name.as_str());
    let listed = listed_stages(project);
    let stages = listed.iter().map(|stage| project.graph.name(*stage).as_str());
    let error = UsageError::new(format!("there is no stage or target `{text}`"));
    let hint = suggest::hint(text, rootfses.chain(images).chain(stages));
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
