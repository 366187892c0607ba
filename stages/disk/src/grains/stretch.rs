//! Makes zlib streams longer without changing what they hold.
//!
//! The file system's own grains lie before the files, and some change with every edit. If their compressed lengths changed, all that
//! comes after them in a VMDK would have another place. So these lengths come in steps, in which a little more or less is the
//! same. What is put into a stream are empty blocks (RFC 1951, 3.2), as every compressor does that is flushed.

use super::GRAIN;

/// Bytes that a grain takes in a VMDK, its head included, are a multiple of this.
const STEP: usize = 4096;
/// Bytes before the compressed ones of a grain in a VMDK.
const HEAD: usize = 12;
/// Bytes before the blocks (RFC 1950).
const ZLIB_HEAD: usize = 2;
/// A stored block of nothing, which begins and ends on a byte.
const STORED: [u8; 5] = [0, 0, 0, 0xff, 0xff];
/// A block of fixed codes with nothing but its end, ten bits, and behind it a stored block of nothing.
const FIXED_AND_STORED: [u8; 6] = [2, 0, 0, 0, 0xff, 0xff];

/// The stream with a length that is a step's. One that would become as long as what it holds stays as it is.
pub fn stretched(zlib: Vec<u8>) -> Vec<u8> {
    let Some(length) = step_of(zlib.len()).filter(|length| *length < GRAIN as usize) else { return zlib };
    let missing = length - zlib.len();
    let mut longer = Vec::with_capacity(length);
    longer.extend_from_slice(&zlib[..ZLIB_HEAD]);
    let sixes = missing % STORED.len();
    (0..sixes).for_each(|_| longer.extend(FIXED_AND_STORED));
    (0..(missing - sixes * FIXED_AND_STORED.len()) / STORED.len()).for_each(|_| longer.extend(STORED));
    longer.extend_from_slice(&zlib[ZLIB_HEAD..]);
    longer
}

/// The length of the next step to which blocks of five and six bytes can fill up; `None` for a stream of nothing.
fn step_of(length: usize) -> Option<usize> {
    let can_fill = |missing: usize| missing >= missing % STORED.len() * FIXED_AND_STORED.len();
    let steps = (1..).map(|step| step * STEP - HEAD).skip_while(|step| *step < length);
    if length == 0 { None } else { steps.take(2).find(|step| can_fill(step - length)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use libdeflater::{CompressionLvl, Compressor, Decompressor};

    fn zlib(bytes: &[u8]) -> Vec<u8> {
        let mut compressor = Compressor::new(CompressionLvl::new(5).unwrap());
        let mut zlib = vec![0; compressor.zlib_compress_bound(bytes.len())];
        let length = compressor.zlib_compress(bytes, &mut zlib).unwrap();
        zlib.truncate(length);
        zlib
    }

    #[test]
    fn a_longer_stream_holds_the_same() {
        let mut random = fastrand::Rng::with_seed(3);
        for used in (0..60_000).step_by(97) {
            let mut grain = vec![0; GRAIN as usize];
            grain[..used].fill_with(|| random.u8(..));
            let (short, long) = (zlib(&grain), stretched(zlib(&grain)));
            assert!(
                long == short && short.len() > 61_000 || (long.len() + HEAD).is_multiple_of(STEP),
                "{used}"
            );
            assert!(long.len() < GRAIN as usize || long == short);
            let mut back = vec![0; GRAIN as usize];
            Decompressor::new().zlib_decompress(&long, &mut back).unwrap();
            assert!(back == grain, "{used}");
        }
    }

    #[test]
    fn every_length_comes_to_a_step_that_is_near() {
        for length in 1..20_000 {
            let step = step_of(length).unwrap();
            assert!(
                (length..length + STEP + 20).contains(&step) && (step + HEAD).is_multiple_of(STEP),
                "{length}"
            );
        }
        assert!(stretched(Vec::new()).is_empty());
    }
}
