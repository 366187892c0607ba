//! GRUB's images: the script that makes them, and the configuration that is built into them.

use crate::spec::{DiskSpec, FirmwareSet};
use crate::ustar;
use ibuild_spec::hardware::Firmware;

use super::BootFiles;

/// Modules that both images carry: enough to boot without a single file of GRUB on the disk, and enough
/// for what Debian's `update-grub` writes.
const MODULES: &str = "all_video boot cat configfile echo ext2 fat font gfxterm gzio halt linux loadenv ls \
    memdisk minicmd normal part_gpt part_msdos probe reboot regexp search search_fs_file search_fs_uuid \
    search_label serial sleep tar terminal test true";

/// Where GRUB looks for its configuration.
const CONFIG: &str = "boot/grub/grub.cfg";

/// Changes when the same spec gives another script or memory disk. Belongs into the key of a disk.
pub const GRUB_WRITER: &str = "ibuild-grub 2";

/// How a disk finds its kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrubPlan {
    firmware: FirmwareSet,
    early_config: String,
}

impl GrubPlan {
    /// The plan for a disk. It depends on the firmware, the file system's UUID and the command line.
    pub fn new(spec: &DiskSpec) -> GrubPlan {
        GrubPlan { firmware: spec.firmware, early_config: early_config(spec) }
    }

    /// The configuration that is built into GRUB's images.
    pub fn early_config(&self) -> &str {
        &self.early_config
    }

    /// Debian packages that the root file system must have for the script to work.
    pub fn packages(&self) -> Vec<&'static str> {
        let bios = self.firmware.contains(Firmware::Bios).then_some("grub-pc-bin");
        let uefi = self.firmware.contains(Firmware::Uefi).then_some("grub-efi-amd64-bin");
        [Some("grub-common"), bios, uefi].into_iter().flatten().collect()
    }

    /// A tar with the configuration, which GRUB sees as its disk `(memdisk)`.
    ///
    /// A configuration given with `grub-mkimage -c` would not do: GRUB's rescue parser runs it, which knows no
    /// `if`. Found in a memory disk under its usual name, it is run by the real one.
    pub fn memdisk(&self) -> Vec<u8> {
        let config = self.early_config.as_bytes();
        let header = ustar::header(CONFIG, config.len() as u64, 0).expect("the name is short");
        [&header, config, ustar::padding(config.len() as u64), &ustar::END].concat()
    }

    /// A POSIX shell script that makes the images in the directory `out_dir` with the memory disk in the file `memdisk`, both
    /// as seen from inside.
    ///
    /// It runs as root in the root file system's sandbox, writes nowhere else, and makes the same bytes
    /// whenever the same GRUB is installed.
    pub fn script(&self, memdisk: &str, out_dir: &str) -> String {
        let mut script = format!(
            "set -eu\nexport LC_ALL=C.UTF-8\nmemdisk={}\nout={}\n",
            sh_quote(memdisk),
            sh_quote(out_dir)
        );
        if self.firmware.contains(Firmware::Bios) {
            script += &mkimage("i386-pc", "biosdisk", BootFiles::CORE_IMG);
            script += &format!("cp /usr/lib/grub/i386-pc/boot.img \"$out/{}\"\n", BootFiles::BOOT_IMG);
        }
        if self.firmware.contains(Firmware::Uefi) {
            script += &mkimage("x86_64-efi", "efi_gop efi_uga", BootFiles::EFI);
        }
        script
    }
}

fn mkimage(format: &str, more_modules: &str, output: &str) -> String {
    format!(
        "grub-mkimage -O {format} -m \"$memdisk\" -o \"$out/{output}\" \\\n    {MODULES} \\\n    {more_modules}\n"
    )
}

/// A menu of the guest's own comes first, so that `update-grub` works inside the machine. Without one, the
/// links that Debian keeps to the newest kernel are booted.
///
/// The serial line is only used where there is one. Both consoles are given to the kernel: systemd starts
/// a login on each, and boot messages go to the last, which is the serial one.
fn early_config(spec: &DiskSpec) -> String {
    let extra: String = spec.cmdline.split_whitespace().map(|word| format!(" '{word}'")).collect();
    let uuid = spec.fs_uuid.hyphenated();
    format!(
        "if serial --unit=0 --speed=115200; then\n\
         \x20 terminal_input console serial\n\
         \x20 terminal_output console serial\n\
         fi\n\
         search --no-floppy --fs-uuid --set=root {uuid}\n\
         set prefix=($root)/boot/grub\n\
         if [ -e /boot/grub/grub.cfg ]; then\n\
         \x20 configfile /boot/grub/grub.cfg\n\
         fi\n\
         set links=\n\
         if [ ! -e /vmlinuz ]; then\n\
         \x20 set links=/boot\n\
         fi\n\
         echo 'Loading the kernel ...'\n\
         linux $links/vmlinuz root=UUID={uuid} ro console=tty0 console=ttyS0,115200{extra}\n\
         initrd $links/initrd.img\n\
         boot\n"
    )
}

fn sh_quote(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    fn spec() -> DiskSpec {
        let mut spec = DiskSpec::new("veil", 1 << 30, 0);
        spec.cmdline = "quiet  apparmor=1".into();
        spec
    }

    #[test]
    fn the_kernel_gets_its_root_its_consoles_and_the_extra_words() {
        let plan = GrubPlan::new(&spec());
        let uuid = spec().fs_uuid;
        let line = format!("root=UUID={uuid} ro console=tty0 console=ttyS0,115200 'quiet' 'apparmor=1'\n");
        assert!(plan.early_config().contains(&line), "{}", plan.early_config());
        assert!(plan.early_config().contains(&format!("--fs-uuid --set=root {uuid}")));
    }

    #[test]
    fn a_script_makes_only_what_the_firmware_needs() {
        let check = |firmware: FirmwareSet, has: &[&str], lacks: &[&str]| {
            let plan = GrubPlan::new(&DiskSpec { firmware, ..spec() });
            let script = plan.script("/early.tar", "/out");
            assert!(has.iter().all(|word| script.contains(word)), "{script}");
            assert!(!lacks.iter().any(|word| script.contains(word)), "{script}");
        };
        check(FirmwareSet::Both, &["i386-pc", "boot.img", "x86_64-efi"], &[]);
        check(FirmwareSet::Bios, &["core.img"], &["BOOTX64.EFI"]);
        check(FirmwareSet::Uefi, &["BOOTX64.EFI"], &["core.img", "boot.img"]);
    }

    /// The rescue parser, which runs what `-c` embeds, stumbles over every `if` of it.
    #[test]
    fn the_configuration_is_left_to_the_real_parser() {
        let plan = GrubPlan::new(&spec());
        let script = plan.script("/early.tar", "/out");
        assert!(!script.contains(" -c "), "{script}");
        assert_eq!(script.matches("-m \"$memdisk\"").count(), 2);
        let memdisk = plan.memdisk();
        let mut archive = tar::Archive::new(memdisk.as_slice());
        let mut entry = archive.entries().unwrap().next().unwrap().unwrap();
        assert_eq!(entry.path().unwrap().to_str(), Some(CONFIG));
        let mut config = String::new();
        std::io::Read::read_to_string(&mut entry, &mut config).unwrap();
        assert_eq!(config, plan.early_config());
        let modules: Vec<&str> = MODULES.split_whitespace().collect();
        assert!(["memdisk", "tar", "normal", "test"].iter().all(|name| modules.contains(name)));
    }

    #[test]
    fn the_shell_accepts_the_script_and_any_directory() {
        let script = GrubPlan::new(&spec()).script("/a b", "/it's here");
        assert!(script.contains(r"out='/it'\''s here'") && script.contains("memdisk='/a b'"));
        let status = Command::new("/bin/sh").args(["-n", "-c", &script]).status().unwrap();
        assert!(status.success());
    }

    #[test]
    fn packages_follow_the_firmware() {
        let plan = GrubPlan::new(&DiskSpec { firmware: FirmwareSet::Uefi, ..spec() });
        assert_eq!(plan.packages(), ["grub-common", "grub-efi-amd64-bin"]);
    }
}
