"""What can go wrong with git, with MLflow's store and with what is kept for it."""

from tests.support import tracking_server
from tests.support.faults.cases import ERROR, HANDLED, WARNING, Attack
from tests.support.provoking import (
    SECRET,
    directory_as_database,
    file_outside,
    foreign_files,
    git_that_refuses,
    held_lock,
    kept,
    large_change,
    link_outside,
    new_files,
    no_git,
    quoted_experiment,
    secret_in,
    served,
    strange_path,
    synced,
    with_operation,
)

ASIDE = ("cannot be delivered", "It is now in", "cache/outbox/undeliverable/")
KEPT = ("could not be logged to", "outputs are not affected", "it is kept")
TRACKING = [
    Attack(
        "untracked files with secrets", HANDLED, (), new_files(),
        "MLflow gets their names, and the changes of tracked files alone.",
    ),
    Attack(
        "files that `git add --intent-to-add` announced", HANDLED, (), new_files("add", "-N"),
        "The same.",
    ),
    Attack(
        "changes of many megabytes", HANDLED, (), large_change,
        "`lineage/changes.patch` is cut after 1 MB.",
    ),
    Attack(
        "git refuses to read the repository (another owner)", HANDLED, (), git_that_refuses,
        "`git_revision` and `git_dirty` are `unknown`, and `lineage/environment.json` says why.",
    ),
    Attack("git is not installed", HANDLED, (), no_git, "The same."),
    Attack(
        "quotes in the name of an experiment", HANDLED, (), quoted_experiment,
        "Its runs are written and found.",
    ),
    Attack(
        "`mlflow.db` is a directory", WARNING,
        (KEPT[0], "mlflow.db: it is a directory, not a database", *KEPT[1:]), directory_as_database,
    ),
    Attack(
        "`?`, `#` or `%` in the path of the repository", HANDLED, (), strange_path,
        "The database and the files of runs are in the repository.",
    ),
    Attack(
        "another process holds the store's lock", WARNING,
        ("waiting for process", "which holds the lock", "gave up after", KEPT[2]),
        held_lock, "After 5 s it says so, and it gives up after `tracking.deadline_seconds`.",
    ),
    Attack(
        "a tracking server that is silent", WARNING,
        (KEPT[0], "no complete answer within", "tracking.deadline_seconds", *KEPT[1:]),
        served(tracking_server.silent),
    ),
    Attack(
        "a tracking server that sends a byte now and then", WARNING,
        (KEPT[0], "no complete answer within", "tracking.deadline_seconds", *KEPT[1:]),
        served(tracking_server.dripping),
    ),
    Attack(
        "a tracking server whose answer has 8 GB", WARNING,
        (KEPT[0], "the answer is longer than", *KEPT[1:]), served(tracking_server.endless, 60),
    ),
    Attack(
        "a tracking server that takes no files", WARNING,
        (KEPT[0], "no complete answer within", *KEPT[1:]), served(tracking_server.without_files),
    ),
    Attack(
        "a tracking server that names a folder of this machine for files", WARNING,
        (KEPT[0], "names a folder of this machine", "--serve-artifacts", *KEPT[1:]),
        served(tracking_server.elsewhere, 60), "Nothing is written there, or read.",
    ),
    Attack(
        "a tracking server whose list of runs has no end", WARNING,
        (KEPT[0], "list of runs has no end", *KEPT[1:]),
        served(tracking_server.without_last_page, 60),
    ),
    Attack(
        "a tracking server whose answers have another form, in `make sync`", ERROR,
        (KEPT[0], "Failed to parse"), synced(tracking_server.senseless),
    ),
    Attack(
        "a password in the address of the server", WARNING, ("logged to http://127.0.0.1:9: ",),
        secret_in(f"http://user:{SECRET}@127.0.0.1:9"), "Scheme and host of it are printed.",
    ),
    Attack(
        "`?password=` and `?token=` in the address", WARNING, ("logged to http://127.0.0.1:9: ",),
        secret_in(f"http://127.0.0.1:9/?password={SECRET}&token=sesame"), "The same.",
    ),
    Attack(
        "an address of a database that cannot be read", WARNING,
        ("logged to postgresql://host: ", "MLFLOW_TRACKING_URI cannot be read as an address"),
        secret_in("postgresql://user:open@sesame:open@host/db"),
    ),
    Attack(
        "foreign files among the runs that are kept", HANDLED, (), kept(foreign_files),
        "They are left alone.",
    ),
    Attack(
        "a kept run whose record is broken", WARNING, ASIDE,
        kept(lambda first: (first / "record.json").write_text('{"experiment": '), 1),
        "The other runs are delivered.",
    ),
    Attack(
        "a kept run whose record is missing", WARNING, ASIDE,
        kept(lambda first: (first / "record.json").unlink(), 1), "The same.",
    ),
    Attack(
        "a kept run that the store refuses", WARNING, ASIDE,
        kept(with_operation(do="params", values={"a*b": "1"}), 1), "The same.",
    ),
    Attack(
        "a kept run that names a file elsewhere", WARNING,
        (ASIDE[0], "names a file outside its folder", *ASIDE[1:]), kept(file_outside, 1),
        "The file is not uploaded.",
    ),
    Attack(
        "a kept run with a link to elsewhere", WARNING,
        (ASIDE[0], "names a file outside its folder", *ASIDE[1:]), kept(link_outside, 1),
        "The same.",
    ),
]  # fmt: skip
