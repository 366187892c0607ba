//! The bytes of a disk as zstd: one frame for every 4 MiB, so that several threads can make them and any tool can read them.
//!
//! Source of the format: RFC 8878. Frames that follow each other are the frames of one file.

use std::io::Write;

use ibuild_cache::BlobId;

use super::Progress;
use super::chunks::{cut, stream};
use super::digest::{DigestWriter, Digested};
use super::error::DiskError;
use super::map::DiskMap;
use super::spec::DiskSpec;
use ibuild_spec::MIB;

/// Changes when the same disk gives other frames. Belongs into the key, beside the version of zstd.
pub const RAW_ZST_WRITER: &str = "ibuild-raw.zst 1";

/// Bytes of the disk in a frame.
const FRAME: u64 = 4 * MIB;
/// Compresses at the speed of a disk; each further level costs a third more time for a percent.
const LEVEL: i32 = 3;

/// Writes a described disk to `out`. The bytes are a function of the map.
pub fn write_raw_zst(
    spec: &DiskSpec,
    map: &DiskMap,
    out: impl Write + Send,
    progress: Progress<'_>,
) -> Result<Digested<BlobId>, DiskError> {
    let write = |source| DiskError::Write { what: format!("the disk of `{}`", spec.name), source };
    let mut out = DigestWriter::new(out);
    // Most of a disk is nothing, and all of that looks the same.
    let nothing = frame(&vec![0; FRAME as usize])?;
    let mut next = 0;
    let chunks = cut(map, FRAME);
    let full = map.size / FRAME;
    stream(map, &chunks, FRAME, frame, |chunk, frame| {
        for _ in next..chunk.number {
            out.write_all(&nothing).map_err(write)?;
        }
        next = chunk.number + 1;
        progress(next * FRAME, map.size);
        out.write_all(&frame).map_err(write)
    })?;
    for _ in next..full {
        out.write_all(&nothing).map_err(write)?;
    }
    if next <= full && !map.size.is_multiple_of(FRAME) {
        out.write_all(&frame(&vec![0; (map.size % FRAME) as usize])?).map_err(write)?;
    }
    Ok(out.finish().map_err(write)?.1)
}

/// A frame that tells its length and has a check sum.
fn frame(bytes: &[u8]) -> Result<Vec<u8>, DiskError> {
    let compress = || {
        let mut compressor = zstd::bulk::Compressor::new(LEVEL)?;
        compressor.include_checksum(true)?;
        compressor.include_contentsize(true)?;
        compressor.compress(bytes)
    };
    compress().map_err(|source| DiskError::Write { what: "a zstd frame".into(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn comes_back(map: &DiskMap) -> usize {
        let spec = DiskSpec::new("veil", map.size, 0);
        let mut bytes = Vec::new();
        let digested = write_raw_zst(&spec, map, &mut bytes, &|_, _| {}).unwrap();
        assert_eq!(digested, Digested::of_bytes(&bytes));
        assert!(zstd::decode_all(&bytes[..]).unwrap() == map.bytes());
        bytes.len()
    }

    #[test]
    fn the_disk_comes_back() {
        let text = b"some text ".repeat(1_000_000);
        comes_back(&DiskMap::of_bytes(101 * MIB, [(3 * MIB, &text[..]), (101 * MIB - 3, b"end")]));
        comes_back(&DiskMap::of_bytes(100 * MIB, [(100 * MIB - 3, b"end".as_slice())]));
        comes_back(&DiskMap::of_bytes(98 * MIB, [(97 * MIB, b"in the short frame".as_slice())]));
        comes_back(&DiskMap::of_bytes(98 * MIB, [(50 * MIB, b"before the short frame".as_slice())]));
    }

    #[test]
    fn nothing_takes_nearly_nothing() {
        assert!(comes_back(&DiskMap::of_bytes(202 * MIB, [])) < 20_000);
    }

    #[test]
    fn the_tool_reads_it() {
        let map = DiskMap::of_bytes(10 * MIB, [(5 * MIB, b"content".as_slice())]);
        let mut bytes = Vec::new();
        write_raw_zst(&DiskSpec::new("veil", map.size, 0), &map, &mut bytes, &|_, _| {}).unwrap();
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        let output = std::process::Command::new("zstd").arg("-dc").arg(file.path()).output();
        assert!(output.expect("these tests need `zstd`").stdout == map.bytes());
    }
}
