#!/bin/bash
# Sourced by the lists of proofs: `proof ROW WHAT COMMAND...` runs a command and prints a line of the table.
. /usr/lib/veil/network
failures=0

proof() {
    local row=$1 what=$2 output
    shift 2
    if output=$("$@" 2>&1); then
        printf 'ok      %-5s %s\n' "$row" "$what"
    else
        printf 'FAILED  %-5s %s\n' "$row" "$what"
        [ -z "$output" ] || head -n 15 <<<"$output" | sed 's/^/        | /'
        failures=$((failures + 1))
    fi
}

# same EXPECTED COMMAND...: it prints exactly this.
same() {
    local expected=$1 found
    shift
    found=$("$@" 2>&1)
    [ "$found" = "$expected" ] || { printf 'expected: %s\nfound:    %s\n' "$expected" "$found"; return 1; }
}

# has WORD COMMAND...: a line of what it prints has this.
has() {
    local word=$1 found
    shift
    found=$("$@" 2>&1)
    grep -qF -- "$word" <<<"$found" || { printf 'no %s in:\n%s\n' "$word" "$found"; return 1; }
}

# The firewall's rules in the words of the newer release; the older one has others for some of them. A user's number is
# whatever it came to be.
ruleset() {
    local tor
    tor=$(id -u debian-tor 2>/dev/null || echo none)
    nft list ruleset | sed -e 's/ # handle.*//' -e 's/ip protocol 1 /ip protocol icmp /' -e 's/l4proto 6 /l4proto tcp /' \
        -e 's!tcp flags syn / fin,syn,rst,ack!tcp flags \& (fin | syn | rst | ack) == syn!' -e "s/skuid $tor /skuid debian-tor /"
}

lacks() { ! has "$@" >/dev/null; }
fails() { ! "$@" >/dev/null 2>&1; }
file_has() { same "$1" cat "$2"; }
as_user() { runuser -u user -- "$@"; }
at_most() { [ "$2" -le "$1" ] || { echo "$2 is more than $1"; return 1; }; }

# listens ADDRESS:PORT...: exactly these, and loopback.
foreign_listeners() { ss -Hlntu | awk '{ print $5 }' | grep -vE '^(127\.|\[::1\])' | sort -u; }

verdict() { [ "$failures" = 0 ]; }
