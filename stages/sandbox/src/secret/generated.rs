//! Secrets, texts around them and cuts by chance, through encoders that are not ours: the tools of this machine.

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use super::{Mask, Masked, Scanner, shown};

/// What a tool writes of its input, which a pipe has room for; `None` if this machine has no such tool.
fn tool(line: &str, input: &[u8]) -> Option<Vec<u8>> {
    let mut command = Command::new("sh");
    command.args(["-c", line]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    // A tool that is not there reads nothing.
    let _ = child.stdin.take().unwrap().write_all(input);
    let output = child.wait_with_output().unwrap();
    output.status.success().then_some(output.stdout)
}

/// Of letters that encoders treat differently, and in some rounds others.
fn value(random: &mut fastrand::Rng) -> Vec<u8> {
    let letters: &[u8] = if random.bool() { b"aZ09" } else { b"/+&%\\\"'<> =-_.:;#x4" };
    let length = random.usize(10..90);
    let some = |random: &mut fastrand::Rng| match random.u8(0..3) {
        0 => letters[random.usize(..letters.len())],
        _ => random.u8(33..127),
    };
    // The ends tell nothing of what stands around them.
    [b"k".to_vec(), (0..length).map(|_| some(random)).collect(), b"K".to_vec()].concat()
}

fn around(random: &mut fastrand::Rng) -> Vec<u8> {
    (0..random.usize(..40)).map(|_| b"abc 019\n,.\0\xff"[random.usize(..12)]).collect()
}

/// A text with the secret is found and masked, however it is cut; the masked one has nothing left to find.
#[track_caller]
fn check(random: &mut fastrand::Rng, secret: &[u8], text: &[u8], what: &str) {
    let secrets = [shown("S", secret)];
    let scanner = Scanner::of(&secrets).unwrap();
    let told =
        || format!("{what}: {:?} in\n{}", String::from_utf8_lossy(secret), String::from_utf8_lossy(text));
    assert!(scanner.find(text).is_some(), "{}", told());
    let (mut stream, mut rest, mut found) = (scanner.stream(), text, false);
    let longest_piece = random.usize(1..60);
    let cuts =
        std::iter::repeat_with(|| random.usize(1..=longest_piece)).take(text.len()).collect::<Vec<_>>();
    for cut in &cuts {
        let (piece, after) = rest.split_at(rest.len().min(*cut));
        found |= stream.push(piece).is_some();
        rest = after;
    }
    assert!(found, "in pieces of {longest_piece}, {}", told());
    let mut masked = Vec::new();
    Masked::new(Pieces { text, cuts: cuts.iter() }, Mask::of(&secrets).unwrap())
        .read_to_end(&mut masked)
        .unwrap();
    let shown = String::from_utf8_lossy(&masked);
    assert!(shown.contains("[secret S]"), "{}", told());
    assert_eq!(scanner.find(&masked), None, "{shown}\n{}", told());
    // Columns of characters show it, too.
    let parts = secret.windows(12).filter(|part| masked.windows(12).any(|window| window == *part));
    assert_eq!(parts.count(), 0, "{shown}\n{}", told());
}

/// Reads as a pipe does that is written to in pieces.
struct Pieces<'a> {
    text: &'a [u8],
    cuts: std::slice::Iter<'a, usize>,
}

impl Read for Pieces<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let cut = self.cuts.next().copied().unwrap_or(usize::MAX);
        let (piece, rest) = self.text.split_at(self.text.len().min(cut).min(buffer.len()));
        buffer[..piece.len()].copy_from_slice(piece);
        self.text = rest;
        Ok(piece.len())
    }
}

const TOOLS: &[&str] = &[
    "cat",
    "fold -w 20",
    "fold -w 7 | sed 's/$/\\r/'",
    "base64",
    "base64 -w0 | tr +/ -_",
    "od -v",
    "od -v -b",
    "od -v -c",
    "od -v -An -c",
    "od -v -a",
    "od -v -x",
    "od -v -An -x",
    "od -v -xc",
    "od -v -t x1",
    "od -v -t x1z",
    "od -v -An -t x1 | tr a-f A-F",
    "od -v -w8 -Ad -t x1",
    "od -v -Ax -t x4",
    "od -v -t x8",
    "od -v -t o4",
    "od -v -t x2 --endian=big",
    "xxd",
    "xxd -u -c 32 -g 4",
    "xxd -g 1",
    "xxd -p",
    "xxd -i",
    "hexdump -v",
    "hexdump -v -C",
    "hexdump -v -c",
    "hexdump -v -b",
    "sed -n l",
];

#[test]
fn what_tools_write_is_found_and_masked() {
    let mut random = fastrand::Rng::with_seed(2026);
    let mut ran = 0;
    for _ in 0..25 {
        for line in TOOLS {
            let secret = value(&mut random);
            // `od -a` shows seven bits, and `sed l` ends where a byte is no letter.
            let ascii = |text: Vec<u8>| text.into_iter().filter(u8::is_ascii_graphic).collect::<Vec<_>>();
            let text = [ascii(around(&mut random)), secret.clone(), ascii(around(&mut random))].concat();
            if let Some(written) = tool(line, &text) {
                check(&mut random, &secret, &written, line);
                ran += 1;
            }
        }
    }
    assert!(ran > 25 * 20, "only {ran}");
}

/// Python's encoders, of everything that their authors leave as it is.
const ENCODERS: &[&str] = &[
    "urllib.parse.quote(s)",
    "urllib.parse.quote(s, safe='')",
    "urllib.parse.quote(s, safe='/&:;=+').lower()",
    "urllib.parse.quote_plus(s)",
    "urllib.parse.urlencode({'a': s, 'b': 'c'})",
    "json.dumps({'a': s})",
    "json.dumps(s).replace('/', '\\\\/').replace('&', '\\\\u0026').replace('<', '\\\\u003c')",
    "''.join('\\\\u%04x' % ord(c) for c in s)",
    "''.join('\\\\x%02x' % ord(c) for c in s)",
    "''.join('\\\\%03o' % ord(c) for c in s)",
    "html.escape(s)",
    "html.escape(s, quote=False)",
    "''.join('&#%d;' % ord(c) for c in s)",
    "''.join('&#x%X;' % ord(c) for c in s)",
    "repr(s)",
    "''.join('\\\\' + c if c in ' &<>|;\"' + chr(39) + '\\\\' else c for c in s)",
    "''.join('%%%02x' % ord(c) if i % 3 else c for i, c in enumerate(s)) if not set('%+\\\\&') & set(s) else s",
];

#[test]
fn what_encoders_write_is_found_and_masked() {
    let mut random = fastrand::Rng::with_seed(42);
    for encoder in ENCODERS {
        let program = format!(
            "import sys,urllib.parse,json,html\nfor line in sys.stdin.buffer.read().split(b'\\0'):\n s=line.decode('latin-1')\n sys.stdout.buffer.write(({encoder}).encode('latin-1')+b'\\0')\n"
        );
        let mut script = tempfile::NamedTempFile::new().unwrap();
        script.write_all(program.as_bytes()).unwrap();
        // What is lowered is told from what was not.
        let lowered = encoder.ends_with("lower()");
        let secrets: Vec<_> = std::iter::repeat_with(|| value(&mut random)).take(60).collect();
        let secrets: Vec<_> =
            secrets.into_iter().map(|it| if lowered { it.to_ascii_lowercase() } else { it }).collect();
        let written = tool(&format!("python3 {}", script.path().display()), &secrets.join(&0));
        let Some(written) = written else { return };
        for (secret, form) in secrets.iter().zip(written.split(|byte| *byte == 0)) {
            // It stands in a document, which goes on.
            let text = [&around(&mut random)[..], b" \"", form, b"\" ", &around(&mut random)].concat();
            check(&mut random, secret, &text, encoder);
        }
    }
}

/// Nothing of what a system has is taken for a secret that it does not have.
#[test]
fn other_texts_have_no_secret() {
    let mut random = fastrand::Rng::with_seed(7);
    let secrets = [shown("A", &value(&mut random)), shown("B", b"hunter22")];
    let scanner = Scanner::of(&secrets).unwrap();
    let mut left = 50_i64 << 20;
    for top in ["/usr/share", "/usr/lib", "/usr/include", "/usr/bin"] {
        left = search(&scanner, Path::new(top), left);
    }
    assert!(left < 40 << 20, "there was not enough to search");
}

fn search(scanner: &Scanner, dir: &Path, mut left: i64) -> i64 {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let (path, kind) = (entry.path(), entry.file_type().unwrap());
        if left < 0 {
            break;
        }
        if kind.is_dir() {
            left = search(scanner, &path, left);
        } else if kind.is_file() {
            let mut bytes = Vec::new();
            File::open(&path).unwrap().take(1 << 20).read_to_end(&mut bytes).unwrap();
            assert_eq!(scanner.find(&bytes), None, "{}", path.display());
            left -= bytes.len() as i64;
        }
    }
    left
}

/// docs/performance.md has what this prints.
#[test]
fn a_layer_is_searched_faster_than_it_is_compressed() {
    const PIECE: usize = 1 << 20;
    const PIECES: usize = 100;
    let mut random = fastrand::Rng::with_seed(1);
    let scanner = Scanner::of(&[shown("A", &value(&mut random))]).unwrap();
    let noise = std::iter::repeat_with(|| random.u8(..)).take(PIECE).collect::<Vec<_>>();
    let text = include_bytes!("forms.rs").iter().copied().cycle().take(PIECE).collect::<Vec<_>>();
    let dump = tool("od -v -t x1z", &noise[..8 << 10]).unwrap();
    let dump = dump.into_iter().cycle().take(PIECE).collect::<Vec<_>>();
    for (name, piece) in [("random bytes", noise), ("source text", text), ("a hexadecimal dump", dump)] {
        let (start, mut stream) = (Instant::now(), scanner.stream());
        assert!((0..PIECES).all(|_| stream.push(&piece).is_none()));
        let speed = (PIECE * PIECES) as f64 / start.elapsed().as_secs_f64() / 1e6;
        println!("{name}: {speed:.0} MB/s");
        assert!(speed > 10.0, "{name}: {speed:.0} MB/s");
    }
}
