//! QEMU's command line, as a function of the options and the scratch directory.

use ibuild_spec::hardware::{DiskBus, Firmware};

use super::error::MachineError;
use super::image::{drive, escape};
use super::options::{Accelerator, Cable, MachineNic, MachineOptions, NicModel};
use super::qemu::Ovmf;

/// Name of the monitor's socket in the scratch directory.
pub const MONITOR: &str = "monitor";
/// Name of the copy of UEFI's variables in the scratch directory.
pub const VARS: &str = "vars.fd";

/// The arguments. QEMU's working directory is the scratch directory, so short names mean files there;
/// a socket's path could not be long. `ovmf` is given for UEFI.
pub fn arguments(options: &MachineOptions, ovmf: Option<&Ovmf>) -> Result<Vec<String>, MachineError> {
    let mut args = base(options);
    if let (Firmware::Uefi, Some(ovmf)) = (options.firmware, ovmf) {
        let code = escape(&ovmf.code, options)?;
        args.push("-drive".into());
        args.push(format!("if=pflash,format=raw,readonly=on,file={code}"));
        args.push("-drive".into());
        args.push(format!("if=pflash,format=raw,file={VARS}"));
    }
    args.extend(["-drive".into(), drive(options)?]);
    for device in disk_devices(options.bus) {
        args.extend(["-device".into(), (*device).into()]);
    }
    if let Some(files) = &options.files {
        let file = escape(files, options)?;
        args.extend(["-drive".into(), format!("if=none,id=files,format=raw,readonly=on,file={file}")]);
        args.extend(["-device".into(), "virtio-blk-pci,drive=files,serial=ibuild-files".into()]);
    }
    for (index, nic) in options.nics.iter().enumerate() {
        args.extend(adapter(index, nic, options)?);
    }
    if options.nics.is_empty() {
        args.extend(["-nic".into(), "none".into()]);
    }
    Ok(args)
}

/// No device that is not asked for, no configuration of the user's, no right to start other programs.
fn base(options: &MachineOptions) -> Vec<String> {
    let (accelerator, cpu) = match options.accelerator {
        Accelerator::Tcg => ("tcg", "max"),
        Accelerator::Kvm => ("kvm", "host"),
    };
    let fixed = "-nodefaults -no-user-config -display none -vga std \
        -sandbox on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny \
        -chardev stdio,id=console,signal=off -serial chardev:console -device virtio-rng-pci";
    let mut args: Vec<String> = fixed.split_whitespace().map(String::from).collect();
    args.extend(["-qmp".into(), format!("unix:{MONITOR},server=on,wait=off")]);
    args.extend(["-machine".into(), format!("{},accel={accelerator}", board(options.bus))]);
    args.extend(["-cpu".into(), cpu.into()]);
    args.extend(["-smp".into(), options.cpus.to_string()]);
    args.extend(["-m".into(), options.memory_mib.to_string()]);
    if let Some(uuid) = options.uuid {
        args.extend(["-uuid".into(), uuid.to_string()]);
    }
    args
}

/// AHCI is a part of the newer chipset, and the PIIX one of the older.
fn board(bus: DiskBus) -> &'static str {
    match bus {
        DiskBus::Ide => "pc",
        DiskBus::Sata | DiskBus::Scsi | DiskBus::Nvme | DiskBus::Virtio => "q35",
    }
}

/// The drive `disk` and the controller that it is attached to, which both kinds of firmware can start from. QEMU has no parallel
/// adapter of LSI Logic's, and Linux finds no disk behind its serial one, so virtio's takes its place.
fn disk_devices(bus: DiskBus) -> &'static [&'static str] {
    match bus {
        DiskBus::Sata | DiskBus::Ide => &["ide-hd,bus=ide.0,drive=disk,bootindex=0"],
        DiskBus::Scsi => &["virtio-scsi-pci,id=scsi", "scsi-hd,bus=scsi.0,drive=disk,bootindex=0"],
        DiskBus::Nvme => &["nvme,drive=disk,serial=ibuild,bootindex=0"],
        DiskBus::Virtio => &["virtio-blk-pci,drive=disk,bootindex=0"],
    }
}

fn adapter(index: usize, nic: &MachineNic, options: &MachineOptions) -> Result<Vec<String>, MachineError> {
    let cable = match &nic.cable {
        Cable::Unplugged => format!("hubport,id=net{index},hubid={index}"),
        Cable::Restricted => format!("user,id=net{index},restrict=on"),
        Cable::Listen(path) => stream(index, "on", &escape(path, options)?),
        Cable::Connect(path) => stream(index, "off", &escape(path, options)?),
    };
    let model = match nic.model {
        NicModel::Virtio => "virtio-net-pci",
        NicModel::E1000 => "e1000",
    };
    // Without a ROM the adapter cannot be booted from, which would only cost time.
    let device = format!("{model},netdev=net{index},mac={},romfile=", nic.mac);
    let mut args = vec!["-netdev".into(), cable, "-device".into(), device];
    // What the machine sends is what the cable's near end receives.
    let dumps = [("dump", "all", &nic.capture), ("sent", "rx", &nic.sent)];
    for (id, queue, file) in
        dumps.into_iter().filter_map(|(id, queue, file)| Some((id, queue, file.as_ref()?)))
    {
        let file = escape(file, options)?;
        args.push("-object".into());
        args.push(format!("filter-dump,id={id}{index},netdev=net{index},queue={queue},file={file}"));
    }
    Ok(args)
}

fn stream(index: usize, server: &str, path: &str) -> String {
    format!("stream,id=net{index},server={server},addr.type=unix,addr.path={path}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use ibuild_disk::Identity;
    use ibuild_spec::Format;

    fn line(change: impl FnOnce(&mut MachineOptions)) -> String {
        let image = tempfile::NamedTempFile::new().unwrap();
        let mut options = MachineOptions::new(image.path(), Format::Raw, "/tmp");
        options.accelerator = Accelerator::Tcg;
        change(&mut options);
        let ovmf = Ovmf { code: "/fw/code,1.fd".into(), vars: "/fw/vars.fd".into() };
        arguments(&options, Some(&ovmf)).unwrap().join(" ")
    }

    #[test]
    fn by_default_there_is_no_network_and_no_host() {
        let line = line(|_| {});
        for needle in ["-nodefaults", "-nic none", "snapshot=on", "q35,accel=tcg", "-cpu max", "bus=ide.0"] {
            assert!(line.contains(needle), "{needle} is not in {line}");
        }
        assert!(!line.contains("netdev") && !line.contains("pflash"), "{line}");
    }

    #[test]
    fn a_uuid_is_told_where_there_is_one() {
        assert!(!line(|_| {}).contains("-uuid"));
        let uuid = "26ada0c0-1165-4098-884d-aafd2220c2c6";
        let line = line(|options| options.uuid = uuid.parse().ok());
        assert!(line.contains(&format!("-uuid {uuid}")), "{line}");
    }

    #[test]
    fn uefi_brings_its_firmware() {
        let line = line(|options| options.firmware = Firmware::Uefi);
        assert!(line.contains("readonly=on,file=/fw/code,,1.fd"), "{line}");
        assert!(line.contains("if=pflash,format=raw,file=vars.fd"), "{line}");
    }

    #[test]
    fn a_disk_is_where_it_is_said_to_be() {
        let check = |bus: DiskBus, board: &str, device: &str| {
            let line = line(|options| options.bus = bus);
            assert!(line.contains(&format!("-machine {board},")), "{line}");
            assert!(line.contains(device) && line.matches("drive=disk").count() == 1, "{line}");
        };
        check(DiskBus::Sata, "q35", "-device ide-hd,");
        check(DiskBus::Ide, "pc", "-device ide-hd,");
        check(DiskBus::Scsi, "q35", "-device virtio-scsi-pci,id=scsi -device scsi-hd,bus=scsi.0,");
        check(DiskBus::Nvme, "q35", "-device nvme,");
        check(DiskBus::Virtio, "q35", "-device virtio-blk-pci,");
    }

    #[test]
    fn cables_go_where_they_are_told() {
        let line = line(|options| {
            let cables = [
                Cable::Unplugged,
                Cable::Restricted,
                Cable::Listen("/run/cable".into()),
                Cable::Connect("/run/cable".into()),
            ];
            options.nics = cables
                .into_iter()
                .enumerate()
                .map(|(slot, cable)| MachineNic {
                    model: if slot == 0 { NicModel::E1000 } else { NicModel::Virtio },
                    mac: Identity::of("gw").mac(slot),
                    cable,
                    capture: (slot == 1).then(|| "/tmp/eth1.pcap".into()),
                    sent: (slot == 2).then(|| "/tmp/sent.pcap".into()),
                })
                .collect();
        });
        for needle in [
            "hubport,id=net0,hubid=0",
            "-device e1000,netdev=net0,mac=08:00:27:",
            "user,id=net1,restrict=on",
            "filter-dump,id=dump1,netdev=net1,queue=all,file=/tmp/eth1.pcap",
            "filter-dump,id=sent2,netdev=net2,queue=rx,file=/tmp/sent.pcap",
            "stream,id=net2,server=on,addr.type=unix,addr.path=/run/cable",
            "stream,id=net3,server=off,addr.type=unix,addr.path=/run/cable",
        ] {
            assert!(line.contains(needle), "{needle} is not in {line}");
        }
        assert!(!line.contains("-nic none"));
    }
}
