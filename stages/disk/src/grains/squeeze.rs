//! Grains as deflate streams.

use libdeflater::{CompressionLvl, Compressor};

/// Deflate level, also told in [`CODEC`](super::CODEC): with it no image is larger than qemu-img's. 5 is 0.6 % larger, which is
/// too much for large ones, and takes a fifth less time.
const LEVEL: i32 = 6;

/// The level for bytes of which all values are as frequent as in noise, because they are compressed already: kernel modules,
/// initial RAM disks, documentation. They are stored: hello, of which they are a fifth, takes a quarter more time with the level
/// above. What is less even than by a hundredth is not noise: of 4 GB it saves 0.4 % to look into that.
const LEVEL_OF_NOISE: i32 = 0;

/// Compresses grain after grain.
pub struct Squeezer {
    usual: Compressor,
    noise: Compressor,
    buffer: Vec<u8>,
}

impl Squeezer {
    /// Ready for the first.
    pub fn new() -> Self {
        let level = |level| CompressionLvl::new(level).expect("the level is a constant that libdeflate has");
        let (usual, noise) = (Compressor::new(level(LEVEL)), Compressor::new(level(LEVEL_OF_NOISE)));
        Self { usual, noise, buffer: Vec::new() }
    }

    /// A zlib stream (RFC 1950), little longer than `bytes` at most.
    pub fn squeeze(&mut self, bytes: &[u8]) -> Vec<u8> {
        let compressor = if is_even(bytes) { &mut self.noise } else { &mut self.usual };
        self.buffer.resize(compressor.zlib_compress_bound(bytes.len()), 0);
        let length =
            compressor.zlib_compress(bytes, &mut self.buffer).expect("the buffer has the bound's size");
        self.buffer[..length].to_vec()
    }
}

/// Whether all values of a byte are about as frequent. In whole numbers, which are the same on all machines: the sum of the
/// squares of frequencies is least where all are equal, and noise has a little more than that.
fn is_even(bytes: &[u8]) -> bool {
    let mut counts = [[0u64; 256]; 4];
    let mut words = bytes.chunks_exact(4);
    for word in &mut words {
        word.iter().zip(&mut counts).for_each(|(byte, counts)| counts[usize::from(*byte)] += 1);
    }
    words.remainder().iter().for_each(|byte| counts[0][usize::from(*byte)] += 1);
    let count = |value: usize| counts.iter().map(|counts| counts[value]).sum::<u64>();
    let squares: u64 = (0..256).map(|value| count(value).pow(2)).sum();
    let length = bytes.len() as u64;
    squares * 256 * 100 < length * length * 101
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(length: usize) -> Vec<u8> {
        let mut random = fastrand::Rng::with_seed(1);
        (0..length).map(|_| random.u8(..)).collect()
    }

    #[test]
    fn noise_is_told_from_what_can_be_compressed() {
        let (noise, zeros) = (noise(65_536), vec![0; 65_536]);
        assert!(is_even(&noise));
        for other in [b"some text ".repeat(6553), zeros, [&noise[..50_000], &[0; 15_536]].concat()] {
            assert!(!is_even(&other));
        }
    }

    #[test]
    fn what_is_squeezed_comes_back() {
        let mut squeezer = Squeezer::new();
        let noise = noise(65_536);
        for bytes in [noise.clone(), b"text ".repeat(13_107), [&noise[..30_000], &noise[..30_000]].concat()] {
            let zlib = squeezer.squeeze(&bytes);
            let mut back = vec![0; bytes.len()];
            let length = libdeflater::Decompressor::new().zlib_decompress(&zlib, &mut back).unwrap();
            assert!(back[..length] == bytes);
            assert_eq!(squeezer.squeeze(&bytes), zlib);
        }
        assert!(squeezer.squeeze(&noise).len() < noise.len() + 30);
        assert!(squeezer.squeeze(&b"text ".repeat(13_107)).len() < 1000);
    }
}
