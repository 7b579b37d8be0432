#!/bin/sh
# build.sh WORD ...: bundle/words.py has the words, and `./build.sh help` prints them.
set -eu
cd "$(dirname "$0")"
if ! python3 -c 'import sys; sys.exit(sys.version_info < (3, 8))' 2>/dev/null; then
  echo "build.sh: python3 is missing or older than 3.8; as root, on Debian: apt-get install python3; on Fedora:" \
    "dnf install python3; on SUSE: zypper install python3" >&2
  exit 1
fi
exec python3 -m bundle "$@"
