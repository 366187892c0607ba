//! The addresses under which clients may know an archive.

use std::collections::BTreeSet;

use crate::archive::view::ArchiveView;
use crate::fetch::mirror::Mirrors;
use ibuild_debian::decode;
use ibuild_debian::{Base, Scheme, Url, debian_addresses};

/// Where archives are, as clients see it. Nothing else is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Addresses(Vec<(Url, Base)>);

impl Addresses {
    /// Those that every Debian machine knows.
    pub(crate) fn canonical() -> Self {
        Self(debian_addresses().collect())
    }

    /// Also those of archives that are not Debian's.
    pub(crate) fn of(view: &ArchiveView) -> Self {
        let mut addresses = Self::canonical();
        for pinned in view.pockets() {
            if let base @ Base::At(url) = &pinned.pocket.base {
                addresses.0.push((url.clone(), base.clone()));
            }
        }
        addresses
    }

    /// Hosts and ports at which they are by https. At its usual port an archive is the same by http and by https.
    pub(crate) fn secure(&self) -> BTreeSet<(String, u16)> {
        let port = |url: &Url| match (url.scheme(), url.unusual_port()) {
            (_, None) => Some(Scheme::Https.port()),
            (Scheme::Https, port) => port,
            (Scheme::Http, Some(_)) => None,
        };
        self.0.iter().filter_map(|(url, _)| Some((url.host().to_owned(), port(url)?))).collect()
    }

    /// Also those of mirrors: a client that names one of them means the same archive.
    pub(crate) fn with(mut self, mirrors: &Mirrors) -> Self {
        let all = Base::DEBIAN.iter().flat_map(|base| mirrors.urls(base).iter().map(move |url| (url, base)));
        self.0.extend(all.map(|(url, base)| (url.clone(), base.clone())));
        self
    }

    /// The archive that a decoded path of a host is in, the one deepest in its directories, and the path under its base.
    /// At its usual port an archive is the same by http and by https, so only another port is named.
    pub(crate) fn find<'p>(
        &self,
        host: &str,
        unusual_port: Option<u16>,
        path: &'p str,
    ) -> Option<(&Base, &'p str)> {
        let here = self.0.iter().filter_map(|(url, base)| {
            let is_host = url.host() == host && url.unusual_port() == unusual_port;
            let directory = is_host.then(|| decode(url.path()))??;
            let under = path.strip_prefix(directory.trim_end_matches('/'))?.strip_prefix('/')?;
            Some((base, under))
        });
        here.reduce(|best, next| if next.1.len() < best.1.len() { next } else { best })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(urls: &[&str]) -> Addresses {
        let mut addresses = Addresses::canonical();
        for url in urls {
            let url: Url = url.parse().unwrap();
            addresses.0.push((url.clone(), Base::At(url)));
        }
        addresses
    }

    #[test]
    fn the_deepest_archive_has_a_path() {
        let known = addresses(&[
            "http://a.example/x",
            "http://a.example/x/y",
            "http://b.example",
            "http://c.example/%7ez",
        ]);
        let check = |host: &str, path: &str, expected: Option<(&str, &str)>| {
            let found =
                known.find(host, None, path).map(|(base, under)| (base.to_string(), under.to_owned()));
            assert_eq!(
                found,
                expected.map(|(base, under)| (base.to_owned(), under.to_owned())),
                "{host}{path}"
            );
        };
        check("a.example", "/x/p", Some(("http://a.example/x", "p")));
        check("a.example", "/x/y/p", Some(("http://a.example/x/y", "p")));
        check("a.example", "/xy/p", None);
        check("b.example", "/p", Some(("http://b.example", "p")));
        check("c.example", "/~z/p", Some(("http://c.example/%7ez", "p")));
        check("deb.debian.org", "/debian-security/p", Some(("security", "p")));
    }

    #[test]
    fn who_is_there_by_https() {
        let of_debian = addresses(&[]).secure().len();
        let known =
            addresses(&["http://a.example/x", "http://b.example:81/x", "https://c.example:8443/x"]).secure();
        let server = |host: &str, port| (host.to_owned(), port);
        assert!(known.contains(&server("a.example", 443)) && known.contains(&server("c.example", 8443)));
        assert_eq!(known.len(), of_debian + 2);
    }
}
