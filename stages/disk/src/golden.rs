//! Pins the bytes of every format and of every part of a disk, with the versions that stand for them in keys.
//!
//! Each input has all that its writer tells apart, and none has what another writer makes: where one changes, its test alone fails.

use std::io::{self, Cursor, Read};

use super::boot::{BIOS_WRITER, BiosBoot, BootFiles, ESP_WRITER, GRUB_WRITER, GrubPlan, format_esp};
use super::gpt::{GPT_WRITER, Gpt};
use super::grains::Squeezer;
use super::lab::Bench;
use super::pack::ROOTFS_WRITER;
use super::spec::{Adapter, FirmwareSet, Nic, VmSpec};
use super::*;
use ibuild_golden::pin;
use ibuild_spec::Format;
use ibuild_spec::MIB;
use ibuild_spec::hardware::{Audio, BootDevice, Clock, DiskBus, Firmware, Sharing};

const EPOCH: u64 = 1_767_225_600;

const FIRMWARES: [FirmwareSet; 3] = [FirmwareSet::Bios, FirmwareSet::Uefi, FirmwareSet::Both];

/// The same bytes on every machine, in which nothing repeats.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    (0..length).map(|_| next()).collect()
}

/// What compresses well, a little, and not at all.
fn samples() -> [Vec<u8>; 5] {
    let words = (0..9000).map(|n| format!("{} of {n}; ", n * n % 977)).collect::<String>();
    let few: Vec<u8> = noise(3, 65_536).iter().map(|byte| byte % 7).collect();
    [words.into_bytes(), few, noise(4, 65_536), vec![0; 65_536], b"short".to_vec()]
}

fn spec(firmware: FirmwareSet) -> DiskSpec {
    let mut spec = DiskSpec::new("golden", 160 * MIB, EPOCH);
    spec.firmware = firmware;
    spec.cmdline = "quiet  apparmor=1 it.is=here".into();
    spec
}

/// A disk of made-up bytes and of files: text, noise, zeros that are stored, neighbours in a grain, a first and a last byte.
fn map(bench: &Bench) -> DiskMap {
    let [words, few, noise, zeros, short] = samples();
    let files =
        [(80 * MIB, &words[..]), (81 * MIB + 4096, &noise), (90 * MIB, &zeros), (90 * MIB + 65_536, &few)];
    let DiskMap { size, mut pieces, files, .. } = bench.files(160 * MIB, &files);
    for (at, bytes) in [(0, &short), (5 * MIB + 1000, &noise), (32 * MIB - 10, &words), (40 * MIB, &zeros)] {
        pieces.push(Piece { at, origin: Origin::Bytes(bytes.clone()) });
    }
    pieces.push(Piece { at: 160 * MIB - 3, origin: Origin::Bytes(b"end".to_vec()) });
    DiskMap::new(size, pieces, files)
}

/// A machine with other values for everything; with six numbers, each value that there is.
fn machine(number: usize) -> VmSpec {
    fn nth<T: Copy>(words: &[(&str, T)], number: usize) -> T {
        words[number % words.len()].1
    }
    let mut vm = VmSpec::new(1 + number as u32, 512 << number);
    vm.vram_mib = 16 + number as u32;
    vm.firmware = nth(Firmware::WORDS, number);
    vm.disk_bus = nth(DiskBus::WORDS, number);
    vm.audio = nth(Audio::WORDS, number);
    vm.clipboard = nth(Sharing::WORDS, number);
    vm.drag_and_drop = nth(Sharing::WORDS, number + 1);
    vm.clock = nth(Clock::WORDS, number);
    vm.boot_order = (0..=number).map(|n| nth(BootDevice::WORDS, n + number)).take(4).collect();
    let nics = [Nic::Nat, Nic::Internal("a <net> & \"more\"".into()), Nic::None];
    vm.nics =
        nics.map(Adapter::from).into_iter().cycle().skip(number).take(number % 4 + number / 4 * 4).collect();
    if number > 0 {
        let text = |what: &str| Some(format!("{what} {number} <of> \"all\" & 'sundry'\nÄ second line"));
        vm.texts.description = text("description");
        vm.texts.product = text("product");
        vm.texts.product_url = Some("https://example.org/product?a=b&c".into());
        vm.texts.vendor = text("vendor");
        vm.texts.vendor_url = Some("https://example.org/".into());
        vm.texts.version = Some("1.2~rc1".into());
        vm.texts.eula = (number > 2).then(|| "No warranty.\n\nNone.".into());
    }
    vm
}

/// What a format makes of the disk, once for each of these machines.
fn packed(format: Format, machines: &[VmSpec]) -> Vec<u8> {
    let bench = Bench::new();
    let (map, mut packs, out) = (map(&bench), bench.packs(&[]), bench.dir.path().join("out"));
    let disks: Vec<_> = (0..machines.len())
        .map(|n| DiskSpec { name: format!("golden{n}"), ..spec(FirmwareSet::Both) })
        .collect();
    let machine = |(disk, vm)| MachineDisk { disk, vm, content: DiskContent::Map(&map) };
    let machines: Vec<_> = disks.iter().zip(machines).map(machine).collect();
    let source = Source::Machines { name: "golden", epoch: EPOCH, machines: &machines, packs: &mut packs };
    pack(format, source, &out, &|_, _| {}).unwrap();
    std::fs::read(&out).unwrap()
}

#[track_caller]
fn pin_format(constant: &str, format: Format, pinned: (&str, &str)) {
    pin(constant, packer_identity(format), pinned, packed(format, &[machine(0)]));
}

#[test]
fn grains() {
    let mut squeezer = Squeezer::new();
    let grains = samples().map(|sample| {
        let zlib = squeezer.squeeze(&sample[..sample.len().min(GRAIN as usize)]);
        [zlib.clone(), grains::stretched(zlib)].concat()
    });
    pin(
        "CODEC in disk/grains/mod.rs",
        CODEC,
        (
            "zlib 1, libdeflate-sys 1.26.1, level 6, or 0 if even by a hundredth; made up in steps of 4 KiB",
            "18204067e71cfb4c0124c9ff032d45886d56eb08f2c8abfbba7ae9993c654d04",
        ),
        grains.concat(),
    );
}

#[test]
fn partition_tables() {
    let tables = FIRMWARES.map(|firmware| {
        let Gpt { head, tail, tail_offset } = Gpt::new(&spec(firmware));
        [head, tail, tail_offset.to_le_bytes().to_vec()].concat()
    });
    pin(
        "GPT_WRITER in disk/gpt.rs",
        GPT_WRITER,
        ("ibuild-gpt 1", "c5ed9194b368a6fe6ce28ba01310475581b301e02a20c4a5f101a8c70219b729"),
        tables.concat(),
    );
}

#[test]
fn partitions_for_uefi() {
    let made = [1, 512, 70_001].map(|length| format_esp(&noise(5, length), 0xdead_beef).unwrap());
    pin(
        "ESP_WRITER in disk/boot/esp.rs",
        ESP_WRITER,
        ("ibuild-esp 1", "79d9e1a13deae8025ab23195cebdecd4f376246ed2a7a74b654f34a4a8dc0039"),
        made.concat(),
    );
}

fn bios_boot() -> BiosBoot {
    let mut first = noise(6, 512);
    first[510..].copy_from_slice(&[0x55, 0xaa]);
    BiosBoot::new(first, noise(7, 30_000)).unwrap()
}

#[test]
fn code_for_the_bios() {
    let made = [bios_boot().mbr_code(), bios_boot().core()].concat();
    pin(
        "BIOS_WRITER in disk/boot/bios.rs",
        BIOS_WRITER,
        ("ibuild-bios 1", "5ffc5fecaf032725cad96a26f062afb465d93ac6956b957faaf71a25947f59a2"),
        made,
    );
}

#[test]
fn plans_of_grub() {
    let made = FIRMWARES.map(|firmware| {
        let plan = GrubPlan::new(&spec(firmware));
        [plan.script("/memdisk", "/out").into_bytes(), plan.memdisk()].concat()
    });
    pin(
        "GRUB_WRITER in disk/boot/grub.rs",
        GRUB_WRITER,
        ("ibuild-grub 2", "daab9743a6169508f3c05fed57848ca7152925bfa85c9f294326c04cea23cf99"),
        made.concat(),
    );
}

/// Where everything is, whatever it is; and the bytes of a disk without any of it.
#[test]
fn raw_disks() {
    let places = FIRMWARES.map(|firmware| {
        let bios = firmware.contains(Firmware::Bios).then(bios_boot);
        let uefi = firmware.contains(Firmware::Uefi).then(|| noise(8, 30_000));
        let root = DiskMap::of_bytes(160 * MIB, [(64 * MIB, b"root".as_slice())]);
        let map = disk_map(&spec(firmware), &BootFiles { bios, uefi }, root).unwrap();
        map.pieces.iter().map(|piece| format!("{} {}\n", piece.at, piece.length())).collect::<String>()
    });
    let made = [places.concat().into_bytes(), packed(Format::Raw, &[machine(0)])].concat();
    pin(
        "RAW_WRITER in disk/raw.rs",
        packer_identity(Format::Raw),
        ("ibuild-raw 1", "d74ea25320347aff6834f6f2dcbecc6bbe17cc01e976562d3cf1084c031da602"),
        made,
    );
}

#[test]
fn compressed_raw_disks() {
    pin_format(
        "RAW_ZST_WRITER in disk/raw_zst.rs",
        Format::RawZst,
        ("ibuild-raw.zst 1, zstd 1.5.7", "a1d50810ed7215a315c75d5b48ace326dea6e532e3fab6589c37f509d8cf6d2a"),
    );
}

#[test]
fn disks_for_virtualbox() {
    pin_format(
        "VDI_WRITER in disk/vdi.rs",
        Format::Vdi,
        ("ibuild-vdi 1", "3ed326aae83f9863fd5ea87c7cedd97c873c190ae335cb36d76f81f9b9623366"),
    );
}

#[test]
fn disks_for_qemu() {
    pin_format(
        "QCOW2_WRITER in disk/qcow2/mod.rs",
        Format::Qcow2,
        (
            "ibuild-qcow2 1, zlib 1, libdeflate-sys 1.26.1, level 6, or 0 if even by a hundredth; made up in steps of 4 KiB",
            "201bded25e8807ee2eed47ca06089befb221aefaaab52df69f6336a18fbbc35c",
        ),
    );
}

#[test]
fn disks_in_streams() {
    pin_format(
        "VMDK_WRITER in disk/vmdk/mod.rs",
        Format::Vmdk,
        (
            "ibuild-vmdk 2, zlib 1, libdeflate-sys 1.26.1, level 6, or 0 if even by a hundredth; made up in steps of 4 KiB",
            "58c4e169478870542d79297db5c95822e63a3dcf296eb2614302e337fdbbf80f",
        ),
    );
}

/// The descriptions of all kinds of machines, and an archive of some. What a VMDK holds is pinned by itself.
#[test]
fn machines() {
    let machines: Vec<VmSpec> = (0..6).map(machine).collect();
    let disk = spec(FirmwareSet::Both);
    let described = machines.iter().map(|vm| OvfMachine { disk: &disk, vm, vmdk_size: 123_456 });
    let each = described.map(|machine| ovf_text("golden", EPOCH, &[machine])).collect::<String>();
    let archive = packed(Format::Ova, &machines[1..3]);
    let made = [each.into_bytes(), archive].concat();
    pin(
        "OVA_WRITER in disk/ova/mod.rs",
        packer_identity(Format::Ova),
        (
            "ibuild-ova 4, ibuild-vmdk 2, zlib 1, libdeflate-sys 1.26.1, level 6, or 0 if even by a hundredth; made up in steps of 4 KiB",
            "d20089decf407e4d557faa58456d95863c3c943f87e8bb6950c89456ff662850",
        ),
        made,
    );
}

struct Layer(Vec<u8>);

impl LayerSource for Layer {
    fn open(&self) -> io::Result<Box<dyn Read + Send>> {
        Ok(Box::new(Cursor::new(self.0.clone())))
    }

    fn size(&self) -> u64 {
        self.0.len() as u64
    }
}

#[test]
fn images_of_containers() {
    let dir = tempfile::tempdir_in("/var/tmp").unwrap();
    let layers = samples().map(Layer);
    let [words, few, noise, ..] = &layers;
    let layers: [&dyn LayerSource; 4] = [words, few, words, noise];
    let archives = ["amd64", "armhf"].map(|architecture| {
        let image = OciImage { name: "golden", architecture, epoch: EPOCH, layers: &layers };
        let out = dir.path().join(architecture);
        pack(Format::Oci, Source::Layers(image), &out, &|_, _| {}).unwrap();
        std::fs::read(out).unwrap()
    });
    pin(
        "OCI_WRITER in disk/oci.rs",
        packer_identity(Format::Oci),
        ("ibuild-oci 1, zstd 1.5.7", "dca6866cc869288605b1f46b92c06074a36e1ef820a8505b97101c9b240dcdec"),
        archives.concat(),
    );
}

/// What is in the tarball is another writer's.
#[test]
fn archives_of_files() {
    let dir = tempfile::tempdir_in("/var/tmp").unwrap();
    let (tar, out) = (dir.path().join("tar"), dir.path().join("out"));
    std::fs::write(&tar, samples().concat()).unwrap();
    pack(Format::RootfsTarZst, Source::Rootfs { tar: &tar }, &out, &|_, _| {}).unwrap();
    let made = std::fs::read(out).unwrap();
    assert!(packer_identity(Format::RootfsTarZst).starts_with(ROOTFS_WRITER));
    pin(
        "ROOTFS_WRITER in disk/pack.rs",
        packer_identity(Format::RootfsTarZst),
        (
            "ibuild-rootfs.zst 1, ibuild-tar 3, zstd 1.5.7",
            "7bd746fd0bb7b1eb68e149c84f8b0cde79b677fc59291ca7b78257ecefa24623",
        ),
        made,
    );
}

#[test]
fn the_codec_is_of_the_release_that_cargo_took() {
    let lock = include_str!("../../../Cargo.lock");
    let entry = lock.split("[[package]]").find(|entry| entry.contains("name = \"libdeflate-sys\"")).unwrap();
    let release = entry.lines().find_map(|line| line.strip_prefix("version = ")).unwrap().trim_matches('"');
    assert!(CODEC.contains(&format!(" {release},")), "{CODEC}");
    assert!(packer_identity(Format::RawZst).ends_with(zstd::zstd_safe::version_string()));
}
