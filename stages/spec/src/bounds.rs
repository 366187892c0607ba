//! What disks and machines there can be: bounds of the formats, of the file system and of hypervisors. A recipe is held against
//! them when it is read, so that nothing is built in vain; a specification, before anything is made of it.

use crate::ByteSize;

/// One mebibyte in bytes: the alignment of everything on a disk.
pub const MIB: u64 = 1 << 20;

/// The smallest disk there can be, in bytes: 64 MiB before the root partition, 32 MiB of it, 1 MiB behind.
pub const SMALLEST_DISK: u64 = 97 * MIB;

/// The largest, in bytes: of a root partition that is larger the blocks could not be counted with 32 bits.
pub const LARGEST_DISK: u64 = 16 << 40;

/// The longest script, in bytes. All of it is in the key of its stage, so that two of them can be compared line by line.
pub const LONGEST_SCRIPT: u64 = 16 * MIB;

/// A value that no image can have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct Unfit {
    what: String,
    advice: String,
}

impl Unfit {
    fn new(what: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { what: what.into(), advice: advice.into() }
    }

    /// What would be right.
    pub fn advice(&self) -> &str {
        &self.advice
    }
}

/// A mebibyte is the unit of partitions, and of memory.
fn whole_mebibytes(size: u64) -> Result<(), Unfit> {
    if size.is_multiple_of(MIB) {
        return Ok(());
    }
    let next = ByteSize(size.div_ceil(MIB).saturating_mul(MIB));
    Err(Unfit::new(
        format!("{} is no number of mebibytes", ByteSize(size)),
        format!("use `MiB` or `GiB`: `{next}` is the next that is one"),
    ))
}

/// Whether a disk can be called so. Names of partitions, files and machines are made of it.
pub fn image_name(name: &str) -> Result<(), Unfit> {
    const LONGEST: usize = 64;
    let is_good = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    let begins_well = name.starts_with(|c: char| c.is_ascii_alphanumeric());
    if begins_well && name.len() <= LONGEST && name.chars().all(is_good) {
        return Ok(());
    }
    Err(Unfit::new(
        format!("the name `{name}` cannot be that of a disk"),
        format!(
            "such names consist of letters, digits, `.`, `_` and `-`, start with a letter or digit, and have {LONGEST} characters at most"
        ),
    ))
}

/// Whether hypervisors can show a machine by this name. VirtualBox also calls its folder and its file of settings so.
pub fn machine_name(name: &str) -> Result<(), Unfit> {
    const LONGEST: usize = 80;
    let is_good = |c: char| !c.is_control() && !"/\\:*?\"<>|".contains(c);
    let is_framed = name.starts_with([' ', '.']) || name.ends_with([' ', '.']);
    let length = name.chars().count();
    if (1..=LONGEST).contains(&length) && name.chars().all(is_good) && !is_framed {
        return Ok(());
    }
    Err(Unfit::new(
        format!("a machine cannot be called {name:?}"),
        format!(
            "it has 1 to {LONGEST} characters, none of which is `/`, `\\`, `:`, `*`, `?`, `\"`, `<`, `>`, `|` or a control character, and no blank or dot at its ends"
        ),
    ))
}

/// Whether a disk can have so many bytes.
pub fn disk_size(size: u64) -> Result<(), Unfit> {
    let disk = |what: &str| format!("a disk of {} is {what}", ByteSize(size));
    if size < SMALLEST_DISK {
        let advice = format!(
            "the smallest has {}, of which what starts the machine takes two thirds",
            ByteSize(SMALLEST_DISK)
        );
        return Err(Unfit::new(disk("too small"), advice));
    }
    if size > LARGEST_DISK {
        let advice =
            format!("the largest has {}: its file system counts blocks with 32 bits", ByteSize(LARGEST_DISK));
        return Err(Unfit::new(disk("too large"), advice));
    }
    whole_mebibytes(size)
}

/// Whether a kernel can be given this. GRUB and the kernel disagree on how quotes and backslashes are read.
pub fn cmdline(text: &str) -> Result<(), Unfit> {
    let is_good = |c: char| (' '..='~').contains(&c) && !"'\"\\".contains(c);
    match text.chars().find(|c| !is_good(*c)) {
        None => Ok(()),
        Some(c) => Err(Unfit::new(
            format!("the kernel's command line cannot have {c:?}"),
            "it consists of printable ASCII without quotes and backslashes",
        )),
    }
}

/// Whether a machine can have so many processors.
pub fn cpus(count: i64) -> Result<(), Unfit> {
    match count {
        1..=64 => Ok(()),
        _ => Err(Unfit::new(format!("a machine cannot have {count} processors"), "from 1 to 64")),
    }
}

/// Whether a machine can have so many bytes of memory.
pub fn memory(size: u64) -> Result<(), Unfit> {
    amount("memory", size, [32 * MIB, 4 << 40])
}

/// Whether a machine can have so many bytes of video memory.
pub fn video_memory(size: u64) -> Result<(), Unfit> {
    amount("video memory", size, [MIB, 256 * MIB])
}

fn amount(what: &str, size: u64, [least, most]: [u64; 2]) -> Result<(), Unfit> {
    if (least..=most).contains(&size) {
        return whole_mebibytes(size);
    }
    let bounds = format!("from {} to {}", ByteSize(least), ByteSize(most));
    Err(Unfit::new(format!("a machine cannot have {} of {what}", ByteSize(size)), bounds))
}

/// Whether a machine can have so many network cards: VirtualBox's limit for its default chipset.
pub fn network_cards(count: usize) -> Result<(), Unfit> {
    match count {
        0..=8 => Ok(()),
        _ => Err(Unfit::new(format!("a machine cannot have {count} network cards"), "at most 8")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_of_disks() {
        for mib in [97, 98, 1024, 2 << 20, 16 << 20] {
            assert_eq!(disk_size(mib * MIB), Ok(()), "{mib}");
        }
        let unfit = |size: u64| disk_size(size).unwrap_err().to_string();
        assert_eq!(unfit(0), "a disk of 0 TiB is too small");
        assert_eq!(unfit(96 * MIB), "a disk of 96 MiB is too small");
        assert_eq!(unfit(100_000 << 10), "100000 KiB is no number of mebibytes");
        assert_eq!(unfit(LARGEST_DISK + MIB), "a disk of 16777217 MiB is too large");
        assert_eq!(unfit(u64::MAX), format!("a disk of {} bytes is too large", u64::MAX));
        assert_eq!(
            disk_size(1_000_000_000).unwrap_err().advice(),
            "use `MiB` or `GiB`: `954 MiB` is the next that is one"
        );
    }
}
