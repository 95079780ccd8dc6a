"""An SSH server on this machine that stores files: `asyncssh`, with a key for its only user."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncssh

USER = "tester"


@dataclass(frozen=True)
class Ssh:
    """A running server.

    Attributes:
        address: such as `ssh://tester@127.0.0.1:1234/storage`.
        keyfile: the private key of the user.
    """

    address: str
    keyfile: Path


@contextmanager
def serving(folder: Path) -> Iterator[Ssh]:
    """Run a server in the block whose root is `folder`, with an empty folder `storage` in it."""
    key = asyncssh.generate_private_key("ssh-ed25519")
    keyfile = folder.parent / "key"
    key.write_private_key(str(keyfile))
    keyfile.chmod(0o600)
    (folder / "storage").mkdir(parents=True)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    async def start() -> asyncssh.SSHAcceptor:
        return await asyncssh.listen(
            "127.0.0.1",
            0,
            server_host_keys=[asyncssh.generate_private_key("ssh-ed25519")],
            authorized_client_keys=asyncssh.import_authorized_keys(
                key.export_public_key().decode()
            ),
            sftp_factory=lambda channel: asyncssh.SFTPServer(channel, chroot=str(folder)),
        )

    acceptor = asyncio.run_coroutine_threadsafe(start(), loop).result(30)
    try:
        yield Ssh(f"ssh://{USER}@127.0.0.1:{acceptor.get_port()}/storage", keyfile)
    finally:
        loop.call_soon_threadsafe(acceptor.close)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
