//! `SHA256SUMS` and `SHA512SUMS`: the format of `sha256sum` from coreutils, which `sha256sum --check` and `systemd-sysupdate` read.
//!
//! A line is the digest, a space, `*` (the file is bytes, not text) or a space, and the name. A name with a backslash, a line feed or a
//! carriage return is written with `\\`, `\n` and `\r`, and the line begins with a backslash.

use crate::LineError;

/// Which digest a list has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sums {
    /// SHA-256.
    Sha256,
    /// SHA-512.
    Sha512,
}

impl Sums {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Sha256, Self::Sha512];

    /// The name of its file.
    pub fn file(self) -> &'static str {
        match self {
            Self::Sha256 => "SHA256SUMS",
            Self::Sha512 => "SHA512SUMS",
        }
    }

    /// Hexadecimal digits of a digest.
    fn digits(self) -> usize {
        match self {
            Self::Sha256 => 64,
            Self::Sha512 => 128,
        }
    }
}

/// A line.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Sum {
    /// The file's name.
    pub file: String,
    /// The digest of its bytes, in lower-case hexadecimal.
    pub digest: String,
}

/// The text of a list.
pub fn checksums<'s>(sums: impl IntoIterator<Item = &'s Sum>) -> String {
    let line = |Sum { file, digest }: &Sum| {
        let escaped = file.replace('\\', "\\\\").replace('\n', "\\n").replace('\r', "\\r");
        let mark = if escaped == *file { "" } else { "\\" };
        format!("{mark}{digest} *{escaped}\n")
    };
    sums.into_iter().map(line).collect()
}

/// Reads a list.
///
/// # Errors
///
/// With the first line that is of another form, or names a file that cannot be one of the same directory, or one twice.
pub fn read_checksums(text: &str, of: Sums) -> Result<Vec<Sum>, LineError> {
    let mut sums: Vec<Sum> = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let wrong = |problem| LineError { line: at + 1, problem };
        let (line, is_escaped) = line.strip_prefix('\\').map_or((line, false), |line| (line, true));
        let (digest, name) = line.split_at_checked(of.digits()).ok_or(wrong("it is too short"))?;
        let is_digit = |c: u8| c.is_ascii_digit() || (b'a'..=b'f').contains(&c);
        let name = name.strip_prefix(" *").or_else(|| name.strip_prefix("  "));
        let name =
            name.filter(|_| digest.bytes().all(is_digit)).ok_or(wrong("it is no digest and a name"))?;
        let file = if is_escaped {
            unescaped(name).ok_or(wrong("its name is escaped wrongly"))?
        } else {
            name.to_owned()
        };
        if file.is_empty() || file.contains(['/', '\0']) || file == "." || file == ".." {
            return Err(wrong("its name is not one of a file beside it"));
        }
        if sums.iter().any(|sum| sum.file == file) {
            return Err(wrong("the file was named before"));
        }
        sums.push(Sum { file, digest: digest.to_owned() });
    }
    Ok(sums)
}

fn unescaped(name: &str) -> Option<String> {
    let (mut text, mut chars) = (String::new(), name.chars());
    while let Some(c) = chars.next() {
        text.push(match c {
            '\\' => match chars.next()? {
                '\\' => '\\',
                'n' => '\n',
                'r' => '\r',
                _ => return None,
            },
            c => c,
        });
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let sums = ["gateway.ova", "a b", "with\\back\nslash\r"]
            .map(|file| Sum { file: file.to_owned(), digest: "0f".repeat(32) });
        let text = checksums(&sums);
        assert!(text.starts_with(&format!("{} *gateway.ova\n", "0f".repeat(32))), "{text}");
        assert_eq!(read_checksums(&text, Sums::Sha256).unwrap(), sums);
    }

    #[test]
    fn what_is_no_list_is_refused() {
        let digest = "0f".repeat(32);
        for (text, problem) in [
            (format!("{digest} *../x\n"), "its name is not one of a file beside it"),
            (format!("{digest} *x\n{digest}  x\n"), "the file was named before"),
            (format!("{digest}x\n"), "it is no digest and a name"),
            (format!("{} *x\n", "0F".repeat(32)), "it is no digest and a name"),
            ("ü".repeat(33), "it is no digest and a name"),
            (format!("\\{digest} *a\\x\n"), "its name is escaped wrongly"),
            ("abc\n".to_owned(), "it is too short"),
            (format!("{digest} *\n"), "its name is not one of a file beside it"),
        ] {
            assert_eq!(read_checksums(&text, Sums::Sha256).unwrap_err().problem, problem, "{text}");
        }
    }
}
