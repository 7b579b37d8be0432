"""Which cluster a person means, and what is said of a kubeconfig that cannot be used."""

from __future__ import annotations

from pathlib import Path

import pytest

from cluster.controller import cluster


@pytest.mark.parametrize(
    ("context", "name", "namespace"),
    [
        pytest.param(
            None,
            "cluster-one (https://10.0.0.1:6443), context one",
            "default",
            id="the current context, which names no namespace",
        ),
        pytest.param(
            "two",
            "cluster-two (https://10.0.0.2:6443), context two",
            "shop",
            id="another context, which names one",
        ),
    ],
)
def test_the_cluster_and_the_namespace_are_those_of_the_context(
    kubeconfig: str, context: str | None, name: str, namespace: str
) -> None:
    api = cluster.Cluster(kubeconfig, context)

    assert (api.name, api.namespace) == (name, namespace)


def test_a_context_that_is_not_there_is_said_with_those_that_are(kubeconfig: str) -> None:
    with pytest.raises(cluster.Unreachable, match="no context three; it has: one, two"):
        cluster.Cluster(kubeconfig, "three")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param(None, "there is no such file; name one with --kubeconfig", id="no file"),
        pytest.param("", "is empty", id="an empty file"),
        pytest.param("a: [b", "expected ',' or ']'", id="no YAML"),
        pytest.param("hello", "it has not the form of one", id="YAML of something else"),
        pytest.param("contexts: 3", "it has not the form of one", id="no list of contexts"),
        pytest.param(
            "contexts: [{name: one}]", "no current context; name one.*: one", id="none is current"
        ),
    ],
)
def test_a_kubeconfig_that_cannot_be_used_is_one_sentence(
    tmp_path: Path, text: str | None, said: str
) -> None:
    path = tmp_path / "config"
    if text is not None:
        path.write_text(text)

    with pytest.raises(cluster.Unreachable, match=f"(?s){path}.*{said}"):
        cluster.Cluster(str(path))


def test_of_several_files_the_first_ones_current_context_counts_as_for_kubectl(
    kubeconfig: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client takes the last one's: then kubectl and its plugin were about two clusters."""
    other = tmp_path / "other"
    other.write_text(Path(kubeconfig).read_text().replace('context": "one', 'context": "two'))
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    monkeypatch.setenv("KUBECONFIG", f"{tmp_path}/missing:{kubeconfig}:{other}")

    assert "context one" in cluster.Cluster(None).name
    assert "context two" in cluster.Cluster(None, "two").name


def test_in_a_pod_a_kubeconfig_comes_before_the_service_account(
    kubeconfig: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As for kubectl, which is the other hand of the same person."""
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.96.0.1")
    monkeypatch.setenv("KUBECONFIG", kubeconfig)
    assert "context one" in cluster.Cluster(None).name

    monkeypatch.delenv("KUBECONFIG")
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(cluster.Unreachable, match="the pod's service account cannot be used"):
        cluster.Cluster(None)
