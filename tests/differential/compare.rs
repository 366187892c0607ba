//! What has to hold after an edit: an incremental build makes what a clean one makes, tree by tree and image by image, and a
//! stage that could not have changed does not run.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::thread::sleep;
use std::time::Duration;

use crate::archive::Archives;
use crate::choices::Choices;
use crate::edits::{Edit, FLICKERING};
use crate::files::Kind;
use crate::lab::{Lab, Place};
use crate::project::Project;

/// What does not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// A build failed.
    Failed { place: Place, stderr: String },
    /// An incremental build made something else than a clean one.
    Differs { target: String, first: String },
    /// A stage ran of which nothing had changed.
    Needless { stage: String },
}

impl Fault {
    /// Whether both are faults of one kind.
    pub fn is_like(&self, other: &Self) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed { place, stderr } => write!(f, "a build failed ({place:?}): {stderr}"),
            Self::Differs { target, first } => {
                write!(f, "`{target}` is not what a clean build makes, first of all in {first}")
            }
            Self::Needless { stage } => write!(f, "`{stage}` ran, of which nothing had changed"),
        }
    }
}

/// How much of it is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// There is an incremental build and no other.
    Build,
    /// All.
    Compare,
}

/// A project that is edited and built, again and again.
pub struct Sequence<'a> {
    archives: &'a Archives,
    lab: Lab,
    choices: Choices,
    /// All that has been built in the store: what the stages were made of.
    built: BTreeSet<String>,
    /// What was said of builds that failed, clean or not.
    refused: Vec<String>,
}

/// How an incremental build ended.
struct Incremental {
    status: i32,
    stderr: String,
    /// A stage that ran without a reason.
    needless: Option<String>,
}

impl<'a> Sequence<'a> {
    /// Builds a project for the first time.
    pub fn begin(archives: &'a Archives, choices: &Choices) -> Result<Self, Fault> {
        let (lab, built) = (Lab::new(), BTreeSet::new());
        let mut sequence = Self { archives, lab, choices: choices.clone(), built, refused: Vec::new() };
        let project = sequence.write();
        let incremental = sequence.incremental(&project);
        if incremental.status != 0 {
            sequence.compare(&project, incremental)?;
        }
        Ok(sequence)
    }

    /// Makes an edit, and builds.
    pub fn edit(&mut self, edit: &Edit, look: Look) -> Result<(), Fault> {
        edit.apply(&mut self.choices);
        let project = self.write();
        match edit {
            Edit::Set { .. } => {}
            Edit::Touch { path } => self.lab.touch(path),
            Edit::Flicker { address, meanwhile, .. } => self.flicker(&project, address, *meanwhile),
        }
        let incremental = self.incremental(&project);
        match look {
            Look::Build => Ok(()),
            Look::Compare => self.compare(&project, incremental),
        }
    }

    /// What was said of the builds that failed, clean or not. There have to be few of them, as they compare nothing.
    pub fn refused(self) -> Vec<String> {
        self.refused
    }

    fn write(&mut self) -> Project {
        let project = Project::write(&self.choices, self.archives);
        self.lab.write(&project.files);
        project
    }

    /// A build during which a file is another for a moment. It may fail, and may not leave anything wrong behind.
    fn flicker(&self, project: &Project, address: &str, meanwhile: usize) {
        let path = FLICKERING.iter().find(|(it, _)| *it == address).expect("it is one of these").1;
        let mut other = self.choices.clone();
        other.set(address, meanwhile);
        let bytes = |project: &Project| match project.files.get(path).map(|file| file.kind.clone()) {
            Some(Kind::Regular(bytes)) => bytes,
            other => panic!("`{path}` is {other:?}"),
        };
        let (now, meanwhile) = (bytes(project), bytes(&Project::write(&other, self.archives)));
        self.lab.build_and(project, Place::Incremental, |stage| {
            if stage.starts_with("slow") && stage.contains("/slow") {
                sleep(Duration::from_millis(40));
                self.lab.scribble(path, &meanwhile);
                sleep(Duration::from_millis(60));
                self.lab.scribble(path, &now);
            }
        });
    }

    /// A build in the store that has seen the other ones.
    fn incremental(&mut self, project: &Project) -> Incremental {
        let built = self.lab.build(project, Place::Incremental);
        let mut needless = None;
        if built.status == 0 {
            let made_of = made_of(&self.lab, project);
            needless = built.ran.iter().find(|stage| self.built.contains(&made_of[*stage])).cloned();
            self.built.extend(made_of.into_values());
        }
        Incremental { status: built.status, stderr: built.stderr, needless }
    }

    fn compare(&mut self, project: &Project, incremental: Incremental) -> Result<(), Fault> {
        let clean = self.lab.build(project, Place::Clean);
        match (incremental.status, clean.status) {
            (0, 0) => {}
            (_, 0) => return Err(Fault::Failed { place: Place::Incremental, stderr: incremental.stderr }),
            (0, _) => return Err(Fault::Failed { place: Place::Clean, stderr: clean.stderr }),
            // What ibuild refuses, it refuses whatever is in the store.
            (one, other) if one == other => {
                self.refused.push(clean.stderr);
                return Ok(());
            }
            (one, other) => {
                let stderr = format!("status {one}, and {other} for a clean build: {}", incremental.stderr);
                return Err(Fault::Failed { place: Place::Incremental, stderr });
            }
        }
        project.targets.iter().try_for_each(|target| self.compare_target(&target.name))?;
        incremental.needless.map_or(Ok(()), |stage| Err(Fault::Needless { stage }))
    }

    fn compare_target(&self, target: &str) -> Result<(), Fault> {
        let manifest = |place| self.lab.manifest(place, target);
        let digest = |place| self.lab.digest(place, target);
        let (ours, theirs) = (manifest(Place::Incremental), manifest(Place::Clean));
        let (our_digest, their_digest) = (digest(Place::Incremental), digest(Place::Clean));
        assert_eq!(theirs["blake3"], their_digest.as_str(), "the manifest of {target} is wrong");
        if ours != theirs || our_digest != their_digest {
            return Err(Fault::Differs {
                target: target.to_owned(),
                first: first_difference(&ours, &theirs),
            });
        }
        Ok(())
    }

    /// The recipe as it is.
    pub fn recipe(&self) -> String {
        std::fs::read_to_string(self.lab.path("project/ibuild.toml")).unwrap()
    }
}

/// The first stage with another tree; else what other part of the manifests differs.
fn first_difference(ours: &serde_json::Value, theirs: &serde_json::Value) -> String {
    let (one, other) = (ours["stages"].as_array().unwrap(), theirs["stages"].as_array().unwrap());
    if let Some((stage, _)) = one.iter().zip(other).find(|(one, other)| one != other) {
        return format!("the tree of `{}`", stage["stage"].as_str().unwrap());
    }
    let part = ["stages", "layers", "size"].into_iter().find(|part| ours[part] != theirs[part]);
    part.map_or_else(|| "the bytes".to_owned(), |part| format!("the {part}"))
}

/// What each stage and each image was made of in the last build.
fn made_of(lab: &Lab, project: &Project) -> BTreeMap<String, String> {
    let (mut trees, mut layers) = (BTreeMap::new(), BTreeMap::new());
    for target in &project.targets {
        let manifest = lab.manifest(Place::Incremental, &target.name);
        for stage in manifest["stages"].as_array().unwrap() {
            trees.insert(stage["stage"].as_str().unwrap().to_owned(), stage["tree"].to_string());
        }
        if let [root] = target.roots.as_slice() {
            layers.insert(root.clone(), manifest["layers"].to_string());
        }
    }
    // Some stages are of no image.
    let tree = |stage: &Option<String>| trees.get(stage.as_ref()?).cloned();
    let parents: BTreeMap<_, _> = project.stages.iter().map(|stage| (&stage.name, &stage.parent)).collect();
    // All trees below, not only the next one: steps that are swapped, or one less whose files another writes, too, make the
    // same tree of other layers, and a program can tell these by the order of the names in a directory.
    let below = |stage: &Option<String>| {
        let chain = std::iter::successors(stage.as_ref(), |stage| parents.get(stage)?.as_ref());
        chain.map(|stage| trees.get(stage)).collect::<Vec<_>>()
    };
    let stages = project.stages.iter().map(|stage| {
        (
            stage.name.clone(),
            format!("{}\non {:?}\nfrom {:?}", stage.own, below(&stage.parent), tree(&stage.from)),
        )
    });
    let images = project.targets.iter().map(|target| {
        let roots: Vec<_> = target.roots.iter().map(|root| (&trees[root], &layers[root])).collect();
        (target.name.clone(), format!("{}\nof {roots:?}", target.own))
    });
    stages.chain(images).collect()
}
