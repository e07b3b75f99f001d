"""Many passes labelled from their images, on any engine, into a store."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import xarray as xr

from is2ice.io.stores import store as stores

from . import driver, run
from .receipts import Run, summary, written
from .run_record import Earlier

__all__ = ["label_many", "resume"]


def label_many(
    passes: Iterable[Any],
    scenes: Any,
    store: str | os.PathLike[str],
    *,
    beams: str | Iterable[str] | None = None,
    engine: Any = "serial",
    workers: int | None = None,
    engine_options: Mapping[str, Any] | None = None,
    overwrite: stores.Overwrite = "different",
    retries: int = 2,
    progress: bool | None = None,
    _earlier: driver.Earlier | None = None,
    **labelling: Any,
) -> Run:
    """Label the segments of many passes and store them.

    The unit of work is a pass with all its beams, since they share the displacement of the ice.

    Parameters
    ----------
    passes : iterable of sources
        ATL03 granules, as for :func:`is2ice.run`.
    scenes : STAC items or name of a catalogue, or a function of a pass
        As for :func:`is2ice.workflows.label_pass.label_pass`; a function gives each pass its own.
    store : str or Path
    beams, engine, workers, engine_options, overwrite, retries, progress
        As for :func:`is2ice.run`.
    **labelling
        Further options of :func:`is2ice.workflows.label_pass.label_pass`. A mapping of displacements may
        name the scenes of
        all passes.

    Returns
    -------
    Run
        A receipt a track; of a pass that failed, one with beam None.
    """
    extra = dict(engine_options or {}) | ({} if workers is None else {"workers": workers})
    place = driver.Place(engine, extra, retries)
    name = place.name
    if overwrite not in ("different", "always", "never"):
        raise ValueError(f"overwrite={overwrite!r}: expected 'different', 'always' or 'never'")
    listed = list(passes)
    if not listed or (isinstance(scenes, list | tuple) and not scenes):
        raise ValueError(
            "nothing to label: expected at least one granule, and at least one scene or catalogue"
        )
    root, chain = stores.create(store), _earlier or Earlier.new()
    beams = beams if beams is None or isinstance(beams, str) else tuple(beams)
    of = scenes if callable(scenes) else _Same(scenes)
    since = _earlier.id if _earlier else None
    task = _Label(root.url, of, beams, overwrite, name, labelling, since, chain.id)
    manifest = _manifest(listed, scenes, beams, labelling, overwrite)

    look = place.attempted(lambda source: run.survey(source, beams), run.may_pass)

    def items(record: Callable[[Mapping[str, Any]], None], bar: Any) -> Iterable[run.Item]:
        met = run.Met(name)
        for source in listed:
            bar.found(1)
            ok, found = look(source)
            if not ok:
                record(driver.failure(run.Item(source, "", ""), found, name))
            elif found and (again := met.before(run.Item(source, found[0].granule, ""))) is not None:
                record(again)
            else:
                yield run.Item(source, "", "")

    return driver.drive(
        root, manifest, place, task, items, run.may_pass,
        granules=len(listed), progress=progress, earlier=chain,
    )  # fmt: skip


def resume(store: str | os.PathLike[str], **changes: Any) -> Run:
    """Go on with the last labelling of a store: what it did is kept, what it did not do or failed at is done.

    Parameters
    ----------
    store : str or Path
    **changes
        Of ``engine``, ``workers``, ``engine_options``, ``retries`` and ``progress`` of :func:`label_many`; or
        ``sources``, ``scenes`` and options of the labelling that cannot be read from what is written of them.

    Returns
    -------
    Run

    Raises
    ------
    StoreError
        No labelling to go on with, or its sources or scenes cannot be opened again.
    """
    manifest, changes = driver.resumed(store, "labels", changes)
    told = manifest["options"]
    how = {"scenes": told["scenes"], "beams": manifest["beams"], "overwrite": manifest["overwrite"]}
    changes = how | told["labels"] | changes
    return label_many(changes.pop("sources"), changes.pop("scenes"), store, **changes)


def _manifest(
    listed: list[Any], scenes: Any, beams: Any, labelling: Mapping[str, Any], overwrite: str
) -> driver.Manifest:
    told, again = _told(scenes)
    plain = all(isinstance(v, str | int | float | None) for v in labelling.values())
    options = {
        "scenes": told,
        "labels": dict(labelling) if plain else {k: str(v) for k, v in labelling.items()},
    }
    manifest = driver.Manifest.of("labels", listed, beams, options, overwrite)
    return replace(manifest, again=manifest.again and again and plain)


@dataclass(frozen=True)
class _Same:
    """The same scenes for every pass."""

    scenes: Any = field(repr=False)

    def __call__(self, source: Any) -> Any:
        return self.scenes


@dataclass(frozen=True)
class _OfScene:
    """Displacements of the scenes of many passes: each pass knows only its own."""

    drifts: Mapping[str, Any] = field(repr=False)

    def __call__(self, scene: str) -> Any:
        return self.drifts.get(scene, "estimate")


@dataclass(frozen=True)
class _Label:
    """What a worker does with a pass: label, write its tracks, and a receipt for each."""

    store: str
    scenes: Callable[[Any], Any]
    beams: Any
    overwrite: stores.Overwrite
    engine: str
    labelling: Mapping[str, Any]
    since: str | None = None
    chain: str = ""

    def __call__(self, one: run.Item) -> list[dict[str, Any]]:
        from .label_pass import label_pass

        scenes = self.scenes(one.source)
        parameters = {"labels": {k: str(v) for k, v in self.labelling.items()}, "scenes": _told(scenes)[0]}
        tracks = run.survey(one.source, self.beams)
        kept = [self._kept(item, parameters) for item in tracks]
        if kept and all(kept):
            return [receipt for receipt in kept if receipt]
        began = time.perf_counter()
        options = dict(self.labelling)
        if isinstance(options.get("drift"), Mapping):
            options["drift"] = _OfScene(options["drift"])
        segments = label_pass(one.source, scenes, beams=self.beams, **options).segments.compute()
        each = (time.perf_counter() - began) / len(tracks)
        return [self._write(item, segments, parameters, each) for item in tracks]

    def _write(
        self, item: run.Item, segments: xr.Dataset, parameters: Mapping[str, Any], compute: float
    ) -> dict[str, Any]:
        began = time.perf_counter()
        track = segments.sel(beam=[item.beam]).assign_attrs(granule=item.granule)
        stored = stores.write_track(
            track,
            self.store,
            overwrite=self.overwrite,
            parameters=parameters,
            origin=item.origin,
            run=self.chain,
        )
        flat = track.isel(beam=0)
        counts = summary(flat) | {"n_labelled": int((flat["label"].values >= 0).sum())}
        seconds = {"load": 0.0, "compute": compute, "write": time.perf_counter() - began}
        return {**driver.base_receipt(item, self.engine), **written(counts, stored, flat, seconds)}

    def _kept(self, item: run.Item, parameters: Mapping[str, Any]) -> dict[str, Any] | None:
        inputs = stores.fingerprint(item.granule, item.beam, parameters, item.origin)
        keeps, _ = driver.kept(self.store, item, inputs, self.overwrite, self.since)
        return {**driver.base_receipt(item, self.engine), "outcome": "skipped"} if keeps else None


def _told(scenes: Any) -> tuple[Any, bool]:
    """Scenes as a store can hold them (paths, URLs, names of catalogues, ids), and whether these open them again."""
    if isinstance(scenes, list | tuple):
        told = [_told(scene) for scene in scenes]
        return [what for what, _ in told], all(ok for _, ok in told)
    if isinstance(scenes, os.PathLike) or (
        isinstance(scenes, str) and ("://" in scenes or os.path.exists(scenes))
    ):
        return driver.named(scenes)
    if isinstance(scenes, str):
        return scenes, True
    return str(getattr(scenes, "id", type(scenes).__name__)), False
