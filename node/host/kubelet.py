"""What the running kubelet's settings say, for the few places where a driver depends on them."""

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Iterator, List, Optional, Tuple

# The default of podLogsDir of KubeletConfiguration, which is there since Kubernetes 1.30.
_POD_LOGS = "/var/log/pods"
_POD_LOGS_SETTING = r"""(?:^|[{,])\s*["']?podLogsDir["']?\s*:\s*["']?([^"',}\s]+)"""


def processes() -> "Iterator[Tuple[int, List[str]]]":
    """Number and command line of each kubelet of our own mount namespace. A kubelet in another
    mount namespace, such as a container's, may be another node's."""
    ours = os.readlink("/proc/self/ns/mnt")
    for number in map(int, filter(str.isdigit, os.listdir("/proc"))):
        try:
            words = command_line(number)
            if not words or os.path.basename(words[0]) != "kubelet":
                continue
            if os.readlink("/proc/{}/ns/mnt".format(number)) == ours:
                yield number, words
        except OSError:  # the process ended meanwhile
            continue


def command_line(process: int) -> "List[str]":
    """The words that a process was started with; a process of the kernel's has none. Raises OSError
    if the process has ended."""
    with open("/proc/{}/cmdline".format(process), "rb") as file:
        return os.fsdecode(file.read()).split("\0")[:-1]


def argument(words: "List[str]", name: str) -> "Optional[str]":
    """The value of an argument of a command line, given as `--name=value` or as two words; the last
    value counts. None if the argument is not given."""
    value = None
    for number, word in enumerate(words):
        if word.startswith(name + "="):
            value = word[len(name) + 1 :]
        elif word == name and number + 1 < len(words):
            value = words[number + 1]
    return value


def search(pattern: str, path: "Optional[str]") -> "Optional[str]":
    """What the pattern's group matches in a file of settings (YAML, JSON or arguments). None if the
    file has no such setting, or is not there."""
    import re  # late: few callouts need it

    try:
        with open(path or os.devnull, encoding="utf-8", errors="replace") as file:
            match = re.search(pattern, file.read(), re.MULTILINE)
    except OSError:
        return None
    return match.group(1) if match else None


def pod_logs_directory() -> str:
    """Where kubelet makes a directory for each pod's logs, NAMESPACE_NAME_UID."""
    for _, words in processes():
        directory = search(_POD_LOGS_SETTING, argument(words, "--config"))
        if directory:
            return directory
    return _POD_LOGS
