
# Put behind apt's own framework: its web server comes with a proxy, which apt is told to use.
changetowebserver() {
	server_alone "$@"
	local HERE="$(mktemp -d "$BETWEEN/${0##*/}.XXXXXX")"
	IBUILD_CACHE_DIR="$HERE/cache" "$IBUILD" -C "$HERE" proxy --listen 127.0.0.1:0 --max-age 0 --keyring "$KEYRING" \
		--mirror "http://localhost:$APTHTTPPORT" --security-mirror "http://localhost:$APTHTTPPORT" \
		>"$HERE/log" 2>"$HERE/said" </dev/null &
	# Its last lines are written when it stops.
	addtrap "kill $!; wait $! 2>/dev/null || true;"
	local TRIES=0
	while ! grep -q '^listens at ' "$HERE/said"; do
		TRIES=$((TRIES + 1))
		[ "$TRIES" -lt 300 ] || msgdie "the proxy does not listen: $(cat "$HERE/said")"
		sleep 0.1
	done
	sed -n 's/^listens at \(.*\)/Acquire::http::Proxy "\1";/p' "$HERE/said" >"$TMPWORKINGDIRECTORY/rootdir/etc/apt/apt.conf.d/99between"
}

# What is said to the web server itself is no request to an archive.
webserverconfig() {
	local CONF="$TMPWORKINGDIRECTORY/rootdir/etc/apt/apt.conf.d/99between"
	[ ! -e "$CONF" ] || mv "$CONF" "$TMPWORKINGDIRECTORY/between.conf"
	config_alone "$@"
	[ ! -e "$TMPWORKINGDIRECTORY/between.conf" ] || mv "$TMPWORKINGDIRECTORY/between.conf" "$CONF"
}
