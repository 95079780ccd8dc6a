"""Write the lists of faults into docs/faults.md."""

from pathlib import Path

from tests.support.faults.archives import ARCHIVES
from tests.support.faults.cases import REFUSED, Attack, Awkward, Case, Trouble
from tests.support.faults.data_sets import DATA_SETS
from tests.support.faults.images import IMAGES
from tests.support.faults.kaggle import KAGGLE
from tests.support.faults.parameters import PARAMETERS
from tests.support.faults.reading import READING
from tests.support.faults.state import STATE
from tests.support.faults.tracking import TRACKING

PAGE_OF_FAULTS = Path(__file__).resolve().parents[3] / "docs" / "faults.md"
BEGIN, END = "<!-- faults -->\n", "<!-- end -->\n"
SECTIONS = {
    "Kaggle": KAGGLE,
    "Archives": ARCHIVES,
    "Image files": IMAGES,
    "Data sets": DATA_SETS,
    "Reading": READING,
    "Tracking": TRACKING,
    "Parameters": PARAMETERS,
    "What stages keep and hand on": STATE,
}


def documented(page: str) -> str:
    """Return the page with its tables made from the lists."""
    before, rest = page.split(BEGIN)
    after = rest.split(END)[1]
    tables = [
        f"### {title}\n\n| fault | outcome | what is said, or happens |\n|---|---|---|\n"
        + "".join(f"| {case.name} | {case.outcome} | {_said(case)} |\n" for case in cases)
        for title, cases in SECTIONS.items()
    ]
    return f"{before}{BEGIN}\n" + "\n".join(tables) + f"\n{END}{after}"


def _said(case: Attack | Awkward | Case | Trouble) -> str:
    if isinstance(case, Awkward):
        return f"“{case.says}”" if case.outcome == REFUSED else case.says
    said = " … ".join(case.says).replace("|", "\\|")
    return " ".join(filter(None, [f"“{said}”" if said else "", case.note]))


if __name__ == "__main__":
    PAGE_OF_FAULTS.write_text(documented(PAGE_OF_FAULTS.read_text(encoding="utf-8")), "utf-8")
