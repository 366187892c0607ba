//! How long, how often and with which pauses a mirror is tried.

use std::num::NonZeroU32;
use std::time::Duration;

/// How long to try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// The longest silence of a mirror. Shorter than the 30 seconds after which apt gives up on us.
    pub stall: Duration,
    /// How often to try.
    pub attempts: NonZeroU32,
    /// The pause after the first failure; it doubles with each one.
    pub pause: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        let attempts = NonZeroU32::new(4).expect("four is not zero");
        Self { stall: Duration::from_secs(15), attempts, pause: Duration::from_millis(500) }
    }
}
