"""Label many passes from their images, on any engine, into a store."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import partial
from typing import Any

import xarray as xr

from is2ice.io.remote.location import Location, location
from is2ice.io.stores import store as stores

from .driver import Job, KeepReceipt, base_receipt, drive, failure, is_up_to_date
from .execution import RunSettings
from .manifest import Manifest, named
from .progress import Bar
from .receipts import Run, summary, written
from .run import DuplicateGuard
from .run_record import Earlier, resumed
from .track import Item, survey

__all__ = ["label_many", "resume"]


def label_many(
    sources: Iterable[Any],
    scenes: Any,
    store: str | os.PathLike[str],
    *,
    beams: str | Iterable[str] | None = None,
    settings: RunSettings | None = None,
    **keywords: Any,
) -> Run:
    """Label the segments of many passes and store them.

    The unit of work is a pass with all its beams, since they share the displacement of the ice.

    Parameters
    ----------
    sources : iterable of sources
        ATL03 granules, as for :func:`is2ice.run`.
    scenes : STAC items or name of a catalogue, or a function of a pass
        As for :func:`is2ice.label_pass`; a function gives each pass its own.
    store : str or Path
    beams : optional
        As for :func:`is2ice.run`.
    settings : RunSettings, optional
    **keywords
        Settings as for :func:`is2ice.run`, and options of :func:`is2ice.label_pass`. A mapping of displacements may
        name the scenes of all passes.

    Returns
    -------
    Run
        One receipt per track; for a pass that failed, one with beam None.

    Raises
    ------
    ValueError
        An unknown engine or setting, or nothing to label.
    """
    return _label(sources, scenes, store, beams, settings, keywords)


def resume(store: str | os.PathLike[str], **changes: Any) -> Run:
    """Resume the last labelling of a store: finished passes are kept, the others are labelled.

    Parameters
    ----------
    store : str or Path
    **changes
        ``engine``, ``workers``, ``engine_options``, ``retries`` and ``progress`` of :func:`label_many`; or
        ``sources``, ``scenes`` and options of the labelling that its record cannot give back.

    Returns
    -------
    Run

    Raises
    ------
    StoreError
        No labelling to resume, or its sources or scenes cannot be opened again.
    """
    store = location(store, changes.get("storage_options"))
    manifest, changes, earlier = resumed(store, "labels", changes)
    recorded = manifest["options"]
    keywords = {"scenes": recorded["scenes"], "overwrite": manifest["overwrite"]}
    keywords |= recorded["labels"] | changes
    sources, scenes = keywords.pop("sources"), keywords.pop("scenes")
    return _label(sources, scenes, store, manifest["beams"], None, keywords, earlier)


def _label(
    sources: Iterable[Any],
    scenes: Any,
    store: str | os.PathLike[str],
    beams: Any,
    settings: RunSettings | None,
    keywords: Mapping[str, Any],
    earlier: Earlier | None = None,
) -> Run:
    names = {f.name for f in fields(RunSettings)}
    settings = RunSettings.merged(settings, {k: v for k, v in keywords.items() if k in names})
    labelling = {k: v for k, v in keywords.items() if k not in names}
    listed = tuple(sources)
    if not listed or (isinstance(scenes, list | tuple) and not scenes):
        raise ValueError(
            "nothing to label: expected at least one granule, and at least one scene or catalogue"
        )
    root = stores.create(store, settings.storage_options)
    listed = tuple(settings.addressed(source, root) for source in listed)
    beams = beams if beams is None or isinstance(beams, str) else tuple(beams)
    manifest = _manifest(listed, scenes, beams, labelling, settings.overwrite)
    return drive(
        _Passes(
            root,
            manifest,
            settings,
            listed,
            earlier or Earlier.new(),
            earlier is not None,
            scenes,
            beams,
            labelling,
        )
    )


@dataclass(frozen=True)
class _Passes(Job):
    """The job of :func:`label_many`."""

    scenes: Any
    beams: Any
    labelling: Mapping[str, Any]

    @property
    def task(self) -> _Label:
        return _Label(
            self.root,
            self.scenes if callable(self.scenes) else _Same(self.scenes),
            self.beams,
            self.settings.overwrite,
            self.settings.execution.name,
            self.labelling,
            self.earlier.id if self.resumes else None,
            self.earlier.id,
        )

    def items(self, record: KeepReceipt, bar: Bar) -> Iterator[Item]:
        """Yield the passes, each as an item without a beam."""
        engine = self.settings.execution.name
        guard = DuplicateGuard(engine)
        look = self.settings.execution.attempted(partial(_surveyed, self.beams))
        for source in self.sources:
            bar.found(1)
            ok, found = look(source)
            if not ok:
                record(failure(Item(source, "", ""), found, engine))
            elif found and (again := guard.before(Item(source, found[0].granule, ""))) is not None:
                record(again)
            else:
                yield Item(source, "", "")


def _surveyed(beams: Any, source: Any) -> list[Item]:
    return survey(source, beams)


def _manifest(
    listed: tuple[Any, ...], scenes: Any, beams: Any, labelling: Mapping[str, Any], overwrite: str
) -> Manifest:
    recorded, again = _recorded(scenes)
    plain = all(isinstance(v, str | int | float | None) for v in labelling.values())
    options = {
        "scenes": recorded,
        "labels": dict(labelling) if plain else {k: str(v) for k, v in labelling.items()},
    }
    manifest = Manifest.of("labels", listed, beams, options, overwrite)
    return replace(manifest, again=manifest.again and again and plain)


@dataclass(frozen=True)
class _Same:
    """The same scenes for every pass."""

    scenes: Any = field(repr=False)

    def __call__(self, source: Any) -> Any:
        return self.scenes


@dataclass(frozen=True)
class _OfScene:
    """Displacements of the scenes of many passes; a pass knows only its own."""

    drifts: Mapping[str, Any] = field(repr=False)

    def __call__(self, scene: str) -> Any:
        return self.drifts.get(scene, "estimate")


@dataclass(frozen=True)
class _Label:
    """Work on a pass: label, write its tracks, and return a receipt for each."""

    store: Location
    scenes: Callable[[Any], Any]
    beams: Any
    overwrite: stores.Overwrite
    engine: str
    labelling: Mapping[str, Any]
    since: str | None = None
    chain: str = ""

    def __call__(self, one: Item) -> list[dict[str, Any]]:
        from .label_pass import label_pass

        scenes = self.scenes(one.source)
        parameters = {
            "labels": {k: str(v) for k, v in self.labelling.items()},
            "scenes": _recorded(scenes)[0],
        }
        tracks = survey(one.source, self.beams)
        kept = [self._up_to_date(item, parameters) for item in tracks]
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
        self, item: Item, segments: xr.Dataset, parameters: Mapping[str, Any], compute: float
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
        return {**base_receipt(item, self.engine), **written(counts, stored, flat, seconds)}

    def _up_to_date(self, item: Item, parameters: Mapping[str, Any]) -> dict[str, Any] | None:
        inputs = stores.fingerprint(item.granule, item.beam, parameters, item.origin)
        keeps, _ = is_up_to_date(self.store, item, inputs, self.overwrite, self.since)
        return {**base_receipt(item, self.engine), "outcome": "skipped"} if keeps else None


def _recorded(scenes: Any) -> tuple[Any, bool]:
    """Return scenes in the form that a store can hold (path, URL, catalogue, id), and True if that opens them again."""
    if isinstance(scenes, list | tuple):
        parts = [_recorded(scene) for scene in scenes]
        return [text for text, _ in parts], all(ok for _, ok in parts)
    if isinstance(scenes, os.PathLike) or (
        isinstance(scenes, str) and ("://" in scenes or os.path.exists(scenes))
    ):
        return named(scenes)
    if isinstance(scenes, str):
        return scenes, True
    return str(getattr(scenes, "id", type(scenes).__name__)), False
