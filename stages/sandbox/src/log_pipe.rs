//! What a payload says, on its way to the log. It gets a pipe and not the log itself: a file it could cut, fill the disk
//! with, or reach the host's file system through.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, PipeWriter, Read, Write};
use std::thread::{self, JoinHandle};

use super::secret::{Mask, Masked};

/// Of longer logs the middle is left out.
const BEGINNING: u64 = 64 << 20;
const END: usize = 1 << 20;

/// Copies what comes through a pipe, until nobody can write to it any more.
pub(super) struct Transcript {
    thread: JoinHandle<io::Result<()>>,
}

impl Transcript {
    /// The pipe's end for the payload is given back; all copies of it have to be closed before [`Transcript::finish`]. What
    /// `mask` covers does not reach the log.
    pub(super) fn begin(log: &File, mask: Option<Mask>) -> io::Result<(Self, PipeWriter)> {
        let (reader, writer) = io::pipe()?;
        let mut log = log.try_clone()?;
        let copy = move || match mask {
            Some(mask) => copy(Masked::new(reader, mask), &mut log, BEGINNING, END),
            None => copy(reader, &mut log, BEGINNING, END),
        };
        let thread = thread::Builder::new().name("stage log".to_owned()).spawn(copy)?;
        Ok((Self { thread }, writer))
    }

    /// Waits for the last word.
    pub(super) fn finish(self) -> io::Result<()> {
        self.thread.join().unwrap_or_else(|_| Err(io::Error::other("the thread that writes it panicked")))
    }
}

/// A log that cannot be written is no reason to keep the payload from speaking: the rest is read all the same.
fn copy(mut reader: impl Read, log: &mut impl Write, beginning: u64, end: usize) -> io::Result<()> {
    let written = io::copy(&mut (&mut reader).take(beginning), log).map(drop);
    let mut tail = Tail::new(end);
    let read = tail.fill(&mut reader);
    written?;
    read?;
    tail.write(log)
}

/// The last bytes of a stream.
struct Tail {
    kept: VecDeque<u8>,
    most: usize,
    left_out: u64,
}

impl Tail {
    fn new(most: usize) -> Self {
        Self { kept: VecDeque::new(), most, left_out: 0 }
    }

    fn fill(&mut self, reader: &mut impl Read) -> io::Result<()> {
        let mut buffer = vec![0; 64 << 10];
        loop {
            let length = match reader.read(&mut buffer) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                length => length?,
            };
            if length == 0 {
                return Ok(());
            }
            self.kept.extend(&buffer[..length]);
            let beyond = self.kept.len().saturating_sub(self.most);
            self.kept.drain(..beyond);
            self.left_out += beyond as u64;
        }
    }

    fn write(&self, log: &mut impl Write) -> io::Result<()> {
        if self.left_out > 0 {
            writeln!(log, "\n... ibuild leaves {} bytes out here ...", self.left_out)?;
        }
        let (front, back) = self.kept.as_slices();
        log.write_all(front)?;
        log.write_all(back)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(said: &str, expected: &str) {
        let (reader, mut writer) = io::pipe().unwrap();
        writer.write_all(said.as_bytes()).unwrap();
        drop(writer);
        let mut log = Vec::new();
        copy(reader, &mut log, 4, 3).unwrap();
        assert_eq!(String::from_utf8(log).unwrap(), expected);
    }

    #[test]
    fn only_the_middle_is_left_out() {
        check("", "");
        check("1234", "1234");
        check("1234567", "1234567");
        check("12345678", "1234\n... ibuild leaves 1 bytes out here ...\n678");
        check(&"x".repeat(9999), &format!("xxxx\n... ibuild leaves {} bytes out here ...\nxxx", 9999 - 7));
    }
}
