"""Drivers with faults in what they do with the values of a Secret."""

from __future__ import annotations

from tests.sanity.broken import Broken
from tests.sanity.drivers import PYTHON, SH

_BIND = "    bind(device, path, options)\n"
_DECODED = '    password = base64.b64decode(options["kubernetes.io/secret/password"])\n'
_MODE = "os.O_TRUNC, 0o600)"
_STATE_MODE = "os.makedirs(STATE, 0o700, exist_ok=True)"


def _refusing(condition: str) -> dict[str, str]:
    return {
        _DECODED: f'{_DECODED}    if {condition}:\n        raise Failed("a strange password")\n'
    }


_SH_DECODED = (
    'printf \'%s\' "$value" | base64 -d >"$state/credentials" || answer Failure "no base64"'
)
_SH_VALUE = '[ -n "$value" ] || return 0\n'

DRIVERS = (
    Broken("secret-newline", PYTHON, _refusing('b"\\n" in password')),
    Broken("secret-comma", PYTHON, _refusing('b"," in password')),
    Broken(
        "secret-dollar",
        SH,
        {
            _SH_DECODED: (
                "password=$(printf '%s' \"$value\" | base64 -d)\n"
                '    eval "cat >$state/credentials <<END\n$password\nEND"'
            )
        },
    ),
    Broken("secret-quotes", PYTHON, _refusing('set(password) & set(b"\'\\"\\\\")')),
    Broken("secret-unicode", PYTHON, {_DECODED: _DECODED + '    password.decode("ascii")\n'}),
    Broken(
        "secret-padding",
        PYTHON,
        {_DECODED: _DECODED.replace('password"])', 'password"].rstrip("="))')},
    ),
    Broken(
        "secret-in-arguments",
        PYTHON,
        {_DECODED: _DECODED + '    run(["true", os.fsdecode(password)])\n'},
    ),
    Broken(
        "secret-in-arguments",
        SH,
        {_SH_VALUE: _SH_VALUE + '    /bin/echo "$value" >/dev/null\n'},
    ),
    Broken(
        "secret-in-arguments",
        SH,
        {_SH_VALUE: _SH_VALUE + '    /bin/echo "$1" >/dev/null\n'},
        "with all options",
    ),
    Broken(
        "secret-in-arguments",
        PYTHON,
        {
            _DECODED: _DECODED + '    basic = base64.b64encode(b"shelf:" + password).decode()\n'
            '    run(["true", "Authorization: Basic " + basic])\n'
        },
        "in a header",
    ),
    Broken(
        "secret-in-files",
        PYTHON,
        {_MODE: _MODE.replace("600", "644"), _STATE_MODE: _STATE_MODE.replace("700", "755")},
    ),
    Broken(
        "secret-in-files",
        SH,
        {
            "umask 077": "umask 022",
        },
    ),
    Broken(
        "secret-in-log",
        PYTHON,
        {
            _DECODED: _DECODED + '    with open("/var/log/shelf.log", "ab") as log:\n'
            "        log.write(password)\n"
        },
    ),
    Broken(
        "secret-in-log",
        PYTHON,
        {
            _DECODED: _DECODED + "    import syslog\n\n    for number in range(40):\n"
            '        syslog.syslog("step {}".format(number))\n'
            "    syslog.syslog(os.fsdecode(password))\n"
        },
        "after many lines",
    ),
    Broken(
        "secret-in-log",
        PYTHON,
        {
            _DECODED: _DECODED + '    with open("/tmp/shelf.log", "ab") as log:\n'
            "        os.fchmod(log.fileno(), 0o600)\n        log.write(password)\n"
        },
        "of the driver's own",
    ),
    Broken(
        "secret-in-message",
        PYTHON,
        {'"the option directory is missing"': 'f"the option directory is missing in {options}"'},
        "about an option",
    ),
    Broken(
        "secret-in-message",
        PYTHON,
        {
            _BIND: "    try:\n        bind(device, path, options)\n    except Failed:\n"
            '        raise Failed(f"cannot mount with {options}") from None\n'
        },
    ),
)
