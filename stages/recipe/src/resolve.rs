//! Makes the recipe of a draft in which nothing was found wrong.

use std::collections::BTreeMap;
use std::path::Path;

use super::draft::{Draft, DraftArchive, DraftImage, DraftKind, DraftRootfs, DraftStep, DraftVendor};
use super::image::{Appliance, Image};
use super::limits::Limits;
use super::model::{Archive, Recipe, Rootfs, Vendor};
use super::names::{EnvName, ImageName, RootfsName};
use super::source::SourceMap;
use super::step::{Network, Step, StepKind};

type Env = BTreeMap<EnvName, String>;

/// The caller has made sure that no problem was reported: there are no gaps, and no cycles.
pub(super) fn resolve(draft: Draft, sources: &SourceMap, dir: &Path) -> Recipe {
    let resolver = Resolver { sources, drafts: &draft.rootfses };
    let (images, appliances) = products(draft.images);
    let rootfses = draft.rootfses.iter().map(|(name, rootfs)| (name.clone(), resolver.rootfs(name, rootfs)));
    Recipe {
        dir: dir.to_owned(),
        files: sources.paths(),
        rootfses: rootfses.collect(),
        project: whole(draft.project),
        profile: draft.profile,
        profiles: draft.profiles.into_keys().collect(),
        omitted: draft.omitted,
        vars: draft.vars,
        archives: draft.archives.into_iter().map(|(name, draft)| (name, archive(whole(draft)))).collect(),
        images,
        appliances,
        tests: draft.tests.into_iter().map(|(name, test)| (name, whole(test).test)).collect(),
        notices: draft.notices,
    }
}

fn archive(DraftArchive { archive, vendor }: DraftArchive) -> Archive {
    let vendor = vendor.map(|DraftVendor { url, key, keyring }| Vendor {
        url,
        key: key.value,
        keyring: whole(keyring),
    });
    Archive { vendor, ..archive }
}

type Products = (BTreeMap<ImageName, Image>, BTreeMap<ImageName, Appliance>);

fn products(drafts: BTreeMap<ImageName, Option<DraftImage>>) -> Products {
    let mut products = Products::default();
    for (name, draft) in drafts {
        match whole(draft) {
            DraftImage::Single { image, .. } => drop(products.0.insert(name, *image)),
            DraftImage::Several { appliance, .. } => drop(products.1.insert(name, appliance)),
        }
    }
    products
}

fn whole<T>(part: Option<T>) -> T {
    part.expect("every gap in a draft has been reported")
}

struct Resolver<'a> {
    sources: &'a SourceMap,
    drafts: &'a BTreeMap<RootfsName, DraftRootfs>,
}

impl Resolver<'_> {
    fn rootfs(&self, name: &RootfsName, draft: &DraftRootfs) -> Rootfs {
        let env = self.env(draft);
        let limits = self.limits(draft);
        Rootfs {
            name: name.clone(),
            from: draft.from.as_ref().map(|from| from.value.clone()),
            env: draft.env.clone(),
            limits: draft.limits,
            steps: draft.steps.iter().map(|step| self.step(step, &env, limits)).collect(),
        }
    }

    /// Variables of the whole chain; those nearer to the step win.
    fn env(&self, rootfs: &DraftRootfs) -> Env {
        let mut env =
            rootfs.from.as_ref().map(|from| self.env(&self.drafts[&from.value])).unwrap_or_default();
        env.extend(rootfs.env.clone());
        env
    }

    /// Limits of the whole chain; those nearer to the step win.
    fn limits(&self, rootfs: &DraftRootfs) -> Limits {
        let below = rootfs.from.as_ref().map(|from| self.limits(&self.drafts[&from.value]));
        rootfs.limits.or(below.unwrap_or_default())
    }

    fn step(&self, draft: &DraftStep, env: &Env, limits: Limits) -> Step {
        let Some(DraftKind::Step { kind, .. }) = &draft.kind else {
            unreachable!("scripts are expanded by now")
        };
        let settings = draft.settings.clone();
        let mut env = if runs(kind) { env.clone() } else { Env::new() };
        env.extend(settings.env);
        Step {
            name: whole(draft.name.as_ref()).value.clone(),
            kind: kind.clone(),
            env,
            network: settings.network.unwrap_or(network_of(kind)),
            machine: settings.machine.unwrap_or_default(),
            timeout: settings.timeout,
            limits: if runs(kind) { settings.limits.or(limits) } else { Limits::default() },
            inputs: settings.inputs.into_iter().map(|input| input.value).collect(),
            secrets: settings.secrets,
            volatile: settings.volatile,
            reproducible: settings.reproducible.unwrap_or_default(),
            position: self.sources.position(&draft.at),
        }
    }
}

/// Whether a step runs a program of its own. One that does not must not run again when its environment changes.
fn runs(kind: &StepKind) -> bool {
    !matches!(kind, StepKind::Copy(_) | StepKind::CopyFrom { .. } | StepKind::Fetch(_))
}

/// For kinds that have no text to decide by.
fn network_of(kind: &StepKind) -> Network {
    match kind {
        StepKind::Bootstrap { .. } | StepKind::Packages { .. } => Network::Packages,
        _ => Network::None,
    }
}
