//! Calls that wait until a time of the day, which a program computes from the clock that it sees: the time is written as the
//! kernel's clock has it, and the call goes on.
//!
//! A call that was interrupted is made again, with a time that was written already; so a time is changed only if it is nearer
//! to the clock that the program sees than to the kernel's.
//!
//! Not among them is `FUTEX_LOCK_PI`, for locks that lend priority.

use std::io;

use super::{Call, Programs, Stop, When};

/// A call with a time of the day in the memory of the caller.
struct Deadline {
    programs: Programs,
    call: u32,
    when: When,
    /// Which argument is the address, and how far behind it the time is.
    argument: usize,
    behind: u64,
    /// Bytes of the number of seconds.
    word: usize,
}

/// `FUTEX_CLOCK_REALTIME` in the operation.
const FUTEX_REALTIME: When = When::HasBit(1, 256);
/// `TIMER_ABSTIME` in the flags of a timer, or of a sleep.
const ABSOLUTE: When = When::HasBit(1, 1);
/// `CLOCK_REALTIME` as the fifth or sixth argument.
const FIFTH_REALTIME: When = When::OneOf(4, &[0]);
const SIXTH_REALTIME: When = When::OneOf(5, &[0]);

const fn native(call: libc::c_long, when: When, argument: usize, behind: u64) -> Deadline {
    Deadline { programs: Programs::Native, call: call as u32, when, argument, behind, word: 8 }
}

const fn i386(call: u32, when: When, argument: usize, behind: u64, word: usize) -> Deadline {
    Deadline { programs: Programs::I386, call, when, argument, behind, word }
}

const DEADLINES: &[Deadline] = &[
    native(libc::SYS_futex, FUTEX_REALTIME, 3, 0),
    native(449, FIFTH_REALTIME, 3, 0),
    native(455, SIXTH_REALTIME, 4, 0),
    native(libc::SYS_clock_nanosleep, ABSOLUTE, 2, 0),
    native(libc::SYS_timer_settime, ABSOLUTE, 2, 16),
    native(libc::SYS_timerfd_settime, ABSOLUTE, 2, 16),
    native(libc::SYS_mq_timedsend, When::Always, 4, 0),
    native(libc::SYS_mq_timedreceive, When::Always, 4, 0),
    i386(240, FUTEX_REALTIME, 3, 0, 4),
    i386(422, FUTEX_REALTIME, 3, 0, 8),
    i386(449, FIFTH_REALTIME, 3, 0, 8),
    i386(455, SIXTH_REALTIME, 4, 0, 8),
    i386(267, ABSOLUTE, 2, 0, 4),
    i386(407, ABSOLUTE, 2, 0, 8),
    i386(260, ABSOLUTE, 2, 8, 4),
    i386(409, ABSOLUTE, 2, 16, 8),
    i386(325, ABSOLUTE, 2, 8, 4),
    i386(411, ABSOLUTE, 2, 16, 8),
    i386(279, When::Always, 4, 0, 4),
    i386(280, When::Always, 4, 0, 4),
    i386(418, When::Always, 4, 0, 8),
    i386(419, When::Always, 4, 0, 8),
];

pub(super) fn stops() -> impl Iterator<Item = Stop> {
    let stop =
        |deadline: &Deadline| Stop { programs: deadline.programs, call: deadline.call, when: deadline.when };
    DEADLINES.iter().map(stop)
}

/// Rewrites the time of a call, if it is one of these and has one. `now` is the kernel's clock, `offset` what the caller's is
/// ahead of it, both in seconds.
pub(super) fn rewrite(call: &Call<'_>, now: i64, offset: i64) -> io::Result<()> {
    let is_this = |it: &&Deadline| it.programs == call.programs && it.call == call.number;
    let Some(deadline) = DEADLINES.iter().find(is_this) else { return Ok(()) };
    let address = call.arguments[deadline.argument];
    if address == 0 {
        return Ok(());
    }
    let (address, mut bytes) = (address + deadline.behind, [0; 8]);
    call.caller.read(address, &mut bytes[..deadline.word])?;
    let seen = match deadline.word {
        4 => i64::from(i64::from_le_bytes(bytes) as i32),
        _ => i64::from_le_bytes(bytes),
    };
    match of_kernel(seen, now, offset) {
        Some(seconds) => call.caller.write(address, &seconds.to_le_bytes()[..deadline.word]),
        None => Ok(()),
    }
}

/// The kernel's time for one that a program computed; `None` for any other time.
fn of_kernel(seen: i64, now: i64, offset: i64) -> Option<i64> {
    let from_shown = seen.abs_diff(now.saturating_add(offset));
    let is_computed = from_shown < seen.abs_diff(now) && from_shown < offset.unsigned_abs() / 2;
    is_computed.then(|| seen.saturating_sub(offset))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_times_near_the_clock_that_is_shown_are_changed() {
        const NOW: i64 = 1_800_000_000;
        for offset in [34_000_000, -34_000_000, 3600] {
            assert_eq!(of_kernel(NOW + offset + 5, NOW, offset), Some(NOW + 5));
            assert_eq!(of_kernel(NOW + offset - 5, NOW, offset), Some(NOW - 5));
            assert_eq!(of_kernel(NOW + 5, NOW, offset), None, "it was changed before");
            assert_eq!(of_kernel(3605, NOW, offset), None, "a time since boot");
            assert_eq!(of_kernel(0, NOW, offset), None, "a timer is disarmed");
        }
    }
}
