//! Clocks that programs read without the kernel, which no filter sees: the functions of a process's vDSO are overwritten with
//! system calls, before the process has read any. This reaches static programs and those of any language.
//!
//! Writing into pages that are read-only needs `/proc/PID/mem` to take no offence, as it does unless the kernel was told
//! otherwise (`proc_mem.force_override`, Yama's scope 3). So it is tried with a process of our own first.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;

use nix::errno::Errno;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork};
use rustix::fs::OFlags;

use super::Programs;
use super::caller::Caller;
use super::vdso::functions;

/// The address of the vDSO in what the kernel tells a program: `AT_SYSINFO_EHDR`.
const VDSO: u64 = 33;

const PAGE: usize = 4096;

/// More than any vDSO has.
const MOST_PAGES: usize = 16;

/// The memory of a process.
pub(super) struct Space {
    auxv: Vec<u8>,
    memory: File,
}

impl Space {
    pub(super) fn of(caller: &Caller) -> io::Result<Self> {
        let mut auxv = Vec::new();
        caller.file("auxv", OFlags::RDONLY)?.read_to_end(&mut auxv)?;
        Ok(Self { auxv, memory: caller.file("mem", OFlags::RDWR)? })
    }

    fn of_process(process: &str) -> io::Result<Self> {
        let auxv = std::fs::read(format!("/proc/{process}/auxv"))?;
        let memory = File::options().read(true).write(true).open(format!("/proc/{process}/mem"))?;
        Ok(Self { auxv, memory })
    }

    /// Where its vDSO is. On a kernel without any there is none.
    fn vdso(&self, word: usize) -> Option<u64> {
        let number = |bytes: &[u8]| bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte));
        let mut pairs = self.auxv.chunks_exact(2 * word).map(|pair| pair.split_at(word));
        pairs.find(|(kind, _)| number(kind) == VDSO).map(|(_, address)| number(address))
    }

    /// What is at an address, as many pages as there are.
    fn image(&self, address: u64) -> Vec<u8> {
        let mut image = vec![0; MOST_PAGES * PAGE];
        let read = |page: &usize| {
            let bytes = &mut image[page * PAGE..(page + 1) * PAGE];
            self.memory.read_exact_at(bytes, address + (page * PAGE) as u64).is_ok()
        };
        let pages = (0..MOST_PAGES).take_while(read).count();
        image.truncate(pages * PAGE);
        image
    }
}

/// The functions that read the clock of the day, by the calls that do the same.
fn clock_calls(programs: Programs) -> &'static [(&'static str, u32)] {
    match programs {
        Programs::Native => {
            &[("__vdso_clock_gettime", 228), ("__vdso_gettimeofday", 96), ("__vdso_time", 201)]
        }
        Programs::I386 => &[
            ("__vdso_clock_gettime", 265),
            ("__vdso_clock_gettime64", 403),
            ("__vdso_gettimeofday", 78),
            ("__vdso_time", 13),
        ],
    }
}

/// A function that makes a call of two arguments at most.
fn code(programs: Programs, call: u32) -> Vec<u8> {
    let number = call.to_le_bytes();
    match programs {
        // mov eax, CALL; syscall; ret. The arguments are where the kernel looks for them.
        Programs::Native => [&[0xb8][..], &number, &[0x0f, 0x05, 0xc3]].concat(),
        // push ebx; mov ebx, [esp + 8]; mov ecx, [esp + 12]; mov eax, CALL; int 0x80; pop ebx; ret.
        Programs::I386 => {
            let before = [0x53, 0x8b, 0x5c, 0x24, 0x08, 0x8b, 0x4c, 0x24, 0x0c, 0xb8];
            [&before[..], &number, &[0xcd, 0x80, 0x5b, 0xc3]].concat()
        }
    }
}

/// Bytes to be written over those at a place in the vDSO.
struct Patch {
    offset: u64,
    code: Vec<u8>,
}

fn patches(programs: Programs, image: &[u8]) -> Result<Vec<Patch>, String> {
    let functions = functions(image).ok_or("the kernel's vDSO is not understood")?;
    let mut patches = Vec::new();
    for (name, call) in clock_calls(programs) {
        // Kernels before 5.3 have fewer of them.
        let Some(function) = functions.iter().find(|function| function.name == *name) else { continue };
        let code = code(programs, *call);
        if function.size < code.len() as u64 {
            return Err(format!("the kernel's `{name}` is too short"));
        }
        patches.push(Patch { offset: function.offset, code });
    }
    if patches.is_empty() { Err("the kernel's vDSO has no clocks".to_owned()) } else { Ok(patches) }
}

/// What is to be written into every process: the kernel gives all processes of a kind the same vDSO.
#[derive(Default)]
pub(super) struct VdsoPatch {
    native: Option<Vec<Patch>>,
    i386: Option<Vec<Patch>>,
}

impl VdsoPatch {
    /// Tries it with a process of its own. To be called while this process has one thread.
    pub(super) fn tried() -> Result<Self, String> {
        let mut patch = Self::default();
        let (mut ours, theirs) = UnixStream::pair().map_err(|e| e.to_string())?;
        // SAFETY: this process has one thread.
        match unsafe { fork_aside() }.map_err(|e| e.to_string())? {
            ForkResult::Child => read_clock_and_end(theirs),
            ForkResult::Parent { child } => {
                drop(theirs);
                let space = Space::of_process(&child.to_string()).map_err(|e| e.to_string());
                let patched = space.and_then(|space| patch.apply(Programs::Native, &space));
                let told = ours.write_all(&[0]);
                drop(ours);
                let ended = waitpid(child, None).map_err(|e| e.to_string())?;
                patched?;
                told.map_err(|e| e.to_string())?;
                let is_fine = matches!(ended, WaitStatus::Exited(_, 0));
                if is_fine { Ok(patch) } else { Err("it does not read it any more".to_owned()) }
            }
        }
    }

    /// Writes it into a process, and looks whether it is there.
    pub(super) fn apply(&mut self, programs: Programs, space: &Space) -> Result<(), String> {
        let Some(vdso) = space.vdso(programs.word()) else { return Ok(()) };
        let known = match programs {
            Programs::Native => &mut self.native,
            Programs::I386 => &mut self.i386,
        };
        let patches = match known {
            Some(patches) => patches,
            None => known.insert(patches(programs, &space.image(vdso))?),
        };
        for Patch { offset, code } in patches {
            let (mut read, at) = (vec![0; code.len()], vdso + *offset);
            space.memory.write_all_at(code, at).map_err(|e| format!("its memory cannot be written: {e}"))?;
            space.memory.read_exact_at(&mut read, at).map_err(|e| e.to_string())?;
            if read != *code {
                return Err("what was written is not there".to_owned());
            }
        }
        Ok(())
    }
}

/// The number of the process that it is tried with. The kernel gives the next one to the payload's processes as if there had
/// not been this one: a payload can read its number.
const ASIDE: libc::pid_t = 30_000;

/// Forks a process with a number of its own.
///
/// # Safety
///
/// As that of `fork`.
unsafe fn fork_aside() -> nix::Result<ForkResult> {
    // SAFETY: zero is what the kernel takes for "nothing" in each of the fields.
    let mut arguments: libc::clone_args = unsafe { std::mem::zeroed() };
    arguments.exit_signal = libc::SIGCHLD as u64;
    let number = [ASIDE];
    arguments.set_tid = number.as_ptr() as u64;
    arguments.set_tid_size = 1;
    // SAFETY: without a stack or shared memory this is a fork.
    let child =
        unsafe { libc::syscall(libc::SYS_clone3, &raw const arguments, size_of::<libc::clone_args>()) };
    match Errno::result(child) {
        Ok(0) => Ok(ForkResult::Child),
        Ok(child) => Ok(ForkResult::Parent { child: Pid::from_raw(child as i32) }),
        // Kernels before 5.5 cannot, and outside of a sandbox nobody may.
        // SAFETY: the caller's.
        Err(_) => unsafe { fork() },
    }
}

/// In the process that it is tried with: ends well if the clock of the C library is that of the kernel.
fn read_clock_and_end(mut told: UnixStream) -> ! {
    let patched = told.read_exact(&mut [0]);
    let mut times = [libc::timespec { tv_sec: 0, tv_nsec: 0 }; 2];
    // SAFETY: the structures live through the calls; `_exit` is a system call.
    unsafe {
        let library = libc::clock_gettime(libc::CLOCK_REALTIME, &raw mut times[0]);
        let kernel = libc::syscall(libc::SYS_clock_gettime, libc::CLOCK_REALTIME, &raw mut times[1]);
        let is_near = (0..=5).contains(&(times[1].tv_sec - times[0].tv_sec));
        let is_fine = patched.is_ok() && library == 0 && kernel == 0 && is_near;
        libc::_exit(i32::from(!is_fine))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_vdso_of_this_kernel_has_the_clocks() {
        let space = Space::of_process("self").unwrap();
        let image = space.image(space.vdso(8).unwrap());
        let functions = functions(&image).unwrap();
        let name = functions.iter().find(|function| function.name == "__vdso_clock_gettime");
        assert!(name.is_some_and(|function| function.size >= 8), "{functions:?}");
        let patches = patches(Programs::Native, &image).unwrap();
        assert_eq!(patches.len(), 3);
        assert_eq!(patches[0].code, [0xb8, 228, 0, 0, 0, 0x0f, 0x05, 0xc3]);
        assert!(super::patches(Programs::I386, &image[..PAGE / 64]).is_err());
    }

    #[test]
    fn a_process_reads_its_clock_by_a_call_afterwards() {
        assert!(VdsoPatch::tried().unwrap().native.is_some());
    }
}
