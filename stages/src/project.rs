//! A recipe as a graph of stages.

use std::collections::HashMap;
use std::fmt;

use ibuild_graph::{GraphBuilder, StageGraph, StageId};

use crate::recipe::{
    Appliance, Image, ImageFormat, ImageName, Recipe, RootfsName, Step, StepKind, StepPath, suggest,
};

/// A name that one can ask for: an image in a format.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Target {
    /// The image.
    pub image: ImageName,
    /// Its format.
    pub format: ImageFormat,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.image, self.format)
    }
}

/// A text that names no target.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no target `{name}`")]
pub struct TargetError {
    name: String,
    /// One that the text may be meant for, listed or not.
    near: Option<String>,
    /// If an image was named with a wrong format, what it can be had as.
    image: Option<Formats>,
    known: Vec<String>,
}

/// What an image can be had as.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Formats {
    image: String,
    formats: Vec<&'static str>,
}

impl TargetError {
    /// What there is instead.
    pub fn hint(&self) -> String {
        let meant = self.near.as_ref().map(|near| format!("did you mean `{near}`?"));
        if let Some(Formats { image, formats }) = &self.image {
            let formats = format!("formats of `{image}` are {}", suggest::list(formats));
            return meant.into_iter().chain([formats]).collect::<Vec<_>>().join(" ");
        }
        if let Some(meant) = meant {
            return meant;
        }
        match self.known.as_slice() {
            [] => "the recipe has no `[image.NAME]`".to_owned(),
            known => format!("the targets are {}", known.join(", ")),
        }
    }
}

impl TargetError {
    /// Whether it names an image that there is, and a format that the image does not have.
    pub fn names_image(&self) -> bool {
        self.image.is_some()
    }
}

/// What a stage does.
#[derive(Debug, Clone)]
pub enum Job<'r> {
    /// A step of a root file system.
    Step {
        /// Its name.
        name: StepPath,
        /// What the recipe says.
        step: &'r Step,
    },
    /// An image or an appliance in a format.
    Image {
        /// Its name.
        target: Target,
        /// The formats that the recipe lists for it.
        listed: &'r [ImageFormat],
        /// What is in it: an image alone, or the machines of an appliance. Their root file systems are the stage's inputs,
        /// in this order.
        machines: Vec<&'r Image>,
    },
}

/// A recipe and its graph. All stages are in it, whether or not a target needs them.
pub struct Project<'r> {
    /// The recipe.
    pub recipe: &'r Recipe,
    /// What depends on what.
    pub graph: StageGraph,
    jobs: HashMap<StageId, Job<'r>>,
    steps: HashMap<StepPath, StageId>,
    images: HashMap<Target, StageId>,
}

impl<'r> Project<'r> {
    /// The graph of a recipe, which has been checked: its references resolve and it has no cycles.
    pub fn new(recipe: &'r Recipe) -> Self {
        let mut assembly = Assembly::default();
        for rootfs in recipe.rootfses.keys() {
            assembly.add_steps(recipe, rootfs);
        }
        for rootfs in recipe.rootfses.keys() {
            assembly.connect_steps(recipe, rootfs);
        }
        for image in recipe.images.values() {
            assembly.add_image(recipe, image);
        }
        for appliance in recipe.appliances.values() {
            assembly.add_appliance(recipe, appliance);
        }
        let Assembly { builder, jobs, steps, images } = assembly;
        let graph = builder.finish().expect("a checked recipe has no cycles");
        Self { recipe, graph, jobs, steps, images }
    }

    /// What a stage does.
    pub fn job(&self, stage: StageId) -> &Job<'r> {
        &self.jobs[&stage]
    }

    /// Whether a stage is expected to make the same each time. Images always are.
    pub fn is_reproducible(&self, stage: StageId) -> bool {
        match self.job(stage) {
            Job::Step { step, .. } => step.reproducible.is_expected(),
            Job::Image { .. } => true,
        }
    }

    /// The stage of a step.
    pub fn step_stage(&self, name: &StepPath) -> Option<StageId> {
        self.steps.get(name).copied()
    }

    /// The stage that packs a target.
    pub fn target_stage(&self, target: &Target) -> Option<StageId> {
        self.images.get(target).copied()
    }

    /// The targets that a text names: `image.format` one of them, `image` all that its recipe lists.
    pub fn targets(&self, text: &str) -> Result<Vec<Target>, TargetError> {
        if let Some((name, formats)) = self.recipe.products().find(|(name, _)| name.as_str() == text) {
            let target = |format: &ImageFormat| Target { image: name.clone(), format: *format };
            return Ok(formats.iter().map(target).collect());
        }
        let found = self.images.keys().find(|target| target.to_string() == text);
        found.map(|target| vec![target.clone()]).ok_or_else(|| self.no_target(text))
    }

    fn no_target(&self, text: &str) -> TargetError {
        let of = |(name, formats): (&ImageName, &[ImageFormat])| {
            formats.iter().map(|format| format!("{name}.{format}")).collect::<Vec<_>>()
        };
        let all: Vec<_> = self.images.keys().map(Target::to_string).collect();
        let images = self.recipe.products().map(|(name, _)| name.as_str());
        let near = suggest::near(text, all.iter().map(String::as_str).chain(images)).map(str::to_owned);
        let image = text.split_once('.').and_then(|(image, _)| self.formats(image));
        let known = self.recipe.products().flat_map(of).collect();
        TargetError { name: text.to_owned(), near, image, known }
    }

    /// What an image can be had as, whether or not the recipe lists it.
    fn formats(&self, text: &str) -> Option<Formats> {
        let (image, _) = self.recipe.products().find(|(name, _)| name.as_str() == text)?;
        let is_one = |format: &ImageFormat| {
            self.images.contains_key(&Target { image: image.clone(), format: *format })
        };
        let formats = ImageFormat::ALL.into_iter().filter(is_one).map(ImageFormat::name).collect();
        Some(Formats { image: image.to_string(), formats })
    }

    /// All targets that may have parts of a disk of these images in them, those first that most likely have.
    pub(super) fn with_disks_like(&self, target: &Target, machines: &[&Image]) -> Vec<Target> {
        let near = |other: &Target| match () {
            () if other == target => 0,
            () if other.image == target.image => 1,
            () if machines.iter().any(|machine| machine.name == other.image) => 2,
            () => 3,
        };
        let with_disks = self.images.keys().filter(|target| target.format.keeps_grains());
        let mut found: Vec<_> = with_disks.cloned().collect();
        found.sort_by_key(|target| (near(target), target.to_string()));
        found
    }
}

#[derive(Default)]
struct Assembly<'r> {
    builder: GraphBuilder,
    jobs: HashMap<StageId, Job<'r>>,
    steps: HashMap<StepPath, StageId>,
    images: HashMap<Target, StageId>,
}

impl<'r> Assembly<'r> {
    fn stage(&mut self, name: String, job: Job<'r>) -> StageId {
        let id = self.builder.stage(ibuild_graph::StageName::new(name)).expect("names of stages are unique");
        self.jobs.insert(id, job);
        id
    }

    fn add_steps(&mut self, recipe: &'r Recipe, rootfs: &RootfsName) {
        for stage in recipe.chain(rootfs) {
            if stage.name.rootfs == *rootfs {
                let job = Job::Step { name: stage.name.clone(), step: stage.step };
                let id = self.stage(stage.name.to_string(), job);
                self.steps.insert(stage.name, id);
            }
        }
    }

    fn connect_steps(&mut self, recipe: &'r Recipe, rootfs: &RootfsName) {
        let chain = recipe.chain(rootfs);
        for pair in chain.windows(2).filter(|pair| pair[1].name.rootfs == *rootfs) {
            self.builder.input(self.steps[&pair[1].name], self.steps[&pair[0].name]);
        }
        for stage in chain.iter().filter(|stage| stage.name.rootfs == *rootfs) {
            if let StepKind::CopyFrom { rootfs: other, .. } = &stage.step.kind {
                let last = recipe.last_stage(other).expect("the reference was checked");
                self.builder.input(self.steps[&stage.name], self.steps[&last.name]);
            }
        }
    }

    /// Every format that the image can be had in, also those that the recipe does not list: asking for one by name is
    /// enough.
    fn add_image(&mut self, recipe: &'r Recipe, image: &'r Image) {
        for format in ImageFormat::ALL.into_iter().filter(|f| image.disk.is_some() || !f.needs_disk()) {
            let target = Target { image: image.name.clone(), format };
            self.add_target(recipe, target, &image.formats, vec![image]);
        }
    }

    fn add_appliance(&mut self, recipe: &'r Recipe, appliance: &'r Appliance) {
        let machines: Vec<_> = appliance.machines.iter().map(|name| &recipe.images[name]).collect();
        for format in ImageFormat::ALL.into_iter().filter(|format| format.holds_several()) {
            let target = Target { image: appliance.name.clone(), format };
            self.add_target(recipe, target, &appliance.formats, machines.clone());
        }
    }

    fn add_target(
        &mut self,
        recipe: &'r Recipe,
        target: Target,
        listed: &'r [ImageFormat],
        machines: Vec<&'r Image>,
    ) {
        let last = |machine: &&Image| recipe.last_stage(&machine.rootfs).expect("the reference was checked");
        let inputs: Vec<_> = machines.iter().map(|machine| self.steps[&last(machine).name]).collect();
        let id = self.stage(target.to_string(), Job::Image { target: target.clone(), listed, machines });
        inputs.into_iter().for_each(|input| self.builder.input(id, input));
        self.images.insert(target, id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipe::Overrides;

    const PAIR: &str = r#"schema = 1
[project]
name = "demo"
epoch = 1767225600
[archive.debian]
suites = ["trixie"]
[rootfs.gateway]
steps = [{ name = "bootstrap", bootstrap = { archive = "debian" } }]
[rootfs.workstation]
from = "gateway"
steps = [{ name = "sane", check = "true" }]
[image.gateway]
rootfs = "gateway"
formats = ["raw"]
disk = { size = "1 GiB" }
[image.workstation]
rootfs = "workstation"
formats = ["raw"]
disk = { size = "1 GiB" }
[image.pair]
machines = ["gateway", "workstation"]
formats = ["ova"]
[image.files]
rootfs = "workstation"
formats = ["rootfs.tar.zst"]
"#;

    fn recipe() -> Recipe {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("ibuild.toml"), PAIR).unwrap();
        Recipe::load(dir.path(), &Overrides::default()).unwrap_or_else(|errors| panic!("{errors}"))
    }

    #[test]
    fn several_machines_are_a_target_that_stands_on_theirs() {
        let recipe = recipe();
        let project = Project::new(&recipe);
        let targets: Vec<_> = project.targets("pair").unwrap().iter().map(ToString::to_string).collect();
        assert_eq!(targets, ["pair.ova"]);
        assert!(project.targets("pair.raw").is_err());
        let stage = project.target_stage(&project.targets("pair.ova").unwrap()[0]).unwrap();
        let inputs = project.graph.inputs(stage);
        let inputs: Vec<_> = inputs.iter().map(|input| project.graph.name(*input).to_string()).collect();
        assert_eq!(inputs, ["gateway/bootstrap", "workstation/sane"]);
    }

    #[test]
    fn an_archive_of_files_is_no_target_with_a_disk() {
        let recipe = recipe();
        let project = Project::new(&recipe);
        assert_eq!(project.targets("files").unwrap().len(), 1);
        assert!(project.targets("files.raw").is_err());
    }
}
