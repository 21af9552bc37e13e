"""A package index on this machine: wheels without content, served as the Simple API in JSON, with upload times."""

from __future__ import annotations

import hashlib
import io
import json
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

UPLOADED = "2026-01-01T00:00:00Z"


def wheel(name: str, version: str, requires: tuple[str, ...] = ()) -> bytes:
    """A pure wheel that needs these."""
    info = f"{name.replace('-', '_')}-{version}.dist-info"
    needs = "".join(f"Requires-Dist: {text}\n" for text in requires)
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needs}")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return content.getvalue()


class Index:
    """What is on offer: ``add`` puts a release there, ``answer`` is the status of every reply."""

    def __init__(self) -> None:
        self.files: dict[str, dict[str, tuple[bytes, str]]] = {}
        self.answer = 200
        self.url = ""

    def add(self, name: str, version: str, *requires: str, uploaded: str = UPLOADED) -> None:
        """A release, uploaded at this time."""
        file = f"{name.replace('-', '_')}-{version}-py3-none-any.whl"
        self.files.setdefault(name, {})[file] = (wheel(name, version, requires), uploaded)

    def page(self, name: str) -> bytes:
        """The page of a project."""
        files = [
            {
                "filename": file,
                "url": f"{self.url}/files/{name}/{file}",
                "hashes": {"sha256": hashlib.sha256(data).hexdigest()},
                "upload-time": uploaded,
                "size": len(data),
            }
            for file, (data, uploaded) in self.files[name].items()
        ]
        return json.dumps({"meta": {"api-version": "1.1"}, "name": name, "files": files}).encode()

    def reply(self, path: str) -> tuple[int, str, bytes]:
        """Status, type and content for a path."""
        parts = [part for part in path.split("?")[0].split("/") if part]
        if self.answer != 200:
            return self.answer, "text/plain", b""
        if parts[0] == "simple" and parts[1] in self.files:
            return 200, "application/vnd.pypi.simple.v1+json", self.page(parts[1])
        if parts[0] == "files":
            return 200, "application/octet-stream", self.files[parts[1]][parts[2]][0]
        return 404, "text/plain", b""


@contextmanager
def served() -> Iterator[Index]:
    """An empty index that answers at ``url``."""
    index = Index()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, kind, content = index.reply(self.path)
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        do_HEAD = do_GET

        def log_message(self, format: str, *args: object) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    index.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield index
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
