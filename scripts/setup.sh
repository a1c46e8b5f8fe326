#!/usr/bin/env bash
# Installs FaceGraph from this checkout into .venv: scripts/setup.sh EXTRA. `make` calls it.
set -euo pipefail
cd "$(dirname "$0")/.."
extra=$1
python=${PYTHON:-python3}
pytorch=https://download.pytorch.org/whl/cpu

stop() {
  echo "make: $*" >&2
  exit 1
}

check_machine() {
  [[ $PWD != *[[:space:]]* ]] ||
    stop "Ray cannot run from a path with a space: move the checkout out of '$PWD'"
  "$python" -c '' 2>/dev/null || stop "no $python: apt-get install python3 python3-venv"
  "$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' ||
    stop "$("$python" --version) is too old: name Python 3.10 or newer, as in PYTHON=python3.12 make"
  "$python" -c 'import ensurepip, venv' 2>/dev/null ||
    stop "$python has no venv module: apt-get install python3-venv"
  [[ $(uname) != Linux ]] ||
    "$python" -c 'import ctypes; [ctypes.CDLL(f"lib{x}.so.1") for x in ("GL", "xcb")]
ctypes.CDLL("libgthread-2.0.so.0")' 2>/dev/null ||
    stop "OpenCV needs two system libraries: apt-get install libgl1 libglib2.0-0"
}

# Prints a line for each package of a megabyte or more; errors go to stderr as they are. Python compiles
# a module when it first imports it, which takes half a minute less than pip's compiling all of them.
install() {
  .venv/bin/pip install --disable-pip-version-check --no-compile -c constraints.txt "$@" |
    sed -n -u -E \
      -e 's/^ *(Downloading|Using cached) ([^ ]*\/)?([^ -]+)-[^ ]* \(([0-9.]+ [MG]B)\)$/  \3, \4/p' \
      -e 's/^Installing collected packages.*/  unpacking, the longest step/p'
}

has_gpu() { nvidia-smi -L >/dev/null 2>&1; }

answers() {
  "$python" -c 'import sys, urllib.request as r; r.urlopen(sys.argv[1], timeout=10)' "$1" 2>/dev/null
}

has_pinned_pytorch() {
  local pinned installed
  pinned=$(sed -n 's/^torch==//p' constraints.txt)
  installed=$(.venv/bin/python -c 'from importlib.metadata import version; print(version("torch"))' \
    2>/dev/null) && [[ ${installed%+*} == "$pinned" ]]
}

# PyTorch's own index has a build without CUDA, a fifth of the size. pip takes it because its version
# sorts as the newer one.
install_pytorch_for_cpu() {
  if answers "$pytorch/torch/"; then
    echo "PyTorch without CUDA, as there is no NVIDIA GPU:"
    install --no-deps --extra-index-url "$pytorch" torch
  else
    echo "$pytorch does not answer: pip takes PyTorch elsewhere, from PyPI with CUDA (2.5 GB more)."
  fi
}

check_machine
if [[ ! -x .venv/bin/python ]]; then
  echo "Setting up .venv: usually 1 to 4 minutes and 0.7 GB to download (3.2 GB with an NVIDIA GPU)."
  "$python" -m venv .venv
fi
has_gpu || has_pinned_pytorch || install_pytorch_for_cpu
echo "FaceGraph and its dependencies, .[$extra]:"
install -e ".[$extra]"
.venv/bin/python -c 'import cv2' ||
  stop "OpenCV needs two system libraries: apt-get install libgl1 libglib2.0-0"
