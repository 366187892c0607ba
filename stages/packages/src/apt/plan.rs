//! What apt says that it would do: what it prints with `--print-uris` and with `--simulate`, and what its indices have about it.

use std::collections::BTreeSet;

use hyper::{Method, Uri};
use ibuild_cache::{Digest, Record, Sha256};
use serde::{Deserialize, Serialize};

use crate::DebRef;
use crate::apt::hooks::are_harmless;
use crate::archive::view::ArchiveView;
use crate::proxy::address::Addresses;
use crate::proxy::target::Target;
use ibuild_debian::Base;

/// A package that would be installed, by what it is and where.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct PlannedDeb {
    base: Base,
    path: String,
    sha256: Sha256,
}

impl From<&DebRef> for PlannedDeb {
    fn from(deb: &DebRef) -> Self {
        Self { base: deb.base.clone(), path: deb.path.clone(), sha256: deb.sha256 }
    }
}

/// What would be installed, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The packages.
    pub debs: BTreeSet<PlannedDeb>,
    /// What apt would do with them; `None` where it is not apt that installs.
    pub course: Option<Course>,
}

/// Everything that a state of the archive decides about an installation, but the packages themselves: what is done in which
/// order, and what the indices say of each package. Of the latter, apt writes down what follows from sections and
/// priorities, which an archive may override. Where a package is from is told in neither.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Course {
    actions: Vec<Action>,
    /// The digest of what `apt-cache show` prints of the packages, in their order.
    stanzas: Sha256,
}

impl Record for Course {
    const SCHEMA: u16 = 1;
}

/// Something that apt does with a package.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Action {
    verb: Verb,
    name: String,
    /// The version that it replaces.
    old: Option<String>,
    version: String,
    architecture: String,
    /// What is broken while it is done.
    broken: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Verb {
    Unpack,
    Configure,
}

/// What apt and its tools printed.
#[derive(Debug, Clone, Copy)]
pub struct Answers<'a> {
    /// `apt-get -q --print-uris install`. Among what it has to say, lines `'ADDRESS' NAME SIZE SHA256:DIGEST`, one for each
    /// package, and `NAME is already the newest version (VERSION).`
    pub addresses: &'a str,
    /// `apt-get -qq --simulate install`: lines `Inst NAME [OLD] (NEW ORIGIN [ARCHITECTURE]) BROKEN` and `Conf` likewise
    /// (apt-get(8)).
    pub simulated: &'a str,
    /// `apt-cache show` of each package that is unpacked.
    pub stanzas: &'a str,
    /// `apt-config dump --format '%F %V%n'`.
    pub config: &'a str,
}

impl Course {
    /// What these answers say, if it is nothing but to install. `None` in every doubt: a line that says something else than
    /// this knows, or packages of which another number is described.
    pub fn of(simulated: &str, stanzas: &str) -> Option<Self> {
        let actions = simulated.lines().map(Action::read).collect::<Option<Vec<_>>>()?;
        let described = stanzas.lines().filter(|line| line.starts_with("Package: ")).count();
        let mut hasher = <Sha256 as Digest>::Hasher::default();
        Sha256::update(&mut hasher, stanzas.as_bytes());
        let course = Self { actions, stanzas: Sha256::finish(hasher) };
        (course.unpacked().count() == described).then_some(course)
    }

    /// Whether it does something, but unpacks nothing.
    fn only_configures(&self) -> bool {
        self.unpacked().next().is_none() && !self.actions.is_empty()
    }

    fn unpacked(&self) -> impl Iterator<Item = &Action> {
        self.actions.iter().filter(|action| action.verb == Verb::Unpack)
    }
}

impl Action {
    fn read(line: &str) -> Option<Self> {
        let (verb, rest) = line.split_once(' ')?;
        let verb = match verb {
            "Inst" => Verb::Unpack,
            "Conf" => Verb::Configure,
            _ => return None,
        };
        let (name, rest) = rest.split_once(' ')?;
        let (old, rest) = match rest.strip_prefix('[') {
            Some(rest) => rest.split_once("] ").map(|(old, rest)| (Some(old.to_owned()), rest))?,
            None => (None, rest),
        };
        let (version, rest) = rest.strip_prefix('(')?.split_once(' ')?;
        let (origin, broken) = rest.split_once("])")?;
        let (_, architecture) = origin.rsplit_once('[')?;
        let [name, version, architecture, broken] =
            [name, version, architecture, broken].map(|text| text.trim().to_owned());
        Some(Self { verb, name, old, version, architecture, broken })
    }
}

/// What apt would install, if it would do nothing but install, and each that is named is installed or was. `None` in every
/// doubt: what is removed or of unknown content makes another plan, and so does a name that stands for another package, which
/// need not stand for it always. So do programs that apt runs and that may look at its indices; and scripts of packages that
/// run without one being fetched before, because nothing tells what these ask for from what apt asks for.
pub fn planned(view: &ArchiveView, names: &[&str], answers: Answers<'_>) -> Option<Plan> {
    planned_from(&Addresses::of(view), names, answers)
}

fn planned_from(known: &Addresses, names: &[&str], answers: Answers<'_>) -> Option<Plan> {
    let lines = answers.addresses.lines().filter(|line| line.starts_with('\''));
    let debs = lines.map(|line| planned_deb(known, line)).collect::<Option<BTreeSet<_>>>()?;
    let course = Course::of(answers.simulated, answers.stanzas)?;
    let is_seen = are_harmless(answers.config) && !course.only_configures();
    let is_complete = course.unpacked().count() == debs.len()
        && names.iter().all(|name| is_meant(name, &course) || is_there(name, answers.addresses));
    (is_seen && is_complete).then_some(Plan { debs, course: Some(course) })
}

/// Whether a package is installed under the name, and in the version, that it is asked for.
fn is_meant(name: &str, course: &Course) -> bool {
    let (package, version) = in_version(name);
    course
        .unpacked()
        .any(|action| action.name == package && version.is_none_or(|wanted| wanted == action.version))
}

/// Whether apt has nothing to do for a name, because what it names is installed. What it stands on is the same in every state
/// of the archive.
fn is_there(name: &str, said: &str) -> bool {
    let (package, version) = in_version(name);
    let newest = |line: &str| {
        let rest = line.strip_prefix(package)?.strip_prefix(" is already the newest version (")?;
        rest.strip_suffix(").").map(str::to_owned)
    };
    said.lines().filter_map(newest).any(|there| version.is_none_or(|wanted| wanted == there))
}

/// A name as apt is given it, with the version if it is asked for one.
fn in_version(name: &str) -> (&str, Option<&str>) {
    name.split_once('=').map_or((name, None), |(package, version)| (package, Some(version)))
}

fn planned_deb(known: &Addresses, line: &str) -> Option<PlannedDeb> {
    let (address, rest) = line.strip_prefix('\'')?.split_once('\'')?;
    let digest = rest.split_whitespace().nth(2)?.strip_prefix("SHA256:")?;
    let target = Target::parse(&Method::GET, &address.parse::<Uri>().ok()?, known).ok()?;
    Some(PlannedDeb { base: target.base, path: target.path, sha256: digest.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "4536aabb00000000000000000000000000000000000000000000000000000000";

    fn line(path: &str) -> String {
        format!("'http://deb.debian.org/debian/{path}' x.deb 12 SHA256:{DIGEST}\n")
    }

    fn read(names: &[&str], addresses: &str, simulated: &str, stanzas: &str) -> Option<Plan> {
        let answers = Answers { addresses, simulated, stanzas, config: CONFIG };
        planned_from(&Addresses::canonical(), names, answers)
    }

    const CONFIG: &str = "DPkg::Pre-Install-Pkgs:: /usr/sbin/dpkg-preconfigure%20--apt%20||%20true\n";

    const SIMULATED: &str = "Inst h (1 Debian:13.1/stable, Debian-Security:13/stable-security [all]) []\n\
         Inst g++ [1+1] (1+2 Debian:13.1/stable [amd64])\nConf h (1 Debian:13.1/stable [all])\n\
         Conf g++ (1+2 Debian:13.1/stable [amd64])\n";

    const STANZAS: &str = "Package: h\nSection: misc\n\nPackage: g++\nSection: devel\n\n";

    fn addresses() -> String {
        line("pool/main/g/g++/g++_1%2b2_amd64.deb") + &line("pool/main/h/h/h_1_all.deb")
    }

    #[test]
    fn what_is_installed_is_read() {
        let plan = read(&["g++"], &addresses(), SIMULATED, STANZAS).unwrap();
        let paths: Vec<_> = plan.debs.iter().map(|deb| deb.path.as_str()).collect();
        assert_eq!(paths, ["pool/main/g/g++/g++_1+2_amd64.deb", "pool/main/h/h/h_1_all.deb"]);
        assert!(read(&["g++=1+2"], &addresses(), SIMULATED, STANZAS).is_some());
        assert_eq!(read(&[], "", "", "").unwrap().debs, BTreeSet::new());
    }

    #[test]
    fn the_order_and_what_indices_say_make_another_plan_and_origins_do_not() {
        let plan = |simulated: &str, stanzas: &str| read(&["h"], &addresses(), simulated, stanzas).unwrap();
        let before = plan(SIMULATED, STANZAS);
        assert_eq!(plan(&SIMULATED.replace("13.1", "13.2"), STANZAS), before);
        assert_ne!(plan(SIMULATED, &STANZAS.replace("misc", "metapackages")), before);
        let mut lines: Vec<_> = SIMULATED.lines().collect();
        lines.swap(2, 3);
        assert_ne!(plan(&lines.join("\n"), STANZAS), before);
        for (old, new) in [("[1+1]", "[1+0]"), ("(1+2", "(1+3"), ("[amd64]", "[i386]"), ("[]", "[g++ ]")] {
            assert_ne!(plan(&SIMULATED.replace(old, new), STANZAS), before, "{new}");
        }
    }

    /// A regression: a name that is installed already had no plan, so each update ran its step.
    #[test]
    fn names_that_are_installed_already_have_a_plan() {
        let said = "Reading package lists...\nlibx:i386 is already the newest version (2:1.0-1).\n";
        let plan =
            |names: &[&str], said: &str| read(names, &(said.to_owned() + &addresses()), SIMULATED, STANZAS);
        assert!(plan(&["h", "libx:i386", "libx:i386=2:1.0-1"], said).is_some());
        assert_eq!(plan(&["libx:i386=2:1.0-2"], said), None);
        assert_eq!(plan(&["libx"], said), None);
        assert_eq!(plan(&["x:i386"], said), None);
        assert_eq!(plan(&["libx:i386"], &said.replace("already the newest", "kept at its")), None);
        assert!(read(&["libx:i386"], said, "", "").is_some_and(|plan| plan.debs.is_empty()));
    }

    #[test]
    fn in_doubt_there_is_no_plan() {
        let plan =
            |addresses: &str, simulated: &str, stanzas: &str| read(&["h"], addresses, simulated, stanzas);
        assert!(plan(&addresses(), SIMULATED, STANZAS).is_some());
        assert_eq!(plan(&addresses(), &SIMULATED.replace("Inst h", "Inst i"), STANZAS), None);
        assert_eq!(plan(&addresses(), &format!("Remv x [1]\n{SIMULATED}"), STANZAS), None);
        assert_eq!(plan(&addresses(), &format!("Purg x [1]\n{SIMULATED}"), STANZAS), None);
        assert_eq!(plan(&addresses(), "Conf h (1 x [all])\n", STANZAS), None);
        assert_eq!(plan(&addresses(), SIMULATED, "Package: h\n"), None);
        assert_eq!(plan(&addresses().replace("SHA256", "MD5Sum"), SIMULATED, STANZAS), None);
        assert_eq!(plan(&addresses().replace("deb.debian.org", "example.org"), SIMULATED, STANZAS), None);
        assert_eq!(plan(&line("pool/main/h/h/h_1_all.deb"), SIMULATED, STANZAS), None);
        assert_eq!(plan(&addresses(), &SIMULATED.replace(" [amd64]", ""), STANZAS), None);
        let only_configured = "Conf g++ (1+2 Debian:13.1/stable [amd64])\n";
        assert_eq!(read(&[], "", only_configured, ""), None, "its script is run, and asks what it likes");
    }

    /// A regression: a hook that copied the indices into the image was taken for one that does not know them.
    #[test]
    fn with_a_hook_there_is_no_plan() {
        let plan = |config: &str| {
            let answers = Answers { addresses: &addresses(), simulated: SIMULATED, stanzas: STANZAS, config };
            planned_from(&Addresses::canonical(), &["h"], answers)
        };
        assert!(plan(CONFIG).is_some());
        assert_eq!(plan(&format!("{CONFIG}DPkg::Post-Invoke:: true\n")), None);
        assert_eq!(plan(""), None);
    }

    /// What a step writes down is without them, because its packages could read it.
    #[test]
    fn a_course_does_not_need_origins() {
        let without = SIMULATED.replace("Debian:13.1/stable, Debian-Security:13/stable-security ", "");
        let without = without.replace("Debian:13.1/stable ", "");
        assert!(!without.contains("Debian"));
        assert_eq!(Course::of(&without, STANZAS), Course::of(SIMULATED, STANZAS));
        assert!(Course::of(&without, STANZAS).is_some());
    }
}
