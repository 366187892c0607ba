//! Recorded frames: counts them and tells what the first one is.
//!
//! The format is libpcap's classic one, as QEMU's `filter-dump` writes it: a header of 24 bytes, then for each frame 16
//! bytes, of which the third word is its length in the file, in the byte order of the magic number.

use std::fs;
use std::path::Path;

use super::error::TrialError;

const HEADER: usize = 24;
const RECORD: usize = 16;
const MAGIC: u32 = 0xa1b2_c3d4;

/// What a recording has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frames {
    /// How many.
    pub count: usize,
    /// The first one in words.
    pub first: Option<String>,
}

/// Reads a recording. One that is not there has no frames in it: QEMU makes it when it starts.
pub fn read_frames(path: &Path) -> Result<Frames, TrialError> {
    let bytes = fs::read(path).map_err(TrialError::io("read", path))?;
    frames(&bytes).ok_or_else(|| {
        let error = std::io::Error::new(std::io::ErrorKind::InvalidData, "it is no packet capture");
        TrialError::io("read", path)(error)
    })
}

fn frames(bytes: &[u8]) -> Option<Frames> {
    let magic = u32::from_le_bytes(bytes.get(..4)?.try_into().ok()?);
    if magic != MAGIC && magic.swap_bytes() != MAGIC {
        return None;
    }
    let word = |bytes: [u8; 4]| match magic {
        MAGIC => u32::from_le_bytes(bytes),
        _ => u32::from_be_bytes(bytes),
    };
    let mut rest = bytes.get(HEADER..)?;
    let mut found = Frames { count: 0, first: None };
    // A frame that is being written while we read ends the recording.
    while let Some(length) = rest.get(8..12) {
        let length = word(length.try_into().ok()?) as usize;
        let Some(frame) = rest.get(RECORD..).and_then(|rest| rest.get(..length)) else { break };
        found.count += 1;
        found.first.get_or_insert_with(|| describe(frame));
        rest = &rest[RECORD + length..];
    }
    Some(found)
}

/// An Ethernet frame in words: its kind, and whose it is as far as that is known.
fn describe(frame: &[u8]) -> String {
    let address = |at: usize| frame.get(at..at + 4).map(|a| format!("{}.{}.{}.{}", a[0], a[1], a[2], a[3]));
    let kind = frame.get(12..14).map(|kind| u16::from_be_bytes([kind[0], kind[1]]));
    let words = match kind {
        Some(0x0800) => address(26)
            .zip(address(30))
            .zip(frame.get(23))
            .map(|((from, to), protocol)| format!("IPv4 from {from} to {to}, protocol {protocol}")),
        Some(0x0806) => address(28).zip(address(38)).map(|(from, to)| format!("ARP from {from} about {to}")),
        Some(0x86dd) => Some("IPv6".to_owned()),
        Some(kind) => Some(format!("of type {kind:#06x}")),
        None => None,
    };
    words.unwrap_or_else(|| format!("of {} bytes", frame.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn capture(frames: &[&[u8]]) -> Vec<u8> {
        let mut bytes = MAGIC.to_le_bytes().to_vec();
        bytes.resize(HEADER, 0);
        for frame in frames {
            bytes.extend([0; 8]);
            bytes.extend((frame.len() as u32).to_le_bytes());
            bytes.extend((frame.len() as u32).to_le_bytes());
            bytes.extend(*frame);
        }
        bytes
    }

    fn ipv4() -> Vec<u8> {
        let mut frame = vec![0; 34];
        frame[12..14].copy_from_slice(&[8, 0]);
        frame[23] = 6;
        frame[26..34].copy_from_slice(&[10, 0, 2, 15, 192, 0, 2, 1]);
        frame
    }

    #[test]
    fn frames_are_counted_and_the_first_is_described() {
        let read = frames(&capture(&[&ipv4(), &[0; 60]])).unwrap();
        assert_eq!(read.count, 2);
        assert_eq!(read.first.unwrap(), "IPv4 from 10.0.2.15 to 192.0.2.1, protocol 6");
        assert_eq!(frames(&capture(&[])), Some(Frames { count: 0, first: None }));
    }

    #[test]
    fn an_unfinished_frame_is_none_and_a_foreign_file_is_no_recording() {
        let whole = capture(&[&ipv4(), &ipv4()]);
        assert_eq!(frames(&whole[..whole.len() - 1]).unwrap().count, 1);
        assert_eq!(frames(b"not a capture at all, but long enough for one"), None);
    }
}
