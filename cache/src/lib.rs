//! Names bytes and keeps them.
//!
//! A [`Store`] is a directory with two kinds of things in it. *Content* is plain files named by the
//! digest of their bytes ([`BlobStore`]): published by rename, never changed afterwards. *Facts* are small
//! values in an [`Index`]: which action gave which result, what ran last. Facts point at content, never
//! the other way, and are written after it, so a crash leaves garbage but never a lie.

mod below;
mod blobs;
mod cancel;
mod canon;
mod copying;
mod digest;
mod drop_behind;
mod eager;
mod error;
mod extents;
#[cfg(feature = "rocksdb")]
mod hints;
mod index;
mod layout;
mod lock;
mod memo;
mod neutral;
mod read_ahead;
mod record;
mod remove;
mod results;
#[cfg(feature = "rocksdb")]
mod rocks;
mod store;
mod store_key;
mod temp;
mod unwritten;
mod usage;

pub use below::each_below;
pub use blobs::{BlobStore, BlobWriter, Scrubbed, Stored};
pub use cancel::{Cancel, Stoppable, is_stop};
pub use canon::{DecodeError, Decoder, Encoder, Item};
pub use digest::{ActionKey, BlobId, Digest, LayerId, ParseDigestError, Sha256, TreeId};
pub use drop_behind::{DropBehind, is_in_memory};
pub use eager::{EagerFile, start_writing};
pub use error::CacheError;
pub use index::{Batch, Index, MemoryIndex, Rows, Table};
pub use layout::Layout;
pub use lock::{FileLock, LockMode};
pub use memo::{DirectoryMemo, FileStamp, MemoEntry, WatchedFile};
pub use read_ahead::{ReadAhead, fits_in_memory};
pub use record::{MOST_RECORD, Record, whole_bytes};
pub use results::ResultFiles;
#[cfg(feature = "rocksdb")]
pub use rocks::RocksIndex;
pub use store::{RunDir, Store};
pub use temp::sweep as sweep_file;
pub use usage::Usage;
