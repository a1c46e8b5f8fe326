#!/usr/bin/env bash
# Builds dist/ from the last commit and tries it in new environments: docs/developing.md has the recipe.
# PYTHONS names the Pythons, as in PYTHONS="3.11 3.13"; those that this machine lacks are left out.
set -euo pipefail
cd "$(dirname "$0")/.."
pythons=${PYTHONS:-3.10 3.11 3.12 3.13}

stop() {
  echo "release-check: $*" >&2
  exit 1
}

[[ -z $(git status --porcelain) ]] || stop "there are changes that are not committed"
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' pyproject.toml)
grep -qE "^## \[$version\] - [0-9]{4}-[0-9]{2}-[0-9]{2}$" CHANGELOG.md ||
  stop "CHANGELOG.md has no section [$version] with a date"
make --no-print-directory lint
.venv/bin/pytest -q tests/package

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/source"
git archive HEAD | tar --extract --directory "$work/source"
rm -rf dist
.venv/bin/python -m build --outdir dist "$work/source" >"$work/build.log" 2>&1 || stop "$(<"$work/build.log")"
.venv/bin/twine check --strict dist/*

tried=()
for python in $pythons; do
  "python$python" -c '' 2>/dev/null || continue
  echo "Python $python"
  PYTHON=python$python scripts/setup.sh "$work/$python" "$(echo dist/*.whl)[all]"
  .venv/bin/python -m tests.support.installed "$work/$python"
  tried+=("$python")
done
[[ ${#tried[@]} -gt 0 ]] || stop "none of Python $pythons runs here"
echo "dist/ has FaceGraph $version, tried with Python ${tried[*]}."
