"""URLs as they may be shown and stored: without user, password and signature."""

from __future__ import annotations

import re
from urllib.parse import urlsplit, urlunsplit

__all__ = ["public_url", "scrub"]

_URL = re.compile(r"[a-z][a-z0-9+.-]*://[^\s'\"<>)]+", re.IGNORECASE)


def public_url(url: str) -> str:
    """A URL without user, password, query and fragment, which may hold secrets (signed URLs do)."""
    try:
        parts = urlsplit(url)
    except ValueError:  # cut out of a message in the middle of an IPv6 address
        return "<url>"
    return urlunsplit((parts.scheme, parts.netloc.rsplit("@", 1)[-1], parts.path, "", ""))


def scrub(text: str) -> str:
    """Text with the secrets of every URL in it taken out: user, password, query."""
    return _URL.sub(lambda found: public_url(found.group()), text)
