//! The bodies of the proxy's responses.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::sync::{mpsc, watch};

use crate::fetch::content::read_chunk;
use crate::fetch::progress::Progress;

/// What is not sent of a file before all of it has been verified.
pub(crate) const TAIL: u64 = 64 << 10;

/// A body.
pub(crate) enum ProxyBody {
    /// Text in memory; `None` once it is sent.
    Text(Option<Bytes>),
    /// A part of a file of the store. Read where it is sent: it comes from the page cache or was just written.
    Stored { file: File, at: u64, end: u64 },
    /// A file on its way. What is left of it is known, unless a mirror does not say.
    Coming { chunks: mpsc::Receiver<io::Result<Bytes>>, left: Option<u64> },
}

impl ProxyBody {
    /// A body of text.
    pub(crate) fn text(text: impl Into<Bytes>) -> Self {
        Self::Text(Some(text.into()))
    }

    /// A part of a file that is being downloaded. All but the tail of it goes out as it comes; the tail is held back until the
    /// digest is known, so that no client ever has all that it asked for, and it is wrong. What comes in place of the bytes of
    /// this generation is not sent.
    pub(crate) fn downloading(
        progress: watch::Receiver<Progress>,
        generation: u32,
        part: Range<u64>,
    ) -> Self {
        let (sender, chunks) = mpsc::channel(4);
        let size = part.end - part.start;
        tokio::spawn(async move {
            if let Err(e) = follow(progress, generation, part, &sender).await {
                // The client sees a broken connection and asks again; that it may have left is no matter.
                let _ = sender.send(Err(e)).await;
            }
        });
        Self::Coming { chunks, left: Some(size) }
    }

    fn left(&self) -> Option<u64> {
        match self {
            Self::Text(text) => Some(text.as_ref().map_or(0, |text| text.len() as u64)),
            Self::Stored { at, end, .. } => Some(end - at),
            Self::Coming { left, .. } => *left,
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
            Self::Coming { left: Some(0), .. } => None,
            Self::Coming { chunks, left } => match chunks.poll_recv(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(None) => {
                    *left = Some(0);
                    None
                }
                Poll::Ready(Some(chunk)) => Some(chunk.inspect(|chunk| {
                    *left = left.map(|left| left.saturating_sub(chunk.len() as u64));
                })),
            },
        };
        Poll::Ready(next.map(|chunk| chunk.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        self.left() == Some(0)
    }

    fn size_hint(&self) -> SizeHint {
        self.left().map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

async fn follow(
    mut progress: watch::Receiver<Progress>,
    generation: u32,
    part: Range<u64>,
    sender: &mpsc::Sender<io::Result<Bytes>>,
) -> io::Result<()> {
    let mut sent = part.start;
    loop {
        let now = progress.borrow_and_update().clone();
        if let Some(file) = &now.bytes {
            if generation != now.generation {
                return Err(io::Error::other("the bytes sent so far were wrong"));
            }
            send_until(file, &mut sent, now.safe(part.end)?, sender).await?;
        }
        if sent == part.end {
            return Ok(());
        }
        progress.changed().await.map_err(|_| io::Error::other("the download was stopped"))?;
    }
}

impl Progress {
    /// Up to where the file may be sent to who wants it up to `end`.
    fn safe(&self, end: u64) -> io::Result<u64> {
        match &self.outcome {
            Some(Ok(())) => Ok(end),
            Some(Err(e)) => Err(io::Error::other(e.clone())),
            None => Ok(self.written.min(end).saturating_sub(TAIL)),
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
