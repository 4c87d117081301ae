"""One self-contained web page from its content: template, style, scripts and data."""

import base64
import hashlib
import html
import json
import re
from importlib import resources
from typing import Any

SCRIPTS = ("networks.js", "plane.js", "explorer.js")


def to_html(content: dict[str, Any]) -> str:
    """Return the page of a content; it fetches nothing, and its content security policy forbids fetching."""
    style = _text("explorer.css")
    script = "\n".join(_text(name) for name in SCRIPTS)
    policy = (
        f"default-src 'none'; script-src '{_digest(script)}'; style-src '{_digest(style)}'; "
        "img-src blob: data:; base-uri 'none'; form-action 'none'"
    )
    # "<" cannot end the element that holds the data.
    data = json.dumps(content, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")
    parts = {
        "policy": html.escape(policy),
        "title": html.escape(content["title"]),
        "style": style,
        "content": data,
        "script": script,
    }
    return re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], _text("page.html"))


def _text(name: str) -> str:
    return resources.files("probvae.export.web").joinpath(name).read_text("utf-8")


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
