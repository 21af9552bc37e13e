"""Fork server of a pytest run, with restarts: a library may crash the server during its import."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable

from conformance import files
from conformance.execution import forkserver

from .shared_folder import Handed

_GLANCE = 0.1
_FUTILE = 3
"""Number of consecutive servers that may end before they listen."""
_MOST = 20
"""Number of servers that may end in one run. Each end costs a case on every worker."""
_TAIL = 600


class Keeper:
    """Owner of the fork server. If this process ends in any way, the server and all its children end too."""

    def __init__(self, handed: Handed) -> None:
        self._handed = handed
        self._neutral = handed.folder / "neutral"
        """Empty working folder of the processes that load libraries."""
        self._log = handed.folder / "server.log"
        self._over = threading.Event()
        self._server: forkserver.Server | None = None
        self._thread: threading.Thread | None = None

    @property
    def has_started(self) -> bool:
        """Whether :meth:`start` was called."""
        return self._thread is not None

    def start(self, libraries: Iterable[str]) -> None:
        """Start the server, which imports these libraries before it forks.

        A thread starts and restarts it. The kernel ends a child when the thread that has forked it ends
        (``PR_SET_PDEATHSIG``), so this thread lives as long as the run.
        """
        self._neutral.mkdir(mode=0o700)
        self._thread = threading.Thread(target=self._keep, args=(tuple(libraries),), daemon=True, name="interop-server")
        self._thread.start()

    def close(self) -> None:
        """End the server and all processes that it started."""
        self._over.set()
        if self._thread is not None:
            self._thread.join()

    def _keep(self, libraries: tuple[str, ...]) -> None:
        try:
            self._watch(libraries)
        except OSError as error:
            self._give_up(f"the fork server cannot be started: {error}")

    def _watch(self, libraries: tuple[str, ...]) -> None:
        futile = ended = 0
        while not self._over.is_set():
            self._handed.socket.unlink(
                missing_ok=True
            )  # of an earlier server; the new file signals that the new one listens
            server = self._started(libraries)
            while server.ended is None and not self._over.wait(_GLANCE):
                pass
            how, has_begun = server.ended, server.has_begun
            server.close()
            server.close_all()
            if self._over.is_set():
                return
            ended += 1
            futile = 0 if has_begun else futile + 1
            libraries = libraries if has_begun else ()  # an import may have crashed the server
            if futile == _FUTILE or ended == _MOST:
                self._give_up(f"the fork server ended with {how}{self._last_words()}")
                return

    def _started(self, libraries: tuple[str, ...]) -> forkserver.Server:
        log = os.open(self._log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            return forkserver.Server(libraries, str(self._handed.socket), log, self._neutral)
        finally:
            os.close(log)

    def _give_up(self, why: str) -> None:
        files.write_own(self._handed.gone, why)

    def _last_words(self) -> str:
        said = " ".join(self._log.read_text(errors="replace").split())[-_TAIL:]
        return f": {said}" if said else ""
