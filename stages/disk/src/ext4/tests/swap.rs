//! A file of zeros has blocks, and a hole has none: what tells them apart is whether the kernel swaps to it.

use rustix::fs::{FallocateFlags, fallocate};

use super::*;

const SIZE: u64 = 4 * MIB;

/// One that was written, one that has blocks, one that has them for a part of it, and one that is a hole but for its head.
fn swap_files(dir: &Path) {
    fs::write(dir.join("written"), vec![0; SIZE as usize]).unwrap();
    let file = |name: &str| File::create(dir.join(name)).unwrap();
    fallocate(file("allocated"), FallocateFlags::empty(), 0, SIZE).unwrap();
    let partly = file("partly");
    partly.set_len(SIZE).unwrap();
    fallocate(&partly, FallocateFlags::empty(), 0, SIZE - 64 * 1024).unwrap();
    file("hole").set_len(SIZE).unwrap();
    for name in ["written", "allocated", "partly", "hole"] {
        fs::set_permissions(dir.join(name), fs::Permissions::from_mode(0o600)).unwrap();
        run(Command::new("/usr/sbin/mkswap").arg(dir.join(name)));
    }
}

/// Whether the kernel takes it, for a moment.
fn is_swap(file: &Path) -> bool {
    let path = std::ffi::CString::new(file.as_os_str().as_bytes()).unwrap();
    // SAFETY: the path ends with a zero, and what was begun is ended.
    unsafe { libc::swapon(path.as_ptr(), 0) == 0 && libc::swapoff(path.as_ptr()) == 0 }
}

#[track_caller]
fn check(lab: &Lab) {
    let image = lab.check(200 * MIB);
    mounted(&image, "loop", |root| {
        let takes = ["written", "allocated", "partly", "hole"].map(|name| is_swap(&root.join(name)));
        assert_eq!(takes, [true, true, false, false]);
    });
}

#[test]
fn a_swap_file_of_zeros_has_its_blocks_and_a_hole_has_none() {
    let mut lab = Lab::new();
    lab.layer(swap_files);
    check(&lab);
    fs::remove_dir_all(LayerStore::new(&lab.store).unpacked_path(&lab.layers[0])).unwrap();
    check(&lab);
}
