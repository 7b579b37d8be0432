"""Keys of options that the API server refuses in a FlexVolume, and keys that it takes.
tests/cluster/test_bad_claims.py asks a real API server."""

from __future__ import annotations

REFUSED = (
    "kubernetes.io/pvOrVolumeName",
    "kubernetes.io/anything",
    "k8s.io/anything",
    "foo.kubernetes.io/anything",
    "csi.storage.k8s.io/fstype",
    "KuberNetes.IO/anything",
    "a.K8S.io/anything",
    "kubernetes.io/",
    "kubernetes.io/a/b",
    "kubernetes.io",
    "storage.k8s.io",
    ".k8s.io",
    # Letters that are none of ASCII, whose small letters are.
    "\u212aubernetes.io/kelvin",
    "k8s.\u0130o/turkish",
)
ALLOWED = (
    "",
    "pool",
    "kubernetes",
    "kubernetes.io.example/anything",
    "notkubernetes.io/anything",
    "mk8s.io",
    "example/kubernetes.io",
    "/kubernetes.io",
    "kubernetes_io/anything",
    " k8s.io /anything",
    "k8s.io\n",
    # A small letter, which is no k8s.io before it is made a capital one.
    "k8\u017f.io/long-s",
    "k8s.\u0131o/dotless",
)
