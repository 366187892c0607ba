#!/usr/bin/env bash
# Hits of `ibuild proxy` beside nginx, which sends the same files from a directory, and apt-cacher-ng, in turn, in one run: 400
# small packages and a large one of Debian itself, with wrk and with apt; then what a proxy takes of memory and of its mirror.
#
#     bash benches/proxy.sh [path/to/ibuild [rounds]]
#
# Needs a mirror, curl and xz. nginx, apt-cacher-ng and wrk are unpacked beside the machine's own packages if they are not
# there. Everything listens at 127.0.0.1, and keeps a log of its requests. Of `rounds` (2) the best counts. The machine is
# shared with others, so only ratios mean something.
set -eEuo pipefail
shopt -s inherit_errexit

ibuild=$(realpath "${1:-${CARGO_TARGET_DIR:-target}/release/ibuild}")
rounds=${2:-2}
seconds=3
work=$(mktemp -d /var/tmp/ibuild-proxy-XXXXXX)
export IBUILD_CACHE_DIR=$work/cache
started=()
clean_up() {
    local process
    for process in "${started[@]}"; do
        kill "$process" 2>/dev/null || true
        wait "$process" 2>/dev/null || true
    done
    rm -rf "$work"
}
trap clean_up EXIT
# In a subshell it is for the shell above to say.
trap '((BASH_SUBSHELL)) || { echo "benches/proxy.sh: line $LINENO failed; its log:"; tail -n 20 "$work/log"; } >&2' ERR
cd "$work"
mkdir debs tools up project

# --- What is compared -------------------------------------------------------------------------------------------------

# Debian's packages of the tools that are missing, unpacked and not installed: installed, they would start their servers.
missing=()
[ -x /usr/sbin/nginx ] || missing+=(nginx)
[ -x /usr/sbin/apt-cacher-ng ] || missing+=(apt-cacher-ng)
command -v wrk >/dev/null || missing+=(wrk)
unpack() {
    local deb
    apt-get -qq --yes --no-install-recommends --download-only -o Dir::Cache::archives="$work/debs" \
        -o APT::Sandbox::User=root install "$@" >>log 2>&1 || return 1
    for deb in debs/*.deb; do dpkg-deb --extract "$deb" tools; done
}
if [ "${#missing[@]}" != 0 ]; then
    unpack "${missing[@]}" || { apt-get -qq update >>log 2>&1 && unpack "${missing[@]}"; } ||
        { echo "SKIPPED: ${missing[*]} cannot be had from Debian" >&2; exit 0; }
fi
libraries=$work/tools/usr/lib/$(uname -m)-linux-gnu:$work/tools/lib/$(uname -m)-linux-gnu
unpacked() { LD_LIBRARY_PATH=$libraries exec "$@"; }
tool() { if [ -e "$work/tools$1" ]; then echo "$work/tools$1"; else echo "$1"; fi; }
nginx=$(tool /usr/sbin/nginx) acng=$(tool /usr/sbin/apt-cacher-ng) wrk=$(tool /usr/bin/wrk)

is_open() { (: <"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }
free_port() {
    local port
    while port=$(shuf -i 20000-32000 -n 1) && is_open "$port"; do :; done
    echo "$port"
}
await() {
    local tries
    for tries in {1..200}; do
        if is_open "$1"; then return; fi
        sleep 0.05
    done
    echo "nothing listens at $1 after $tries looks" >>log
    return 1
}

# proxy NAME OPTION...: a proxy with a store of that name; its process is $proxy_process, its address $proxy_address.
proxy() {
    local name=$1
    shift
    IBUILD_CACHE_DIR=$work/$name "$ibuild" proxy --listen 127.0.0.1:0 "$@" >"$name.requests" 2>"$name.said" &
    proxy_process=$! proxy_address=
    started+=("$proxy_process")
    while [ -z "$proxy_address" ]; do
        sleep 0.05
        kill -0 "$proxy_process"
        proxy_address=$(sed -n 's,^listens at http://,,p' "$name.said")
    done
}

# --- Files: what Debian has, by way of the proxy, which checks it ------------------------------------------------------

dists=dists/trixie
proxy cache
fetch() { (cd up && curl -sSf --proxy "http://$proxy_address" --parallel --parallel-max 8 --config -) >>log 2>&1; }
wanted() {
    local path
    for path in "$@"; do
        mkdir -p "up/debian/${path%/*}"
        printf 'url = "http://deb.debian.org/debian/%s"\noutput = "debian/%s"\n' "$path" "$path"
    done
}
index=$dists/main/binary-amd64/Packages.xz
wanted "$dists/InRelease" | fetch
wanted "$index" | fetch
digest=$(sha256sum "up/debian/$index" | cut -d' ' -f1)
mkdir -p "up/debian/${index%/*}/by-hash/SHA256"
ln "up/debian/$index" "up/debian/${index%/*}/by-hash/SHA256/$digest"
# Name, path and size. Names that have a `+` are left out: wrk would not write it as apt does.
xz --decompress --stdout "up/debian/$index" | awk '/^Package: /{name=$2} /^Filename: /{path=$2} /^Size: /{size=$2}
    /^$/ && path !~ /[+~]/ {print name, path, size}' >all
awk '$3 > 8000 && $3 < 220000' all | shuf -n 400 --random-source=<(yes) >small
awk '{ far = ($3 - 95000000) ^ 2 } NR == 1 || far < nearest { nearest = far; found = $0 } END { print found }' all >big
cut -d' ' -f2 small >small.paths
cut -d' ' -f2 big >big.paths
mapfile -t names < <(cut -d' ' -f1 small)
mapfile -t paths < <(cat small.paths big.paths)
wanted "${paths[@]}" | fetch
kill "$proxy_process"
wait "$proxy_process"
awk '{ sum += $3 } END { printf "%d packages of %d kB on average", NR, sum / NR / 1000 }' small
awk '{ printf ", and one of %d MB\n", $3 / 1000000 }' big

# --- Servers -----------------------------------------------------------------------------------------------------------

origin=$(free_port)
cat >nginx.conf <<CONF
daemon off;
user root;
worker_processes 2;
pid $work/nginx.pid;
events { worker_connections 1024; }
http {
    sendfile on;
    keepalive_requests 100000000;
    access_log $work/origin.requests;
    client_body_temp_path $work/nginx; proxy_temp_path $work/nginx; fastcgi_temp_path $work/nginx;
    uwsgi_temp_path $work/nginx; scgi_temp_path $work/nginx;
    root $work/up;
    server { listen 127.0.0.1:$origin; }
    # A line as slow as that of a good mirror.
    server { listen 127.0.0.1:$((origin + 1)); limit_rate 60m; access_log $work/slow.requests; }
}
CONF
unpacked "$nginx" -p "$work" -e "$work/log" -c "$work/nginx.conf" >>log 2>&1 &
started+=($!)
await "$origin"
fast=http://127.0.0.1:$origin slow=http://127.0.0.1:$((origin + 1))

cached=$(free_port)
mkdir acng acng-log
cp -r "$(tool /etc/apt-cacher-ng)" acng-conf
# A file for an administrator's password, which is not readable for everybody.
rm -f acng-conf/security.conf
unpacked "$acng" -c "$work/acng-conf" CacheDir="$work/acng" LogDir="$work/acng-log" Port="$cached" \
    BindAddress=127.0.0.1 ForeGround=1 SocketPath="$work/acng/socket" AllowUserPorts=0 \
    SupportDir="$(tool /usr/lib/apt-cacher-ng)" PidFile="$work/acng.pid" >>log 2>&1 &
started+=($!)
await "$cached"

# What has come by way of Debian's address is found by way of the mirror's, because it is the same.
resident() { awk '/^VmRSS/{ print $2 }' "/proc/$proxy_process/status"; }
peak() { awk '/^VmHWM/{ print $2 }' "/proc/$proxy_process/status"; }
threads() { awk '/^Threads/{ print $2 }' "/proc/$proxy_process/status"; }
proxy cache --mirror "$fast/debian"
ours=$proxy_address
at_start=$(resident)
for address in "$ours" "127.0.0.1:$cached"; do
    for path in "$dists/InRelease" "$index" "${paths[@]}"; do
        printf 'url = "%s/debian/%s"\noutput = /dev/null\n' "$fast" "$path"
    done | curl -sSf --proxy "http://$address" --config - >>log 2>&1
done
sleep 1
idle=$(resident) peaked=$(peak)

# --- wrk ----------------------------------------------------------------------------------------------------------------

cat >wrk.lua <<'LUA'
local requests, at = {}, 0
function init(arguments)
    for path in io.lines(arguments[2]) do
        requests[#requests + 1] = wrk.format("GET", arguments[1] .. path)
    end
end
function request()
    at = at % #requests + 1
    return requests[at]
end
function done(summary)
    local time, wrong = summary.duration / 1e6, summary.errors
    local errors = wrong.connect + wrong.read + wrong.write + wrong.status + wrong.timeout
    io.write(string.format("RESULT %d requests %d MB %d errors\n", summary.requests / time, summary.bytes / time / 1e6, errors))
end
LUA

# load ADDRESS PREFIX CONNECTIONS LIST UNIT: how much of the unit, `requests` or `MB`, came in a second.
load() {
    local said
    said=$(unpacked "$wrk" -t1 -c"$3" -d"${seconds}s" --timeout 20s -s wrk.lua "http://$1" "$2" "$4")
    echo "$said" >>log
    grep -q ' 0 errors$' <<<"$said"
    sed -nE "s/^RESULT.* ([0-9]+) $5 .*/\1/p" <<<"$said"
}
larger() { if (($1 > $2)); then echo "$1"; else echo "$2"; fi; }
ratio() { awk -v a="$1" -v b="$2" 'BEGIN { printf "%.2f", a / b }'; }

# compare WHAT CONNECTIONS LIST UNIT TARGET
compare() {
    local us=0 them=0 other round now
    for ((round = 0; round < rounds; round++)); do
        now=$(load "127.0.0.1:$origin" /debian/ "$2" "$3" "$4")
        them=$(larger "$them" "$now")
        now=$(load "$ours" "$fast/debian/" "$2" "$3" "$4")
        us=$(larger "$us" "$now")
    done
    other=$(load "127.0.0.1:$cached" "$fast/debian/" "$2" "$3" "$4")
    printf '%-40s %9s %9s %9s %7s   %s\n' "$1" "$us" "$them" "$other" "$(ratio "$us" "$them")" "$5"
}

printf '\n%-40s %9s %9s %9s %7s   %s\n' 'hits' ibuild nginx acng ratio target
compare 'small, 1 connection, requests/s' 1 small.paths requests '>= 5000, 0.6 x nginx'
compare 'small, 8 connections' 8 small.paths requests '>= 10000, 0.6 x nginx'
compare 'small, 64 connections' 64 small.paths requests '>= 10000, 0.6 x nginx'
compare 'large, 1 connection, MB/s' 1 big.paths MB '>= 0.9 x nginx'
compare 'large, 8 connections' 8 big.paths MB '>= 0.9 x nginx'

# --- Memory -------------------------------------------------------------------------------------------------------------

most=0 running=0
for list in small.paths big.paths; do
    load "$ours" "$fast/debian/" 64 "$list" requests >>log &
    loading=$!
    while kill -0 "$loading" 2>/dev/null; do
        most=$(larger "$most" "$(resident)") running=$(larger "$running" "$(threads)")
        sleep 0.1
    done
    wait "$loading"
done
printf '\n%-40s %9s   %s\n' 'memory' MB target
mb() { awk -v kb="$1" 'BEGIN { printf "%.1f", kb / 1024 }'; }
printf '%-40s %9s\n' 'started' "$(mb "$at_start")" 'idle, every file asked for once' "$(mb "$idle")" \
    'most until then, reading the index' "$(mb "$peaked")"
printf '%-40s %9s   %s\n' 'more with 64 connections, small and large' "$(mb $((most - idle)))" '<= 25' 'threads' "$running" ''

# --- apt ----------------------------------------------------------------------------------------------------------------

mkdir -p apt/{etc/apt.conf.d,etc/preferences.d,state/lists/partial,cache/archives/partial,down}
: >apt/status
echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $fast/debian trixie main" >apt/etc/sources.list
cat >apt/apt.conf <<CONF
Dir::Etc "$work/apt/etc";
Dir::State "$work/apt/state";
Dir::State::status "$work/apt/status";
Dir::Cache "$work/apt/cache";
APT::Architecture "amd64";
APT::Sandbox::User "";
Acquire::Languages "none";
CONF
apt() { APT_CONFIG=$work/apt/apt.conf apt-get -qq "$@" >>log 2>&1; }
apt update
# Milliseconds that apt takes for all small packages with a depth of its pipeline and through a proxy.
download() {
    local start options=(-o "Acquire::http::Pipeline-Depth=$1" -o "Acquire::http::Proxy=http://$2")
    rm -f apt/down/*
    start=$(date +%s%N)
    (cd apt/down && APT_CONFIG=$work/apt/apt.conf apt-get -qq "${options[@]}" download "${names[@]}" >>"$work/log" 2>&1)
    echo $((($(date +%s%N) - start) / 1000000))
    [ "$(find apt/down -name '*.deb' | wc -l)" = "${#names[@]}" ]
}
smaller() { if (($1 == 0 || $2 < $1)); then echo "$2"; else echo "$1"; fi; }
compare_apt() {
    local us=0 them=0 other round now
    for ((round = 0; round < rounds; round++)); do
        # To nginx an address is the same with its host and without.
        now=$(download "$2" "127.0.0.1:$origin")
        them=$(smaller "$them" "$now")
        now=$(download "$2" "$ours")
        us=$(smaller "$us" "$now")
    done
    other=$(download "$2" "127.0.0.1:$cached")
    printf '%-40s %9s %9s %9s %7s   %s\n' "$1" "$us" "$them" "$other" "$(ratio "$us" "$them")" "$3"
    [ "$2" != 0 ] || printf '%-68s %9s   %s\n' '  acng / ibuild' "$(ratio "$other" "$us")" '>= 10'
}
printf '\n%-40s %9s %9s %9s %7s   %s\n' 'apt-get download of the small, ms' ibuild nginx acng ratio target
compare_apt 'pipelining' 10 '<= 1.2 x nginx'
compare_apt 'no pipelining' 0 '<= 1.2 x nginx'

# --- One cold file ------------------------------------------------------------------------------------------------------

proxy cold --mirror "$slow/debian"
big=$(cat big.paths)
curl -sSf --proxy "http://$proxy_address" "$slow/debian/$dists/InRelease" "$slow/debian/$(head -n 1 small.paths)" >/dev/null
first_byte() { curl -sSf -o /dev/null -w '%{time_starttransfer}\n' "$@"; }
direct=$(first_byte -r 0-999999 "$slow/debian/$big")
: >slow.requests
# Eight at once: the slowest first byte, and how many requests the mirror saw.
join() {
    local process client clients=()
    rm -f first.*
    for client in {1..8}; do
        first_byte --proxy "http://$1" "$slow/debian/$big" >"first.$client" &
        clients+=($!)
    done
    for process in "${clients[@]}"; do wait "$process"; done
    slowest=$(sort -n first.* | tail -n 1) requests=$(grep -cF "$big" slow.requests)
    : >slow.requests
}
after() { awk -v a="$1" -v b="$2" 'BEGIN { printf "%.0f", (a - b) * 1000 }'; }
printf '\n%-40s %9s %9s   %s\n' '8 clients, the large file, cold' ibuild acng target
join "$proxy_address"
# It knows files by host and path, whatever the port.
find acng -path "*${big##*/}*" -delete
ours_after=$(after "$slowest" "$direct") ours_asked=$requests
join "127.0.0.1:$cached"
printf '%-40s %9s %9s   %s\n' 'last first byte after the mirror'"'"'s, ms' "$ours_after" "$(after "$slowest" "$direct")" '<= 50' \
    'requests to the mirror' "$ours_asked" "$requests" 1

# --- lock --check -------------------------------------------------------------------------------------------------------

cat >project/ibuild.toml <<TOML
schema = 1
[project]
name = "bench"
epoch = 1767225600
[archive.debian]
suites = ["trixie"]
components = ["main"]
mirror = "$fast/debian"
[rootfs.bench]
steps = [{ name = "bootstrap", bootstrap = { archive = "debian", variant = "minbase" } }]
[image.bench]
rootfs = "bench"
formats = ["rootfs.tar.zst"]
disk = { size = "8 GiB" }
TOML
cd project
"$ibuild" -q lock >>../log 2>&1
: >../origin.requests
"$ibuild" -q lock --check >>../log 2>&1
printf '\n%-40s %9s   %s\n' 'lock --check, requests for one suite' "$(grep -c GET ../origin.requests)" 1
