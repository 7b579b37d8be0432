"""What docs/backup.md backs up and restores: its manifests as this cluster can run them, an
application with data of many kinds, and the movers of VolSync and Velero, which are done by hand
because their images cannot be had here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from tests import documents
from tests.cluster.kube import images
from tests.cluster.namespaces import Kubernetes, Object
from tests.cluster.page_commands import follow
from tests.sources import ROOT

PAGE = ROOT / "docs/backup.md"
PAGES = (PAGE, ROOT / "docs/velero-and-volsync.md")
CLAIM = "repository"  # the claim that has the repository of restic
REPOSITORY = "/repository"
APPLICATION_USER = 1000
# Files of all kinds that a backup can lose something of.
_FILL = f"""
set -e
cd /data
mkdir -p deep/er
dd if=/dev/urandom of=deep/er/random bs=64k count=40
dd if=/dev/zero of=sparse bs=1 count=1 seek=2M
printf secret > private
ln private hard
chmod 600 private
ln -s deep/er/random link
: > empty
touch -d '2001-02-03 04:05:06' empty
chmod 4750 deep/er/random
chown -R {APPLICATION_USER}:{APPLICATION_USER} deep private
sync
"""
# Two files get a line each in turn, durable before the next line: in a copy of one moment the first
# has as many lines as the second, or one more. No file goes: restic would fail for a file that went
# before it was read.
_WRITE = """
cd /data
number=0
while :; do
    number=$((number + 1))
    for file in first second; do
        echo $number >> $file
        sync
    done
done
"""
_LIST = """
cd /data
find . -mindepth 1 ! -name lost+found ! -path './.velero*' ! -name first ! -name second |
sort |
while read file; do
    stat -c '%n %F mode %a owner %u:%g links %h time %Y' $file
    [ -h $file ] && readlink $file
    [ -f $file ] && sha256sum $file
done
true
"""


def fill(k8s: Kubernetes, pod: str) -> str:
    """Gives the pod's volume files of all kinds; returns their list as `contents` does."""
    k8s.shell(pod, _FILL)
    return contents(k8s, pod)


def contents(k8s: Kubernetes, pod: str) -> str:
    """The files of the pod's volume, with all that a backup is to keep. Those that `write_on`
    writes are not among them."""
    return k8s.shell(pod, _LIST).stdout


def write_on(k8s: Kubernetes, pod: str) -> None:
    """Lets the pod write its files `first` and `second` until it ends."""
    k8s.shell(pod, f"({_WRITE}) >/dev/null 2>&1 &")


def written(k8s: Kubernetes, pod: str) -> tuple[int, int]:
    """The last numbers in the files `first` and `second`."""
    first, second = (
        int(k8s.shell(pod, f"tail -n 1 /data/{file}").stdout) for file in ("first", "second")
    )
    return first, second


def objects(kind: str) -> list[Object]:
    """The pages' objects of a kind."""
    blocks = [block for page in PAGES for block in documents.blocks("yaml", page)]
    parsed = [yaml.safe_load(block) for block in blocks]
    return [one for one in parsed if one.get("kind") == kind]


def fragment(key: str) -> Any:
    """The value of the page's block that has nothing but this key."""
    parsed = [yaml.safe_load(block) for block in documents.blocks("yaml", PAGE)]
    (value,) = [one[key] for one in parsed if list(one) == [key]]
    return value


def secret(k8s: Kubernetes) -> Object:
    """The page's Secret, for a repository in a volume."""
    (found,) = objects("Secret")
    found["metadata"]["namespace"] = k8s.namespace
    found["stringData"]["RESTIC_REPOSITORY"] = REPOSITORY
    return found


def cron_job(k8s: Kubernetes) -> Object:
    """The page's CronJob."""
    (found,) = objects("CronJob")
    found["metadata"]["namespace"] = k8s.namespace
    with_repository(found["spec"]["jobTemplate"]["spec"]["template"]["spec"])
    return found


def cron_job_of_copy(k8s: Kubernetes, template: Object, storage_class: str) -> Object:
    """The page's CronJob, but with a volume that is made for its pod.

    template: of the volume's claim, as the page has it
    storage_class: which class has the claim that is backed up"""
    found = cron_job(k8s)
    template["spec"]["storageClassName"] = storage_class
    volumes = found["spec"]["jobTemplate"]["spec"]["template"]["spec"]["volumes"]
    volumes[0] = {"name": "data", "ephemeral": {"volumeClaimTemplate": template}}
    return found


def restore_job(k8s: Kubernetes) -> Object:
    """The page's Job."""
    (found,) = objects("Job")
    found["metadata"]["namespace"] = k8s.namespace
    with_repository(found["spec"]["template"]["spec"])
    return found


def with_repository(spec: Object) -> Object:
    """Gives a pod this cluster's image of restic, and the claim that has the repository."""
    (container,) = spec["containers"]
    container["image"] = images.RESTIC
    container["volumeMounts"].append({"name": CLAIM, "mountPath": REPOSITORY})
    spec["volumes"].append({"name": CLAIM, "persistentVolumeClaim": {"claimName": CLAIM}})
    return spec


def back_up(k8s: Kubernetes, cron_job: Object) -> str:
    """Applies the Secret and the CronJob, and runs the job by the commands of the page; returns
    what restic printed."""
    k8s.apply(secret(k8s), cron_job)
    create, wait, logs = page_commands(k8s, "try-backup")
    follow(k8s.cluster, create)
    return awaited(k8s, "try-backup", wait, logs)


def restore(k8s: Kubernetes, where: Path) -> str:
    """Restores by the commands of the page, in the directory `where`; returns what restic
    printed."""
    (where / "restore.yaml").write_text(yaml.safe_dump(restore_job(k8s)))
    suspend, go_on = page_commands(k8s, "patch cronjob")
    apply, wait, logs, delete = page_commands(k8s, "restore")
    follow(k8s.cluster, suspend)
    assert k8s.find("cronjob", "backup-data")["spec"]["suspend"] is True
    follow(k8s.cluster, apply, where)
    printed = awaited(k8s, "restore-data", wait, logs)
    follow(k8s.cluster, delete)
    follow(k8s.cluster, go_on)
    assert k8s.find("cronjob", "backup-data")["spec"]["suspend"] is False
    return printed


def page_commands(k8s: Kubernetes, words: str) -> list[str]:
    """The commands of the page with these words, for the test's namespace."""
    commands = documents.commands_in(PAGE.read_text())
    found = [line for line in commands if words in line]
    return [line.replace("-n shop", f"-n {k8s.namespace}") for line in found]


def awaited(k8s: Kubernetes, job: str, wait: str, logs: str) -> str:
    """Runs the page's commands that wait for the job and show its log; returns the log."""
    try:
        follow(k8s.cluster, wait.replace("10m", "3m"))
    except AssertionError as error:
        raise AssertionError(f"{error}: {logs_of(k8s, job)}") from error
    return follow(k8s.cluster, logs)


def complete(k8s: Kubernetes, job: str) -> str:
    """Waits until the Job is complete, and deletes it; returns what it printed."""
    wait = ["wait", "--for=condition=complete", "--timeout=3m", f"job/{job}"]
    done = k8s.run(*wait, check=False)
    printed = logs_of(k8s, job)
    assert done.returncode == 0, f"{done.stderr}: {printed}"
    k8s.delete("job", job)
    return printed


def logs_of(k8s: Kubernetes, job: str) -> str:
    return k8s.run("logs", f"job/{job}", check=False).stdout
