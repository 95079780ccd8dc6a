"""What can go wrong between this machine and Kaggle."""

import zipfile
from collections.abc import Callable

import numpy as np

from tests.support.faults.cases import ERROR, HANDLED, PAGE, Trouble
from tests.support.kaggle_server import DOWNLOAD, FILES, INTROSPECT, Fault, KaggleServer
from tests.support.making import split_files, zip_bytes


def faults(*items: Fault) -> Callable[[KaggleServer], None]:
    return lambda server: server.faults.extend(items)


def _other_bytes(server: KaggleServer) -> None:
    server.archives[KEY] = zip_bytes(split_files(3))


def _damaged(server: KaggleServer) -> None:
    body = bytearray(server.archives[KEY])
    body[len(body) // 2] ^= 255
    server.archives[KEY] = bytes(body)


def _bomb(server: KaggleServer) -> None:
    body = np.random.default_rng(0).bytes(1_000_000) + b"\0" * 30_000_000
    files = {f"train/real/{number}.png": body for number in range(2)}
    server.archives[KEY] = zip_bytes(files, zipfile.ZIP_DEFLATED)


KEY = ("some-one", "faces", 2)
MOST_ATTEMPTS = 20  # in the tests
WEB = {"body": PAGE, "content_type": "text/html"}
KAGGLE = [
    Trouble(
        "no credentials", ERROR, ("no Kaggle credentials", "https://www.kaggle.com/settings/api"),
        lambda server: None, environment={"KAGGLE_API_TOKEN": ""},
    ),
    Trouble(
        "credentials that Kaggle does not accept", ERROR, ("does not accept the credentials",),
        lambda server: None, environment={"KAGGLE_API_TOKEN": "KGAT_expired"},
    ),
    Trouble(
        "401", ERROR, ("status 401", "The credentials are not accepted"),
        faults(Fault(DOWNLOAD, status=401)), requests=1,
    ),
    Trouble(
        "403: terms not accepted", ERROR,
        ("status 403", "https://www.kaggle.com/datasets/some-one/faces and accept its terms"),
        faults(Fault(DOWNLOAD, status=403)), requests=1,
    ),
    Trouble(
        "404: no such data set or version", ERROR, ("status 404", "no such data set or version"),
        lambda server: server.archives.pop(KEY), requests=1,
    ),
    Trouble(
        "429 with Retry-After", HANDLED, (), faults(Fault(DOWNLOAD, status=429, retry_after=1)),
        "Waits as long as Kaggle asks (at most two minutes), then goes on.", requests=2,
        seconds=1,
    ),
    Trouble(
        "429 without end", ERROR, ("status 429", "wait some minutes and run again"),
        faults(*[Fault(DOWNLOAD, status=429)] * 5), requests=5,
    ),
    Trouble(
        "5xx", HANDLED, (), faults(Fault(DOWNLOAD, status=503), Fault(DOWNLOAD, status=500)),
        "Tries up to five times, after longer and longer waits.", requests=3,
    ),
    Trouble(
        "5xx while the token is checked", HANDLED, (), faults(Fault(INTROSPECT, status=503)),
        "The same.", requests=1,
    ),
    Trouble(
        "5xx without end", ERROR, ("status 502", "Run again when Kaggle can be reached"),
        faults(*[Fault(DOWNLOAD, status=502)] * 5), requests=5,
    ),
    Trouble(
        "a connection cut after N bytes", HANDLED, (),
        faults(Fault(FILES, cut_after=20_000), Fault(FILES, cut_after=5_000)),
        "Goes on where it broke off, in the same run or, after `kill -9`, in the next.",
    ),
    Trouble(
        "a connection cut without progress", ERROR,
        ("the connection to Kaggle failed", "The 0 bytes received so far are kept"),
        faults(*[Fault(FILES, cut_after=0)] * 10),
    ),
    Trouble(
        "a rest that begins at the start, and is cut again and again", ERROR,
        ("the connection to Kaggle failed", "The 20000 bytes received so far are kept"),
        faults(*[Fault(FILES, cut_after=20_000, from_start=True)] * 50),
        "Only bytes beyond the most that there were count as progress; without any, five attempts "
        "are made.",
        requests=5,
    ),
    Trouble(
        "another ETag for every answer, cut again and again", ERROR,
        ("the connection to Kaggle failed", "The 20000 bytes received so far are kept"),
        faults(*[Fault(FILES, cut_after=20_000, etag=f'"{n}"') for n in range(50)]), requests=5,
    ),
    Trouble(
        "a cut after every few bytes", ERROR, ("the connection to Kaggle failed",),
        faults(*[Fault(FILES, cut_after=100)] * 200), "Ends after 100 attempts.",
        requests=MOST_ATTEMPTS,
    ),
    Trouble(
        "416 for the rest", HANDLED, (),
        faults(Fault(FILES, cut_after=20_000), Fault(FILES), Fault(FILES, status=416)),
        "Begins anew.", requests=2,
    ),
    Trouble(
        "a Last-Modified that is no date", HANDLED, (),
        faults(*[Fault(FILES, modified="yesterday")] * 10), "Ignored.", requests=1,
    ),
    Trouble(
        "one byte at a time", ERROR,
        ("Kaggle sent less than 10,000 bytes a second", "Run again when Kaggle can be reached"),
        faults(*[Fault(FILES, pace=0.02)] * 20),
        "Over a minute that is too slow. After five such attempts the run ends; in any case a day "
        "after its start.",
        requests=5,
    ),
    Trouble(
        "a stalled connection", HANDLED, (), faults(Fault(FILES, stall_after=9_000, seconds=30)),
        "Given up after a minute without a byte, and resumed.",
    ),
    Trouble(
        "a wrong length, too long", HANDLED, (), faults(Fault(FILES, length=100_000_000)),
        "The file is not accepted as complete and is requested again.",
    ),
    Trouble(
        "a wrong length, too short", ERROR,
        ("what Kaggle sent is not a zip that can be read", "1000 bytes, deleted"),
        faults(*[Fault(FILES, length=1000)] * 10),
    ),
    Trouble(
        "other bytes under the same version", ERROR,
        ("is not the archive that was first downloaded as some-one/faces version 2", "SHA-256",
         "Results would not be comparable"),
        _other_bytes, "The record of the first download stays.", downloaded_before=True,
    ),
    Trouble(
        "an HTML page instead of a zip", ERROR,
        ("what Kaggle sent is not a zip that can be read", f"{len(PAGE)} bytes, deleted"),
        faults(*[Fault(FILES, **WEB)] * 3),
    ),
    Trouble(
        "a page of another network (a hotel's, say) for every answer", ERROR,
        ("the answer did not come from Kaggle", "sign-in"),
        faults(Fault(INTROSPECT, status=200, **WEB)),
    ),
    Trouble(
        "a damaged archive", ERROR,
        ("what Kaggle sent is not a zip that can be read", "checksum", "deleted"), _damaged,
    ),
    Trouble(
        "a zip bomb", ERROR, ("would unpack to 0.062 GB", "data.archive.max_gigabytes"), _bomb,
    ),
    Trouble(
        "no room on the disk", ERROR, ("needs 1000000000 MB more", "are free: make room"),
        faults(Fault(FILES, length=10**15)),
    ),
    Trouble(
        "Kaggle cannot be reached", ERROR,
        ("the connection to Kaggle failed", "Run again when Kaggle can be reached"),
        lambda server: server.close(),
    ),
]  # fmt: skip
