"""How an object at a URL is reached: the store of obstore that requests it, with its credentials.

``https://`` URLs are taken whole, so signed ones keep their query; ``s3://`` URLs take the credentials of
the AWS environment, or those Earthdata gives for NSIDC's buckets.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

from is2ice.errors import GranuleError, installed, require

from . import earthdata

__all__ = ["SCHEMES", "ObjectAddress", "object_address", "s3_settings"]

#: Schemes read by byte ranges; others go through fsspec.
SCHEMES = ("http", "https", "s3")
#: Credentials are renewed this long before they end, s.
EARLY = 300.0


@dataclass
class ObjectAddress:
    """Address of an object: a store, a path in it, and the end of its credentials, s since 1970."""

    store: Any
    path: str
    until: float = float("inf")

    @property
    def stale(self) -> bool:
        """True if its credentials end so soon that the object should be addressed again."""
        return time.time() > self.until - EARLY


def object_address(url: str, *, timeout: float = 60.0) -> ObjectAddress:
    """Address an object in the store that holds it.

    Parameters
    ----------
    url : str
        ``http(s)://`` or ``s3://``.
    timeout : float
        Seconds a request may take, with its body.

    Raises
    ------
    GranuleError
        No credentials for a bucket.
    LoginError
        Earthdata credentials missing, expired or refused.
    """
    from datetime import timedelta

    from obstore.store import HTTPStore, S3Store

    client: Any = {
        "timeout": timedelta(seconds=timeout),
        "connect_timeout": timedelta(seconds=min(timeout, 10.0)),
    }
    once: Any = {"max_retries": 0}  # tried again, and counted, by whoever reads
    parts = urlsplit(url)
    if parts.scheme == "s3":
        settings, until = s3_settings(parts.netloc)
        client["allow_http"] = str(settings.get("endpoint", "")).startswith("http://")
        store: Any = S3Store(parts.netloc, **settings, client_options=client, retry_config=once)
        return ObjectAddress(store, unquote(parts.path.lstrip("/")), until)
    client["allow_http"] = parts.scheme == "http"
    given = earthdata.headers(url)
    if given:
        client["default_headers"] = given
    return ObjectAddress(HTTPStore.from_url(url, client_options=client, retry_config=once), "")


def s3_settings(bucket: str, profile: str | None = None) -> tuple[dict[str, Any], float]:
    """Return settings of obstore's S3 store for a bucket, and when its credentials end (seconds since 1970).

    Parameters
    ----------
    bucket : str
    profile : str, optional
        Section of the AWS configuration; by default that of ``AWS_PROFILE``.

    Raises
    ------
    GranuleError
        No credentials.
    """
    settings: dict[str, Any] = {"region": _region(profile)}
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    if endpoint:
        settings["endpoint"] = endpoint
    if os.environ.get("AWS_NO_SIGN_REQUEST", "").lower() in ("1", "yes", "true"):
        return settings | {"skip_signature": True}, float("inf")
    own = profile or "AWS_ACCESS_KEY_ID" in os.environ
    given = None if own else earthdata.s3_credentials(bucket)
    if given is not None:
        until = given.pop("expires")
        return settings | {"region": "us-west-2"} | given, until
    return settings | _aws_credentials(bucket, profile), time.time() + 900.0


def _aws_credentials(bucket: str, profile: str | None = None) -> dict[str, Any]:
    """Find credentials as botocore does: environment, profile, or the machine's role; asked again after a while."""
    key, secret = os.environ.get("AWS_ACCESS_KEY_ID"), os.environ.get("AWS_SECRET_ACCESS_KEY")
    if key and secret and not profile:  # the commonest case, without a further package
        out = {"access_key_id": key, "secret_access_key": secret}
        token = os.environ.get("AWS_SESSION_TOKEN")
        return out | ({"session_token": token} if token else {})
    require("botocore")
    import botocore.session

    session = botocore.session.Session(profile=profile)
    try:
        held = session.get_credentials()
        frozen = held.get_frozen_credentials() if held is not None else None
    except Exception as error:  # its text may hold paths and keys
        raise GranuleError(
            f"s3://{bucket}: the AWS credentials cannot be had ({type(error).__name__})"
        ) from None
    if frozen is None or not frozen.access_key:
        raise GranuleError(
            f"s3://{bucket}: no credentials for this bucket; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY "
            "(or AWS_PROFILE; or AWS_NO_SIGN_REQUEST=YES for a public one). NSIDC's buckets take is2ice.login() instead"
        )
    out = {"access_key_id": frozen.access_key, "secret_access_key": frozen.secret_key}
    return out | ({"session_token": frozen.token} if frozen.token else {})


def _region(profile: str | None) -> str:
    """Return the region of the environment, of the profile, or the default one."""
    named = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    if named:
        return named
    if not profile and not installed("botocore"):
        return "us-east-1"
    require("botocore")
    import botocore.session

    return botocore.session.Session(profile=profile).get_config_variable("region") or "us-east-1"
