//! A meter on the plain bytes of an archive: the reader of headers holds names and records in memory, however long they claim
//! to be, and a stream of headers need not end.

use std::cell::Cell;
use std::io::{self, Read};
use std::rc::Rc;

/// The most that the headers of one member may have. Names have up to 4 KiB; records may carry attributes.
pub(crate) const HEADERS: u64 = 4 << 20;

/// Which limit was reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reached {
    Headers,
    Total,
}

/// What is left, shared with whoever knows what is read.
pub(crate) struct Meter {
    headers: Cell<u64>,
    total: Cell<u64>,
    reached: Cell<Option<Reached>>,
    /// Whether the content of a member is read, which is measured by its size.
    content: Cell<bool>,
}

impl Meter {
    pub(crate) fn new(total: u64) -> Rc<Self> {
        let (headers, reached, content) = (Cell::new(HEADERS), Cell::default(), Cell::new(false));
        Rc::new(Self { headers, total: Cell::new(total), reached, content })
    }

    /// The next bytes are headers, up to the content of a member.
    pub(crate) fn expect_headers(&self) {
        self.headers.set(HEADERS);
        self.content.set(false);
    }

    /// The next bytes are the content of a member.
    pub(crate) fn expect_content(&self) {
        self.content.set(true);
    }

    pub(crate) fn reached(&self) -> Option<Reached> {
        self.reached.get()
    }

    /// Takes bytes off what is left.
    fn take(&self, bytes: u64) -> Result<(), Reached> {
        let total = self.total.get().checked_sub(bytes).ok_or(Reached::Total)?;
        self.total.set(total);
        if !self.content.get() {
            let headers = self.headers.get().checked_sub(bytes).ok_or(Reached::Headers)?;
            self.headers.set(headers);
        }
        Ok(())
    }
}

/// A reader that ends with an error where a limit is reached.
pub(crate) struct Metered<R> {
    pub(crate) from: R,
    pub(crate) meter: Rc<Meter>,
}

impl<R: Read> Read for Metered<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.from.read(buffer)?;
        match self.meter.take(read as u64) {
            Ok(()) => Ok(read),
            Err(reached) => {
                self.meter.reached.set(Some(reached));
                Err(io::Error::other("a limit is reached"))
            }
        }
    }
}
