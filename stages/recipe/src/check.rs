//! Judges a draft as a whole: references, cycles, repeated names, and what chains start with.

mod identities;

use std::collections::{BTreeMap, BTreeSet};

use super::draft::{Draft, DraftArchive, DraftImage, DraftKind, DraftRootfs, DraftStep};
use super::names::{ArchiveName, ImageName, RootfsName, StepName};
use super::report::{Problem, Report};
use super::source::{At, Span};
use super::step::StepKind;
use super::suggest;

/// Reports what is wrong with the parts of `draft` that could be read.
pub(super) fn check(draft: &Draft, report: &Report) {
    check_references(draft, report);
    check_cycles(draft, report);
    for (name, rootfs) in &draft.rootfses {
        check_names(name, rootfs, report);
        check_bootstrap(name, rootfs, report);
    }
}

fn check_references(draft: &Draft, report: &Report) {
    let rootfs = |name: &RootfsName, at: &Span| {
        refer("rootfs", name.as_str(), at, draft.rootfses.keys().map(RootfsName::as_str), report);
    };
    for chain in draft.rootfses.values() {
        chain.from.iter().for_each(|from| rootfs(&from.value, &from.at));
        for links in chain.steps.iter().filter_map(links) {
            links.rootfs.iter().for_each(|source| rootfs(&source.value, &source.at));
            for archive in &links.archives {
                let known = draft.archives.keys().map(|name| name.as_str());
                refer("archive", archive.value.as_str(), &archive.at, known, report);
            }
            check_together(draft, &links.archives, report);
        }
    }
    for image in draft.images.values().flatten() {
        match image {
            DraftImage::Single { image, rootfs_at } => rootfs(&image.rootfs, rootfs_at),
            DraftImage::Several { machines, .. } => {
                machines.iter().for_each(|machine| check_machine(draft, machine, report));
                identities::check(draft, machines, report);
            }
        }
    }
    for image in draft.tests.values().flatten().flat_map(|test| &test.images) {
        check_image(draft, image, report);
    }
}

/// Archives of one root file system are for the same machines and each at another place.
fn check_together(draft: &Draft, names: &[At<ArchiveName>], report: &Report) {
    let known = |name: &At<ArchiveName>| draft.archives.get(&name.value)?.as_ref();
    for (number, name) in names.iter().enumerate() {
        let Some(later) = known(name) else { continue };
        for earlier in names[..number].iter().filter_map(known).filter(|it| it.archive.name != name.value) {
            let (one, other) = (&earlier.archive.name, &name.value);
            let url = |draft: &DraftArchive| draft.vendor.as_ref().map(|vendor| vendor.url.clone());
            if url(earlier) == url(later) {
                let problem = Problem::at(
                    name.at.clone(),
                    format!("archives `{one}` and `{other}` are at the same address"),
                );
                report.push(problem.hint("make one `[archive.NAME]` of them, with the `suites` of both"));
            }
            if earlier.archive.architecture != later.archive.architecture {
                let message = format!(
                    "archive `{one}` is for {}, `{other}` for {}",
                    earlier.archive.architecture, later.archive.architecture
                );
                let problem = Problem::at(name.at.clone(), message);
                report.push(problem.hint("give both the same `architecture`"));
            }
            if sources_name(earlier) == sources_name(later) {
                let message = format!("archives `{one}` and `{other}` would both be Debian's to apt");
                let problem = Problem::at(name.at.clone(), message);
                report.push(problem.hint("call the one with a `url` something else than `debian`"));
            }
        }
    }
}

/// What the image's file of sources is called.
fn sources_name(draft: &DraftArchive) -> &str {
    if draft.vendor.is_some() { draft.archive.name.as_str() } else { "debian" }
}

/// A reference to an image that is one machine.
fn check_image(draft: &Draft, image: &At<ImageName>, report: &Report) {
    let name = image.value.as_str();
    let is_single = |draft: &&Option<DraftImage>| !matches!(draft, Some(DraftImage::Several { .. }));
    let known = draft.images.iter().filter(|(_, draft)| is_single(draft)).map(|(name, _)| name.as_str());
    if draft.images.get(name).is_some_and(|found| !is_single(&found)) {
        let problem = Problem::at(image.at.clone(), format!("image `{name}` is several machines"));
        report.push(problem.hint("name the images that it is made of"));
    } else {
        refer("image", name, &image.at, known, report);
    }
}

/// A machine of an appliance, which needs a disk.
fn check_machine(draft: &Draft, machine: &At<ImageName>, report: &Report) {
    check_image(draft, machine, report);
    let name = machine.value.as_str();
    if let Some(Some(DraftImage::Single { image, .. })) = draft.images.get(name)
        && image.disk.is_none()
    {
        let problem = Problem::at(machine.at.clone(), format!("image `{name}` has no disk"));
        report.push(problem.hint(format!("give `[image.{name}]` a `disk`")));
    }
}

fn refer<'a>(what: &str, name: &str, at: &Span, known: impl Iterator<Item = &'a str>, report: &Report) {
    let known: Vec<&str> = known.collect();
    if !known.contains(&name) {
        let hint = suggest::hint(name, known.iter().copied());
        report.push(Problem::at(at.clone(), format!("unknown {what} `{name}`")).hint_if(hint));
    }
}

fn links(step: &DraftStep) -> Option<&super::draft::Links> {
    match &step.kind {
        Some(DraftKind::Step { links, .. }) => Some(links),
        _ => None,
    }
}

/// What a rootfs is made from, by `from` and `copy-from`.
fn sources(rootfs: &DraftRootfs) -> impl Iterator<Item = &At<RootfsName>> {
    rootfs.from.iter().chain(rootfs.steps.iter().filter_map(links).filter_map(|links| links.rootfs.as_ref()))
}

fn check_cycles(draft: &Draft, report: &Report) {
    let mut search = CycleSearch { draft, report, open: Vec::new(), done: BTreeSet::new() };
    draft.rootfses.keys().for_each(|name| search.visit(name));
}

/// Depth-first, so that each cycle is met once, at the reference that closes it.
struct CycleSearch<'a> {
    draft: &'a Draft,
    report: &'a Report<'a>,
    open: Vec<&'a RootfsName>,
    done: BTreeSet<&'a RootfsName>,
}

impl<'a> CycleSearch<'a> {
    fn visit(&mut self, name: &'a RootfsName) {
        let Some(rootfs) = self.draft.rootfses.get(name).filter(|_| !self.done.contains(name)) else {
            return;
        };
        self.open.push(name);
        for source in sources(rootfs) {
            match self.open.iter().position(|open| **open == source.value) {
                Some(start) => self.report_cycle(start, source),
                None => self.visit(&source.value),
            }
        }
        self.open.pop();
        self.done.insert(name);
    }

    fn report_cycle(&self, start: usize, closing: &At<RootfsName>) {
        let path: Vec<&str> =
            self.open[start..].iter().copied().chain([&closing.value]).map(RootfsName::as_str).collect();
        let message = format!("rootfses are made from each other: `{}`", path.join(" -> "));
        self.report.push(Problem::at(closing.at.clone(), message).label("closes the circle"));
    }
}

/// Names are repeated within one rootfs only: `base/files` and `desktop/files` are two stages.
fn check_names(rootfs: &RootfsName, chain: &DraftRootfs, report: &Report) {
    let mut seen: BTreeMap<&StepName, &Span> = BTreeMap::new();
    for name in chain.steps.iter().filter_map(|step| step.name.as_ref()) {
        if let Some(first) = seen.get(&name.value) {
            let message = format!("stage `{rootfs}/{}` is defined twice", name.value);
            let problem = Problem::at(name.at.clone(), message).label("again here");
            report.push(problem.also((*first).clone(), "first here"));
        } else {
            seen.insert(&name.value, &name.at);
        }
    }
}

fn check_bootstrap(name: &RootfsName, rootfs: &DraftRootfs, report: &Report) {
    let mut steps = rootfs.steps.iter();
    if rootfs.from.is_none()
        && let Some(first) = steps.next().filter(|first| first.kind.is_some() && !is_bootstrap(first))
    {
        let problem =
            Problem::at(first.at.clone(), format!("rootfs `{name}` does not start with a `bootstrap` step"));
        report.push(problem.hint("start it with a `bootstrap` step, or say which rootfs it goes on `from`"));
    }
    for late in steps.filter(|step| is_bootstrap(step)) {
        let why = match rootfs.from {
            Some(_) => "a rootfs with `from` is bootstrapped already",
            None => "`bootstrap` must be the first step",
        };
        report.push(Problem::at(late.at.clone(), why));
    }
}

fn is_bootstrap(step: &DraftStep) -> bool {
    matches!(step.kind, Some(DraftKind::Step { kind: StepKind::Bootstrap { .. }, .. }))
}
