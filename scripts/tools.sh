#!/usr/bin/env bash
# The programs that the tests drive, from Debian's packages: installed where the rights are there, else named.
set -euo pipefail
missing=()
need() { command -v "$1" >/dev/null || missing+=("$2"); }
need prometheus prometheus
need promtool prometheus
need prometheus-alertmanager prometheus-alertmanager
need amtool prometheus-alertmanager
need victoria-metrics victoria-metrics
need h2load nghttp2-client
need wrk wrk
[ ${#missing[@]} -eq 0 ] && exit 0
mapfile -t missing < <(printf '%s\n' "${missing[@]}" | sort -u)
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -qq
  apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
else
  echo "The tests drive real programs that this machine lacks. Install them first:" >&2
  echo "    sudo apt-get install ${missing[*]}" >&2
  exit 1
fi
