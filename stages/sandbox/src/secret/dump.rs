//! The bytes of dumps that `od`, `xxd` and `hexdump` write: offsets in front of their lines and characters behind them would
//! interrupt what is in them.
//!
//! A line is read for itself; lines that stand together go on from each other. It may begin with an offset, of six digits or
//! more. What follows are words, of 2, 4, 8 or 16 hexadecimal or 3, 6, 11 or 22 octal digits, or columns of four letters
//! as of `od -c` and `od -a`. The order of the bytes in a word is not told, so it is read in both.

use super::view::{Place, Rest, View};

/// Longer lines are no lines of a dump: `xxd -c 256`, the widest that it writes, has 1,162.
pub(super) const LONGEST_LINE: usize = 2048;

/// How many ways there are to read a dump: words with their first byte in front, words with their last one in front, columns.
pub(super) const READINGS: usize = 3;

/// The bytes of a line, in each reading.
pub(super) type Bytes = [Vec<u8>; READINGS];

const LONGEST_OFFSET: usize = 16;
const COLUMN: usize = 4;
/// As wide as an offset of `od`: it stands in front of what its second format says of the same bytes.
const NO_OFFSET: &[u8] = b"       ";

/// The bytes of a line, without its end; `None` if it is of no dump.
pub(super) fn read(line: &[u8]) -> Option<Bytes> {
    if line.len() > LONGEST_LINE
        || !line.first().is_some_and(|byte| byte.is_ascii_hexdigit() || *byte == b' ')
    {
        return None;
    }
    let data = after_offset(line);
    if let Some(characters) = columns(data) {
        return Some([Vec::new(), Vec::new(), characters]);
    }
    let (mut first_in_front, mut last_in_front) = (Vec::new(), Vec::new());
    for word in words(data).map_while(word) {
        let bytes = word.value.to_be_bytes();
        let bytes = &bytes[bytes.len() - word.bytes..];
        first_in_front.extend_from_slice(bytes);
        last_in_front.extend(bytes.iter().rev());
    }
    let empty = first_in_front.is_empty() && !data.is_empty();
    (!empty).then_some([first_in_front, last_in_front, Vec::new()])
}

/// Of a line of `xxd`, whose offset has a colon, without the characters at its end, which can look like words.
fn after_offset(line: &[u8]) -> &[u8] {
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    if !(6..=LONGEST_OFFSET).contains(&digits) {
        return line;
    }
    match &line[digits..] {
        [b':', data @ ..] => {
            let data = data.trim_ascii_start();
            let end = data.windows(2).position(|two| two == b"  ");
            &data[..end.unwrap_or(data.len())]
        }
        data @ ([] | [b' ' | b'\t' | b'\r', ..]) => data,
        _ => line,
    }
}

fn columns(data: &[u8]) -> Option<Vec<u8>> {
    let data = if data.len() % COLUMN == NO_OFFSET.len() % COLUMN {
        data.strip_prefix(NO_OFFSET).unwrap_or(data)
    } else {
        data
    };
    let all: Option<Vec<_>> = data.chunks(COLUMN).map(column).collect();
    all.filter(|all| !all.is_empty())
}

fn column(letters: &[u8]) -> Option<u8> {
    match letters {
        b"  sp" | b"    " => Some(b' '),
        b"  nl" | b"  \\n" => Some(b'\n'),
        b"  ht" | b"  \\t" => Some(b'\t'),
        b"  cr" | b"  \\r" => Some(b'\r'),
        [b' ', b' ', b' ', itself] => Some(*itself),
        [b' ', octal @ ..] if octal.len() == 3 => word(octal).and_then(|word| word.value.try_into().ok()),
        _ => None,
    }
}

/// `xxd -i` has commas between them, and others have colons.
fn words(data: &[u8]) -> impl Iterator<Item = &[u8]> {
    let all = data.split(|byte| byte.is_ascii_whitespace() || b",:".contains(byte));
    all.filter(|word| !word.is_empty()).map(|word| word.strip_prefix(b"0x").unwrap_or(word))
}

struct Word {
    value: u64,
    bytes: usize,
}

fn word(digits: &[u8]) -> Option<Word> {
    if !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    let digits = std::str::from_utf8(digits).ok()?;
    let octal = match digits.len() {
        3 => Some(1),
        6 => Some(2),
        11 => Some(4),
        22 => Some(8),
        _ => None,
    };
    let octal = octal.and_then(|bytes| Some(Word { value: u64::from_str_radix(digits, 8).ok()?, bytes }));
    octal.filter(|word| word.bytes == 8 || word.value >> (8 * word.bytes) == 0).or_else(|| {
        let bytes = digits.len() / 2;
        let is_whole = digits.len() % 2 == 0 && (1..=8).contains(&bytes);
        is_whole
            .then(|| u64::from_str_radix(digits, 16))
            .and_then(Result::ok)
            .map(|value| Word { value, bytes })
    })
}

/// Whether the beginning of a line may become a line of a dump.
fn may_become(begun: &[u8]) -> bool {
    let [first, ..] = begun else { return false };
    let is_word = words(begun).next().is_none_or(|word| word.iter().all(u8::is_ascii_hexdigit));
    let are_columns = |data: &[u8]| data.chunks_exact(COLUMN).all(|letters| column(letters).is_some());
    begun.len() <= LONGEST_LINE
        && (first.is_ascii_hexdigit() || *first == b' ')
        && (is_word || are_columns(begun) || begun.strip_prefix(NO_OFFSET).is_some_and(are_columns))
}

/// The dumps in a text.
pub(super) struct Dumps {
    /// What each has, in each reading. A byte stands for the whole line that has it: the characters at its end show the same.
    pub(super) all: Vec<[View; READINGS]>,
    /// Where a line begins that is not finished and may be one of a dump, which is in none of them.
    pub(super) unfinished: Option<usize>,
}

impl Dumps {
    /// The last of them may go on.
    pub(super) fn of(text: &[u8], rest: Rest) -> Self {
        let mut dumps = Self { all: vec![Default::default()], unfinished: None };
        let mut start = 0;
        for line in text.split_inclusive(|byte| *byte == b'\n') {
            let content = line.strip_suffix(b"\n").unwrap_or(line);
            if rest == Rest::Open && content.len() == line.len() && may_become(content) {
                dumps.unfinished = Some(start);
            } else {
                dumps.push(content, Place { start, end: start + content.len() });
            }
            start += line.len();
        }
        dumps
    }

    fn push(&mut self, line: &[u8], place: Place) {
        let Some(last) = self.all.last_mut() else { return };
        match read(line) {
            Some(readings) => {
                for (view, bytes) in last.iter_mut().zip(readings) {
                    view.push_all(&bytes, place);
                }
            }
            None if last.iter().all(|view| view.bytes.is_empty()) => {}
            None => self.all.push(Default::default()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(line: &str, reading: usize, expected: &str) {
        let bytes = read(line.as_bytes()).unwrap_or_default();
        assert_eq!(String::from_utf8_lossy(&bytes[reading]), expected, "{line}");
        for end in 1..line.len() {
            assert!(may_become(&line.as_bytes()[..end]), "{}", &line[..end]);
        }
    }

    #[test]
    fn each_tool_has_its_lines() {
        check("00000000: 5471 392f 7061 61  be ad cafe", 0, "Tq9/paa");
        check("00000000  54 71 39 2f  70 61 20  |be ad|", 0, "Tq9/pa ");
        check("0000000 7154 2f39 0061", 1, "Tq9/a\0");
        check("0000000 2f397154", 1, "Tq9/");
        check("0000000 070524 027471", 1, "Tq9/");
        check("0000000 124 161 071 057", 2, "Tq9/");
        check(" 54 71 39 2f  >be<", 0, "Tq9/");
        check("  0x54, 0x71, 0x39,", 0, "Tq9");
        check("0000000   T   q      \\n 303", 2, "Tq \n\u{fffd}");
        check("          T   q  sp  nl", 2, "Tq \n");
        check("   T   q   9", 2, "Tq9");
    }

    #[test]
    fn other_lines_are_of_no_dump() {
        for line in ["", "\t54", "The 54", "x 54 71", "  prompt: ", "100%", "zz", "0 files"] {
            assert!(read(line.as_bytes()).is_none(), "{line}");
        }
        assert!(read(" 54".repeat(LONGEST_LINE).as_bytes()).is_none());
        assert!(!may_become(b"Enter it: ") && !may_become(b"  Enter") && !may_become(b"42% "));
    }
}
