#!/usr/bin/env bash
# `apt-get install` of some fifty small packages: as a stage, and in a plain chroot, in turn, in one run. The chroot has its
# packages and lists there already and only installs; the stage also starts, reads indices and packages through the proxy,
# and captures what it changed.
#
#     bash benches/apt.sh [path/to/ibuild [path/to/another]]
#
# Another ibuild, for example of an earlier commit, takes its turn in each round, with a store of its own.
#
# Needs root and a mirror. The machine is shared with others, so only ratios mean something.
set -euo pipefail

ibuild=$(realpath "${1:-${CARGO_TARGET_DIR:-target}/release/ibuild}")
other=${2:+$(realpath "$2")}
packages=(python3 git curl tor sudo systemd-sysv rsync)
work=$(mktemp -d /var/tmp/ibuild-apt-XXXXXX)
export IBUILD_CACHE_DIR=$work/cache
trap 'rm -rf --one-file-system "$work"' EXIT
cd "$work"
quoted=$(printf '"%s", ' "${packages[@]}")
cat >ibuild.toml <<TOML
schema = 1
[project]
name = "apt"
epoch = 1767225600
[archive.debian]
suites = ["trixie"]
components = ["main"]
[rootfs.apt]
steps = [
  { name = "bootstrap", bootstrap = { archive = "debian", variant = "minbase" } },
  { name = "tools", packages = [${quoted%, }], recommends = false },
]
[image.apt]
rootfs = "apt"
formats = ["rootfs.tar.zst"]
disk = { size = "8 GiB" }
TOML
build() { "$ibuild" -q build --target apt.rootfs.tar.zst "$@" >>log 2>&1 || { tail -n 20 log >&2; exit 1; }; }
now() { date +%s%N; }

# stage IBUILD STORE: how long the stage takes, in milliseconds.
stage() {
    local start
    IBUILD_CACHE_DIR=$2 "$1" -q cache rm apt/tools >>log
    start=$(now)
    IBUILD_CACHE_DIR=$2 "$1" -q build --until apt/tools >>log 2>&1
    echo $((($(now) - start) / 1000000))
}
least() { if (($1 == 0 || $2 < $1)); then echo "$2"; else echo "$1"; fi; }

build --until apt/tools
if [ -n "$other" ]; then IBUILD_CACHE_DIR=$work/other "$other" -q build --until apt/tools >>log 2>&1; fi
"$ibuild" -q shell apt/bootstrap -- tar --create --one-file-system --directory / . >base.tar 2>>log
# The packages themselves, and what apt knew of them, as the stage had them.
mkdir debs
"$ibuild" -q shell apt/tools -- dpkg-query --show --showformat '${Package} ${Version}\n' | sort >after
"$ibuild" -q shell apt/bootstrap -- dpkg-query --show --showformat '${Package} ${Version}\n' | sort >before
echo "$(comm -13 before after | wc -l) packages"

# A copy of the base with everything downloaded, ready to install.
prepare() {
    rm -rf --one-file-system chroot
    mkdir chroot
    tar --extract --numeric-owner --xattrs --file base.tar --directory chroot
    cp /etc/resolv.conf /etc/hosts chroot/etc/
    cp -a /etc/apt/apt.conf.d/. chroot/etc/apt/apt.conf.d/
    printf '#!/bin/sh\nexit 101\n' >chroot/usr/sbin/policy-rc.d
    chmod 755 chroot/usr/sbin/policy-rc.d
    # apt puts what it downloads away after it installed it.
    inside 'apt-get -qq update; apt-get -qq -y --no-install-recommends --download-only install '"${packages[*]}"
    sync
}

inside() {
    unshare --mount --propagation private --pid --fork --kill-child sh -euc "
        mount -t proc proc chroot/proc; mount --rbind /dev chroot/dev
        exec chroot chroot /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive sh -euc '$1'" >>log 2>&1
}

best_of_ours=0 best_of_plain=0 best_of_other=0
for ((round = 0; round < ${ROUNDS:-3}; round++)); do
    prepare
    start=$(now)
    inside 'apt-get -q -y --no-install-recommends --no-download install '"${packages[*]}"
    best_of_plain=$(least "$best_of_plain" $((($(now) - start) / 1000000)))
    best_of_ours=$(least "$best_of_ours" "$(stage "$ibuild" "$IBUILD_CACHE_DIR")")
    [ -z "$other" ] || best_of_other=$(least "$best_of_other" "$(stage "$other" "$work/other")")
done
row() { printf '%-36s %8d ms\n' "$1" "$2"; }
ratio() { printf '%-36s %8.3f\n' "$1" "$(echo "$2 / $3" | bc -l)"; }
row 'stage, whole process' "$best_of_ours"
row 'plain chroot, install only' "$best_of_plain"
ratio 'stage / plain chroot' "$best_of_ours" "$best_of_plain"
if [ -n "$other" ]; then
    row 'stage, with the other ibuild' "$best_of_other"
    ratio 'stage / with the other ibuild' "$best_of_ours" "$best_of_other"
fi
