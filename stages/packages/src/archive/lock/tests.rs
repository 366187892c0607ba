//! Locks that are read, written, compared and refused.

use super::*;

const TEXT: &str = "# The state of the archives that this project is built from. Written by ibuild: commit it.\n\
    format 2\n\
    release debian main trixie sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef 140421 \
    2026-09-12T07:55:41Z\n\
    release debian security trixie-security \
    sha256:fedcba9876543210fedcba9876543210fedcba9876543210fedcba9876543210 43409 2026-11-21T00:53:03Z \
    2026-11-28T00:53:03Z\n\
    deb debian hello 2.10-5 amd64 53184 \
    sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef main pool/hello.deb ws/a,ws/b\n\
    deb debian vim 2:9.1 amd64 7 \
    sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdee security pool/vim.deb ws/b\n\
    end 6\n";

#[test]
fn text_and_back() {
    let lock = Lock::parse(TEXT).unwrap();
    assert_eq!(lock.to_text(), TEXT);
    let suite = "trixie-security".parse().unwrap();
    let release = lock.release("debian", &Base::Security, &suite).unwrap();
    assert_eq!(release.inrelease.size, 43409);
    assert_eq!(lock.release("debian", &Base::Main, &suite), None);
}

#[test]
fn order_does_not_matter() {
    let lock = Lock::parse(TEXT).unwrap();
    let mut reversed = Lock::default();
    reversed.set_archive("debian", lock.releases().iter().rev().cloned().collect());
    for stage in ["ws/b", "ws/a"] {
        let of_stage = |(_, stages): &(_, &BTreeSet<String>)| stages.contains(stage);
        let debs = lock.debs().filter(of_stage).map(|(locked, _)| locked.clone());
        let mut debs: Vec<_> = debs.collect();
        debs.reverse();
        reversed.set_stage(stage, debs);
    }
    assert_eq!(reversed.to_text(), TEXT);
    reversed.set_archive("debian", Vec::new());
    reversed.retain_stages(|_| false);
    assert_eq!(reversed, Lock::default());
}

#[test]
fn other_archives_have_their_address() {
    let text = TEXT.replace(" debian main ", " tor https://deb.example.org/tor ");
    assert_ne!(text, TEXT);
    let lock = Lock::parse(&text).unwrap();
    let base = "https://deb.example.org/tor".parse().unwrap();
    assert!(lock.release("tor", &base, &"trixie".parse().unwrap()).is_some());
    assert_eq!(Lock::parse(&lock.to_text()).unwrap(), lock);
}

#[test]
fn a_package_is_exchanged_for_all_stages() {
    let mut lock = Lock::parse(TEXT).unwrap();
    let (hello, vim) = {
        let mut debs = lock.debs().map(|(locked, _)| locked.clone());
        (debs.next().unwrap(), debs.next().unwrap())
    };
    let newer = DebRef { version: "2.10-6".parse().unwrap(), ..hello.deb.clone() };
    lock.exchange(&hello, Some(&newer));
    lock.exchange(&vim, None);
    let left: Vec<_> = lock.debs().map(|(l, stages)| (l.deb.version.as_str(), stages.len())).collect();
    assert_eq!(left, [("2.10-6", 2)]);
}

#[test]
fn what_changes_is_told() {
    let lock = Lock::parse(TEXT).unwrap();
    assert_eq!(lock.changes(&lock), []);
    let mut new = Lock::parse(&TEXT.replace("2.10-5", "2.10-6").replace("07:55:41Z", "09:00:00Z")).unwrap();
    new.retain_stages(|stage| stage != "ws/a");
    new.set_stage("ws/c", [lock.debs().nth(1).unwrap().0.clone()]);
    let told: Vec<_> = lock.changes(&new).iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        [
            "debian trixie: 2026-09-12T07:55:41Z -> 2026-09-12T09:00:00Z",
            "- hello 2.10-5 amd64",
            "+ hello 2.10-6 amd64",
            "vim 2:9.1 amd64: used by other stages"
        ]
    );
}

#[test]
fn bad_locks() {
    let check = |bytes: &[u8], why: &str| {
        let error = text(bytes).and_then(Lock::parse).unwrap_err();
        assert_eq!(error.to_string(), why);
    };
    check(b"format 3\nnew things\n", "it has format `3`, this ibuild reads formats 1 and 2");
    check(b"", "it is empty");
    check(b"# a comment\n\n", "it is empty");
    let mark = "is a conflict marker of a merge:";
    check(b"<<<<<<< HEAD\nformat 1\n", &format!("line 1 {mark} `<<<<<<< HEAD`"));
    check(b"format 1\n=======\n", &format!("line 2 {mark} `=======`"));
    check(b"format 1\n\ndeb x\n", "line 3 cannot be read: `deb x`");
    check(b"hello\n", "line 1 cannot be read: `hello`");
    check(b"deb \x1b[31m\n", "line 1 cannot be read: `deb \\u{1b}[31m`");
    check(b"format 1\n\xff\n", "line 2 is not text");
    check(b"format 1\nx\0y\x1b[2J\n", "line 2 cannot be read: `x\\u{0}y\\u{1b}[2J`");
    check(b"format 1\nend 1\n", "line 2 cannot be read: `end 1`");
    check(b"format 2\nend 1\nend 2\n", "line 3 cannot be read: `end 2`");
    check(
        b"format 2\n\n# a comment\nend 1\n",
        "its last line says that 1 lines are before it, but there are 3",
    );
    let long = "x".repeat(99);
    check(long.as_bytes(), &format!("line 1 cannot be read: `{}...`", &long[..60]));
}

/// A regression: a file that ended after some line was a lock, and what it lacked was recorded as it was by then.
#[test]
fn a_lock_that_was_cut_short_is_none() {
    let lock = Lock::parse(TEXT).unwrap();
    for end in 0..TEXT.len() - 1 {
        assert!(Lock::parse(&TEXT[..end]).is_err(), "{}", &TEXT[..end]);
    }
    assert_eq!(Lock::parse(TEXT.trim_end()), Ok(lock));
    let lines: Vec<_> = TEXT.lines().collect();
    for without in 2..lines.len() - 1 {
        let mut fewer = lines.clone();
        fewer.remove(without);
        let error = Lock::parse(&fewer.join("\n")).unwrap_err();
        assert_eq!(error, LockError::Count { said: 6, found: 5 });
    }
    assert_eq!(Lock::parse(&lines[..6].join("\n")), Err(LockError::Cut));
}

#[test]
fn the_format_before_is_read_and_not_written() {
    let before = TEXT.replace("format 2", "format 1").replace("end 6\n", "");
    let lock = Lock::parse(&before).unwrap();
    assert_eq!(lock.to_text(), TEXT);
}

/// A regression: of two states the first one counted, and a merge by `union` chose it.
#[test]
fn a_suite_is_locked_once() {
    let release = TEXT.lines().nth(2).unwrap();
    for format in ["format 1", "format 2"] {
        for other in [release.to_owned(), release.replace("07:55:41Z", "09:00:00Z")] {
            let twice = TEXT.replace("format 2", format).replace(release, &format!("{release}\n{other}"));
            let error = Lock::parse(&twice).unwrap_err();
            assert_eq!(error.to_string(), "lines 3 and 4 both lock `debian main trixie`");
            assert!(error.hint().starts_with("take one side of the merge"), "{}", error.hint());
        }
    }
}

/// A regression: the link became a file, and what it led to stayed as it was.
#[test]
fn what_a_link_leads_to_is_written() {
    use std::os::unix::fs::symlink;
    let dir = tempfile::tempdir().unwrap();
    let (link, elsewhere) = (dir.path().join("ibuild.lock"), dir.path().join("elsewhere"));
    fs::create_dir(&elsewhere).unwrap();
    symlink("elsewhere/one", &link).unwrap();
    symlink("two", elsewhere.join("one")).unwrap();
    let lock = Lock::parse(TEXT).unwrap();
    for written in [Lock::default(), lock] {
        written.write(&link).unwrap();
        assert_eq!(Lock::read(&link).unwrap(), Some(written));
        assert!(link.is_symlink() && elsewhere.join("one").is_symlink());
        assert!(fs::symlink_metadata(elsewhere.join("two")).unwrap().is_file());
    }
    fs::remove_file(elsewhere.join("two")).unwrap();
    symlink("one", elsewhere.join("two")).unwrap();
    assert!(Lock::default().write(&link).is_err(), "a ring of links");
}

#[test]
fn on_disk() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ibuild.lock");
    assert_eq!(Lock::read(&path).unwrap(), None);
    let lock = Lock::parse(TEXT).unwrap();
    lock.write(&path).unwrap();
    assert_eq!(Lock::read(&path).unwrap(), Some(lock));
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}
