"""What MLflow's page says and shows of the experiments, and the address to open it at."""

import json
from urllib.parse import quote, urlencode

from deepfake.tracking.record import Kind, milliseconds

NOTE = "mlflow.note.content"  # the tag that the page shows as a description, in Markdown
_KIND = "mlflow.experimentKind"
# A saved view of the page: a filter, an order and columns, which the page would not show else.
_VIEW = "rows"
_VIEW_TAG = f"mlflow.sharedViewState.{_VIEW}"
_COLUMNS = (
    "attributes.`Created`",
    *(
        f"metrics.`{metric}`"
        for metric in ("test_roc_auc", "test_accuracy", "test_f1", "test_log_loss", "valid_roc_auc")
    ),
)

_ABOUT_ROWS = """\
Two models of each DVC experiment: `image · NAME` sees pixels, `baseline · NAME` sees \
metadata alone.

**Columns to look at:** `test_roc_auc` first, then `test_accuracy`, `test_f1`, `test_log_loss`; \
`valid_roc_auc` to choose between experiments. *Views → Current rows* shows them.

**Filters to copy:**

- the rows that count now: `tags.current = "true"`
- one experiment: `tags.current = "true" and tags.experiment = "workspace"`
- image models alone: `tags.current = "true" and tags.row = "image"`

The runs of the other stages are in the experiment `{name}-stages`.
"""
_ABOUT_STAGES = """\
Runs of the stages that make no model: `ingest`, `metadata`, `backbone`, `embed`, `compare`. \
The models are in the experiment `{name}`.

**Filters to copy:**

- one stage: `tags.stage = "embed"`
- one experiment: `tags.experiment = "workspace"`
- what failed: `attributes.status = "FAILED"`
"""


def experiment_tags(name: str, kind: Kind) -> dict[str, str]:
    """The tags by which the page describes an MLflow experiment.

    Args:
        name: `tracking.experiment`.
        kind: of the experiment's runs.
    """
    about = _ABOUT_ROWS if kind == "model" else _ABOUT_STAGES
    tags = {_KIND: "custom_model_development", NOTE: about.format(name=name)}
    if kind == "model":
        tags[_VIEW_TAG] = _saved_view("Current rows")
    return tags


def _saved_view(name: str) -> str:
    """A view as the page saves it itself: the rows that count now, the best first."""
    state = {
        "searchFilter": 'tags.current = "true"',
        "orderByKey": "metrics.`test_roc_auc`",
        "orderByAsc": False,
        "startTime": "ALL",
        "selectedColumns": _COLUMNS,
    }
    now = milliseconds()
    return json.dumps(
        {"name": name, "createdAt": now, "updatedAt": now, "state": json.dumps(state)}
    )


def rows_address(experiment_id: str) -> str:
    """The part of an address that opens the saved view."""
    return _address(f"experiments/{experiment_id}/runs", viewStateShareKey=_VIEW)


def run_address(experiment_id: str, run_id: str) -> str:
    """The part of an address that opens a run."""
    return _address(f"experiments/{experiment_id}/runs/{run_id}")


def search_address(experiment_id: str, condition: str) -> str:
    """The part of an address that lists the runs under a condition."""
    return _address(f"experiments/{experiment_id}/runs", searchFilter=condition, startTime="ALL")


def _address(path: str, **query: str) -> str:
    """An address within the page, in its mode for training models; else it opens in that for
    language models."""
    query = {"workflowType": "machine_learning", **query}
    return f"#/{path}?{urlencode(query, quote_via=quote)}"
