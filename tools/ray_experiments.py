"""Experiments of a sweep on the nodes of a Ray cluster: each in a clone that is deleted afterwards.

A clone shares DVC's cache with the project, which all nodes see under the same path, and hands its
experiment to the project's repository. Rows in MLflow are written by `make sync` of the project, so
that an experiment whose node is lost, and that is run again elsewhere, has no row of its own.
"""

import os
import sys
import tempfile
from functools import partial
from pathlib import Path

from deepfake import params
from deepfake.common.cluster import connected
from deepfake.common.errors import PipelineError
from deepfake.common.overrides import written
from tools import shell
from tools.clones import environment
from tools.shell import dvc, git
from tools.sweep_file import Overrides


def run(named: dict[str, Overrides]) -> None:
    """Run experiments on the last commit, as many at a time as fit the cluster.

    Args:
        named: the overrides of each experiment, by name.

    Raises:
        PipelineError: files that git tracks differ from the last commit, which the nodes run; or
            there is no cluster.
    """
    if changed := git("status", "--porcelain", "--untracked-files=no").strip():
        raise PipelineError(
            f"a cluster runs the last commit, and files differ from it:\n{changed}\n"
            "Commit them, or `git stash` them"
        )
    settings = params.load().execution.ray
    with connected(settings.cpus_per_task, settings.gpus_per_task, settings.tasks) as cluster:
        print(f"on a Ray cluster, {cluster.size()}", flush=True)
        cache = str(Path(dvc("cache", "dir").strip()).absolute())
        # The nodes are the cluster: an experiment on one of them computes there, on its share.
        there = ["-Sexecution.executor=local", f"-Sexecution.threads={settings.cpus_per_task}"]
        experiment = partial(_run, git("rev-parse", "HEAD").strip(), cache, there)
        ended = cluster.ordered(experiment, named.items(), _named, instead=str)
        for name, error in zip(named, ended, strict=True):
            print(f"{name}: {f'failed: {error}' if error else 'success'}", flush=True)
        print(cluster.summary(), flush=True)


def _named(item: tuple[str, Overrides]) -> str:
    return f"the experiment {item[0]}"


def _run(revision: str, cache: str, there: list[str], item: tuple[str, Overrides]) -> str:
    """Run an experiment on a node, in the project's folder; return why it failed, or nothing.

    Args:
        revision: the commit.
        cache: the folder of the project's DVC cache.
        there: changes of parameters for the node.
        item: the name of the experiment and its overrides.
    """
    name, overrides = item
    project = Path.cwd()
    changes = [*there, *(f"-S{key}={written(value)}" for key, value in overrides.items())]
    # A worker of Ray has another PATH; and the store of the clone is deleted with it.
    programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    with tempfile.TemporaryDirectory(prefix="experiment-") as folder:
        call = partial(
            shell.run, folder=Path(folder), environment={**environment(), "PATH": programs}
        )
        try:
            call("git", "clone", "--quiet", "--no-checkout", str(project), ".")
            call("git", "checkout", "--quiet", "--detach", revision)
            call("dvc", "config", "--local", "cache.dir", cache)
            call("dvc", "checkout", "--quiet", "--allow-missing")
            call("dvc", "exp", "run", "--name", name, *changes)
            call("dvc", "exp", "push", "--no-cache", str(project), name)
        except PipelineError as error:
            return str(error)
    return ""
