#!/bin/sh
# Makes the virtual environment, or says in words what is missing. Usage: venv.sh PYTHON FOLDER
set -eu
python=$1 folder=$2
if ! command -v "$python" >/dev/null 2>&1; then
  echo "DeeChat needs Python 3.11 or newer, and '$python' was not found. On Debian: apt-get install -y python3-venv make" >&2
  exit 1
fi
if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
  echo "DeeChat needs Python 3.11 or newer; '$python' is $("$python" -V 2>&1). Name another: make run PYTHON=python3.12" >&2
  exit 1
fi
if [ ! -x "$folder/bin/python" ] || ! "$folder/bin/python" -m pip --version >/dev/null 2>&1; then
  if ! "$python" -m venv "$folder"; then
    echo "The virtual environment could not be made. On Debian: apt-get install -y python3-venv" >&2
    exit 1
  fi
fi
