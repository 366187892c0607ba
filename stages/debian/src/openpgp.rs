//! The outside of OpenPGP's files: armour and packets, as far as a reader has to know them who leaves all else to gpgv.

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

/// The contents of all armoured blocks between two lines (RFC 9580, section 6). Their checksums are not looked at: they are optional, and signatures say more.
pub(crate) fn dearmoured(text: &str, begin: &str, end: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut lines = text.lines().map(str::trim);
    while lines.any(|line| line == begin) {
        let block: Vec<&str> = lines.by_ref().take_while(|line| *line != end).collect();
        // Headers, if there are any, end with an empty line.
        let body = block.iter().position(|line| line.is_empty()).map_or(&block[..], |empty| &block[empty..]);
        let data: String = body.iter().filter(|line| !line.starts_with('=')).copied().collect();
        bytes.extend(BASE64.decode(data).ok()?);
    }
    Some(bytes)
}

/// As lenient as gpg about the end of a block: its padding may be missing, and the last bits may be any.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// The kind of the first packet (RFC 9580, section 4.2), the length of its body, and that of its header. Keys and signatures
/// have no bodies of unknown length.
pub(crate) fn packet(bytes: &[u8]) -> Option<(u8, usize, usize)> {
    let number = |range: std::ops::Range<usize>| {
        let bytes = bytes.get(range)?;
        Some(bytes.iter().fold(0, |number, byte| (number << 8) | usize::from(*byte)))
    };
    let first = *bytes.first()?;
    match first {
        0xc0.. => {
            let kind = first & 0x3f;
            match number(1..2)? {
                short @ 0..192 => Some((kind, short, 2)),
                192..224 => Some((kind, number(1..3)? - (192 << 8) + 192, 3)),
                255 => Some((kind, number(2..6)?, 6)),
                _ => None,
            }
        }
        0x80.. => {
            let size = match first & 3 {
                0 => 1,
                1 => 2,
                2 => 4,
                _ => return None,
            };
            Some(((first >> 2) & 0xf, number(1..1 + size)?, 1 + size))
        }
        _ => None,
    }
}
