//! What a file is, told by how it begins: its name may change, and counts for nothing.

use std::io::{self, Cursor, Read};

use liblzma::stream::{CONCATENATED, Stream};

use crate::error::UnpackError;

/// The size of a header of a tar archive.
pub(crate) const BLOCK: usize = 512;

/// The most memory that the decoder of an xz file may ask for: what `xz -9` needs is 65 MiB.
const XZ_MEMORY: u64 = 256 << 20;

/// Things that people take for archives that can be unpacked, by how they begin.
const OTHERS: [(&[u8], &str); 9] = [
    (b"BZh", "compressed by bzip2"),
    (b"PK\x03\x04", "a zip file"),
    (b"PK\x05\x06", "a zip file"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z file"),
    (b"Rar!", "a rar file"),
    (b"!<arch>\n", "a Debian package or another `ar` archive"),
    (b"\x7fELF", "a program"),
    (b"\x5d\x00\x00", "compressed by lzma"),
    (b"\x04\x22\x4d\x18", "compressed by lz4"),
];

/// The bytes of the tar archive in `file`.
pub(crate) fn tar_in<'a>(file: &'a mut (dyn Read + Send)) -> Result<Box<dyn Read + 'a>, UnpackError> {
    let (head, file) = peek(file)?;
    if is_header(&head) {
        return Ok(Box::new(file));
    }
    let plain: Box<dyn Read> = match head.as_slice() {
        [0x1f, 0x8b, ..] => Box::new(flate2::read::MultiGzDecoder::new(file)),
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => {
            let decoder = Stream::new_stream_decoder(XZ_MEMORY, CONCATENATED);
            let decoder = decoder.map_err(|e| UnpackError::Damaged(e.into()))?;
            Box::new(liblzma::read::XzDecoder::new_stream(file, decoder))
        }
        [0x28, 0xb5, 0x2f, 0xfd, ..] => {
            Box::new(zstd::stream::read::Decoder::new(file).map_err(UnpackError::Damaged)?)
        }
        other => return Err(UnpackError::Format(name_of(other))),
    };
    let (head, plain) = peek(plain)?;
    match head.as_slice() {
        [] => Err(UnpackError::Empty),
        head if is_header(head) => Ok(Box::new(plain)),
        head if is_end(head) => Err(UnpackError::Empty),
        _ => Err(UnpackError::Format("a compressed file of another kind")),
    }
}

fn name_of(head: &[u8]) -> &'static str {
    let known = OTHERS.iter().find(|(magic, _)| head.starts_with(magic)).map(|(_, name)| *name);
    let is_page = head.trim_ascii_start().starts_with(b"<");
    match known {
        Some(known) => known,
        None if head.is_empty() => "an empty file",
        None if is_end(head) => "a file of zeros",
        None if is_page => "a web page or another text in XML",
        None => "a file of another kind",
    }
}

/// The first block of something, and all of it.
fn peek<R: Read>(mut file: R) -> Result<(Vec<u8>, impl Read + use<R>), UnpackError> {
    let mut head = Vec::new();
    (&mut file).take(BLOCK as u64).read_to_end(&mut head).map_err(UnpackError::Damaged)?;
    Ok((head.clone(), Cursor::new(head).chain(file)))
}

fn is_end(head: &[u8]) -> bool {
    head.len() == BLOCK && head.iter().all(|byte| *byte == 0)
}

/// Whether a block has the checksum of a header: the sum of its bytes, with blanks for the sum itself. Old writers summed
/// signed bytes.
fn is_header(block: &[u8]) -> bool {
    if block.len() != BLOCK || is_end(block) {
        return false;
    }
    let field = String::from_utf8_lossy(&block[148..156]);
    let digits = field.trim_matches([' ', '\0']);
    let Ok(expected) = i64::from_str_radix(digits, 8) else { return false };
    let bytes = || block[..148].iter().chain(&block[156..]);
    let blanks = 8 * i64::from(b' ');
    let unsigned: i64 = blanks + bytes().map(|byte| i64::from(*byte)).sum::<i64>();
    let signed: i64 = blanks + bytes().map(|byte| i64::from(*byte as i8)).sum::<i64>();
    expected == unsigned || expected == signed
}

/// Reads the rest of something and throws it away.
pub(crate) fn drain(from: &mut impl Read) -> io::Result<u64> {
    io::copy(from, &mut io::sink())
}
