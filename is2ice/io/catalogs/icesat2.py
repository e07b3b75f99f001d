"""Search of ICESat-2 granules in NASA's catalogue (CMR): by area, time, track, cycle and release.

earthaccess asks the catalogue. The answers are then held against the real ground track of each pass
(:mod:`is2ice.io.catalogs.orbits`), since the catalogue over-returns near the poles.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from is2ice.errors import CatalogError, GranuleError, require
from is2ice.io.documents import parse_json
from is2ice.io.remote.earthdata import logged_in
from is2ice.io.remote.patience import patient_session, wait_asked_for
from is2ice.io.remote.source import Source
from is2ice.science.epoch import instant, span, stamp
from is2ice.science.footprints import cut_antimeridian

from .areas import search_shape
from .orbits import HALF_WIDTH, ground_track, meets

if TYPE_CHECKING:
    import geopandas
    from shapely.geometry.base import BaseGeometry

__all__ = ["COLUMNS", "explained", "granule_frame", "granule_map", "matching", "resolve_granule", "search"]

log = logging.getLogger("is2ice")
PRODUCTS = ("ATL03", "ATL07", "ATL10")
#: Entries of a page (the most that CMR gives), and seconds that a request may take.
PAGE, TIMEOUT = 2000, 120.0
#: Most bytes of a page; an entry has some thousands.
LARGEST_PAGE = 512 * 2**20
#: Columns of a frame of granules, besides ``geometry``; ``granule_item`` is what is2ice.open_track opens.
COLUMNS = (
    "granule",
    "start",
    "end",
    "rgt",
    "cycle",
    "region",
    "release",
    "size_mb",
    "https",
    "s3",
    "granule_item",
)
_NAME = re.compile(r"(ATL\d\d)(?:-(\d\d))?_(\d{14})_(\d{4})(\d\d)(\d\d)_(\d{3})_(\d\d)")


def search(
    where: Any = None,
    time: tuple[Any, Any] | None = None,
    *,
    product: str = "ATL03",
    release: str | int | None = None,
    rgt: int | Iterable[int] | None = None,
    cycle: int | Iterable[int] | None = None,
    name: str | None = None,
    limit: int | None = None,
) -> geopandas.GeoDataFrame:
    """ICESat-2 granules that meet an area.

    The environment variable ``IS2ICE_CMR`` names another catalogue of the kind of NASA's.

    Parameters
    ----------
    where : name of a sea, (west, south, east, north) or shapely geometry, optional
        Degrees; west > east crosses the antimeridian.
    time : (start, end), optional
        UTC; an end given as a day includes that day.
    product : {"ATL03", "ATL07", "ATL10"}
    release : str or int, optional
        Such as ``"006"``; by default all the catalogue holds.
    rgt, cycle : int or iterable of int, optional
        Reference ground tracks (1 to 1387) and 91-day cycles.
    name : str, optional
        Name of a granule, with ``?`` and ``*``, in place of track and cycle.
    limit : int, optional
        Most granules taken from the catalogue for each piece of the area; by default all that it holds. What is
        left out is logged as a warning.

    Returns
    -------
    geopandas.GeoDataFrame
        :data:`COLUMNS` and ``geometry``, the nadir track (EPSG:4326, cut at the antimeridian), by time. Rows
        open with :func:`is2ice.open_track`.

    Raises
    ------
    CatalogError
        The catalogue cannot be reached, refuses, or gives fewer entries than it says it holds.
    ValueError
        Nothing to search by.
    """
    require("earthaccess")
    if product not in PRODUCTS:
        raise ValueError(f"product={product!r}: expected one of {', '.join(PRODUCTS)}")
    names = _names(product, rgt, cycle) if name is None else [name]
    if where is None and time is None and not names:
        raise ValueError("search: name an area, a time, a track or a granule; the whole archive is too much")
    shape = None if where is None else search_shape(where, "search")
    time = None if time is None else span(time)
    found: dict[str, Any] = {}
    for piece in [None] if shape is None else getattr(shape, "geoms", [shape]):
        for granule in _ask(product, release, time, piece, names, limit):
            found[str(granule["meta"]["concept-id"])] = granule
    frame = granule_frame(found.values())
    if shape is not None and len(frame):
        near = [_near(row, shape) for _, row in frame.iterrows()]
        frame = frame[near].reset_index(drop=True)
    frame = _one_of_each(frame)
    log.info("%s: %d granules found, %d kept", product, len(found), len(frame))
    return frame


def matching(granule: str, product: str = "ATL10", **options: Any) -> geopandas.GeoDataFrame:
    """Granules of another product of the same orbit, such as the ATL10 of an ATL03.

    Parameters
    ----------
    granule : str
        Name of a granule.
    product : str
    **options
        ``release`` of :func:`search`; that of `granule` by default.

    Raises
    ------
    ValueError
        Not a granule's name.
    """
    found = _NAME.search(str(granule))
    if found is None:
        raise ValueError(f"{granule!r}: expected a name such as ATL03_20191104195311_05940510_006_01")
    region = int(found[6])
    hemisphere = found[2] or ("01" if region <= 6 or region >= 13 else "02")
    options = {"release": found[7], **options}
    frame = search(product=product, rgt=int(found[4]), cycle=int(found[5]), **options)
    same = frame["granule"].str.contains(f"^{product}-{hemisphere}_")
    return frame if product == "ATL03" else frame[same].reset_index(drop=True)


def resolve_granule(source: Any) -> Any:
    """Resolve a bare granule name to its URL through CMR; return any other source unchanged.

    Parameters
    ----------
    source : str or any
        Such as ``"ATL03_20191104195311_05940510_006_01"``, with or without ``.h5``.

    Returns
    -------
    str or any
        In region the address in its bucket, elsewhere https.

    Raises
    ------
    GranuleError
        NASA's catalogue holds no such granule.
    CatalogError
        It cannot be asked.
    """
    bare = source.removesuffix(".h5") if isinstance(source, str) else ""
    if _NAME.fullmatch(bare) is None or os.path.exists(source):
        return source
    try:
        frame = search(product=bare[:5], name=f"{bare}*")
    except CatalogError as error:
        raise CatalogError(
            f"{source}: no file of this name here, and its address cannot be asked for: {error}"
        ) from None
    frame = frame[frame["granule"] == bare]
    if not len(frame):
        raise GranuleError(
            f"{source}: no file of this name here, and no such granule in NASA's catalogue (CMR)"
        )
    return Source.of(frame["granule_item"].iloc[0]).url


# -- asking -------------------------------------------------------------------------------------------
def _names(product: str, rgt: Any, cycle: Any) -> list[str]:
    """Patterns of granule names for tracks and cycles; those of sea ice products hold the hemisphere."""
    tracks, cycles = _numbers(rgt, "rgt", 1387, 4), _numbers(cycle, "cycle", 99, 2)
    if not tracks and not cycles:
        return []
    head = product if product == "ATL03" else f"{product}-??"
    return [f"{head}_{'?' * 14}_{t}{c}??_*" for c in cycles or ["??"] for t in tracks or ["????"]]


def _numbers(value: Any, what: str, most: int, digits: int) -> list[str]:
    if value is None:
        return []
    values = [int(v) for v in (value if isinstance(value, Iterable) else [value])]
    wrong = [v for v in values if not 1 <= v <= most]
    if wrong:
        raise ValueError(f"{what}={wrong[0]}: expected 1 to {most}")
    return [f"{v:0{digits}d}" for v in values]


def _ask(product: str, release: Any, time: Any, piece: Any, names: list[str], limit: int | None) -> list[Any]:
    require("earthaccess")
    import earthaccess
    import requests

    try:
        query = earthaccess.DataGranules(earthaccess.__auth__ if logged_in() else None).short_name(product)
        base = os.environ.get("IS2ICE_CMR")
        if base:
            query.mode(base.rstrip("/") + "/")
        if release is not None:
            query.version(f"{int(release):03d}")
        if time is not None:
            query.temporal(stamp(time[0]), stamp(time[1]))
        if piece is not None:
            query.bounding_box(*_with_margin(piece))
        if names:
            query.readable_granule_name(names)
        return list(_entries(query, limit))
    except (
        RuntimeError,
        requests.RequestException,
        KeyError,
        TypeError,
        ValueError,
        AttributeError,
    ) as error:
        raise explained(error) from None


def _entries(query: Any, limit: int | None) -> Iterator[dict[str, Any]]:
    """Entries of all pages of a query, each once, counted against what the catalogue says it holds.

    earthaccess ends at the first short page; the catalogue itself ends where it has given all of its hits.
    """
    import requests

    seen: set[str] = set()
    patient_session(query.session, timeout=TIMEOUT, limit=LARGEST_PAGE)
    headers, hits = dict(query.headers or {}), 0
    while True:
        response = query.session.get(
            query._build_url(),
            headers=headers,
            params={"page_size": min(PAGE, limit or PAGE)},
            timeout=TIMEOUT,
        )
        if not response.ok:
            raise requests.HTTPError(response.text, response=response)
        page = parse_json(response.content, "NASA's catalogue (CMR)", error=CatalogError)["items"]
        hits = int(response.headers.get("CMR-Hits", len(seen) + len(page)))
        for entry in page:
            if (key := str(entry["meta"]["concept-id"])) not in seen:
                seen.add(key)
                yield entry
                if limit is not None and len(seen) >= limit:
                    if hits > limit:
                        log.warning(
                            "the catalogue holds %d granules, limit=%d leaves out the rest", hits, limit
                        )
                    return
        following = response.headers.get("CMR-Search-After")
        if len(seen) >= hits or not page or following is None:
            break
        headers["cmr-search-after"] = following
    if len(seen) < hits:
        raise CatalogError(
            f"NASA's catalogue (CMR) says that it holds {hits:,} granules and gave {len(seen):,}; try again"
        )


def _with_margin(piece: BaseGeometry) -> tuple[float, float, float, float]:
    """Box to ask for: the catalogue knows the nadir line, and beams lie beside it."""
    west, south, east, north = piece.bounds
    high = HALF_WIDTH / 111_000.0
    south, north = max(south - high, -90.0), min(north + high, 90.0)
    wide = high / max(float(np.cos(np.radians(max(abs(south), abs(north))))), 1e-3)
    if east - west + 2 * wide >= 360.0:
        return -180.0, south, 180.0, north
    west, east = ((v + 180.0) % 360.0 - 180.0 for v in (west - wide, east + wide))
    return west, south, east, north


def _one_of_each(frame: geopandas.GeoDataFrame) -> geopandas.GeoDataFrame:
    """One row a granule where several providers hold it: the one in the cloud, which can be streamed."""
    cloud = frame["s3"].notna() | frame["granule_item"].map(_in_cloud).astype(bool)
    order = cloud[~cloud].index.append(cloud[cloud].index)  # the last of a name is kept
    kept = frame.loc[order].drop_duplicates("granule", keep="last").index
    return frame.loc[sorted(kept)].reset_index(drop=True)


def _in_cloud(granule: Any) -> bool:
    meta = granule.get("meta")
    provider = str(meta.get("provider-id", "")) if isinstance(meta, Mapping) else ""
    return provider.endswith(("_CPRD", "_CLOUD", "CLOUD"))


def explained(error: Exception, who: str = "NASA's catalogue (CMR)") -> CatalogError:
    """Describe a service's failure in its own words, without addresses and tokens."""
    import requests

    text = re.sub(r"\s+", " ", re.sub(r"https?://\S+", "", str(error)))[:200]
    response = getattr(error, "response", None)
    if response is None:
        response = getattr(error.__cause__, "response", None)
    status = getattr(response, "status_code", None)
    if isinstance(error, requests.RequestException) and status is None:
        return CatalogError(f"{who} cannot be reached ({type(error).__name__}); try again later")
    if status in (401, 403) or "Token" in text:
        return CatalogError(
            f"{who} refused the login (HTTP {status or 401}): the token may have expired; log in "
            "again with is2ice.login(again=True)"
            + (", or search without a login" if who.endswith("(CMR)") else "")
        )
    asked = wait_asked_for(response.headers.get("Retry-After")) if response is not None else None
    when = f"; it asks to wait {asked:,.0f} s (Retry-After): try again then" if asked else ""
    return CatalogError(f"{who} answered with an error{f' (HTTP {status})' if status else ''}: {text}{when}")


# -- answers ------------------------------------------------------------------------------------------
def granule_frame(granules: Iterable[Any]) -> geopandas.GeoDataFrame:
    """Catalogue entries as a frame with one row a granule.

    Parameters
    ----------
    granules : iterable of earthaccess.DataGranule
        Or the dictionaries of UMM-G they are made of.

    Returns
    -------
    geopandas.GeoDataFrame
        :data:`COLUMNS` and ``geometry``.
    """
    require("geopandas", "earthaccess")
    import geopandas
    import pandas as pd
    from earthaccess.results import DataGranule

    rows, lines = [], []
    for one in granules:
        try:
            granule = one if isinstance(one, DataGranule) else DataGranule(_filled(one))
            row, line = _row(granule), _line(granule["umm"])
        except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as fault:
            log.warning(
                "an entry of the catalogue is none of a granule (%s: %s); left out",
                type(fault).__name__,
                fault,
            )
            continue
        rows.append(row)
        lines.append(line)
    frame = geopandas.GeoDataFrame(pd.DataFrame(rows, columns=list(COLUMNS)), geometry=lines, crs="EPSG:4326")
    for column in ("start", "end"):
        time = pd.to_datetime(frame[column], utc=True, format="ISO8601", errors="coerce").dt.tz_localize(None)
        if (lost := frame["granule"][time.isna() & frame[column].notna()]).size:
            log.warning("%s of %s is no time in the catalogue", column, ", ".join(map(str, lost[:3])))
        frame[column] = time
    return frame.sort_values(["start", "granule"], ignore_index=True)


def _filled(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return an entry in which fields that are null are absent, and absent lists of addresses are empty."""
    umm = {k: v for k, v in entry["umm"].items() if v is not None}
    return {**entry, "umm": {"RelatedUrls": [], **umm}}


def _span_of(umm: Mapping[str, Any], named: re.Match[str] | None) -> tuple[Any, Any]:
    """Beginning and end of a granule, by the time in its name where the entry has none."""
    extent = umm.get("TemporalExtent") or {}
    within = extent.get("RangeDateTime") or {}
    start = within.get("BeginningDateTime") or extent.get("SingleDateTime")
    if start is None and named is not None:
        start = stamp(instant(named[3]))
    return start, within.get("EndingDateTime") or start


def _row(granule: Any) -> dict[str, Any]:
    umm = granule["umm"]
    https = [link for link in granule.data_links(access="external") if link.endswith(".h5")]
    direct = [link for link in granule.data_links(access="direct") if link.endswith(".h5")]
    listed = [str(d.get("Identifier")) for d in (umm.get("DataGranule") or {}).get("Identifiers") or []]
    named = next(
        (m for text in (*https, *direct, *listed, umm["GranuleUR"]) if (m := _NAME.search(str(text)))), None
    )
    start, end = _span_of(umm, named)
    return {
        "granule": named[0] if named else str(umm["GranuleUR"]),
        "start": start,
        "end": end,
        "rgt": int(named[4]) if named else None,
        "cycle": int(named[5]) if named else None,
        "region": int(named[6]) if named else None,
        "release": named[7] if named else str((umm.get("CollectionReference") or {}).get("Version", "")),
        "size_mb": round(float(granule["size"] or 0.0), 1),
        "https": https[0] if https else None,
        "s3": direct[0] if direct else None,
        "granule_item": granule,
    }


def _line(umm: Mapping[str, Any]) -> BaseGeometry | None:
    """Return the pass on the ground; None where the entry does not tell its orbit."""
    require("shapely")
    from shapely import LineString, union_all

    lines = [
        cut_antimeridian(LineString(np.column_stack(ground_track(float(o["AscendingCrossing"]), *_ends(o)))))
        for o in _orbits(umm)
    ]
    return union_all(lines) if lines else None


def _orbits(umm: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    orbit = ((umm.get("SpatialExtent") or {}).get("HorizontalSpatialDomain") or {}).get("Orbit")
    if orbit and all(orbit.get(name) is not None for name in _ORBIT):
        yield orbit


_ORBIT = ("AscendingCrossing", "StartLatitude", "StartDirection", "EndLatitude", "EndDirection")


def _ends(orbit: Mapping[str, Any]) -> tuple[tuple[float, str], tuple[float, str]]:
    return (
        (float(orbit["StartLatitude"]), str(orbit["StartDirection"])),
        (float(orbit["EndLatitude"]), str(orbit["EndDirection"])),
    )


def _near(row: Any, shape: BaseGeometry) -> bool:
    """Return True if a pass meets the area; a pass of unknown orbit is kept."""
    tracks = [
        ground_track(float(o["AscendingCrossing"]), *_ends(o)) for o in _orbits(row["granule_item"]["umm"])
    ]
    return not tracks or any(meets(longitude, latitude, shape) for longitude, latitude in tracks)


def granule_map(frame: geopandas.GeoDataFrame, path: str | os.PathLike[str] | None = None) -> Any:
    """Return a map of granules to look at in a browser.

    Parameters
    ----------
    frame : geopandas.GeoDataFrame
        From :func:`search`.
    path : path, optional
        Written there as one HTML file.

    Returns
    -------
    folium.Map
    """
    require("folium")
    import folium

    chart = folium.Map(tiles="CartoDB positron", control_scale=True)
    for _, row in frame.iterrows():
        if row.geometry is None:
            continue
        told = folium.Tooltip(f"{row['granule']}<br>{row['start']:%Y-%m-%d %H:%M:%S} UTC")
        for piece in getattr(row.geometry, "geoms", [row.geometry]):
            folium.PolyLine(
                [(y, x) for x, y in piece.coords], color="#c1272d", weight=2, tooltip=told
            ).add_to(chart)
    if len(frame):
        chart.fit_bounds(chart.get_bounds())  # type: ignore[arg-type]
    if path is not None:
        chart.save(os.fspath(path))
    return chart
