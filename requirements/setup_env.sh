#!/usr/bin/env bash
# Builds .venv (demo: classification and super-resolution, nothing compiled) or .venv-full (all
# four task libraries, mmcv with its operators, everything the tests use).
#
#   requirements/setup_env.sh demo|full          PYTHON=python3.12 chooses the interpreter
#
# A finished environment carries a stamp of everything it was made from, so that running this
# again is free. Without a matching stamp every step is taken again; pip skips what is there.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

profile=${1:-}
case $profile in
    demo) venv=$PWD/.venv ;;
    full) venv=$PWD/.venv-full ;;
    *) echo "usage: $0 demo|full" >&2; exit 2 ;;
esac

say() { echo "[env $profile] $*"; }
die() { echo "[env $profile] $*" >&2; exit 1; }

# --- Which Python? The one named, else the one this environment was built with, else python3.
chosen=${PYTHON:-}
[ -z "$chosen" ] && "$venv/bin/python" -c '' 2>/dev/null && chosen=$venv/bin/python
chosen=${chosen:-python3}
python=$("$chosen" -c 'import sys; print(sys._base_executable or sys.executable)' 2>/dev/null) ||
    die "'$chosen' does not run; name a Python 3.11 or newer: make $profile PYTHON=python3.12"
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    die "Python 3.11 or newer is needed, '$chosen' is $("$python" -V 2>&1 | cut -d' ' -f2);" \
        "name another one: make $([ "$profile" = full ] && echo test || echo demo) PYTHON=python3.12"

# --- Anything to do?
# The path counts, because an environment that was moved or copied does not work.
stamp=$("$python" - "$venv" requirements/*.txt requirements/setup_env.sh requirements/check_env.py setup.py pyproject.toml <<'PY'
import hashlib, pathlib, sys
digest = hashlib.sha256(f'{sys.version} {sys.argv[1]}'.encode())
for name in sys.argv[2:]:
    digest.update(pathlib.Path(name).read_bytes())
print(digest.hexdigest())
PY
)
if [ "$(cat "$venv/.stamp" 2>/dev/null)" = "$stamp" ] && "$venv/bin/python" -c '' 2>/dev/null; then
    say "up to date"
    exit 0
fi

# --- The environment itself
export PIP_CONSTRAINT=$PWD/requirements/constraints.txt PIP_DISABLE_PIP_VERSION_CHECK=1
# Some shells export these; either would let packages from elsewhere in.
unset PYTHONPATH PYTHONHOME
rm -f "$venv/.stamp"
wanted=$("$python" -V 2>&1)
if [ "$("$venv/bin/python" -V 2>&1)" != "$wanted" ] || ! "$venv/bin/python" -m pip -V >/dev/null 2>&1
then
    say "new virtual environment in ${venv##*/}, $wanted (10 s)"
    "$python" -m venv --clear "$venv"
fi
site=$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
# pip writes INSTALLER after all other files of a package: without it, an earlier run was
# stopped in the middle, and pip would take the half for the whole.
for info in "$site"/*.dist-info; do
    if [ -d "$info" ] && [ ! -e "$info/INSTALLER" ]; then
        say "repairing $(basename "$info" .dist-info)"
        rm -rf "$info"
    fi
done

pip() { "$venv/bin/python" -m pip install -qq "$@"; } # -qq: errors only

say "build tools (5 s)"
pip setuptools wheel
say "torch and torchvision (1 minute, downloads included)"
pip torch torchvision

if [ "$profile" = demo ]; then
    say "mmcv-lite (10 s)"
    pip mmcv-lite
    extras=cls,sr,demo,fit,plot
else
    pip ninja psutil cython
    say "mmcv with its operators (compiling takes 3 minutes on two cores, once: pip keeps the wheel)"
    # Nearly all of it is torch's headers, read by each of 77 files. Here the compiler reads them
    # once and keeps what it made of them (.gch); where it can't use that, it reads the header.
    header=$venv/torch_types.h flags='-O2 -g0 -fPIC -std=c++17'
    includes=$("$venv/bin/python" -W ignore -c 'import sysconfig, torch.utils.cpp_extension as ext
print(*(f"-I{path}" for path in [*ext.include_paths(), sysconfig.get_path("include")]))')
    echo '#include <torch/types.h>' >"$header"
    # shellcheck disable=SC2086  # options, several in one string
    [ -d "$site/mmcv/ops" ] ||
        "${CXX:-c++}" $flags $includes -w -x c++-header "$header" -o "$header.gch" || rm -f "$header.gch"
    CFLAGS="$flags -include $header" MMCV_WITH_OPS=1 pip --no-build-isolation mmcv
    rm -f "$header" "$header.gch"
    say "xtcocotools, compiled for this numpy (15 s)"
    pip --no-binary xtcocotools --no-build-isolation xtcocotools
    extras=all
fi

say "mmcompress and the libraries it needs (1 minute)"
# compat: a plain path entry. openmim and mmengine look for the package beside its metadata, where
# an editable install has nothing; the link to .mim gives them what they want.
pip --no-build-isolation --config-settings editable_mode=compat --editable ".[$extras]"
mkdir -p "$site/mmcompress"
ln -sfn "$PWD/mmcompress/.mim" "$site/mmcompress/.mim"
if [ "$profile" = full ]; then
    say "test tools (20 s)"
    pip -r requirements/tests.txt
    # Last, or every later pip call would complain about chumpy, see requirements/pose.txt.
    say "mmpose (5 s)"
    pip --no-deps mmpose
fi

say "trying the imports (10 s)"
"$venv/bin/python" -W ignore requirements/check_env.py "$profile"
echo "$stamp" >"$venv/.stamp"
say "done"
