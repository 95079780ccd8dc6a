"""Faults of params.yaml: what nobody would write, and what two readers would read differently."""

from collections.abc import Callable
from pathlib import Path

from deepfake import params
from deepfake.common.environment import anchored
from deepfake.common.errors import PipelineError
from tests.support.faults.cases import ERROR, HANDLED, Attack

SHIPPED = (Path(__file__).resolve().parents[3] / "params.yaml").read_text(encoding="utf-8")


def loading(text: str) -> Callable[[Path], str]:
    """What `params.load` says of a file with this text; its seed, if it is accepted."""

    def provoke(folder: Path) -> str:
        path = folder / "params.yaml"
        path.write_text(text, encoding="utf-8", errors="surrogateescape")
        try:
            return f"seed {params.load(path).seed}"
        except PipelineError as error:
            return str(error)

    return provoke


def with_line(old: str, new: str) -> Callable[[Path], str]:
    """The shipped file with one piece replaced."""
    assert SHIPPED.count(old) >= 1
    return loading(SHIPPED.replace(old, new, 1))


def _leading_zero(folder: Path) -> str:
    assert with_line("seed: 20261121", "seed: 010")(folder) == "seed 10"
    return ""


def _home_of_nobody(_: Path) -> str:
    try:
        return str(anchored("~no-such-user/faces.zip"))
    except PipelineError as error:
        return str(error)


BOMB = "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}' if n else 'lol'] * 9)}]\n" for n in range(9))

PARAMETERS = [
    Attack(
        "`seed: 010`",
        HANDLED,
        (),
        _leading_zero,
        "is ten, as DVC reads it (YAML 1.2); in YAML 1.1 it would be eight",
    ),
    Attack(
        "`seed: 1:30`",
        ERROR,
        ("seed: received '1:30'", "valid integer"),
        with_line("seed: 20261121", "seed: 1:30"),
        "In YAML 1.1 it would be 90.",
    ),
    Attack(
        "`flip: yes`",
        ERROR,
        ("train.fine_tune.augment.flip: received 'yes'",),
        with_line("flip: true", "flip: yes"),
    ),
    Attack(
        "a key that appears twice",
        ERROR,
        ("cannot read", "found duplicate key", "line"),
        loading("seed: 1\nseed: 2\n"),
    ),
    Attack(
        "aliases that multiply",
        ERROR,
        ("cannot read", "is an alias, line 2"),
        loading(BOMB),
    ),
    Attack(
        "3,000 nested brackets",
        ERROR,
        ("cannot read", "nested more than 50 deep"),
        loading("seed: " + "[" * 3000 + "]" * 3000),
    ),
    Attack(
        "too many values",
        ERROR,
        ("cannot read", "more than 20,000 values"),
        loading("seed: [" + "1, " * 100_000 + "1]"),
    ),
    Attack(
        "a very long file",
        ERROR,
        ("cannot read", "1,000,001 characters"),
        loading("#" * 50_000_000),
    ),
    Attack(
        "a list as a key",
        ERROR,
        ("unusable value", "keys should be strings"),
        loading(SHIPPED + "? [a, b]\n: 1\n"),
    ),
    Attack(
        "a mapping as a key",
        ERROR,
        ("cannot read", "unhashable key"),
        loading("{{a: 1}: 2}"),
    ),
    Attack(
        "thousands of unknown keys",
        ERROR,
        ("unusable values", "k0: unknown key", "more"),
        loading(SHIPPED + "".join(f"k{number}: 1\n" for number in range(5000))),
    ),
    Attack(
        "a key of 100,000 letters",
        ERROR,
        ("kkk...: unknown key",),
        loading(SHIPPED + f"? {'k' * 100_000}\n: 1\n"),
    ),
    Attack(
        "an integer of thousands of digits",
        ERROR,
        ("train.weight_decay: received a number of thousands of digits",),
        with_line("weight_decay: 0.001", f"weight_decay: 0x{'f' * 9000}"),
    ),
    Attack(
        "`hidden: [100000000]`",
        ERROR,
        ("train.hidden.0: received 100000000", "less than or equal to 16384"),
        with_line("hidden: []", "hidden: [100000000]"),
    ),
    Attack(
        "1,000 hidden layers",
        ERROR,
        ("train.hidden: received [8, 8", "at most 20 items"),
        with_line("hidden: []", f"hidden: {[8] * 1000}"),
    ),
    Attack(
        "a tag that YAML knows and no value has",
        ERROR,
        ("cannot read",),
        with_line("seed: 20261121", "seed: !!int ''"),
    ),
    Attack(
        "a tag that would run code",
        ERROR,
        ("cannot read", "could not determine a constructor"),
        with_line("seed: 20261121", "seed: !!python/object/apply:os.getcwd []"),
    ),
    Attack(
        "not UTF-8",
        ERROR,
        ("cannot read", "utf-8"),
        loading("seed: \udcff\n"),
    ),
    Attack(
        "an empty file",
        ERROR,
        ("(top level): received None",),
        loading(""),
    ),
    Attack(
        "a path that begins with no user's name",
        ERROR,
        ("~no-such-user/faces.zip: no user of this machine has that name",),
        _home_of_nobody,
    ),
]
