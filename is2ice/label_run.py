"""Many passes labelled from their images, on any engine, into a store."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from . import pipeline, runs
from . import store as stores
from .errors import RemoteError
from .receipts import Run, summary

__all__ = ["label_many"]


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
    **labelling: Any,
) -> Run:
    """Label the segments of many passes and store them.

    The unit of work is a pass with all its beams, since they share the displacement of the ice.

    Parameters
    ----------
    passes : iterable of sources
        ATL03 granules, as for :func:`is2ice.run`.
    scenes : STAC items or name of a catalogue, or a function of a pass
        As for :func:`is2ice.labelling.label_pass`; a function gives each pass its own.
    store : str or Path
    beams, engine, workers, engine_options, overwrite, retries, progress
        As for :func:`is2ice.run`.
    **labelling
        Further options of :func:`is2ice.labelling.label_pass`. A mapping of displacements may name the scenes of
        all passes.

    Returns
    -------
    Run
        A receipt a track; of a pass that failed, one with beam None.
    """
    extra = dict(engine_options or {}) | ({} if workers is None else {"workers": workers})
    place = runs.Place(engine, extra, retries)
    name = place.name
    root = stores.create(store)
    stores.recover(root)
    listed = list(passes)
    beams = beams if beams is None or isinstance(beams, str) else tuple(beams)
    task = _Label(str(root), scenes if callable(scenes) else _Same(scenes), beams, overwrite, name, labelling)
    manifest = runs.Manifest.of("labels", listed, beams, {k: str(v) for k, v in labelling.items()}, overwrite)

    def items(record: Callable[[Mapping[str, Any]], None], bar: Any) -> Iterable[pipeline.Item]:
        for source in listed:
            bar.found(1)
            yield pipeline.Item(source, "", "")

    return runs.drive(root, manifest, place, task, items, _may_pass, granules=len(listed), progress=progress)


def _may_pass(error: BaseException) -> bool:
    return pipeline.may_pass(error) or isinstance(error, RemoteError)


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

    def __call__(self, one: pipeline.Item) -> list[dict[str, Any]]:
        from .labelling import label_pass

        scenes = self.scenes(one.source)
        parameters = {"labels": {k: str(v) for k, v in self.labelling.items()}, "scenes": _told(scenes)}
        tracks = pipeline.survey(one.source, self.beams)
        kept = [self._kept(item, parameters) for item in tracks]
        if kept and all(kept):
            return [receipt for receipt in kept if receipt]
        t0 = time.perf_counter()
        options = dict(self.labelling)
        if isinstance(options.get("drift"), Mapping):
            options["drift"] = _OfScene(options["drift"])
        segments = label_pass(one.source, scenes, beams=self.beams, **options).segments.compute()
        t1 = time.perf_counter()
        out = []
        for item in tracks:
            began = time.perf_counter()
            track = segments.sel(beam=[item.beam]).assign_attrs(granule=item.granule)
            written = stores.write_track(
                track, self.store, overwrite=self.overwrite, parameters=parameters, origin=item.origin
            )
            flat = track.isel(beam=0)
            labels = flat["label"].values
            seconds = {"load": 0.0, "compute": (t1 - t0) / len(tracks), "write": time.perf_counter() - began}
            out.append(
                {
                    **runs.base_receipt(item, self.engine),
                    **summary(flat),
                    "n_labelled": int((labels >= 0).sum()),
                    "outcome": "done",
                    "stored": written["outcome"],
                    "bytes": written["bytes"],
                    "inputs": written["inputs"],
                    "checksum": stores.checksum(flat),
                    "seconds": {k: round(v, 3) for k, v in seconds.items()},
                }
            )
        return out

    def _kept(self, item: pipeline.Item, parameters: Mapping[str, Any]) -> dict[str, Any] | None:
        have = stores.track_attributes(self.store, item.granule, item.beam)
        inputs = stores.fingerprint(item.granule, item.beam, parameters, item.origin)
        if have is None or not stores.keeps(have, inputs, self.overwrite):
            return None
        return {**runs.base_receipt(item, self.engine), "outcome": "skipped"}


def _told(scenes: Any) -> Any:
    """Scenes as a store can hold them: paths, or ids of items."""
    if isinstance(scenes, str | os.PathLike):
        return os.fspath(scenes)
    if isinstance(scenes, list | tuple):
        return [_told(scene) for scene in scenes]
    return str(getattr(scenes, "id", type(scenes).__name__))
