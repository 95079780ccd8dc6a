"""Addresses as they are printed, alone and in the messages of errors."""

from pathlib import Path
from urllib.parse import quote

import pytest

from deepfake.common import address
from deepfake.tracking.failures import could_not_log

UNCLEAR = "mysql://…"  # where the password ends cannot be told


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("http://user:secret@host:5000/path", "http://host:5000"),
        ("http://user:my secret@host", "http://host"),
        ("https://secret@host/path", "https://host"),
        ("http://host/?password=secret", "http://host"),
        ("http://host?a=1&token=secret#secret", "http://host"),
        ("postgresql://user:secret@host/mlflow", "postgresql://host"),
        ("postgresql://host/mlflow?user=me&password=secret", "postgresql://host"),
        ("mysql://user:sec/secret@host/db", UNCLEAR),
        ("mysql://user:sec?secret@host/db", UNCLEAR),
        ("mysql://user:s@secret@host/db", "mysql://host"),
    ],
)
def test_scheme_and_host_of_an_address_are_printed_and_no_message_has_more(
    given: str, shown: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", given)
    assert address.shown(given) == shown
    tried = [f"{given}/api/2.0", quote(given, safe=":/@?&=#"), "no host secret@host", f"'{given}'"]
    could_not_log(RuntimeError(f"tried {' and '.join(tried)}"), "best_effort")
    told = capsys.readouterr().err
    assert told.startswith(f"warning: the run could not be logged to {shown}: tried {shown} and ")
    assert "secret" not in told


def test_the_variables_that_hold_a_password_or_a_token_are_not_printed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "open sesame")
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "hush")
    assert address.without_secrets("sent open%20sesame, open+sesame, hush") == "sent ***, ***, ***"


@pytest.mark.parametrize("name", ["plain", "what?", "a#b", "100%", "%41", "Ünï", 'it\'s a "b"'])
def test_the_database_is_in_the_repository_whatever_it_is_called(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DVC_ROOT", str(tmp_path / name))
    file = tmp_path / name / "mlflow.db"
    assert address.database(address.uri()) == file
    assert address.shown(address.uri()) == str(file)
    assert not address.is_remote(address.uri())


@pytest.mark.parametrize("other", ["sqlite://", "sqlite:///:memory:", "http://host", "./mlruns"])
def test_other_stores_have_no_database_file(other: str) -> None:
    assert address.database(other) is None
