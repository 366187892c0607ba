#!/usr/bin/env bash
# Is veil's workstation reproducible? With `ibuild verify`, and as one asks without it: two builds in the plain way, and
# `diffoscope` on the two images; in one run. How often two verifies of the same machine disagree, too.
#
#     bash benches/verify.sh [path/to/ibuild] [VERIFIES]
#
# diffoscope is ended after LIMIT seconds (1200), and the row says so. Needs root, a mirror, mmdebstrap, mke2fs, qemu-img and
# diffoscope, 20 GB below /var/tmp and three quarters of an hour. With IBUILD_CACHE_DIR set, packages and stages come from that store. The machine
# may be shared with others, so only the ratio means something.
set -eEuo pipefail

ibuild=$(realpath "${1:-${CARGO_TARGET_DIR:-target}/release/ibuild}")
verifies=${2:-1}
limit=${LIMIT:-1200}
here=$(realpath "$(dirname "$0")/..")
bench=verify
command -v diffoscope >/dev/null || { echo "benches/verify.sh: diffoscope is not installed" >&2; exit 1; }
# shellcheck source=benches/plain_appliance
. "$here/benches/plain_appliance"

# Peak memory of a command and its children, each by itself, in MB: `measured LOG COMMAND...`.
measured() {
    python3 - "$@" <<'PYTHON'
import resource, subprocess, sys
with open(sys.argv[1], "ab") as log:
    status = subprocess.call(sys.argv[2:], stdout=log, stderr=log)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024 // 1000000)
sys.exit(status)
PYTHON
}

with_store "$store" build --target workstation.ova >>"$work/log" 2>&1
with_store "$store" cat workstation /usr/lib/veil/network >"$work/table"
ours=0
for ((run = 1; run <= verifies; run++)); do
    start=$(now)
    memory=$(IBUILD_CACHE_DIR=$store measured "$work/log" "$ibuild" verify workstation.ova)
    took=$(milliseconds_since "$start")
    row "ibuild verify ($run of $verifies)" "$took" "equal, at most $memory MB"
    if ((ours == 0 || took < ours)); then ours=$took; fi
done

serve_packages
packages=$(packages_of workstation)
took=0
for build in 1 2; do
    sync
    plain workstation "$packages" "$work/$build.ova"
done
row 'the plain way, two builds' "$took"
start=$(now)
status=0
memory=$(measured "$work/log" timeout "$limit" diffoscope --no-progress --text "$work/differences" "$work/1.ova" "$work/2.ova") ||
    status=$?
case $status in
    0) verdict=equal ;;
    1) verdict="differ, $(wc -l <"$work/differences") lines" ;;
    124) verdict="no answer in $limit s" ;;
    *) verdict="failed with $status" ;;
esac
row 'diffoscope' "$(milliseconds_since "$start")" "$verdict, at most ${memory:-?} MB"
took=$((took + $(milliseconds_since "$start")))
printf '%-44s %8.2f\n' 'the plain way and diffoscope / ibuild' "$(echo "$took / $ours" | bc -l)"
