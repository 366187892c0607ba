//! The tables of the recipe language, and the keys of each.
//!
//! These lists are what the parser refuses unknown keys by: a key that is not in them cannot be read.

/// The keys that one kind of table has.
pub struct Keys {
    table: &'static str,
    known: &'static [&'static str],
}

impl Keys {
    /// Whether it is one of them.
    pub fn has(&self, key: &str) -> bool {
        self.known.contains(&key)
    }

    /// All of them, to guess from what was meant.
    pub fn all(&self) -> impl Iterator<Item = &'static str> {
        self.known.iter().copied()
    }
}

/// Every table is a constant and in the list of all.
macro_rules! tables {
    ($($name:ident = $table:literal [$($key:literal),+];)+) => {
        $(pub(super) const $name: Keys = Keys { table: $table, known: &[$($key),+] };)+

        const TABLES: &[Keys] = &[$($name),+];
    };
}

tables! {
    TOP = "recipe" ["schema", "include", "project", "vars", "profile", "archive", "rootfs", "image", "test"];
    PROFILE = "profile" ["vars", "formats"];
    PROJECT = "project" ["name", "epoch"];
    ARCHIVE = "archive" [
        "suites", "security", "components", "architecture", "foreign", "mirror", "security-mirror", "url", "key"
    ];
    ROOTFS = "rootfs" ["from", "env", "limits", "steps"];
    STEP = "step" [
        "name", "bootstrap", "packages", "packages-from", "copy", "script", "scripts", "run", "copy-from", "fetch", "check",
        "env", "network", "machine", "timeout", "limits", "inputs", "secrets", "volatile", "recommends", "skip",
        "settings", "reproducible", "profiles"
    ];
    SETTINGS = "settings" [
        "env", "network", "machine", "timeout", "limits", "inputs", "secrets", "volatile", "reproducible"
    ];
    LIMITS = "limits" ["memory", "processes", "disk"];
    MACHINE = "machine" ["cpus", "memory", "readdir", "clock"];
    INPUT = "input" ["path", "exclude"];
    SECRET = "secret" ["name", "affects-output"];
    BOOTSTRAP = "bootstrap" ["archive", "variant", "include"];
    COPY = "copy" ["from", "to", "owner", "group", "mode", "dirs", "exclude"];
    FETCH = "fetch" ["url", "sha256", "to", "mode", "owner", "group", "unpack", "strip", "signature"];
    SIGNATURE = "signature" ["url", "key"];
    COPY_FROM = "copy-from" ["rootfs", "paths"];
    IMAGE = "image" ["rootfs", "formats", "disk", "vm", "machines"];
    DISK = "disk" ["size", "firmware", "uuid", "fs-uuid", "cmdline"];
    VM = "vm" [
        "name", "uuid", "cpus", "memory", "vram", "firmware", "disk-bus", "nics", "audio", "clipboard", "drag-and-drop", "rtc",
        "boot-order", "description", "product", "product-url", "vendor", "vendor-url", "version", "eula",
        "virtualbox-extra"
    ];
    NIC = "nic" ["network", "mac"];
    TEST = "test" ["machines", "expect", "login", "files", "steps", "silent", "heard", "timeout"];
    LOGIN = "login" ["user", "password"];
    TEST_STEP = "test step" ["on", "expect", "type", "run", "screenshot", "power"];
}

/// Every key that a recipe may have, with the kind of table that it is in. Not those that are names, as in `vars` and `env`.
pub fn keys() -> impl Iterator<Item = (&'static str, &'static str)> {
    TABLES.iter().flat_map(|table| table.known.iter().map(|key| (table.table, *key)))
}
