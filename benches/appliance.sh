#!/usr/bin/env bash
# Both machines of examples/veil from nothing, with ibuild and in the plain way, in turn, in one run: mmdebstrap, the same files
# and scripts in a chroot, `mke2fs -d`, `qemu-img convert` and tar, for each of the machines.
#
#     bash benches/appliance.sh [path/to/ibuild]
#
# Every package is there already for both: ibuild's new store has those of a build before, and mmdebstrap gets them from
# `ibuild proxy`. The plain way is let off some work: it installs all packages of a machine at once, makes no boot loader and no
# partitions, computes no checksums and does not check what it made.
#
# Needs root, a mirror, mmdebstrap, mke2fs and qemu-img, 12 GB below /var/tmp and a quarter of an hour. With IBUILD_CACHE_DIR set,
# packages come from that store. The machine may be shared with others, so only the ratio means something.
set -eEuo pipefail

ibuild=$(realpath "${1:-${CARGO_TARGET_DIR:-target}/release/ibuild}")
here=$(realpath "$(dirname "$0")/..")
machines=(gateway workstation)
targets=("${machines[@]/%/.ova}")
bench=appliance
# shellcheck source=benches/plain_appliance
. "$here/benches/plain_appliance"

# What is known of packages goes on to a store that knows of no stage.
with_store "$store" build --target "${targets[@]}" >>"$work/log" 2>&1
with_store "$store" cat workstation /usr/lib/veil/network >"$work/table"
mkdir "$work/cold"
cp -a --reflink=auto "$store/packages" "$work/cold/"
rm -r out
sync
start=$(now)
with_store "$work/cold" build --offline --target "${targets[@]}" >>"$work/log" 2>&1
ours=$(milliseconds_since "$start")
for target in "${targets[@]}"; do printf '%-44s %s\n' "$target" "$(megabytes "out/$target")"; done
row 'ibuild, both machines' "$ours"

serve_packages
took=0
for machine in "${machines[@]}"; do
    packages=$(packages_of "$machine")
    sync
    plain "$machine" "$packages" "$work/plain.ova"
done
row 'the plain way, both machines' "$took"
printf '%-44s %8.2f\n' 'ibuild / the plain way' "$(echo "$ours / $took" | bc -l)"
