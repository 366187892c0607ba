//! How a program came to its end.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How a program came to its end. Two kinds, because a status above 128 is also one that a program may choose for itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum End {
    /// By itself, with this status.
    Exited(u8),
    /// By a signal of this number.
    Killed(u8),
}

impl End {
    /// That of a program that did what it was to do.
    pub const SUCCESS: Self = Self::Exited(0);

    /// The number that a shell has for it, which is the same for a signal and for a status that looks like one.
    pub fn in_shell(self) -> u8 {
        match self {
            Self::Exited(status) => status,
            Self::Killed(signal) => 128_u8.saturating_add(signal),
        }
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited(status) => write!(f, "exited with status {status}"),
            Self::Killed(signal) => write!(f, "was killed by signal {signal}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(end: End, said: &str, in_shell: u8) {
        assert_eq!((end.to_string().as_str(), end.in_shell()), (said, in_shell));
    }

    #[test]
    fn a_high_status_is_no_signal() {
        check(End::SUCCESS, "exited with status 0", 0);
        check(End::Exited(200), "exited with status 200", 200);
        check(End::Exited(255), "exited with status 255", 255);
        check(End::Killed(9), "was killed by signal 9", 137);
        check(End::Killed(64), "was killed by signal 64", 192);
    }
}
