"""One self-contained HTML page without network access or framework. Text from outside is never executed or rendered as markup.

The data are packed and base64-encoded. The page's script unpacks them and inserts them as text nodes. A content security policy allows
only that script and that style sheet, by their digests.
"""

from __future__ import annotations

import hashlib
from base64 import b64encode
from importlib import resources

from ..subject import Subject
from .content import packed

SCRIPTS = ("data.js", "dom.js", "view.js", "matrix.js", "detail.js", "findings.js", "pages.js", "main.js")
"""Concatenated in this order into one script."""
_STYLE = "page.css"


def page(subject: Subject) -> str:
    """Return the HTML page."""
    script = "(() => {\n'use strict';\n" + "\n".join(_asset(name) for name in SCRIPTS) + "})();\n"
    style = _asset(_STYLE)
    parts = {
        "{{policy}}": policy(script, style),
        "{{style}}": style,
        "{{script}}": script,
        "{{data}}": b64encode(packed(subject)).decode("ascii"),
    }
    text = _asset("page.html")
    for name, part in parts.items():
        before, _, after = text.partition(name)
        text = before + part + after
    return text


def policy(script: str, style: str) -> str:
    """Return the content security policy: no loading, sending or framing; one script and one style sheet."""
    return (
        f"default-src 'none'; script-src '{_digest(script)}'; style-src '{_digest(style)}'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def _digest(text: str) -> str:
    return f"sha256-{b64encode(hashlib.sha256(text.encode()).digest()).decode('ascii')}"


def _asset(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")
