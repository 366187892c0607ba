//! Which devices a control group may open: those that every sandbox has in `/dev`. Making nodes of any others is allowed,
//! because an image may have them.
//!
//! `nodev` on the root would not do: a stage that runs debootstrap needs `/dev/null` of the system that it makes, and one
//! that may mount can mount without it.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

const BPF_PROG_LOAD: libc::c_int = 5;
const BPF_PROG_ATTACH: libc::c_int = 8;
const BPF_PROG_TYPE_CGROUP_DEVICE: u32 = 15;
const BPF_CGROUP_DEVICE: u32 = 6;
/// Those of the groups above stay in force.
const BPF_F_ALLOW_MULTI: u32 = 2;

/// The beginning of the kernel's `union bpf_attr` for loading.
#[repr(C)]
#[derive(Default)]
struct Load {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
}

/// The beginning of the kernel's `union bpf_attr` for attaching.
#[repr(C)]
struct Attach {
    target_fd: u32,
    attach_bpf_fd: u32,
    attach_type: u32,
    attach_flags: u32,
}

/// Restricts a group of the unified hierarchy and all below it, for as long as it exists.
pub(super) fn restrict(group: BorrowedFd<'_>) -> io::Result<()> {
    let program = program();
    let load = Load {
        prog_type: BPF_PROG_TYPE_CGROUP_DEVICE,
        insn_cnt: program.len() as u32,
        insns: program.as_ptr() as u64,
        license: c"GPL".as_ptr() as u64,
        ..Load::default()
    };
    let loaded = bpf(BPF_PROG_LOAD, &load)?;
    // SAFETY: the kernel has just made this descriptor for us.
    let loaded = unsafe { OwnedFd::from_raw_fd(loaded) };
    let attach = Attach {
        target_fd: group.as_raw_fd() as u32,
        attach_bpf_fd: loaded.as_raw_fd() as u32,
        attach_type: BPF_CGROUP_DEVICE,
        attach_flags: BPF_F_ALLOW_MULTI,
    };
    bpf(BPF_PROG_ATTACH, &attach).map(drop)
}

fn bpf<T>(command: libc::c_int, attributes: &T) -> io::Result<libc::c_int> {
    // SAFETY: the attributes, and what they point at, live through the call and have the size that is told.
    let result =
        unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_ref(attributes), size_of::<T>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result as libc::c_int) }
}

/// Character devices that may be opened: first number, lowest and highest second number. Memory's harmless ones, the
/// terminal of a process, pseudo terminals.
const OPENED: &[(i32, i32, i32)] =
    &[(1, 3, 3), (1, 5, 5), (1, 7, 9), (5, 0, 0), (5, 2, 2), (136, 0, i32::MAX)];

/// Registers.
const RESULT: u8 = 0;
const CONTEXT: u8 = 1;
const KIND: u8 = 2;
const ACCESS: u8 = 3;
const MAJOR: u8 = 4;
const MINOR: u8 = 5;

const MKNOD: i32 = 1;
const CHARACTER: i32 = 2;

/// eBPF over `struct bpf_cgroup_dev_ctx`: kind of device in the lower half of the first word and kind of access in the
/// upper one, then both numbers of the device. 1 allows.
fn program() -> Vec<u64> {
    let mut program = vec![
        word_at(KIND, CONTEXT, 0),
        copy(ACCESS, KIND),
        shift_right(ACCESS, 16),
        and(KIND, 0xffff),
        word_at(MAJOR, CONTEXT, 4),
        word_at(MINOR, CONTEXT, 8),
    ];
    program.extend([jump(NOT_EQUAL, ACCESS, MKNOD, 2), set(RESULT, 1), EXIT]);
    program.extend([jump(EQUAL, KIND, CHARACTER, 2), set(RESULT, 0), EXIT]);
    for (major, lowest, highest) in OPENED {
        program.extend([
            jump(NOT_EQUAL, MAJOR, *major, 4),
            jump(LESS, MINOR, *lowest, 3),
            jump(GREATER, MINOR, *highest, 2),
            set(RESULT, 1),
            EXIT,
        ]);
    }
    program.extend([set(RESULT, 0), EXIT]);
    program
}

/// Codes of instructions: classes, with what they do and where from.
const EQUAL: u8 = 0x15;
const GREATER: u8 = 0x25;
const NOT_EQUAL: u8 = 0x55;
const LESS: u8 = 0xa5;
const EXIT: u64 = 0x95;

fn instruction(code: u8, target: u8, source: u8, offset: i16, value: i32) -> u64 {
    let registers = target | source << 4;
    u64::from(code)
        | u64::from(registers) << 8
        | u64::from(offset as u16) << 16
        | u64::from(value as u32) << 32
}

fn word_at(target: u8, base: u8, offset: i16) -> u64 {
    instruction(0x61, target, base, offset, 0)
}

fn copy(target: u8, source: u8) -> u64 {
    instruction(0xbf, target, source, 0, 0)
}

fn set(target: u8, value: i32) -> u64 {
    instruction(0xb7, target, 0, 0, value)
}

fn and(target: u8, value: i32) -> u64 {
    instruction(0x57, target, 0, 0, value)
}

fn shift_right(target: u8, by: i32) -> u64 {
    instruction(0x77, target, 0, 0, by)
}

/// Leaves out so many instructions if the test holds.
fn jump(test: u8, register: u8, value: i32, over: i16) -> u64 {
    instruction(test, register, 0, over, value)
}
