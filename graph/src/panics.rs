//! Panics as values. Executors work on threads that the coordinator waits for, and a thread that unwinds sends no message, so
//! the coordinator would block.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Does the work; a panic comes back as its text.
///
/// Whoever goes on must not believe what the work left half done. Nothing here does: a stage that panicked has no output
/// and is not remembered, no stage is started after it, and locks that it held are poisoned.
pub(crate) fn contained<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|panic| text(&*panic))
}

/// What `panic!` was called with, if it was text.
fn text(panic: &(dyn Any + Send)) -> String {
    let literal = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let formatted = || panic.downcast_ref::<String>().cloned();
    literal.or_else(formatted).unwrap_or_else(|| "no message".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_says_its_text() {
        let number = 7;
        assert_eq!(contained(|| number), Ok(7));
        assert_eq!(contained(|| -> u8 { panic!("a word") }), Err("a word".to_owned()));
        assert_eq!(contained(|| -> u8 { panic!("number {number}") }), Err("number 7".to_owned()));
        assert_eq!(contained(|| -> u8 { std::panic::panic_any(number) }), Err("no message".to_owned()));
    }
}
