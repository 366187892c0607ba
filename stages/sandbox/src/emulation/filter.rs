//! The filter that stops calls: classic BPF over `struct seccomp_data`.

use super::{Programs, Stop, When};
#[cfg(target_arch = "x86_64")]
use crate::seccomp::I386_AUDIT;
use crate::seccomp::{
    ARCHITECTURE, NATIVE_AUDIT, NUMBER, allow, argument, jump, load, statement, unless_other,
};

impl Programs {
    /// All kinds that run here.
    pub(super) const ALL: &[Self] = &[
        Self::Native,
        #[cfg(target_arch = "x86_64")]
        Self::I386,
    ];

    /// How the kernel calls them in what it tells of a call.
    pub(super) fn audit(self) -> u32 {
        match self {
            Self::Native => NATIVE_AUDIT,
            #[cfg(target_arch = "x86_64")]
            Self::I386 => I386_AUDIT,
        }
    }

    /// The bytes of a word.
    pub(super) fn word(self) -> usize {
        match self {
            Self::Native => size_of::<usize>(),
            #[cfg(target_arch = "x86_64")]
            Self::I386 => 4,
        }
    }

    /// Arguments as the kernel takes them: the lower halves, where registers have 32 bits.
    pub(super) fn arguments(self, registers: &[u64; 6]) -> [u64; 6] {
        match self {
            Self::Native => *registers,
            #[cfg(target_arch = "x86_64")]
            Self::I386 => registers.map(|register| u64::from(register as u32)),
        }
    }
}

/// Stops these calls and lets all others pass, which the filter of `seccomp.rs` judges as well: what it refuses is refused.
pub(super) fn filter(stops: &[Stop]) -> Vec<libc::sock_filter> {
    let mut filter = vec![load(ARCHITECTURE)];
    for programs in Programs::ALL {
        let mut block = vec![load(NUMBER)];
        for stop in stops.iter().filter(|stop| stop.programs == *programs) {
            block.extend(unless_other(stop.call, &steps(stop.when)));
        }
        block.push(allow());
        filter.push(jump(libc::BPF_JEQ, programs.audit(), 1, 0));
        filter.push(statement(libc::BPF_JMP | libc::BPF_JA, block.len() as u32));
        filter.extend(block);
    }
    filter.push(allow());
    filter
}

fn steps(when: When) -> Vec<libc::sock_filter> {
    let stop = statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_USER_NOTIF);
    match when {
        When::Always => vec![stop],
        When::OneOf(place, numbers) => {
            let mut steps = vec![load(argument(place))];
            for number in numbers {
                steps.extend([jump(libc::BPF_JEQ, *number, 0, 1), stop]);
            }
            steps.push(allow());
            steps
        }
        When::HasBit(place, bit) => {
            vec![load(argument(place)), jump(libc::BPF_JSET, bit, 0, 1), stop, allow()]
        }
        When::MakesDevice(mode) => vec![
            load(argument(mode)),
            statement(libc::BPF_ALU | libc::BPF_AND | libc::BPF_K, libc::S_IFMT),
            jump(libc::BPF_JEQ, libc::S_IFCHR, 1, 0),
            jump(libc::BPF_JEQ, libc::S_IFBLK, 0, 1),
            stop,
            allow(),
        ],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs the filter as the kernel would.
    fn verdict(filter: &[libc::sock_filter], audit: u32, call: u32, arguments: [u32; 6]) -> u32 {
        let (mut accumulator, mut at) = (0, 0);
        loop {
            let instruction = filter[at];
            at += 1;
            match u32::from(instruction.code) {
                code if code & 7 == libc::BPF_LD => {
                    accumulator = match instruction.k {
                        NUMBER => call,
                        ARCHITECTURE => audit,
                        offset => arguments[(offset as usize - 16) / 8],
                    }
                }
                code if code & 7 == libc::BPF_ALU => accumulator &= instruction.k,
                code if code == libc::BPF_JMP | libc::BPF_JA => at += instruction.k as usize,
                code if code & 7 == libc::BPF_JMP => {
                    let holds = match code & 0xf0 {
                        libc::BPF_JSET => accumulator & instruction.k != 0,
                        _ => accumulator == instruction.k,
                    };
                    at += usize::from(if holds { instruction.jt } else { instruction.jf });
                }
                _ => return instruction.k,
            }
        }
    }

    #[test]
    fn what_is_to_be_stopped_is_and_nothing_else() {
        let (allow, stop) = (libc::SECCOMP_RET_ALLOW, libc::SECCOMP_RET_USER_NOTIF);
        for programs in Programs::ALL {
            let of = |call, when| Stop { programs: *programs, call, when };
            let filter = filter(&[
                of(7, When::Always),
                of(9, When::MakesDevice(2)),
                of(11, When::MakesDevice(1)),
                of(12, When::OneOf(1, &[5, 8])),
                of(13, When::HasBit(2, 4)),
            ]);
            let check = |call, mode, expected| {
                let verdict = |audit| verdict(&filter, audit, call, [0, mode, mode, 0, 0, 0]);
                assert_eq!(verdict(programs.audit()), expected, "call {call} of {programs:?}");
                assert_eq!(verdict(0x4000_0028), allow);
                for other in Programs::ALL.iter().filter(|other| *other != programs) {
                    assert_eq!(verdict(other.audit()), allow);
                }
            };
            check(7, 0, stop);
            check(8, 0, allow);
            for (argument, one_of, has_bit) in
                [(0, allow, allow), (5, stop, stop), (8, stop, allow), (4, allow, stop)]
            {
                check(12, argument, one_of);
                check(13, argument, has_bit);
            }
            for (kind, expected) in
                [(libc::S_IFCHR, stop), (libc::S_IFBLK, stop), (libc::S_IFIFO, allow), (libc::S_IFREG, allow)]
            {
                check(9, kind | 0o660, expected);
                check(11, kind | 0o660, expected);
                check(10, kind | 0o660, allow);
            }
        }
    }
}
