"""The build: the same sources give the same bytes, whoever builds them, and the file runs wherever
a Python is."""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from typing import Any

import pytest

from bundle import pack, pack_provisioner
from shared import protocol
from tests.precompiled import precompile

ROOT = Path(__file__).resolve().parents[3]
EXAMPLE = ROOT / "examples/directory.py"


def run(*argv: object, **keywords: Any) -> subprocess.CompletedProcess[str]:
    words = [str(word) for word in argv]
    return subprocess.run(words, capture_output=True, text=True, timeout=300, **keywords)


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("dist") / "flexvol"
    pack.pack(target, [])
    return target


def test_two_builds_are_the_same_bytes(archive: Path, tmp_path: Path) -> None:
    pack.pack(tmp_path / "flexvol", [])

    assert (tmp_path / "flexvol").read_bytes() == archive.read_bytes()


def test_a_copy_of_the_sources_elsewhere_and_later_gives_the_same_bytes(
    archive: Path, tmp_path: Path
) -> None:
    for name in (*pack.CONTENTS, "bundle"):
        source, copy = ROOT / name, tmp_path / name
        if source.is_dir():
            shutil.copytree(source, copy, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, copy)
    for path in tmp_path.rglob("*"):
        os.utime(path, (time.time() + 5000,) * 2)
        path.chmod(0o700 if path.is_dir() else 0o600)

    run(
        sys.executable,
        "-m",
        "bundle.pack",
        cwd=tmp_path,
        env={"TZ": "Asia/Tokyo", "PATH": os.defpath},
    )

    assert (tmp_path / "dist/flexvol").read_bytes() == archive.read_bytes()


@pytest.fixture(scope="module")
def provisioner(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("provisioner") / "provisioner"
    pack_provisioner.build(target)
    return target


def test_two_builds_of_the_provisioner_are_the_same_bytes(
    provisioner: Path, tmp_path: Path
) -> None:
    pack_provisioner.build(tmp_path / "provisioner")

    assert (tmp_path / "provisioner").read_bytes() == provisioner.read_bytes()


def test_the_provisioner_holds_no_compiled_code_and_runs_with_debians_python(
    provisioner: Path, tmp_path: Path
) -> None:
    with zipfile.ZipFile(provisioner) as packed:
        names = packed.namelist()
        assert {entry.date_time for entry in packed.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        assert json.loads(packed.read("environment.json"))["hashes"] == {}
        assert {entry.external_attr >> 16 for entry in packed.infolist()} == {pack.FILE_MODE}
    assert names == sorted(names)
    assert [name for name in names if name.endswith((".so", ".pyc"))] == []

    done = run(
        "/usr/bin/python3",
        provisioner,
        "--version",
        env={"SHIV_ROOT": str(tmp_path), "PATH": os.defpath},
    )

    assert done.stdout == protocol.VERSION + "\n", done.stderr


def test_only_sources_of_the_driver_side_are_in_it(archive: Path) -> None:
    with zipfile.ZipFile(archive) as packed:
        names = packed.namelist()

    assert names == sorted(names)
    assert {name.split("/")[0] for name in names} == {*pack.CONTENTS, "__main__.py"}
    assert all(name.endswith(".py") for name in names)


def statements(source: bytes) -> list[tuple[int, str]]:
    """The statements that are no docstring, with their lines."""
    tree = ast.parse(source)
    return [
        (node.lineno, type(node).__name__)
        for node in ast.walk(tree)
        if isinstance(node, ast.stmt)
        and not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))
    ]


def test_only_the_commands_keep_their_docstrings_and_every_line_stays_where_it_is(
    archive: Path,
) -> None:
    with zipfile.ZipFile(archive) as packed:
        for name in packed.namelist():
            source = ROOT / name
            if not source.exists():
                continue
            content = packed.read(name)
            assert statements(content) == statements(source.read_bytes()), name
            docstring = ast.get_docstring(ast.parse(content))
            assert bool(docstring) == name.startswith("node/commands/"), name


@pytest.mark.parametrize("called", ["flexvol", "./flexvol", "link", "/"])
def test_it_is_found_however_it_is_called(called: str, archive: Path) -> None:
    link = archive.with_name("link")
    if not link.exists():
        link.symlink_to("flexvol")

    done = run(
        str(archive) if called == "/" else called,
        "init",
        cwd=archive.parent,
        env={"PATH": f"{archive.parent}:/bin"},
    )

    assert json.loads(done.stdout)["status"] == "Success"
    assert (done.returncode, done.stderr) == (0, "")


def test_python_runs_it_too(archive: Path) -> None:
    assert json.loads(run("/usr/bin/python3", archive, "init").stdout)["status"] == "Success"


def test_it_heeds_no_setting_of_the_machines_python(archive: Path, tmp_path: Path) -> None:
    for name in ("sitecustomize.py", "json.py", "flexvol.py", "os.py"):
        (tmp_path / name).write_text("raise SystemExit('taken over')")

    done = run(
        archive, "init", cwd=tmp_path, env={"PYTHONPATH": str(tmp_path), "PYTHONSTARTUP": "json.py"}
    )

    assert json.loads(done.stdout)["status"] == "Success"


def test_nothing_is_written_beside_it(archive: Path, tmp_path: Path) -> None:
    alone = tmp_path / "flexvol"
    shutil.copy(archive, alone)

    run(alone, "init", cwd=tmp_path, env={})

    assert list(tmp_path.iterdir()) == [alone]


def header(archive: Path, target: Path, python: str) -> Path:
    """The archive with a header that knows one interpreter only. It must not be shorter, or
    zipimport is lost."""
    head, zipped = archive.read_bytes().split(b"exec ", 1)
    head = head.replace(b"/usr/bin/python3", python.encode()) + b"#" * 80 + b"\n"
    head = head.replace(b"/usr/libexec/platform-python", b"/nonexistent/python")
    target.write_bytes(head + b"exec " + zipped)
    target.chmod(0o755)
    return target


def test_a_precompilation_that_fails_leaves_the_file_as_it_was_and_nothing_beside_it(
    archive: Path, tmp_path: Path
) -> None:
    """The disk is full: the process may write no file of the size of the whole."""
    copy = tmp_path / "flexvol"
    shutil.copy(archive, copy)

    done = run("prlimit", f"--fsize={archive.stat().st_size}", copy, "precompile")

    assert done.returncode == 1
    assert "File too large" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["flexvol"]
    assert copy.read_bytes() == archive.read_bytes()


def test_what_a_killed_precompilation_left_is_replaced_by_the_next(
    archive: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "flexvol"
    shutil.copy(archive, copy)
    (tmp_path / "flexvol.new").write_bytes(b"half a file")

    done = run(copy, "precompile")

    assert done.returncode == 0, done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["flexvol"]
    assert copy.stat().st_size > archive.stat().st_size


def test_without_python_the_answer_is_a_failure_and_the_status_is_0(
    archive: Path, tmp_path: Path
) -> None:
    bare = header(archive, tmp_path / "flexvol", "/nonexistent/python3")

    done = run("/bin/sh", bare, "mount", "/pod", "{}", env={"PATH": str(tmp_path)})

    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout) == {
        "status": "Failure",
        "reason": "Internal",
        "message": "this node has no Python: install python3, 3.6 or newer",
    }


def test_a_python_elsewhere_on_the_path_is_found(archive: Path, tmp_path: Path) -> None:
    (tmp_path / "python3").symlink_to(os.path.realpath("/usr/bin/python3"))
    elsewhere = header(archive, tmp_path / "flexvol", "/nonexistent/python3")

    done = run(elsewhere, "init", env={"PATH": str(tmp_path)})

    assert json.loads(done.stdout)["status"] == "Success"


def old_python(path: Path) -> Path:
    """An interpreter that says that it is Python 3.5; it understands `-I -S -c CODE ARGUMENTS`."""
    path.write_text(
        f"#!{sys.executable}\n"
        "import sys\n"
        "sys.version_info = (3, 5, 3, 'final', 0)\n"
        "code, sys.argv = sys.argv[4], ['-c'] + sys.argv[5:]\n"
        "exec(code)\n"
    )
    path.chmod(0o755)
    return path


def test_a_python_that_is_too_old_is_passed_over(archive: Path, tmp_path: Path) -> None:
    old = old_python(tmp_path / "old-python3")
    (tmp_path / "python3").symlink_to(os.path.realpath("/usr/bin/python3"))
    beside = header(archive, tmp_path / "flexvol", str(old))

    done = run(beside, "provision", "{}", "too many", env={"PATH": str(tmp_path)})

    assert "provision takes 1 arguments" in json.loads(done.stdout)["message"]


def test_where_all_pythons_are_too_old_the_failure_names_them(
    archive: Path, tmp_path: Path
) -> None:
    old = old_python(tmp_path / "python3")
    alone = header(archive, tmp_path / "flexvol", str(old))

    done = run(alone, "init", env={"PATH": str(tmp_path)})

    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["message"] == (
        f"the Pythons of this node are older than 3.6 ({old}): install python3, 3.6 or newer"
    )


def test_a_driver_of_ones_own_becomes_part_of_it_and_its_default(
    archive: Path, tmp_path: Path
) -> None:
    target = tmp_path / "flexvol"
    pack.pack(target, [EXAMPLE])

    assert "unknown option" in run(target, "provision", _request(pool="x")).stdout
    target.with_name("loop").symlink_to(target)
    assert "unknown option" not in run(tmp_path / "loop", "provision", _request(pool="x")).stdout
    with zipfile.ZipFile(target) as packed, zipfile.ZipFile(archive) as plain:
        assert set(packed.namelist()) - set(plain.namelist()) == {"node/drivers/directory.py"}


def test_the_commands_of_an_installed_file_are_about_the_driver_whose_name_it_has(
    tmp_path: Path,
) -> None:
    pack.pack(tmp_path / "flexvol", [EXAMPLE])
    for name in ("loop", "directory"):
        (tmp_path / name).symlink_to("flexvol")

    usage = {
        name: " ".join(run(tmp_path / name, "status", "--help").stdout.split())
        for name in ("loop", "flexvol")
    }
    explained = {
        name: run(tmp_path / name, "help", "adopt").stdout for name in ("loop", "directory")
    }

    assert "(default: loop)" in usage["loop"]
    assert "(default: directory)" in usage["flexvol"]
    assert "does not support" not in explained["loop"]
    assert "The driver directory does not support it." in explained["directory"]


@pytest.mark.parametrize("name", ["loop.py", "my-driver.py", "Driver class.py"])
def test_a_driver_whose_name_cannot_be_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("")

    with pytest.raises(SystemExit, match="the file's name is the driver's"):
        pack.pack(tmp_path / "flexvol", [tmp_path / name])


@pytest.mark.parametrize(
    "source",
    [
        pytest.param("def mount(:", id="no Python at all"),
        pytest.param("if (size := 1):\n    pass\n", id="a Python newer than that of some nodes"),
    ],
)
def test_a_driver_with_a_syntax_error_is_refused(source: str, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(source)

    with pytest.raises(SyntaxError):
        pack.pack(tmp_path / "flexvol", [tmp_path / "mine.py"])
    assert not (tmp_path / "flexvol").exists()


@pytest.mark.parametrize(
    ("line", "error"),
    [
        pytest.param(
            "from node.drivers import Drivr", "ImportError", id="a name that is not there"
        ),
        pytest.param("import yaml", "ModuleNotFoundError", id="a module that a node does not have"),
        pytest.param("ROOT = 1 / 0", "ZeroDivisionError", id="a bug in its first lines"),
        pytest.param("raise SystemExit(1)", "SystemExit", id="an end of the program"),
    ],
)
def test_a_driver_that_cannot_be_imported_says_so_in_its_answer(
    line: str, error: str, tmp_path: Path
) -> None:
    (tmp_path / "mine.py").write_text(f"import os\n{line}\n")
    pack.pack(tmp_path / "flexvol", [tmp_path / "mine.py"])
    (tmp_path / "mine").symlink_to("flexvol")

    for called in ("flexvol", "mine"):
        done = run(tmp_path / called, "init")
        assert (done.returncode, done.stderr) == (0, "")
        assert json.loads(done.stdout)["message"] == f"bug in the driver: {error} at mine.py:2"


def _request(**own: str) -> str:
    return json.dumps(
        {
            "kubernetes.io/pvOrVolumeName": "pvc-1",
            "kubernetes.io/pvc.namespace": "shop",
            "kubernetes.io/pvc.name": "data",
            "kubernetes.io/pvc.uid": "u1",
            "kubernetes.io/pod.namespace": "shop",
            "requestBytes": "1048576",
            **own,
        }
    )


@pytest.mark.node
@pytest.mark.parametrize(
    "before",
    [
        pytest.param("", id="on this kernel"),
        pytest.param(
            "strace -f -o /dev/null -e inject=mount_setattr:error=ENOSYS",
            id="on a kernel without mount_setattr",
        ),
    ],
)
def test_the_example_driver_lives_through_a_volumes_life(tmp_path: Path, before: str) -> None:
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    pack.pack(tmp_path / "flexvol", [EXAMPLE])
    precompile(tmp_path / "flexvol")
    (tmp_path / "root").mkdir()
    (tmp_path / "pod").mkdir()
    foreign = _request().replace(
        '"kubernetes.io/pod.namespace": "shop"', '"kubernetes.io/pod.namespace": "evil"'
    )
    copy = json.dumps({**json.loads(_request()), "sourceVolume": "pvc-0"})
    script = f"""set -e
        mkdir -p /var/lib/flexvol-directory
        mount --bind {tmp_path}/root /var/lib/flexvol-directory; cd {tmp_path}
        call() {{ {before} ./flexvol "$@"; }}
        call provision "$3"; call provision "$1"; call provision "$1"
        call mount {tmp_path}/pod "$2"
        call mount {tmp_path}/pod "$1"; call mount {tmp_path}/pod "$1"
        echo data > pod/file; call expandfs "$1" "" {tmp_path}/pod 5 4
        grep -c " {tmp_path}/pod " /proc/self/mountinfo >&2
        call unmount {tmp_path}/pod; call unmount {tmp_path}/pod
        if grep " {tmp_path}/pod " /proc/self/mountinfo >&2; then exit 1; fi
        cat root/shop/pvc-1/file >&2
        call delete "$1"; call delete "$1"
    """

    done = run("unshare", "-m", "sh", "-c", script, "sh", _request(), foreign, copy)

    statuses = [json.loads(line).get("reason", "Success") for line in done.stdout.splitlines()]
    expected = ["InvalidArgument", "Success", "Success", "NotFound"] + ["Success"] * 7
    assert statuses == expected, done.stdout + done.stderr
    assert done.stderr == "1\ndata\n"
    assert list((tmp_path / "root/shop").iterdir()) == []
    assert list((tmp_path / "pod").iterdir()) == []
