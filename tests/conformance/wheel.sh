#!/bin/sh
# Builds the wheel, installs it bare into a clean environment outside the checkout, and uses it.
# Dependencies come from the development environment through a path file, so that what is
# tested is the wheel's own content and nothing is downloaded twice.
set -eu
PYTHON=${PYTHON:-.venv/bin/python}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$PYTHON" -m build --wheel --no-isolation --outdir "$work" . >"$work/build.log" 2>&1 || {
    cat "$work/build.log"
    exit 1
}
"$PYTHON" -m venv "$work/clean"
"$work/clean/bin/python" -m pip install -q --no-deps "$work"/distcnn-*.whl
"$PYTHON" - "$work/clean" <<'PY'
import pathlib, site, sys
target = next(pathlib.Path(sys.argv[1]).glob("lib/python*/site-packages"))
(target / "dependencies.pth").write_text(site.getsitepackages()[0] + "\n")
PY
cd "$work"
"$work/clean/bin/distcnn" --help >/dev/null
"$work/clean/bin/distcnn" --version
"$work/clean/bin/python" - <<'PY'
import distcnn, pathlib, sys
home = pathlib.Path(distcnn.__file__).resolve()
assert "clean" in str(home), f"the wheel is not what was imported: {home}"
from distcnn.config import conf_folder, load_config
load_config(pathlib.Path("demo"))
assert conf_folder().is_relative_to(home.parent), conf_folder()
assert (home.parent / "py.typed").is_file()
PY
"$work/clean/bin/distcnn" demo "$work/demo" --cluster serial \
    --set demo.stars=600 --set train.members=2 --set train.epochs=3 --set report.baselines=false \
    >"$work/demo.log" 2>&1 || { cat "$work/demo.log"; exit 1; }
test -s "$work/demo/catalogue.fits"
test -s "$work/demo/report/index.html"
echo "wheel: installed bare, demo ran"
