#!/bin/sh
# Finds a Chromium for the browser tests, installs the distribution's when it is missing and can, else says what to do.
set -eu
for name in chromium chromium-browser google-chrome; do
  if command -v "$name" >/dev/null 2>&1; then exit 0; fi
done
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
  echo "Installing Chromium for the browser tests (apt-get install chromium) ..."
  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium fonts-noto-cjk >/dev/null && exit 0
fi
echo "The browser tests need Chromium, which is missing here. On Debian: sudo apt-get install chromium. Elsewhere install it from your distribution, so that 'chromium' is on the PATH." >&2
exit 1
