#!/usr/bin/env bash
# spark-submit with this checkout's Python and JVM: submit.sh jobs/extract.py --config ...
# SPARK_ARGS holds further spark-submit options (default: conf/spark-local.conf).
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
[ -x "$root/.venv/bin/spark-submit" ] || { echo "not set up yet: run make setup" >&2; exit 1; }
if [ -s "$root/.venv/java_home" ]; then JAVA_HOME=$(cat "$root/.venv/java_home"); export JAVA_HOME; fi
if ! "${JAVA_HOME:-/nonexistent}/bin/java" -version >/dev/null 2>&1 && ! java -version >/dev/null 2>&1; then
  echo "no Java 17 or later found; run make setup, or set JAVA_HOME" >&2
  exit 2
fi
export PYSPARK_PYTHON="$root/.venv/bin/python" PYSPARK_DRIVER_PYTHON="$root/.venv/bin/python"
export PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}"
# Local runs talk to themselves only.
export SPARK_LOCAL_IP=${SPARK_LOCAL_IP:-127.0.0.1}
export SPARK_CONF_DIR=${SPARK_CONF_DIR:-$root/conf} # log4j2.properties
exec 3>&2
# shellcheck disable=SC2086
exec "$root/.venv/bin/spark-submit" ${SPARK_ARGS:---properties-file "$root/conf/spark-local.conf"} "$@" \
  2> >(grep -v --line-buffered -E '^WARNING: Using incubator modules' >&3)
