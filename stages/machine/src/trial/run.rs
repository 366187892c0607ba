//! A trial, from power on to the verdict.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::error::TrialError;
use super::pcap::read_frames;
use super::running::{Running, Stand, Stands};
use super::{files, wiring};
use crate::{Cable, Machine, MachineNic, MachineOptions, NicModel, Qemu};
use ibuild_disk::Identity;
use ibuild_recipe::{Image, ImageName, MachineName, MachineTest, Plug, Recipe, TestAction};
use ibuild_spec::{Format, MIB};

/// How long a trial may take if the recipe does not say.
const PATIENCE: Duration = Duration::from_secs(600);

/// A finished image.
#[derive(Debug, Clone)]
pub struct TrialImage {
    /// The file. It is only read.
    pub path: PathBuf,
    /// Its format.
    pub format: Format,
}

/// A test of a recipe, ready to be done.
#[derive(Debug, Clone)]
pub struct Trial<'a> {
    /// The recipe that it is of.
    pub recipe: &'a Recipe,
    /// What is to be done.
    pub test: &'a MachineTest,
    /// The images of its machines.
    pub images: BTreeMap<ImageName, TrialImage>,
    /// An existing directory for logs, recordings and pictures. An absolute path.
    pub results: PathBuf,
    /// An existing directory for what is of no use afterwards. An absolute path.
    pub scratch: PathBuf,
}

/// Is told how a trial goes.
pub trait TrialObserver {
    /// A machine shows what it is expected to show before the first step, so long after all were switched on. Consoles are
    /// looked at one after the other, so only the first machine's time is its own.
    fn awake(&mut self, on: &MachineName, after: Duration);
    /// A step begins.
    fn step(&mut self, on: &MachineName, action: &TestAction);
    /// A command has printed a line.
    fn said(&mut self, on: &MachineName, line: &str);
    /// Asked several times a second; false ends the trial.
    fn keep_going(&mut self) -> bool;
}

impl Trial<'_> {
    /// Does it. The machines end with it, whatever happens.
    pub fn run(&self, qemu: &Qemu, observer: &mut dyn TrialObserver) -> Result<(), TrialError> {
        self.check_plugs()?;
        let limit = self.test.timeout.unwrap_or(PATIENCE);
        let tarball = self.tarball()?;
        let stands = self.start(qemu, tarball.as_deref())?;
        let mut running = Running {
            test: self.test,
            stands,
            observer,
            start: Instant::now(),
            limit,
            results: &self.results,
        };
        let done = running.all_steps();
        let pictured = if done.is_err() { running.picture_of_all() } else { Ok(()) };
        drop(running);
        done?;
        pictured?;
        self.check_cables()
    }

    fn image(&self, machine: &MachineName) -> &Image {
        &self.recipe.images[&self.test.machines[machine]]
    }

    fn check_plugs(&self) -> Result<(), TrialError> {
        for plug in self.test.silent.iter().chain(&self.test.heard) {
            let adapters = self.image(&plug.machine).vm.nics.len();
            if plug.slot >= adapters {
                return Err(TrialError::NoSuchPlug { plug: plug.clone(), adapters });
            }
        }
        Ok(())
    }

    fn tarball(&self) -> Result<Option<PathBuf>, TrialError> {
        if self.test.files.is_empty() {
            return Ok(None);
        }
        let path = self.scratch.join("files.tar");
        files::write_tarball(&self.recipe.dir, &self.test.files, &path)?;
        Ok(Some(path))
    }

    /// All machines, in the order of their names: the one that waits at a cable's end comes first.
    fn start(&self, qemu: &Qemu, tarball: Option<&Path>) -> Result<Stands, TrialError> {
        let images = self.test.machines.keys().map(|name| (name.clone(), self.image(name))).collect();
        let cables = wiring::wire(&images, &self.scratch)?;
        let mut stands = Stands::new();
        for name in images.keys() {
            for cable in cables.values() {
                wait_for_socket(cable, &stands);
            }
            let options = self.options(name, &cables, tarball);
            let failed = |source| TrialError::Machine { machine: name.clone(), source };
            let machine = Machine::start(qemu, &options).map_err(failed)?;
            let path = self.results.join(format!("{name}.console"));
            let log = File::create(&path).map_err(TrialError::io("create", &path))?;
            stands.insert(name.clone(), Stand { machine, log });
        }
        Ok(stands)
    }

    fn options(
        &self,
        name: &MachineName,
        cables: &BTreeMap<Plug, Cable>,
        tarball: Option<&Path>,
    ) -> MachineOptions {
        let image = self.image(name);
        let file = &self.images[&image.name];
        let mut options = MachineOptions::new(&file.path, file.format, &self.scratch);
        (options.firmware, options.bus) = (image.firmware(), image.vm.disk_bus);
        options.cpus = image.vm.cpus;
        options.memory_mib = u32::try_from(image.vm.memory.0 / MIB).unwrap_or(u32::MAX);
        options.files = tarball.map(Path::to_owned);
        let identity = Identity::of(name.as_str());
        // Machines of one image would have the same, on one network maybe.
        let is_only = self.test.machines.values().filter(|other| **other == image.name).count() == 1;
        options.uuid = image.vm.uuid.filter(|_| is_only);
        let mac = |slot: usize| image.vm.nics[slot].mac.filter(|_| is_only);
        let nic = |(plug, cable): (&Plug, &Cable)| MachineNic {
            model: NicModel::Virtio,
            mac: mac(plug.slot).unwrap_or_else(|| identity.mac(plug.slot)),
            cable: cable.clone(),
            capture: Some(self.results.join(recording(plug))),
            sent: Some(self.sent(plug)),
        };
        options.nics = cables.iter().filter(|(plug, _)| plug.machine == *name).map(nic).collect();
        options
    }

    fn sent(&self, plug: &Plug) -> PathBuf {
        self.scratch.join(format!("sent-{}", recording(plug)))
    }

    fn check_cables(&self) -> Result<(), TrialError> {
        for plug in &self.test.silent {
            let frames = read_frames(&self.sent(plug))?;
            if let Some(first) = frames.first {
                let capture = self.results.join(recording(plug));
                return Err(TrialError::NotSilent {
                    plug: plug.clone(),
                    frames: frames.count,
                    first,
                    capture,
                });
            }
        }
        for plug in &self.test.heard {
            if read_frames(&self.sent(plug))?.count == 0 {
                return Err(TrialError::NotHeard(plug.clone()));
            }
        }
        Ok(())
    }
}

/// The name of the file with all frames on an adapter's cable.
fn recording(plug: &Plug) -> String {
    format!("{}-{}.pcap", plug.machine, plug.slot)
}

/// A cable's far end can be plugged in when its near end is there. It is, some milliseconds after its machine's start.
fn wait_for_socket(cable: &Cable, started: &Stands) {
    let start = Instant::now();
    if let Cable::Listen(path) = cable {
        while !started.is_empty() && !path.exists() && start.elapsed() < Duration::from_secs(20) {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}
