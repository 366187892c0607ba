//! `sysinfo`: the size of memory is the machine's, and three quarters of it are free. The rest is what init finds, in whose
//! time namespace the payload is.

use std::io;

use super::{Answer, Call, Emulation, Programs, Stop, When};
use crate::visible_machine::MemorySize;

/// Answers how large memory is.
pub(crate) struct Memory(pub(crate) MemorySize);

impl Emulation for Memory {
    fn stops(&self) -> Vec<Stop> {
        let stop = |programs, call| Stop { programs, call, when: When::Always };
        vec![
            stop(Programs::Native, libc::SYS_sysinfo as u32),
            #[cfg(target_arch = "x86_64")]
            stop(Programs::I386, 116),
        ]
    }

    fn answer(&mut self, call: &Call<'_>) -> io::Result<Answer> {
        // SAFETY: all zeros is a valid value of this plain C structure.
        let mut own: libc::sysinfo = unsafe { std::mem::zeroed() };
        // SAFETY: the structure lives through the call.
        if unsafe { libc::sysinfo(&raw mut own) } != 0 {
            return Err(io::Error::last_os_error());
        }
        let said = SysInfo { uptime: own.uptime as u64, loads: own.loads, procs: own.procs, memory: self.0 };
        call.caller.write(call.arguments[0], &said.bytes(call.programs.word()))?;
        Ok(Answer::Value(0))
    }
}

/// What is said.
struct SysInfo {
    uptime: u64,
    loads: [u64; 3],
    procs: u16,
    memory: MemorySize,
}

impl SysInfo {
    /// The kernel's `struct sysinfo`, for programs whose words have so many bytes.
    fn bytes(&self, word: usize) -> Vec<u8> {
        const PAGE: u64 = 4096;
        let total = self.memory.0;
        // As the kernel does it, sizes that do not fit a word are in pages.
        let unit = if word == 4 && total > u64::from(u32::MAX) { PAGE } else { 1 };
        let (total, free) = (total / unit, self.memory.free() / unit);
        let mut bytes = Vec::new();
        let mut put = |number: u64, width: usize| {
            bytes.resize(bytes.len().next_multiple_of(width), 0);
            bytes.extend_from_slice(&number.to_le_bytes()[..width]);
        };
        let [one, five, fifteen] = self.loads;
        // Nothing is shared, in buffers or in swap.
        for number in [self.uptime, one, five, fifteen, total, free, 0, 0, 0, 0] {
            put(number, word);
        }
        put(self.procs.into(), 2);
        // No memory is out of reach of a word.
        put(0, word);
        put(0, word);
        put(unit, 4);
        let end = if word == 4 { 64 } else { bytes.len().next_multiple_of(word) };
        bytes.resize(end, 0);
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(memory: u64) -> SysInfo {
        SysInfo { uptime: 7, loads: [1, 2, 3], procs: 9, memory: MemorySize(memory) }
    }

    #[test]
    fn the_structure_is_that_of_the_kernel() {
        let bytes = said(8 << 30).bytes(8);
        assert_eq!(bytes.len(), size_of::<libc::sysinfo>());
        // SAFETY: the bytes are those of this plain C structure, and as many.
        let read: libc::sysinfo = unsafe { std::ptr::read_unaligned(bytes.as_ptr().cast()) };
        assert_eq!((read.uptime, read.loads, read.procs, read.mem_unit), (7, [1, 2, 3], 9, 1));
        assert_eq!((read.totalram, read.freeram, read.totalswap), (8 << 30, 6 << 30, 0));
    }

    #[test]
    fn sizes_that_do_not_fit_are_in_pages() {
        let number = |bytes: &[u8], at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
        let large = said(8 << 30).bytes(4);
        assert_eq!((large.len(), number(&large, 16), number(&large, 52)), (64, 2 << 20, 4096));
        let small = said(1 << 30).bytes(4);
        assert_eq!((number(&small, 0), number(&small, 16), number(&small, 52)), (7, 1 << 30, 1));
    }
}
