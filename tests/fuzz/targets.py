"""What is done with a changed input, and what its outcome is worth."""

from __future__ import annotations

import json
import logging
import os
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import edits
import h5py
import numpy as np
import xarray as xr
from edits import Edit
from hypothesis import strategies as st

from is2ice.errors import Is2IceError
from is2ice.version import __version__

SAMPLE = Path(__file__).resolve().parents[2] / "sample_data"
#: Outcomes, the good ones first.
OUTCOMES = (
    "right",
    "noted",
    "refused",
    "own numbers",
    "changed in silence",
    "bare error",
    "memory",
    "crash",
    "hang",
)
GOOD = OUTCOMES[:4]
GEOSEGMENTS, BEAMS, CALIBRATIONS = 200, ("gt2r", "gt3r"), "ancillary_data/calibrations"
NUMBERS = (
    "height",
    "n_photons",
    "n_pulses",
    "h_ref",
    "freeboard",
    "surface_class",
    "delta_time",
    "latitude",
    "longitude",
)
#: Notes that say what follows from other numbers, and not that something is odd.
FOLLOWS = ("no lead", "leads left out", "beyond the reach of any lead")


# -- small inputs -------------------------------------------------------------------------------------
def small_granule(folder: Path) -> Path:
    """First geosegments of two beams of the sample, with fewer entries of calibration."""
    (source,) = SAMPLE.glob("ATL03*.h5")
    path = folder / source.name
    with h5py.File(source) as f, h5py.File(path, "w") as out:
        _copy_rest(f, out)
        for beam in BEAMS:
            photons = int(f[beam]["geolocation/segment_ph_cnt"][:GEOSEGMENTS].sum())
            rows = {
                "heights": photons,
                "geolocation": GEOSEGMENTS,
                "geophys_corr": GEOSEGMENTS,
                "bckgrd_atlas": 300,
            }
            for group, n in rows.items():
                for name, item in f[beam][group].items():
                    how = {"chunks": item.chunks, "maxshape": item.maxshape, "shuffle": item.shuffle}
                    values = item[:n]
                    out.create_dataset(f"{beam}/{group}/{name}", data=values, compression="gzip", **how)
            out[beam].attrs.update(f[beam].attrs)
            f.copy(f"{CALIBRATIONS}/dead_time/{beam}", out, f"{CALIBRATIONS}/dead_time/{beam}")
            for name, item in f[f"{CALIBRATIONS}/first_photon_bias/{beam}"].items():
                steps = {"width": (1, 12), "strength": (1, 8), "ffb_corr": (1, 8, 12)}.get(name, (1,))
                few = item[()][tuple(slice(None, None, k) for k in steps)]
                out[f"{CALIBRATIONS}/first_photon_bias/{beam}/{name}"] = few
    return path


def small_product(folder: Path, product: str) -> Path:
    """First rows of two beams of a product of the sample."""
    (source,) = SAMPLE.glob(f"{product}*.h5")
    path = folder / source.name
    datasets, _ = edits.contents(source)
    with h5py.File(source) as f, h5py.File(path, "w") as out:
        _copy_rest(f, out)
        for name in (n for n in datasets if n[:4] in BEAMS):
            out[name] = f[name][:150]
            out[name].attrs.update({k: v for k, v in f[name].attrs.items() if k in ("units", "_FillValue")})
        for beam in BEAMS:
            out[beam].attrs.update(f[beam].attrs)
    return path


def _copy_rest(f: h5py.File, out: h5py.File) -> None:
    """What belongs to no beam and is read."""
    for name in edits.contents(Path(f.filename))[0]:
        if name.startswith("orbit_info/") or name == "ancillary_data/release":
            out[name] = f[name][()]
    f.copy("METADATA", out)
    out.attrs.update(f.attrs)


@cache
def item() -> dict[str, Any]:
    """Item of the sample's scene, with absolute addresses."""
    (path,) = (p for p in SAMPLE.glob("sentinel-2-l2a/*/*.json"))
    document = json.loads(path.read_text())
    for asset in document["assets"].values():
        asset["href"] = str((path.parent / asset["href"]).resolve())
    return document


NAME = "ATL03_20191116193412_07410510_006_01"
START, END = "2019-11-16T19:34:12Z", "2019-11-16T19:39:00Z"
CROSSING = {
    "OrbitNumber": 6289,
    "EquatorCrossingLongitude": 12.3,
    "EquatorCrossingDateTime": "2019-11-16T18:34:12Z",
}
ORBIT = {
    "AscendingCrossing": 20.0,
    "StartLatitude": -50.0,
    "StartDirection": "D",
    "EndLatitude": -50.0,
    "EndDirection": "A",
}
ENTRY = {
    "meta": {"concept-id": "G1-T", "native-id": NAME, "provider-id": "NSIDC_CPRD"},
    "umm": {
        "GranuleUR": f"{NAME}.h5",
        "CollectionReference": {"ShortName": "ATL03", "Version": "006"},
        "TemporalExtent": {"RangeDateTime": {"BeginningDateTime": START, "EndingDateTime": END}},
        "OrbitCalculatedSpatialDomains": [CROSSING],
        "SpatialExtent": {"HorizontalSpatialDomain": {"Orbit": ORBIT}},
        "RelatedUrls": [
            {"URL": "https://x.invalid/a.h5", "Type": "GET DATA"},
            {"URL": "s3://x/a.h5", "Type": "GET DATA VIA DIRECT ACCESS"},
        ],
        "DataGranule": {"ArchiveAndDistributionInformation": [{"Size": 1.0, "SizeUnit": "MB"}]},
    },
}
REPLY = {"items": [ENTRY]}
DECLARATION = {
    "title": "A store",
    "schema_version": "1",
    "recipe": "run",
    "licence": "CC-BY-4.0",
    "citation": "none",
    "update": "never",
}
TRAINING = {
    "labelled": ["a.zarr"],
    "model": "m",
    "seed": 1,
    "architecture": "default",
    "data": {"split": "scene"},
    "training": {"epochs": 2},
}
CARD = {
    "format": 1,
    "kind": "windows",
    "architecture": "lstm",
    "parameters": {"units": 8},
    "is2ice": __version__,
    "weights": {"sha256": "a", "bytes": 3},
    "classes": {"thick_ice": 0, "thin_ice": 1, "open_water": 2},
}
CORRECTION = {
    "rows": [
        [f"{NAME}/gt2r", "100", "200", "thin_ice", "A", "why"],
        ["a/gt1l", "1", "2", "open_water", "B", "c"],
    ]
}


# -- what is done -------------------------------------------------------------------------------------
def read_granule(path: Path) -> xr.Dataset:
    from is2ice.workflows.track import one_track

    return one_track(path, "gt2r")


def read_product(path: Path) -> xr.DataTree:
    from is2ice.io.icesat2 import atl07_atl10
    from is2ice.reports.nasa_product_checks import check_atl07, check_atl10

    if path.name.startswith("ATL10"):
        tree = atl07_atl10.open_atl10(path)
        check_atl10(tree)
    else:
        tree = atl07_atl10.open_atl07(path)
        check_atl07(tree)
    return tree


def read_item(path: Path) -> dict[str, float]:
    from is2ice.sentinel2.scene import open_scene

    scene = open_scene(path, bands=("B04", "B03"))
    return {name: float(scene[name][::16, ::16].mean()) for name in ("B04", "B03")}


def read_reply(path: Path) -> list[tuple[Any, ...]]:
    from is2ice.io.catalogs import icesat2

    with catalogue(path.read_bytes()):
        frame = icesat2.search((-180.0, -85.0, 180.0, -60.0), ("2019-11-01", "2019-11-30"))
    return [
        tuple(map(str, row))
        for row in frame[["granule", "start", "end", "rgt", "https"]].itertuples(index=False)
    ]


@contextmanager
def catalogue(body: bytes) -> Iterator[None]:
    """A catalogue that answers everything with one body."""

    class Cmr(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("CMR-Hits", "1")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Cmr)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    before = os.environ.get("IS2ICE_CMR")
    os.environ["IS2ICE_CMR"] = f"http://127.0.0.1:{server.server_port}/search"
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        os.environ.pop("IS2ICE_CMR")
        if before is not None:
            os.environ["IS2ICE_CMR"] = before


def read_declaration(path: Path) -> Any:
    from is2ice.io.stores.declarations import credit, find_declaration

    return credit(find_declaration(str(path)))


def read_training(path: Path) -> Any:
    from is2ice.workflows.training_config import read_config

    return read_config(path)


def read_model_card(path: Path) -> Any:
    from is2ice.classifiers.model_folder import read_card

    return read_card(path.parent)


def read_corrections(path: Path) -> Any:
    from is2ice.science.labels.corrections import Corrections

    return Corrections.read(path)


# -- targets ------------------------------------------------------------------------------------------
class Target:
    """An input, how it is changed and read, and what it gives unchanged."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name, self.folder = name, folder
        folder.mkdir(parents=True, exist_ok=True)
        self.read, self.document, self.file = TARGETS[name]
        self.base: Path | None = None
        if name == "ATL03":
            self.base = small_granule(folder)
        elif name.startswith("ATL"):
            self.base = small_product(folder, name)
        if self.base is not None:
            self.datasets, self.groups = edits.contents(self.base)
            self.strategy = edits.of_hdf5(self.datasets, self.groups)
        else:
            self.strategy = edits.of_document(self.document())
        self._expected: Any = None

    def path(self, change: list[Edit]) -> Path:
        """The changed input, as a file."""
        (where := self.folder / "changed").mkdir(exist_ok=True)
        if self.base is not None:
            target = where / self.base.name
            edits.change_hdf5(self.base, target, change)
            return target
        target = where / self.file
        write = {".csv": _as_csv, ".toml": _as_toml}.get(target.suffix, json.dumps)
        text = edits.changed_document(self.document(), change, write)
        target.write_text(text, errors="surrogatepass")
        return target

    @property
    def expected(self) -> Any:
        if self._expected is None:
            self._expected = self.read(self.path([]))
        return self._expected

    def outcome(self, change: list[Edit]) -> tuple[str, str]:
        """Outcome of an edit, and a word on it."""
        expected = self.expected
        path = self.path(change)
        told: list[str] = []
        handler = _Told(told)
        logging.getLogger("is2ice").addHandler(handler)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                got = self.read(path)
        except Is2IceError as error:
            return "refused", f"{type(error).__name__}: {error}"[:300]
        except FileNotFoundError as error:
            return "refused", f"{error}"[:300]
        except MemoryError as error:
            return "memory", str(error)
        except Exception as error:
            return "bare error", f"{type(error).__name__}: {error}"[:300]
        finally:
            logging.getLogger("is2ice").removeHandler(handler)
        if isinstance(expected, xr.Dataset):
            same, noted = _compare_tracks(got, expected)
        elif isinstance(expected, xr.DataTree):
            same, noted = _compare_trees(got, expected, change)
        else:
            same, noted = (
                repr(got) == repr(expected),
                self.base is None and self.name not in ("item", "reply"),
            )
        if same:
            return "right", ""
        if noted or told:
            return "noted", "; ".join(told)[:200]
        return (
            "own numbers" if any(e.plausible for e in change) or self.base is None else "changed in silence"
        ), ""


class _Told(logging.Handler):
    def __init__(self, told: list[str]) -> None:
        super().__init__(logging.WARNING)
        self.told = told

    def emit(self, record: logging.LogRecord) -> None:
        self.told.append(record.getMessage())


def _compare_tracks(got: xr.Dataset, expected: xr.Dataset) -> tuple[bool, bool]:
    """Whether all numbers are the same, and whether those that are not have a note or a flag."""
    aligned = got.reindex(x_atc=expected["x_atc"])
    other = np.zeros(expected.sizes["x_atc"], bool)
    for name in NUMBERS:
        a, b = np.asarray(aligned[name], "f8"), np.asarray(expected[name], "f8")
        other |= np.isfinite(b) & ~(np.abs(a - b) < 2e-4)
        other |= np.isfinite(a) & ~np.isfinite(b)
    if not other.any() and got.sizes == expected.sizes:
        return True, False
    new = set(got.attrs["notes"]) - set(expected.attrs["notes"])
    if any(not any(words in note for words in FOLLOWS) for note in new):
        return False, True
    quality = np.asarray(aligned["segment_quality"], "f8") != np.asarray(expected["segment_quality"], "f8")
    reference = np.asarray(aligned["h_ref_flag"], "f8") != np.asarray(expected["h_ref_flag"], "f8")
    return False, bool(((quality | reference) | ~other).all() and got.sizes == expected.sizes)


def _compare_trees(got: xr.DataTree, expected: xr.DataTree, change: list[Edit]) -> tuple[bool, bool]:
    """The same for tables, whose variables that no edit touched must be as they were."""
    if got.attrs["notes"]:
        return False, True
    touched = {e.path.rpartition("/")[2] for e in change}
    for node in expected.subtree:
        for name, a in node.data_vars.items():
            if str(a.attrs.get("original", "")).rpartition("/")[2] in touched or touched & set(
                node.path.split("/")
            ):
                continue
            there = (
                got[node.path] if node.path.strip("/") in {n.path.strip("/") for n in got.subtree} else None
            )
            if there is None or name not in there:  # it is named by whatever asks for it
                continue
            if not np.array_equal(there[name], a, equal_nan=a.dtype.kind == "f"):
                return False, False
    return True, False


def _as_toml(document: Any) -> str:
    """A document as TOML."""
    return "\n".join(f"{json.dumps(name)} = {_toml_value(value)}" for name, value in document.items())


def _toml_value(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(k)} = {_toml_value(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml_value, value)) + "]"
    return "" if value is None else json.dumps(value)


def _as_csv(document: Any) -> str:
    """Corrections as CSV, or as JSON where they are no table any more."""
    try:
        lines = [",".join(map(str, row)) for row in document["rows"]]
    except (LookupError, TypeError):
        lines = [json.dumps(document)]
    return "\n".join(["track,x_atc_from,x_atc_to,label,who,why", *lines])


Reader = Callable[[Path], Any]
TARGETS: dict[str, tuple[Reader, Callable[[], Any], str]] = {
    "ATL03": (read_granule, dict, ""),
    "ATL07": (read_product, dict, ""),
    "ATL10": (read_product, dict, ""),
    "item": (read_item, item, "item.json"),
    "reply": (read_reply, lambda: REPLY, "reply.json"),
    "declaration": (read_declaration, lambda: DECLARATION, "store.toml"),
    "training": (read_training, lambda: TRAINING, "train.toml"),
    "card": (read_model_card, lambda: CARD, "card.json"),
    "corrections": (read_corrections, lambda: CORRECTION, "corrections.csv"),
}
#: Share of each in a run, in hundredths.
SHARES = {
    "ATL03": 45,
    "ATL07": 12,
    "ATL10": 13,
    "item": 10,
    "reply": 8,
    "declaration": 3,
    "training": 3,
    "card": 3,
    "corrections": 3,
}


def strategies(folder: Path) -> dict[str, st.SearchStrategy[list[Edit]]]:
    return {name: Target(name, folder / name).strategy for name in TARGETS}
