#!/usr/bin/env bash
# What packing costs: hello's OVA from nothing beside the plain way, and again after each kind of edit.
#
#     bash benches/disk.sh [path/to/ibuild]
#
# Needs root, a mirror, mke2fs, qemu-img and zstd. With IBUILD_CACHE_DIR set, that store is used: its stages are taken, but no
# image that is in it. The machine is shared with others, so only the ratios of one run mean something.
set -euo pipefail

ibuild=$(realpath "${1:-${CARGO_TARGET_DIR:-target}/release/ibuild}")
here=$(realpath "$(dirname "$0")/..")
work=$(mktemp -d /var/tmp/ibuild-disk-XXXXXX)
trap 'rm -rf "$work"' EXIT
export IBUILD_CACHE_DIR=${IBUILD_CACHE_DIR:-$work/cache}
cp -a "$here/examples/hello" "$work/hello"
rm -rf "$work/hello/out"
cd "$work/hello"
# A project that nobody knows, with a disk that nobody has made.
sed -i "s/^name = \"hello\"/name = \"bench-$$\"/; s/fs-uuid = \"[^\"]*/fs-uuid = \"$(cat /proc/sys/kernel/random/uuid)/" ibuild.toml

now() { date +%s%N; }

# What the packing of a target alone took, as ibuild says it.
packing() {
    "$ibuild" build --target "hello.$1" >"$work/log" 2>&1
    sed -n "s/^ran *hello\\.$1 *\\([0-9.]* m\\{0,1\\}s\\).*/\\1/p" "$work/log"
}

row() { printf '%-44s %s\n' "$1" "$2"; }

# The plain way, over the same files: fill a file system, convert it, put it into a tar.
plain() {
    local start
    mkdir "$work/files"
    zstd -dcq out/hello.rootfs.tar.zst | tar -x --xattrs --xattrs-include='*' --numeric-owner -C "$work/files"
    tar -cf "$work/warm" -C "$work/files" . && rm "$work/warm"
    start=$(now)
    mke2fs -q -t ext4 -d "$work/files" "$work/plain.raw" 4G
    qemu-img convert -O vmdk -o subformat=streamOptimized "$work/plain.raw" "$work/plain.vmdk"
    tar --format=ustar -cf "$work/plain.ova" -C "$work" plain.vmdk
    row 'mke2fs -d, qemu-img convert, tar' "$((($(now) - start) / 1000000)) ms, $(stat -c %s "$work/plain.ova") bytes"
    rm -r "$work/files" "$work/plain.raw" "$work/plain.vmdk"
}

"$ibuild" -q build --target hello.rootfs.tar.zst >"$work/log"
plain
row 'OVA from nothing' "$(packing ova), $(stat -c %s out/hello.ova) bytes"
for format in qcow2 vmdk vdi raw.zst oci; do row "$format beside the OVA" "$(packing $format), $(stat -c %s "out/hello.$format") bytes"; done
row 'nothing changed' "$(packing ova)(no packing)"
echo "echo $RANDOM > /etc/motd" >>scripts/40-services
row 'a line of the last script' "$(packing ova)"
echo "for n in \$(seq 50); do base64 /dev/urandom | head -c 100000 > /opt/new\$n; done" >>scripts/40-services
row '5 MB more in the last script' "$(packing ova)"
sed -i 's/memory = "1 GiB"/memory = "2 GiB"/' ibuild.toml
row 'another memory size' "$(packing ova)"
