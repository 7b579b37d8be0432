#!/bin/sh
# flexvol: a zip of Python sources behind this header. It finds an interpreter and starts it isolated from the node's
# own Python settings and packages; -c instead of the zip itself spares the import of runpy, a fifth of the start.
# FLEXVOL_TOO_OLD: the interpreters that were tried and are older than Python 3.6, each with a colon behind it.
python=/usr/bin/python3
if [ ! -x $python ] || [ -n "$FLEXVOL_TOO_OLD" ]; then
  python=
  for each in /usr/bin/python3 /usr/libexec/platform-python "$(command -v python3)" \
    /usr/bin/python3.[0-9] /usr/bin/python3.[0-9][0-9]; do
    case "$FLEXVOL_TOO_OLD" in *"$each:"*) continue ;; esac
    if [ -x "$each" ]; then
      python=$each
      break
    fi
  done
fi
if [ -z "$python" ]; then
  why="this node has no Python"
  [ -z "$FLEXVOL_TOO_OLD" ] || why="the Pythons of this node are older than 3.6 (${FLEXVOL_TOO_OLD%:})"
  echo "{\"status\": \"Failure\", \"reason\": \"Internal\", \"message\": \"$why: install python3, 3.6 or newer\"}"
  exit 0
fi
exec "$python" -I -S -c '
import sys
if sys.version_info < (3, 6):
    import os
    os.environ["FLEXVOL_TOO_OLD"] = os.environ.get("FLEXVOL_TOO_OLD", "") + sys.argv[1] + ":"
    os.execv("/bin/sh", ["/bin/sh", sys.argv[2]] + sys.argv[4:])
sys.path.insert(0, sys.argv[2])
import flexvol
del sys.argv[:3]
sys.exit(flexvol.main(sys.argv))
' "$python" "$0" "$0" "$@"
