"""The address of MLflow's store, and how it is printed: without anything that may be secret."""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, quote_plus, unquote

from deepfake.common.environment import repository

_ADDRESS = re.compile(r"[A-Za-z][\w+.-]*://[^\s'\"<>]*")
_LEAST = 3  # characters of a piece of a password that are worth hiding


def uri() -> str:
    """The address of the store; it may hold a password."""
    return os.environ.get("MLFLOW_TRACKING_URI") or sqlite(repository() / "mlflow.db")


def sqlite(path: Path) -> str:
    """The address of an SQLite database."""
    import sqlalchemy  # 0.2 s

    # It escapes what has a meaning in an address, such as `?` and `%`. The driver is named because
    # MLflow would else make a folder of the escaped name as well.
    return sqlalchemy.URL.create("sqlite+pysqlite", database=str(path)).render_as_string()


def is_remote(address: str) -> bool:
    """Whether another process answers there: an MLflow server or a database server."""
    scheme, separator, _ = address.partition("://")
    return bool(separator) and scheme != "file" and not scheme.startswith("sqlite")


def database(address: str) -> Path | None:
    """The file of an SQLite database; None for any other address.

    Raises:
        ValueError: it is the address of a database, and cannot be read.
    """
    if "://" not in address or address.startswith(("http", "file:")):
        return None
    import sqlalchemy

    url = sqlalchemy.make_url(address)
    if not address.startswith("sqlite") or url.database in (None, "", ":memory:"):
        return None
    return None if url.database.startswith("file:") else Path(url.database)


def shown(address: str) -> str:
    """Scheme and host of an address, for people to read: user, password, path and query may be
    secret. Of a file, its path."""
    scheme, separator, rest = address.partition("://")
    if not separator:
        return address.partition(":")[0]
    if not is_remote(address):
        path = unquote(rest.partition("?")[0])
        return path if scheme == "file" else path.removeprefix("/")
    authority = re.split("[/?#]", rest, maxsplit=1)[0]
    if "@" in rest[len(authority) :]:  # where a password ends, if there is one, cannot be told
        return f"{scheme}://…"
    return f"{scheme}://{authority.rpartition('@')[2]}"


def without_secrets(text: str) -> str:
    """`text` with each address in it as `shown` gives it, and without the store's passwords."""
    own = os.environ.get("MLFLOW_TRACKING_URI", "")
    if "://" in own:
        text = text.replace(own.rstrip("/"), shown(own))
    for secret in sorted(_secrets(own), key=len, reverse=True):
        text = text.replace(secret, "***")
    return _ADDRESS.sub(lambda found: shown(found[0]), text)


def _secrets(address: str) -> set[str]:
    """What must not be printed of an address and of MLflow's variables, in every spelling."""
    plain = {os.environ.get(f"MLFLOW_TRACKING_{name}", "") for name in ("PASSWORD", "TOKEN")}
    if is_remote(address):
        plain |= set(_parts(address))
    plain |= {unquote(text) for text in plain}
    spelled = {
        spelling
        for text in plain
        for spelling in (text, quote(text), quote(text, safe=""), quote_plus(text))
    }
    return spelled - {""}


def _parts(address: str) -> Iterator[str]:
    """The password, or the user where there is none, and the values of the query."""
    rest = address.partition("://")[2]
    user, _, password = rest.rpartition("@")[0].partition(":")
    yield password or user
    # A program that reads the address in another way may print what it takes for the host.
    yield from (piece for piece in re.split(r"[@/?#\s]", password) if len(piece) >= _LEAST)
    for pair in re.split("[?&;#]", rest)[1:]:
        yield pair.rpartition("=")[2]
