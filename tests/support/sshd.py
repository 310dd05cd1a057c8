"""A real OpenSSH server on loopback, for the user who runs the tests: with a key of its own and one that may log in."""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import Final, Self

import psutil
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.support.connectors import free_port

PATIENCE_S: Final = 10.0
# Where it drops its rights when it is root's; the package does not make it before the first boot.
_CHROOT: Final = Path("/run/sshd")


class KeyPair:
    """A new key: `private` as a file, `public` as a line."""

    def __init__(self) -> None:
        """Of type ed25519."""
        key = Ed25519PrivateKey.generate()
        shape = (serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption())
        self.private = key.private_bytes(*shape).decode()
        public = key.public_key()
        self.public = public.public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH).decode()


class Sshd:
    """Listens while its `with` block runs, and may be stopped and started in between at the same port.

    It permits nothing but to listen at one port of loopback, `remote_port`, with the key of `client`.
    """

    def __init__(self, folder: Path) -> None:
        """Keeps its files in `folder`."""
        self.user = getpass.getuser()
        self.port = free_port()
        self.remote_port = free_port()
        self.host = KeyPair()
        self.client = KeyPair()
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def destination(self) -> str:
        """As the option `server` of a tunnel."""
        return f"{self.user}@127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        """What it has said."""
        return (self._folder / "sshd.log").read_text()

    def start(self) -> None:
        """Listen; raises AssertionError with what it said when it does not."""
        program = shutil.which("sshd", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin")
        assert program is not None
        if os.geteuid() == 0:
            _CHROOT.mkdir(mode=0o755, exist_ok=True)
        self._write_files()
        argv = [program, "-D", "-e", "-f", str(self._folder / "sshd_config")]
        with (self._folder / "sshd.log").open("wb") as log:
            self._process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        end = time.monotonic() + PATIENCE_S
        while not self._is_listening():
            assert self._process.poll() is None, self.log
            assert time.monotonic() < end, self.log
            time.sleep(0.01)

    def stop(self) -> None:
        """End it with all connections, without a goodbye."""
        if self._process is None:
            return
        # Every connection has a process of its own, in a session of its own.
        with contextlib.suppress(psutil.NoSuchProcess):
            for child in psutil.Process(self._process.pid).children(recursive=True):
                with contextlib.suppress(psutil.NoSuchProcess):
                    child.kill()
        self._process.kill()
        self._process.wait()
        self._process = None

    def _is_listening(self) -> bool:
        return f"Server listening on 127.0.0.1 port {self.port}" in self.log

    def _write_files(self) -> None:
        listen = f'restrict,port-forwarding,permitlisten="127.0.0.1:{self.remote_port}" {self.client.public}\n'
        files = {
            "host_key": self.host.private,
            "authorized_keys": listen,
            "sshd_config": "\n".join(
                (
                    f"Port {self.port}",
                    "ListenAddress 127.0.0.1",
                    f"HostKey {self._folder}/host_key",
                    f"AuthorizedKeysFile {self._folder}/authorized_keys",
                    f"PidFile {self._folder}/sshd.pid",
                    "StrictModes no",
                    "UsePAM no",
                    "PasswordAuthentication no",
                    "KbdInteractiveAuthentication no",
                    "PermitRootLogin prohibit-password",
                    "",
                )
            ),
        }
        for name, text in files.items():
            path = self._folder / name
            path.write_text(text)
            path.chmod(0o600)
