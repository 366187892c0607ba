//! Why two runs of one program write different bytes. `docs/reproducible.md` has an entry for each.

use std::fmt;

/// A cause of a difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Cause {
    /// The time of day.
    Clock,
    /// How long something took.
    Elapsed,
    /// Since when the machine runs.
    Uptime,
    /// The id that the kernel chose when it started.
    BootId,
    /// Random bytes.
    RandomBytes,
    /// A random number.
    RandomNumber,
    /// A random UUID.
    Uuid,
    /// The name of a temporary file.
    TemporaryName,
    /// A key that was generated.
    Key,
    /// The salt of a password's hash.
    Salt,
    /// A machine id.
    MachineId,
    /// The number of a process.
    ProcessId,
    /// The number of an inode.
    Inode,
    /// An address in memory.
    Address,
    /// The order in which a directory is listed.
    DirectoryOrder,
    /// The order of a hash table.
    HashOrder,
    /// The order in which processes or threads finish.
    ParallelOrder,
    /// The number or the kind of processors.
    Cpus,
    /// The size of memory, or how much of it is free.
    Memory,
    /// The kernel's name and version.
    Kernel,
    /// The name of the host.
    HostName,
    /// How much of the disk is free.
    DiskSpace,
    /// How busy the machine is.
    Load,
    /// The day on which a password was changed.
    PasswordDay,
    /// The time in the header of a compressed file.
    CompressionTime,
    /// Times of files in an archive.
    ArchiveTimes,
    /// The order of files in an archive.
    ArchiveOrder,
    /// The time of a source in its compiled form.
    BytecodeTime,
    /// A build id, which is a digest of everything that was linked.
    BuildId,
    /// A cache that a program keeps for itself.
    ToolCache,
    /// Counters in the header of a database.
    DatabaseHeader,
    /// The time or an identifier in the metadata of a picture.
    PictureMetadata,
    /// A log.
    Log,
}

impl Cause {
    /// All causes, in the order in which `docs/reproducible.md` has them.
    pub const ALL: [Self; 33] = [
        Self::Clock,
        Self::Elapsed,
        Self::Uptime,
        Self::BootId,
        Self::RandomBytes,
        Self::RandomNumber,
        Self::Uuid,
        Self::TemporaryName,
        Self::Key,
        Self::Salt,
        Self::MachineId,
        Self::ProcessId,
        Self::Inode,
        Self::Address,
        Self::DirectoryOrder,
        Self::HashOrder,
        Self::ParallelOrder,
        Self::Cpus,
        Self::Memory,
        Self::Kernel,
        Self::HostName,
        Self::DiskSpace,
        Self::Load,
        Self::PasswordDay,
        Self::CompressionTime,
        Self::ArchiveTimes,
        Self::ArchiveOrder,
        Self::BytecodeTime,
        Self::BuildId,
        Self::ToolCache,
        Self::DatabaseHeader,
        Self::PictureMetadata,
        Self::Log,
    ];

    /// Causes whose traces look the same.
    pub(crate) fn lookalikes(self) -> &'static [Self] {
        match self {
            Self::RandomNumber | Self::Inode => &[
                Self::ProcessId,
                Self::Inode,
                Self::Uptime,
                Self::Load,
                Self::Memory,
                Self::DiskSpace,
                Self::Cpus,
                Self::Elapsed,
                Self::Address,
                Self::HashOrder,
            ],
            Self::Elapsed => &[Self::Uptime, Self::Load, Self::RandomNumber],
            Self::DirectoryOrder | Self::HashOrder => {
                &[Self::ParallelOrder, Self::HashOrder, Self::DirectoryOrder]
            }
            Self::RandomBytes => &[Self::Key, Self::Salt, Self::Uuid],
            _ => &[],
        }
    }

    /// A word for programs, also the heading of its entry in `docs/reproducible.md`.
    pub fn word(self) -> &'static str {
        self.texts().0
    }

    /// What it is, for people.
    pub fn sentence(self) -> &'static str {
        self.texts().1
    }

    /// The usual cure.
    pub fn cure(self) -> &'static str {
        self.texts().2
    }

    #[allow(clippy::too_many_lines, reason = "a table, one entry for each cause")]
    fn texts(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Clock => (
                "clock",
                "the time of day",
                "take `$SOURCE_DATE_EPOCH`: `date -u -d \"@$SOURCE_DATE_EPOCH\"`",
            ),
            Self::Elapsed => {
                ("elapsed", "how long something took", "do not write durations into the image; print them")
            }
            Self::Uptime => ("uptime", "since when the machine runs", "do not write it into the image"),
            Self::BootId => {
                ("boot-id", "the id of this boot of the build machine", "do not write it into the image")
            }
            Self::RandomBytes => (
                "random-bytes",
                "random bytes",
                "create them at the first boot, or derive them from a fixed seed",
            ),
            Self::RandomNumber => {
                ("random-number", "a random number", "use a fixed seed, or a number from the recipe")
            }
            Self::Uuid => (
                "uuid",
                "a random UUID",
                "derive it from a name: `uuidgen --sha1 --namespace @dns --name NAME`",
            ),
            Self::TemporaryName => (
                "temporary-name",
                "the name of a temporary file",
                "use a fixed name below `/tmp`, which each stage has for itself",
            ),
            Self::Key => (
                "key",
                "a key that is generated while the image is built",
                "remove it, and generate it at the first boot: every machine would share it",
            ),
            Self::Salt => (
                "salt",
                "the salt of a password's hash",
                "set the hash itself, made once: `usermod -p 'HASH' USER`",
            ),
            Self::MachineId => (
                "machine-id",
                "a machine id",
                "leave `/etc/machine-id` empty: systemd chooses one at the first boot",
            ),
            Self::ProcessId => ("process-id", "the number of a process", "do not write `$$` into the image"),
            Self::Inode => ("inode", "the number of an inode", "do not write it into the image"),
            Self::Address => (
                "address",
                "an address in memory",
                "print a name instead of an object; `%p` and `id()` give addresses",
            ),
            Self::DirectoryOrder => (
                "directory-order",
                "the order in which a directory is listed",
                "sort it: `ls | LC_ALL=C sort`, `find ... | LC_ALL=C sort`, `sorted(os.listdir())`, `tar --sort=name`",
            ),
            Self::HashOrder => (
                "hash-order",
                "the order of a hash table",
                "sort the keys, or set `PYTHONHASHSEED=0` and `PERL_HASH_SEED=0` in `env`",
            ),
            Self::ParallelOrder => (
                "parallel-order",
                "the order in which processes finish",
                "collect their output by name, or run them one after the other",
            ),
            Self::Cpus => (
                "cpus",
                "the number or kind of processors",
                "set a fixed number of jobs; `machine = { cpus = 2 }` on the step fixes what programs see",
            ),
            Self::Memory => (
                "memory",
                "the size of memory",
                "set a fixed size; `machine = { memory = \"4 GiB\" }` on the step fixes what programs see",
            ),
            Self::Kernel => (
                "kernel",
                "the build machine's kernel",
                "name the kernel of the image: `ls /lib/modules` instead of `uname -r`",
            ),
            Self::HostName => {
                ("host-name", "the name of the host", "write the name that the image shall have")
            }
            Self::DiskSpace => ("disk-space", "the space of the disk", "do not write it into the image"),
            Self::Load => ("load", "how busy the machine is", "do not write it into the image"),
            Self::PasswordDay => (
                "password-day",
                "the day on which a password was changed",
                "`chage -d \"$((SOURCE_DATE_EPOCH / 86400))\" USER`",
            ),
            Self::CompressionTime => (
                "compression-time",
                "the time in the header of a compressed file",
                "`gzip -n`; in Python `gzip.GzipFile(mtime=0)`",
            ),
            Self::ArchiveTimes => (
                "archive-times",
                "times of files in an archive",
                "`tar --mtime=\"@$SOURCE_DATE_EPOCH\" --clamp-mtime --sort=name`, `zip -X` after `touch -d`, `ar D`",
            ),
            Self::ArchiveOrder => (
                "archive-order",
                "the order of files in an archive",
                "`tar --sort=name`; give the names sorted",
            ),
            Self::BytecodeTime => (
                "bytecode-time",
                "the time of the source in its compiled form",
                "`py_compile` with `--invalidation-mode checked-hash`, or remove `__pycache__`",
            ),
            Self::BuildId => (
                "build-id",
                "something that was linked differs, and with it the build id",
                "look for `__DATE__`, paths of temporary directories (`-ffile-prefix-map`) and the order of objects",
            ),
            Self::ToolCache => (
                "tool-cache",
                "a cache that a tool keeps for itself",
                "remove it at the end of the step, or list it in `volatile`",
            ),
            Self::DatabaseHeader => (
                "database-header",
                "counters in the header of a database",
                "create it in one transaction from sorted input, then `VACUUM INTO` a new file",
            ),
            Self::PictureMetadata => (
                "picture-metadata",
                "metadata of a picture",
                "strip it: `convert -strip`, `-define png:exclude-chunks=date,time`",
            ),
            Self::Log => ("log", "a log", "remove it at the end of the step, or list it in `volatile`"),
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.sentence())
    }
}
