//! The addresses under which clients may know an archive.

use std::collections::BTreeSet;

use super::mirror::Mirrors;
use super::{Base, Url};

/// Where archives are, as clients see it. Nothing else is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Addresses(Vec<(Url, Base)>);

impl Addresses {
    /// Those that every Debian machine knows. The main host carries the security archive as well, and many scripts know
    /// it there.
    pub(super) fn canonical() -> Self {
        let security_with_main = ("http://deb.debian.org/debian-security".to_owned(), Base::Security);
        let known = Base::DEBIAN.map(|base| (base.canonical_url(), base)).into_iter();
        let all = known.chain([security_with_main]);
        Self(all.map(|(url, base)| (url.parse().expect("canonical addresses are addresses"), base)).collect())
    }

    /// The hosts among them, each once.
    pub(super) fn hosts(&self) -> BTreeSet<String> {
        self.0.iter().map(|(url, _)| url.host().to_owned()).collect()
    }

    /// Also those of mirrors: a client that names one of them means the same archive.
    pub(super) fn with(mut self, mirrors: &Mirrors) -> Self {
        let all = Base::DEBIAN.iter().flat_map(|base| mirrors.urls(base).iter().map(move |url| (url, base)));
        self.0.extend(all.map(|(url, base)| (url.clone(), base.clone())));
        self
    }

    /// The archive that a decoded path of a host is in, and the path under its base.
    /// At its usual port an archive is the same by http and by https, so only another port is named.
    pub(super) fn find<'a, 'p>(
        &'a self,
        host: &str,
        unusual_port: Option<u16>,
        path: &'p str,
    ) -> Option<(&'a Base, &'p str)> {
        self.0.iter().find_map(|(url, base)| {
            let is_host = url.host() == host && url.unusual_port() == unusual_port;
            let under = path.strip_prefix(url.path().trim_end_matches('/'))?.strip_prefix('/')?;
            is_host.then_some((base, under))
        })
    }
}
