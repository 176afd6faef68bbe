#!/bin/sh
# Lints the page's modules (oxlint) and checks their types (TypeScript, which reads their JSDoc). The page itself has no
# build step. Both programs come from npm, of the versions that scripts/js pins; where node with npm is missing or too
# old for them, one line names the checks that were left out.
# Usage: lint_js.sh VENV
set -eu
pins=scripts/js kept=$1/js

if ! command -v npm >/dev/null 2>&1 || ! node -e 'const [a, b] = process.versions.node.split("."); process.exit(a > 20 || (a == 20 && b >= 19) ? 0 : 1)' 2>/dev/null; then
  echo "The page's JavaScript was not checked: that needs node 20.19 or newer, with npm." >&2
  exit 0
fi
if ! cmp -s $pins/package-lock.json "$kept/package-lock.json" || [ ! -x "$kept/node_modules/.bin/tsc" ]; then
  echo "Installing the linter and the type checker of the page's JavaScript into $kept (about 50 MB, once) ..."
  rm -rf "$kept" && mkdir -p "$kept" && cp $pins/package.json $pins/package-lock.json "$kept"
  if ! (cd "$kept" && npm ci --ignore-scripts --no-audit --no-fund --silent); then
    rm -rf "$kept"
    echo "npm could not install them: is this machine on the network?" >&2
    exit 1
  fi
fi

"$kept/node_modules/.bin/oxlint" --config $pins/oxlintrc.json --deny-warnings deechat/static/js
# The vendored libraries are JavaScript too. Their types are inferred, and their errors are not ours.
found=$("$kept/node_modules/.bin/tsc" --project $pins/tsconfig.json --pretty false |
  awk '/^[^ ]/ { ours = !/static\/vendor\// } ours')
if [ -n "$found" ]; then
  printf '%s\n' "$found"
  exit 1
fi
