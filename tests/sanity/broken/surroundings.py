"""Drivers that do not work with what they find around themselves on some nodes."""

from __future__ import annotations

from tests.sanity.broken import Broken
from tests.sanity.drivers import PROVISIONING, PYTHON, SH

_BIND = "    bind(device, path, options)\n"
_DAEMON = '    import subprocess\n\n    subprocess.Popen(["sleep", "40"])\n'
_INIT = "def init() -> Reply:\n"
_MOUNT = "def mount(path: str, text: str) -> Reply:\n"
_PROVISION = "def provision(text: str) -> Reply:\n"
_SH_MOUNT = 'do_mount "$2" "$3" ;;'
_SH_DIRECTORY = '    directory=$(option "$2" directory)\n'
_DEVICE = "    device = device_of(options)\n    credentials"
_OPTIONS = "    options = json.loads(text)\n    device = device_of(options)\n    credentials"
# The message stands in the answer as it is, but for the lines of mount's own words.
_RAW_MESSAGE = {
    "    print(json.dumps(reply))\n": "    text = json.dumps(reply)\n"
    '    if "message" in reply:\n'
    '        message = reply["message"].replace("\\n", " ")\n'
    '        text = \'{"status": "Failure", "message": "\' + message + \'"}\'\n'
    "    print(text)\n"
}

DRIVERS = (
    Broken(
        "output-held",
        PYTHON,
        {_BIND: _BIND + _DAEMON},
    ),
    Broken("output-held", PYTHON, {_INIT: _INIT + _DAEMON}, "by init", "init"),
    Broken(
        "output-held", PROVISIONING, {_PROVISION: _PROVISION + _DAEMON}, "by provision", "provision"
    ),
    Broken("output-held", SH, {'do_mount "$2" "$3" ;;': 'do_mount "$2" "$3"; sleep 40 & ;;'}),
    Broken(
        "unknown-option",
        PYTHON,
        {
            _OPTIONS: "    for key in json.loads(text):\n"
            '        if "/" not in key and key != "directory":\n'
            '            sys.exit("the option is unknown: " + key)\n' + _OPTIONS
        },
    ),
    Broken(
        "option-characters",
        PYTHON,
        {_OPTIONS: _OPTIONS.replace("loads(text)", 'loads(text.replace("\\\\", ""))')},
    ),
    Broken(
        "option-characters",
        SH,
        {
            _SH_MOUNT: 'case $3 in *\\\\*) answer Failure "escapes" ;; esac\n'
            '        do_mount "$2" "$3" ;;'
        },
    ),
    Broken(
        "option-characters",
        SH,
        {_SH_MOUNT: 'case $3 in *\\\\*) exit 3 ;; esac\n        do_mount "$2" "$3" ;;'},
        "without an answer",
        "with strange characters in an option",
    ),
    Broken(
        "option-characters",
        PYTHON,
        _RAW_MESSAGE,
        "with a message that is no JSON",
        "at the end of the option directory",
    ),
    Broken(
        "option-characters",
        PYTHON,
        {
            'checked(options["directory"])': '"data"',
            "        raise\n": '        raise Failed("cannot mount " + options["directory"])\n',
            **_RAW_MESSAGE,
        },
        "with such a message where the mount fails",
        "the kernel refuses to mount",
    ),
    Broken(
        "option-characters",
        SH,
        {_SH_MOUNT: 'case $3 in *" x"*) answer Success ;; esac\n        do_mount "$2" "$3" ;;'},
        "with too many words",
        "mounted nothing",
    ),
    Broken(
        "option-executed",
        PYTHON,
        {_DEVICE: '    os.system("true \'%s\'" % options["directory"])\n' + _DEVICE},
    ),
    Broken(
        "option-executed", SH, {_SH_DIRECTORY: _SH_DIRECTORY + '    eval ": \\"$directory\\""\n'}
    ),
    Broken("option-outside", PYTHON, {'checked(options["directory"])': 'options["directory"]'}),
    Broken(
        "option-outside",
        SH,
        {
            '"" | .* | *[!a-z0-9.-]*) answer': '"" | .*) answer',
        },
    ),
    Broken(
        "long-options",
        PYTHON,
        {
            _BIND: "    import base64\n\n"
            '    run(["true", base64.b64encode(text.encode()).decode()])\n' + _BIND
        },
    ),
    Broken("no-home", PYTHON, {_MOUNT: _MOUNT + '    os.stat(os.environ["HOME"])\n'}),
    Broken("no-home", SH, {"umask 077\n": "umask 077\nset -u\nlog=$HOME/shelf.log\n"}),
    Broken("empty-environment", PYTHON, {'env={"PATH": PATH}': 'env={"PATH": os.environ["PATH"]}'}),
    Broken("read-only-root", PYTHON, {_BIND: '    write("/etc/shelf", device)\n' + _BIND}),
    Broken(
        "read-only-root",
        SH,
        {
            _SH_MOUNT: '{ echo "$2" >/etc/shelf; } 2>/dev/null || '
            'answer Failure "no /etc"\n' + _SH_MOUNT
        },
    ),
    Broken("closed-stdin", PYTHON, {_MOUNT: _MOUNT + "    sys.stdin.read()\n"}),
    Broken(
        "working-directory",
        PYTHON,
        {_BIND: "    os.stat(os.path.basename(sys.argv[0]))\n" + _BIND},
    ),
    Broken(
        "working-directory",
        SH,
        {_SH_MOUNT: '[ -x "./${0##*/}" ] || answer Failure "no ./"\n' + _SH_MOUNT},
    ),
)
