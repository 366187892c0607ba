#!/bin/bash
# Sourced: the proofs of rows that both machines have.
names() { same host hostname && has 127.0.0.1 getent ahostsv4 host.localdomain && same user id -un 1000 && same 1000 id -g user; }
groups_of_user() {
    local group
    for group in adm cdrom audio dip sudo plugdev; do has " $group " echo " $(id -Gn user) " || return 1; done
}
hinted_password() {
    local hash salt
    hash=$(getent shadow user | cut -d: -f2)
    salt=$(cut -d'$' -f3 <<<"$hash")
    grep -q 'password `changeme`' /etc/issue && [ -n "$salt" ] &&
        python3 -W ignore - "$hash" <<'PYTHON'
import ctypes, sys
crypt = ctypes.CDLL("libcrypt.so.1").crypt
crypt.restype = ctypes.c_char_p
sys.exit(crypt(b"changeme", sys.argv[1].encode()) != sys.argv[1].encode())
PYTHON
}
apt_is_set() {
    has 'Acquire::Retries "3"' apt-config dump && has 'Acquire::http::Timeout "300"' apt-config dump &&
        has 'APT::Periodic::Enable "0"' apt-config dump && has -- '--force-confold' apt-config dump &&
        has ":$VEIL_SOCKS_APT\"" apt-config dump Acquire::http::Proxy
}
no_timer_of_apt() { same masked systemctl is-enabled apt-daily.timer && fails systemctl is-active apt-daily.timer apt-daily-upgrade.timer && same masked systemctl is-enabled apt-daily-upgrade.timer; }
no_time_daemon() { fails systemctl is-active systemd-timesyncd ntp chrony && lacks ':123 ' ss -Hlnu; }
clock_of_2000() {
    local now
    now=$(date +%s)
    date --set '2000-01-01' >/dev/null
    fails /usr/lib/veil/time --sane
    local status=$?
    date --set "@$now" >/dev/null
    [ $status = 0 ] && /usr/lib/veil/time --sane
}
banned_have_no_candidate() {
    local package
    for package in popularity-contest ntp systemd-timesyncd unattended-upgrades; do
        fails apt-get --simulate install "$package" || { echo "$package can be installed"; return 1; }
        lacks 'Candidate: [0-9]' apt-cache policy "$package" || return 1
    done
}
swap() {
    has /swapfile swapon --show=NAME --noheadings && same 0 cat /proc/sys/vm/swappiness &&
        same "$VEIL_SWAP_UUID" blkid --probe --match-tag UUID --output value /swapfile &&
        at_most 536870912 "$(stat -c %s /swapfile)"
}
disk_ids() { same "$VEIL_FS_UUID" findmnt --noheadings --output UUID / && has noatime findmnt --noheadings --output OPTIONS / && has errors=remount-ro cat /etc/fstab; }
machine_id() { file_has b08dfa6083e7567a1921a715000001fb /etc/machine-id && file_has b08dfa6083e7567a1921a715000001fb /var/lib/dbus/machine-id; }
origin() { same Veil dpkg-vendor --query Vendor || has 'Vendor: Veil' cat /etc/dpkg/origins/default; }
release() { has ID=veil cat /etc/os-release && has ID_LIKE=debian cat /etc/os-release; }
may_power_off() { has /usr/sbin/poweroff as_user sudo -n -l && has 'NOPASSWD: /usr/sbin/shutdown' as_user sudo -n -l; }
autologin() { has user ps -o user= -t tty1 && has bash ps -o comm= -t tty1; }
motd() { [ -f /etc/motd ] && [ ! -L /etc/motd ] && has veil-help cat /etc/motd && has licence cat /etc/motd; }
kernel_line() { has ipv6.disable=1 cat /proc/cmdline && has "root=UUID=$VEIL_FS_UUID" cat /proc/cmdline && lacks /dev/ cat /proc/cmdline; }
# htop is in no image.
# Only an interactive shell asks for suggestions. In a session of its own there is no terminal that it could wait for.
types() { as_user setsid --wait bash -ic "$1" </dev/null; }
suggests() {
    has 'apt install htop' types htop && lacks update-command-not-found types htop &&
        has 'not found' types no-such-command-anywhere
}
# Status 1 is curl's word for a protocol that it may not use.
scurl_refuses_http() { scurl --max-time 5 http://127.0.0.1/ 2>/dev/null; [ $? = 1 ]; }
kernel_settings() {
    local name
    for name in net.ipv4.ip_forward net.ipv4.conf.all.accept_redirects net.ipv4.conf.all.send_redirects \
        net.ipv4.conf.all.accept_source_route net.ipv4.conf.eth0.accept_redirects net.ipv4.conf.eth0.accept_source_route; do
        same 0 sysctl -n "$name" || { echo "$name"; return 1; }
    done
    same 1 sysctl -n net.ipv4.conf.all.rp_filter && [ ! -e /proc/sys/net/ipv6 ]
}
nothing_failed() { same '' systemctl list-units --state=failed --no-legend --plain; }

shared_proofs() {
    proof R11 "names and the user" names
    proof R11 "groups of the user" groups_of_user
    proof R11 "root is locked" has 'root L' passwd -S root
    proof R12 "apt asks through Tor, slowly and patiently" apt_is_set
    proof R12 "no timer fetches updates" no_timer_of_apt
    proof R13 "pending updates are noticed without rights" as_user bash -c 'veil-check --list | grep -q updates && apt-get --simulate dist-upgrade >/dev/null'
    proof R14 "no daemon for time" no_time_daemon
    proof R14 "a clock of the year 2000 is refused" clock_of_2000
    proof R15 "banned packages have no candidate" banned_have_no_candidate
    proof R18 "swap, and not before it is needed" swap
    proof R19 "identifiers of the disk" disk_ids
    proof R20 "the machine id is everybody's" machine_id
    proof R21 "origin" origin
    proof R21 "os-release" release
    proof R23 "the user may switch off" may_power_off
    proof R23 "sudoers parse" visudo -c
    proof R24 "the user is logged in on tty1" autologin
    proof R24 "the password in /etc/issue is the real one" hinted_password
    proof R24 "motd" motd
    proof R25 "the console is not blanked" file_has 0 /sys/module/kernel/parameters/consoleblank
    proof R26 "veil-check --offline" as_user veil-check --offline
    proof R27 "the kernel's command line" kernel_line
    proof R28 "an unknown command gets a suggestion" suggests
    proof R29 "scurl refuses plain HTTP" scurl_refuses_http
    proof R30 "no unit has failed" nothing_failed
    proof R30 "dpkg finds nothing half done" same '' dpkg --audit
    proof G3 "settings of the kernel" kernel_settings
}
