//! A streamOptimized VMDK with a footer (VMware Virtual Disk Format 1.1), byte for byte.

use libdeflater::Decompressor;

use super::{Broken, rule};

const SECTOR: usize = 512;
const GRAIN: usize = 65536;
const OVERHEAD: usize = 128;

/// The disk in a VMDK that is right.
pub fn check_vmdk(bytes: &[u8]) -> Result<Vec<u8>, Broken> {
    rule(bytes.len().is_multiple_of(SECTOR) && bytes.len() > OVERHEAD * SECTOR, "whole sectors")?;
    header(bytes)?;
    descriptor(bytes)?;
    let capacity = u64_at(bytes, 12) as usize * SECTOR;
    Walk { bytes, at: OVERHEAD * SECTOR, disk: vec![0; capacity], grains: vec![], tables: vec![] }.run()
}

fn header(b: &[u8]) -> Result<(), Broken> {
    rule(&b[..4] == b"KDMV", "magic")?;
    rule(u32_at(b, 4) == 3, "version")?;
    rule(u32_at(b, 8) == 0x30001, "flags")?;
    rule(u64_at(b, 20) == 128, "grain size")?;
    rule((u64_at(b, 28), u64_at(b, 36)) == (1, 20), "place of the descriptor")?;
    rule(u32_at(b, 44) == 512, "entries of a table")?;
    rule((u64_at(b, 48), u64_at(b, 56)) == (0, u64::MAX), "the directory is at the end")?;
    rule(u64_at(b, 64) == OVERHEAD as u64, "overhead")?;
    rule(b[72] == 0 && &b[73..77] == b"\n \r\n", "newlines")?;
    rule(b[77..79] == [1, 0], "compression")?;
    rule(b[79..SECTOR].iter().all(|&byte| byte == 0), "the rest of the header is zero")
}

fn descriptor(b: &[u8]) -> Result<(), Broken> {
    let sectors = &b[SECTOR..21 * SECTOR];
    let end = sectors.iter().position(|&byte| byte == 0).unwrap_or(sectors.len());
    let text = std::str::from_utf8(&sectors[..end]).map_err(|_| "the descriptor is text")?;
    let has = |line: &str| text.lines().any(|there| there == line);
    rule(has("createType=\"streamOptimized\"") && has("parentCID=ffffffff"), "kind of disk")?;
    rule(has(&format!("RW {} SPARSE \"disk.vmdk\"", u64_at(b, 12))), "the extent is the disk")?;
    let reserved = ["CID=ffffffff", "CID=fffffffe"].iter().any(|line| has(line));
    rule(!reserved && text.lines().filter(|line| line.starts_with("CID=")).count() == 1, "content id")?;
    rule(b[SECTOR + end..OVERHEAD * SECTOR].iter().all(|&byte| byte == 0), "zeros before the first grain")
}

struct Walk<'a> {
    bytes: &'a [u8],
    at: usize,
    disk: Vec<u8>,
    /// The place of each grain on the disk and in the file, in sectors.
    grains: Vec<(u64, u32)>,
    /// Where each table is, and its entries.
    tables: Vec<(u32, Vec<u32>)>,
}

impl<'a> Walk<'a> {
    fn sector(&mut self) -> Result<&'a [u8], Broken> {
        let sector = self.bytes.get(self.at..self.at + SECTOR).ok_or("the stream has an end")?;
        self.at += SECTOR;
        Ok(sector)
    }

    fn run(mut self) -> Result<Vec<u8>, Broken> {
        let (mut directory, mut footer) = (None, false);
        loop {
            let at = self.at;
            let sector = self.sector()?;
            let (value, size, kind) = (u64_at(sector, 0), u32_at(sector, 8), u32_at(sector, 12));
            let is_marker = size == 0;
            rule(!is_marker || sector[16..].iter().all(|&byte| byte == 0), "zeros behind a marker")?;
            rule(is_marker || directory.is_none(), "grains come before the directory")?;
            match (size, kind) {
                (1.., _) => self.grain(at, value, size as usize)?,
                (0, 1) => self.table(value)?,
                (0, 2) => directory = Some(self.entries(value)?),
                (0, 3) => {
                    self.footer(value, directory.as_ref().ok_or("the directory comes before the footer")?)?;
                    footer = true;
                }
                (0, 0) => break,
                _ => return Err("known markers"),
            }
        }
        rule(footer, "there is a footer")?;
        rule(self.at == self.bytes.len(), "nothing follows the end of the stream")?;
        Ok(self.disk)
    }

    fn grain(&mut self, at: usize, lba: u64, size: usize) -> Result<(), Broken> {
        let zlib = self.bytes.get(at + 12..at + 12 + size).ok_or("a grain is whole")?;
        let end = (at + 12 + size).next_multiple_of(SECTOR);
        let padding = self.bytes.get(at + 12 + size..end).ok_or("a grain is whole")?;
        rule(padding.iter().all(|&byte| byte == 0), "zeros behind a grain")?;
        self.at = end;
        rule(lba.is_multiple_of(128), "a grain starts at its boundary")?;
        rule(self.grains.last().is_none_or(|&(last, _)| last < lba), "grains ascend")?;
        let place = lba as usize * SECTOR;
        let out = self.disk.get_mut(place..place + GRAIN).ok_or("a grain is on the disk")?;
        let length =
            Decompressor::new().zlib_decompress(zlib, out).map_err(|_| "a grain is a zlib stream")?;
        rule(length == GRAIN, "a grain has 64 KiB")?;
        rule(out.iter().any(|&byte| byte != 0), "no grain is zero")?;
        self.grains.push((lba, (at / SECTOR) as u32));
        Ok(())
    }

    fn entries(&mut self, sectors: u64) -> Result<(u32, Vec<u32>), Broken> {
        let at = (self.at / SECTOR) as u32;
        let mut entries = Vec::new();
        for _ in 0..sectors {
            entries.extend(self.sector()?.chunks(4).map(|entry| u32_at(entry, 0)));
        }
        Ok((at, entries))
    }

    fn table(&mut self, sectors: u64) -> Result<(), Broken> {
        rule(sectors == 4, "a table has four sectors")?;
        let table = self.entries(sectors)?;
        self.tables.push(table);
        Ok(())
    }

    /// Every grain is in its table, every table in the directory, and nothing else is.
    fn footer(&mut self, sectors: u64, (at, directory): &(u32, Vec<u32>)) -> Result<(), Broken> {
        rule(sectors == 1, "a footer has one sector")?;
        let footer = self.sector()?;
        rule(u64_at(footer, 56) == u64::from(*at), "the footer finds the directory")?;
        let same = footer[..56] == self.bytes[..56] && footer[64..] == self.bytes[64..SECTOR];
        rule(same, "the footer is the header")?;
        let mut listed = Vec::new();
        for (index, &at) in directory.iter().enumerate().filter(|(_, at)| **at != 0) {
            let table = self.tables.iter().find(|(sector, _)| *sector == at);
            let (_, table) = table.ok_or("the directory tells where tables are")?;
            let grains = table.iter().enumerate().filter(|(_, sector)| **sector != 0);
            listed.extend(grains.map(|(slot, &sector)| (((index * 512 + slot) * 128) as u64, sector)));
        }
        rule(listed == self.grains, "tables tell where grains are")
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

mod tests {
    use super::super::breaks;
    use super::*;
    use crate::lab::Bench;
    use crate::spec::DiskSpec;
    use ibuild_spec::MIB;

    /// Two grains in the first table, one in the second.
    fn vmdk() -> (Vec<u8>, Vec<u8>) {
        let bench = Bench::new();
        let map = bench.files(64 * MIB, &[(0, b"one"), (MIB, b"two"), (40 * MIB, b"three")]);
        (bench.vmdk(&DiskSpec::new("veil", 64 * MIB, 0), &map), map.bytes())
    }

    /// Where the sectors are: each grain takes one, so that every place is known.
    const FIRST: usize = 128 * 512;
    const SECOND: usize = 129 * 512;
    const TABLE: usize = 130 * 512;
    /// Behind five sectors of the table, the third grain, and five of its table.
    const DIRECTORY: usize = (130 + 5 + 1 + 5) * 512;
    const FOOTER: usize = DIRECTORY + 1024;
    const END: usize = FOOTER + 1024;

    #[test]
    fn what_is_written_is_right() {
        let (bytes, map) = vmdk();
        assert_eq!(bytes.len(), END + 512);
        assert!(check_vmdk(&bytes).unwrap() == map);
    }

    #[test]
    #[allow(clippy::too_many_lines, reason = "a story in its order")]
    fn every_rule_is_looked_at() {
        let check = |name: Broken, mutate: fn(&mut Vec<u8>)| {
            let (mut bytes, _) = vmdk();
            mutate(&mut bytes);
            breaks(check_vmdk(&bytes).map(drop), name);
        };
        check("whole sectors", |b| b.push(0));
        check("magic", |b| b[0] = b'k');
        check("version", |b| b[4] = 1);
        check("flags", |b| b[8] = 3);
        check("grain size", |b| b[20] = 64);
        check("place of the descriptor", |b| b[28] = 2);
        check("entries of a table", |b| b[45] = 1);
        check("the directory is at the end", |b| b[56] = 0);
        check("overhead", |b| b[64] = 0);
        check("newlines", |b| b[75] = b'\n');
        check("compression", |b| b[77] = 0);
        check("the rest of the header is zero", |b| b[511] = 1);
        check("the descriptor is text", |b| b[520] = 0xff);
        check("kind of disk", |b| replace(b, b"streamOptimized", b"monolithicFlat_"));
        check("the extent is the disk", |b| replace(b, b"RW 131072", b"RW 131071"));
        check("content id", |b| replace(b, b"\nCID=", b"\nDID="));
        check("zeros before the first grain", |b| b[FIRST - 1] = 1);
        check("zeros behind a grain", |b| b[SECOND - 1] = 1);
        check("a grain is whole", |b| b[FIRST + 10] = 0xff);
        check("a grain starts at its boundary", |b| b[FIRST] = 1);
        check("grains ascend", |b| b.copy_within(FIRST..FIRST + 8, SECOND));
        check("a grain is on the disk", |b| b[SECOND + 4] = 1);
        check("a grain is a zlib stream", |b| b[FIRST + 20] ^= 0xff);
        check("a grain has 64 KiB", |b| put_grain(b, &[1; 1000]));
        check("no grain is zero", |b| put_grain(b, &[0; 65536]));
        check("zeros behind a marker", |b| b[TABLE + 16] = 1);
        check("a table has four sectors", |b| b[TABLE] = 3);
        check("known markers", |b| b[TABLE + 12] = 9);
        check("tables tell where grains are", |b| b[TABLE + 512] += 1);
        check("the directory tells where tables are", |b| b[DIRECTORY + 512] += 1);
        check("grains come before the directory", |b| {
            b.copy_within(DIRECTORY..DIRECTORY + 1024, FIRST);
        });
        check("the directory comes before the footer", |b| b[DIRECTORY + 12] = 1 + 2);
        check("a footer has one sector", |b| b[FOOTER] = 2);
        check("the footer finds the directory", |b| b[FOOTER + 512 + 56] ^= 1);
        check("the footer is the header", |b| b[FOOTER + 512 + 12] ^= 1);
        check("there is a footer", |b| b[FOOTER + 12] = 0);
        check("the stream has an end", |b| b.truncate(END));
        check("nothing follows the end of the stream", |b| b.extend([0; 512]));
    }

    fn replace(bytes: &mut [u8], from: &[u8], to: &[u8]) {
        let at = bytes.windows(from.len()).position(|there| there == from).expect("it is there");
        bytes[at..at + to.len()].copy_from_slice(to);
    }

    /// Other content for the first grain.
    fn put_grain(bytes: &mut [u8], content: &[u8]) {
        let mut compressor = libdeflater::Compressor::new(libdeflater::CompressionLvl::default());
        let mut zlib = vec![0; compressor.zlib_compress_bound(content.len())];
        let length = compressor.zlib_compress(content, &mut zlib).unwrap();
        bytes[FIRST + 8..FIRST + 12].copy_from_slice(&(length as u32).to_le_bytes());
        bytes[FIRST + 12..SECOND].fill(0);
        bytes[FIRST + 12..FIRST + 12 + length].copy_from_slice(&zlib[..length]);
    }
}
