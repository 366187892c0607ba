//! Machines that are imported together are told apart: VirtualBox refuses a second machine or medium with a UUID.

use crate::draft::{Draft, DraftImage};
use crate::image::Image;
use crate::names::ImageName;
use crate::report::{Problem, Report};
use crate::source::At;

/// Reports machines of an appliance that have an identity in common.
pub(super) fn check(draft: &Draft, machines: &[At<ImageName>], report: &Report) {
    for (number, later) in machines.iter().enumerate() {
        let Some(image) = image_of(draft, later) else { continue };
        for earlier in machines[..number].iter().filter_map(|machine| image_of(draft, machine)) {
            if let Some(key) = common(earlier, image) {
                let message = format!("machines `{}` and `{}` have the same {key}", earlier.name, image.name);
                let hint = "give each its own, or none: ibuild derives it from the image's name";
                report.push(Problem::at(later.at.clone(), message).hint(hint));
            }
        }
    }
}

fn image_of<'d>(draft: &'d Draft, name: &At<ImageName>) -> Option<&'d Image> {
    match draft.images.get(&name.value)?.as_ref()? {
        DraftImage::Single { image, .. } => Some(image),
        DraftImage::Several { .. } => None,
    }
}

/// What two machines have in common and must not.
fn common(one: &Image, other: &Image) -> Option<&'static str> {
    let shown = |image: &Image| image.vm.name.clone().unwrap_or_else(|| image.name.to_string());
    let disk = |image: &Image| image.disk.as_ref().and_then(|disk| disk.uuid);
    let macs = |image: &Image| image.vm.nics.iter().filter_map(|card| card.mac).collect::<Vec<_>>();
    let same = [
        ("`uuid` of `vm`", one.vm.uuid.is_some() && one.vm.uuid == other.vm.uuid),
        ("`uuid` of `disk`", disk(one).is_some() && disk(one) == disk(other)),
        ("`mac`", macs(one).iter().any(|mac| macs(other).contains(mac))),
        ("`name` of `vm`", shown(one) == shown(other)),
    ];
    same.into_iter().find_map(|(key, is_same)| is_same.then_some(key))
}
