"""Progress bars where there is no terminal, as in CI."""

import pytest

from deepfake.common import progress


def test_epochs_are_a_bar_with_the_last_values(capsys: pytest.CaptureFixture[str]) -> None:
    with progress.epochs(50, "head") as bar:
        for epoch in range(50):
            bar.set_postfix_str(f"loss {epoch}", refresh=False)
            bar.update()
    lines = capsys.readouterr().err.strip().split("\r")
    assert len(lines) == 2  # its beginning and its end
    assert lines[-1].startswith("head 50/50")
    assert lines[-1].endswith("loss 49")


def test_a_brief_bar_does_not_show(capsys: pytest.CaptureFixture[str]) -> None:
    with progress.bar(3, "epoch 1", "images", brief=True) as bar:
        bar.update(3)
    assert capsys.readouterr().err == ""
    with progress.bar(3, "embed", "images") as bar:
        bar.update(3)
    assert "embed" in capsys.readouterr().err
