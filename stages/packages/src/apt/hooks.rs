//! Programs that apt's configuration names. One that runs while apt does can look at the indices, so what it leaves behind may
//! tell one state of an archive from another that has the same packages.

use ibuild_debian::decode;

/// Parts of the names of settings, in small letters, whose values are commands (apt.conf(5), apt's `doc/json-hooks-protocol.md`).
const COMMANDS: [&str; 5] = ["invoke", "pre-install-pkgs", "hooks", "auto-detect", "autodetect"];

/// Ends of the names of settings, in small letters, whose values are programs that decide in apt's place, but for [`BUILT_IN`].
const DECIDING: [&str; 2] = ["apt::solver", "apt::planner"];

/// What decides within apt itself.
const BUILT_IN: [&str; 2] = ["internal", "3.0"];

/// Parts of the names of settings, in small letters, whose values are programs or places of programs, but for [`PROGRAMS`].
const NAMING: [&str; 5] = ["dir::bin", "::binary", "gpgvcommand", "dpkg::path", "dpkg::chroot-directory"];

/// What Debian's apt sets these to, or takes for them: the places of its own programs, and the compressors that it knows.
const PROGRAMS: [&str; 19] = [
    "/usr/lib/apt/methods",
    "/usr/lib/apt/solvers",
    "/usr/lib/apt/planners",
    "/usr/bin/dpkg",
    "/usr/bin/apt-key",
    "/usr/sbin:/usr/bin:/sbin:/bin",
    "/bin/gzip",
    "/bin/bzip2",
    "/usr/bin/xz",
    "/usr/bin/lzma",
    "/usr/bin/lz4",
    "/usr/bin/zstd",
    "gzip",
    "bzip2",
    "xz",
    "lzma",
    "lz4",
    "zstd",
    "false",
];

/// Where apt keeps its state, caches and logs in Debian: settings in small letters, and their values.
const PLACES: [(&str, &str); 26] = [
    ("dir", "/"),
    ("dir::state", "var/lib/apt"),
    ("dir::state::lists", "lists/"),
    ("dir::state::cdroms", "cdroms.list"),
    ("dir::state::extended_states", "extended_states"),
    ("dir::state::status", "/var/lib/dpkg/status"),
    ("dir::cache", "var/cache/apt"),
    ("dir::cache::archives", "archives/"),
    ("dir::etc", "etc/apt"),
    ("dir::etc::sourcelist", "sources.list"),
    ("dir::etc::sourceparts", "sources.list.d"),
    ("dir::etc::main", "apt.conf"),
    ("dir::etc::netrc", "auth.conf"),
    ("dir::etc::netrcparts", "auth.conf.d"),
    ("dir::etc::parts", "apt.conf.d"),
    ("dir::etc::preferences", "preferences"),
    ("dir::etc::preferencesparts", "preferences.d"),
    ("dir::etc::trusted", "trusted.gpg"),
    ("dir::etc::trustedparts", "trusted.gpg.d"),
    ("dir::boot", "boot"),
    ("dir::usr", "usr"),
    ("dir::media::mountpath", "/media/apt"),
    ("dir::log", "var/log/apt"),
    ("dir::log::terminal", "term.log"),
    ("dir::log::history", "history.log"),
    ("dir::log::planner", "eipp.log.xz"),
];

/// Names of files that apt passes over without a word are no places.
const PASSED_OVER: &str = "dir::ignore-files-silently::";

/// Commands that packages of Debian bring and that look at no index of a step.
const HARMLESS: [&str; 2] = [
    // debconf: asks what the packages ask that are about to be installed.
    "/usr/sbin/dpkg-preconfigure --apt || true",
    // command-not-found: reads below `/var/lib/apt/lists`, where a step's indices are not.
    "if /usr/bin/test -w /var/lib/command-not-found/ -a -e /usr/lib/cnf-update-db; then /usr/lib/cnf-update-db > /dev/null; fi",
];

/// Whether apt runs nothing that may look at its indices, by what `apt-config dump --format '%F %V%n'` prints of all that it is
/// told: lines `NAME VALUE`, both quoted. In doubt it does.
pub(crate) fn are_harmless(config: &str) -> bool {
    !config.is_empty() && config.lines().all(is_harmless)
}

fn is_harmless(line: &str) -> bool {
    let Some((name, value)) = line.split_once(' ') else { return false };
    let Some((name, value)) = decode(name).zip(decode(value)) else { return false };
    let name = name.to_ascii_lowercase();
    let is_command = COMMANDS.iter().any(|part| name.contains(part));
    let decides = DECIDING.iter().any(|end| name.ends_with(end));
    let names_a_program = NAMING.iter().any(|part| name.contains(part));
    if let Some(place) = as_a_place(&name).filter(|_| !names_a_program) {
        // apt may write what it knows of the archive anywhere: into a log of its solver, for one.
        return value.is_empty() || place == PASSED_OVER || PLACES.contains(&(place, &value));
    }
    value.is_empty()
        || !(is_command || decides || names_a_program)
        || (names_a_program && !is_command && PROGRAMS.contains(&value.as_str()))
        || (is_command && HARMLESS.contains(&value.as_str()))
        || (decides && BUILT_IN.contains(&value.as_str()))
}

/// A setting that names a place or a file of apt's, without the program that it is for.
fn as_a_place(name: &str) -> Option<&str> {
    let of_all = name.strip_prefix("binary::").and_then(|rest| rest.split_once("::")).map(|(_, name)| name);
    let name = of_all.unwrap_or(name);
    (name == "dir" || name.starts_with("dir::") || name == "rootdir").then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEBIANS: &str = "APT \nAPT::Architecture amd64\nAPT::Install-Recommends 1\nDPkg::Post-Invoke \n\
        DPkg::Pre-Install-Pkgs \nDPkg::Pre-Install-Pkgs:: /usr/sbin/dpkg-preconfigure%20--apt%20||%20true\n\
        Dir::Bin::solvers:: /usr/lib/apt/solvers\nDir::Bin::dpkg /usr/bin/dpkg\nDir::Bin::xz /usr/bin/xz\nDir::Bin::lzma /usr/bin/lzma\n\
        APT::Compressor::lzma::Binary xz\nAPT::Compressor::.::Binary \nAPT::Compressor::lzma::CompressArg:: -6\n\
        Binary::apt::APT::Solver 3.0\nDir /\nDir::Log var/log/apt\nDir::Log::Planner eipp.log.xz\n\
        Dir::Ignore-Files-Silently:: \\.dpkg-[a-z]+$\n";

    #[test]
    fn what_debian_has_is_harmless() {
        assert!(are_harmless(DEBIANS));
        assert!(!are_harmless(""), "apt always has something to say");
    }

    #[test]
    fn other_commands_are_not() {
        for line in [
            "APT::Update::Post-Invoke-Success:: cp%20/run/ibuild/apt/lists/*%20/srv",
            "APT::Update::Pre-Invoke:: true",
            "dpkg::pre-invoke:: true",
            "DPkg::Post-Invoke true",
            "Binary::apt-get::DPkg::Post-Invoke:: true",
            "DPkg::Pre-Install-Pkgs:: /usr/bin/apt-listchanges%20--apt%20||%20test%20$?%20-lt%2010",
            "DPkg::Pre-Install-Pkgs:: /usr/sbin/dpkg-preconfigure%20--apt%20||%20true;%20true",
            "AptCli::Hooks::Install:: /usr/bin/tell",
            "Acquire::http::Proxy-Auto-Detect /usr/bin/detect",
            "Acquire::http::ProxyAutoDetect /usr/bin/detect",
            "APT::Solver apt",
            "Dir::Bin::dpkg /usr/local/bin/dpkg",
            "Binary::apt-get::Dir::Bin::dpkg /usr/local/bin/dpkg",
            "Dir::Bin::methods /opt/methods",
            "Dir::Bin::Planners:: /opt",
            "APT::Compressor::xz::Binary tell",
            "Apt::Key::GpgvCommand /usr/bin/tell",
            "DPkg::Path /opt:/usr/bin",
            "Dir::Log::Solver /srv/edsp.log",
            "Dir::Log::Planner /srv/eipp.log",
            "Dir::Log /srv",
            "Dir::Log etc/apt",
            "Dir::Cache::srcpkgcache /srv/src.bin",
            "Binary::apt-get::Dir::State::lists /srv",
            "RootDir /srv",
            "APT::Planner dump",
            "DPkg::Post-Invoke:: a%0ab",
            "what-is-this",
        ] {
            assert!(!are_harmless(&format!("{DEBIANS}{line}\n")), "{line}");
        }
    }
}
