//! Files of Debian that are made differently each time, by their paths.

use crate::Cause;

/// How a path is recognised.
enum Pattern {
    /// The whole path.
    Is(&'static str),
    /// Its beginning.
    Below(&'static str),
    /// Beginning and end.
    Between(&'static str, &'static str),
}

use Pattern::{Below, Between, Is};

const KNOWN: &[(Pattern, Cause)] = &[
    (Is("/etc/machine-id"), Cause::MachineId),
    (Is("/var/lib/dbus/machine-id"), Cause::MachineId),
    (Between("/etc/ssh/ssh_host_", "_key"), Cause::Key),
    (Between("/etc/ssh/ssh_host_", "_key.pub"), Cause::Key),
    (Is("/etc/ssl/private/ssl-cert-snakeoil.key"), Cause::Key),
    (Is("/etc/ssl/certs/ssl-cert-snakeoil.pem"), Cause::Key),
    (Between("/var/lib/tor/", "secret_key"), Cause::Key),
    (Is("/etc/tor/control_auth_cookie"), Cause::RandomBytes),
    (Is("/var/lib/systemd/random-seed"), Cause::RandomBytes),
    (Is("/var/lib/systemd/credential.secret"), Cause::Key),
    (Below("/var/cache/fontconfig/"), Cause::ToolCache),
    (Is("/var/cache/ldconfig/aux-cache"), Cause::ToolCache),
    (Below("/var/cache/man/"), Cause::ToolCache),
    (Below("/var/cache/debconf/"), Cause::ToolCache),
    (Between("/var/cache/apt/", ".bin"), Cause::ToolCache),
    (Is("/etc/ssl/certs/java/cacerts"), Cause::Clock),
    (Is("/var/lib/command-not-found/commands.db"), Cause::DatabaseHeader),
    (Below("/var/log/"), Cause::Log),
];

/// The cause that a path stands for.
pub(crate) fn cause(path: &str) -> Option<Cause> {
    let is = |pattern: &Pattern| match pattern {
        Is(whole) => path == *whole,
        Below(start) => path.starts_with(start),
        Between(start, end) => path.starts_with(start) && path.ends_with(end),
    };
    KNOWN.iter().find(|(pattern, _)| is(pattern)).map(|(_, cause)| *cause)
}
