#!/usr/bin/env bash
# The same steps with ibuild and with `buildah build --layers`, in turn, in one run: nothing changed, the last step changed,
# the first step changed without effect, everything from nothing.
#
#     bash benches/peers.sh [path/to/ibuild]
#
# Needs root, a mirror and `buildah` (`apt-get install buildah`). The machine is shared with others, so only ratios mean
# something.
set -euo pipefail

ibuild=$(realpath "${1:-${CARGO_TARGET_DIR:-target}/release/ibuild}")
command -v buildah >/dev/null || { echo "benches/peers.sh: buildah is not installed" >&2; exit 1; }
work=$(mktemp -d /var/tmp/ibuild-peers-XXXXXX)
export IBUILD_CACHE_DIR=$work/cache
stores=(--root "$work/containers" --runroot "$work/run" --storage-driver overlay)
clean_up() {
    # Unmounts what buildah may have left mounted.
    buildah "${stores[@]}" rm --all >>"$work/log" 2>&1 || true
    umount "$work/containers/overlay" 2>/dev/null || true
    rm -rf "$work"
}
trap clean_up EXIT
cd "$work"
mkdir scripts context

# A script of the project.
script() { printf '#!/bin/sh -e\n%s\n' "$2" >"scripts/$1"; }
script 10-name 'echo bench > /etc/hostname'
script 20-user 'useradd --create-home --shell /bin/bash user'
script 30-blob 'yes 0123456789abcdef | head -c 50000000 > /usr/share/blob'
script 40-many 'mkdir /usr/share/many; for n in $(seq 3000); do echo $n > /usr/share/many/$n; done'
script 50-links 'for n in $(seq 500); do ln -s $n /usr/share/many/link$n; done'
script 60-modes 'find /usr/share/many -type f -name "1*" -exec chmod 600 {} +'
script 70-libraries 'ldconfig'
script 80-less 'rm -r /usr/share/doc /usr/share/man'
script 90-motd 'echo welcome > /etc/motd'
cat >ibuild.toml <<'TOML'
schema = 1
[project]
name = "peers"
epoch = 1767225600
[archive.debian]
suites = ["trixie"]
components = ["main"]
[rootfs.peers]
steps = [
  { name = "bootstrap", bootstrap = { archive = "debian", variant = "minbase" } },
  { name = "chroot", scripts = "scripts", network = "none" },
]
[image.peers]
rootfs = "peers"
formats = ["rootfs.tar.zst"]
disk = { size = "8 GiB" }
TOML

ours() { "$ibuild" -q build --target peers.rootfs.tar.zst --until peers/90-motd >>log 2>&1; }

# One RUN for each script, over the same root file system.
theirs() {
    {
        echo 'FROM scratch'
        echo 'ADD base.tar /'
        for script in scripts/*; do
            # As text, so that an edit is seen; encoded, because this buildah may not know here-documents.
            printf 'RUN echo %s | base64 --decode | sh -e\n' "$(base64 --wrap=0 "$script")"
        done
    } >context/Containerfile
    buildah "${stores[@]}" build --layers --isolation chroot --tag bench --file context/Containerfile context >>log 2>&1
}

now() { date +%s%N; }

# Milliseconds of a command.
time_of() {
    local start
    start=$(now)
    "$@" || { tail -n 20 log >&2; exit 1; }
    echo $((($(now) - start) / 1000000))
}

# Both in turn, each the fastest of $2 runs with $3 before each.
compare() {
    local name=$1 runs=$2 edit=$3 us=0 them=0 took run
    for ((run = 0; run < runs; run++)); do
        eval "$edit"
        took=$(time_of ours)
        if ((us == 0 || took < us)); then us=$took; fi
        took=$(time_of theirs)
        if ((them == 0 || took < them)); then them=$took; fi
    done
    printf '%-46s %8d ms %10d ms %8.1f\n' "$name" "$us" "$them" "$(echo "$them / ($us + 0.001)" | bc -l)"
}

"$ibuild" -q build --target peers.rootfs.tar.zst --until peers/bootstrap >>log 2>&1
"$ibuild" -q shell peers/bootstrap -- tar --create --one-file-system --directory / . >context/base.tar 2>>log
theirs
printf '%-46s %11s %13s %8s\n' what ibuild buildah ratio
compare 'all nine steps' 2 'script 10-name "echo bench$RANDOM > /etc/hostname"'
compare 'nothing changed' 5 :
compare 'a line of the last step' 3 'echo "echo $RANDOM >> /etc/motd" >> scripts/90-motd'
compare 'a comment in the first step' 3 'echo "# $RANDOM" >> scripts/10-name'
