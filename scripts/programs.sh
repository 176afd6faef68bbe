#!/bin/sh
# Finds what the tests need besides Python: a Chromium for the page, the proxies of docs/deploy.md. What is missing is
# taken from the distribution where that can be, else the line says what to do. Without Chromium the tests cannot run;
# without a proxy its tests are skipped.
set -eu

has() {
  for name in "$@"; do
    if command -v "$name" >/dev/null 2>&1; then return 0; fi
  done
  return 1
}

install() {
  if [ "$(id -u)" != 0 ] || ! has apt-get; then return 1; fi
  echo "Installing $* for the tests (apt-get install) ..."
  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null
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

# The proxies of docs/deploy.md, each with its package. A machine that systemd runs would serve the web from its next start
# on, which nobody asked for.
missing=""
for pair in nginx:nginx-light haproxy:haproxy apache2:apache2 caddy:caddy; do
  if ! has "${pair%%:*}" "/usr/sbin/${pair%%:*}"; then missing="$missing ${pair##*:}"; fi
done
if [ -n "$missing" ] && [ ! -d /run/systemd/system ]; then
  # shellcheck disable=SC2086 # words, one a package
  if install_idle $missing; then missing=""; fi
fi
if [ -n "$missing" ]; then
  echo "The tests of proxies that are not installed are skipped. On Debian: sudo apt-get install$missing." >&2
fi

if ! has chromium chromium-browser google-chrome && ! install chromium fonts-noto-cjk; then
  echo "The browser tests need Chromium, which is missing here. On Debian: sudo apt-get install chromium. Elsewhere install it from your distribution, so that 'chromium' is on the PATH." >&2
  exit 1
fi

# Readers of event streams from npm, of the versions that tests/npm pins; they are kept beside the tests' pictures.
npm_readers() {
  if ! has npm || ! has node; then
    echo "The tests of npm's readers of event streams are skipped without node and npm. On Debian: sudo apt-get install npm." >&2
    return
  fi
  kept=tests/.artifacts/npm
  if cmp -s tests/npm/package-lock.json "$kept/package-lock.json" && [ -d "$kept/node_modules" ]; then return; fi
  rm -rf "$kept" && mkdir -p "$kept" && cp tests/npm/package.json tests/npm/package-lock.json "$kept"
  if ! (cd "$kept" && npm ci --ignore-scripts --no-audit --no-fund --silent); then
    rm -rf "$kept"
    echo "The tests of npm's readers of event streams are skipped: npm could not install them (is there a network?)." >&2
  fi
}
npm_readers
