//! A disk in parts of one size, in order: which of them hold anything, and what they hold.

use rayon::prelude::*;

use super::disk_reader::DiskReader;
use super::error::DiskError;
use super::map::DiskMap;

/// A piece of a disk, or a part of one, within a chunk.
#[derive(Debug, Clone, Copy)]
pub struct Part {
    /// Its place in [`DiskMap::pieces`].
    pub piece: usize,
    /// Bytes of the piece that lie before the chunk.
    pub skip: u64,
    /// Its first byte, counted within the chunk.
    pub at: usize,
    /// Its bytes.
    pub length: usize,
}

/// A chunk that is not empty.
#[derive(Debug, Clone)]
pub struct Chunk {
    /// Which of the disk's chunks it is.
    pub number: u64,
    /// What is in it. The rest is zero.
    pub parts: Vec<Part>,
}

/// The chunks of `size` bytes of a disk that have something in them, in order.
pub fn cut(map: &DiskMap, size: u64) -> Vec<Chunk> {
    let mut chunks: Vec<Chunk> = Vec::new();
    for (number, piece) in map.pieces.iter().enumerate() {
        for chunk in piece.at / size..piece.end().div_ceil(size) {
            let (start, end) = ((chunk * size).max(piece.at), ((chunk + 1) * size).min(piece.end()));
            let part = Part {
                piece: number,
                skip: start - piece.at,
                at: (start % size) as usize,
                length: (end - start) as usize,
            };
            match chunks.last_mut() {
                Some(last) if last.number == chunk => last.parts.push(part),
                _ => chunks.push(Chunk { number: chunk, parts: vec![part] }),
            }
        }
    }
    chunks
}

impl Chunk {
    /// Puts the chunk's bytes into `out`, which is as long as a chunk.
    pub fn read(&self, map: &DiskMap, contents: &DiskReader<'_>, out: &mut [u8]) -> Result<(), DiskError> {
        read_parts(&self.parts, map, contents, out)
    }
}

/// Puts the bytes of parts where they belong, and zeros everywhere else.
pub fn read_parts(
    parts: &[Part],
    map: &DiskMap,
    contents: &DiskReader<'_>,
    out: &mut [u8],
) -> Result<(), DiskError> {
    out.fill(0);
    for part in parts {
        contents.read(&map.pieces[part.piece], part.skip, &mut out[part.at..part.at + part.length])?;
    }
    Ok(())
}

/// Chunks that are in memory at once.
const AT_ONCE: usize = 16;

/// Reads chunks of `size` bytes and makes something of each by several threads, some ahead of those that are taken, which
/// happens in order.
pub fn stream<T: Send>(
    map: &DiskMap,
    chunks: &[Chunk],
    size: u64,
    make: impl Fn(&[u8]) -> Result<T, DiskError> + Sync,
    mut take: impl FnMut(&Chunk, T) -> Result<(), DiskError> + Send,
) -> Result<(), DiskError> {
    let contents = DiskReader::of(map);
    let mut ready: Vec<(&Chunk, T)> = Vec::new();
    for wanted in chunks.chunks(AT_ONCE).chain([[].as_slice()]) {
        let made = wanted.par_iter().map_init(Vec::new, |buffer, chunk| {
            buffer.resize((map.size - chunk.number * size).min(size) as usize, 0);
            chunk.read(map, &contents, buffer)?;
            Ok((chunk, make(buffer)?))
        });
        let (taken, next) = rayon::join(
            || ready.drain(..).try_for_each(|(chunk, made)| take(chunk, made)),
            || made.collect::<Result<Vec<_>, DiskError>>(),
        );
        taken?;
        ready = next?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_come_in_order_and_the_last_may_be_short() {
        let map = DiskMap::of_bytes(250, [(5, b"ab".as_slice()), (98, b"cdef"), (249, b"z")]);
        let mut disk = vec![0; 250];
        let mut numbers = Vec::new();
        let take = |chunk: &Chunk, bytes: Vec<u8>| {
            numbers.push((chunk.number, bytes.len()));
            disk[chunk.number as usize * 100..][..bytes.len()].copy_from_slice(&bytes);
            Ok(())
        };
        stream(&map, &cut(&map, 100), 100, |bytes| Ok(bytes.to_vec()), take).unwrap();
        assert_eq!(numbers, [(0, 100), (1, 100), (2, 50)]);
        assert!(disk == map.bytes());
    }

    #[test]
    fn chunks_that_hold_nothing_are_left_out() {
        let map = DiskMap::of_bytes(1 << 40, [(1 << 39, b"x".as_slice())]);
        let numbers: Vec<u64> = cut(&map, 1 << 20).iter().map(|chunk| chunk.number).collect();
        assert_eq!(numbers, [1 << 19]);
    }
}
