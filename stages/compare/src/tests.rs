use super::*;

const NOW: i64 = 1_796_000_000;

fn cause(old: &str, new: &str) -> Option<Cause> {
    compare("/srv/x", old.as_bytes(), new.as_bytes(), None, NOW).cause
}

#[test]
fn words_have_causes() {
    let check = |old: &str, new: &str, expected: Cause| assert_eq!(cause(old, new), Some(expected), "{old}");
    check("built Mon Nov 30 17:36:33 UTC 2026\n", "built Mon Nov 30 17:36:41 UTC 2026\n", Cause::Clock);
    check("1796000000\n", "1796000007\n", Cause::Clock);
    check("1796000000123456789", "1796000001123456789", Cause::Clock);
    check("build-1796000000123456789.tar", "build-1796000001123456789.tar", Cause::Clock);
    check("2026-11-30", "2028-01-05", Cause::Clock);
    check("id=2c1f4b9e-0a35-4d1e-9a35-27c4cfa9d5aa", "id=ac1f4b9e-0a35-4d1e-8a35-27c4cfa9d5ab", Cause::Uuid);
    check("/tmp/tmp.a8Xk2LmQ9p", "/tmp/tmp.b8Xk2LmQ9p", Cause::TemporaryName);
    check("root:$y$j9T$abc$def:1:", "root:$y$j9T$abd$def:1:", Cause::Salt);
    check("<object at 0x7f3a1c2b>", "<object at 0x7f3a1d2b>", Cause::Address);
    check("9f86d081884c7d659a2feaa0c55ad015", "60303ae22b998861bce3b28f33eec1be", Cause::RandomBytes);
    check("0.8444218515250481", "0.7579544029403025", Cause::RandomNumber);
    check("took 0.012 s", "took 0.013 s", Cause::Elapsed);
    check("{'b', 'a', 'c'}", "{'c', 'a', 'b'}", Cause::HashOrder);
    check("a\nb\nc\n", "b\na\nc\n", Cause::DirectoryOrder);
    check("-----BEGIN KEY-----\nabc\n", "-----BEGIN KEY-----\nabd\n", Cause::Key);
    check("17283\n", "30122\n", Cause::RandomNumber);
    check("took 123456 ns\n", "took 323456 ns\n", Cause::Elapsed);
    check("u:$6$abc$def:1:", "u:$6$abc$dxf:1:", Cause::RandomBytes);
    check("8123456\n", "8123460\n", Cause::Inode);
}

/// The same numbers may be anything: then the program tells.
#[test]
fn a_program_names_what_the_words_do_not() {
    let check = |text: &str, expected: Option<Cause>| {
        let program = Some(Program { name: "scripts/x", text });
        let found = compare("/srv/x", b"47\n", b"52\n", program, NOW);
        assert_eq!(found.cause, expected, "{text}");
    };
    check("#!/bin/sh\necho $$ > /srv/x\n", Some(Cause::ProcessId));
    check("nproc > /srv/x\n", Some(Cause::Cpus));
    check("# nproc\necho fixed\n", None);
    let program = Program { name: "scripts/x", text: "set -e\ndate +%s > /srv/x\n" };
    let found = compare("/srv/x", b"1796000000\n", b"1796000009\n", Some(program), NOW);
    let call = found.call.unwrap();
    assert_eq!((call.line, call.text.as_str()), (2, "date +%s > /srv/x"));
}

#[test]
fn the_line_that_names_the_file_is_the_one() {
    let text = "date > /srv/a\n(sleep 1; echo x) & done\ndate > /srv/b\n";
    let line = |path: &str, old: &[u8], new: &[u8]| {
        let program = Some(Program { name: "x", text });
        compare(path, old, new, program, NOW).call.map(|call| call.line)
    };
    assert_eq!(line("/srv/b", b"10:11:12", b"10:11:13"), Some(3));
    assert_eq!(line("/srv/c", b"10:11:12", b"10:11:13"), Some(1));
    assert_eq!(line("/srv/d", b"a\nb\n", b"b\na\n"), Some(2));
}

/// What a report shows is read by many.
#[test]
fn secrets_are_not_shown() {
    let lines =
        |old: &str, new: &str| compare("/srv/x", old.as_bytes(), new.as_bytes(), None, NOW).lines.join("\n");
    let key = "-----BEGIN PRIVATE KEY-----\nSECRET";
    assert!(!lines(&format!("{key}1\n"), &format!("{key}2\n")).contains("SECRET"));
    let shown = lines("u:$6$salt$SECRET1:1\n", "u:$6$salt$SECRET2:1\n");
    assert!(shown.contains("-u:$6$...:1") && !shown.contains("SECRET"), "{shown}");
}

#[test]
fn lines_are_shown_without_what_a_terminal_obeys() {
    let found = compare("/srv/x", b"a\n\x1b[31mb\n", b"a\n\x1b[32mb\n", None, NOW);
    assert_eq!(found.lines, ["@@ -1,2 +1,2 @@", " a", "-\\u{1b}[31mb", "+\\u{1b}[32mb"]);
}

#[test]
fn lines_in_another_order_are_told_apart_from_other_lines() {
    let arrangement = |old: &[u8], new: &[u8]| compare("/srv/x", old, new, None, NOW).arrangement;
    assert_eq!(arrangement(b"a\nb\n", b"b\na\n"), Arrangement::Permuted);
    assert_eq!(arrangement(b"a\nb\n", b"b\nc\n"), Arrangement::Other);
}

#[test]
fn headers_of_formats_have_causes() {
    let gzip = |time: u32, text: &[u8]| {
        let mut compressor = libdeflater::Compressor::new(libdeflater::CompressionLvl::default());
        let mut out = vec![0; compressor.gzip_compress_bound(text.len())];
        let size = compressor.gzip_compress(text, &mut out).unwrap();
        out.truncate(size);
        out[4..8].copy_from_slice(&time.to_le_bytes());
        out
    };
    let check = |old: &[u8], new: &[u8], format: &str, cause: Cause| {
        let found = compare("/srv/x", old, new, None, NOW);
        assert_eq!((found.format, found.cause), (format, Some(cause)), "{found:?}");
    };
    check(&gzip(7, b"same"), &gzip(9, b"same"), "gzip", Cause::CompressionTime);
    check(&gzip(7, b"at 10:11:12\n"), &gzip(7, b"at 10:11:13\n"), "gzip", Cause::Clock);
    let ar = |time: u32| format!("!<arch>\n{:<16}{:<12}0     0     644     4         `\nbody", "a.o/", time);
    check(ar(1).as_bytes(), ar(2).as_bytes(), "ar", Cause::ArchiveTimes);
    let tar = |names: [&str; 2], time: u64| {
        let mut builder = tar::Builder::new(Vec::new());
        for name in names {
            let mut header = tar::Header::new_ustar();
            header.set_size(1);
            header.set_mtime(time);
            builder.append_data(&mut header, name, &b"x"[..]).unwrap();
        }
        builder.into_inner().unwrap()
    };
    check(&tar(["a", "b"], 1), &tar(["a", "b"], 2), "tar", Cause::ArchiveTimes);
    check(&tar(["a", "b"], 1), &tar(["b", "a"], 1), "tar", Cause::ArchiveOrder);
    let pyc = |time: u32| [b"\xcb\x0d\r\n\0\0\0\0", &time.to_le_bytes()[..], b"\0\0\0\0code"].concat();
    check(&pyc(1), &pyc(2), "Python bytecode", Cause::BytecodeTime);
    let sqlite = |counter: u8| {
        let mut bytes = [&b"SQLite format 3\0"[..], &[0; 100]].concat();
        bytes[27] = counter;
        bytes
    };
    check(&sqlite(1), &sqlite(2), "SQLite", Cause::DatabaseHeader);
}

/// Small files that unpack to much, or look like much, cost no more than they are.
#[test]
fn hostile_files_are_compared_at_the_cost_of_their_bytes() {
    let check = |old: Vec<u8>, new: Vec<u8>| compare("/srv/x", &old, &new, None, NOW);
    let nested = |inmost: &[u8]| {
        (0..20_000).fold(inmost.to_vec(), |inner, _| {
            let head = format!("!<arch>\n{:<16}{:<12}0     0     644     {:<10}`\n", "a/", 0, inner.len());
            if inner.len() > 1 << 20 { inner } else { [head.as_bytes(), &inner].concat() }
        })
    };
    check(nested(b"a"), nested(b"b"));
    let sparse = |name: u8| {
        let mut header = tar::Header::new_gnu();
        header.set_path(format!("file{name}")).unwrap();
        header.set_entry_type(tar::EntryType::GNUSparse);
        header.set_size(0);
        let gnu = header.as_gnu_mut().unwrap();
        gnu.realsize = *b"777777777777";
        header.set_cksum();
        [header.as_bytes().as_slice(), &[0; 1024]].concat()
    };
    check(sparse(1), sparse(2));
    let elf = |fill: u8| {
        let mut bytes = vec![fill; 20_000];
        bytes[..6].copy_from_slice(b"\x7fELF\x02\x01");
        bytes[40..48].copy_from_slice(&64_u64.to_le_bytes());
        bytes[58..64].copy_from_slice(&[0, 0, 0xff, 0xff, 0, 0]);
        bytes
    };
    check(elf(7), elf(8));
    let words =
        |word: &str| (0..200_000).map(|n| format!("{word}{}\n", n % 7)).collect::<String>().into_bytes();
    let found = check(words("a"), words("b"));
    assert!(found.lines.len() <= MOST_LINES + 1);
}

/// Hostile or broken files are compared as bytes.
#[test]
fn damaged_files_are_no_reason_to_panic() {
    let mut random = 1_u32;
    let magics: [&[u8]; 6] = [
        b"\x1f\x8b\x08",
        b"!<arch>\n",
        b"\x7fELF\x02\x01",
        b"SQLite format 3\0",
        b"\x89PNG\r\n\x1a\n",
        b"\xcb\x0d\r\n",
    ];
    for round in 0..4000 {
        let mut bytes = |length: usize| {
            let mut step = || {
                random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (random >> 24) as u8
            };
            (0..length).map(|_| step()).collect::<Vec<_>>()
        };
        let magic = magics[round % magics.len()];
        let (old, new) = ([magic, &bytes(round % 300)].concat(), [magic, &bytes(round % 217)].concat());
        compare("/srv/x", &old, &new, None, NOW);
    }
}
