#!/usr/bin/env bash
# Installs FaceGraph into a virtual environment, made with $PYTHON: scripts/setup.sh VENV PIP_ARGUMENT...
# `make setup` and `make release-check` call it.
set -euo pipefail
cd "$(dirname "$0")/.."
venv=$1
shift
python=${PYTHON:-python3}
pytorch=https://download.pytorch.org/whl/cpu

stop() {
  echo "setup: $*" >&2
  exit 1
}

check_machine() {
  [[ $PWD != *[[:space:]]* ]] ||
    stop "Ray cannot run from a path with a space: move the checkout out of '$PWD'"
  "$python" -c '' 2>/dev/null || stop "no $python: apt-get install python3 python3-venv"
  "$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' ||
    stop "$python is older than Python 3.10: name a newer one, as in make setup PYTHON=python3.12"
  "$python" -c 'import ensurepip, venv' 2>/dev/null ||
    stop "$python has no venv module: apt-get install python3-venv"
  [[ $(uname) != Linux ]] || "$python" -c '
import ctypes
for name in ("libGL.so.1", "libgthread-2.0.so.0"):
    ctypes.CDLL(name)' 2>/dev/null ||
    stop "OpenCV needs two system libraries: apt-get install libgl1 libglib2.0-0"
}

# Prints a line for each package of a megabyte or more; errors go to stderr as they are.
install() {
  "$venv/bin/pip" install --disable-pip-version-check --no-compile -c constraints.txt "$@" |
    sed -n -u -E \
      -e 's/^ *(Downloading|Using cached) ([^ ]*\/)?([^ -]+)-[^ ]* \(([0-9.]+ [MG]B)\)$/  \3, \4/p' \
      -e 's/^Installing collected packages.*/  unpacking .../p'
}

has_gpu() { nvidia-smi -L >/dev/null 2>&1; }

answers() {
  "$python" -c 'import sys, urllib.request as r; r.urlopen(sys.argv[1], timeout=10)' "$1" 2>/dev/null
}

has_pinned_pytorch() {
  local pinned installed
  pinned=$(sed -n 's/^torch==//p' constraints.txt)
  installed=$("$venv/bin/python" -c 'from importlib.metadata import version; print(version("torch"))' \
    2>/dev/null) && [[ ${installed%+*} == "$pinned" ]]
}

# PyTorch's own index has a build without CUDA, a third of the size. pip takes it because its version
# sorts as the newer one.
install_pytorch_for_cpu() {
  if answers "$pytorch/torch/"; then
    echo "PyTorch without CUDA, as there is no NVIDIA GPU:"
    install --no-deps --extra-index-url "$pytorch" torch
  else
    echo "$pytorch does not answer: PyTorch may come with CUDA, which is 2.5 GB more."
  fi
}

check_machine
if [[ ! -x $venv/bin/python ]]; then
  echo "Setting up $venv: usually 1 to 4 minutes; downloads 0.7 GB, with an NVIDIA GPU 3.2 GB."
  "$python" -m venv "$venv"
fi
has_gpu || has_pinned_pytorch || install_pytorch_for_cpu
echo "FaceGraph and its dependencies:"
install "$@"
"$venv/bin/python" -c 'import cv2' ||
  stop "OpenCV needs two system libraries: apt-get install libgl1 libglib2.0-0"
# Python compiles the modules that a graph needs, before the graph's processes do so all at once. pip
# would compile ten times as many. FaceGraph comes first: it switches the telemetry of the others off.
PYTHONDONTWRITEBYTECODE= "$venv/bin/python" -c 'import graph.app, graph.serve_private, onnxruntime, openvino'
