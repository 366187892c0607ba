//! The container and its text: order, digests, what must be said, and that two runs agree.

use std::fs::File;
use std::io::Read;
use std::path::PathBuf;
use std::process::Command;

use ibuild_cache::{BlobId, Cancel};

use super::*;
use crate::Digested;
use crate::check::check_ova;
use crate::lab::{Bench, bytes_of};
use crate::spec::{Adapter, Nic};
use ibuild_spec::MIB;
use ibuild_spec::hardware::{Audio, BootDevice, Clock, DiskBus, Firmware, Sharing};

const EPOCH: u64 = 1_767_225_600;

struct Lab {
    dir: tempfile::TempDir,
    bench: Bench,
    disks: Vec<(DiskSpec, VmSpec, DiskMap)>,
}

impl Lab {
    /// A gateway with two adapters and a workstation with one.
    fn new() -> Lab {
        let dir = tempfile::tempdir().unwrap();
        let disks = [
            ("gateway", vec![Nic::Nat, Nic::Internal("Veil".into())]),
            ("workstation", vec![Nic::Internal("Veil".into())]),
        ];
        let disks = disks.map(|(name, nics)| {
            let disk = DiskSpec::new(name, 100 * MIB, EPOCH);
            let mut vm = VmSpec::new(3, 2048);
            vm.nics = nics.into_iter().map(Adapter::from).collect();
            vm.texts.description = Some("routes <all> & everything".into());
            let map = DiskMap::of_bytes(disk.size, [(3 * MIB, name.as_bytes())]);
            (disk, vm, map)
        });
        Lab { dir, bench: Bench::new(), disks: disks.into() }
    }

    fn machines(&self) -> Vec<MachineDisk<'_>> {
        self.disks
            .iter()
            .map(|(disk, vm, map)| MachineDisk { disk, vm, content: DiskContent::Map(map) })
            .collect()
    }

    fn ova(&self, name: &str, machines: &[MachineDisk<'_>]) -> (PathBuf, Digested<BlobId>) {
        let out = self.dir.path().join(format!("{name}.ova"));
        let packs = &mut self.bench.packs(&[]);
        let file = write_ova("veil", EPOCH, machines, packs, &out, &|_, _| {}).unwrap().file;
        (out, file)
    }
}

fn members(ova: &Path) -> Vec<(String, Vec<u8>)> {
    let mut archive = tar::Archive::new(File::open(ova).unwrap());
    let entries = archive.entries().unwrap().map(|entry| {
        let mut entry = entry.unwrap();
        let header = entry.header();
        assert!(header.as_ustar().is_some());
        assert_eq!((header.mode().unwrap(), header.mtime().unwrap()), (0o644, EPOCH));
        assert_eq!((header.uid().unwrap(), header.gid().unwrap()), (0, 0));
        let name = entry.path().unwrap().display().to_string();
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        (name, content)
    });
    entries.collect()
}

fn text_of(machines: &[MachineDisk<'_>]) -> String {
    let machines: Vec<_> =
        machines.iter().map(|m| OvfMachine { disk: m.disk, vm: m.vm, vmdk_size: 4096 }).collect();
    ovf_text("veil", EPOCH, &machines)
}

#[test]
fn members_come_in_order_and_the_manifest_tells_their_digests() {
    let lab = Lab::new();
    let (ova, digested) = lab.ova("pair", &lab.machines());
    let members = members(&ova);
    let names: Vec<&str> = members.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["veil.ovf", "gateway-disk001.vmdk", "workstation-disk001.vmdk", "veil.mf"]);
    let manifest = String::from_utf8(members[3].1.clone()).unwrap();
    let expected: String = [0, 1, 2]
        .map(|index| {
            let (name, content) = &members[index];
            format!("SHA256({name})= {}\n", Digested::<Sha256>::of_bytes(content).digest.hex())
        })
        .concat();
    assert_eq!(manifest, expected);
    assert_eq!(digested, Digested::of_file(&ova, &Cancel::default()).unwrap());
}

#[test]
fn the_strict_reader_takes_any_machines() {
    let mut lab = Lab::new();
    lab.disks[0].1.nics.clear();
    lab.disks[1].1.audio = Audio::Hda;
    lab.disks[1].1.texts.eula = Some("yes".into());
    for machines in [&lab.machines()[..], &lab.machines()[..1], &lab.machines()[1..]] {
        let (ova, _) = lab.ova("any", machines);
        let disks = check_ova(&std::fs::read(ova).unwrap(), EPOCH).unwrap();
        let content = |machine: &MachineDisk<'_>| match machine.content {
            DiskContent::Map(map) => map.bytes(),
            DiskContent::Vmdk(_) => unreachable!("the lab's disks are maps"),
        };
        assert!(disks == machines.iter().map(content).collect::<Vec<_>>());
    }
}

#[test]
fn two_runs_agree_and_leave_nothing_behind() {
    let lab = Lab::new();
    let (a, b) = (lab.ova("a", &lab.machines()), lab.ova("b", &lab.machines()));
    assert_eq!(a.1, b.1);
    assert_eq!(std::fs::read_dir(lab.dir.path()).unwrap().count(), 2);
}

#[test]
fn a_changed_disk_is_another_ova() {
    let mut lab = Lab::new();
    let before = lab.ova("a", &lab.machines()).1;
    lab.disks[0].2 = DiskMap::of_bytes(100 * MIB, [(50 * MIB, b"tampered".as_slice())]);
    assert_ne!(before, lab.ova("b", &lab.machines()).1);
}

#[test]
fn tar_and_qemu_take_it() {
    let lab = Lab::new();
    let (ova, _) = lab.ova("one", &lab.machines()[1..]);
    let list = Command::new("tar").arg("tvf").arg(&ova).env("TZ", "UTC").output().unwrap();
    let list = String::from_utf8(list.stdout).unwrap();
    assert_eq!(list.lines().count(), 3);
    assert!(list.lines().all(|line| line.starts_with("-rw-r--r-- root/root")), "{list}");
    let vmdk = lab.dir.path().join("out.vmdk");
    std::fs::write(&vmdk, &members(&ova)[1].1).unwrap();
    let info = Command::new("qemu-img").args(["info", "--output=json"]).arg(&vmdk).output().unwrap();
    let info: serde_json::Value = serde_json::from_slice(&info.stdout).unwrap();
    assert_eq!(info["format"], "vmdk");
    assert_eq!(info["virtual-size"], 100 * MIB);
    assert_eq!(info["format-specific"]["data"]["create-type"], "streamOptimized");
}

#[test]
fn the_text_says_what_readers_need() {
    let lab = Lab::new();
    let text = text_of(&lab.machines());
    let medium = lab.disks[0].0.medium();
    for needle in [
        "<VirtualSystemCollection ovf:id=\"veil\">",
        "<VirtualSystem ovf:id=\"workstation\">",
        "<File ovf:href=\"gateway-disk001.vmdk\" ovf:id=\"file1\" ovf:size=\"4096\"/>",
        "ovf:capacity=\"100\" ovf:capacityAllocationUnits=\"byte * 2^20\"",
        "vmdk.html#streamOptimized\"",
        &format!("vbox:uuid=\"{medium}\""),
        &format!("<Image uuid=\"{{{medium}}}\"/>"),
        "<Network ovf:name=\"NAT\">",
        "<InternalNetwork name=\"Veil\"/>",
        "<rasd:HostResource>ovf:/disk/vmdisk2</rasd:HostResource>",
        "<Annotation>routes &lt;all&gt; &amp; everything</Annotation>",
        "<vbox:Machine ovf:required=\"false\" version=\"1.19-linux\"",
    ] {
        assert!(text.contains(needle), "{needle} is not in {text}");
    }
    assert_eq!(text.matches("<Network ovf:name=\"Veil\">").count(), 1);
    assert_eq!(text, text_of(&lab.machines()));
}

#[test]
fn one_machine_is_no_collection() {
    let lab = Lab::new();
    let text = text_of(&lab.machines()[..1]);
    assert!(!text.contains("VirtualSystemCollection"));
}

#[test]
fn info_comes_first_and_items_are_in_alphabetical_order() {
    let lab = Lab::new();
    let text = text_of(&lab.machines());
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    for (line, next) in lines.iter().zip(&lines[1..]) {
        if line.contains("Section") && line.starts_with('<') && !line.starts_with("</") {
            assert!(next.starts_with("<Info>"), "{line} is followed by {next}");
        }
        if line.starts_with("<rasd:") && next.starts_with("<rasd:") {
            assert!(line.split('>').next() < next.split('>').next(), "{line} before {next}");
        }
    }
}

#[test]
fn an_isolated_machine_names_no_other_network() {
    let mut lab = Lab::new();
    lab.disks[1].1.nics.push(Nic::None.into());
    let text = text_of(&lab.machines()[1..]);
    assert!(!text.contains("NAT") && !text.to_lowercase().contains("bridged"), "{text}");
    assert_eq!(text.matches("<rasd:Connection>Veil<").count(), 1);
    assert!(text.contains("<Adapter slot=\"1\" enabled=\"true\" MACAddress=\"080027"));
}

#[test]
fn firmware_is_said_where_it_is_not_the_bios() {
    let mut lab = Lab::new();
    assert!(!text_of(&lab.machines()).contains("EFI"));
    lab.disks[0].1.firmware = Firmware::Uefi;
    let text = text_of(&lab.machines()[..1]);
    assert!(text.contains("<Firmware type=\"EFI\"/>") && text.contains("vmw:value=\"efi\""));
}

#[test]
fn machines_of_one_name_are_refused() {
    let mut lab = Lab::new();
    lab.disks[1].0.name = "gateway".into();
    let out = lab.dir.path().join("x.ova");
    let packs = &mut lab.bench.packs(&[]);
    let error = write_ova("veil", EPOCH, &lab.machines(), packs, &out, &|_, _| {}).unwrap_err();
    assert!(error.to_string().contains("same name"), "{error}");
    assert!(!out.exists());
}

/// What stands between two texts, without white space.
fn between<'t>(text: &'t str, start: &str, end: &str) -> &'t str {
    let from = text.find(start).unwrap_or_else(|| panic!("{start} is not in {text}")) + start.len();
    let rest = &text[from..];
    &rest[..rest.find(end).unwrap_or_else(|| panic!("{end} is not in {rest}"))]
}

#[test]
fn hardware_is_said_to_both_kinds_of_readers() {
    let mut lab = Lab::new();
    let vm = &mut lab.disks[1].1;
    (vm.vram_mib, vm.audio, vm.clock) = (128, Audio::Hda, Clock::Local);
    (vm.clipboard, vm.drag_and_drop) = (Sharing::Bidirectional, Sharing::HostToGuest);
    vm.boot_order = vec![BootDevice::Network, BootDevice::Disk];
    vm.disk_bus = DiskBus::Scsi;
    let text = text_of(&lab.machines()[1..]);
    for needle in [
        "<Display controller=\"VMSVGA\" VRAMSize=\"128\"/>",
        "<Order position=\"1\" device=\"Network\"/>",
        "<Order position=\"2\" device=\"HardDisk\"/>",
        "<Order position=\"3\" device=\"None\"/>",
        "<Order position=\"4\" device=\"None\"/>",
        "<AudioAdapter controller=\"HDA\" driver=\"Default\" enabled=\"true\" enabledIn=\"false\"",
        "<Clipboard mode=\"Bidirectional\"/>",
        "<DragAndDrop mode=\"HostToGuest\"/>",
        "<RTC localOrUTC=\"local\"/>",
        "<rasd:ResourceSubType>lsilogic</rasd:ResourceSubType>",
        "<StorageController name=\"SCSI\" type=\"LsiLogic\"",
        "<rasd:ResourceType>35</rasd:ResourceType>",
    ] {
        assert!(text.contains(needle), "{needle} is not in {text}");
    }
    assert!(!text.contains("AHCI") && !text.contains("ahci"), "{text}");
}

#[test]
fn every_bus_is_said_to_both_kinds_of_readers() {
    let check = |bus: DiskBus, subtype: &str, controller: &str| {
        let mut lab = Lab::new();
        lab.disks[1].1.disk_bus = bus;
        let text = text_of(&lab.machines()[1..]);
        assert!(text.contains(&format!("<rasd:ResourceSubType>{subtype}</")), "{text}");
        assert!(text.contains(&format!("type=\"{controller}\" PortCount=")), "{text}");
        let (ova, _) = lab.ova(bus.word(), &lab.machines());
        check_ova(&std::fs::read(ova).unwrap(), EPOCH).unwrap();
    };
    check(DiskBus::Sata, "vmware.sata.ahci", "AHCI");
    check(DiskBus::Ide, "PIIX4", "PIIX4");
    check(DiskBus::Scsi, "lsilogic", "LsiLogic");
    check(DiskBus::Nvme, "vmware.nvme.controller", "NVMe");
    check(DiskBus::Virtio, "VirtioSCSI", "VirtioSCSI");
}

#[test]
fn instance_ids_are_unique_in_each_machine() {
    let mut lab = Lab::new();
    lab.disks[0].1.audio = Audio::Ac97;
    let text = text_of(&lab.machines()[..1]);
    let ids: Vec<&str> = text.split("<rasd:InstanceID>").skip(1).map(|rest| &rest[..1]).collect();
    let unique: std::collections::BTreeSet<_> = ids.iter().collect();
    assert_eq!((ids.len(), unique.len()), (7, 7), "{ids:?}");
}

#[test]
fn texts_come_in_the_order_of_the_schema_and_a_licence_once() {
    let mut lab = Lab::new();
    for (_, vm, _) in &mut lab.disks {
        vm.texts.product = Some("Veil".into());
        vm.texts.vendor_url = Some("https://example.org".into());
        vm.texts.version = Some("1.0".into());
        vm.texts.eula = Some("Free\nfor all".into());
    }
    let text = text_of(&lab.machines());
    let product = between(&text, "<ProductSection>", "</ProductSection>");
    let order: Vec<&str> = product.split('<').filter_map(|tag| tag.split_once('>')).map(|it| it.0).collect();
    let order: Vec<&str> = order.into_iter().filter(|tag| !tag.starts_with('/')).collect();
    assert_eq!(order, ["Info", "Product", "Version", "VendorUrl"]);
    assert_eq!(text.matches("<License>Free&#10;for all</License>").count(), 1);
    lab.disks[1].1.texts.eula = Some("Not free".into());
    assert_eq!(text_of(&lab.machines()).matches("<License>").count(), 2);
}

#[test]
fn disks_of_an_earlier_ova_are_taken_over_whole() {
    let mut lab = Lab::new();
    let (mut packs, out) = (lab.bench.packs(&[]), lab.dir.path().join("first.ova"));
    let packed = write_ova("veil", EPOCH, &lab.machines(), &mut packs, &out, &|_, _| {}).unwrap();
    assert_eq!((packed.disks.len(), packed.compressed), (2, 2));
    let rope = packed.made.unwrap().rope;
    assert!(
        bytes_of(&rope, &packs) == std::fs::read(&out).unwrap(),
        "it is made of what it was written from"
    );
    let found: Vec<FoundVmdk> = packed.disks.iter().map(|kept| FoundVmdk::within(&rope, kept)).collect();
    (lab.disks[0].1.memory_mib, lab.disks[0].1.texts.vendor) = (4096, Some("the same people ".repeat(40)));
    let clean = lab.ova("clean", &lab.machines());
    let mut machines = lab.machines();
    for (machine, vmdk) in machines.iter_mut().zip(&found) {
        machine.content = DiskContent::Vmdk(vmdk);
    }
    let warm = lab.dir.path().join("warm.ova");
    let warm_packed = write_ova("veil", EPOCH, &machines, &mut packs, &warm, &|_, _| {}).unwrap();
    assert_eq!((warm_packed.compressed, warm_packed.new_pack), (0, None));
    assert_eq!(warm_packed.file, clean.1);
    assert_eq!(warm_packed.disks, packed.disks, "more words do not move them");
    assert!(std::fs::read(&warm).unwrap() == std::fs::read(&clean.0).unwrap());
}

#[test]
fn an_identity_that_is_given_is_everywhere() {
    let mut lab = Lab::new();
    let before = text_of(&lab.machines());
    let [of_vm, of_disk] = [1, 2].map(|n| uuid::Uuid::from_u128(n << 64 | 0xabc));
    let machine = &mut lab.disks[0];
    let (disk, vm) = (&mut machine.0, &mut machine.1);
    disk.uuid = Some(of_disk);
    (vm.uuid, vm.name) = (Some(of_vm), Some("Mein Gate & more".to_owned()));
    vm.nics[1].mac = "52:54:00:12:34:ab".parse().ok();
    let text = text_of(&lab.machines());
    for needle in [
        &format!("vbox:uuid=\"{of_disk}\"") as &str,
        &format!("<Image uuid=\"{{{of_disk}}}\"/>"),
        &format!("uuid=\"{{{of_vm}}}\" name=\"Mein Gate &amp; more\""),
        &format!("<Hardware uuid=\"{{{of_vm}}}\">"),
        "<Name>Mein Gate &amp; more</Name>",
        "<rasd:Address>52:54:00:12:34:ab</rasd:Address>",
        "MACAddress=\"5254001234AB\"",
    ] {
        assert!(text.contains(needle) && !before.contains(needle), "{needle} is not in {text}");
    }
    assert!(text.contains("<VirtualSystem ovf:id=\"gateway\">"), "{text}");
    assert_eq!(text.matches("rasd:Address>").count(), before.matches("rasd:Address>").count() + 2);
    let (ova, _) = lab.ova("given", &lab.machines());
    check_ova(&std::fs::read(ova).unwrap(), EPOCH).unwrap();
    // Those of the other machine are what they were.
    let other = |text: &str| text[text.find("<VirtualSystem ovf:id=\"workstation\">").unwrap()..].to_owned();
    assert_eq!(other(&text), other(&before));
}

#[test]
fn extra_data_stand_before_the_hardware() {
    let mut lab = Lab::new();
    assert!(!text_of(&lab.machines()).contains("ExtraData"));
    let extra = [("VBoxInternal2/b", "1"), ("GUI/a", "<\"&'>")];
    lab.disks[1].1.virtualbox_extra = extra.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
    let text = text_of(&lab.machines());
    let (from, to) = (text.find("<ExtraData>").unwrap(), text.find("</ExtraData>").unwrap());
    let lines: Vec<_> = text[from..to].lines().map(str::trim).collect();
    let items = [
        "<ExtraDataItem name=\"GUI/a\" value=\"&lt;&quot;&amp;&apos;&gt;\"/>",
        "<ExtraDataItem name=\"VBoxInternal2/b\" value=\"1\"/>",
    ];
    assert_eq!(lines[1..3], items);
    assert!(text[to..].find("<Hardware").unwrap() < text[to..].find("</vbox:Machine>").unwrap());
    let (ova, _) = lab.ova("extra", &lab.machines());
    check_ova(&std::fs::read(ova).unwrap(), EPOCH).unwrap();
}
