"""Earthdata login without prompts: from the environment or netrc, through earthaccess.

Only the hosts of Earthdata are ever given the token, and only over https.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from is2ice.errors import Is2IceError, require

if TYPE_CHECKING:
    import earthaccess

__all__ = ["LoginError", "headers", "is_earthdata", "logged_in", "login", "s3_credentials", "token"]

#: Hosts, and all below them, that may see the token.
HOSTS = ("earthdata.nasa.gov", "earthdatacloud.nasa.gov", "ecs.nsidc.org")
#: Buckets of NSIDC's archive, which give credentials of their own in region.
BUCKETS = ("nsidc-cumulus-prod-protected", "nsidc-cumulus-prod-public")
HELP = (
    "set EARTHDATA_TOKEN, or EARTHDATA_USERNAME and EARTHDATA_PASSWORD, or put urs.earthdata.nasa.gov into "
    "~/.netrc (an account is free: https://urs.earthdata.nasa.gov)"
)


class LoginError(Is2IceError, PermissionError):
    """Earthdata credentials are missing, expired or refused."""


def login(*, again: bool = False) -> earthaccess.Auth:
    """Log in to Earthdata with what the environment or netrc holds; never asks anything.

    Parameters
    ----------
    again : bool
        Also when logged in already, since the token may have expired or the environment changed.

    Returns
    -------
    earthaccess.Auth

    Raises
    ------
    LoginError
        Nothing to log in with, a token that has expired, or a refusal.
    """
    require("earthaccess")
    import earthaccess

    auth = earthaccess.__auth__
    if auth.authenticated and not again and not _expired(auth):
        return auth
    auth.authenticated, auth.token = False, None
    for strategy in ("environment", "netrc"):
        if strategy == "environment" and (text := os.environ.get("EARTHDATA_TOKEN")):
            _check_age(text, "EARTHDATA_TOKEN")
        try:
            auth.login(strategy=strategy)  # earthaccess.login would make requests of its own besides
        except Exception as error:
            if type(error).__name__ == "LoginStrategyUnavailable":
                continue
            raise _failed(strategy, error) from None  # its text and cause may hold what was sent
        if auth.authenticated:
            return auth
    raise LoginError(f"Earthdata: no credentials found; {HELP}")


def logged_in() -> bool:
    """Return True if this process is logged in with a token that is still valid."""
    import sys

    if "earthaccess" not in sys.modules:
        return False
    require("earthaccess")
    import earthaccess

    auth = getattr(earthaccess, "__auth__", None)
    return bool(getattr(auth, "authenticated", False)) and not _expired(auth)


def token() -> str | None:
    """Return the bearer token: of the session, else of ``EARTHDATA_TOKEN``; None without either.

    A worker on another machine thus logs in by the same environment as its client.
    """
    if logged_in():
        import earthaccess

        held = earthaccess.__auth__.token
        return None if not held else str(held["access_token"])
    text = os.environ.get("EARTHDATA_TOKEN")
    return text if text and _expiry(text) > time.time() else None


def is_earthdata(url: str) -> bool:
    """Return True if a URL is of a host that may see the token."""
    parts = urlsplit(url)
    host = (parts.hostname or "").lower()
    return parts.scheme == "https" and any(host == known or host.endswith(f".{known}") for known in HOSTS)


def headers(url: str) -> dict[str, str]:
    """Return the headers that a request to a URL needs: none, or Earthdata's bearer token.

    Raises
    ------
    LoginError
        An address of Earthdata, and no credentials for it, or bad ones.
    """
    if not is_earthdata(url):
        return {}
    held = token()
    if held is None:
        try:
            login()
        except LoginError as error:
            name = urlsplit(url).path.rsplit("/", 1)[-1]
            raise LoginError(f"{name}: {error}") from None
        held = token()
    return {"Authorization": f"Bearer {held}"} if held else {}


def s3_credentials(bucket: str) -> dict[str, Any] | None:
    """Temporary credentials of an NSIDC bucket, good within AWS us-west-2; None for any other bucket.

    Returns
    -------
    dict or None
        ``access_key_id``, ``secret_access_key``, ``session_token`` and ``expires`` (seconds since 1970).

    Raises
    ------
    LoginError
        Not logged in, or refused.
    """
    if bucket not in BUCKETS:
        return None
    from datetime import datetime

    auth = login()
    try:
        got = auth.get_s3_credentials(daac="NSIDC")
        return {
            "access_key_id": got["accessKeyId"],
            "secret_access_key": got["secretAccessKey"],
            "session_token": got["sessionToken"],
            "expires": datetime.fromisoformat(str(got["expiration"])).timestamp(),
        }
    except Exception as error:
        raise LoginError(
            f"Earthdata gave no S3 credentials for {bucket} ({type(error).__name__}); is NSIDC's licence accepted "
            "in your Earthdata profile? Outside AWS us-west-2 use the https address"
        ) from None


def in_region() -> bool:
    """Return True if this machine's settings say AWS us-west-2, the region of the archive.

    Told by ``AWS_REGION`` or ``AWS_DEFAULT_REGION`` together with a sign of AWS itself; no request is made.
    """
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    signs = ("AWS_EXECUTION_ENV", "ECS_CONTAINER_METADATA_URI_V4", "AWS_WEB_IDENTITY_TOKEN_FILE")
    return region == "us-west-2" and any(os.environ.get(sign) for sign in signs)


def _expiry(text: str) -> float:
    """When a token ends, seconds since 1970; never where it does not say."""
    try:
        body = text.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
        return float(claims["exp"])
    except (IndexError, KeyError, TypeError, ValueError, binascii.Error):
        return float("inf")


def _expired(auth: Any) -> bool:
    held = getattr(auth, "token", None)
    return held is not None and _expiry(str(held.get("access_token", ""))) <= time.time()


def _check_age(text: str, where: str) -> None:
    until = _expiry(text)
    if until <= time.time():
        day = time.strftime("%Y-%m-%d", time.gmtime(until))
        raise LoginError(
            f"Earthdata: the token in {where} expired on {day}; make a new one at "
            "https://urs.earthdata.nasa.gov/profile"
        )


def _failed(strategy: str, error: Exception) -> LoginError:
    where = "the environment" if strategy == "environment" else "netrc"
    if type(error).__name__ == "LoginAttemptFailure":
        return LoginError(
            f"Earthdata refused the user name and password of {where}; are they right, and is the account active?"
        )
    return LoginError(
        f"Earthdata Login cannot be reached with the credentials of {where} ({type(error).__name__}); try again, "
        "or set EARTHDATA_TOKEN, which needs no request"
    )
