#!/usr/bin/env bash
# spark-submit with this checkout's Python and JVM: submit.sh jobs/extract.py --config ...
# CLUSTER=standalone (or yarn, kubernetes) takes conf/spark-$CLUSTER.conf in place of
# conf/spark-local.conf, and ships what `make dist` has packed; MASTER is the cluster's address.
# SPARK_ARGS holds further spark-submit options (without CLUSTER: in place of conf/spark-local.conf).
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
# Options may be several words; no word of them is a pattern of files.
set -f
# shellcheck disable=SC2206
options=(${SPARK_ARGS:-})
if [ -n "${CLUSTER:-}" ]; then
  [[ $CLUSTER =~ ^[A-Za-z0-9_-]+$ ]] || { echo "CLUSTER names conf/spark-<CLUSTER>.conf: letters, digits, '_' and '-'" >&2; exit 2; }
  dist=${DIST:-$root/dist}
  properties="$root/conf/spark-$CLUSTER.conf"
  [ -f "$properties" ] || { echo "no such cluster: CLUSTER=$CLUSTER, but $properties is not there" >&2; exit 2; }
  for archive in "$dist/code.zip" "$dist/environment.tar.gz"; do
    [ -f "$archive" ] || { echo "$archive is not there; run make dist" >&2; exit 2; }
  done
  # Executors unpack them beside themselves: nothing of ours is installed there.
  export PYSPARK_PYTHON=./environment/bin/python
  options=(--properties-file "$properties" --archives "$dist/code.zip#code,$dist/environment.tar.gz#environment" \
    ${MASTER:+--master "$MASTER"} "${options[@]}")
else
  # Local runs talk to themselves only.
  export SPARK_LOCAL_IP=${SPARK_LOCAL_IP:-127.0.0.1}
  [ ${#options[@]} -gt 0 ] || options=(--properties-file "$root/conf/spark-local.conf")
fi
export SPARK_CONF_DIR=${SPARK_CONF_DIR:-$root/conf} # log4j2.properties
exec 3>&2
exec "$root/.venv/bin/spark-submit" "${options[@]}" "$@" \
  2> >(grep -v --line-buffered -E '^WARNING: Using incubator modules' >&3)
