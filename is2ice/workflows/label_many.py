"""Label many passes from their images, on any engine, into a store.

The unit of work is a scene of a pass, with all beams, since they share the displacement of the ice. So the scenes of
one pass go to many workers: each looks the segments up in one scene, and puts its answer into the store's hidden folder
``.parts``. Then the answers of a pass are merged in the order of its pairs, whatever their order of arrival, and its
tracks written. A missing answer is made where the pass is merged; so are all without workers. The bits are those of
:func:`is2ice.label_pass`.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import partial
from typing import Any

import xarray as xr

from is2ice.classifiers.registry import ModelReference
from is2ice.errors import StoreError
from is2ice.io.catalogs.sentinel2 import item_of
from is2ice.io.documents import parse_json
from is2ice.io.remote.location import Location, location
from is2ice.io.stores import store as stores
from is2ice.io.urls import scrub
from is2ice.version import __version__

from . import label_pass, segment_blocks
from .driver import Job, KeepReceipt, ReportBlock, base_receipt, drive, failure, is_up_to_date
from .execution import ExecutionSettings, RunSettings
from .manifest import Manifest, named
from .progress import Bar
from .receipts import Run, summary, written
from .run import DuplicateGuard
from .run_record import Earlier, resumable, resumed
from .track import Item, survey

__all__ = ["label_many", "resume"]

log = logging.getLogger("is2ice")


def label_many(
    sources: Iterable[Any],
    scenes: Any,
    store: str | os.PathLike[str],
    *,
    beams: str | Iterable[str] | None = None,
    settings: RunSettings | None = None,
    **keywords: Any,
) -> Run:
    """Label the segments of many passes and store them; workers share the scenes of each pass.

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
        name the scenes of all passes. ``corrections`` may be a file, and ``classes["classifier"]`` the folder or
        address of a U-Net; both are read here and sent to the workers.

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
    root = location(store, settings.storage_options)
    listed = tuple(settings.addressed(source, root) for source in listed)
    beams = beams if beams is None or isinstance(beams, str) else tuple(beams)
    manifest = _manifest(listed, scenes, beams, labelling, settings.overwrite)
    labelling, share = _to_send(labelling)
    root = stores.create(root)
    chain = earlier or Earlier.new()
    given = scenes if callable(scenes) else _Same(_recorded(scenes)[0], _items(scenes))
    task = _Label(
        root,
        given,
        beams,
        settings.overwrite,
        settings.execution.name,
        labelling,
        earlier.id if earlier else None,
        chain.id,
    )
    done = drive(_Passes(root, manifest, settings, listed, chain, earlier is not None, task, share))
    segment_blocks.clear(root, resumable(root))
    return done


def _to_send(labelling: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Return options for tasks, with files read and a saved model named by its content, and the bytes to share."""
    from is2ice.science.labels.corrections import Corrections

    out = dict(labelling)
    if isinstance(out.get("corrections"), str | os.PathLike):
        out["corrections"] = Corrections.read(out["corrections"])
    classes = dict(out.get("classes") or {})
    model = ModelReference.of(classes["classifier"]) if classes.get("classifier") is not None else None
    if model is None:
        return out, {}
    return out | {"classes": classes | {"classifier": model}}, model.share()


def _items(scenes: Any) -> Any:
    """Read the items in local files, which workers elsewhere may not see; keep catalogues and addresses."""
    if isinstance(scenes, list | tuple):
        return [_items(scene) for scene in scenes]
    if isinstance(scenes, str | os.PathLike) and os.path.isfile(scenes):
        from is2ice.io.catalogs.sentinel2 import item_of

        return item_of(os.path.abspath(scenes))
    return scenes


@dataclass(frozen=True)
class _Passes(Job):
    """The job of :func:`label_many`."""

    label: _Label
    model: Mapping[str, bytes]

    @property
    def task(self) -> _Label:
        return self.label

    @property
    def share(self) -> Mapping[str, bytes]:
        """The U-Net of the images, unless workers read it at its address."""
        return self.model

    @property
    def prepares(self) -> bool:  # type: ignore[override]
        """Workers share scenes where there are several workers."""
        return self.settings.execution.name != "serial"

    def prepare(self, execution: ExecutionSettings, run: str, report: ReportBlock) -> _Label:
        """Look the passes up in each of their scenes, and return the task that merges the answers."""
        folder = segment_blocks.parts_folder(self.root, run)
        blocks = segment_blocks.Blocks(folder, execution, 0.0, report, self.share)
        task = replace(self.label, parts=folder)
        passes = (Item(source, "", "") for source in self.sources)
        several = [(one, n) for one, n in blocks.map(task.plan, passes) if n > 1]
        parts = (Scene(one.source, k) for one, n in several for k in range(n))
        for _ in blocks.map(task.look, parts):
            pass
        return task

    def items(self, record: KeepReceipt, bar: Bar) -> Iterator[Item]:
        """Yield the passes, each as an item without a beam."""
        engine = self.settings.execution.name
        guard = DuplicateGuard(engine)
        look = self.settings.execution.attempted(partial(_surveyed, self.label.beams))
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
    kept = {k: _plain(v) for k, v in labelling.items()}
    plain = all(ok for _, ok in kept.values())
    options = {"scenes": recorded, "labels": {k: v for k, (v, _) in kept.items()}}
    manifest = Manifest.of("labels", listed, beams, options, overwrite)
    return replace(manifest, again=manifest.again and again and plain)


def _plain(value: Any) -> tuple[Any, bool]:
    """Return an option in the form that a store can hold, and True if that gives it again."""
    if isinstance(value, os.PathLike):
        return os.path.abspath(value), True
    if isinstance(value, Mapping):
        parts = {k: _plain(v) for k, v in value.items()}
        return {k: v for k, (v, _) in parts.items()}, all(ok for _, ok in parts.values())
    return (value, True) if isinstance(value, str | int | float | None) else (str(value), False)


@dataclass(frozen=True)
class Scene:
    """Scene `number` of a pass."""

    source: Any
    number: int

    def __str__(self) -> str:
        return f"{os.path.basename(named(self.source)[0])} scene {self.number}"


@dataclass(frozen=True)
class _Same:
    """The same scenes for every pass: their names, and items to open."""

    names: Any
    items: Any = field(repr=False)

    def __call__(self, source: Any) -> Any:
        return self.items


@dataclass(frozen=True)
class _OfScene:
    """Displacements of the scenes of many passes; a pass knows only its own."""

    drifts: Mapping[str, Any] = field(repr=False)

    def __call__(self, scene: str) -> Any:
        return self.drifts.get(scene, "estimate")


@dataclass(frozen=True)
class _Label:
    """Work on a pass: look it up in each scene, merge, write its tracks, and return a receipt for each.

    Attributes
    ----------
    parts : Location, optional
        Place of the plans and answers that other workers have made.
    """

    store: Location
    scenes: Callable[[Any], Any]
    beams: Any
    overwrite: stores.Overwrite
    engine: str
    labelling: Mapping[str, Any]
    since: str | None = None
    chain: str = ""
    parts: Location | None = None

    def __call__(self, one: Item) -> list[dict[str, Any]]:
        tracks, parameters = survey(one.source, self.beams), self._parameters(one.source)
        kept = [self._up_to_date(item, parameters) for item in tracks]
        if kept and all(kept):
            return [receipt for receipt in kept if receipt]
        began = time.perf_counter()
        segments = self._labelled(one.source)
        each = (time.perf_counter() - began) / len(tracks)
        return [self._write(item, segments, parameters, each) for item in tracks]

    def plan(self, one: Item) -> int:
        """Find the scenes of a pass and write their names down; return their number, 0 if the tracks are up to date."""
        parameters = self._parameters(one.source)
        if all(self._up_to_date(item, parameters) for item in survey(one.source, self.beams)):
            return 0
        return len(self._planned(one.source)["items"])

    def look(self, scene: Scene) -> None:
        """Look a pass up in one scene, and put the answer into the folder of parts, if it is not there."""
        if self._answer(scene) is None:
            plan = self._planned(scene.source)
            segments = label_pass.segments_below(scene.source, self.beams, tuple(plan["reach"]))
            self._look(segments, scene, plan)

    def _labelled(self, source: Any) -> xr.Dataset:
        """Label a pass, with the answers that are there."""
        plan = self._planned(source)
        segments = label_pass.segments_below(source, self.beams, tuple(plan["reach"]))
        looked = []
        for number in range(len(plan["items"])):
            scene = Scene(source, number)
            answer = self._answer(scene)
            if answer is None or (answer.answer and answer.answer.label.shape != segments["x"].shape):
                answer = self._look(segments, scene, plan)
            looked.append(answer)
        return label_pass.merge(source, segments, looked, self._options()[0]).compute()

    def _look(self, segments: xr.Dataset, scene: Scene, plan: Mapping[str, Any]) -> label_pass.SceneLabels:
        options, drift = self._options()
        items = plan["items"]
        item = items[scene.number]
        if isinstance(item, str):
            given = self.scenes(scene.source)
            listed = given if isinstance(given, list | tuple) or hasattr(given, "iterrows") else [given]
            rows = (row for _, row in listed.iterrows()) if hasattr(listed, "iterrows") else listed
            item = next(found for found in map(item_of, rows) if found["id"] == item)
        found = label_pass.look_at(segments, item, drift, options, timed=len(items) > 1)
        if self.parts and len(items) > 1:
            self.parts.put(f"{self._key(scene.source)}-{scene.number}.npz", found.to_bytes())
        return found

    def _planned(self, source: Any) -> dict[str, Any]:
        """Return items and reach of the scenes of a pass, from the folder of parts if they are there."""
        key = f"{self._key(source)}-plan.json"
        held = self.parts.read(key) if self.parts else None
        if held is not None:
            try:
                plan = parse_json(held[0], key, error=StoreError, nan=True, kind=dict)
                return {"items": list(plan["items"]), "reach": list(plan["reach"])}
            except (StoreError, KeyError, TypeError) as error:
                log.warning(
                    "plan of %s is damaged; it is made again: %s", named(source)[0], scrub(str(error))
                )
        options, drift = self._options()
        found = label_pass.overlaps(source, self.scenes(source), self.beams, drift, options.within)
        items: list[Any] = [item_of(item) for item in found.drop_duplicates("scene")["item"]]
        if not isinstance(self.scenes(source), str):  # what was given may be signed: it is not written down
            items = [item["id"] for item in items]
        raw = json.dumps({"items": items, "reach": label_pass.reach(found)}).encode()
        if self.parts:
            self.parts.put(key, raw)
        return dict(json.loads(raw))

    def _answer(self, scene: Scene) -> label_pass.SceneLabels | None:
        key = f"{self._key(scene.source)}-{scene.number}.npz"
        held = self.parts.read(key) if self.parts else None
        return None if held is None else label_pass.SceneLabels.from_bytes(held[0])

    def _key(self, source: Any) -> str:
        """Key that distinguishes a pass, with these options, from all others."""
        what = [__version__, named(source)[0], self.beams, self._parameters(source)]
        return hashlib.sha256(json.dumps(what, sort_keys=True, default=str).encode()).hexdigest()[:24]

    def _options(self) -> tuple[label_pass.LabelOptions, Any]:
        """Return the options of a labelling, with its model loaded, and the displacements."""
        given = dict(self.labelling)
        drift = given.pop("drift", "estimate")
        model = (given.get("classes") or {}).get("classifier")
        if isinstance(model, ModelReference):
            given["classes"] = {**given["classes"], "classifier": model.open()}
        return label_pass.LabelOptions(**given), _OfScene(drift) if isinstance(drift, Mapping) else drift

    def _parameters(self, source: Any) -> dict[str, Any]:
        """Return the options as a track records them."""
        scenes = self.scenes.names if isinstance(self.scenes, _Same) else _recorded(self.scenes(source))[0]
        return {"labels": {k: _text(v) for k, v in self.labelling.items()}, "scenes": scenes}

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


def _text(value: Any) -> str:
    """Return the text of an option; a mapping shows its values by their own text."""
    return str({k: str(v) for k, v in value.items()} if isinstance(value, Mapping) else value)


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
    if hasattr(scenes, "iterrows"):
        return [str(item_of(row)["id"]) for _, row in scenes.iterrows()], False
    if hasattr(scenes, "get"):  # an item as a mapping, or a row of a frame
        return str(item_of(scenes)["id"]), False
    return str(getattr(scenes, "id", type(scenes).__name__)), False
