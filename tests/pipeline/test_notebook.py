"""notebooks/tour.ipynb runs in a finished workspace, and is small as it is committed."""

import nbformat
import pytest

from .conftest import ROOT

TOUR = ROOT / "notebooks" / "tour.ipynb"


def test_the_committed_notebook_was_run_and_is_small():
    tour = nbformat.read(TOUR, as_version=4)
    code = [cell for cell in tour.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert not [out for cell in code for out in cell.outputs if out.output_type == "error"]
    assert TOUR.stat().st_size < 500_000


@pytest.mark.slow
@pytest.mark.exhaustive
def test_the_notebook_runs(computed_clone):
    from nbclient import NotebookClient

    tour = nbformat.read(computed_clone.path / "notebooks" / "tour.ipynb", as_version=4)
    client = NotebookClient(
        tour, timeout=300, resources={"metadata": {"path": computed_clone.path}}
    )
    client.execute(env=computed_clone.environment())
    printed = str([cell.get("outputs") for cell in tour.cells])
    assert "There is no MLflow store" in printed  # the clone's was removed
    assert "contribution of each position to the logit, exact" in printed
