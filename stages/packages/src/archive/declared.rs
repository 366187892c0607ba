//! What an archive is made of, as the recipe declares it, and how the image's own apt is told about it.

use crate::PackageError;
use ibuild_debian::{Base, Name, Suite, Url};

/// Where Debian's keyring lies, on the host and in the image.
pub const DEBIAN_KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// An archive as declared. Nothing is checked yet: see [`Archive::pockets`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Archive {
    /// How the recipe calls it.
    pub name: String,
    /// Whose it is.
    pub origin: Origin,
    /// Its suites: `trixie`, `trixie-updates`.
    pub suites: Vec<String>,
    /// Components: `main`.
    pub components: Vec<String>,
    /// Debian's name of the machine: `amd64`.
    pub architecture: String,
    /// Architectures whose packages may be installed beside the machine's own: `i386`.
    pub foreign: Vec<String>,
}

/// Whose an archive is, which says where it is and which keys sign it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Debian's, of which there are mirrors, and whose keys are in a package of its own.
    Debian {
        /// The suite of the security archive: `trixie-security`.
        security: Option<String>,
    },
    /// Somebody else's, with keys that are given to the image.
    At(Url),
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
    /// Architectures wanted besides the machine's own.
    pub foreign: Vec<Name>,
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
        let names =
            |words: &[String]| words.iter().map(|word| word.parse()).collect::<Result<Vec<Name>, _>>();
        let (components, foreign) = (names(&self.components)?, names(&self.foreign)?);
        let mut pockets = Vec::new();
        for (base, suites) in self.parts() {
            for suite in suites {
                let suite: Suite = suite.parse()?;
                let components = if suite.is_flat() { Vec::new() } else { components.clone() };
                pockets.push(Pocket { base: base.clone(), suite, components, foreign: foreign.clone() });
            }
        }
        Ok(pockets)
    }

    /// What it has under each of its addresses; flat repositories by themselves, as they have no components.
    fn parts(&self) -> Vec<(Base, Vec<&str>)> {
        let (base, security) = match &self.origin {
            Origin::Debian { security } => (Base::Main, security.as_ref()),
            Origin::At(url) => (Base::At(url.clone()), None),
        };
        let (flat, named) = self.suites.iter().map(String::as_str).partition(|suite| suite.ends_with('/'));
        let security = security.into_iter().map(String::as_str).collect();
        let parts = [(base.clone(), named), (base, flat), (Base::Security, security)];
        parts.into_iter().filter(|(_, suites): &(Base, Vec<&str>)| !suites.is_empty()).collect()
    }

    /// Where the image has its keys.
    pub fn keyring(&self) -> String {
        match self.origin {
            Origin::Debian { .. } => DEBIAN_KEYRING.to_owned(),
            Origin::At(_) => format!("/etc/apt/keyrings/{}.gpg", self.name),
        }
    }

    /// The file that tells the image's apt about it.
    pub fn sources_file(&self) -> String {
        let name = match self.origin {
            Origin::Debian { .. } => "debian",
            Origin::At(_) => &self.name,
        };
        format!("/etc/apt/sources.list.d/{name}.sources")
    }

    /// The text of that file. It names the addresses that everybody knows: the mirror of the day is no part of an image.
    /// In an image that has `foreign` architectures it says which of them are this archive's.
    pub fn sources(&self, foreign: &[String]) -> String {
        let architectures = match foreign {
            [] => String::new(),
            _ => {
                let all: Vec<_> =
                    [&self.architecture].into_iter().chain(&self.foreign).map(String::as_str).collect();
                format!("Architectures: {}\n", all.join(" "))
            }
        };
        let stanza = |(base, suites): (Base, Vec<&str>)| {
            let components = match suites[0].ends_with('/') {
                true => String::new(),
                false => format!("Components: {}\n", self.components.join(" ")),
            };
            let (url, suites, keyring) = (base.canonical_url(), suites.join(" "), self.keyring());
            format!(
                "Types: deb\nURIs: {url}\nSuites: {suites}\n{components}{architectures}Signed-By: {keyring}\n"
            )
        };
        self.parts().into_iter().map(stanza).collect::<Vec<_>>().join("\n")
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    pub fn trixie() -> Archive {
        Archive {
            name: "debian".to_owned(),
            origin: Origin::Debian { security: Some("trixie-security".to_owned()) },
            suites: vec!["trixie".to_owned(), "trixie-updates".to_owned()],
            components: vec!["main".to_owned(), "contrib".to_owned()],
            architecture: "amd64".to_owned(),
            foreign: Vec::new(),
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
            trixie().sources(&[]),
            "Types: deb\nURIs: http://deb.debian.org/debian\nSuites: trixie trixie-updates\n\
             Components: main contrib\nSigned-By: /usr/share/keyrings/debian-archive-keyring.gpg\n\n\
             Types: deb\nURIs: http://security.debian.org/debian-security\nSuites: trixie-security\n\
             Components: main contrib\nSigned-By: /usr/share/keyrings/debian-archive-keyring.gpg\n"
        );
    }

    #[test]
    fn another_archive_has_its_own_address_and_keys() {
        let url = "https://deb.example.org/tor/".parse().unwrap();
        let tor = Archive {
            name: "tor".to_owned(),
            origin: Origin::At(url),
            suites: vec!["./".to_owned(), "trixie".to_owned()],
            components: vec!["main".to_owned()],
            architecture: "amd64".to_owned(),
            foreign: vec!["i386".to_owned()],
        };
        let pockets = tor.pockets().unwrap();
        assert_eq!(pockets[0].base.to_string(), "https://deb.example.org/tor");
        assert_eq!((tor.sources_file().as_str(), pockets.len()), ("/etc/apt/sources.list.d/tor.sources", 2));
        assert_eq!(pockets[1].inrelease(), "InRelease");
        let flat = "Types: deb\nURIs: https://deb.example.org/tor\nSuites: ./\nSigned-By: /etc/apt/keyrings/tor.gpg\n";
        let named = flat.replace("./\n", "trixie\nComponents: main\n");
        assert_eq!(tor.sources(&[]), format!("{named}\n{flat}"));
        let both = |text: &str| text.replace("Signed-By", "Architectures: amd64 i386\nSigned-By");
        assert_eq!(tor.sources(&tor.foreign), format!("{}\n{}", both(&named), both(flat)));
    }
}
