//! Swap files that a stage made: the kernel of the booted machine takes them, because their blocks are there.

use std::fs;

use crate::chapter;
use crate::world::{World, copy_tree, expect_success};

const STEP: &str = "  { name = \"swaps\", script = \"swaps\" },\n";
const LAST_STEP: &str = "  { name = \"sane\"";

const TEST: &str = "[test.swaps]
machines = { hello = \"hello\" }
expect = \"swap files in use: 3\"
timeout = \"240 s\"
";

/// One by writing zeros, one by asking for blocks, one that is both.
const SCRIPT: &str = r#"#!/bin/sh -eu
dd if=/dev/zero of=/swap.dd bs=1M count=16
fallocate --length 16M /swap.fallocate
fallocate --length 16M /swap.both
dd if=/dev/zero of=/swap.both bs=1M count=5 seek=3 conv=notrunc
for file in /swap.*; do
    chmod 600 "$file"
    mkswap --uuid 00000000-0000-4000-8000-000000000000 "$file"
done
cat >/etc/systemd/system/swaps.service <<'END'
[Unit]
After=local-fs.target
[Service]
Type=oneshot
ExecStart=/bin/sh -c 'for file in /swap.*; do swapon $$file; done; echo "swap files in use: $(grep -c ^/swap /proc/swaps)" >/dev/console'
[Install]
WantedBy=multi-user.target
END
systemctl enable swaps.service
"#;

pub fn swap_files_are_taken_by_the_kernel(world: &World) {
    chapter("swap files are taken by the kernel");
    let project = world.path("swaps/hello");
    copy_tree(&world.path("one/hello"), &project);
    fs::copy(world.path("one/hello/ibuild.lock"), project.join("ibuild.lock")).unwrap();
    let recipe = fs::read_to_string(project.join("ibuild.toml")).unwrap();
    assert!(recipe.contains(LAST_STEP), "hello has no step `sane`");
    let recipe = recipe.replace(LAST_STEP, &format!("{STEP}{LAST_STEP}"));
    fs::write(project.join("ibuild.toml"), recipe + TEST).unwrap();
    fs::write(project.join("swaps"), SCRIPT).unwrap();
    let tested = world.ibuild("swaps/hello", "cache").args(["test", "swaps"]).output().unwrap();
    assert!(expect_success(&tested).contains("passed  swaps"));
}
