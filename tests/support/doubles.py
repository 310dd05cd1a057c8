"""What doubles of connector programs share: their pages, their output, and faults that are switched on from outside.

Only the standard library and little of it: a double is started as often as the program that it stands for. Switches are
environment variables; `install` writes a program that has its own, because supervised programs inherit none.

FAKE_READY_AFTER_S   connected so long after the start; "never"
FAKE_LOST_AFTER_S    not connected any more, so long after the start; it stays alive
FAKE_LOST_FILE       not connected while this file exists
FAKE_EXIT_CODE       end with this status (a signal as a negative number) after FAKE_EXIT_AFTER_S, 0 by default
FAKE_STARTS_FILE     count the starts in this file; the first FAKE_NO_DNS_STARTS of them find no DNS
FAKE_PIDS_FILE       write the process ids to this file, one in a line: its own, then that of a child
FAKE_CHILD           have a child that ignores SIGTERM and keeps the output: in the "group", or a "session" of its own
FAKE_IGNORE_TERM     take no notice of SIGTERM
FAKE_FLOOD           write lines without end, so many in a second; 0: as many as can be
FAKE_LONG_LINE       write a line of so many bytes
FAKE_INVALID_UTF8    write bytes that are no text
FAKE_PRINT_SECRET    write the secret in several dresses
FAKE_GROW_MB         take so much memory, bit by bit
FAKE_CLOSE_OUTPUT    close both outputs
FAKE_HANG            do nothing at all: no page, no line
"""

from __future__ import annotations

import base64
import json
import os
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parent.parent.parent

_FICKLE: Final = frozenset({"FAKE_LOST_AFTER_S", "FAKE_LOST_FILE", "FAKE_REEXEC_AFTER_S", "FAKE_RETRY_S"})
_WRAPPER: Final = """#!{python} -IS
import sys
sys.path.insert(0, {root!r})
from {module} import main
sys.exit(main(sys.argv[1:], {switches!r}))
"""


def install(path: Path, module: str, **switches: str | float) -> Path:
    """Write a program that is the double in `module` (`tests.support.fake_newt`) with these switches."""
    texts = {name: str(value) for name, value in switches.items()}
    path.write_text(_WRAPPER.format(python=sys.executable, root=str(ROOT), module=module, switches=texts))
    path.chmod(0o755)
    return path


class Double:
    """One process that stands for a connector: when it is connected, what it says, and how it goes wrong."""

    def __init__(self, switches: Mapping[str, str], *, fd: int) -> None:
        """Writes to `fd`. To be made on the main thread, before there is another."""
        self.switches = switches
        self._has_settled = False
        self._fd = fd
        self._begun = time.monotonic()
        # Not an Event: to set one in a handler can wait for ever for the one who waits.
        self._over, self._ended = os.pipe()
        self._turn = threading.Lock()
        # As Go has it: one line that nobody reads any more is the end.
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        if "FAKE_IGNORE_TERM" in switches:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        if "FAKE_HANG" in switches:
            while True:
                time.sleep(60)

    @property
    def is_connected(self) -> bool:
        """Whether it is at this moment."""
        age = time.monotonic() - self._begun
        after = self.switches.get("FAKE_READY_AFTER_S", "0")
        if after == "never" or age < float(after) or age >= float(self.switches.get("FAKE_LOST_AFTER_S", "inf")):
            return False
        path = self.switches.get("FAKE_LOST_FILE")
        return path is None or not Path(path).exists()

    def has_dns(self) -> bool:
        """Count this start, and say whether there is a network."""
        path = self.switches.get("FAKE_STARTS_FILE")
        if path is None:
            return True
        with Path(path).open("a") as file:
            file.write("start\n")
        return len(Path(path).read_text().split()) > int(self.switches.get("FAKE_NO_DNS_STARTS", "0"))

    def say(self, line: str | bytes) -> None:
        """Write a line; as long as nobody reads, this does not come back."""
        data = (line.encode() if isinstance(line, str) else line) + b"\n"
        with self._turn:
            while data:
                data = data[os.write(self._fd, data) :]

    def on_term(self) -> None:
        """End when asked; asked again, at once."""
        for number in (signal.SIGTERM, signal.SIGINT):
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._end)

    def go_wrong(self, secret: str) -> None:
        """Switch the faults on."""
        pids = [os.getpid()]
        if kind := self.switches.get("FAKE_CHILD"):
            pids.append(_child(kind))
        if path := self.switches.get("FAKE_PIDS_FILE"):
            Path(path).write_text("".join(f"{pid}\n" for pid in pids))
        if "FAKE_CLOSE_OUTPUT" in self.switches:
            os.close(1)
            os.close(2)
        if size := self.switches.get("FAKE_LONG_LINE"):
            self.say(b"x" * int(size))
        if "FAKE_INVALID_UTF8" in self.switches:
            self.say(b"\xff\xfe\x80 no text \xc3")
        if "FAKE_PRINT_SECRET" in self.switches:
            self._show(secret)
        if "FAKE_FLOOD" in self.switches:
            threading.Thread(target=self._flood, daemon=True).start()
        if "FAKE_GROW_MB" in self.switches:
            threading.Thread(target=self._grow, daemon=True).start()
        if "FAKE_EXIT_CODE" in self.switches:
            threading.Thread(target=self._exit, daemon=True).start()

    def wait(self) -> bool:
        """Wait for the end, or until it is worth a look; whether it was the end."""
        is_fickle = bool(self.switches.keys() & _FICKLE)
        pause = 0.01 if is_fickle or not self.is_connected or not self._has_settled else 0.5
        self._has_settled = self.is_connected
        return bool(select.select([self._over], [], [], pause)[0])

    def _end(self, number: int, _frame: object) -> None:
        signal.signal(number, signal.SIG_DFL)
        os.write(self._ended, b"x")

    def _show(self, secret: str) -> None:
        for shown in (secret, json.dumps({"token": secret}), base64.b64encode(secret.encode()).decode()):
            self.say(f"given {shown} here")
        # In two pieces, as a pipe may give it.
        middle = len(secret) // 2
        os.write(self._fd, secret[:middle].encode())
        time.sleep(0.02)
        self.say(secret[middle:])

    def _flood(self) -> None:
        rate = float(self.switches["FAKE_FLOOD"])
        count = 0
        begun = time.monotonic()
        while True:
            self.say(f"dial tcp 127.0.0.1:9: connect: connection refused {count}")
            count += 1
            ahead = count / rate - (time.monotonic() - begun) if rate else 0.0
            if ahead > 0.005:
                time.sleep(ahead)

    def _grow(self) -> None:
        taken = []
        for _ in range(int(self.switches["FAKE_GROW_MB"])):
            taken.append(bytearray(os.urandom(4096) * 256))
            time.sleep(0.001)
        while taken:
            time.sleep(60)

    def _exit(self) -> None:
        time.sleep(float(self.switches.get("FAKE_EXIT_AFTER_S", "0")))
        code = int(self.switches["FAKE_EXIT_CODE"])
        if code < 0:
            os.kill(os.getpid(), -code)
            # Another thread may be the one to take it, a moment later.
            threading.Event().wait()
        os._exit(code)


def serve(address: str, answer: Callable[[str], tuple[int, str]]) -> int:
    """Answer GETs at `host:port` from a thread of its own; the port. Raises OSError when it is taken."""
    host, _, port = address.rpartition(":")
    listener = socket.create_server((host or "127.0.0.1", int(port)), reuse_port=False)
    threading.Thread(target=_accept, args=(listener, answer), daemon=True).start()
    return int(listener.getsockname()[1])


def _accept(listener: socket.socket, answer: Callable[[str], tuple[int, str]]) -> None:
    while True:
        connection, _ = listener.accept()
        with connection:
            connection.settimeout(5)
            try:
                _answer(connection, answer)
            except OSError:
                continue


def _answer(connection: socket.socket, answer: Callable[[str], tuple[int, str]]) -> None:
    head = b""
    while b"\r\n\r\n" not in head:
        chunk = connection.recv(4096)
        if not chunk:
            return
        head += chunk
    status, body = answer(head.split(b" ", 2)[1].decode())
    data = body.encode()
    connection.sendall(
        b"HTTP/1.1 %d x\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%b" % (status, len(data), data)
    )


def _child(kind: str) -> int:
    pid = os.fork()
    if pid:
        return pid
    if kind == "session":
        os.setsid()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    while True:
        time.sleep(60)
