//! Where to fetch from: the host's own mirrors, as its apt is configured, or others in the order in which they are to be
//! asked. Never part of a key, because whatever a mirror sends is judged by its digest.

use std::path::{Path, PathBuf};

use ibuild_debian::{Base, Scheme, Url, UrlError, deb822};

use crate::PackageError;
use crate::fetch::certificate::AuthorityError;
use crate::fetch::fallback_sources::{FallbackError, FallbackSources};
use crate::fetch::tls::Authorities;

/// Addresses to fetch from, those to be asked first in front. There is at least one of each kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mirrors {
    /// Of the archive.
    pub main: Vec<Url>,
    /// Of the security updates.
    pub security: Vec<Url>,
    /// Where files are looked for that no mirror has.
    pub elsewhere: FallbackSources,
    /// Whose certificates are believed of those that speak https.
    pub authorities: Authorities,
}

/// What the user has set about mirrors. It wins over everything; where nothing is set, the host's own mirrors are taken.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MirrorOverride {
    /// Of the archive.
    pub main: Vec<String>,
    /// Of the security updates.
    pub security: Vec<String>,
    /// Files with certificates of authorities that are believed besides the host's own.
    pub ca: Vec<PathBuf>,
    /// Other stores, as [`FallbackSources::parse`] reads them.
    pub stores: Vec<String>,
    /// Snapshot services.
    pub snapshots: Vec<String>,
}

impl MirrorOverride {
    /// Where files are looked for that no mirror has.
    pub fn elsewhere(&self) -> Result<FallbackSources, FallbackError> {
        FallbackSources::parse(&self.stores, &self.snapshots)
    }
}

/// One file of apt's configuration of sources.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourcesFile {
    /// Its path, whose end tells the format.
    pub path: String,
    /// Its text.
    pub text: String,
}

/// Why there is no mirror.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot use the mirror of the {base} archive set in {place}")]
pub struct MirrorError {
    /// Which one.
    pub base: Base,
    /// Where it was found.
    pub place: String,
    #[source]
    source: UrlError,
}

impl MirrorError {
    /// What to do about it.
    pub fn hint(&self) -> String {
        self.source.hint()
    }
}

impl Mirrors {
    /// The addresses of a base. What is not Debian's has no mirrors.
    pub fn urls<'a>(&'a self, base: &'a Base) -> &'a [Url] {
        match base {
            Base::Main => &self.main,
            Base::Security => &self.security,
            Base::At(url) => std::slice::from_ref(url),
        }
    }

    /// All of them.
    pub fn all(&self) -> impl Iterator<Item = &Url> {
        self.main.iter().chain(&self.security)
    }

    /// Whether anything is reached through TLS.
    pub(crate) fn need_tls(&self) -> bool {
        self.all().chain(self.elsewhere.urls()).any(|url| url.scheme() == Scheme::Https)
    }

    /// Whether this machine has what is needed to fetch from them.
    pub fn check(&self) -> Result<(), AuthorityError> {
        if self.need_tls() { self.authorities.check() } else { Ok(()) }
    }

    /// The mirrors of the machine we are on.
    pub fn of_host(wishes: &MirrorOverride) -> Result<Self, PackageError> {
        let mirrors = Self::detect(&read_sources(Path::new("/etc/apt"))?, wishes)?;
        Ok(Self { elsewhere: wishes.elsewhere()?, ..mirrors })
    }

    /// Picks the mirrors out of the texts of a configuration; other places are not looked for in it.
    pub fn detect(files: &[SourcesFile], wishes: &MirrorOverride) -> Result<Self, MirrorError> {
        let sources: Vec<Source> = files.iter().flat_map(read_file).collect();
        Ok(Self {
            main: choose(&Base::Main, &wishes.main, &sources)?,
            security: choose(&Base::Security, &wishes.security, &sources)?,
            elsewhere: FallbackSources::default(),
            authorities: Authorities::of_host(&wishes.ca),
        })
    }
}

/// The sources files below a directory like `/etc/apt`, in the order in which apt reads them.
pub fn read_sources(apt: &Path) -> Result<Vec<SourcesFile>, PackageError> {
    let mut paths = vec![apt.join("sources.list")];
    let parts = apt.join("sources.list.d");
    let mut listed: Vec<_> = match std::fs::read_dir(&parts) {
        Ok(entries) => entries.filter_map(|entry| entry.ok().map(|entry| entry.path())).collect(),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        Err(e) => return Err(PackageError::io("read", &parts)(e)),
    };
    listed.sort();
    paths.extend(listed);
    let is_source = |path: &Path| path.extension().is_some_and(|e| e == "list" || e == "sources");
    let mut files = Vec::new();
    for path in paths.into_iter().filter(|path| is_source(path)) {
        match std::fs::read_to_string(&path) {
            Ok(text) => files.push(SourcesFile { path: path.display().to_string(), text }),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            Err(e) => return Err(PackageError::io("read", &path)(e)),
        }
    }
    Ok(files)
}

/// One address with one suite.
struct Source {
    place: String,
    uri: String,
    suite: String,
    components: String,
    signed_by: String,
}

fn choose(base: &Base, wishes: &[String], sources: &[Source]) -> Result<Vec<Url>, MirrorError> {
    let parse = |place: &str, uri: &str| {
        uri.parse().map_err(|source| MirrorError { base: base.clone(), place: place.to_owned(), source })
    };
    if !wishes.is_empty() {
        return wishes.iter().map(|uri| parse("`mirror`", uri)).collect();
    }
    let best = sources.iter().filter_map(|s| s.likelihood(base).map(|score| (score, s)));
    // The first of the best, as apt prefers what it reads first.
    let best = best.reduce(|best, next| if next.0 > best.0 { next } else { best });
    let found = best.map(|(_, source)| parse(&format!("`{}`", source.place), &source.uri));
    Ok(vec![found.unwrap_or_else(|| parse("", &base.canonical_url()))?])
}

impl Source {
    /// How surely this is a mirror of `base`; `None` if it is not. Other vendors also call their directory
    /// `debian` and name their suites after Debian's, so the directory alone decides nothing.
    fn likelihood(&self, base: &Base) -> Option<u8> {
        let (host, path) = self.uri.split_once("://")?.1.split_once('/')?;
        let path = path.trim_end_matches('/');
        let is_security = path.ends_with("-security") || self.suite.ends_with("-security");
        let (fits, usual) = match base {
            Base::Main => (!is_security && path.rsplit('/').next() == Some("debian"), "debian"),
            Base::Security => (is_security, "debian-security"),
            Base::At(_) => return None,
        };
        let is_http = self.uri.starts_with("http://") || self.uri.starts_with("https://");
        if !fits || !is_http || !self.components.split_whitespace().any(|c| c == "main") {
            return None;
        }
        let signed = self.signed_by.contains("debian-archive");
        let official = host == "debian.org" || host.ends_with(".debian.org");
        Some(u8::from(signed) * 4 + u8::from(official) * 2 + u8::from(path == usual))
    }
}

fn read_file(file: &SourcesFile) -> Vec<Source> {
    if file.path.ends_with(".sources") {
        deb822::paragraphs(&file.text).flat_map(|stanza| read_stanza(&file.path, stanza)).collect()
    } else {
        file.text.lines().filter_map(|line| read_line(&file.path, line)).collect()
    }
}

fn read_stanza(place: &str, stanza: &str) -> Vec<Source> {
    let field = |name| deb822::field(stanza, name).unwrap_or_default();
    let is_deb = field("Types").split_whitespace().any(|word| word == "deb");
    if !is_deb || field("Enabled").eq_ignore_ascii_case("no") {
        return Vec::new();
    }
    let pairs = field("URIs").split_whitespace().flat_map(|uri| {
        let suites = field("Suites").split_whitespace();
        suites.map(move |suite| (uri, suite))
    });
    let source = |(uri, suite): (&str, &str)| Source {
        place: place.to_owned(),
        uri: uri.to_owned(),
        suite: suite.to_owned(),
        components: field("Components").to_owned(),
        signed_by: field("Signed-By").to_owned(),
    };
    pairs.map(source).collect()
}

/// `deb [option=value ...] URI SUITE COMPONENT...`
fn read_line(place: &str, line: &str) -> Option<Source> {
    let line = line.split('#').next()?.trim().strip_prefix("deb")?;
    let line = line.strip_prefix([' ', '\t'])?.trim_start();
    let (options, rest) = match line.strip_prefix('[') {
        Some(bracket) => bracket.split_once(']')?,
        None => ("", line),
    };
    let mut words = rest.split_whitespace();
    Some(Source {
        place: place.to_owned(),
        uri: words.next()?.to_owned(),
        suite: words.next()?.to_owned(),
        components: words.collect::<Vec<_>>().join(" "),
        signed_by: options.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(files: &[(&str, &str)], main: &str, security: &str) {
        let file =
            |(path, text): &(&str, &str)| SourcesFile { path: (*path).to_owned(), text: (*text).to_owned() };
        let files: Vec<_> = files.iter().map(file).collect();
        let mirrors = Mirrors::detect(&files, &MirrorOverride::default()).unwrap();
        assert_eq!(
            (addresses(&mirrors.main), addresses(&mirrors.security)),
            (main.to_owned(), security.to_owned())
        );
    }

    fn addresses(urls: &[Url]) -> String {
        urls.iter().map(Url::to_string).collect::<Vec<_>>().join(" ")
    }

    const CANONICAL: (&str, &str) =
        ("http://deb.debian.org/debian", "http://security.debian.org/debian-security");

    #[test]
    fn no_configuration() {
        check(&[], CANONICAL.0, CANONICAL.1);
    }

    #[test]
    fn one_line_format() {
        let text = "# deb http://old.example/debian trixie main\n\
                    deb-src http://src.example/debian trixie main\n\
                    deb [arch=amd64 signed-by=/x.gpg] http://ftp.example/debian/ trixie main contrib # near\n\
                    deb http://ftp.example/debian-security trixie-security main\n";
        check(&[("sources.list", text)], "http://ftp.example/debian", "http://ftp.example/debian-security");
    }

    #[test]
    fn deb822_format() {
        let text = "Types: deb deb-src\n# comment\nURIs: http://lan.example/debian\nSuites: trixie\n trixie-updates\n\
                    Components: main\n\nTypes: deb\nEnabled: no\nURIs: http://off.example/debian-security\n\
                    Suites: trixie-security\nComponents: main\n";
        check(&[("debian.sources", text)], "http://lan.example/debian", CANONICAL.1);
    }

    #[test]
    fn other_vendors_are_no_mirrors() {
        let vendors = "deb http://download.docker.example/linux/debian trixie stable\n\
                       deb http://db.example/repo/11/debian trixie main\n\
                       deb http://vendor.example/debian/pve trixie main\n\
                       deb cdrom:[Debian]/ trixie main\n";
        let debian = "Types: deb\nURIs: http://mirror.example/pub/debian\nSuites: trixie\nComponents: main\n\
                      Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg\n";
        check(&[("a.list", vendors), ("b.sources", debian)], "http://mirror.example/pub/debian", CANONICAL.1);
    }

    #[test]
    fn https_is_as_good() {
        let text = "deb https://lan.example/debian trixie main\n";
        check(&[("sources.list", text)], "https://lan.example/debian", CANONICAL.1);
    }

    #[test]
    fn wishes_win() {
        let file = SourcesFile {
            path: "/etc/apt/sources.list".to_owned(),
            text: "deb http://me@deb.debian.org/debian trixie main\n".to_owned(),
        };
        let error = Mirrors::detect(std::slice::from_ref(&file), &MirrorOverride::default()).unwrap_err();
        assert!(error.to_string().contains("`/etc/apt/sources.list`"), "{error}");
        let main = ["http://lan.example/debian", "https://far.example/debian"];
        let wish = MirrorOverride { main: main.map(str::to_owned).to_vec(), ..MirrorOverride::default() };
        let mirrors = Mirrors::detect(&[file], &wish).unwrap();
        assert_eq!(addresses(&mirrors.main), main.join(" "));
    }
}
