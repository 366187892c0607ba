//! `IMAGE.files`: every file inside an image, sorted by path, without a header.
//!
//! A line has six columns: type and mode (`-0644`, types as in `ls`), owner (`0:0`), size in bytes, content, package, path. The content
//! is `b3:` and the BLAKE3 digest of a file, `-> TARGET` of a symbolic link, `MAJOR,MINOR` of a device, else `-`. The package is the one that
//! dpkg says has brought the path, `-` if that is none or several. In targets and paths a backslash, a control character and a byte that is not UTF-8 are `\` and
//! three octal digits.

use std::fmt::Write as _;

use crate::LineError;

/// A line of `.files`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedFile {
    /// The path, escaped; of an image with several machines with the machine's name and a colon in front.
    pub path: String,
    /// Type and mode.
    pub mode: String,
    /// User and group.
    pub owner: String,
    /// Size in bytes.
    pub size: u64,
    /// The content, as the module says.
    pub content: String,
    /// The package that brought it.
    pub package: Option<String>,
}

impl ListedFile {
    /// A path or a target as the list has it.
    pub fn escaped(bytes: &[u8]) -> String {
        let mut text = String::new();
        for chunk in bytes.utf8_chunks() {
            for c in chunk.valid().chars() {
                match c {
                    '\\' => text.push_str("\\134"),
                    c if c.is_control() => c
                        .encode_utf8(&mut [0; 4])
                        .bytes()
                        .for_each(|byte| write!(text, "\\{byte:03o}").expect("a string takes all")),
                    c => text.push(c),
                }
            }
            chunk.invalid().iter().for_each(|byte| write!(text, "\\{byte:03o}").expect("a string takes all"));
        }
        text
    }
}

/// The text of `.files`.
pub fn file_list(files: &[ListedFile]) -> String {
    let mut text = String::new();
    for ListedFile { path, mode, owner, size, content, package } in files {
        let package = package.as_deref().unwrap_or("-");
        writeln!(text, "{mode}\t{owner}\t{size}\t{content}\t{package}\t{path}").expect("a string takes all");
    }
    text
}

/// Reads `.files`.
///
/// # Errors
///
/// With the first line that has not six columns, or a size that is none.
pub fn read_file_list(text: &str) -> Result<Vec<ListedFile>, LineError> {
    let line = |(at, line): (usize, &str)| {
        let wrong = |problem| LineError { line: at + 1, problem };
        let columns: Vec<_> = line.split('\t').collect();
        let [mode, owner, size, content, package, path] = columns[..] else {
            return Err(wrong("it has not six columns"));
        };
        Ok(ListedFile {
            path: path.to_owned(),
            mode: mode.to_owned(),
            owner: owner.to_owned(),
            size: size.parse().map_err(|_| wrong("its size is no number"))?,
            content: content.to_owned(),
            package: (package != "-").then(|| package.to_owned()),
        })
    };
    text.lines().enumerate().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let file = |path: &[u8], package: Option<&str>| ListedFile {
            path: ListedFile::escaped(path),
            mode: "-0644".to_owned(),
            owner: "0:0".to_owned(),
            size: 7,
            content: "b3:00".to_owned(),
            package: package.map(str::to_owned),
        };
        let files = [file(b"/a\nb\\c\t\xff", None), file("/ü".as_bytes(), Some("x:amd64"))];
        let text = file_list(&files);
        assert_eq!(text.lines().next(), Some("-0644\t0:0\t7\tb3:00\t-\t/a\\012b\\134c\\011\\377"));
        assert_eq!(read_file_list(&text).unwrap(), files);
        assert_eq!(read_file_list("a\tb\tx\td\te\tf").unwrap_err().problem, "its size is no number");
        assert_eq!(read_file_list("\n").unwrap_err().line, 1);
    }
}
