"""How every figure looks, and how it becomes a PNG."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from deepfake.common.files import replacing

# .dvc/plots/models.json gives the models the same colours on DVC's page.
COLORS = {"baseline": "#8a6d3b", "image": "#1f6fb4", "train": "#8a8a8a", "valid": "#1f6fb4"}
CLASS_COLORS = {"real": "#2a8f85", "fake": "#c8553d"}
GREY = "#707070"
DASHED = {"color": "#b0b0b0", "linestyle": "--", "linewidth": 1}
POINT = {"linestyle": "none", "marker": "o", "markersize": 8, "markeredgecolor": "white"}


@contextmanager
def drawing(path: Path | str, width: float = 5.2, height: float = 4.6) -> Iterator[Any]:
    """Yield (figure, axes), then save the figure.

    It needs no window system, and the file holds no time, version or other trace, so that the same
    curve gives the same bytes.
    """
    with matplotlib.rc_context():
        matplotlib.rcdefaults()  # whatever a matplotlibrc of the user's says
        figure = Figure(figsize=(width, height), dpi=120, layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        yield figure, axes
        axes.spines[["top", "right"]].set_visible(False)
        with replacing(path) as partial:
            figure.savefig(partial, format="png", metadata={"Software": None})
