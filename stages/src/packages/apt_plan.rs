//! What apt says that it would do: what it prints with `--print-uris` and with `--simulate`.

use std::collections::BTreeSet;

use hyper::{Method, Uri};
use ibuild_cache::Sha256;

use super::address::Addresses;
use super::target::Target;
use super::view::ArchiveView;
use super::{Base, DebRef};

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

/// What apt would install, if it would do nothing but install, and each that is named. `None` in every doubt: what is removed,
/// of unknown content or there already makes another plan, and so does a name that stands for another package, which need
/// not stand for it always, or a line that says something else than this knows.
///
/// The addresses are lines `'ADDRESS' NAME SIZE SHA256:DIGEST`, one for each package; what is simulated, lines that begin
/// with `Inst NAME`, one for each package, and `Conf` (apt-get(8), `--print-uris` and `--simulate`).
pub fn planned(
    view: &ArchiveView,
    names: &[&str],
    addresses: &str,
    simulated: &str,
) -> Option<BTreeSet<PlannedDeb>> {
    planned_from(&Addresses::of(view), names, addresses, simulated)
}

fn planned_from(
    known: &Addresses,
    names: &[&str],
    addresses: &str,
    simulated: &str,
) -> Option<BTreeSet<PlannedDeb>> {
    let debs = addresses.lines().map(|line| planned_deb(known, line)).collect::<Option<BTreeSet<_>>>()?;
    let mut installed = BTreeSet::new();
    for line in simulated.lines() {
        match line.split(' ').collect::<Vec<_>>()[..] {
            ["Inst", name, ..] => installed.insert(name),
            ["Conf", ..] => true,
            _ => return None,
        }
        .then_some(())?;
    }
    let is_complete = installed.len() == debs.len() && names.iter().all(|name| installed.contains(name));
    is_complete.then_some(debs)
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

    #[test]
    fn what_is_installed_is_read() {
        let addresses = line("pool/main/g/g++/g++_1%2b2_amd64.deb") + &line("pool/main/h/h/h_1_all.deb");
        let simulated =
            "Inst h (1 Debian:13 [all])\nInst g++ (1+2 Debian:13 [amd64])\nConf h (1)\nConf g++ (1+2)\n";
        let planned = |names: &[&str], addresses: &str, simulated: &str| {
            planned_from(&Addresses::canonical(), names, addresses, simulated)
        };
        let debs = planned(&["g++"], &addresses, simulated).unwrap();
        let paths: Vec<_> = debs.iter().map(|deb| deb.path.as_str()).collect();
        assert_eq!(paths, ["pool/main/g/g++/g++_1+2_amd64.deb", "pool/main/h/h/h_1_all.deb"]);
        assert_eq!(planned(&[], "", ""), Some(BTreeSet::new()));
    }

    #[test]
    fn in_doubt_there_is_no_plan() {
        let address = line("pool/main/h/h/h_1_all.deb");
        let simulated = "Inst h (1)\nConf h (1)\n";
        let known = Addresses::canonical();
        let planned = |addresses: &str, simulated: &str| planned_from(&known, &["h"], addresses, simulated);
        assert!(planned(&address, simulated).is_some());
        assert_eq!(planned(&address, &simulated.replace("Inst h", "Inst g")), None);
        assert_eq!(planned(&address, &format!("Remv x [1]\n{simulated}")), None);
        assert_eq!(planned(&address, "Conf h (1)\n"), None);
        assert_eq!(planned(&address.replace("SHA256", "MD5Sum"), simulated), None);
        assert_eq!(planned(&address.replace("deb.debian.org", "example.org"), simulated), None);
        assert_eq!(planned(&format!("{address}W: something\n"), simulated), None);
    }
}
