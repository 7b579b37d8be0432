#!/bin/sh
# build.sh [build|demo|test|bench|image|playground] ...: words to commands; what they do is in the files they name.
set -eu
cd "$(dirname "$0")"
word=${1:-build}
[ $# -eq 0 ] || shift
case $word in
  build) python3 bundle/pack.py "$@" && python3 bundle/pack_provisioner.py ;;
  demo) python3 bundle/pack.py && exec dist/flexvol demo "$@" ;;
  test) exec python3 bundle/check.py "$@" ;;
  bench) python3 bundle/pack.py && exec python3 tests/bench/callouts.py "$@" ;;
  image) "$0" build && exec python3 bundle/image.py "$@" ;;
  playground) exec python3 -m tests.cluster.kube.playground "$@" ;;
  *) sed -n '2p' "$0" >&2 && exit 2 ;;
esac
