"""The parameters of a storage class that are the provisioner's own, or reserved. The others are the
driver's, which says itself what is wrong with them."""

from __future__ import annotations

from collections.abc import Mapping

from cluster.controller.objects import StorageClass
from shared import options, protocol

# The second is the name that CSI's provisioner has for the file system.
FS_TYPE_PARAMETERS = ("fsType", "csi.storage.k8s.io/fstype")
ON_NODE_GONE_PARAMETER = "onNodeGone"
# The values of onNodeGone.
RELEASE = "release"
KEEP = "keep"
# The driver gets the Secret, and never these.
SECRET_PARAMETERS = options.SECRET_PARAMETERS
# The parameters that the driver does not get.
OWN_PARAMETERS = (*FS_TYPE_PARAMETERS, *SECRET_PARAMETERS, ON_NODE_GONE_PARAMETER)


def fs_type_of(parameters: Mapping[str, str]) -> str:
    """The file system that a class with these parameters names; "" if the class leaves that to the
    driver. A class that names a file system twice names the same: see class_problem."""
    for key in FS_TYPE_PARAMETERS:
        if parameters.get(key):
            return parameters[key]
    return ""


def secret_parameter(storage_class: StorageClass) -> str:
    """Which parameter of the class means a Secret; "" if none does."""
    name, _, create = SECRET_PARAMETERS
    parameters = storage_class.parameters
    if parameters.get(create, "false") != "false":
        return create
    return name if name in parameters else ""


def class_problem(storage_class: StorageClass) -> str:
    """What is wrong with the parameters of a class that are the provisioner's own, or reserved, and
    what to do about it; "" if nothing is."""
    of_class = f'storage class "{storage_class.name}"'
    wrong = _wrong_parameter(storage_class.parameters, of_class)
    if not wrong:
        return ""
    return f"{wrong}; {options.class_advice(storage_class.name)}"


def _wrong_parameter(parameters: Mapping[str, str], of_class: str) -> str:
    on_node_gone = parameters.get(ON_NODE_GONE_PARAMETER, RELEASE)
    if on_node_gone not in (KEEP, RELEASE):
        return (
            f'the parameter "{ON_NODE_GONE_PARAMETER}" of {of_class} is '
            f"{protocol.shown(on_node_gone)}; it is {KEEP} or {RELEASE}"
        )
    fs_types = {key: parameters[key] for key in FS_TYPE_PARAMETERS if key in parameters}
    if len(set(fs_types.values())) > 1:
        both = " and ".join(f"{key} {protocol.shown(value)}" for key, value in fs_types.items())
        return f"{of_class} has {both}, which mean the same; leave one of them out"
    for key in parameters:
        if key not in OWN_PARAMETERS and options.is_reserved(key):
            return f'the parameter "{key}" of {of_class} is reserved; remove it'
    return ""
