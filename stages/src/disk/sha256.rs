//! SHA-256 (FIPS 180-4) of a stream and of one member of it, in one pass.
//!
//! An OVA has a digest, and its manifest tells that of each disk in it: the same bytes twice. Where a member begins on a block of the
//! digest, as in a tar, both are digests of the same blocks, and most of the work is the same. Processors with instructions for
//! SHA-256 do the rest of it in the time in which they would wait for the first digest.

use sha2::block_api::compress256;

/// Bytes that are digested together.
const BLOCK: usize = 64;

/// The state of a digest between two blocks.
type State = [u32; 8];

/// What a digest begins with: the fractions of the roots of the first primes.
const START: State =
    [0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19];

/// Digests a stream, and members of it one behind the other.
#[derive(Debug, Clone)]
pub struct MemberSha256 {
    whole: Progress,
    member: Option<Progress>,
    /// The beginning of the next block.
    rest: Vec<u8>,
}

/// A digest on its way.
#[derive(Debug, Clone, Copy)]
struct Progress {
    state: State,
    /// Bytes of whole blocks so far.
    size: u64,
}

impl Progress {
    const START: Self = Self { state: START, size: 0 };

    /// The digest if the stream ends with `rest`: a bit, zeros and the length in bits fill the last block.
    fn finish(mut self, rest: &[u8]) -> [u8; 32] {
        let bits = (self.size + rest.len() as u64) * 8;
        let mut last = rest.to_vec();
        last.push(0x80);
        last.resize((last.len() + 8).next_multiple_of(BLOCK) - 8, 0);
        last.extend_from_slice(&bits.to_be_bytes());
        compress256(&mut self.state, last.as_chunks().0);
        let mut digest = [0; 32];
        digest.as_chunks_mut().0.iter_mut().zip(self.state).for_each(|(to, word)| *to = word.to_be_bytes());
        digest
    }
}

impl MemberSha256 {
    /// Starts with no bytes, and outside of a member.
    pub fn new() -> Self {
        Self { whole: Progress::START, member: None, rest: Vec::with_capacity(BLOCK) }
    }

    /// Digests what comes next.
    pub fn update(&mut self, mut bytes: &[u8]) {
        if !self.rest.is_empty() {
            let (more, behind) = bytes.split_at(bytes.len().min(BLOCK - self.rest.len()));
            self.rest.extend_from_slice(more);
            bytes = behind;
            if self.rest.len() < BLOCK {
                return;
            }
            let full = std::mem::take(&mut self.rest);
            self.blocks(full.as_chunks().0);
        }
        let (blocks, rest) = bytes.as_chunks();
        self.blocks(blocks);
        self.rest = rest.to_vec();
    }

    /// What comes next belongs to a member.
    ///
    /// # Panics
    ///
    /// If the bytes so far are not a multiple of 64.
    pub fn begin_member(&mut self) {
        assert!(self.rest.is_empty(), "a member begins on a block");
        self.member = Some(Progress::START);
    }

    /// The digest of the member that ends here.
    ///
    /// # Panics
    ///
    /// If none began.
    pub fn end_member(&mut self) -> [u8; 32] {
        self.member.take().expect("a member began").finish(&self.rest)
    }

    /// The digest of all that came.
    pub fn finish(self) -> [u8; 32] {
        self.whole.finish(&self.rest)
    }

    fn blocks(&mut self, blocks: &[[u8; BLOCK]]) {
        let size = blocks.as_flattened().len() as u64;
        self.whole.size += size;
        match &mut self.member {
            None => compress256(&mut self.whole.state, blocks),
            Some(member) => {
                member.size += size;
                compress_both([&mut self.whole.state, &mut member.state], blocks);
            }
        }
    }
}

/// Two digests go on with the same blocks.
fn compress_both(states: [&mut State; 2], blocks: &[[u8; BLOCK]]) {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("sha") && is_x86_feature_detected!("sse4.1") {
        // SAFETY: the processor has the instructions.
        return unsafe { x86::compress_both(states, blocks) };
    }
    compress_in_turn(states, blocks);
}

fn compress_in_turn(states: [&mut State; 2], blocks: &[[u8; BLOCK]]) {
    states.into_iter().for_each(|state| compress256(state, blocks));
}

/// With the SHA extensions of x86 (Intel's Software Developer's Manual, volume 2, SHA256RNDS2 and what belongs to it).
#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::{BLOCK, State};

    /// What the rounds add: the fractions of the cube roots of the first primes.
    #[rustfmt::skip]
    const ROUNDS: [u32; 64] = [
        0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
        0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
        0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
        0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
        0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
        0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
        0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
        0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
    ];

    /// A state as the instructions want it: the words a, b, e and f, and the words c, d, g and h, the first one highest.
    #[derive(Clone, Copy)]
    struct Halves {
        abef: __m128i,
        cdgh: __m128i,
    }

    #[target_feature(enable = "sha,sse4.1")]
    pub(super) fn compress_both(states: [&mut State; 2], blocks: &[[u8; BLOCK]]) {
        let [one, two] = states;
        let mut both = [load(one), load(two)];
        for block in blocks {
            let before = both;
            let mut words = words(block);
            (0..4).for_each(|four| rounds(four, &mut both, words[four]));
            for sixteen in 1..4 {
                for four in 0..4 {
                    words[four] = next_words(&words, four);
                    rounds(4 * sixteen + four, &mut both, words[four]);
                }
            }
            for (now, before) in both.iter_mut().zip(before) {
                now.abef = _mm_add_epi32(now.abef, before.abef);
                now.cdgh = _mm_add_epi32(now.cdgh, before.cdgh);
            }
        }
        store(both[0], one);
        store(both[1], two);
    }

    /// Four rounds. Those of the two states alternate, because each instruction waits for the one before it.
    #[inline]
    #[target_feature(enable = "sha,sse4.1")]
    fn rounds(four: usize, both: &mut [Halves; 2], words: __m128i) {
        let [k0, k1, k2, k3] = ROUNDS.as_chunks().0[four].map(|k: u32| k.cast_signed());
        let first = _mm_add_epi32(words, _mm_set_epi32(k3, k2, k1, k0));
        let second = _mm_shuffle_epi32::<0x0e>(first);
        for state in both.iter_mut() {
            state.cdgh = _mm_sha256rnds2_epu32(state.cdgh, state.abef, first);
        }
        for state in both.iter_mut() {
            state.abef = _mm_sha256rnds2_epu32(state.abef, state.cdgh, second);
        }
    }

    /// The four words that follow the sixteen of which those in place `four` are the oldest.
    #[inline]
    #[target_feature(enable = "sha,sse4.1")]
    fn next_words(words: &[__m128i; 4], four: usize) -> __m128i {
        let [oldest, second, third, newest] = [0, 1, 2, 3].map(|n| words[(four + n) % 4]);
        let sum = _mm_add_epi32(_mm_sha256msg1_epu32(oldest, second), _mm_alignr_epi8::<4>(newest, third));
        _mm_sha256msg2_epu32(sum, newest)
    }

    /// The words of a block, which has them with their highest bytes first.
    #[inline]
    #[target_feature(enable = "sse4.1")]
    fn words(block: &[u8; BLOCK]) -> [__m128i; 4] {
        let order = _mm_set_epi64x(0x0c0d_0e0f_0809_0a0b, 0x0405_0607_0001_0203);
        let quarters: &[[u8; 16]] = block.as_chunks().0;
        [0, 1, 2, 3].map(|n| {
            // SAFETY: sixteen bytes are read, in any alignment.
            let quarter = unsafe { _mm_loadu_si128(quarters[n].as_ptr().cast()) };
            _mm_shuffle_epi8(quarter, order)
        })
    }

    #[target_feature(enable = "sse4.1")]
    fn load(state: &State) -> Halves {
        let [a, b, c, d, e, f, g, h] = state.map(u32::cast_signed);
        Halves { abef: _mm_set_epi32(a, b, e, f), cdgh: _mm_set_epi32(c, d, g, h) }
    }

    #[target_feature(enable = "sse4.1")]
    fn store(halves: Halves, state: &mut State) {
        let word = |four: __m128i, n: usize| match n {
            3 => _mm_extract_epi32::<3>(four),
            2 => _mm_extract_epi32::<2>(four),
            1 => _mm_extract_epi32::<1>(four),
            _ => _mm_extract_epi32::<0>(four),
        };
        let places =
            [(halves.abef, [3, 2]), (halves.cdgh, [3, 2]), (halves.abef, [1, 0]), (halves.cdgh, [1, 0])];
        let words = places.into_iter().flat_map(|(four, places)| places.map(|n| word(four, n)));
        state.iter_mut().zip(words).for_each(|(to, word)| *to = word.cast_unsigned());
    }
}

#[cfg(test)]
mod tests {
    use sha2::{Digest, Sha256};

    use super::*;

    fn sha256(bytes: &[u8]) -> [u8; 32] {
        Sha256::digest(bytes).into()
    }

    #[test]
    fn streams_of_all_lengths_in_all_portions_agree_with_the_library() {
        let mut random = fastrand::Rng::with_seed(1);
        for size in (0..300).chain([4096, 100_000]) {
            let bytes: Vec<u8> = (0..size).map(|_| random.u8(..)).collect();
            let mut digest = MemberSha256::new();
            let mut rest = &bytes[..];
            while !rest.is_empty() {
                let (portion, behind) = rest.split_at(random.usize(1..=rest.len()));
                digest.update(portion);
                rest = behind;
            }
            assert_eq!(digest.finish(), sha256(&bytes), "{size} bytes");
        }
    }

    #[test]
    fn members_have_digests_of_their_own() {
        let mut random = fastrand::Rng::with_seed(2);
        for size in (0..300).chain([65_536, 100_001]) {
            let bytes: Vec<u8> = (0..1024 + size).map(|_| random.u8(..)).collect();
            let start = 64 * random.usize(0..16);
            let end = start + size;
            let mut digest = MemberSha256::new();
            digest.update(&bytes[..start]);
            digest.begin_member();
            let middle = random.usize(start..=end);
            digest.update(&bytes[start..middle]);
            digest.update(&bytes[middle..end]);
            assert_eq!(digest.end_member(), sha256(&bytes[start..end]), "{size} bytes from {start} on");
            digest.update(&bytes[end..]);
            assert_eq!(digest.finish(), sha256(&bytes));
        }
    }

    /// What other processors do comes to the same.
    #[test]
    fn both_at_once_and_in_turn_agree() {
        let mut random = fastrand::Rng::with_seed(3);
        let mut state = || std::array::from_fn(|_| random.u32(..));
        let mut at_once: [State; 2] = [state(), state()];
        let mut in_turn = at_once;
        let blocks: Vec<[u8; BLOCK]> = (0..100).map(|n| [n; BLOCK]).collect();
        compress_both(at_once.each_mut(), &blocks);
        compress_in_turn(in_turn.each_mut(), &blocks);
        assert_eq!(at_once, in_turn);
    }

    #[test]
    #[should_panic(expected = "a member begins on a block")]
    fn a_member_does_not_begin_within_a_block() {
        let mut digest = MemberSha256::new();
        digest.update(b"x");
        digest.begin_member();
    }
}
