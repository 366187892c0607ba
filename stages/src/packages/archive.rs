//! What an archive is made of, as the recipe declares it, and how the image's own apt is told about it.

use super::{Base, Name, PackageError, Suite};

/// Where Debian's keyring lies, on the host and in the image.
pub const DEBIAN_KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// An archive as declared. Nothing is checked yet: see [`Archive::pockets`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Archive {
    /// How the recipe calls it.
    pub name: String,
    /// Suites of the main archive: `trixie`, `trixie-updates`.
    pub suites: Vec<String>,
    /// The suite of the security archive: `trixie-security`.
    pub security: Option<String>,
    /// Components: `main`.
    pub components: Vec<String>,
    /// Debian's name of the machine: `amd64`.
    pub architecture: String,
}

/// One suite with the components wanted of it: what one signed InRelease describes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pocket {
    /// Where it is.
    pub base: Base,
    /// What it is called there.
    pub suite: Suite,
    /// The components wanted.
    pub components: Vec<Name>,
}

impl Pocket {
    /// Where its signed root lies under the base.
    pub fn inrelease(&self) -> String {
        self.suite.directory() + "InRelease"
    }
}

impl Archive {
    /// The archive's pockets in the order of declaration, security last; checks every name.
    pub fn pockets(&self) -> Result<Vec<Pocket>, PackageError> {
        self.name.parse::<Name>()?;
        self.architecture.parse::<Name>()?;
        let components = self.components.iter().map(|c| c.parse()).collect::<Result<Vec<Name>, _>>()?;
        let main = self.suites.iter().map(|suite| (Base::Main, suite));
        let security = self.security.iter().map(|suite| (Base::Security, suite));
        let pocket = |(base, suite): (Base, &String)| {
            Ok(Pocket { base, suite: suite.parse()?, components: components.clone() })
        };
        main.chain(security).map(pocket).collect()
    }
}

/// The text of `/etc/apt/sources.list.d/debian.sources` in the image. It names the canonical hosts: the mirror
/// of the day is no part of an image.
pub fn sources_deb822(archive: &Archive) -> String {
    let stanza = |base: Base, suites: &[String]| {
        format!(
            "Types: deb\nURIs: {}\nSuites: {}\nComponents: {}\nSigned-By: {DEBIAN_KEYRING}\n",
            base.canonical_url(),
            suites.join(" "),
            archive.components.join(" "),
        )
    };
    let mut stanzas = Vec::new();
    if !archive.suites.is_empty() {
        stanzas.push(stanza(Base::Main, &archive.suites));
    }
    stanzas.extend(archive.security.iter().map(|s| stanza(Base::Security, std::slice::from_ref(s))));
    stanzas.join("\n")
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn trixie() -> Archive {
        Archive {
            name: "debian".to_owned(),
            suites: vec!["trixie".to_owned(), "trixie-updates".to_owned()],
            security: Some("trixie-security".to_owned()),
            components: vec!["main".to_owned(), "contrib".to_owned()],
            architecture: "amd64".to_owned(),
        }
    }

    #[test]
    fn a_pocket_per_suite() {
        let pockets = trixie().pockets().unwrap();
        let names: Vec<_> = pockets.iter().map(|p| (p.base.clone(), p.suite.as_str())).collect();
        let expected =
            [(Base::Main, "trixie"), (Base::Main, "trixie-updates"), (Base::Security, "trixie-security")];
        assert_eq!(names, expected);
        assert_eq!(pockets[2].inrelease(), "dists/trixie-security/InRelease");
    }

    #[test]
    fn a_suite_is_no_path() {
        let archive = Archive { suites: vec!["../etc".to_owned()], ..trixie() };
        assert!(archive.pockets().unwrap_err().to_string().contains("`../etc`"));
    }

    #[test]
    fn sources_name_the_canonical_hosts() {
        assert_eq!(
            sources_deb822(&trixie()),
            "Types: deb\nURIs: http://deb.debian.org/debian\nSuites: trixie trixie-updates\n\
             Components: main contrib\nSigned-By: /usr/share/keyrings/debian-archive-keyring.gpg\n\n\
             Types: deb\nURIs: http://security.debian.org/debian-security\nSuites: trixie-security\n\
             Components: main contrib\nSigned-By: /usr/share/keyrings/debian-archive-keyring.gpg\n"
        );
    }
}
