#!/usr/bin/env bash
# What packing costs: an OVA of real files from nothing beside the plain way, and again after each kind of edit.
#
#     bash benches/disk.sh [path/to/ibuild [megabytes]]
#
# The image is hello with files of this machine's own /usr on top, so many megabytes of them; 0 for hello alone. With 500 it is
# about 0.9 GB, with 3600 about 4 GB, which takes 25 GB below /var/tmp and ten minutes.
#
# Needs root, a mirror, mke2fs and qemu-img. With IBUILD_CACHE_DIR set, that store is used: its stages are taken, but no image
# that is in it. Each row is the whole command, in which nothing runs but what packs the image; in parentheses what ibuild
# says of the packing alone. The machine may be shared with others, so only the ratios of one run mean something.
set -euo pipefail

ibuild=$(realpath "${1:-${CARGO_TARGET_DIR:-target}/release/ibuild}")
megabytes=${2:-500}
here=$(realpath "$(dirname "$0")/..")
work=$(mktemp -d /var/tmp/ibuild-disk-XXXXXX)
mounted=""
finish() {
    [ -z "$mounted" ] || "$ibuild" umount "$mounted"
    rm -rf "$work"
}
trap finish EXIT
export IBUILD_CACHE_DIR=${IBUILD_CACHE_DIR:-$work/cache}

# hello, real files, and a script of which the last layer is.
prepare() {
    cp -a "$here/examples/hello" "$work/hello"
    cd "$work/hello"
    rm -rf out
    mkdir real late
    printf '#!/bin/sh -e\nmkdir -p /opt/late\n' >late/10-late
    chmod +x late/10-late
    [ "$megabytes" = 0 ] || real_files
    # A project that nobody knows, with a disk that nobody has made.
    sed -i "s/^name = \"hello\"/name = \"bench-$$\"/" ibuild.toml
    cat >>ibuild.toml <<EOF

[rootfs.bench]
from = "hello"
steps = [
  { name = "real", copy = [{ from = "real", to = "/opt/real" }] },
  { name = "late", scripts = "late" },
]

[image.bench]
rootfs = "bench"
formats = ["ova"]
disk = { size = "12 GiB", fs-uuid = "$(cat /proc/sys/kernel/random/uuid)" }
vm = { memory = "1 GiB" }
EOF
}

# Regular files of this machine, in the order of their names, as links to them where that is possible.
real_files() {
    find /usr/bin /usr/lib /usr/share -xdev -type f -size -64M -printf '%s %p\n' 2>/dev/null | LC_ALL=C sort -k2 |
        awk -v left="$((megabytes * 1000000))" 'left > 0 { left -= $1; sub(/^[0-9]* /, ""); print }' >"$work/names"
    xargs -d '\n' cp --parents --no-dereference -l -t real <"$work/names" 2>/dev/null ||
        xargs -d '\n' cp --parents --no-dereference -t real <"$work/names"
    echo "$(wc -l <"$work/names") files of this machine, $(du -sBM real | cut -f1)"
}

now() { date +%s%N; }
since() { echo "$((($(now) - $1) / 1000000)) ms"; }
row() { printf '%-44s %s\n' "$1" "$2"; }
size() { stat -c %s "$1"; }

# The most memory that a process has had at a time, in megabytes. Nothing is started for a look: that would be measured, too.
peak() {
    local most=0 seen key value
    while :; do
        seen=""
        while read -r key value _; do
            [ "$key" != VmHWM: ] || seen=$value
        done 2>/dev/null <"/proc/$1/status" || true
        [ -n "$seen" ] || break
        most=$seen
        sleep 0.1
    done
    echo "$((most / 1000)) MB of memory"
}

# Builds a target of which all stages are there, and tells what that took.
packing() {
    local start pid memory
    "$ibuild" -q build --until bench >"$work/log" 2>&1
    start=$(now)
    "$ibuild" build --target "bench.$1" --json >"$work/events" 2>"$work/log" &
    pid=$!
    memory=$(peak $pid)
    wait $pid
    echo "$(since "$start") ($(said "bench.$1" | tr -d '\n')), $memory"
}

# What the events of the last build say of a target.
said() {
    sed -n "s/.*\"event\":\"finished\".*\"seconds\":\([0-9.]*\).*\"stage\":\"$1\".*/packing \1 s/p" "$work/events"
    sed -n "s/.*\"compressed\":\([0-9]*\).*\"event\":\"packed\",\"grains\":\([0-9]*\).*/, \1 of \2 grains compressed/p" "$work/events"
    sed -n "s/.*\"event\":\"boot-loader\",\"outcome\":\"\([a-z]*\)\".*/, boot loader \1/p" "$work/events"
}

read_all() { find "$mounted" -type f -print0 | xargs -0 cat; }

# The plain way, over the same files: fill a file system, convert it, put it into a tar.
plain() {
    local start step
    mounted=$work/files
    mkdir "$mounted"
    "$ibuild" mount bench "$mounted"
    read_all | wc -c >"$work/bytes"
    start=$(now)
    read_all >/dev/null
    row 'reading the files' "$(since "$start"), $(cat "$work/bytes") bytes"
    start=$(now)
    step=$start
    mke2fs -q -t ext4 -d "$mounted" "$work/plain.raw" 12G
    row 'mke2fs -d' "$(since "$step")"
    step=$(now)
    qemu-img convert -O vmdk -o subformat=streamOptimized "$work/plain.raw" "$work/plain.vmdk"
    row 'qemu-img convert' "$(since "$step")"
    tar --format=ustar -cf "$work/plain.ova" -C "$work" plain.vmdk
    row 'mke2fs -d, qemu-img convert, tar' "$(since "$start"), $(size "$work/plain.ova") bytes"
    "$ibuild" umount "$mounted"
    mounted=""
    rm -r "$work/files" "$work/plain.raw" "$work/plain.vmdk" "$work/plain.ova"
}

prepare
"$ibuild" -q build --until bench >"$work/log" 2>&1
plain
row 'OVA from nothing' "$(packing ova)"
row '' "$(size out/bench.ova) bytes"
row 'nothing changed' "$(packing ova)"
# The first edit writes over the twin of the file in out/; those after it over the file that they replaced.
for edit in first second third; do
    echo "echo $RANDOM > /opt/late/small" >>late/10-late
    row "a small file in the last layer, $edit edit" "$(packing ova)"
done
sed -i '$d' late/10-late
row 'the third edit taken back' "$(packing ova)"
echo "for n in \$(seq 20); do base64 /dev/urandom | head -c 250000 > /opt/late/new\$n; done" >>late/10-late
row '5 MB more in the last layer' "$(packing ova)"
sed -i 's/memory = "1 GiB" }$/memory = "2 GiB" }/' ibuild.toml
row 'another memory size' "$(packing ova)"
rm out/bench.ova
for format in raw qcow2 vdi raw.zst oci; do
    row "$format beside the OVA" "$(packing $format)"
    row '' "$(size "out/bench.$format") bytes"
    rm "out/bench.$format"
done
