#!/bin/sh
# build.sh [build|demo|test [--lint|--quick]|bench|image|playground|help] ...: the files that each word runs say what it does.
set -eu
cd "$(dirname "$0")"
word=${1:-build}
[ $# -eq 0 ] || shift
case $word in
  build) python3 -m bundle.pack "$@" && python3 -m bundle.pack_provisioner ;;
  demo)
    # Without xfs's tools the demo shows what ext4 can.
    python3 -m bundle.packages demo || true
    python3 -m bundle.pack && exec dist/flexvol demo "$@"
    ;;
  test) exec python3 -m bundle.check "$@" ;;
  bench) python3 -m bundle.pack && exec python3 -m tests.bench "$@" ;;
  image) python3 -m bundle.packages image && "$0" build && exec python3 -m bundle.image "$@" ;;
  playground) exec python3 -m tests.cluster.kube.playground "$@" ;;
  help) sed -n '2s/^# //p' "$0" ;;
  *) sed -n '2s/^# //p' "$0" >&2 && exit 2 ;;
esac
