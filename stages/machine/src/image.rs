//! An image as QEMU's block layer is to open it: for reading, with all writes going to a throw-away overlay.

use std::fs::File;
use std::path::Path;

use ibuild_spec::Format;

use super::error::MachineError;
use super::options::MachineOptions;

/// The value of `-drive` for the machine's disk, called `disk`.
///
/// `snapshot=on` makes QEMU put an overlay into its temporary directory and unlink it at once, so nothing
/// stays behind, however QEMU ends. The VMDK inside an OVA is opened in place, by offset.
pub fn drive(options: &MachineOptions) -> Result<String, MachineError> {
    let path = options.image.canonicalize();
    let path = path.map_err(MachineError::io("find the image", &options.image))?;
    let file = |prefix: &str, name: &str| format!("{prefix}.driver=file,{prefix}.filename={name}");
    let name = escape(&path, options)?;
    let source = match options.format {
        Format::Raw => format!("driver=raw,{}", file("file", &name)),
        Format::Qcow2 => format!("driver=qcow2,{}", file("file", &name)),
        Format::Vdi => format!("driver=vdi,{}", file("file", &name)),
        Format::Vmdk => format!("driver=vmdk,{}", file("file", &name)),
        Format::Ova => {
            let Member { offset, size } = find_vmdk(&path, options)?;
            let raw = format!("file.driver=raw,file.offset={offset},file.size={size}");
            format!("driver=vmdk,{raw},{}", file("file.file", &name))
        }
        Format::RawZst => return Err(refuse(options, "its disk is compressed as a whole")),
        Format::RootfsTarZst | Format::Oci => return Err(refuse(options, "it has no disk")),
    };
    Ok(format!("if=none,id=disk,snapshot=on,cache=unsafe,{source}"))
}

/// A value inside one of QEMU's comma-separated options: a comma is doubled.
pub fn escape(path: &Path, options: &MachineOptions) -> Result<String, MachineError> {
    let text = path.to_str().ok_or_else(|| refuse(options, "a path is not UTF-8"))?;
    Ok(text.replace(',', ",,"))
}

fn refuse(options: &MachineOptions, reason: impl Into<String>) -> MachineError {
    MachineError::Image { path: options.image.clone(), format: options.format, reason: reason.into() }
}

/// A file inside an OVA, in bytes.
struct Member {
    offset: u64,
    size: u64,
}

fn find_vmdk(ova: &Path, options: &MachineOptions) -> Result<Member, MachineError> {
    let read = |error| MachineError::io("read the OVA", ova)(error);
    let file = File::open(ova).map_err(MachineError::io("open the OVA", ova))?;
    let mut archive = tar::Archive::new(file);
    for entry in archive.entries_with_seek().map_err(read)? {
        let entry = entry.map_err(read)?;
        let name = entry.path().map_err(read)?.into_owned();
        if is_wanted(&name, options.member.as_deref()) {
            return Ok(Member { offset: entry.raw_file_position(), size: entry.size() });
        }
    }
    Err(refuse(
        options,
        match &options.member {
            Some(member) => format!("it has no disk of a machine `{member}`"),
            None => "it has no VMDK".into(),
        },
    ))
}

fn is_wanted(name: &Path, machine: Option<&str>) -> bool {
    let Some(stem) = name.to_str().and_then(|name| name.strip_suffix(".vmdk")) else {
        return false;
    };
    machine.is_none_or(|machine| stem == format!("{machine}-disk001"))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn options(image: &Path, format: Format) -> MachineOptions {
        MachineOptions::new(image, format, "/tmp")
    }

    fn ova(dir: &Path) -> PathBuf {
        let path = dir.join("a,b.ova");
        let mut tar = tar::Builder::new(File::create(&path).unwrap());
        for (name, size) in [("x.ovf", 100), ("gw-disk001.vmdk", 1024), ("ws-disk001.vmdk", 2048)] {
            let mut header = tar::Header::new_ustar();
            header.set_size(size);
            tar.append_data(&mut header, name, vec![0; size as usize].as_slice()).unwrap();
        }
        tar.finish().unwrap();
        path
    }

    #[test]
    fn the_disk_of_an_ova_is_found_by_its_place() {
        let dir = tempfile::tempdir().unwrap();
        let path = ova(dir.path());
        let mut options = options(&path, Format::Ova);
        let first = drive(&options).unwrap();
        assert!(first.contains("file.offset=1536,file.size=1024"), "{first}");
        assert!(first.contains("a,,b.ova") && first.contains("snapshot=on"), "{first}");
        options.member = Some("ws".into());
        let second = drive(&options).unwrap();
        assert!(second.contains("file.offset=3072,file.size=2048"), "{second}");
        options.member = Some("nobody".into());
        let error = drive(&options).unwrap_err().to_string();
        assert!(error.contains("machine `nobody`"), "{error}");
    }

    #[test]
    fn a_root_file_system_cannot_be_booted() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = drive(&options(file.path(), Format::RootfsTarZst)).unwrap_err();
        assert!(error.to_string().contains("it has no disk"), "{error}");
    }
}
