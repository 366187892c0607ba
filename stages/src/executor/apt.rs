//! What a `packages` step has apt do, as scripts, and what comes back from them.
//!
//! A script that installs writes down first how it will go about it, and one that asks writes the same: so it can be told
//! whether another state of the archive would have made a difference.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use crate::packages::{Answers, ArchiveView, Course, Plan, planned};
use crate::recipe::{PackageName, Recommends};

/// The directory below `/run/ibuild` for what a script writes down.
pub(crate) const PLAN: &str = "plan";

/// What is written down of the largest installation is a tenth of it.
const MOST: u64 = 64 << 20;

/// A script that installs. That it can say how does not matter to it: apt itself says what is wrong. From when the first program
/// of a package is run, the indices are there no more, which tell in which state the archive is; apt has read them by then.
pub(crate) fn install_script(names: &[PackageName], recommends: Recommends) -> String {
    let names = line(names);
    format!(
        "{}apt update\nnote_course -- {names} 2>/dev/null || rm -f /run/ibuild/plan/*\n\
         apt -o 'DPkg::Pre-Invoke::=/bin/rm -rf /run/ibuild/apt/lists /run/ibuild/apt/pkgcache.bin' install -- {names}\n",
        head(recommends),
    )
}

/// A script that only asks what the other one would do. First for the configuration: a command in it could change it.
pub(crate) fn ask_script(names: &[PackageName], recommends: Recommends) -> String {
    let names = line(names);
    format!(
        "{}/usr/bin/apt-config dump --format '%F %V%n' > /run/ibuild/plan/config\napt update\n\
         apt -o Acquire::ForceHash=SHA256 --print-uris install -- {names} > /run/ibuild/plan/addresses\n\
         note_course -- {names}\n",
        head(recommends),
    )
}

/// How a script that installed said that it would; `None` if that is not known.
pub(crate) fn course_in(dir: &Path) -> Option<Course> {
    Course::of(&answer(dir, "simulated")?, &answer(dir, "stanzas")?)
}

/// What a script that asked was told; `None` if that is no plan.
pub(crate) fn plan_in(dir: &Path, view: &ArchiveView, names: &[PackageName]) -> Option<Plan> {
    let read = |name| answer(dir, name);
    let (addresses, simulated) = (read("addresses")?, read("simulated")?);
    let (stanzas, config) = (read("stanzas")?, read("config")?);
    let answers =
        Answers { addresses: &addresses, simulated: &simulated, stanzas: &stanzas, config: &config };
    planned(view, &names.iter().map(PackageName::as_str).collect::<Vec<_>>(), answers)
}

/// A file that a script wrote. Whatever it did there, no other file is read, and nothing is waited for.
fn answer(dir: &Path, name: &str) -> Option<String> {
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let file = File::options().read(true).custom_flags(flags).open(dir.join(name)).ok()?;
    let is_one = file.metadata().is_ok_and(|meta| meta.is_file() && meta.len() <= MOST);
    let mut text = String::new();
    is_one.then(|| file.take(MOST).read_to_string(&mut text).ok()).flatten()?;
    Some(text)
}

/// apt's indices and downloads lie in memory: none of them is a part of the image. So does its memory image of the indices,
/// with which apt reads them once for all that is asked. Locally changed configuration files win over those of packages, as
/// nobody is there to be asked. Programs are Debian's own: a distribution may have others of the same name in front of them, which
/// could look at the indices. What dpkg runs has the path that apt gives it. How it goes
/// about an installation is written down without the archives' names and versions, because the packages could read it.
fn head(recommends: Recommends) -> String {
    let recommends = recommends == Recommends::Install;
    format!(
        r#"#!/bin/sh
set -eu
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
mkdir -p /run/ibuild/apt/lists/partial /run/ibuild/apt/archives/partial
indices="-o Dir::State::Lists=/run/ibuild/apt/lists -o Dir::Cache::pkgcache=/run/ibuild/apt/pkgcache.bin"
apt() {{
    /usr/bin/apt-get -q -y $indices -o Dir::Cache::Archives=/run/ibuild/apt/archives \
        -o APT::Sandbox::User=root -o Dpkg::Use-Pty=0 -o APT::Install-Recommends={recommends} \
        -o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold "$@"
}}
note_course() {{
    apt -qq --simulate install "$@" > /run/ibuild/plan/simulated || return 1
    sed -i 's/ (\([^ ]*\) .* \(\[[^][ ]*\]\))/ (\1 \2)/' /run/ibuild/plan/simulated || return 1
    set -- $(sed -n 's/^Inst \([^ ]*\) \(\[[^]]*\] \)\{{0,1\}}(\([^ ]*\) .*/\1=\3/p' /run/ibuild/plan/simulated)
    : > /run/ibuild/plan/stanzas
    [ $# = 0 ] || /usr/bin/apt-cache $indices show -- "$@" > /run/ibuild/plan/stanzas
}}
"#
    )
}

fn line(names: &[PackageName]) -> String {
    names.iter().map(PackageName::as_str).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn what_a_stage_puts_in_the_place_of_an_answer_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let place = |name: &str| dir.path().join(name);
        fs::write(place("secret"), "").unwrap();
        fs::write(place("stanzas"), "").unwrap();
        fs::write(place("simulated"), "").unwrap();
        assert_eq!(course_in(dir.path()), Course::of("", ""));
        fs::remove_file(place("simulated")).unwrap();
        symlink(place("secret"), place("simulated")).unwrap();
        assert_eq!(course_in(dir.path()), None);
        fs::remove_file(place("simulated")).unwrap();
        nix::unistd::mkfifo(&place("simulated"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert_eq!(course_in(dir.path()), None);
        fs::remove_file(place("simulated")).unwrap();
        fs::create_dir(place("simulated")).unwrap();
        assert_eq!(course_in(dir.path()), None);
    }
}
