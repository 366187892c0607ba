//! An OVA: plain ustar, the OVF first, its disks in their order, the manifest last; and everything in it.

use ibuild_cache::Sha256;

use super::ovf::check_ovf;
use super::vmdk::check_vmdk;
use super::{Broken, rule};
use crate::Digested;

const BLOCK: usize = 512;

/// A file of the archive.
struct Member {
    name: String,
    bytes: Vec<u8>,
}

/// The disks in an OVA that is right.
pub fn check_ova(bytes: &[u8], epoch: u64) -> Result<Vec<Vec<u8>>, Broken> {
    let members = members(bytes, epoch)?;
    let [ovf, disks @ .., manifest] = members.as_slice() else { return Err("an OVF, disks and a manifest") };
    let base = ovf.name.strip_suffix(".ovf").ok_or("the OVF is first")?;
    rule(manifest.name == format!("{base}.mf"), "the manifest is last")?;
    check_manifest(manifest, &members[..members.len() - 1])?;
    let text = std::str::from_utf8(&ovf.bytes).map_err(|_| "the OVF is XML")?;
    let told = check_ovf(text)?;
    rule(told.len() == disks.len(), "every disk is told of")?;
    let pairs = told.iter().zip(disks);
    let checked = pairs.map(|(told, disk)| {
        rule(told.href == disk.name, "disks come in the order of the references")?;
        rule(told.size == disk.bytes.len() as u64, "files have the size that is told")?;
        let disk = check_vmdk(&disk.bytes)?;
        rule(told.capacity == disk.len() as u64, "disks have the capacity that is told")?;
        Ok(disk)
    });
    checked.collect()
}

fn members(bytes: &[u8], epoch: u64) -> Result<Vec<Member>, Broken> {
    let mut members = Vec::new();
    let mut at = 0;
    loop {
        let header = bytes.get(at..at + BLOCK).ok_or("two blocks of zeros end the archive")?;
        if header.iter().all(|&byte| byte == 0) {
            rule(bytes[at..] == [0; 2 * BLOCK], "two blocks of zeros end the archive")?;
            return Ok(members);
        }
        let (name, size) = self::header(header, epoch)?;
        at += BLOCK;
        let content = bytes.get(at..at + size).ok_or("files are whole")?;
        members.push(Member { name, bytes: content.to_vec() });
        let end = (at + size).next_multiple_of(BLOCK);
        let padding = bytes.get(at + size..end).ok_or("files are whole")?;
        rule(padding.iter().all(|&byte| byte == 0), "zeros behind a file")?;
        at = end;
    }
}

/// Name and size (POSIX.1-1988, ustar).
fn header(header: &[u8], epoch: u64) -> Result<(String, usize), Broken> {
    rule(&header[257..265] == b"ustar\x0000", "plain ustar")?;
    let octal = |range: std::ops::Range<usize>| {
        let text = std::str::from_utf8(&header[range]).ok()?.trim_matches(['\0', ' ']);
        u64::from_str_radix(text, 8).ok()
    };
    let mut sum = header.to_vec();
    sum[148..156].fill(b' ');
    rule(octal(148..156) == Some(sum.iter().map(|&byte| u64::from(byte)).sum()), "check sum of a header")?;
    // A zero is the same in archives of before ustar; readers take either.
    rule(matches!(header[156], b'0' | 0), "regular files")?;
    rule(octal(100..108) == Some(0o644), "everybody may read")?;
    rule((octal(108..116), octal(116..124)) == (Some(0), Some(0)), "files belong to root")?;
    rule(octal(136..148) == Some(epoch), "files have the time of the epoch")?;
    let name = std::str::from_utf8(&header[..100]).map_err(|_| "plain names")?.trim_end_matches('\0');
    let plain = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
    rule(plain && header[345..500].iter().all(|&byte| byte == 0), "plain names")?;
    Ok((name.to_owned(), octal(124..136).ok_or("files have sizes in octal")? as usize))
}

fn sha256(member: &Member) -> String {
    Digested::<Sha256>::of_bytes(&member.bytes).digest.hex()
}

/// One line for every other file, in their order.
fn check_manifest(manifest: &Member, others: &[Member]) -> Result<(), Broken> {
    let text = std::str::from_utf8(&manifest.bytes).map_err(|_| "lines of the manifest")?;
    rule(text.lines().count() == others.len() && text.ends_with('\n'), "lines of the manifest")?;
    for (line, member) in text.lines().zip(others) {
        let digest =
            line.strip_prefix(&format!("SHA256({})= ", member.name)).ok_or("lines of the manifest")?;
        rule(digest == sha256(member), "digests of the manifest")?;
    }
    Ok(())
}

mod tests {
    use super::super::breaks;
    use super::*;
    use crate::lab::Bench;
    use crate::map::DiskMap;
    use crate::ova::{DiskContent, MachineDisk, write_ova};
    use crate::spec::{Adapter, DiskSpec, Nic, VmSpec};
    use crate::ustar;
    use ibuild_spec::MIB;

    const EPOCH: u64 = 1_767_225_600;

    fn ova() -> Vec<u8> {
        let disks = ["gateway", "workstation"].map(|name| {
            let mut vm = VmSpec::new(2, 1024);
            vm.nics = [Nic::Nat, Nic::Internal("Veil".into()), Nic::None].map(Adapter::from).into();
            let map = DiskMap::of_bytes(100 * MIB, [(3 * MIB, name.as_bytes())]);
            (DiskSpec::new(name, 100 * MIB, EPOCH), vm, map)
        });
        let machine = |(disk, vm, map): &'static (DiskSpec, VmSpec, DiskMap)| MachineDisk {
            disk,
            vm,
            content: DiskContent::Map(map),
        };
        let disks: &'static [(DiskSpec, VmSpec, DiskMap); 2] = Box::leak(Box::new(disks));
        let machines: Vec<_> = disks.iter().map(machine).collect();
        let dir = tempfile::tempdir_in("/var/tmp").unwrap();
        let out = dir.path().join("pair.ova");
        write_ova("pair", EPOCH, &machines, &mut Bench::new().packs(&[]), &out, &|_, _| {}).unwrap();
        std::fs::read(out).unwrap()
    }

    #[test]
    fn what_is_written_is_right() {
        let disks = check_ova(&ova(), EPOCH).unwrap();
        assert!(disks[1][3 << 20..].starts_with(b"workstation") && disks.len() == 2);
    }

    fn change_header(bytes: &mut [u8], at: usize, to: &[u8]) {
        bytes[at..at + to.len()].copy_from_slice(to);
        let start = at / BLOCK * BLOCK;
        bytes[start + 148..start + 156].fill(b' ');
        let sum: u64 = bytes[start..start + BLOCK].iter().map(|&byte| u64::from(byte)).sum();
        bytes[start + 148..start + 156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    }

    #[test]
    fn every_rule_of_the_archive_is_looked_at() {
        let whole = ova();
        let check = |name: Broken, mutate: fn(&mut Vec<u8>)| {
            let mut bytes = whole.clone();
            mutate(&mut bytes);
            breaks(check_ova(&bytes, EPOCH).map(drop), name);
        };
        check("plain ustar", |b| change_header(b, 257, b"ustar  \0"));
        check("check sum of a header", |b| b[0] = b'x');
        check("regular files", |b| change_header(b, 156, b"x"));
        check("everybody may read", |b| change_header(b, 100, b"0000600\0"));
        check("files belong to root", |b| change_header(b, 108, b"0001750\0"));
        check("files have the time of the epoch", |b| change_header(b, 136, b"00000000000"));
        check("plain names", |b| change_header(b, 0, b"./air"));
        check("files have sizes in octal", |b| change_header(b, 124, b"x"));
        check("files are whole", |b| change_header(b, 124, b"7"));
        check("two blocks of zeros end the archive", |b| b.extend([0; 512]));
        check("two blocks of zeros end the archive", |b| b.truncate(b.len() - 512));
        check("zeros behind a file", |b| {
            let end = b.len() - 1024;
            b[end - 1] = 1;
        });
    }

    /// The members, to be put together again after a change.
    fn rebuilt(change: impl FnOnce(&mut Vec<Member>)) -> Vec<u8> {
        let mut all = members(&ova(), EPOCH).unwrap();
        change(&mut all);
        let mut bytes = Vec::new();
        for member in all {
            let size = member.bytes.len() as u64;
            bytes.extend(ustar::header(&member.name, size, EPOCH).unwrap());
            bytes.extend(&member.bytes);
            bytes.extend(ustar::padding(size));
        }
        bytes.extend(ustar::END);
        bytes
    }

    /// The manifest of the others, so that a rule behind it is reached.
    fn seal(all: &mut [Member]) {
        let (manifest, others) = all.split_last_mut().unwrap();
        let line = |it: &Member| format!("SHA256({})= {}\n", it.name, sha256(it));
        manifest.bytes = others.iter().map(line).collect::<String>().into_bytes();
    }

    #[test]
    fn every_rule_about_the_files_is_looked_at() {
        let check = |name: Broken, change: fn(&mut Vec<Member>)| {
            breaks(check_ova(&rebuilt(change), EPOCH).map(drop), name);
        };
        check("an OVF, disks and a manifest", |all| all.truncate(1));
        check("the OVF is first", |all| all.rotate_left(1));
        check("the manifest is last", |all| all.last_mut().unwrap().name = "other.mf".into());
        check("lines of the manifest", |all| all[3].bytes.truncate(10));
        check("lines of the manifest", |all| {
            let text = String::from_utf8(all[3].bytes.clone()).unwrap();
            all[3].bytes = text.replace("SHA256(", "SHA256 (").into_bytes();
        });
        check("digests of the manifest", |all| all[0].bytes.push(b'\n'));
        check("every disk is told of", |all| {
            let again = Member { name: "third.vmdk".into(), bytes: all[1].bytes.clone() };
            all.insert(3, again);
            seal(all);
        });
        check("disks come in the order of the references", |all| {
            all.swap(1, 2);
            seal(all);
        });
        check("files have the size that is told", |all| {
            all[1].bytes.extend([0; 512]);
            seal(all);
        });
        check("nothing follows the end of the stream", |all| {
            all[1].bytes.extend([0; 512]);
            let text = String::from_utf8(all[0].bytes.clone()).unwrap();
            let told = all[1].bytes.len();
            let size = |bytes: usize| format!("ovf:size=\"{bytes}\"");
            all[0].bytes = text.replacen(&size(told - 512), &size(told), 1).into_bytes();
            seal(all);
        });
    }

    #[test]
    #[allow(clippy::too_many_lines, reason = "a story in its order")]
    fn every_rule_about_the_description_is_looked_at() {
        let check_all = |name: Broken, from: &str, to: &str, times: usize| {
            let bytes = rebuilt(|all| {
                let text = String::from_utf8(all[0].bytes.clone()).unwrap();
                assert!(text.contains(from), "{from} is not in {text}");
                all[0].bytes = text.replacen(from, to, times).into_bytes();
                seal(all);
            });
            breaks(check_ova(&bytes, EPOCH).map(drop), name);
        };
        let check = |name: Broken, from: &str, to: &str| check_all(name, from, to, 1);
        let uuid = DiskSpec::new("gateway", 0, 0).medium();
        check("the OVF is XML", "</Envelope>", "</Envelop>");
        check("an envelope of OVF 1.0", "ovf:version=\"1.0\"", "ovf:version=\"2.0\"");
        check("known sections", "<References>", "<Other></Other><References>");
        check("order of sections", "<References>", "<NetworkSection></NetworkSection><References>");
        check("sections begin with Info", "<Info>Virtual disks</Info>", "");
        check("a disk for each file", "<References>", "<References><File/>");
        check("disks name their files", "ovf:fileRef=\"file1\"", "ovf:fileRef=\"file9\"");
        check("units of the capacity", "byte * 2^20", "MegaBytes");
        check("format of the disk", "#streamOptimized", "#");
        check("files have names", "ovf:href=", "ovf:ref=");
        check("files have sizes", "ovf:size=", "ovf:length=");
        check("disks have a capacity", "ovf:capacity=", "ovf:size=");
        check("disks have a UUID", "vbox:uuid=", "vbox:id=");
        check("the kind of guest", "ovf:id=\"96\"", "ovf:id=\"1\"");
        check_all("there is hardware", "VirtualHardwareSection", "OtherSection", usize::MAX);
        check(
            "children of items are in alphabetical order",
            "<rasd:Description>Number of virtual CPUs</rasd:Description>",
            "<rasd:Zone>1</rasd:Zone>",
        );
        check("items have ids", "<rasd:InstanceID>1</rasd:InstanceID>", "");
        check(
            "ids are unique",
            "<rasd:InstanceID>2</rasd:InstanceID>",
            "<rasd:InstanceID>1</rasd:InstanceID>",
        );
        check("parents come before their children", "<rasd:Parent>3<", "<rasd:Parent>9<");
        check("one processor item and one of memory", "<rasd:ResourceType>3<", "<rasd:ResourceType>4<");
        check("VirtualBox knows the controller", "vmware.sata.ahci", "sata");
        check("units of the memory", "<rasd:AllocationUnits>byte * 2^20<", "<rasd:AllocationUnits>GB<");
        check("disk items name their disks", "ovf:/disk/vmdisk1", "ovf:/disk/vmdisk7");
        check("networks are listed", "<Network ovf:name=\"NAT\">", "<Network ovf:name=\"nat\">");
        check_all("VirtualBox has its own section", "vbox:Machine", "vbox:Apparatus", usize::MAX);
        check(
            "others may leave VirtualBox's section out",
            "<vbox:Machine ovf:required=\"false\"",
            "<vbox:Machine ovf:required=\"true\"",
        );
        check("the machine has one name", "name=\"gateway\" OSType", "name=\"other\" OSType");
        check("VirtualBox's image is a disk of the OVF", &format!("<Image uuid=\"{{{uuid}}}\"/>"), "");
        check("internal networks are told to VirtualBox, too", "<InternalNetwork name=\"Veil\"/>", "");
        check("MAC addresses are those of cards", "MACAddress=\"080027", "MACAddress=\"535400");
        let mac = |slot| DiskSpec::new("gateway", 0, 0).identity().mac(slot).plain();
        check("adapters have MAC addresses of their own", &mac(1), &mac(0));
        let machine = |name| DiskSpec::new(name, 0, 0).identity().machine().to_string();
        check("machines have UUIDs of their own", &machine("workstation"), &machine("gateway"));
        check("disks have the capacity that is told", "ovf:capacity=\"100\"", "ovf:capacity=\"101\"");
    }
}
