//! Every path of a store, in one place.

use std::path::{Path, PathBuf};

use crate::{ActionKey, LayerId};

/// The paths of a store:
///
/// ```text
/// format            the layout's version, a number
/// blobs/ab/cdef..   content by BLAKE3: layer tarballs, keys, packed images
/// packages/ab/..    content by SHA-256: .debs and the archives' indices
/// index/            facts (RocksDB)
/// index.lock        held while facts are written
/// index.broken-N/   an index that could not be read, put aside by `cache fsck`
/// results/ab/cdef.. the facts of each result once more, by action key
/// gc.lock           shared by builds, taken alone by what removes things
/// layers/HERE/NAME/ unpacked layers, a cache over the tarballs; HERE is this start of the machine and the owners' numbers
/// key               a key that only this store has, readable by its owner
/// locks/KEY         held by the process that builds that action
/// logs/             output of stages
/// failed/           what a failed stage had made, for `ibuild shell --failed`
/// runs/PID-N/       work directories of running builds, each locked while it is in use
/// spares/NAME       files that are no target's any more, each to be written over by that target's next one
/// tmp/              files on their way to a name, each locked while it is written
/// trash/            what is being deleted
/// ```
#[derive(Debug, Clone)]
pub struct Layout {
    root: PathBuf,
    here: String,
}

impl Layout {
    /// The version of this layout.
    pub const FORMAT: u32 = 1;

    pub(crate) fn new(root: &Path) -> Self {
        Self { root: root.to_owned(), here: boot_id() + &numbering() }
    }

    /// The store's own directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn format(&self) -> PathBuf {
        self.root.join("format")
    }

    pub(crate) fn blobs(&self) -> PathBuf {
        self.root.join("blobs")
    }

    pub(crate) fn packages(&self) -> PathBuf {
        self.root.join("packages")
    }

    /// The directory of the index.
    pub fn index(&self) -> PathBuf {
        self.root.join("index")
    }

    /// The file with the store's own key.
    pub(crate) fn own_key(&self) -> PathBuf {
        self.root.join("key")
    }

    /// The lock that writers of facts take.
    pub fn index_lock(&self) -> PathBuf {
        self.root.join("index.lock")
    }

    /// The lock that builds share, and that is taken alone by what removes things that builds may be using.
    pub fn gc_lock(&self) -> PathBuf {
        self.root.join("gc.lock")
    }

    pub(crate) fn results(&self) -> PathBuf {
        self.root.join("results")
    }

    /// The directory of the unpacked layers. Nobody makes them durable, because they can be made again; so those from
    /// before the machine was last started may be half written, and have another directory, which is never read. So have
    /// those of which this process would see other owners than the one that unpacked them.
    pub fn layers(&self) -> PathBuf {
        self.all_layers().join(&self.here)
    }

    /// The directories of unpacked layers, this start's and those of earlier ones.
    pub(crate) fn all_layers(&self) -> PathBuf {
        self.root.join("layers")
    }

    /// The directory name of an unpacked layer: 22 characters, because the kernel takes all layers of a mount
    /// in one page of text. They carry 132 of the digest's 256 bits, more than enough to tell layers apart.
    pub fn layer_name(layer: &LayerId) -> String {
        const ALPHABET: &[u8; 64] = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_";
        let bits = layer.as_bytes();
        let six = |n: usize| {
            let (byte, shift) = (n * 6 / 8, n * 6 % 8);
            let pair = u16::from(bits[byte]) << 8 | u16::from(bits[byte + 1]);
            usize::from(pair >> (10 - shift) & 63)
        };
        (0..22).map(|n| char::from(ALPHABET[six(n)])).collect()
    }

    /// The lock of the process that builds `key`.
    pub fn action_lock(&self, key: &ActionKey) -> PathBuf {
        self.locks().join(key.hex())
    }

    /// The directory of the actions' locks.
    pub fn locks(&self) -> PathBuf {
        self.root.join("locks")
    }

    /// The directory of the stages' logs.
    pub fn logs(&self) -> PathBuf {
        self.root.join("logs")
    }

    /// The directory of what failed stages had made.
    pub fn failed(&self) -> PathBuf {
        self.root.join("failed")
    }

    /// The directory of the running builds' work directories.
    pub fn runs(&self) -> PathBuf {
        self.root.join("runs")
    }

    /// The directory of the files that targets were before their last ones.
    pub fn spares(&self) -> PathBuf {
        self.root.join("spares")
    }

    pub(crate) fn tmp(&self) -> PathBuf {
        self.root.join("tmp")
    }

    /// Where directories are moved before they are deleted, so that a reader sees all or nothing.
    pub fn trash(&self) -> PathBuf {
        self.root.join("trash")
    }

    /// Those with files of images as they are there, programs that run as root among them: nobody but the store's owner
    /// may come near.
    pub(crate) fn private(&self) -> [PathBuf; 6] {
        [self.all_layers(), self.failed(), self.runs(), self.spares(), self.tmp(), self.trash()]
    }

    pub(crate) fn directories(&self) -> [PathBuf; 10] {
        [
            self.blobs(),
            self.packages(),
            self.layers(),
            self.locks(),
            self.logs(),
            self.failed(),
            self.runs(),
            self.spares(),
            self.tmp(),
            self.trash(),
        ]
    }
}

/// Names the time since the machine was started. Without such a name nothing unpacked by another process is believed.
fn boot_id() -> String {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let id: String = id.chars().filter(char::is_ascii_alphanumeric).take(16).collect();
    if id.is_empty() { format!("process-{}", std::process::id()) } else { id }
}

/// Names what this process calls the users and groups of files: nothing for the machine's own numbers, else the mappings
/// of the user namespace that it is in.
fn numbering() -> String {
    let read = |name: &str| std::fs::read_to_string(format!("/proc/self/{name}")).unwrap_or_default();
    numbering_of(&[read("uid_map"), read("gid_map")])
}

fn numbering_of(maps: &[String; 2]) -> String {
    let words = |map: &String| map.split_whitespace().collect::<Vec<_>>().join(" ");
    let maps = maps.each_ref().map(words);
    let is_machines = maps.iter().all(|map| map.is_empty() || map == "0 0 4294967295");
    if is_machines {
        String::new()
    } else {
        format!("-{}", &blake3::hash(maps.join("\n").as_bytes()).to_hex()[..16])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_mapping_of_users_has_unpacked_layers_of_its_own() {
        let of = |uids: &str, gids: &str| numbering_of(&[uids.to_owned(), gids.to_owned()]);
        let all = "         0          0 4294967295\n";
        assert_eq!((of(all, all), of("", "")), (String::new(), String::new()));
        let ann = of("0 1000 1\n1 100000 65536\n", "0 1000 1\n1 100000 65536\n");
        assert_eq!(ann, of("  0 1000 1\n  1 100000 65536\n", "0 1000 1\n1 100000 65536\n"));
        let moved = of("0 1000 1\n1 200000 65536\n", "0 1000 1\n1 100000 65536\n");
        let groups = of("0 1000 1\n1 100000 65536\n", "0 1000 1\n1 200000 65536\n");
        assert!(ann.starts_with('-') && ann != moved && ann != groups && moved != groups);
    }

    #[test]
    fn layer_names_are_short_and_differ() {
        let zero = Layout::layer_name(&LayerId::from_bytes([0; 32]));
        assert_eq!(zero, "0".repeat(22));
        let ones = Layout::layer_name(&LayerId::from_bytes([255; 32]));
        assert_eq!(ones, "_".repeat(22));
        let mut bytes = [0; 32];
        for bit in 0..132 {
            bytes[bit / 8] |= 128 >> (bit % 8);
            assert_ne!(Layout::layer_name(&LayerId::from_bytes(bytes)), zero, "bit {bit}");
        }
    }
}
