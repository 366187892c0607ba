//! The hash that orders the entries of large directories: half of MD4 over the name (kernel documentation, "Hash Tree
//! Directories"; the rounds are those of RFC 1320, with eight words of input instead of sixteen).

use uuid::Uuid;

/// Hashes names with the seed of one file system.
#[derive(Debug, Clone, Copy)]
pub struct NameHash {
    seed: [u32; 4],
}

/// Words of a name that are hashed at once.
const WORDS: usize = 8;
/// The kernel keeps the largest hash for the end of a directory.
const END: u32 = 0xffff_fffe;

impl NameHash {
    /// The hash of the file system with this seed.
    pub fn new(seed: Uuid) -> Self {
        let bytes = seed.as_bytes();
        let word = |n: usize| u32::from_le_bytes([bytes[n], bytes[n + 1], bytes[n + 2], bytes[n + 3]]);
        Self { seed: [word(0), word(4), word(8), word(12)] }
    }

    /// The hash of a name, with its lowest bit clear: that one says that a block goes on with the same hash.
    pub fn of(self, name: &[u8]) -> u32 {
        let mut state = self.seed;
        for start in (0..name.len()).step_by(WORDS * 4) {
            mix(&mut state, words(&name[start..]));
        }
        let hash = state[1] & !1;
        if hash == END { END - 2 } else { hash }
    }
}

/// The next 32 bytes of a name, its characters unsigned, as words; what is left over is filled with the length.
fn words(rest: &[u8]) -> [u32; WORDS] {
    let length = rest.len() as u32;
    let padding = (length | (length << 8)) as u16;
    let padding = u32::from(padding) | (u32::from(padding) << 16);
    let mut words = [padding; WORDS];
    for (word, bytes) in words.iter_mut().zip(rest.chunks(4)) {
        *word = bytes.iter().fold(padding, |word, byte| (word << 8).wrapping_add(u32::from(*byte)));
    }
    words
}

fn mix(state: &mut [u32; 4], input: [u32; WORDS]) {
    type Round = (fn(u32, u32, u32) -> u32, u32, [usize; WORDS], [u32; 4]);
    let rounds: [Round; 3] = [
        (|x, y, z| z ^ (x & (y ^ z)), 0, [0, 1, 2, 3, 4, 5, 6, 7], [3, 7, 11, 19]),
        (|x, y, z| (x & y).wrapping_add((x ^ y) & z), 0x5a82_7999, [1, 3, 5, 7, 0, 2, 4, 6], [3, 5, 9, 13]),
        (|x, y, z| x ^ y ^ z, 0x6ed9_eba1, [3, 7, 2, 6, 1, 5, 0, 4], [3, 9, 11, 15]),
    ];
    let mut s = *state;
    for (function, constant, order, shifts) in rounds {
        for (step, word) in order.into_iter().enumerate() {
            // The variables take turns: a, d, c, b.
            let [a, b, c, d] = [0, 1, 2, 3].map(|n| (n + 4 - step % 4) % 4);
            let sum = s[a].wrapping_add(function(s[b], s[c], s[d]));
            s[a] = sum.wrapping_add(input[word]).wrapping_add(constant).rotate_left(shifts[step % 4]);
        }
    }
    for (state, s) in state.iter_mut().zip(s) {
        *state = state.wrapping_add(s);
    }
}
