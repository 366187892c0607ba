//! A look at a PNG, as QEMU makes them: 8 bits for each of three colours, not interlaced.

use std::collections::HashSet;

const SIGNATURE: &[u8] = b"\x89PNG\r\n\x1a\n";
const CHANNELS: usize = 3;

/// How many different colours a picture has.
pub fn colours(png: &[u8]) -> usize {
    let chunks = chunks(png);
    let header = chunks.iter().find(|(kind, _)| kind == b"IHDR").expect("a PNG has a header").1;
    let number = |at: usize| u32::from_be_bytes(header[at..at + 4].try_into().unwrap()) as usize;
    let (width, height) = (number(0), number(4));
    assert_eq!(header[8..], [8, 2, 0, 0, 0], "true colour with 8 bits, not interlaced");
    let packed: Vec<u8> =
        chunks.iter().filter(|(kind, _)| kind == b"IDAT").flat_map(|(_, data)| *data).copied().collect();
    let mut rows = vec![0; height * (1 + width * CHANNELS)];
    let unpacked = libdeflater::Decompressor::new().zlib_decompress(&packed, &mut rows).expect("zlib data");
    assert_eq!(unpacked, rows.len());
    let mut above = vec![0; width * CHANNELS];
    let mut found = HashSet::new();
    for row in rows.chunks_exact_mut(1 + width * CHANNELS) {
        let (filter, row) = row.split_first_mut().unwrap();
        undo_filter(*filter, row, &above);
        found.extend(row.chunks_exact(CHANNELS).map(<[u8]>::to_vec));
        above.copy_from_slice(row);
    }
    found.len()
}

fn chunks(png: &[u8]) -> Vec<([u8; 4], &[u8])> {
    let mut rest = png.strip_prefix(SIGNATURE).expect("the signature of a PNG");
    let mut chunks = Vec::new();
    while let Some((length, after)) = rest.split_first_chunk::<4>() {
        let (kind, after) = after.split_first_chunk::<4>().expect("a chunk has a type");
        let (data, after) = after.split_at(u32::from_be_bytes(*length) as usize);
        chunks.push((*kind, data));
        rest = &after[4..];
    }
    chunks
}

/// Each byte is told by its difference from a guess (PNG, 9.2).
fn undo_filter(filter: u8, row: &mut [u8], above: &[u8]) {
    for at in 0..row.len() {
        let left = if at < CHANNELS { 0 } else { row[at - CHANNELS] };
        let (up, corner) = (above[at], if at < CHANNELS { 0 } else { above[at - CHANNELS] });
        let guess = match filter {
            0 => 0,
            1 => left,
            2 => up,
            3 => u8::midpoint(left, up),
            4 => paeth(left, up, corner),
            other => panic!("there is no filter {other}"),
        };
        row[at] = row[at].wrapping_add(guess);
    }
}

fn paeth(left: u8, up: u8, corner: u8) -> u8 {
    let [a, b, c] = [left, up, corner].map(i32::from);
    let (by_left, by_up, by_corner) = ((b - c).abs(), (a - c).abs(), (a + b - 2 * c).abs());
    if by_left <= by_up && by_left <= by_corner {
        left
    } else if by_up <= by_corner {
        up
    } else {
        corner
    }
}
