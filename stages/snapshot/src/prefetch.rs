//! Reading ahead: one thread makes bytes, another uses them, with a few pieces between the two.

use std::io::{self, Read};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

/// Large enough that handing a piece over costs nothing beside making it.
const PIECE: usize = 1 << 20;
/// How many finished pieces may wait.
const PIECES: usize = 8;

/// Reads `source` to its end in a thread of its own, while `user` reads what comes of it, as far as it wants. Gives what
/// `user` made, and `source` when it came to its end without an error.
pub(super) fn read_ahead<R: Read + Send, T>(
    mut source: R,
    user: impl FnOnce(&mut dyn Read) -> T,
) -> (T, io::Result<R>) {
    std::thread::scope(|scope| {
        let (sender, receiver) = sync_channel(PIECES);
        let reading = scope.spawn(move || read_all(&mut source, &sender).map(|()| source));
        let mut pieces = Pieces { receiver, piece: Vec::new(), used: 0 };
        let made = user(&mut pieces);
        // A user that stopped early must not leave the source waiting for somebody to take its pieces.
        pieces.receiver.iter().for_each(drop);
        (made, reading.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })
}

fn read_all(source: &mut impl Read, sender: &SyncSender<Vec<u8>>) -> io::Result<()> {
    loop {
        let mut piece = Vec::with_capacity(PIECE);
        if source.take(PIECE as u64).read_to_end(&mut piece)? == 0 {
            return Ok(());
        }
        // Nobody listens any more only when the user panicked, and then nobody asks for the result.
        let _ = sender.send(piece);
    }
}

/// The user's side. A source that failed looks like one that ended: who wants to know asks the source.
struct Pieces {
    receiver: Receiver<Vec<u8>>,
    piece: Vec<u8>,
    used: usize,
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.used == self.piece.len() {
            self.piece = self.receiver.recv().unwrap_or_default();
            self.used = 0;
        }
        let length = buffer.len().min(self.piece.len() - self.used);
        buffer[..length].copy_from_slice(&self.piece[self.used..self.used + length]);
        self.used += length;
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(length: usize) -> Vec<u8> {
        (0..length).map(|n| (n / 1000) as u8).collect()
    }

    #[test]
    fn everything_arrives() {
        for length in [0, 1, PIECE, PIECE + 1, 20 * PIECE + 7] {
            let bytes = source(length);
            let (read, rest) = read_ahead(&bytes[..], |pieces| {
                let mut read = Vec::new();
                pieces.read_to_end(&mut read).map(|_| read)
            });
            assert!(read.unwrap() == bytes, "{length} bytes");
            assert!(rest.unwrap().is_empty());
        }
    }

    #[test]
    fn a_user_that_stops_early_does_not_stop_the_source() {
        let bytes = source(20 * PIECE);
        let (first, rest) = read_ahead(&bytes[..], |pieces| {
            let mut first = [0; 10];
            pieces.read_exact(&mut first).map(|()| first)
        });
        assert_eq!(first.unwrap(), [0; 10]);
        assert!(rest.unwrap().is_empty());
    }

    #[test]
    fn an_error_is_told_at_the_end() {
        struct Failing;
        impl Read for Failing {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::other("broken"))
            }
        }
        let (read, rest) = read_ahead(Failing, |pieces| pieces.read(&mut [0; 1]));
        assert_eq!(read.unwrap(), 0);
        assert!(rest.is_err());
    }
}
