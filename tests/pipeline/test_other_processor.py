"""A clone whose committed dvc.lock was written on a processor that rounds differently."""

import pytest
import yaml

pytestmark = pytest.mark.slow


def test_other_bytes_are_told_and_the_way_on_is_the_printed_one(computed_clone):
    clone = computed_clone
    lock = clone.path / "dvc.lock"
    (embeddings,) = yaml.safe_load(lock.read_text())["stages"]["embed"]["outs"]
    own = lock.read_text()
    lock.write_text(own.replace(embeddings["md5"], f"{32 * '0'}.dir"))
    clone.run("git", "commit", "-qam", "results of another processor")

    clone.run("dvc", "repro")
    assert lock.read_text() == own
    printed = " ".join(clone.run("python", "-m", "tools.show").split())
    assert "dvc.lock, which git keeps, is not the committed one" in printed

    clone.run("git", "checkout", ".")
    refused = clone.run("dvc", "checkout", fails=True)
    assert "missing" in refused.lower()
    assert "dvc checkout may report missing files" in printed
    assert "make repro then computes them again" in printed
    clone.run("dvc", "repro")
    assert lock.read_text() == own

    clone.run("git", "commit", "-qam", "Results of this machine")
    assert "which git keeps" not in clone.run("python", "-m", "tools.show")
    clone.run("dvc", "checkout")
