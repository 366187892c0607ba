//! The packages that a system starts from, resolved from a frozen view without any tool of the host.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use ibuild_cache::{Batch, Encoder, Record, Store, Table};
use serde::{Deserialize, Serialize};

use crate::PackageError;
use crate::archive::candidate::{Candidate, DebRef, IndexText, best, read_indices};
use crate::archive::view::ArchiveView;
use crate::fetch::fetcher::Fetcher;
use ibuild_debian::{
    Base, Name,
    dependency::{self, Relation},
};

/// Changes whenever the same archive could resolve to other packages. Belongs into the key of whatever begins with them.
pub const RESOLVER: &str = "ibuild bootstrap 1";

/// The packages of a minimal system: all that are essential or of priority `required`, apt, `extras`, and what
/// these depend on; sorted by name. The answer is a function of the view and is remembered.
pub fn minbase(
    store: &Store,
    view: &ArchiveView,
    extras: &[Name],
    fetcher: &Fetcher,
) -> Result<Vec<DebRef>, PackageError> {
    let key = request_key(view, extras);
    if let Some(resolution) = store.index().record::<Resolution>(Table::Packages, &key)? {
        return Ok(resolution.debs);
    }
    let texts = read_indices(view, view.architecture(), fetcher)?;
    let debs = Universe::read(&texts, view.architecture())?.minbase(extras)?;
    let resolution = Resolution { debs };
    let mut batch = Batch::default();
    batch.put_record(Table::Packages, &key, &resolution);
    store.index().commit(batch)?;
    Ok(resolution.debs)
}

#[derive(Serialize, Deserialize)]
struct Resolution {
    debs: Vec<DebRef>,
}

impl Record for Resolution {
    const SCHEMA: u16 = 1;
}

fn request_key(view: &ArchiveView, extras: &[Name]) -> Vec<u8> {
    let mut encoder = Encoder::new(RESOLVER);
    encoder.digest(view.digest().as_bytes());
    let extras: BTreeSet<_> = extras.iter().collect();
    encoder.sequence(extras.len());
    extras.iter().for_each(|name| encoder.text(name.as_str()));
    encoder.finish()
}

/// All candidates by name, and who provides which virtual package.
struct Universe<'a> {
    bases: Vec<Base>,
    candidates: BTreeMap<&'a str, Candidate<'a>>,
    providers: HashMap<&'a str, Vec<(&'a str, Option<String>)>>,
}

impl<'a> Universe<'a> {
    fn read(texts: &'a [IndexText], architecture: &Name) -> Result<Self, PackageError> {
        let candidates = best(texts, architecture);
        let mut providers: HashMap<&str, Vec<_>> = HashMap::new();
        for (name, candidate) in &candidates {
            for virtual_package in dependency::parse(candidate.stanza.provides).flatten() {
                let version = virtual_package.provided_version().map(str::to_owned);
                providers.entry(virtual_package.name).or_default().push((*name, version));
            }
        }
        let bases: BTreeSet<Base> = texts.iter().map(|text| text.base.clone()).collect();
        Ok(Self { bases: bases.into_iter().collect(), candidates, providers })
    }

    fn minbase(&self, extras: &[Name]) -> Result<Vec<DebRef>, PackageError> {
        let is_base = |c: &Candidate<'_>| c.stanza.essential == "yes" || c.stanza.priority == "required";
        let mut chosen: BTreeSet<&str> = BTreeSet::new();
        chosen.extend(self.candidates.iter().filter(|(_, c)| is_base(c)).map(|(name, _)| *name));
        for name in std::iter::once("apt").chain(extras.iter().map(Name::as_str)) {
            let relation = dependency::parse(name).flatten().next().expect("a name is a relation");
            chosen.insert(self.choose(&[relation], &chosen).ok_or_else(|| self.missing(&[relation], None))?);
        }
        self.close(&mut chosen)?;
        chosen.into_iter().map(|name| self.candidates[name].deb()).collect()
    }

    /// Adds dependencies until none is open. Goes by name, so the result does not depend on chance.
    fn close(&self, chosen: &mut BTreeSet<&'a str>) -> Result<(), PackageError> {
        let mut open: BTreeSet<&str> = chosen.clone();
        while let Some(name) = open.pop_first() {
            let stanza = &self.candidates[name].stanza;
            for field in [stanza.pre_depends, stanza.depends] {
                for alternatives in dependency::parse(field) {
                    let found = self.choose(&alternatives, chosen);
                    let found = found.ok_or_else(|| self.missing(&alternatives, Some(name)))?;
                    if chosen.insert(found) {
                        open.insert(found);
                    }
                }
            }
        }
        Ok(())
    }

    /// What satisfies a dependency: something chosen already, else the first alternative that there is.
    fn choose(&self, alternatives: &[Relation<'_>], chosen: &BTreeSet<&str>) -> Option<&'a str> {
        let is_chosen = |name: &&str| chosen.contains(name);
        let satisfied = alternatives.iter().find_map(|relation| self.satisfying(relation).find(is_chosen));
        satisfied.or_else(|| alternatives.iter().find_map(|relation| self.best(relation)))
    }

    /// The package of that name, then those that provide it.
    fn satisfying(&self, relation: &Relation<'_>) -> impl Iterator<Item = &'a str> {
        let real = self.candidates.get_key_value(relation.name);
        let real = real.filter(|(_, c)| relation.accepts(Some(c.stanza.version))).map(|(name, _)| *name);
        let providers = self.providers.get(relation.name).into_iter().flatten();
        let providers = providers.filter(move |(_, version)| relation.accepts(version.as_deref()));
        real.into_iter().chain(providers.map(|(name, _)| *name))
    }

    /// A real package before a provider; between providers priority decides, then the name.
    fn best(&self, relation: &Relation<'_>) -> Option<&'a str> {
        let rank = |name: &&str| {
            let priorities = ["required", "important", "standard", "optional"];
            let priority = self.candidates[*name].stanza.priority;
            (
                *name != relation.name,
                priorities.iter().position(|p| *p == priority).unwrap_or(priorities.len()),
            )
        };
        self.satisfying(relation).min_by_key(rank)
    }

    fn missing(&self, alternatives: &[Relation<'_>], by: Option<&str>) -> PackageError {
        let names: Vec<_> = alternatives.iter().map(ToString::to_string).collect();
        PackageError::NoPackage {
            package: names.join(" | "),
            by: by.map(str::to_owned),
            searched: self.bases.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ibuild_debian::Preference;
    use ibuild_golden::pin;

    fn stanza(name: &str, version: &str, fields: &str) -> String {
        let sha = "0".repeat(64);
        format!(
            "Package: {name}\nVersion: {version}\nArchitecture: amd64\nFilename: pool/{name}_{version}.deb\nSize: 1\nSHA256: {sha}\n{fields}\n"
        )
    }

    fn text(base: Base, preference: Preference, stanzas: &[String]) -> IndexText {
        IndexText { base, preference, path: "Packages".to_owned(), text: stanzas.join("\n") }
    }

    fn resolve(texts: &[IndexText], extras: &[&str]) -> Result<Vec<String>, PackageError> {
        let extras: Vec<Name> = extras.iter().map(|name| name.parse().unwrap()).collect();
        let debs = Universe::read(texts, &"amd64".parse()?)?.minbase(&extras)?;
        Ok(debs.iter().map(|deb| format!("{} {}", deb.name, deb.version)).collect())
    }

    fn main(stanzas: &[String]) -> Vec<IndexText> {
        vec![text(Base::Main, Preference::Automatic, stanzas)]
    }

    #[test]
    fn the_closure_of_the_base() {
        let texts = main(&[
            stanza("apt", "1", "Depends: lib (>= 1), gone | lib2"),
            stanza("base", "1", "Essential: yes\nPre-Depends: awk"),
            stanza("gawk", "1", "Provides: awk\nPriority: optional"),
            stanza("mawk", "1", "Provides: awk\nPriority: required"),
            stanza("lib", "1", ""),
            stanza("lib2", "1", ""),
            stanza("other", "1", ""),
            stanza("extra", "1", ""),
        ]);
        assert_eq!(
            resolve(&texts, &["extra"]).unwrap(),
            ["apt 1", "base 1", "extra 1", "lib 1", "lib2 1", "mawk 1"]
        );
    }

    #[test]
    fn security_updates_win_and_backports_do_not() {
        let texts = [
            text(Base::Main, Preference::Automatic, &[stanza("apt", "1.0", "")]),
            text(Base::Security, Preference::Automatic, &[stanza("apt", "1.0+deb13u1", "")]),
            text(
                Base::Main,
                Preference::LastResort,
                &[stanza("apt", "2.0", "Depends: new"), stanza("new", "1", "")],
            ),
        ];
        assert_eq!(resolve(&texts, &[]).unwrap(), ["apt 1.0+deb13u1"]);
        assert_eq!(resolve(&texts, &["new"]).unwrap(), ["apt 1.0+deb13u1", "new 1"]);
    }

    #[test]
    fn what_is_chosen_already_satisfies() {
        let texts = main(&[
            stanza("apt", "1", "Depends: cdebconf | debconf-2.0"),
            stanza("cdebconf", "1", ""),
            stanza("debconf", "1", "Priority: required\nProvides: debconf-2.0"),
        ]);
        assert_eq!(resolve(&texts, &[]).unwrap(), ["apt 1", "debconf 1"]);
    }

    #[test]
    fn a_package_with_an_odd_name_is_refused() {
        let texts = main(&[stanza("apt", "1", ""), stanza("/var/tmp/x", "1", "Essential: yes")]);
        let refused = resolve(&texts, &[]).unwrap_err().to_string();
        assert!(refused.contains("`Packages` has a package that cannot be one"), "{refused}");
    }

    #[test]
    fn versions_count() {
        let texts = main(&[
            stanza("apt", "1", "Depends: v (>= 2)"),
            stanza("a", "1", "Provides: v"),
            stanza("b", "1", "Provides: v (= 1)"),
            stanza("c", "1", "Provides: v (= 2)"),
        ]);
        assert_eq!(resolve(&texts, &[]).unwrap(), ["apt 1", "c 1"]);
    }

    /// Alternatives, virtual packages with and without versions, priorities, an update, backports, a circle, an extra.
    #[test]
    fn what_is_resolved_has_a_version() {
        let texts = [
            text(
                Base::Main,
                Preference::Automatic,
                &[
                    stanza("apt", "2", "Depends: lib (>= 1), gone | choice, mta"),
                    stanza("base", "1:1~rc1", "Essential: yes\nPre-Depends: awk"),
                    stanza("gawk", "1", "Provides: awk\nPriority: optional"),
                    stanza("mawk", "1", "Provides: awk\nPriority: standard"),
                    stanza("choice", "1", "Depends: late | early\nRecommends: other\nSuggests: other"),
                    stanza("early", "1", ""),
                    stanza("late", "1", "Depends: circle"),
                    stanza("circle", "1", "Depends: late"),
                    stanza("lib", "1", "Provides: lib-api (= 3)"),
                    stanza("exim", "4", "Provides: mta"),
                    stanza("postfix", "3", "Provides: mta"),
                    stanza("needed", "1", "Priority: required\nDepends: lib-api (>= 2)"),
                    stanza("extra", "1", "Depends: lib:any (<< 9)"),
                    stanza("other", "1", ""),
                ],
            ),
            text(Base::Security, Preference::Automatic, &[stanza("lib", "1+deb13u1", "")]),
            text(Base::Main, Preference::LastResort, &[stanza("apt", "3", ""), stanza("new", "3", "")]),
        ];
        let made = [&[][..], &["extra"], &["new", "postfix"]].map(|extras| {
            let made = resolve(&texts, extras).map_or_else(|error| error.to_string(), |debs| debs.join(", "));
            made + "\n"
        });
        pin(
            "RESOLVER in packages/archive/bootstrap.rs",
            RESOLVER,
            ("ibuild bootstrap 1", "d72e7aff5ea52176a1a799c67633c6fe226a16ab63ab2952494b244ba01e52d9"),
            made.concat(),
        );
    }

    #[test]
    fn a_missing_package_is_named() {
        let error = resolve(&main(&[stanza("apt", "1", "Depends: gone (>= 2) | lost")]), &[]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "no package `gone (>= 2) | lost`, which `apt` depends on, in http://deb.debian.org/debian"
        );
        let error = resolve(&main(&[stanza("apt", "1", "")]), &["nonsense"]).unwrap_err();
        assert_eq!(error.to_string(), "no package `nonsense` in http://deb.debian.org/debian");
    }
}
