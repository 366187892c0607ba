//! How a machine is to be run, as plain data.

use std::fs::File;
use std::path::{Path, PathBuf};

use ibuild_spec::hardware::{DiskBus, Firmware};
use ibuild_spec::{Format, Mac};
use uuid::Uuid;

/// A machine to be run.
#[derive(Debug, Clone)]
pub struct MachineOptions {
    /// The image. It is only read.
    pub image: PathBuf,
    /// Its format: anything but a root file system.
    pub format: Format,
    /// Which machine of an OVA, by name; without one its first.
    pub member: Option<String>,
    /// The UUID that its firmware tells its system; of none QEMU tells zero.
    pub uuid: Option<Uuid>,
    /// What starts it.
    pub firmware: Firmware,
    /// What its disk is attached to.
    pub bus: DiskBus,
    /// Number of virtual CPUs.
    pub cpus: u32,
    /// Memory in MiB.
    pub memory_mib: u32,
    /// Its network adapters, in order. None by default.
    pub nics: Vec<MachineNic>,
    /// A file that the machine sees as a second disk, read-only, called `/dev/disk/by-id/virtio-ibuild-files`.
    pub files: Option<PathBuf>,
    /// What executes its instructions.
    pub accelerator: Accelerator,
    /// An existing directory for what the machine writes; gone when it is.
    pub scratch: PathBuf,
}

impl MachineOptions {
    /// A BIOS machine with a SATA disk, two CPUs, 1 GiB of memory, no network, and the host's best accelerator.
    pub fn new(image: impl Into<PathBuf>, format: Format, scratch: impl Into<PathBuf>) -> Self {
        MachineOptions {
            image: image.into(),
            format,
            member: None,
            uuid: None,
            firmware: Firmware::Bios,
            bus: DiskBus::Sata,
            cpus: 2,
            memory_mib: 1024,
            nics: Vec::new(),
            files: None,
            accelerator: Accelerator::of_host(),
            scratch: scratch.into(),
        }
    }
}

/// What executes a machine's instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accelerator {
    /// QEMU's own translator: slow, works everywhere.
    Tcg,
    /// The host's processor.
    Kvm,
}

impl Accelerator {
    /// KVM where it can be used. A kernel with `kvm_pvm` has the device but no processor behind it that
    /// could run an ordinary guest.
    pub fn of_host() -> Accelerator {
        let device = File::options().read(true).write(true).open("/dev/kvm");
        match device {
            Ok(_) if !Path::new("/sys/module/kvm_pvm").exists() => Accelerator::Kvm,
            _ => Accelerator::Tcg,
        }
    }
}

/// A network adapter.
#[derive(Debug, Clone)]
pub struct MachineNic {
    /// Its kind.
    pub model: NicModel,
    /// Its address.
    pub mac: Mac,
    /// Where its cable goes.
    pub cable: Cable,
    /// Every packet on the cable is recorded in this file (pcap). An absolute path.
    pub capture: Option<PathBuf>,
    /// Every packet that the machine itself sends is recorded in this file (pcap). An absolute path.
    pub sent: Option<PathBuf>,
}

/// The kind of a network adapter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NicModel {
    /// virtio: every Debian kernel knows it.
    Virtio,
    /// Intel 82540EM, VirtualBox's default. Debian's `cloud` kernels lack it.
    E1000,
}

/// Where a network cable goes. Never to the host's network. Paths are absolute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cable {
    /// Nowhere: the link is up, nobody answers.
    Unplugged,
    /// A network of its own with addresses and a gateway (10.0.2.2), but nothing beyond it.
    Restricted,
    /// To another machine: this one waits at the socket with this path, and starts first.
    Listen(PathBuf),
    /// To the machine that waits at this socket.
    Connect(PathBuf),
}
