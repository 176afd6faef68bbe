#!/bin/sh
# Makes the virtual environment and installs DeeChat into it, or names in words the thing that is missing. A call that finds
# everything done says nothing; one that was interrupted is taken up by the next.
# Usage: venv.sh PYTHON FOLDER [EXTRA]; an empty PYTHON is python3, EXTRA is one of pyproject.toml.
set -euf
named=$1 python=${1:-python3} folder=$2 extra=${3-}
noted=$folder/.installed # line 1: where the folder was made; line 2: the state that is installed, missing until all of it is
log=$folder/install.log
tool=$folder/bin/python

fail() {
  printf '%s\n' "$@" >&2
  exit 1
}

look() {
  made_at='' installed=''
  if [ -f "$noted" ]; then
    { read -r made_at && read -r installed; } <"$noted" || true
  fi
}

place() {
  (cd "$folder" && pwd -P)
}

wanted() { # with an extra it begins as without, so that who has the tools of the tests has the server
  echo "$("$tool" -V) / $(cksum <pyproject.toml) /$extra"
}

look
# pip writes absolute paths into the files that it installs: of the interpreter, and of DeeChat itself.
if [ -n "$made_at" ] && [ "$made_at" != "$(place)" ]; then
  fail "This folder was moved: $folder was made as $made_at and works there alone. Call 'make clean', then this again."
fi
if [ -n "$installed" ] && [ -x "$tool" ]; then
  if [ -n "$named" ] && [ "$("$python" -V 2>&1)" != "$("$tool" -V)" ]; then
    fail "$folder holds $("$tool" -V), and PYTHON=$python is another. Call 'make clean', then this again."
  fi
  case $installed in "$(wanted)"*) exit 0 ;; esac
fi

if ! command -v "$python" >/dev/null 2>&1; then
  fail "DeeChat needs Python 3.11 or newer, and '$python' was not found. On Debian: apt-get install -y python3-venv make"
fi
if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
  fail "DeeChat needs Python 3.11 or newer; '$python' is $("$python" -V 2>&1). Name another: make run PYTHON=python3.12"
fi
if [ ! -x "$tool" ] || ! "$tool" -m pip --version >/dev/null 2>&1; then
  echo "Making $folder with $("$python" -V) ..."
  if ! "$python" -m venv "$folder"; then
    fail "The virtual environment could not be made. On Debian: apt-get install -y python3-venv"
  fi
fi
place >"$noted"

if [ -n "$extra" ]; then
  echo "Installing DeeChat, its libraries and the tools of its tests into $folder (about 400 MB, once) ..."
else
  echo "Installing DeeChat and its libraries into $folder (about 130 MB, once) ..."
fi
{
  if "$tool" -m pip install --disable-pip-version-check --progress-bar off --editable ".${extra:+[$extra]}" 2>&1; then
    wanted >>"$noted"
  fi
} | while IFS= read -r line; do # pip says much; the name of each package shows that it goes on
  printf '%s\n' "$line" >&3
  case $line in
    Collecting*) set -- $line && printf '%s ' "${2%%[<>=!~;\[]*}" ;;
    'Installing collected packages'*) printf '\nUnpacking them ...\n' ;;
    *'Retrying (Retry('*) printf '(no answer, trying again) ' ;;
  esac
done 3>"$log"
look
if [ -n "$installed" ]; then exit 0; fi

echo
grep -E '^ *(ERROR|error):' "$log" | tail -n 2 >&2 || true
if grep -qE 'connection broken by|Could not fetch URL|from versions: none' "$log"; then
  fail "The packages could not be fetched: pip reached no package index. Is this machine on the network? A proxy is named" \
    "by HTTPS_PROXY, an index of your own by PIP_INDEX_URL. Then call make again. All that pip said: $log"
fi
fail "pip could not install the packages. All that it said: $log. The next call of make goes on from here."
