"""STAC catalogues: what each is called, how it is asked, and how its addresses become readable."""

from __future__ import annotations

import logging
import re
import time as clock
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, quote, urlsplit

from is2ice.errors import CatalogError, require
from is2ice.io.documents import LARGEST, parse_json
from is2ice.io.remote.patience import patient_session
from is2ice.io.urls import public_url, scrub

if TYPE_CHECKING:
    import pystac_client

__all__ = [
    "Endpoint",
    "catalog_errors",
    "endpoint",
    "endpoints",
    "request_io",
    "settings",
    "signed",
    "without_secrets",
]


@dataclass(frozen=True)
class Endpoint:
    """A STAC catalogue of Sentinel-2 scenes.

    Attributes
    ----------
    name, title, url : str
    collections : tuple of str
        Searched by default; all there are where empty.
    offset : {"flag", "stated", "baseline"}
        Source of the offset of digital numbers.
    sign : {"none", "token", "s3"}
    token_url : str
        Gives a token for a collection (``{collection}``), where ``sign`` is ``"token"``.
    hosts : tuple of str
        Hosts of addresses that need signing.
    gdal : mapping
        Settings for reading the files.
    retries, timeout : int, float
        Further attempts of a request to the catalogue, and seconds for each.
    """

    name: str
    url: str = field(repr=False)  # it may hold a password or token
    title: str = ""
    collections: tuple[str, ...] = ()
    offset: str = "stated"
    sign: str = "none"
    token_url: str = ""
    hosts: tuple[str, ...] = ()
    gdal: Mapping[str, str] = field(default_factory=dict)
    retries: int = 12
    timeout: float = 30.0

    def client(self) -> pystac_client.Client:
        """Open the catalogue, retrying what may pass (5xx, timeouts) with growing delays.

        Raises
        ------
        CatalogError
            Unreachable, or no STAC API.
        """
        require("pystac_client")
        import pystac_client

        with catalog_errors(self, "opened"):
            return pystac_client.Client.open(
                self.url, stac_io=request_io(self.retries, self.timeout), timeout=self.timeout
            )


@lru_cache(maxsize=1)
def settings() -> Mapping[str, Any]:
    """Read ``s2_endpoints.toml``."""
    return tomllib.loads(files(__package__).joinpath("s2_endpoints.toml").read_text())


def endpoints() -> dict[str, Endpoint]:
    """Return the named endpoints."""
    return {name: _endpoint(name, table) for name, table in settings()["endpoint"].items()}


def _endpoint(name: str, table: Mapping[str, Any]) -> Endpoint:
    fields: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in table.items()}
    return Endpoint(name=name, **fields)


def endpoint(where: str | Endpoint) -> Endpoint:
    """Return a named endpoint, or any STAC API by its address.

    Raises
    ------
    CatalogError
        Neither a name nor an address.
    """
    if isinstance(where, Endpoint):
        return where
    named = endpoints()
    if where in named:
        return named[where]
    for known in named.values():
        if known.url.rstrip("/") == where.rstrip("/"):
            return known
    if re.match(r"https?://", where):
        return Endpoint(name=public_url(where), url=where, title=public_url(where))
    raise CatalogError(
        f"endpoint {scrub(where)!r}: expected one of {', '.join(named)}, or the address of a STAC API"
    )


def request_io(retries: int, timeout: float) -> Any:
    """Send requests of a STAC client, repeated when a server is busy or slow, and bounded in size."""
    from pystac_client.stac_api_io import StacApiIO

    out = StacApiIO(max_retries=None, timeout=timeout)
    patient_session(out.session, timeout=timeout, limit=LARGEST, attempts=retries)
    return out


class catalog_errors:
    """Turn whatever a request raises into a CatalogError that says where and what next."""

    def __init__(self, where: Endpoint, what: str) -> None:
        self.where, self.what = where, what

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, fault: BaseException | None, trace: Any) -> None:
        import requests
        from pystac import STACError, STACTypeError
        from pystac_client.exceptions import APIError

        if not isinstance(
            fault, APIError | STACError | STACTypeError | requests.RequestException | ValueError | KeyError
        ):
            return
        text = re.sub(r"\s+", " ", without_secrets(str(fault), self.where.url) or type(fault).__name__)[:300]
        if status := getattr(fault, "status_code", None):
            text = f"HTTP {status}: {text}"
        hint = "the server may be overloaded or away: try later, or another endpoint"
        if isinstance(fault, STACError | STACTypeError | ValueError | KeyError) and not isinstance(
            fault, requests.RequestException
        ):
            hint = "is it the root of a STAC API?"
        url = public_url(self.where.url)
        name = self.where.name if self.where.name == url else f"{self.where.name} ({url})"
        # The fault itself holds the address that was asked, with whatever secrets it has.
        raise CatalogError(f"{name} could not be {self.what}: {text}; {hint}") from None


def without_secrets(text: str, url: str) -> str:
    """Remove queries, passwords and tokens of the address asked from the text of a fault."""
    text = re.sub(r"\?[^\s?'\"<>()]*=[^\s'\"<>()]*", "", scrub(text))  # of paths too, as urllib3 has them
    parts = urlsplit(url if "://" in url else "")
    secrets = [parts.password or "", *(value for _, value in parse_qsl(parts.query))]
    for secret in (s for s in secrets if len(s) > 3):  # shorter ones are numbers and flags
        text = text.replace(secret, "...").replace(quote(secret, safe=""), "...")
    return text


def _tidy(record: logging.LogRecord) -> bool:
    """Remove the query that urllib3 logs with a repeated request."""
    record.msg, record.args = without_secrets(record.getMessage(), ""), ()
    return True


logging.getLogger("urllib3.connectionpool").addFilter(_tidy)


# ---- signing ----

_tokens: dict[str, tuple[str, float]] = {}


def signed(href: str, collection: str, *, retries: int = 12, timeout: float = 30.0) -> str:
    """Return an address with a fresh token where its host needs one; others as they are.

    Raises
    ------
    CatalogError
        The token cannot be had.
    """
    if "?" in href:
        return href
    for site in endpoints().values():
        if site.sign == "token" and any(f"//{host}/" in href for host in site.hosts):
            return f"{href}?{_token(site, site.token_url.format(collection=collection), retries, timeout)}"
    return href


def _token(site: Endpoint, url: str, retries: int, timeout: float) -> str:
    token, until = _tokens.get(url, ("", 0.0))
    if until > clock.time() + 60.0:
        return token
    with catalog_errors(site, "asked for a token"):
        text = request_io(retries, timeout).read_text(url)
        document = parse_json(text, public_url(url), error=CatalogError)
        token = str(document["token"])
        until = datetime.fromisoformat(str(document["msft:expiry"])).timestamp()
    _tokens[url] = token, until
    return token
