#!/bin/sh
# Finds the programs that the tests need besides Python, and takes missing ones from the distribution where that can be.
# Those that are missing still are named in one line, and their tests are skipped; with --all that is an error, but for npm.
# Usage: programs.sh [--all] VENV
set -eu
strict=''
if [ "$1" = --all ]; then
  strict=yes
  shift
fi
venv=$1 missing='' packages='' lacking='' updated=''

has() {
  for name in "$@"; do
    if command -v "$name" >/dev/null 2>&1; then return 0; fi
  done
  return 1
}

browser_driver() { # Playwright brings a node of its own, which needs a library that not every distribution installs
  set -- "$venv"/lib/python*/site-packages/playwright/driver/node
  [ ! -x "$1" ] || "$1" --version >/dev/null 2>&1
}

install() {
  if [ "$(id -u)" != 0 ] || ! has apt-get; then return 1; fi
  echo "Installing $* for the tests (apt-get install) ..."
  if [ -z "$updated" ]; then apt-get update -qq && updated=yes; fi
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}

# Installs servers and starts none of them: the distribution asks this file before it starts one.
install_idle() {
  policy=/usr/sbin/policy-rc.d
  if [ "$(id -u)" != 0 ] || [ -e "$policy" ]; then
    install "$@"
    return
  fi
  trap 'rm -f "$policy"' EXIT INT TERM
  printf '#!/bin/sh\nexit 101\n' >"$policy"
  chmod 755 "$policy"
  if install "$@"; then status=0; else status=1; fi
  rm -f "$policy"
  trap - EXIT INT TERM
  return $status
}

# shellcheck disable=SC2086 # packages are words
need() { # WORDS PACKAGES [HOW]: the missing thing, the packages that bring it, and the function that installs them
  if ! ${3:-install} $2; then lack "$@"; fi
}

lack() { # WORDS PACKAGES
  missing="$missing${missing:+, }$1" packages="$packages $2"
}

need_server() { # likewise, but a machine that systemd runs would serve the web from then on, which nobody asked for
  if [ -d /run/systemd/system ]; then
    lack "$@"
  else
    need "$1" "$2" install_idle
  fi
}

has chromium chromium-browser google-chrome || need Chromium "chromium fonts-noto-cjk"
browser_driver || need "libatomic for Playwright" libatomic1
# The proxies of docs/deploy.md, each with its package.
for pair in nginx:nginx-light haproxy:haproxy apache2:apache2 caddy:caddy; do
  has "${pair%%:*}" "/usr/sbin/${pair%%:*}" || need_server "${pair%%:*}" "${pair##*:}"
done

lacking=$missing
# Debian's npm is some hundred packages, so it is taken where it is and never installed.
{ has node && has npm; } || lack "node with npm" npm

if [ -n "$missing" ]; then
  echo "Missing on this machine: $missing. The tests that need it are skipped. On Debian: sudo apt-get install$packages" >&2
  if [ -n "$strict" ] && [ -n "$lacking" ]; then exit 1; fi
fi

# Clients and readers of event streams from npm, of the versions that tests/web/npm pins; they are kept beside the tests'
# pictures. One of them names a server of its own as a peer, which no test needs.
npm_readers() {
  if ! has npm || ! has node; then return; fi
  kept=tests/.artifacts/npm
  if cmp -s tests/web/npm/package-lock.json "$kept/package-lock.json" && [ -d "$kept/node_modules" ]; then return; fi
  rm -rf "$kept" && mkdir -p "$kept" && cp tests/web/npm/package.json tests/web/npm/package-lock.json "$kept"
  if ! (cd "$kept" && npm ci --legacy-peer-deps --ignore-scripts --no-audit --no-fund --silent); then
    rm -rf "$kept"
    echo "The tests of npm's clients are skipped: npm could not install them (is there a network?)." >&2
  fi
}
npm_readers
