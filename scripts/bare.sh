#!/usr/bin/env bash
# Runs the README's commands as they stand there on a bare Debian: debootstrap makes one in a folder, the last commit is
# cloned into it, and each command is run by an ordinary user and by root. For people; it takes minutes and needs root.
#
#   scripts/bare.sh [--keep FOLDER] [--as USER] [--only COMMAND] SUITE
#
#   SUITE     bookworm, trixie, forky ...: one that the mirror of this machine has
#   --keep    leaves the root in FOLDER, and takes the one that is there already
#   --as      `person` or `root` alone
#   --only    `make run` or `make test` alone
#
# Mounts and processes live in namespaces that end with the script, however it ends.
set -euo pipefail

die() {
  echo "$*" >&2
  exit 1
}

here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
keep='' users='person root' only='' suite=''
while [ $# -gt 0 ]; do
  case $1 in
    --keep) keep=$2 && shift 2 ;;
    --as) users=$2 && shift 2 ;;
    --only) only=$2 && shift 2 ;;
    -*) die "There is no option $1; the head of $0 names them." ;;
    *) suite=$1 && shift ;;
  esac
done
[ -n "$suite" ] || die "Name a suite of Debian: $0 trixie"

# -- outside: a folder, and namespaces ----------------------------------------------------------------------------------

if [ -z "${BARE_ROOT-}" ]; then
  [ "$(id -u)" = 0 ] || die "$0 needs root, for debootstrap and chroot."
  command -v debootstrap >/dev/null || die "$0 needs debootstrap: apt-get install debootstrap"
  if [ -n "$keep" ]; then
    BARE_ROOT=$keep
  else
    BARE_ROOT=$(mktemp -d)
    trap 'rm -rf --one-file-system "$BARE_ROOT"' EXIT
  fi
  export BARE_ROOT
  unshare --mount --pid --fork --kill-child "$0" ${only:+--only "$only"} --as "$users" "$suite"
  exit
fi
root=$BARE_ROOT

# -- inside: the root ----------------------------------------------------------------------------------------------------

# This machine's means to reach its registries: the mirror, apt's options, pip's settings, authorities.
mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | grep -v security | head -n 1)
environment=(LANG=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin)
for name in http_proxy https_proxy no_proxy HTTP_PROXY HTTPS_PROXY NO_PROXY \
  PIP_INDEX_URL PIP_EXTRA_INDEX_URL PIP_TRUSTED_HOST PIP_CERT PIP_PROXY PIP_DEFAULT_TIMEOUT PORT; do
  if [ -n "${!name-}" ]; then environment+=("$name=${!name}"); fi
done

within() { # USER COMMAND: in a login of that user
  local home=/root
  [ "$1" = root ] || home=/home/$1
  chroot --userspec="$1:$1" "$root" env -i HOME="$home" USER="$1" "${environment[@]}" bash -c "cd && $2"
}

if [ ! -e "$root/etc/debian_version" ]; then
  echo "== debootstrap $suite"
  script=/usr/share/debootstrap/scripts/$suite
  [ -e "$script" ] || script=/usr/share/debootstrap/scripts/sid # a suite that is younger than debootstrap
  mkdir -p "$root"
  debootstrap --variant=minbase "$suite" "$root" "$mirror" "$script" >"$root.log" 2>&1 || die "$(tail -n 3 "$root.log")"
  rm "$root.log"
fi
mount -t proc proc "$root/proc"
mount -t devpts -o newinstance,ptmxmode=0666,mode=0620 devpts "$root/dev/pts"
mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
apt-config dump Acquire >"$root/etc/apt/apt.conf.d/99host"
[ -e "$root/etc/hosts" ] || cp /etc/hosts "$root/etc/hosts"
if [ -e /etc/pip.conf ]; then cp /etc/pip.conf "$root/etc/pip.conf"; fi
if ! grep -q '^person:' "$root/etc/passwd"; then chroot "$root" useradd --create-home --shell /bin/bash person; fi

# -- the README's lines --------------------------------------------------------------------------------------------------

section=$(sed -n '/^## Run it$/,/^## Connect/p' "$here/README.md" | sed -n '/^```sh$/,/^```$/p' | grep -v '^```')
packages=$(grep '^apt-get ' <<<"$section")
serve=$(grep '^make run' <<<"$section")
try=$(grep '^make test' <<<"$section")

echo "== root: $packages"
within root "apt-get update -qq && DEBIAN_FRONTEND=noninteractive $packages" >"$root/apt.log" 2>&1 || die "$(cat "$root/apt.log")"
for file in "${PIP_CERT-}" "$(sed -n 's/^ *cert *= *//p' /etc/pip.conf 2>/dev/null || true)"; do # apt has written its own
  if [ -f "$file" ]; then install -D -m 644 "$file" "$root$file"; fi
done
git -C "$here" -c safe.directory="$here" bundle create --quiet "$root/tmp/deechat.bundle" HEAD
chmod 644 "$root/tmp/deechat.bundle"

megabytes() { # USER
  within "$1" 'du -sm deechat/.venv | cut -f1'
}

try_serving() { # USER: until a question is answered, then as Ctrl+C
  local began=$SECONDS log=$root/serve-$1.log url=http://127.0.0.1:${PORT-8000} group
  set -m
  within "$1" "cd deechat && $serve" >"$log" 2>&1 &
  group=$!
  set +m
  until within "$1" "curl -sf $url/api/ping" >/dev/null; do
    kill -0 "$group" 2>/dev/null || die "$(cat "$log")"
    sleep 0.5
  done
  echo "   serves after $((SECONDS - began)) s, .venv has $(megabytes "$1") MB"
  within "$1" "curl -sN $url/api/workspace/default/stream-chat -H 'Content-Type: application/json' \
    -d '{\"message\": \"what is 17% of 2,340?\"}'" | grep -o '397\.8' | head -n 1 | sed 's/^/   answers: /'
  kill -INT -- "-$group"
  local code=0
  wait "$group" || code=$?
  sed 's/^/   | /' "$log"
  echo "   stopped, make's exit code is $code"
}

try_testing() { # USER
  local began=$SECONDS log=$root/test-$1.log code=0
  within "$1" "cd deechat && $try" >"$log" 2>&1 || code=$?
  grep -E '^(Missing|Installing|FAILED|ERROR|SKIPPED)|^=+ .* in [0-9.]+s' "$log" | sed 's/^/   | /' || true
  echo "   exit code $code after $((SECONDS - began)) s, .venv has $(megabytes "$1") MB"
  [ "$code" = 0 ] || failed=yes
}

failed=''
echo "== $(chroot "$root" python3 -V), $(git -C "$here" -c safe.directory="$here" log -1 --format=%h)"
for user in $users; do
  within "$user" 'rm -rf deechat && git clone --quiet /tmp/deechat.bundle deechat 2>/dev/null'
  if [ "$only" != 'make test' ]; then
    echo "== $user: $serve"
    try_serving "$user"
  fi
  if [ "$only" != 'make run' ]; then
    echo "== $user: $try"
    try_testing "$user"
  fi
done
[ -z "$failed" ] || die "== Not all ended well; $root/test-*.log (with --keep) has the rest."
echo "== All ended well on $suite."
