//! The wish of a user to stop, for whoever does something that takes long.
//!
//! Readers and writers check it before each piece and end with an error that says so, so the layers between them need
//! no code of their own.

use std::io::{self, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A wish to stop, seen by all sandboxes within a tenth of a second, and by whoever reads, digests or packs files before the next
/// piece of them.
#[derive(Debug, Clone, Default)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// Stops everything that was given this value.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether it is time to stop.
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// An error if it is time to stop: one that [`is_stop`] knows, however many readers and writers it passes.
    pub fn check(&self) -> io::Result<()> {
        if self.is_cancelled() { Err(io::Error::other(Stopped)) } else { Ok(()) }
    }
}

/// The user gave up.
#[derive(Debug, thiserror::Error)]
#[error("interrupted")]
struct Stopped;

/// Whether something ended because of [`Cancel::check`].
pub fn is_stop(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<Stopped>())
}

/// Passes bytes on until the user gives up.
pub struct Stoppable<I> {
    inner: I,
    cancel: Cancel,
}

impl<I> Stoppable<I> {
    /// A reader or writer in front of this one.
    pub fn new(inner: I, cancel: Cancel) -> Self {
        Self { inner, cancel }
    }

    /// The one behind.
    pub fn into_inner(self) -> I {
        self.inner
    }
}

impl<R: Read> Read for Stoppable<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.cancel.check()?;
        self.inner.read(buffer)
    }
}

impl<W: Write> Write for Stoppable<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.cancel.check()?;
        self.inner.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_and_a_writer_end_when_the_user_gives_up() {
        let cancel = Cancel::default();
        let mut copied = Vec::new();
        let mut reader = Stoppable::new(&[7; 10][..], cancel.clone());
        io::copy(&mut reader, &mut Stoppable::new(&mut copied, cancel.clone())).unwrap();
        assert_eq!(copied, [7; 10]);
        cancel.cancel();
        let read = Stoppable::new(&[7; 10][..], cancel.clone()).read(&mut [0; 1]).unwrap_err();
        let written = Stoppable::new(io::sink(), cancel.clone()).write_all(b"x").unwrap_err();
        assert!(is_stop(&read) && is_stop(&written) && !is_stop(&io::Error::other("interrupted")));
    }
}
