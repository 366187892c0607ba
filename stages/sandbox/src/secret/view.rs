//! A text that is made of another one for a search, and where each of its bytes comes from.

/// Whether more of a text may come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rest {
    /// What it ends with may be half of something.
    Open,
    /// This is all of it.
    Ended,
}

/// A part of the text that a [`View`] is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) start: usize,
    pub(super) end: usize,
}

/// What is searched, and for each byte what it stands for.
#[derive(Default)]
pub(super) struct View {
    pub(super) bytes: Vec<u8>,
    places: Vec<Place>,
}

impl View {
    /// Text without its white space.
    pub(super) fn squeezed(text: &[u8]) -> Self {
        let kept = text.iter().enumerate().filter(|(_, byte)| !byte.is_ascii_whitespace());
        let (bytes, places) = kept.map(|(at, byte)| (*byte, Place { start: at, end: at + 1 })).unzip();
        Self { bytes, places }
    }

    /// Bytes that the whole of `place` stands for.
    pub(super) fn push_all(&mut self, bytes: &[u8], place: Place) {
        self.bytes.extend_from_slice(bytes);
        self.places.extend(bytes.iter().map(|_| place));
    }

    /// Bytes that are in the text as they are, from `start` on.
    pub(super) fn push_each(&mut self, bytes: &[u8], start: usize) {
        self.bytes.extend_from_slice(bytes);
        self.places.extend((start..start + bytes.len()).map(|at| Place { start: at, end: at + 1 }));
    }

    /// Where the byte of this number comes from.
    pub(super) fn place(&self, at: usize) -> Place {
        self.places[at]
    }
}
