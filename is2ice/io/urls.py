"""URLs as they may be shown and stored: without user, password and signature."""

from __future__ import annotations

import re
from urllib.parse import unquote, urlsplit, urlunsplit

__all__ = ["file_path", "local_path", "public_url", "scrub"]

_URL = re.compile(r"[a-z][a-z0-9+.-]*://[^\s'\"<>)]+", re.IGNORECASE)


def public_url(url: str) -> str:
    """Return a URL without user, password, query and fragment, which may hold secrets (signed URLs do)."""
    try:
        parts = urlsplit(url)
    except ValueError:  # cut out of a message in the middle of an IPv6 address
        return "<url>"
    return urlunsplit((parts.scheme, parts.netloc.rsplit("@", 1)[-1], parts.path, "", ""))


def file_path(url: str) -> str:
    """Path of a ``file:`` URL as :meth:`pathlib.Path.as_uri` writes it: escapes undone, a local host left out.

    Raises
    ------
    ValueError
        The URL names another host.
    """
    path = url[len("file:") :]
    if path.startswith("//"):
        host, slash, rest = path[2:].partition("/")
        if host not in ("", "localhost", "127.0.0.1"):
            raise ValueError(f"{url}: a file of another host ({host}); expected file:///path")
        path = slash + rest
    return unquote(path)


def local_path(text: str) -> str:
    """Return the path of a local file or folder, given as a path or as a ``file:`` URL."""
    return file_path(text) if text.startswith("file:") else text


def scrub(text: str) -> str:
    """Text with the secrets of every URL in it taken out: user, password, query."""
    return _URL.sub(lambda found: public_url(found.group()), text)
