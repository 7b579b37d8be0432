"""Judges a FlexVolume driver in any language, in a throw-away root.

The command calls the executable PATH as kubelet, kube-controller-manager and the provisioner do,
and prints what is wrong. Each check has a root of its own: an overlay over this machine, with empty
/run, /tmp and /var, no disks and no network; what the driver does there is gone afterwards.

The exit status is 0 if the driver is right, 1 if a fault was found (advice is none), and 2 if
something could not be judged."""

import argparse
import json
import os
import shlex
import sys

from node.commands import WrongArguments
from shared import table

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Dict, List

    from node.sanity.check import Check, Result
    from node.sanity.life import Request
    from node.sanity.sandbox import Settings

NEEDS_ROOT = False
_FAULTS = 1
_COULD_NOT = 2
# More checks that were not asked for one reason are counted.
_NAMED_CHECKS = 3
_HEADINGS = ("CHECK", "VERDICT", "SEVERITY", "WHAT")


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("path", metavar="PATH", nargs="?", help="the driver's executable")
    _add_volume_arguments(parser)
    parser.add_argument(
        "--attach", action="store_true", help="judge attach, mountdevice and the others, too"
    )
    parser.add_argument(
        "--provision", action="store_true", help="judge provision, delete, list, adopt, too"
    )
    parser.add_argument(
        "--setup",
        metavar="COMMAND",
        default="",
        help="a shell command that is run in each root before the driver; $DRIVER is its path",
    )
    parser.add_argument(
        "--check", metavar="ID", action="append", default=[], help="only this check"
    )
    parser.add_argument(
        "--seconds",
        type=float,
        default=60.0,
        help="how long one call may take (default: %(default)g)",
    )
    _add_root_arguments(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object, for programs")
    parser.add_argument("--list", action="store_true", help="print all checks")
    parser.add_argument("--explain", metavar="ID", help="explain one check")


def _add_volume_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--options",
        metavar="FILE",
        help="a JSON object of the volume's options, which are texts; with --provision, of the "
        "class's parameters",
    )
    parser.add_argument(
        "--secret",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="a value of the Secret for mount; other users of this machine can see it",
    )
    parser.add_argument(
        "--secret-file",
        metavar="KEY=FILE",
        action="append",
        default=[],
        help="a value of the Secret for mount, read from a file",
    )
    parser.add_argument(
        "--variable",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="a variable of kubelet's environment, and of kube-controller-manager's, that the "
        "driver needs",
    )


def _add_root_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--real-root",
        action="store_true",
        help="let the driver mount disks and servers, for which it must be this machine's root; "
        "the throw-away root then holds against accidents, but not against a hostile driver",
    )
    parser.add_argument("--loop-devices", action="store_true", help="--real-root with loop devices")
    parser.add_argument(
        "--device",
        metavar="PATH",
        action="append",
        default=[],
        help="--real-root with this device",
    )
    parser.add_argument(
        "--make-devices",
        action="store_true",
        help="--real-root, and let the driver make nodes of devices, as LVM does without udev; an "
        "accident may then reach every disk",
    )
    parser.add_argument(
        "--network", action="store_true", help="leave the driver this machine's network"
    )


def run(settings: argparse.Namespace) -> int:
    if settings.list:
        return _list()
    if settings.explain is not None:
        return _explain(settings.explain)
    if settings.path is None:
        raise WrongArguments("say which driver: PATH")
    return _judge(settings)


def _list() -> int:
    from node.sanity import catalog

    rows = [[check.name, check.severity, check.title] for check in catalog.CHECKS]
    print(table.aligned(("CHECK", "SEVERITY", "WHAT IS RIGHT"), rows))
    return 0


def _explain(name: str) -> int:
    from node.sanity import catalog

    _known([name])
    check = catalog.named(name)
    lines = [
        "{} ({})".format(check.name, check.severity),
        "what is right:    {}".format(check.title),
        "what a user sees: {}".format(check.seen),
        "why:              {}".format(check.why),
    ]
    if check.traps:
        traps = ", ".join(map(str, check.traps))
        lines.append("traps:            {}".format(traps))
    if check.needs:
        lines.append("judged after:     {}".format(", ".join(check.needs)))
    print("\n".join(lines))
    return 0


def _known(names: "List[str]") -> None:
    """Raises WrongArguments for a name that no check has."""
    from node.sanity import catalog
    from shared.protocol import similar

    known = [check.name for check in catalog.CHECKS]
    for name in names:
        if name not in known:
            meant = similar(name, known)
            remedy = "{} may be meant".format(meant) if meant else "see --list"
            raise WrongArguments("there is no check {}; {}".format(name, remedy))


def _judge(arguments: argparse.Namespace) -> int:
    from node.sanity import life, progress, sandbox, suite

    _known(arguments.check)
    settings = _settings(arguments)
    request = _request(arguments)
    if os.geteuid() != 0:
        return _could_not("only root can make a throw-away root; run it with sudo")
    wrong = _no_driver(settings.driver)
    if wrong:
        return _could_not(wrong)
    try:
        with progress.Line() as line:
            results = list(suite.Suite(settings, request, line.tell).judge(arguments.check))
    except (sandbox.Impossible, life.SetupFailed) as reason:
        return _could_not(str(reason))
    _print(results, arguments.json)
    return _status(results)


def _no_driver(path: str) -> str:
    """Why no driver is at the path, and what to do; "" for a file that can be executed."""
    if os.path.isdir(path):
        return "{} is a directory; name the driver's executable in it".format(path)
    if not os.path.exists(path):
        return "there is no file {}".format(path)
    if not os.path.isfile(path):
        return "{} is no file; name the driver's executable".format(path)
    if not os.access(path, os.X_OK):
        return "{} is no executable file; run: chmod +x {}".format(path, shlex.quote(path))
    return ""


def _could_not(why: str) -> int:
    print("flexvol sanity: {}".format(why), file=sys.stderr)
    return _COULD_NOT


def _settings(arguments: argparse.Namespace) -> "Settings":
    from node.sanity.sandbox import Settings

    settings = Settings(os.path.abspath(arguments.path))
    settings.loop_devices = arguments.loop_devices
    settings.devices = arguments.device
    settings.network = arguments.network
    settings.make_devices = arguments.make_devices
    needs_root = arguments.loop_devices or arguments.make_devices or bool(arguments.device)
    settings.real_root = arguments.real_root or needs_root
    return settings


def _request(arguments: argparse.Namespace) -> "Request":
    from node.sanity.life import Request

    request = Request()
    request.attach = arguments.attach
    request.provision = arguments.provision
    request.setup = arguments.setup
    request.call_seconds = arguments.seconds
    if arguments.options is not None:
        request.options = _options(arguments.options)
    for pair in arguments.secret:
        key, value = _pair("--secret", pair)
        request.secrets[key] = os.fsencode(value)
    for pair in arguments.variable:
        key, value = _pair("--variable", pair)
        request.variables[key] = value
    for pair in arguments.secret_file:
        key, path = _pair("--secret-file", pair)
        request.secrets[key] = _read(path)
    return request


def _pair(option: str, text: str) -> "List[str]":
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise WrongArguments("{} has the form KEY=...".format(option))
    return [key, value]


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise WrongArguments("cannot read {}: {}".format(path, error.strerror)) from None


def _options(path: str) -> "Dict[str, str]":
    try:
        options = json.loads(_read(path).decode())
    except ValueError as error:
        raise WrongArguments("{} is not JSON: {}".format(path, error)) from None
    is_flat = isinstance(options, dict)
    if not is_flat or not all(isinstance(value, str) for value in options.values()):
        raise WrongArguments('{} is not a JSON object of texts, {{"KEY": "VALUE"}}'.format(path))
    flat: "Dict[str, str]" = options
    return flat


def _print(results: "List[Result]", as_json: bool) -> None:
    from node.sanity.check import FAULT, NOT_ASKED, NOT_JUDGED, VERDICTS

    if as_json:
        print(json.dumps({"checks": [_fields(result) for result in results]}, indent=1))
        return
    rows = [_row(result) for result in results if result.verdict != NOT_ASKED]
    print(table.aligned(_HEADINGS, rows))
    for result in results:
        if result.verdict in (FAULT, NOT_JUDGED):
            _print_message(result)
    _print_not_asked(results)
    verdicts = [result.verdict for result in results]
    counts = ["{} {}".format(verdicts.count(verdict), verdict) for verdict in VERDICTS]
    print("\n" + ", ".join(counts))


def _print_message(result: "Result") -> None:
    from node.sanity.check import FAULT

    print("\n{}: {}".format(result.check.name, table.printable(result.message)))
    if result.verdict == FAULT:
        print("  a user sees: {}".format(result.check.seen))


def _print_not_asked(results: "List[Result]") -> None:
    """One line for each reason, as most are an argument that was not given."""
    from node.sanity.check import NOT_ASKED

    names: "Dict[str, List[str]]" = {}
    for result in results:
        if result.verdict == NOT_ASKED:
            names.setdefault(result.message, []).append(result.check.name)
    if names:
        print()
    for reason, of_reason in names.items():
        which = ", ".join(of_reason)
        if len(of_reason) > _NAMED_CHECKS:
            which = "{} checks".format(len(of_reason))
        print("not asked ({}): {}".format(table.printable(reason), which))


def _fields(result: "Result") -> "Dict[str, object]":
    check: "Check" = result.check
    return {
        "id": check.name,
        "verdict": result.verdict,
        "severity": check.severity,
        "traps": list(check.traps),
        "title": check.title,
        "message": result.message,
        "seen": check.seen,
    }


def _row(result: "Result") -> "List[str]":
    check = result.check
    return [check.name, result.verdict, check.severity, check.title]


def _status(results: "List[Result]") -> int:
    from node.sanity.check import NOT_JUDGED

    if any(result.is_fault() for result in results):
        return _FAULTS
    if any(result.verdict == NOT_JUDGED for result in results):
        return _COULD_NOT
    return 0
