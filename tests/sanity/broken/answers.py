"""Drivers with faults in their answers."""

from __future__ import annotations

from tests.sanity.broken import Broken
from tests.sanity.drivers import PROVISIONING, PYTHON, SH

_CAPABILITIES = '    return {"capabilities": capabilities}\n'
_DELETE = "def delete(text: str) -> Reply:\n"
_END = "    return 0\n"
_EXPANDFS = (
    "def expandfs(text: str, device: str, path: str, new_bytes: str, old_bytes: str) -> Reply:\n"
)
_INIT = "def init() -> Reply:\n"
_MOUNT = "def mount(path: str, text: str) -> Reply:\n"
_UNKNOWN = 'return {"status": "Not supported"}'

# However busy the machine is: init takes many times as long as the start of the interpreter took.
_SLOW = {
    "import sys\n": "import sys\nimport time\n",
    _INIT: _INIT + "    ticks = float(open('/proc/self/stat').read().rsplit(')')[1].split()[19])\n"
    "    age = time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf('SC_CLK_TCK')\n"
    "    time.sleep(4 + 10 * age)\n",
}

DRIVERS = (
    Broken("one-document", PYTHON, {_MOUNT: _MOUNT + '    print("mounting", path)\n'}),
    Broken(
        "one-document", SH, {'do_mount "$2" "$3" ;;': 'do_mount "$2" "$3"; echo mounted >&2 ;;'}
    ),
    Broken(
        "one-document",
        PYTHON,
        {_EXPANDFS: _EXPANDFS + '    print("growing", path)\n'},
        "in expandfs",
        "expandfs",
    ),
    Broken(
        "one-document",
        PROVISIONING,
        {_DELETE: _DELETE + '    print("deleting", text)\n'},
        "in delete",
        "delete",
    ),
    Broken("value-types", PYTHON, {'"attach": ATTACH': '"attach": str(ATTACH).lower()'}),
    Broken("value-types", SH, {'"attach": false': '"attach": "false"'}),
    Broken("capabilities-null", PYTHON, {_CAPABILITIES: '    return {"capabilities": None}\n'}),
    Broken("status-words", PYTHON, {'reply["status"] = "Success"': 'reply["status"] = "success"'}),
    Broken("key-case", PYTHON, {'reply["status"] = "Success"': 'reply["Status"] = "Success"'}),
    Broken("key-case", PYTHON, {'"attach": ATTACH': '"Attach": ATTACH'}, "of a capability"),
    Broken(
        "key-case",
        PROVISIONING,
        {'return {"volume": made}': 'return {"Volume": made}'},
        "of the provisioner's",
    ),
    Broken(
        "exit-status-of-success",
        PYTHON,
        {_END: '    return int(sys.argv[1] == "mount" and reply["status"] == "Success")\n'},
    ),
    Broken("init", PYTHON, {_CAPABILITIES: '    raise Failed("the shelf is not there")\n'}),
    Broken(
        "init",
        SH,
        {
            'if [ "$1" = init ]; then\n': '[ "$1" != init ] || answer Failure broken\n'
            "if false; then\n"
        },
    ),
    Broken("init-fast", PYTHON, _SLOW),
    Broken(
        "init-changes-nothing",
        PYTHON,
        {
            _INIT: _INIT + '    if not is_mounted("/mnt"):\n'
            '        run(["mount", "-t", "tmpfs", "none", "/mnt"])\n'
        },
    ),
    Broken("attach-stated", PYTHON, {'        "attach": ATTACH,\n': ""}),
    Broken("attach-stated", SH, {'"attach": false, ': ""}),
    Broken("capabilities-stated", PYTHON, {'        "supportsMetrics": True,\n': ""}),
    Broken("requires-fs-resize", PYTHON, {'"requiresFSResize": True': '"requiresFSResize": False'}),
    Broken(
        "unknown-call",
        PYTHON,
        {_UNKNOWN: 'return {"status": "Failure", "message": "usage: shelf CALL"}'},
    ),
    Broken(
        "unknown-call", SH, {'*) answer "Not supported" ;;': "*) echo usage: shelf CALL; exit 1 ;;"}
    ),
    Broken(
        "driver-directory",
        PYTHON,
        {_MOUNT: _MOUNT + '    write(os.path.join(os.path.dirname(__file__), "last"), path)\n'},
    ),
    Broken(
        "driver-directory",
        PYTHON,
        {
            _MOUNT: _MOUNT + '    busy = os.path.join(os.path.dirname(__file__), "busy")\n'
            "    os.mkdir(busy)\n    os.rmdir(busy)\n"
        },
        "for a moment",
    ),
    Broken("driver-directory", SH, {'do_unmount "$2" ;;': 'do_unmount "$2"; chmod 755 "$0" ;;'}),
)
