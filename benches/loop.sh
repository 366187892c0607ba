#!/usr/bin/env bash
# Whole commands, as a person types them: how long each edit of hello takes, as a share of a build from nothing.
#
#     bash benches/loop.sh [path/to/ibuild]
#
# Needs root and a mirror. The machine is shared with others, so only the ratios of one run mean something.
set -euo pipefail

ibuild=$(realpath "${1:-${CARGO_TARGET_DIR:-target}/release/ibuild}")
here=$(realpath "$(dirname "$0")/..")
work=$(mktemp -d /var/tmp/ibuild-loop-XXXXXX)
trap 'rm -rf "$work"' EXIT
export IBUILD_CACHE_DIR=$work/cache
cp -a "$here/examples/hello" "$work/hello"
# The archive as it is now, whatever was locked in the checkout.
rm -rf "$work/hello/out" "$work/hello/ibuild.lock"
cd "$work/hello"

now() { date +%s%N; }

# Prints the fastest of some runs, in milliseconds, of `ibuild build`; $2 is run before each.
best_of() {
    local runs=$1 prepare=$2 best=0 start took
    for ((run = 0; run < runs; run++)); do
        eval "$prepare" >>"$work/log"
        start=$(now)
        "$ibuild" -q build --target hello.ova >>"$work/log"
        took=$((($(now) - start) / 1000000))
        if ((best == 0 || took < best)); then best=$took; fi
    done
    echo "$best"
}

row() { printf '%-44s %8d ms   1/%d\n' "$1" "$2" $((cold / ($2 > 0 ? $2 : 1))); }

"$ibuild" -q build --target hello.ova >>"$work/log" # fills the package cache
cold=$(best_of 1 '"$ibuild" -q cache rm --stages')
printf '%-44s %8d ms\n' 'from nothing, packages cached' "$cold"
row 'nothing changed' "$(best_of 10 :)"
row 'a comment in the first script' "$(best_of 3 'echo "# $RANDOM" >> scripts/10-hostname')"
row 'a line of the last script' "$(best_of 3 'echo "echo $RANDOM > /etc/motd" >> scripts/40-services')"
row 'a copied file' "$(best_of 2 'echo "# $RANDOM" >> files/etc/fstab')"
