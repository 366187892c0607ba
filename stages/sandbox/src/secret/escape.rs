//! Text without its escapes: what URLs, JSON, C, shells and HTML write in place of bytes.
//!
//! Each family is read for itself: what is an escape in one of them is a byte like others in another, as `\` in HTML and `&` in C.
//!
//! | escape | stands for | source |
//! |---|---|---|
//! | `%2F` | a byte | RFC 3986, section 2.1 |
//! | `\n`, `\/`, `\"`, `\u0026`, two `\u` of a pair | a character, in UTF-8 | RFC 8259, section 7 |
//! | `\x26`, `\046`, `\&`, `\` at the end of a line | a byte, itself, nothing | C, and shells |
//! | `&amp;`, `&lt;`, `&gt;`, `&quot;`, `&apos;`, `&#38;`, `&#x26;` | a character, in UTF-8 | HTML, section 13.5 |
//!
//! What is no escape stands for itself. Forms write `+` for a space, and no text tells whether it is of a form: [`fold_plus`]
//! makes one of both.

/// Who writes an escape.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    Percent,
    Backslash,
    Reference,
}

/// The longest name or number between `&` and `;`.
const LONGEST_REFERENCE: usize = 9;

/// What is at the beginning of a text.
enum Read {
    Plain,
    Escape(Escape),
    /// An escape, if what follows makes it one.
    Unfinished,
}

struct Escape {
    length: usize,
    bytes: [u8; 4],
    count: usize,
}

/// A part of a text.
pub(super) enum Piece<'t> {
    /// As it is there.
    Plain(&'t [u8]),
    /// What an escape of this length stands for.
    Escaped(&'t [u8], usize),
}

impl Family {
    pub(super) const ALL: [Self; 3] = [Self::Percent, Self::Backslash, Self::Reference];

    fn first_byte(self) -> u8 {
        match self {
            Self::Percent => b'%',
            Self::Backslash => b'\\',
            Self::Reference => b'&',
        }
    }

    fn read(self, text: &[u8]) -> Read {
        match self {
            Self::Percent => percent(text),
            Self::Backslash => backslash(text),
            Self::Reference => reference(text),
        }
    }
}

/// Gives all of a text to `take`, piece by piece, but for an escape at its end that is not finished; where that begins.
pub(super) fn unescape(text: &[u8], family: Family, mut take: impl FnMut(Piece<'_>, usize)) -> usize {
    let (mut plain, mut at, first) = (0, 0, family.first_byte());
    while let Some(next) = text[at..].iter().position(|byte| *byte == first) {
        at += next;
        match family.read(&text[at..]) {
            Read::Plain => at += 1,
            Read::Unfinished => {
                take(Piece::Plain(&text[plain..at]), plain);
                return at;
            }
            Read::Escape(Escape { length, bytes, count }) => {
                take(Piece::Plain(&text[plain..at]), plain);
                take(Piece::Escaped(&bytes[..count], length), at);
                at += length;
                plain = at;
            }
        }
    }
    take(Piece::Plain(&text[plain..]), plain);
    text.len()
}

/// Makes spaces of plus signs.
pub(super) fn fold_plus(bytes: &mut [u8]) {
    for byte in bytes {
        *byte = if *byte == b'+' { b' ' } else { *byte };
    }
}

fn percent(text: &[u8]) -> Read {
    match digits(&text[1..], 16, 2) {
        (value, 2) => byte(3, value),
        (_, count) => unfinished_if(text.len() == 1 + count, Read::Plain),
    }
}

fn backslash(text: &[u8]) -> Read {
    match text.get(1) {
        None => Read::Unfinished,
        Some(b'0'..=b'7') => {
            let (value, count) = digits(&text[1..], 8, 3);
            unfinished_if(count < 3 && text.len() == 1 + count, byte(1 + count, value))
        }
        Some(b'x') => match digits(&text[2..], 16, 2) {
            (value, 2) => byte(4, value),
            (_, count) => unfinished_if(text.len() == 2 + count, byte(2, b'x'.into())),
        },
        Some(b'u') => unit(text),
        Some(b'\n') => Read::Escape(Escape { length: 2, bytes: [0; 4], count: 0 }),
        Some(letter) => byte(2, control(*letter).into()),
    }
}

fn control(letter: u8) -> u8 {
    match letter {
        b'a' => 7,
        b'b' => 8,
        b't' => b'\t',
        b'n' => b'\n',
        b'v' => 11,
        b'f' => 12,
        b'r' => b'\r',
        itself => itself,
    }
}

/// One unit of UTF-16, or the two of a pair.
fn unit(text: &[u8]) -> Read {
    let itself = || byte(2, b'u'.into());
    let (high, count) = digits(&text[2..], 16, 4);
    if count < 4 {
        return unfinished_if(text.len() == 2 + count, itself());
    }
    if !(0xd800..0xdc00).contains(&high) {
        return character(6, high).unwrap_or_else(itself);
    }
    let rest = &text[6..];
    let Some(second) = rest.strip_prefix(b"\\u") else {
        return unfinished_if(b"\\u".starts_with(rest), itself());
    };
    match digits(second, 16, 4) {
        (low @ 0xdc00..0xe000, 4) => {
            character(12, 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00)).unwrap_or_else(itself)
        }
        (_, count) => unfinished_if(count < 4 && second.len() == count, itself()),
    }
}

fn reference(text: &[u8]) -> Read {
    let within = &text[1..text.len().min(LONGEST_REFERENCE + 2)];
    let Some(length) = within.iter().position(|byte| *byte == b';') else {
        let may_go_on = within.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'#');
        return unfinished_if(may_go_on && within.len() <= LONGEST_REFERENCE, Read::Plain);
    };
    let value = match &within[..length] {
        b"amp" => Some(b'&'.into()),
        b"lt" => Some(b'<'.into()),
        b"gt" => Some(b'>'.into()),
        b"quot" => Some(b'"'.into()),
        b"apos" => Some(b'\''.into()),
        [b'#', b'x' | b'X', number @ ..] => all_digits(number, 16),
        [b'#', number @ ..] => all_digits(number, 10),
        _ => None,
    };
    value.and_then(|value| character(length + 2, value)).unwrap_or(Read::Plain)
}

fn all_digits(text: &[u8], radix: u32) -> Option<u32> {
    let (value, count) = digits(text, radix, LONGEST_REFERENCE);
    (count > 0 && count == text.len()).then_some(value)
}

/// The number that a text begins with, of `most` digits at most, and how many it has.
fn digits(text: &[u8], radix: u32, most: usize) -> (u32, usize) {
    let all = text.iter().take(most).map_while(|digit| char::from(*digit).to_digit(radix));
    all.fold((0, 0), |(value, count), digit| (value * radix + digit, count + 1))
}

fn unfinished_if(unfinished: bool, otherwise: Read) -> Read {
    if unfinished { Read::Unfinished } else { otherwise }
}

/// Of octal numbers beyond a byte the low bits count, as in shells.
fn byte(length: usize, value: u32) -> Read {
    Read::Escape(Escape { length, bytes: [value.to_le_bytes()[0], 0, 0, 0], count: 1 })
}

fn character(length: usize, value: u32) -> Option<Read> {
    let mut bytes = [0; 4];
    let count = char::from_u32(value)?.encode_utf8(&mut bytes).len();
    Some(Read::Escape(Escape { length, bytes, count }))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a text stands for, and its end that is not finished.
    fn read(text: &str, family: Family) -> (String, &str) {
        let mut out = Vec::new();
        let end = unescape(text.as_bytes(), family, |piece, _| match piece {
            Piece::Plain(bytes) | Piece::Escaped(bytes, _) => out.extend_from_slice(bytes),
        });
        (String::from_utf8_lossy(&out).into_owned(), &text[end..])
    }

    #[test]
    fn escapes_stand_for_what_their_standards_say() {
        for (family, text, expected) in [
            (Family::Percent, "a%2Fb%2fc%20\\n&amp;%2", "a/b/c \\n&amp;"),
            (Family::Percent, "%%41%4g%", "%A%4g"),
            (Family::Backslash, r#"\/\"\\\n\t\&\u0026\u00e9\ud83d\ude00.%41"#, "/\"\\\n\t&&é😀.%41"),
            (Family::Backslash, r"\x41\101\0.\q\xg\u12g\ud83dx", "AA\0.qxgu12gud83dx"),
            (Family::Backslash, "one\\\ntwo", "onetwo"),
            (Family::Reference, "&amp;&lt;&gt;&quot;&apos;&#39;&#x27;&#X1F600;&#00038;\\n", "&<>\"'''😀&\\n"),
            (
                Family::Reference,
                "&nbsp;&;&#;&#x;&amp &#1114112;&#55296;",
                "&nbsp;&;&#;&#x;&amp &#1114112;&#55296;",
            ),
        ] {
            assert_eq!(read(text, family).0, expected, "{text}");
        }
    }

    /// Wherever a text is cut, the part in front of the cut says the same and keeps the rest of an escape for later.
    #[test]
    fn cuts_change_nothing() {
        let text = r"x%2F%4\/\u0026\ud83d\ude00\ud83d\x\u12&amp;&am&#x1F600;\12\1234567&ampersand;. ";
        for family in Family::ALL {
            let (whole, _) = read(text, family);
            for cut in 0..text.len() {
                let (first, held) = read(&text[..cut], family);
                assert!(held.len() < 12, "{held}");
                let (second, _) = read(&text[cut - held.len()..], family);
                assert_eq!(first + &second, whole, "{cut}");
            }
        }
    }
}
