//! `sched_getaffinity`: a process may run on the first so many processors, which are all that there are. It is from here that
//! `nproc`, libraries and languages know how many they can use.

use std::io;
use std::num::NonZeroU32;

use nix::errno::Errno;

use super::{Answer, Call, Emulation, Programs, Stop, When};

/// Answers how many processors there are.
pub(crate) struct Cpus(pub(crate) NonZeroU32);

impl Emulation for Cpus {
    fn stops(&self) -> Vec<Stop> {
        let stop = |programs, call| Stop { programs, call, when: When::Always };
        vec![
            stop(Programs::Native, libc::SYS_sched_getaffinity as u32),
            #[cfg(target_arch = "x86_64")]
            stop(Programs::I386, 242),
        ]
    }

    fn answer(&mut self, call: &Call<'_>) -> io::Result<Answer> {
        let [_, length, address, ..] = call.arguments;
        let mask = mask(self.0, length, call.programs.word()).ok_or(Errno::EINVAL)?;
        call.caller.write(address, &mask)?;
        Ok(Answer::Value(mask.len() as i64))
    }
}

/// What the kernel writes into so many bytes: whole words, the one of the first processor first.
fn mask(cpus: NonZeroU32, length: u64, word: usize) -> Option<Vec<u8>> {
    const BITS: u32 = 64;
    // The kernel takes the lower half.
    let length = length as u32 as usize;
    let is_enough = length.saturating_mul(8) >= cpus.get() as usize && length.is_multiple_of(word);
    let words = (0..cpus.get().div_ceil(BITS)).map(|word| {
        let bits = (cpus.get() - word * BITS).min(BITS);
        u64::MAX >> (BITS - bits)
    });
    let mut bytes: Vec<u8> = words.flat_map(u64::to_le_bytes).collect();
    bytes.truncate(length);
    is_enough.then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mask_has_a_bit_for_each_processor() {
        let mask = |cpus, length, word| mask(NonZeroU32::new(cpus).unwrap(), length, word);
        assert_eq!(mask(2, 128, 8).unwrap(), [3, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(mask(64, 8, 8).unwrap(), [0xff; 8]);
        assert_eq!(mask(66, 16, 8).unwrap()[7..10], [0xff, 3, 0]);
        assert_eq!(mask(2, 4, 4).unwrap(), [3, 0, 0, 0]);
        assert_eq!(mask(66, 8, 8), None, "no room for 66 processors");
        assert_eq!(mask(2, 12, 8), None, "half a word");
        assert_eq!(mask(2, 0, 8), None);
    }
}
