//! The clock of the day, ahead of the kernel's or behind it. Times of files stay the kernel's.

use std::io;

use nix::errno::Errno;

use super::vdso_patch::{Space, VdsoPatch};
use super::{Answer, Call, Emulation, Programs, Stop, When, deadlines};
use crate::mounts::{SetupResult, failed};

/// Answers what time it is.
pub(crate) struct ShiftedClock {
    /// Seconds that it is ahead.
    offset: i64,
    vdso: VdsoPatch,
}

impl ShiftedClock {
    /// A clock that is so many seconds ahead. To be called while this process has one thread.
    pub(crate) fn new(offset: i64) -> SetupResult<Self> {
        let vdso = VdsoPatch::tried().map_err(failed("show another time to a program"))?;
        Ok(Self { offset, vdso })
    }

    fn tell(&self, call: &Call<'_>, clock: libc::clockid_t, address: u64, form: &Form) -> io::Result<Answer> {
        let now = now(clock)?;
        let (seconds, fraction) = (now.tv_sec.saturating_add(self.offset), now.tv_nsec);
        let (words, value) = match form.what {
            What::Seconds => (vec![seconds], seconds),
            What::Micro => (vec![seconds, fraction / 1000], 0),
            What::Nano => (vec![seconds, fraction], 0),
        };
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()[..form.word].to_vec()).collect();
        // All but the first of these calls take nothing for an address.
        if address != 0 || form.what == What::Nano {
            call.caller.write(address, &bytes)?;
        }
        Ok(Answer::Value(value))
    }
}

/// What a call writes.
struct Form {
    what: What,
    word: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum What {
    Nano,
    Micro,
    /// Which is its result as well.
    Seconds,
}

/// What is done about a call.
enum Task {
    /// `clock_gettime` and its like: tells the time.
    Tell(Form),
    /// It would tell the kernel's time along with what else it tells.
    Refuse,
    /// It is the first of a new program, which has not read a clock yet.
    Patch,
}

/// `CLOCK_REALTIME`, `CLOCK_REALTIME_COARSE`, `CLOCK_REALTIME_ALARM` and `CLOCK_TAI`.
const OF_THE_DAY: When = When::OneOf(0, &[0, 5, 8, 11]);

/// C libraries, and programs without one, say where the memory of a thread is before they do anything else.
const SET_FS: When = When::OneOf(0, &[0x1002]);

const fn tell(what: What, word: usize) -> Task {
    Task::Tell(Form { what, word })
}

const CALLS: &[(Programs, u32, When, Task)] = &[
    (Programs::Native, libc::SYS_clock_gettime as u32, OF_THE_DAY, tell(What::Nano, 8)),
    (Programs::Native, libc::SYS_gettimeofday as u32, When::Always, tell(What::Micro, 8)),
    (Programs::Native, libc::SYS_time as u32, When::Always, tell(What::Seconds, 8)),
    (Programs::Native, libc::SYS_adjtimex as u32, When::Always, Task::Refuse),
    (Programs::Native, libc::SYS_clock_adjtime as u32, When::Always, Task::Refuse),
    (Programs::Native, libc::SYS_arch_prctl as u32, SET_FS, Task::Patch),
    (Programs::I386, 265, OF_THE_DAY, tell(What::Nano, 4)),
    (Programs::I386, 403, OF_THE_DAY, tell(What::Nano, 8)),
    (Programs::I386, 78, When::Always, tell(What::Micro, 4)),
    (Programs::I386, 13, When::Always, tell(What::Seconds, 4)),
    (Programs::I386, 124, When::Always, Task::Refuse),
    (Programs::I386, 343, When::Always, Task::Refuse),
    (Programs::I386, 405, When::Always, Task::Refuse),
    (Programs::I386, 243, When::Always, Task::Patch),
];

impl Emulation for ShiftedClock {
    fn stops(&self) -> Vec<Stop> {
        let stop = |(programs, call, when, _): &(Programs, u32, When, Task)| Stop {
            programs: *programs,
            call: *call,
            when: *when,
        };
        CALLS.iter().map(stop).chain(deadlines::stops()).collect()
    }

    fn answer(&mut self, call: &Call<'_>) -> io::Result<Answer> {
        let this = |(programs, number, ..): &&(Programs, u32, When, Task)| {
            (*programs, *number) == (call.programs, call.number)
        };
        let [first, second, ..] = call.arguments;
        match CALLS.iter().find(this) {
            Some((.., Task::Tell(form))) if form.what == What::Nano => {
                self.tell(call, first as libc::clockid_t, second, form)
            }
            Some((.., Task::Tell(form))) => {
                if form.what == What::Micro && second != 0 {
                    // The time zone of a kernel that has none.
                    call.caller.write(second, &[0; 8])?;
                }
                self.tell(call, libc::CLOCK_REALTIME, first, form)
            }
            Some((.., Task::Refuse)) => Err(Errno::EPERM.into()),
            Some((.., Task::Patch)) => {
                let space = Space::of(call.caller)?;
                let patched = self.vdso.apply(call.programs, &space);
                Ok(patched.map_or_else(Answer::Impossible, |()| Answer::LeaveToKernel))
            }
            None => {
                deadlines::rewrite(call, now(libc::CLOCK_REALTIME)?.tv_sec, self.offset)?;
                Ok(Answer::LeaveToKernel)
            }
        }
    }
}

/// What a clock of the kernel shows. Only the filtered process sees another.
fn now(clock: libc::clockid_t) -> io::Result<libc::timespec> {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the structure lives through the call.
    match unsafe { libc::clock_gettime(clock, &raw mut now) } {
        0 => Ok(now),
        _ => Err(io::Error::last_os_error()),
    }
}
