"""What `make torture` writes into docs/faults.md."""

from tests.torture.__main__ import PAGE, documented, fuzz_table, kill_table
from tests.torture.fuzz import Figures
from tests.torture.kills import Kill


def test_figures_stand_in_tables() -> None:
    table = fuzz_table([Figures("images", 100_000, 1234.4, 0.514, 310.2)])
    assert table.endswith("\n| images | 100,000 | 1,234 s | 0.51 s | 310 MB |\n")
    kills = [Kill("train", "SIGKILL", 3.0), Kill("train", "SIGINT", 3.0), Kill("dvc", "SIGINT", 1)]
    table = kill_table(kills)
    assert "\n| `train` | 1 | 0 | 1 |\n" in table
    assert table.endswith("| DVC, between stages | 0 | 0 | 1 |\n| all | 1 | 0 | 2 |\n")


def test_tables_take_the_place_of_earlier_ones() -> None:
    page = PAGE.read_text(encoding="utf-8")
    first = documented(page, "| first |")
    assert documented(documented(page, "| other |"), "| first |") == first
    assert page.partition("<!-- torture -->")[0] == first.partition("<!-- torture -->")[0]
    assert first.count("| first |") == 1
