//! Copies a file and digests what is copied, in one pass, while the next piece is read.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use crate::Digest;
use crate::cancel::Cancel;
use crate::eager::start_writing;
use crate::extents::{Extent, extents, pieces, zeros_until};

/// Pieces that are read ahead at most.
const AHEAD: usize = 4;

/// Which side of a copy failed.
pub(crate) enum Fault {
    Read(io::Error),
    Write(io::Error),
}

/// Part of the file: where it begins, and its bytes.
type Piece = (u64, Vec<u8>);

/// Copies `source` into the empty file `to`, and tells the digest of what was copied. Holes stay holes.
pub(crate) fn copy<D: Digest>(source: &File, to: File, cancel: &Cancel) -> Result<D, Fault> {
    let length = source.metadata().map_err(Fault::Read)?.len();
    to.set_len(length).map_err(Fault::Write)?;
    let (full, come) = sync_channel(AHEAD);
    let (used, empty) = sync_channel(AHEAD);
    (0..AHEAD).for_each(|_| used.send(Vec::new()).expect("there is room for all"));
    thread::scope(|scope| {
        let reading = scope.spawn(move || read(source, length, &empty, &full));
        let written = write::<D>(&to, length, &come, &used, cancel).map_err(Fault::Write);
        // The reader ends where nobody takes its pieces any more.
        drop((come, used));
        reading.join().expect("reading does not panic").map_err(Fault::Read)?;
        written
    })
}

fn read(source: &File, length: u64, empty: &Receiver<Vec<u8>>, full: &SyncSender<Piece>) -> io::Result<()> {
    for extent in extents(source, length) {
        let Extent::Data(range) = extent else { continue };
        for (start, size) in pieces(range) {
            let Ok(mut buffer) = empty.recv() else { return Ok(()) };
            buffer.resize(size, 0);
            source.read_exact_at(&mut buffer, start)?;
            if full.send((start, buffer)).is_err() {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// Reads are ahead of the writes, and the disk begins with each piece as soon as it is there.
fn write<D: Digest>(
    to: &File,
    length: u64,
    come: &Receiver<Piece>,
    used: &SyncSender<Vec<u8>>,
    cancel: &Cancel,
) -> io::Result<D> {
    let (mut hasher, mut end) = (D::Hasher::default(), 0);
    for (start, buffer) in come {
        zeros_until::<D>(&mut hasher, end..start, cancel)?;
        cancel.check()?;
        end = start + buffer.len() as u64;
        D::update(&mut hasher, &buffer);
        to.write_all_at(&buffer, start)?;
        start_writing(to, start..end);
        // A reader that has come to its end needs no more buffers.
        let _ = used.send(buffer);
    }
    zeros_until::<D>(&mut hasher, end..length, cancel)?;
    Ok(D::finish(hasher))
}
