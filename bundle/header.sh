#!/bin/sh
# flexvol: a zip of Python sources behind this header. It finds an interpreter and starts it isolated from the node's
# own Python settings and packages; -c instead of the zip itself spares the import of runpy, a fifth of the start.
if [ -x /usr/bin/python3 ]; then
  python=/usr/bin/python3
elif [ -x /usr/libexec/platform-python ]; then
  python=/usr/libexec/platform-python
else
  python=$(command -v python3) || {
    echo '{"status": "Failure", "reason": "Internal", "message": "this node has no Python: install python3, 3.6 or newer"}'
    exit 0
  }
fi
exec "$python" -I -S -c '
import sys
if sys.version_info < (3, 6):
    print("{\"status\": \"Failure\", \"reason\": \"Internal\", \"message\": \"%s is older than Python 3.6\"}" % sys.executable)
    sys.exit()
sys.path.insert(0, sys.argv[1])
import flexvol
sys.exit(flexvol.main(sys.argv[2:]))
' "$0" "$0" "$@"
