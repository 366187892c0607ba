//! Extended attributes that `mke2fs -d TAR` leaves behind: read from the tar, written as a `debugfs` script.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;

use crate::error::DiskError;

/// Prefix of the PAX records that carry extended attributes (star, GNU tar, libarchive).
const RECORD: &str = "SCHILY.xattr.";

/// The one attribute that `mke2fs` keeps by itself.
const KEPT: &str = "security.capability";

/// `debugfs` reads its script in lines of at most this many bytes, including the line's end (`BUFSIZ` of
/// the C library).
const LONGEST_LINE: usize = 8191;

/// One attribute of one file.
#[derive(Debug, PartialEq, Eq)]
struct Xattr {
    /// Absolute path inside the file system.
    file: String,
    name: String,
    value: Vec<u8>,
}

/// The attributes to be added, in the tar's order.
#[derive(Debug, PartialEq, Eq)]
pub struct Xattrs(Vec<Xattr>);

impl Xattrs {
    /// Collects the attributes of all entries.
    pub fn read_tar(path: &Path) -> Result<Xattrs, DiskError> {
        let bad = |error: std::io::Error| DiskError::Tar { path: path.into(), reason: error.to_string() };
        let file = File::open(path).map_err(DiskError::io("open the root file system", path))?;
        let mut found = Vec::new();
        let mut archive = tar::Archive::new(file);
        for entry in archive.entries_with_seek().map_err(bad)? {
            let mut entry = entry.map_err(bad)?;
            let path = entry.path_bytes().into_owned();
            let Some(records) = entry.pax_extensions().map_err(bad)? else {
                continue;
            };
            for record in records {
                let record = record.map_err(bad)?;
                if let Some(name) = record.key().ok().and_then(|key| key.strip_prefix(RECORD))
                    && name != KEPT
                {
                    found.push(Xattr {
                        file: absolute(&path)?,
                        name: name.into(),
                        value: record.value_bytes().into(),
                    });
                }
            }
        }
        Ok(Xattrs(found))
    }

    /// Whether there is nothing to add.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Writes `dir/script`, and beside it a file for each value: values are bytes, commands are text.
    pub fn write_script(&self, dir: &Path, script: &str) -> Result<(), DiskError> {
        let path = dir.join(script);
        let mut lines = Vec::new();
        for (number, xattr) in self.0.iter().enumerate() {
            let value = format!("{script}.{number}");
            let value_path = dir.join(&value);
            fs::write(&value_path, &xattr.value).map_err(DiskError::io("write", &value_path))?;
            writeln!(lines, "{}", xattr.command(&value)?).map_err(DiskError::io("write", &path))?;
        }
        fs::write(&path, lines).map_err(DiskError::io("write", &path))
    }

    /// `debugfs` ends well whatever its commands did; a failed one shows only as a line that starts with
    /// the command's name.
    pub fn check_answers(&self, stderr: &str) -> Result<(), DiskError> {
        let Some(complaint) = stderr.lines().find(|line| !line.is_empty() && !line.starts_with("debugfs 1."))
        else {
            return Ok(());
        };
        let guilty = self.0.iter().find(|xattr| complaint.contains(&xattr.file)).unwrap_or(&self.0[0]);
        Err(guilty.refuse(format!("debugfs says: {complaint}")))
    }
}

impl Xattr {
    fn command(&self, value_file: &str) -> Result<String, DiskError> {
        let line = format!("ea_set -f {value_file} {} {}", self.quote(&self.file)?, self.quote(&self.name)?);
        if line.len() > LONGEST_LINE {
            return Err(self.refuse("its name is too long for a debugfs command".into()));
        }
        Ok(line)
    }

    /// Quotes a word for debugfs (libss): a doubled quote stands for one, and nothing stands for a line's end.
    fn quote(&self, word: &str) -> Result<String, DiskError> {
        match word.chars().find(|c| matches!(c, '\n' | '\r' | '\0')) {
            Some(c) => Err(self.refuse(format!("its name has {c:?}, which debugfs cannot take"))),
            None => Ok(format!("\"{}\"", word.replace('"', "\"\""))),
        }
    }

    fn refuse(&self, reason: String) -> DiskError {
        DiskError::Xattr { file: self.file.clone(), attribute: self.name.clone(), reason }
    }
}

/// The path of a tar entry as `debugfs` wants it: from the root, without `./` and a directory's last slash.
fn absolute(entry: &[u8]) -> Result<String, DiskError> {
    let text = std::str::from_utf8(entry).map_err(|_| DiskError::Xattr {
        file: String::from_utf8_lossy(entry).into_owned(),
        attribute: "*".into(),
        reason: "its name is not UTF-8".into(),
    })?;
    let parts: Vec<&str> = text.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
    Ok(format!("/{}", parts.join("/")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn xattr(file: &str, name: &str) -> Xattr {
        Xattr { file: file.into(), name: name.into(), value: b"v".to_vec() }
    }

    #[test]
    fn paths_start_at_the_root() {
        for (entry, path) in [("./etc/", "/etc"), ("etc/passwd", "/etc/passwd"), ("./", "/"), (".", "/")] {
            assert_eq!(absolute(entry.as_bytes()).unwrap(), path);
        }
        assert!(absolute(b"caf\xe9").is_err());
    }

    #[test]
    fn names_are_quoted() {
        let command = xattr("/a \"b\" c", "user.x").command("xattrs.0").unwrap();
        assert_eq!(command, r#"ea_set -f xattrs.0 "/a ""b"" c" "user.x""#);
    }

    #[test]
    fn names_that_cannot_be_said_are_refused() {
        let text = xattr("/a\nb", "user.x").command("v").unwrap_err().to_string();
        assert!(text.contains("'\\n'") && text.contains("user.x"), "{text}");
        let text = xattr(&"/a".repeat(4500), "user.x").command("v").unwrap_err().to_string();
        assert!(text.contains("too long"), "{text}");
    }

    #[test]
    fn a_complaint_of_debugfs_is_an_error_about_its_file() {
        let xattrs = Xattrs(vec![xattr("/one", "user.a"), xattr("/two", "user.b")]);
        xattrs.check_answers("debugfs 1.47.2 (1-Jan-2025)\n").unwrap();
        let answer = "debugfs 1.47.2 (1-Jan-2025)\n/two: File not found by ext2_lookup\n";
        let text = xattrs.check_answers(answer).unwrap_err().to_string();
        assert!(text.contains("`user.b` on `/two`") && text.contains("not found"), "{text}");
    }
}
