"""Maps of surface class from many Sentinel-2 scenes, on any engine, in a folder or a bucket.

Each scene becomes two objects: ``<scene>.tif``, a GeoTIFF, and ``<scene>.json``, which describes it. The second is
written last, so that a map is whole or not there, and a later call finds that nothing is to be done.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

import xarray as xr

from is2ice import schema
from is2ice.classifiers.registry import ModelReference
from is2ice.errors import CatalogError, StoreError
from is2ice.io.catalogs.sentinel2 import item_of
from is2ice.io.documents import parse_json
from is2ice.io.remote.location import Location, location
from is2ice.io.urls import public_url, scrub
from is2ice.science import epoch
from is2ice.version import __version__

from .execution import RunKeywords, RunSettings

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["ClassMaps", "make_class_maps", "open_class_map"]

#: Fields by which the description of a map is known from other documents.
_DESCRIBED = ("inputs", "map", "checksum")


@dataclass(frozen=True)
class ClassMaps:
    """Outcome of :func:`make_class_maps`.

    Attributes
    ----------
    folder : str
        Folder or address of the maps.
    receipts : tuple of dict
        One per scene: ``scene``, ``outcome`` ("done", "skipped" or "failed"), ``error``, ``map``, ``shares``,
        ``seconds``.
    seconds : float
    """

    folder: str
    receipts: tuple[dict[str, Any], ...] = field(repr=False)
    seconds: float

    @property
    def failed(self) -> tuple[dict[str, Any], ...]:
        """Receipts of scenes without a map."""
        return tuple(r for r in self.receipts if r["outcome"] == "failed")

    def table(self) -> pd.DataFrame:
        """Return a table with one row per scene."""
        import pandas as pd

        return pd.json_normalize(list(self.receipts))

    def report(self) -> str:
        """Report each scene in a line."""
        lines = []
        for r in sorted(self.receipts, key=lambda r: str(r["scene"])):
            shares = ", ".join(f"{v:.1%} {k.replace('_', ' ')}" for k, v in r.get("shares", {}).items() if v)
            told = f"FAILED: {r['error']}" if r["outcome"] == "failed" else f"{r['outcome']}; {shares}"
            lines.append(f"{r['scene']}: {told}")
        counts = [
            f"{sum(r['outcome'] == kind for r in self.receipts)} {kind}"
            for kind in ("done", "skipped", "failed")
        ]
        return "\n".join([*lines, f"{', '.join(counts)} in {self.seconds:.1f} s; maps in {self.folder}"])


def make_class_maps(
    scenes: Any,
    folder: str | os.PathLike[str] | Location,
    *,
    classes: Mapping[str, Any] | None = None,
    settings: RunSettings | None = None,
    **keywords: Unpack[RunKeywords],
) -> ClassMaps:
    """Classify many scenes and write a map of each; a scene that fails stops no other.

    Parameters
    ----------
    scenes : iterable of STAC items, or GeoDataFrame
        Items in any form (:func:`is2ice.sentinel2.open_scene`), or a result of :func:`is2ice.search_scenes`.
    folder : path or address
        Folder or bucket to write to. Finished maps of the same scenes and options are kept;
        damaged ones are made again.
    classes : mapping, optional
        Options of :func:`is2ice.sentinel2.class_map`; ``classifier`` may also be the folder or address of a U-Net.
    settings : RunSettings, optional
    **keywords
        Settings as for :func:`is2ice.run`.

    Returns
    -------
    ClassMaps

    Raises
    ------
    ValueError
        No scene, or an unknown engine or setting.
    """
    began = time.perf_counter()
    settings = RunSettings.merged(settings, keywords)
    root = location(folder, settings.storage_options)
    options = dict(classes or {})
    reference = ModelReference.of(options["classifier"]) if options.get("classifier") is not None else None
    if reference is not None:
        options["classifier"] = reference
    receipts: list[dict[str, Any]] = []
    items = list(_items(scenes, receipts))
    if not items and not receipts:
        raise ValueError("nothing to classify: expected at least one scene")
    threads = settings.execution.name == "serial"
    task = _Classify(root, options, settings.overwrite, "threads" if threads else "synchronous")
    for item, result in settings.execution.map(task, items, reference.share() if reference else {}):
        failed = isinstance(result, BaseException)
        receipts.append(_failure(item["id"], result) if failed else result)
    return ClassMaps(root.url, tuple(receipts), time.perf_counter() - began)


def open_class_map(folder: str | os.PathLike[str] | Location, scene: str) -> xr.Dataset:
    """Open a map that :func:`make_class_maps` has written, as :func:`is2ice.sentinel2.class_map` returns it.

    Parameters
    ----------
    folder : path or address
    scene : str
        Id of the scene.

    Raises
    ------
    StoreError
        No such map, one that is not what was written, or another document in place of its description.
    """
    from is2ice.sentinel2.class_map_files import read_classes

    root = location(folder)
    about, raw = _about(root, scene), root.read(f"{scene}.tif")
    if about is None or raw is None:
        raise StoreError(f"{root.name}: no class map of {scene}; make it with is2ice classmaps")
    if hashlib.sha256(raw[0]).hexdigest() != about["checksum"]:
        raise StoreError(f"{root.name}/{scene}.tif: damaged (checksum); make it again with is2ice classmaps")
    with tempfile.TemporaryDirectory(prefix="is2ice-") as scratch:
        file = Path(scratch) / f"{scene}.tif"
        file.write_bytes(raw[0])
        return read_classes(file).load(scheduler="synchronous").assign_attrs(about["attributes"])


def _items(scenes: Any, receipts: list[dict[str, Any]]) -> Iterable[dict[str, Any]]:
    """Read the items of scenes; one that cannot be read gets a receipt."""
    if isinstance(scenes, str | os.PathLike | Mapping) or hasattr(scenes, "assets"):
        scenes = [scenes]
    listed = (row for _, row in scenes.iterrows()) if hasattr(scenes, "iterrows") else scenes
    seen = set()
    for scene in listed:
        path = isinstance(scene, str | os.PathLike) and "://" not in os.fspath(scene)
        try:
            item = item_of(os.path.abspath(scene) if path else scene)
        except CatalogError as error:
            receipts.append(_failure(os.fspath(scene) if path else scrub(str(scene))[:200], error))
            continue
        if item["id"] not in seen:
            seen.add(item["id"])
            yield item


def _failure(scene: str, error: BaseException) -> dict[str, Any]:
    return {
        "scene": scene,
        "outcome": "failed",
        "error": scrub(str(error) or type(error).__name__),
        "error_type": type(error).__name__,
    }


@dataclass(frozen=True)
class _Classify:
    """Work on a scene: classify it, write its map, and return a receipt."""

    root: Location
    options: Mapping[str, Any]
    overwrite: str
    scheduler: str

    def __call__(self, item: Mapping[str, Any]) -> dict[str, Any]:
        from is2ice.sentinel2.scene import class_map, open_scene, shares

        began, scene, root = time.perf_counter(), str(item["id"]), self.root
        inputs, have = self._inputs(item), _about(root, scene)
        same = have is not None and (self.overwrite == "never" or have["inputs"] == inputs)
        if have is not None and same and self.overwrite != "always" and _whole(root, have):
            return {"scene": scene, "outcome": "skipped", "map": have["map"], "shares": have["shares"]}
        model = self.options.get("classifier")
        options = (
            {**self.options, "classifier": model.open()}
            if isinstance(model, ModelReference)
            else self.options
        )
        made = class_map(open_scene(item), **options)
        with _one_scheduler(self.scheduler):
            made = made.compute()
        raw = _geotiff(made)
        about = {
            "scene": scene,
            "map": f"{scene}.tif",
            "inputs": inputs,
            "checksum": hashlib.sha256(raw).hexdigest(),
            "bands": {"1": "surface_class", "2": "mask"},
            "classes": {"-1": "unlabelled", **{str(k): v for k, v in enumerate(schema.CLASSES)}},
            "mask_bits": {str(k): v for k, v in schema.LABEL_BITS.items()},
            "shares": {k: round(v, 6) for k, v in shares(made).items()},
            "attributes": {k: v for k, v in made.attrs.items() if isinstance(v, str | int | float)},
            "is2ice_version": __version__,
            "made": epoch.now(),
        }
        if have is not None:  # it describes the map that is replaced
            root.delete([f"{scene}.json"])
        root.put(f"{scene}.tif", raw)
        root.put(f"{scene}.json", json.dumps(about, indent=1).encode())
        seconds = round(time.perf_counter() - began, 3)
        return {
            "scene": scene,
            "outcome": "done",
            "map": about["map"],
            "shares": about["shares"],
            "seconds": seconds,
        }

    def _inputs(self, item: Mapping[str, Any]) -> str:
        """Fingerprint of everything that a map is made from."""
        options = {k: str(v) for k, v in sorted(self.options.items())}
        assets = {k: public_url(str(v.get("href"))) for k, v in item["assets"].items()}
        what = [__version__, item["id"], assets, item.get("properties", {}).get("datetime"), options]
        return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:32]


def _about(root: Location, scene: str) -> dict[str, Any] | None:
    """Read the description of a map; None if there is none, or one that was cut off.

    Raises
    ------
    StoreError
        Another document is there, such as the STAC item of the scene.
    """
    held = root.read(f"{scene}.json")
    try:
        about = None if held is None else parse_json(held[0], f"{scene}.json", error=StoreError, nan=True)
    except StoreError:
        return None
    if about is None:
        return None
    if not (isinstance(about, dict) and all(isinstance(about.get(k), str) for k in _DESCRIBED)):
        raise StoreError(
            f"{root.name}/{scene}.json: expected the description of a class map, got another document; it is kept. "
            "Write the maps to a folder of their own"
        )
    return about


def _whole(root: Location, about: Mapping[str, Any]) -> bool:
    """Return True if the map that a description names is there, undamaged."""
    raw = root.read(about["map"])
    return raw is not None and hashlib.sha256(raw[0]).hexdigest() == about["checksum"]


def _one_scheduler(name: str) -> Any:
    """Compute in this process; a worker of Dask would otherwise ask its own cluster."""
    import dask

    return dask.config.set(scheduler=name)


def _geotiff(classes: xr.Dataset) -> bytes:
    """Write a class map as a GeoTIFF."""
    from is2ice.sentinel2.class_map_files import write_classes

    with tempfile.TemporaryDirectory(prefix="is2ice-") as scratch:
        file = Path(scratch) / "map.tif"
        write_classes(classes, file)
        return file.read_bytes()
