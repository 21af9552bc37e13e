"""Connections between the processes of a run: JSON over Unix sockets in a folder that only this user can enter."""

from __future__ import annotations

import json
import os
import select
import selectors
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

_PIECE = 1 << 16
_LONGEST = 107
"""Limit of a socket's name, in bytes (``unix(7)``: 108, including the terminating zero)."""
_WAITING = 128
"""Limit of the connections that wait to be accepted."""


def encoded(record: dict[str, Any]) -> bytes:
    """Return one message in ASCII. JSON escapes all other characters of exception texts."""
    return json.dumps(record).encode() + b"\n"


@contextmanager
def address(path: str) -> Iterator[str]:
    """Yield a socket address for a path of any length.

    The kernel limits a socket's name to 107 bytes, and the path of the folder for temporary files may be longer. A name
    through a descriptor of the folder is short.
    """
    if len(os.fsencode(path)) <= _LONGEST:
        yield path
        return
    folder = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{os.path.basename(path)}"
    finally:
        os.close(folder)


def listening(path: str) -> socket.socket:
    """Return a socket that listens at a path. Clients can connect as soon as the file exists."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with address(f"{path}.new") as name:
        listener.bind(name)
    listener.listen(_WAITING)
    # bind() creates the file before listen(). After the rename, a client that sees the file can connect.
    os.rename(f"{path}.new", path)
    return listener


class Line:
    """Client end of a connection. It waits up to ``patience`` seconds for the listener."""

    def __init__(self, path: str, patience: float) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._connect(path, time.monotonic() + patience)
        self._answers = self._socket.makefile("rb")
        self._rest = b""

    def _connect(self, path: str, give_up: float) -> None:
        while True:
            try:
                with address(path) as name:
                    self._socket.connect(name)
                return
            except (FileNotFoundError, ConnectionRefusedError):
                if time.monotonic() > give_up:
                    self._socket.close()
                    raise
                time.sleep(0.02)

    def send(self, record: dict[str, Any]) -> None:
        """Send a message. Raises ``OSError`` if the other end is closed."""
        self._socket.sendall(encoded(record))

    def ask(self, record: dict[str, Any], within: float | None = None) -> dict[str, Any]:
        """Send a message and return the answer.

        Raises ``OSError`` if the other end is closed, and its subclass ``TimeoutError`` if no answer has begun after ``within`` seconds.
        """
        self.send(record)
        if within is not None and not select.select([self._socket], [], [], within)[0]:
            raise TimeoutError(f"no answer within {within:g} s")
        answer = self._answers.readline()
        if not answer.endswith(b"\n"):
            raise ConnectionResetError("the other end closed the connection")
        found: dict[str, Any] = json.loads(answer)
        return found

    def fileno(self) -> int:
        """Return the descriptor, for a selector."""
        return self._socket.fileno()

    def received(self) -> list[dict[str, Any]] | None:
        """Return the complete messages that have arrived, without waiting; ``None`` if the other end is closed."""
        try:
            piece = self._socket.recv(_PIECE, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return []
        except OSError:
            return None
        *whole, self._rest = (self._rest + piece).split(b"\n")
        return [json.loads(line) for line in whole] if piece or whole else None

    def close(self) -> None:
        """Close the connection."""
        self._answers.close()
        self._socket.close()


class Inbox:
    """Server end for many connections and pipes. It receives messages and output in the order of arrival."""

    def __init__(self, path: str, receive: Callable[[dict[str, Any]], None]) -> None:
        self._receive = receive
        self._selector = selectors.DefaultSelector()
        self._listener = listening(path)
        self._listener.setblocking(False)
        self._selector.register(self._listener, selectors.EVENT_READ, self._accept)

    def watch(self, descriptor: int, receive: Callable[[bytes], None]) -> None:
        """Also read this pipe, and close it at its end."""

        def read() -> None:
            piece = os.read(descriptor, _PIECE)
            receive(piece)
            if not piece:
                self._selector.unregister(descriptor)
                os.close(descriptor)

        self._selector.register(descriptor, selectors.EVENT_READ, read)

    def listen(self, seconds: float) -> bool:
        """Receive what has arrived, with a wait of at most ``seconds``. Return whether anything has."""
        ready = self._selector.select(seconds)
        for key, _ in ready:
            key.data()
        return bool(ready)

    def drain(self) -> None:
        """Receive everything that has arrived."""
        while self.listen(0):
            pass

    def _accept(self) -> None:
        connection, _ = self._listener.accept()
        rest = bytearray()

        def read() -> None:
            try:
                piece = connection.recv(_PIECE)
            except ConnectionResetError:
                piece = b""
            rest.extend(piece)
            *whole, left = bytes(rest).split(b"\n")
            rest[:] = left
            if not piece:
                self._selector.unregister(connection)
                connection.close()
            for line in whole:
                self._receive(json.loads(line))

        self._selector.register(connection, selectors.EVENT_READ, read)

    def close(self) -> None:
        """Stop listening, and close all connections."""
        for key in list(self._selector.get_map().values()):
            if isinstance(key.fileobj, socket.socket):
                key.fileobj.close()
            else:
                os.close(key.fd)
        self._selector.close()
