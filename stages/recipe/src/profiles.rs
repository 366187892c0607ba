//! What a profile changes in a draft: formats of images, and the steps that belong to it.

use std::collections::{BTreeMap, BTreeSet};

use super::draft::{Draft, DraftImage, ProfileFormats};
use super::image::ImageFormat;
use super::names::{ImageName, ProfileName, StepPath};
use super::report::{Problem, Report};
use super::source::At;
use super::suggest;

/// Makes the draft that of the chosen profile: with its formats, and without the steps of others. Reports what is wrong with any
/// profile. Comes after directories of scripts were listed, so that left-out stages are known by name.
pub(super) fn apply(draft: &mut Draft, chosen: Option<&ProfileName>, report: &Report) {
    let known: BTreeSet<_> = draft.profiles.keys().cloned().collect();
    if let Some(name) = chosen.filter(|name| !known.contains(*name)) {
        let hint = suggest::hint(name.as_str(), known.iter().map(ProfileName::as_str));
        let hint = hint.unwrap_or_else(|| format!("write `[profile.{name}]`"));
        report.push(Problem::nowhere(format!("there is no profile `{name}`")).hint(hint));
    }
    for (name, profile) in &draft.profiles {
        let Some(formats) = &profile.formats else { continue };
        check_formats(&draft.images, formats, report);
        if chosen == Some(name) {
            set_formats(&mut draft.images, formats);
        }
    }
    omit_steps(draft, &known, chosen, report);
    draft.profile = chosen.cloned();
}

type Images = BTreeMap<ImageName, Option<DraftImage>>;

fn check_formats(images: &Images, formats: &ProfileFormats, report: &Report) {
    match formats {
        ProfileFormats::All(formats) => {
            let singles = images.iter().filter(|(_, image)| matches!(image, Some(DraftImage::Single { .. })));
            singles.for_each(|(name, _)| check_image(images, name, formats, report));
        }
        ProfileFormats::OfImages(all) => {
            for (name, formats) in all {
                if images.contains_key(&name.value) {
                    check_image(images, &name.value, formats, report);
                } else {
                    let hint = suggest::hint(name.value.as_str(), images.keys().map(ImageName::as_str));
                    let message = format!("unknown image `{}`", name.value);
                    report.push(Problem::at(name.at.clone(), message).hint_if(hint));
                }
            }
        }
    }
}

fn check_image(images: &Images, name: &ImageName, formats: &At<Vec<ImageFormat>>, report: &Report) {
    let (fits, why): (fn(ImageFormat) -> bool, &str) = match images.get(name) {
        Some(Some(DraftImage::Single { image, .. })) if image.disk.is_none() => {
            (|format| !format.needs_disk(), "has no disk")
        }
        Some(Some(DraftImage::Several { .. })) => (ImageFormat::holds_several, "is several machines"),
        _ => return,
    };
    if let Some(wrong) = formats.value.iter().find(|format| !fits(**format)) {
        let message = format!("image `{name}` {why}, and cannot be had as `{wrong}`");
        let hint = "a table has formats by image: `formats = { IMAGE = [\"raw\"] }`";
        report.push(Problem::at(formats.at.clone(), message).hint(hint));
    }
}

/// Images of several machines can be had as OVA alone, so a list that is for all leaves them as they are.
fn set_formats(images: &mut Images, formats: &ProfileFormats) {
    match formats {
        ProfileFormats::All(formats) => {
            for image in images.values_mut().flatten() {
                if let DraftImage::Single { image, .. } = image {
                    image.formats.clone_from(&formats.value);
                }
            }
        }
        ProfileFormats::OfImages(all) => {
            for (name, formats) in all {
                match images.get_mut(&name.value) {
                    Some(Some(DraftImage::Single { image, .. })) => image.formats.clone_from(&formats.value),
                    Some(Some(DraftImage::Several { appliance, .. })) => {
                        appliance.formats.clone_from(&formats.value);
                    }
                    _ => {}
                }
            }
        }
    }
}

fn omit_steps(
    draft: &mut Draft,
    known: &BTreeSet<ProfileName>,
    chosen: Option<&ProfileName>,
    report: &Report,
) {
    for (rootfs, chain) in &mut draft.rootfses {
        for profile in chain.steps.iter().flat_map(|step| &step.profiles) {
            if !known.contains(&profile.value) {
                let hint = suggest::hint(profile.value.as_str(), known.iter().map(ProfileName::as_str));
                let hint = hint.unwrap_or_else(|| format!("write `[profile.{}]`", profile.value));
                let message = format!("unknown profile `{}`", profile.value);
                report.push(Problem::at(profile.at.clone(), message).hint(hint));
            }
        }
        let all = std::mem::take(&mut chain.steps);
        let first = all.first().map(|step| step.at.clone());
        let (there, omitted): (Vec<_>, Vec<_>) = all.into_iter().partition(|step| {
            step.profiles.is_empty() || step.profiles.iter().any(|profile| Some(&profile.value) == chosen)
        });
        if let Some(at) = first.filter(|_| there.is_empty()) {
            let message = format!("all steps of rootfs `{rootfs}` belong to profiles that are not chosen");
            report.push(Problem::at(at, message).hint("keep a step without `profiles`"));
        }
        chain.steps = there;
        let name = |step: super::draft::DraftStep| step.name.map(|name| name.value);
        let names = omitted.into_iter().filter_map(name);
        draft.omitted.extend(names.map(|step| StepPath { rootfs: rootfs.clone(), step }));
    }
}
