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
work=$(mktemp -d /var/tmp/ibuild-appliance-XXXXXX)
store=${IBUILD_CACHE_DIR:-$work/store}
proxy=""
clean_up() {
    [ -z "$proxy" ] || kill "$proxy" 2>/dev/null || true
    rm -rf --one-file-system "$work"
}
trap clean_up EXIT
trap '((BASH_SUBSHELL)) || { echo "benches/appliance.sh: line $LINENO failed; its log:"; tail -n 20 "$work/log"; } >&2' ERR
cp -a "$here/examples/veil" "$work/veil"
cd "$work/veil"
rm -rf out

with_store() {
    local store=$1
    shift
    IBUILD_CACHE_DIR=$store "$ibuild" -q "$@"
}
now() { date +%s%N; }
milliseconds_since() { echo $((($(now) - $1) / 1000000)); }
row() { printf '%-44s %8d ms  %s\n' "$1" "$2" "${3-}"; }
megabytes() { echo "$(($(stat -c %s "$1") / 1000000)) MB"; }

# --- The plain way ----------------------------------------------------------------------------------------------------

serve_packages() {
    IBUILD_CACHE_DIR=$store "$ibuild" proxy --listen 127.0.0.1:0 >"$work/requests" 2>"$work/proxy" &
    proxy=$!
    address=""
    while [ -z "$address" ]; do
        sleep 0.1
        kill -0 "$proxy"
        address=$(grep -om1 'http://127.0.0.1:[0-9]*' "$work/proxy" || true)
    done
}

# What the machine of ibuild's has, but for what its scripts make.
packages_of() {
    with_store "$store" cat "$1" /var/lib/dpkg/status |
        awk -v RS= '/\nStatus: [a-z]+ ok installed\n/ && !/\nVersion: 9999\+veil\n/ { print $2 }' | paste -sd,
}

in_chroot() {
    # shellcheck disable=SC2016 # expanded inside
    unshare --mount --propagation private --pid --fork --kill-child sh -euc '
        mount -t proc proc "$1/proc"; mount --rbind /dev "$1/dev"
        exec chroot "$1" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive LANG=C.UTF-8 TZ=UTC \
            SOURCE_DATE_EPOCH=1767225600 sh -euc "set -a; . /opt/table; exec /opt/script"' sh "$1" >>"$work/log" 2>&1
}

# scripts ROOT DIRECTORY: each of them, in their order.
scripts() {
    local script
    for script in "scripts/$2"/*; do
        cp "$script" "$1/opt/script"
        in_chroot "$1"
    done
}
files() { cp -rT --preserve=mode "files/$2" "$1"; }

bootstrap() {
    local root=$1 suite
    suite=$(sed -n "s/^VEIL_SUITE='\(.*\)'/\1/p" "$work/table")
    mmdebstrap --quiet --variant=minbase --mode=root --include="$2" --aptopt='APT::Install-Recommends "false"' \
        --aptopt="Acquire::http::Proxy \"$address\"" "$suite" "$root" \
        "deb http://deb.debian.org/debian $suite main" "deb http://deb.debian.org/debian $suite-updates main" \
        "deb http://deb.debian.org/debian-security $suite-security main" >>"$work/log" 2>&1
    printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d"
    chmod 755 "$root/usr/sbin/policy-rc.d"
    cp "$work/table" "$root/opt/table"
    cp /etc/resolv.conf "$root/etc/"
    printf 'Acquire::http::Proxy "%s";\n' "$address" >"$root/etc/apt/apt.conf.d/zz-proxy"
}

# The steps of the recipe that are no packages.
configure() {
    local root=$1 machine=$2
    files "$root" banned
    scripts "$root" base
    files "$root" shared
    scripts "$root" shared
    files "$root" "$machine"
    scripts "$root" "$machine"
    scripts "$root" last
    rm "$root/usr/sbin/policy-rc.d" "$root/etc/apt/apt.conf.d/zz-proxy" "$root/etc/apt/sources.list" "$root"/opt/*
}

plain() {
    local machine=$1 packages=$2 root=$work/root start step
    start=$(now)
    step=$start
    bootstrap "$root" "$packages"
    row "  $machine: mmdebstrap" "$(milliseconds_since "$step")"
    step=$(now)
    configure "$root" "$machine"
    row "  $machine: files and scripts" "$(milliseconds_since "$step")"
    step=$(now)
    mke2fs -q -t ext4 -d "$root" "$work/plain.raw" 100G >>"$work/log" 2>&1
    row "  $machine: mke2fs" "$(milliseconds_since "$step")"
    step=$(now)
    qemu-img convert -O vmdk -o subformat=streamOptimized "$work/plain.raw" "$work/plain.vmdk"
    tar --format=ustar -cf "$work/plain.ova" -C "$work" plain.vmdk
    row "  $machine: qemu-img, tar" "$(milliseconds_since "$step")" "$(megabytes "$work/plain.ova")"
    took=$((took + $(milliseconds_since "$start")))
    rm -rf --one-file-system "$root" "$work"/plain.*
}

# --- In turn ----------------------------------------------------------------------------------------------------------

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
    plain "$machine" "$packages"
done
row 'the plain way, both machines' "$took"
printf '%-44s %8.2f\n' 'ibuild / the plain way' "$(echo "$ours / $took" | bc -l)"
