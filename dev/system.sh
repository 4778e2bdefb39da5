#!/bin/sh
# What the tests need of the system beside Python: a browser, and Java for Spark. Does nothing when all is there; else installs it where
# it can (root, apt-get), else says in one line how. A line of NEEDS: Debian's package, and how its presence is told.
set -eu

NEEDS='
chromium          command -v chromium
fonts-dejavu-core test -d /usr/share/fonts/truetype/dejavu
default-jre-headless command -v java
'

missing=$(printf '%s\n' "$NEEDS" | while read -r package check; do
    if [ -n "$package" ] && ! sh -c "$check" >/dev/null 2>&1; then printf ' %s' "$package"; fi
done)
[ -n "$missing" ] || exit 0

if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "==> system packages (once):$missing"
    log=$(mktemp)
    # shellcheck disable=SC2086 # a list of names
    if (apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing) \
        >"$log" 2>&1; then
        rm -f "$log"
        exit 0
    fi
    tail -n 5 "$log" >&2
    rm -f "$log"
fi
echo "The tests need Debian's packages$missing (or the same of another system): sudo apt-get install$missing" >&2
exit 1
