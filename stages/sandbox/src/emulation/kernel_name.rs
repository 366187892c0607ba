//! `uname`: the kernel calls itself as the machine says. The names of the host and of the domain are those of the caller's
//! namespace, and the kind of machine is what it chose by `personality`.

use std::ffi::{CStr, c_char};
use std::io;

use nix::sched::{CloneFlags, setns};

use super::{Answer, Call, Emulation, Programs, Stop, When};
use crate::visible_machine::Kernel;

/// The kernel's `__NEW_UTS_LEN`: bytes of a name, without the zero at its end.
const LONGEST: usize = 64;

/// The structure that a call fills: names of one width, one behind the other.
struct Layout {
    programs: Programs,
    call: u32,
    /// Bytes of a name, its zero included.
    width: usize,
    names: usize,
}

const fn layout(programs: Programs, call: u32, width: usize, names: usize) -> Layout {
    Layout { programs, call, width, names }
}

/// Those of i386: `uname` and its two predecessors.
const LAYOUTS: &[Layout] = &[
    layout(Programs::Native, libc::SYS_uname as u32, LONGEST + 1, 6),
    #[cfg(target_arch = "x86_64")]
    layout(Programs::I386, 122, LONGEST + 1, 6),
    #[cfg(target_arch = "x86_64")]
    layout(Programs::I386, 109, LONGEST + 1, 5),
    #[cfg(target_arch = "x86_64")]
    layout(Programs::I386, 59, 9, 5),
];

/// Answers `uname`.
pub(crate) struct KernelName {
    kernel: Kernel,
}

impl KernelName {
    /// Fails for a name that no kernel can have.
    pub(crate) fn new(kernel: &Kernel) -> Result<Self, String> {
        for name in [&kernel.release, &kernel.version] {
            if name.len() > LONGEST || name.contains('\0') {
                return Err(format!("no kernel can call itself `{name}`"));
            }
        }
        Ok(Self { kernel: kernel.clone() })
    }
}

impl Emulation for KernelName {
    fn stops(&self) -> Vec<Stop> {
        let stop =
            |layout: &Layout| Stop { programs: layout.programs, call: layout.call, when: When::Always };
        LAYOUTS.iter().map(stop).collect()
    }

    fn answer(&mut self, call: &Call<'_>) -> io::Result<Answer> {
        let is_this = |layout: &&Layout| layout.programs == call.programs && layout.call == call.number;
        let Some(layout) = LAYOUTS.iter().find(is_this) else { return Ok(Answer::LeaveToKernel) };
        // Of this thread only; it is asked anew for each call.
        setns(call.caller.file("ns/uts", rustix::fs::OFlags::RDONLY)?, CloneFlags::CLONE_NEWUTS)?;
        // SAFETY: all zeros is a valid value of this plain C structure.
        let mut own: libc::utsname = unsafe { std::mem::zeroed() };
        // SAFETY: the structure lives through the call.
        if unsafe { libc::uname(&raw mut own) } != 0 {
            return Err(io::Error::last_os_error());
        }
        let personality = call.caller.text("personality")?;
        let machine = chosen_machine(&personality).unwrap_or_else(|| name(&own.machine));
        let names = [
            name(&own.sysname),
            name(&own.nodename),
            self.kernel.release.as_bytes(),
            self.kernel.version.as_bytes(),
            machine,
            name(&own.domainname),
        ];
        call.caller.write(call.arguments[0], &filled(&names[..layout.names], layout.width))?;
        Ok(Answer::Value(0))
    }
}

fn name(field: &[c_char]) -> &[u8] {
    // SAFETY: `c_char` and `u8` differ in their sign only.
    let bytes = unsafe { std::slice::from_raw_parts(field.as_ptr().cast::<u8>(), field.len()) };
    CStr::from_bytes_until_nul(bytes).map_or(bytes, CStr::to_bytes)
}

/// What the kernel says to those that want to be on a machine of 32 bits, as `linux32` does.
fn chosen_machine(personality: &str) -> Option<&'static [u8]> {
    const KIND: u32 = 0xff;
    const LINUX32: u32 = 8;
    let personality = u32::from_str_radix(personality.trim(), 16).ok()?;
    let name: &[u8] = if cfg!(target_arch = "aarch64") { b"armv8l" } else { b"i686" };
    (personality & KIND == LINUX32).then_some(name)
}

/// Each name cut so that a zero fits behind it.
fn filled(names: &[&[u8]], width: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(names.len() * width);
    for name in names {
        let end = bytes.len() + width;
        bytes.extend_from_slice(&name[..name.len().min(width - 1)]);
        bytes.resize(end, 0);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_their_width_and_an_end() {
        assert_eq!(filled(&[b"ab", b"", b"abcdef"], 4), *b"ab\0\0\0\0\0\0abc\0");
        assert_eq!(filled(&[b"abc"], 4), *b"abc\0");
    }

    #[test]
    fn who_wants_a_machine_of_32_bits_has_one() {
        assert_eq!(chosen_machine("00000000\n"), None);
        assert_eq!(chosen_machine("0040000\n"), None);
        assert!(chosen_machine("00000008\n").is_some());
        assert!(chosen_machine("00040008\n").is_some());
    }

    #[test]
    fn a_name_that_no_kernel_can_have_is_refused() {
        let kernel = |release: &str| Kernel { release: release.to_owned(), version: "#1".to_owned() };
        assert!(KernelName::new(&kernel(&"r".repeat(64))).is_ok());
        assert!(KernelName::new(&kernel(&"r".repeat(65))).is_err());
        assert!(KernelName::new(&kernel("a\0b")).is_err());
    }
}
