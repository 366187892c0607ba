//! How indices and the members of a .deb are compressed, told by the end of their names.

use std::io::{self, Cursor, Read};

/// A form of compression.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// As it is.
    None,
    /// `.gz`
    Gzip,
    /// `.xz`
    Xz,
    /// `.zst`
    Zstd,
}

impl Compression {
    const ALL: [Self; 4] = [Self::Gzip, Self::Xz, Self::Zstd, Self::None];

    /// What a name ends in.
    pub const fn suffix(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Gzip => ".gz",
            Self::Xz => ".xz",
            Self::Zstd => ".zst",
        }
    }

    /// The form that a file name tells.
    pub fn of(name: &str) -> Self {
        Self::ALL.into_iter().find(|form| name.ends_with(form.suffix())).expect("the last suffix is empty")
    }

    /// The plain bytes of `compressed`.
    pub fn reader<'a>(self, compressed: impl Read + Send + 'a) -> io::Result<Box<dyn Read + Send + 'a>> {
        Ok(match self {
            Self::None => Box::new(compressed),
            Self::Gzip => Box::new(Cursor::new(gunzip(compressed)?)),
            Self::Xz => Box::new(liblzma::read::XzDecoder::new_multi_decoder(compressed)),
            Self::Zstd => Box::new(zstd::stream::read::Decoder::new(compressed)?),
        })
    }
}

/// Whole, because gzip is rare in today's archives: only third-party packages and old ones have it.
fn gunzip(mut compressed: impl Read) -> io::Result<Vec<u8>> {
    /// A .deb is smaller than this; a damaged length must not ask for all memory.
    const LIMIT: usize = 2 << 30;
    let mut bytes = Vec::new();
    compressed.read_to_end(&mut bytes)?;
    let mut size = bytes.last_chunk().map_or(0, |end| u32::from_le_bytes(*end) as usize);
    while size <= LIMIT {
        let mut plain = vec![0; size];
        match libdeflater::Decompressor::new().gzip_decompress(&bytes, &mut plain) {
            Ok(length) => {
                plain.truncate(length);
                return Ok(plain);
            }
            Err(libdeflater::DecompressionError::InsufficientSpace) => size = size.max(1 << 16) * 2,
            Err(libdeflater::DecompressionError::BadData) => break,
        }
    }
    Err(io::Error::new(io::ErrorKind::InvalidData, "the gzip data is damaged"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(form: Compression, compressed: &[u8]) {
        let mut plain = String::new();
        form.reader(compressed).unwrap().read_to_string(&mut plain).unwrap();
        assert_eq!(plain, "hello hello hello", "{form:?}");
        let damaged = &compressed[..compressed.len() / 2];
        let read = form.reader(damaged).and_then(|mut reader| reader.read_to_end(&mut Vec::new()));
        assert!(form == Compression::None || read.is_err(), "{form:?}");
    }

    #[test]
    fn every_form() {
        let plain = b"hello hello hello";
        check(Compression::None, plain);
        check(Compression::Zstd, &zstd::encode_all(&plain[..], 3).unwrap());
        let mut xz = Vec::new();
        liblzma::read::XzEncoder::new(&plain[..], 6).read_to_end(&mut xz).unwrap();
        check(Compression::Xz, &xz);
        let mut gzip = vec![0; 100];
        let mut encoder = libdeflater::Compressor::new(libdeflater::CompressionLvl::default());
        let length = encoder.gzip_compress(plain, &mut gzip).unwrap();
        check(Compression::Gzip, &gzip[..length]);
    }

    #[test]
    fn names() {
        assert_eq!(Compression::of("data.tar.zst"), Compression::Zstd);
        assert_eq!(Compression::of("Packages.xz"), Compression::Xz);
        assert_eq!(Compression::of("Packages"), Compression::None);
    }
}
