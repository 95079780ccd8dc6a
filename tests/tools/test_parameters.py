"""docs/parameters.md against the schema, params.yaml and dvc.yaml."""

from pathlib import Path

import pytest

from tools import parameters

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(autouse=True)
def _in_the_repository(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def test_the_page_is_up_to_date() -> None:
    written = parameters.PAGE.read_text(encoding="utf-8")
    assert written == parameters.page(parameters.parameters()), "run `make docs`"


def test_every_parameter_has_a_description() -> None:
    listed = parameters.parameters()
    assert len(listed) > 50
    assert [one.name for one in listed if not one.description] == []


def test_names_and_defaults_are_those_of_params_yaml() -> None:
    defaults = {one.name: one.default for one in parameters.parameters()}
    assert defaults["data.folder.csv.file"] is None
    assert defaults["train.fine_tune.augment.flip"] is True
    assert defaults["train.fine_tune.learning_rate"] == 1e-5


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({"type": "integer", "minimum": 64, "maximum": 1024}, "integer 64 to 1,024"),
        ({"type": "number", "exclusiveMinimum": 0, "maximum": 4}, "number above 0 to 4"),
        ({"type": "number", "minimum": 0, "exclusiveMaximum": 1}, "number 0 to below 1"),
        ({"type": "number", "exclusiveMinimum": 0}, "number above 0"),
        ({"type": "integer", "minimum": 1}, "integer from 1"),
        ({"type": "string"}, "string"),
        ({"type": "string", "enum": ["a", "b"]}, "`a`, `b`"),
        ({"anyOf": [{"type": "string"}, {"type": "null"}]}, "string or `null`"),
        (
            {"type": "array", "minItems": 1, "items": {"type": "number", "minimum": 0.1}},
            "list of numbers from 0.1; at least one",
        ),
        (
            {
                "type": "object",
                "propertyNames": {"const": "rate"},
                "additionalProperties": {"type": "number", "exclusiveMinimum": 0},
            },
            "`{rate: x}` with x a number above 0",
        ),
    ],
)
def test_ranges_are_put_into_words(schema: dict[str, object], words: str) -> None:
    assert parameters.allowed(schema) == words


def test_stages_are_those_that_list_the_section() -> None:
    assert parameters.stages("data") == ["ingest", "compare"]
    assert parameters.stages("execution") == []
    assert parameters.stages("tracking") == []
