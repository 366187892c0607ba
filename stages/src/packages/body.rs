//! The bodies of the proxy's responses.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::sync::{mpsc, watch};

use super::download::Progress;

/// The most that is read at once. A file of this size or less goes out in one piece.
const CHUNK: u64 = 256 << 10;

/// What is not sent of a file before all of it has been verified.
const TAIL: u64 = 64 << 10;

/// A body.
pub(super) enum ProxyBody {
    /// Text in memory; `None` once it is sent.
    Text(Option<Bytes>),
    /// A part of a file of the store. Read where it is sent: it comes from the page cache or was just written.
    Stored { file: File, at: u64, end: u64 },
    /// A file on its way.
    Live { chunks: mpsc::Receiver<io::Result<Bytes>>, left: u64 },
}

impl ProxyBody {
    /// A body of text.
    pub(super) fn text(text: impl Into<Bytes>) -> Self {
        Self::Text(Some(text.into()))
    }

    /// The body of a file of `size` bytes that is being downloaded. All but the tail goes out as it comes; the
    /// tail is held back until the digest is known, so that no client ever has a complete wrong file.
    pub(super) fn live(progress: watch::Receiver<Progress>, size: u64) -> Self {
        let (sender, chunks) = mpsc::channel(4);
        tokio::spawn(async move {
            if let Err(e) = follow(progress, size, &sender).await {
                // The client sees a broken connection and asks again; that it may have left is no matter.
                let _ = sender.send(Err(e)).await;
            }
        });
        Self::Live { chunks, left: size }
    }

    fn left(&self) -> u64 {
        match self {
            Self::Text(text) => text.as_ref().map_or(0, |text| text.len() as u64),
            Self::Stored { at, end, .. } => end - at,
            Self::Live { left, .. } => *left,
        }
    }
}

impl Body for ProxyBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let next = match &mut *self {
            Self::Text(text) => text.take().map(Ok),
            Self::Stored { at, end, .. } if at == end => None,
            Self::Stored { file, at, end } => {
                Some(read_chunk(file, *at, *end).inspect(|c| *at += c.len() as u64))
            }
            Self::Live { left: 0, .. } => None,
            Self::Live { chunks, left } => match chunks.poll_recv(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(chunk) => chunk.map(|chunk| chunk.inspect(|c| *left -= c.len() as u64)),
            },
        };
        Poll::Ready(next.map(|chunk| chunk.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        self.left() == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left())
    }
}

fn read_chunk(file: &File, at: u64, end: u64) -> io::Result<Bytes> {
    let mut chunk = vec![0; (end - at).min(CHUNK) as usize];
    file.read_exact_at(&mut chunk, at)?;
    Ok(chunk.into())
}

async fn follow(
    mut progress: watch::Receiver<Progress>,
    size: u64,
    sender: &mpsc::Sender<io::Result<Bytes>>,
) -> io::Result<()> {
    let (mut sent, mut generation) = (0, None);
    loop {
        let now = progress.borrow_and_update().clone();
        if let Some(file) = &now.bytes {
            if *generation.get_or_insert(now.generation) != now.generation {
                return Err(io::Error::other("the bytes sent so far were wrong"));
            }
            send_until(file, &mut sent, now.safe(size)?, sender).await?;
        }
        if sent == size {
            return Ok(());
        }
        progress.changed().await.map_err(|_| io::Error::other("the download was stopped"))?;
    }
}

impl Progress {
    /// How much of the file may be sent.
    fn safe(&self, size: u64) -> io::Result<u64> {
        match &self.outcome {
            Some(Ok(())) => Ok(size),
            Some(Err(e)) => Err(io::Error::other(e.clone())),
            None => Ok(self.written.saturating_sub(TAIL)),
        }
    }
}

async fn send_until(
    file: &File,
    sent: &mut u64,
    limit: u64,
    sender: &mpsc::Sender<io::Result<Bytes>>,
) -> io::Result<()> {
    while *sent < limit {
        let chunk = read_chunk(file, *sent, limit)?;
        *sent += chunk.len() as u64;
        sender.send(Ok(chunk)).await.map_err(|_| io::Error::other("the client has left"))?;
    }
    Ok(())
}
