//! Looks paths up in a tree as a program whose root it is would: links on the way are followed, and lead nowhere else.

use ibuild_cache::TreeId;

use super::SnapshotError;
use super::tree::{Entry, Kind, TreeStore};

/// As many as the kernel follows.
const MOST_LINKS: usize = 40;

/// Names of a path, the last one first.
fn names(path: &[u8]) -> Vec<Vec<u8>> {
    path.split(|b| *b == b'/').rev().map(<[u8]>::to_vec).collect()
}

/// Whether a name leads anywhere.
fn is_name(name: &[u8]) -> bool {
    !matches!(name, b"" | b".")
}

impl TreeStore<'_> {
    /// The entry at `path`, of which links on the way are followed as they are in that tree, and the path of it without such
    /// links; `None` if there is none. The entry may be a link itself.
    pub fn find_through_links(
        &self,
        tree: TreeId,
        path: &[u8],
    ) -> Result<Option<(Vec<u8>, Entry)>, SnapshotError> {
        let (mut way, mut links) = (vec![(Vec::new(), self.root(tree)?)], 0);
        let mut open = names(path);
        while let Some(name) = open.pop() {
            if !is_name(&name) {
                continue;
            }
            if name == b".." {
                way.truncate((way.len() - 1).max(1));
                continue;
            }
            let Kind::Directory(listing) = way[way.len() - 1].1.kind else { return Ok(None) };
            let Some(child) = self.listing(listing)?.entries.remove(&name) else { return Ok(None) };
            match &child.kind {
                Kind::Symlink(target) if open.iter().any(|name| is_name(name)) => {
                    links += 1;
                    if links > MOST_LINKS {
                        return Ok(None);
                    }
                    way.truncate(if target.starts_with(b"/") { 1 } else { way.len() });
                    open.extend(names(target));
                }
                _ => way.push((name, child)),
            }
        }
        let path = way[1..].iter().flat_map(|(name, _)| [&b"/"[..], name]).collect::<Vec<_>>().concat();
        Ok(way.pop().map(|(_, entry)| (path, entry)))
    }
}

#[cfg(test)]
mod tests {
    use ibuild_cache::{MemoryIndex, Store};

    use super::*;
    use crate::{Listing, Metadata};

    fn entry(kind: Kind) -> Entry {
        Entry { meta: Metadata::default(), kind }
    }

    fn directory(trees: &TreeStore<'_>, entries: Vec<(&str, Entry)>) -> Entry {
        let entries = entries.into_iter().map(|(name, entry)| (name.into(), entry)).collect();
        entry(Kind::Directory(trees.add_listing(&Listing { entries })))
    }

    fn link(target: &str) -> Entry {
        entry(Kind::Symlink(target.into()))
    }

    #[test]
    fn links_on_the_way_are_followed_in_the_tree() {
        let root = tempfile::tempdir().unwrap();
        let store = Store::open(root.path(), |_| MemoryIndex::default()).unwrap();
        let trees = TreeStore::new(&store);
        let v1 = directory(&trees, vec![("file", entry(Kind::Fifo)), ("up", link("../v1"))]);
        let links =
            vec![("v1", v1), ("current", link("v1")), ("out", link("../../opt")), ("loop", link("loop"))];
        let opt = directory(&trees, links);
        let tree = trees.add_root(&directory(&trees, vec![("opt", opt), ("srv", link("/opt/v1"))]));
        let found = |path: &str| {
            let found = trees.find_through_links(tree, path.as_bytes()).unwrap();
            found.map(|(path, _)| String::from_utf8(path).unwrap())
        };
        for (path, expected) in [
            ("/opt/v1/file", Some("/opt/v1/file")),
            ("/opt/current/file", Some("/opt/v1/file")),
            ("/opt/current/up/up/file", Some("/opt/v1/file")),
            ("/srv/file", Some("/opt/v1/file")),
            ("/opt/out/current//./file", Some("/opt/v1/file")),
            ("/opt/current/../current", Some("/opt/current")),
            ("/../../opt/current", Some("/opt/current")),
            ("/opt/current/", Some("/opt/current")),
            ("/", Some("")),
            ("/opt/loop/file", None),
            ("/opt/v1/file/more", None),
            ("/opt/none", None),
        ] {
            assert_eq!(found(path).as_deref(), expected, "{path}");
        }
    }
}
