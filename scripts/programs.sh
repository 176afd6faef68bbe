#!/bin/sh
# Finds what the tests need besides Python, and takes what is missing from the distribution where that can be. What is
# still missing then is named in one line, and its tests are skipped; with --all that is an error.
# Usage: programs.sh [--all] VENV
set -eu
strict=''
if [ "$1" = --all ]; then
  strict=yes
  shift
fi
venv=$1 missing='' packages='' updated=''

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

need() { # WORDS PACKAGES: what is missing, and the packages that bring it
  if ! install $2; then
    missing="$missing${missing:+, }$1" packages="$packages $2"
  fi
}

need_server() { # likewise, but a machine that systemd runs would serve the web from then on, which nobody asked for
  if [ -d /run/systemd/system ]; then
    missing="$missing${missing:+, }$1" packages="$packages $2"
  else
    need "$1" "$2"
  fi
}

has chromium chromium-browser google-chrome || need Chromium "chromium fonts-noto-cjk"
browser_driver || need "libatomic for Playwright" libatomic1
has nginx /usr/sbin/nginx || need_server nginx nginx-light

if [ -n "$missing" ]; then
  echo "Missing on this machine: $missing. The tests that need it are skipped. On Debian: sudo apt-get install$packages" >&2
  [ -z "$strict" ] || exit 1
fi
