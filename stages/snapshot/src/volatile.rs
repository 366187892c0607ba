//! Files that differ between two runs of the same stage and that nobody will miss.
//!
//! They are removed from the snapshot itself and not merely left out of its digest: otherwise what a later stage
//! sees would depend on which run came first. The causes are documented in `docs/volatile.md`.

/// What to remove after every stage, relative to the root. A trailing `*` stands for any rest of the last name.
pub const VOLATILE: &[&str] = &[
    // Logs of the package tools: times.
    "var/log/dpkg.log",
    "var/log/alternatives.log",
    "var/log/bootstrap.log",
    "var/log/apt/*",
    "var/log/fontconfig.log",
    // The linker's auxiliary cache: inode numbers and change times.
    "var/cache/ldconfig/aux-cache",
    // apt's memory images: addresses and times; rebuilt when missing.
    "var/cache/apt/pkgcache.bin",
    "var/cache/apt/srcpkgcache.bin",
    "var/lib/apt/lists/lock",
    "var/cache/apt/archives/lock",
    "var/lib/dpkg/lock",
    "var/lib/dpkg/lock-frontend",
    "var/lib/dpkg/triggers/Lock",
    "var/cache/debconf/passwords.dat",
    // Backups of earlier states: they record in how many steps a state was reached.
    "etc/passwd-",
    "etc/group-",
    "etc/shadow-",
    "etc/gshadow-",
    "etc/subuid-",
    "etc/subgid-",
    "var/lib/dpkg/status-old",
    "var/lib/dpkg/available-old",
    "var/lib/dpkg/diversions-old",
    "var/lib/dpkg/statoverride-old",
    "var/cache/debconf/config.dat-old",
    "var/cache/debconf/templates.dat-old",
    "etc/.pwd.lock",
    // Seeds of random numbers.
    "var/lib/systemd/random-seed",
    "var/lib/random-seed",
];

/// Paths and patterns as above, with those that a step adds.
#[derive(Debug, Clone)]
pub struct VolatileList {
    patterns: Vec<Vec<u8>>,
}

impl VolatileList {
    /// The built-in list and the recipe's own.
    pub fn with(extra: &[String]) -> Self {
        let extra = extra.iter().map(|path| path.trim_start_matches('/'));
        let patterns = VOLATILE.iter().copied().chain(extra);
        Self { patterns: patterns.map(|p| p.as_bytes().to_vec()).collect() }
    }

    /// Whether the file at `path`, relative to the root, is to go.
    pub fn contains(&self, path: &[u8]) -> bool {
        self.patterns.iter().any(|pattern| match pattern.strip_suffix(b"*") {
            Some(start) => {
                path.strip_prefix(start).is_some_and(|rest| !rest.is_empty() && !rest.contains(&b'/'))
            }
            None => path == pattern,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_stay_in_their_directory() {
        let list = VolatileList::with(&["/srv/cache/*".to_owned(), "/etc/stamp".to_owned()]);
        for gone in ["var/log/apt/term.log", "srv/cache/x", "etc/stamp", "etc/passwd-"] {
            assert!(list.contains(gone.as_bytes()), "{gone}");
        }
        for kept in ["var/log/apt", "srv/cache/x/y", "etc/stamp2", "etc/passwd", "srv/cache/"] {
            assert!(!list.contains(kept.as_bytes()), "{kept}");
        }
    }
}
