#!/usr/bin/env bash
# Set up .venv: a virtual environment, the locked packages, a JVM. Quick when nothing changed.
#   PYTHON=python3.12 conf/environment/setup.sh    to choose the interpreter
set -euo pipefail
cd "$(dirname "$0")/../.."
here=conf/environment

fail() { printf 'setup: %s\n' "$1" >&2; exit 1; }
say() { printf 'setup: %s\n' "$1" >&2; }

# A broken or old `python3` may stand first on PATH: take the first interpreter that will do.
will_do() { "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; }
python=""
for candidate in ${PYTHON:-python3 python3.11 python3.12 python3.13}; do
  if will_do "$candidate"; then python=$(command -v "$candidate"); break; fi
done
[ -n "$python" ] || fail "needs Python 3.11, 3.12 or 3.13, found ${PYTHON:-python3}: $(${PYTHON:-python3} --version 2>/dev/null || echo none); \
install one (Debian: apt-get install python3 python3-venv) and say PYTHON=python3.11 make setup"

wanted=$(cat "$here"/*.txt "$here"/*.sh | sha256sum | cut -c1-16)-$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
if [ "$(cat .venv/.ready 2>/dev/null)" = "$wanted" ] && [ -x .venv/bin/python ]; then
  bash "$here/java.sh" check && exit 0
fi

free_mb=$(df -Pm . | awk 'NR==2 {print $4}')
[ "$free_mb" -ge 6000 ] || fail "needs 6 GB for packages, $free_mb MB are free in $PWD; free some disk and run again"

if [ ! -x .venv/bin/python ] || ! .venv/bin/python -m pip --version >/dev/null 2>&1; then
  rm -rf .venv
  say "virtual environment with $("$python" --version)"
  if ! "$python" -m venv .venv >/dev/null 2>&1; then
    rm -rf .venv
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
      say "installing python3-venv"
      { apt-get update -qq && apt-get install -y -qq python3-venv; } >/dev/null 2>&1 || true
    fi
    "$python" -m venv .venv || fail "python -m venv failed; on Debian: apt-get install python3-venv"
  fi
fi

log=.venv/setup.log
pip_install() {
  # Of 270 MB of Python most is never imported: what is, is compiled then.
  .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-compile "$@" >>"$log" 2>&1 && return
  tail -n 5 "$log" >&2
  if grep -qiE 'no space left' "$log"; then fail "the disk is full; free 6 GB and run again"; fi
  if grep -qiE 'connection|timed out|resolution|proxy|network|SSL|from versions: none' "$log"; then
    fail "packages could not be downloaded; check the network or proxy (or set PIP_INDEX_URL to a mirror) and run again"
  fi
  fail "installing packages failed; the whole output is in $log"
}

say "packages (about 3 GB, a few minutes; output in $log)"
: >"$log"
# torch is not in the lock: its build differs by machine (CPU or a CUDA version). Everything else is
# the full closure, so that no dependency may be added (--no-deps) and each has its hash.
pip_install "torch==$(sed -n 's/^torch==//p' $here/runtime.in)"
pip_install --no-deps --require-hashes -r "$here/lock.txt"
.venv/bin/python - <<'PY'
import pathlib, sysconfig
# The checkout itself, importable by jobs and by Spark's workers.
pathlib.Path(sysconfig.get_path("purelib"), "pairmill.pth").write_text(f"{pathlib.Path.cwd()}\n")
PY
bash "$here/java.sh" install
say "compiling kernels (a minute)"
.venv/bin/python -c 'from pipeline.extract.rows import warm_up; warm_up()' >>"$log" 2>&1 ||
  fail "the kernels of extract do not compile; the whole output is in $log"
printf '%s' "$wanted" >.venv/.ready
say "done"
