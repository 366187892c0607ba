#!/usr/bin/env bash
# What `reprotest` and what `ibuild verify` find in one script in which differences are planted, each in a file of its own that
# has the name of what it depends on.
#
#     bash benches/reprotest.sh [path/to/ibuild]
#
# Needs root, a mirror, python3, and `apt-get install --no-install-recommends reprotest disorderfs faketime locales-all`. With
# IBUILD_CACHE_DIR set, packages come from that store.
set -euo pipefail

ibuild=$(realpath "${1:-${CARGO_TARGET_DIR:-target}/release/ibuild}")
work=$(mktemp -d /var/tmp/ibuild-reprotest.XXXXXX)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/source" "$work/project"

cat >"$work/source/stage" <<'STAGE'
#!/bin/sh
set -eu
mkdir -p "$1" "$1.list"
for name in $(seq 40); do : > "$1.list/file-$name"; done
cd "$1"
find "../${1##*/}.list" > readdir
rm -r "../${1##*/}.list"
date +%s > seconds
date +%Y-%m > month
od -An -N16 -tx1 /dev/urandom > random
hostname > host-name
umask > umask-value
id -u > uid
nproc > cpus
awk '/MemTotal/ { print $2 }' /proc/meminfo > memory
df -k . | awk 'NR > 1 { print $2, $4 }' > disk
uname -r > kernel
awk '/btime/ { print int($2 / 3600) }' /proc/stat > uptime
printf 'a\nB\n' | sort > locale
date +%z > time-zone
pwd > build-path
echo "$HOME" > home
echo "$PATH" > path
echo same > same
# The umask shows in the modes of all of them.
chmod 644 ./*
chmod 755 .
STAGE

cat >"$work/project/ibuild.toml" <<'RECIPE'
schema = 1
[project]
name = "planted"
epoch = 1767225600
[archive.debian]
suites = ["trixie"]
[rootfs.planted]
steps = [
  { name = "bootstrap", bootstrap = { archive = "debian", variant = "minbase" } },
  { name = "tools", packages = ["hostname"], recommends = false },
  { name = "stage", run = "sh /run/ibuild/in/stage /srv/out", inputs = ["stage"] },
]
[image.planted]
rootfs = "planted"
formats = ["rootfs.tar.zst"]
RECIPE
cp "$work/source/stage" "$work/project/stage"

now() { date +%s%N; }
start=$(now)
reprotest --no-diffoscope --min-cpus=1 --store-dir="$work/store" -c 'sh ./stage out' "$work/source" 'out/*' \
    >"$work/reprotest.log" 2>&1 || [ $? -eq 1 ]
reprotest_took=$((($(now) - start) / 1000000))

export IBUILD_CACHE_DIR=${IBUILD_CACHE_DIR:-$work/cache}
"$ibuild" -C "$work/project" build --until planted/stage >"$work/log" 2>&1
start=$(now)
"$ibuild" -C "$work/project" verify --json --vary all,kernel,uptime,host-name,umask planted/stage \
    >"$work/verify.json" 2>>"$work/log" || [ $? -eq 1 ]
ibuild_took=$((($(now) - start) / 1000000))

python3 - "$work" "$reprotest_took" "$ibuild_took" <<'PYTHON'
import json, pathlib, sys
work = pathlib.Path(sys.argv[1])
one, two = (next((work / "store" / build).glob("*/out")) for build in ("control", "experiment-1"))
names = sorted(path.name for path in one.iterdir())
events = [json.loads(line) for line in (work / "verify.json").read_text().splitlines()]
verified = next(event for event in events if event.get("event") == "verified")
found = {file["path"].removeprefix("/srv/out/"): file for file in verified["files"]}
print("| planted | `reprotest` | `ibuild verify` | cause that it names |\n|---|---|---|---|")
for name in names:
    theirs = "found" if (one / name).read_bytes() != (two / name).read_bytes() else "-"
    ours = found.get(name)
    how = "-" if ours is None else "found, with `" + ", ".join(ours["varied"]) + "`" if ours["varied"] else "found, by itself"
    print(f"| `{name}` | {theirs} | {how} | {ours and ours['cause'] or '-'} |")
print(f"\nreprotest {int(sys.argv[2]) / 1000:.1f} s, ibuild verify {int(sys.argv[3]) / 1000:.1f} s")
PYTHON
