"""Descriptions of NASA's products by icepyx, and orders: parts of granules cut by NASA's Harmony service.

Streaming needs no orders. They serve where many granules are wanted whole in time but small in area, and nothing can be
read by ranges. icepyx asks NASA's catalogue (CMR) and follows and fetches orders; harmony-py, on which it stands, takes
the request itself. Login, messages and silence are ours: no prompts, no prints, no file left in the working folder.
"""

from __future__ import annotations

import contextlib
import io
import os
import time as clock
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from is2ice.errors import CatalogError, require
from is2ice.io.remote.earthdata import login, token
from is2ice.science.epoch import span

from .areas import area as find_area
from .icesat2 import PRODUCTS, explained

__all__ = ["Order", "Product", "order", "product_info", "product_variables"]

#: Statuses after which nothing more happens by itself.
ENDED = ("successful", "failed", "canceled", "complete_with_errors", "paused")


@dataclass(frozen=True)
class Product:
    """Description of a product of one release.

    Attributes
    ----------
    name, release, title, summary : str
    start : str
        Time of the first data, UTC.
    collection : str
        Concept identifier in NASA's catalogue; of the copy in the cloud where there is one.
    releases : tuple of str
        All the catalogue holds.
    """

    name: str
    release: str
    title: str
    summary: str
    start: str
    collection: str
    releases: tuple[str, ...]


def product_info(product: str = "ATL03", release: str | int | None = None) -> Product:
    """Describe a product from NASA's catalogue, through icepyx; needs no login.

    Parameters
    ----------
    product : {"ATL03", "ATL07", "ATL10"}
    release : str or int, optional
        The latest by default.

    Raises
    ------
    CatalogError
        The catalogue cannot be reached, or holds no such release.
    """
    if product not in PRODUCTS:
        raise ValueError(f"product={product!r}: expected one of {', '.join(PRODUCTS)}")
    require("icepyx")
    with _words():
        from icepyx.core import is2ref

        found = is2ref.about_product(product)["feed"]["entry"]
    releases = tuple(sorted({str(e["version_id"]) for e in found}))
    wanted = f"{int(release):03d}" if release is not None else (releases[-1] if releases else "")
    entries = [e for e in found if e["version_id"] == wanted]
    if not entries:
        raise CatalogError(
            f"{product}: no release {wanted}; the catalogue holds {', '.join(releases) or 'none'}"
        )
    chosen = max(entries, key=lambda e: str(e["id"]).endswith("_CPRD"))
    return Product(
        product,
        wanted,
        str(chosen["title"]),
        str(chosen["summary"]),
        str(chosen.get("time_start", "")),
        str(chosen["id"]),
        releases,
    )


def product_variables(source: str | os.PathLike[str]) -> list[str]:
    """Paths of all variables of a product, as icepyx lists them.

    Parameters
    ----------
    source : str or path
        A granule on disk; or a product's name, for which icepyx asks its own list on the web.
    """
    require("icepyx")
    with _words():
        from icepyx.core.variables import Variables

        known = {"product": str(source)} if str(source) in PRODUCTS else {"path": os.fspath(source)}
        return sorted(Variables(**known).avail())


@dataclass(frozen=True)
class Order:
    """An order by the number of its job; another process takes it up by ``Order(job)``.

    Attributes
    ----------
    job : str
    """

    job: str

    def status(self) -> dict[str, Any]:
        """Status, message, progress (percent), times and address of the order, as Harmony tells them.

        Raises
        ------
        CatalogError, LoginError
        """
        with _words():
            return dict(self._order().status())

    def wait(self, seconds: float = 3600.0, every: float = 5.0) -> dict[str, Any]:
        """Wait until the order is done or stands still, and return its status.

        A status of "paused" or "complete_with_errors" means that files are absent: see :meth:`resume`.

        Raises
        ------
        CatalogError
            It failed, or was not done in time.
        """
        ended = self.follow(seconds, every)
        if ended["status"] in ("failed", "canceled"):
            raise CatalogError(f"order {self.job}: {ended['status']}: {ended.get('message', '')}"[:300])
        return ended

    def follow(self, seconds: float = 3600.0, every: float = 5.0) -> dict[str, Any]:
        """Wait until nothing more happens, and return the status, whatever it is.

        Raises
        ------
        CatalogError
            Still at work after that time.
        """
        until = clock.monotonic() + seconds
        while (now := self.status())["status"] not in ENDED:
            if clock.monotonic() > until:
                raise CatalogError(
                    f"order {self.job}: {now['progress']} % done after {seconds:g} s; wait again"
                )
            clock.sleep(every)
        return now

    def resume(self) -> None:
        """Let an order continue that Harmony paused after its preview, or skip the preview at work.

        Raises
        ------
        CatalogError, LoginError
        """
        with _words():
            order = self._order()
            status = order.status()["status"]
            if status == "paused":
                order.resume()
            elif status == "previewing":
                order.skip_preview()

    def download(self, folder: str | os.PathLike[str]) -> list[Path]:
        """Files of a finished order; those that are there already are not fetched again."""
        with _words():
            return sorted(Path(p) for p in self._order().download(folder) or [])

    def _order(self) -> Any:
        from icepyx.core.orders import DataOrder

        api = _harmony()
        api.job_ids = [self.job]
        return DataOrder(self.job, "subset", None, api)


def order(
    granules: Any,
    where: Any = None,
    time: tuple[Any, Any] | None = None,
    *,
    product: str = "ATL03",
    release: str | int | None = None,
    skip_preview: bool = False,
) -> Order:
    """Order parts of granules from NASA's Harmony, through icepyx.

    Parameters
    ----------
    granules : frame of :func:`is2ice.search`, name or names
    where : name of a sea, (west, south, east, north) or shapely polygon, optional
        Area to cut out of the granules.
    time : (start, end), optional
        UTC; an end given as a day includes that day.
    product, release : optional
        Product and release of the granules; by default as in their names.
    skip_preview : bool
        Harmony stops orders of more than 300 granules after the first few, unless this is set.

    Returns
    -------
    Order

    Raises
    ------
    LoginError
        Not logged in to Earthdata.
    CatalogError
        Harmony cannot be reached, or refuses.
    ValueError
        Nothing to order, or nothing to cut by.
    """
    require("icepyx", "harmony")
    import harmony

    names = _names(granules)
    if where is None and time is None:
        raise ValueError(
            "order: name an area or a time to cut by; whole granules are better streamed or downloaded"
        )
    parts = names[0].split("_")
    known = product_info(parts[0].split("-")[0] if len(parts) > 1 else product, release or _release(parts))
    within = None
    if time is not None:
        first, last = span(time)
        within = {"start": first.astype("datetime64[s]").item(), "stop": last.astype("datetime64[s]").item()}
    area: Any = None
    if where is not None:
        checked = find_area(where, "order")
        area = harmony.WKT(checked) if isinstance(checked, str) else harmony.BBox(*checked)
    more = {"skip_preview": True} if skip_preview else {}
    request = harmony.Request(
        harmony.Collection(known.collection), spatial=area, temporal=within, granule_name=names, **more
    )
    with _words():  # icepyx's own `place_order` leaves a file in the working folder
        job = _harmony().harmony_client.submit(request)
    return Order(str(job))


def _names(granules: Any) -> list[str]:
    if hasattr(granules, "columns"):
        granules = list(granules["granule"])
    names = [granules] if isinstance(granules, str) else [str(g) for g in granules]
    if not names:
        raise ValueError("order: no granule named")
    return [name if name.endswith(".h5") else f"{name}.h5" for name in names]


def _release(parts: Iterable[str]) -> str | None:
    return next((p for p in parts if len(p) == 3 and p.isdigit()), None)


def _harmony() -> Any:
    """Return icepyx's client of Harmony, with the token of our own login in place of a name and a password."""
    require("icepyx", "harmony")
    import harmony
    from icepyx.core.auth import EarthdataAuthMixin
    from icepyx.core.harmony import HarmonyApi

    auth = login()

    class Api(HarmonyApi):
        def __init__(self) -> None:
            EarthdataAuthMixin.__init__(self)
            self._auth, self._ipx_version = auth, "is2ice"
            self.job_ids: list[str] = []
            self.harmony_client = harmony.Client(token=token(), check_interval=1.0)

    return Api()


@contextlib.contextmanager
def _words() -> Iterator[None]:
    """Silence icepyx and Harmony, and put their failures into words that hold no secrets."""
    from is2ice.io.remote.earthdata import LoginError

    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            yield
    except (CatalogError, LoginError, ImportError):
        raise
    except Exception as error:
        raise explained(error, "NASA's catalogue or order service (Harmony)") from None
