"""The published study as one chain: coincident pairs to labels, trained classifiers, and tracks with freeboard.

Times and shifts of the pairs are those of Table I of Iqrah et al. (2025), arXiv:2502.02700. The pass's time is that of
the granule's name; photons reach the scenes six to seven minutes later. The shift is how far the authors moved the
image by hand; they do not say if their north is true or the map's, so by default it is estimated.

Every step writes into a store or a folder and skips what is there and up to date, so that an interrupted study is
resumed by the same call. A pair that fails is reported, and the others are carried on.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

from is2ice.errors import Is2IceError
from is2ice.io.catalogs.sentinel2 import item_of, search_scenes
from is2ice.io.stores import store as stores
from is2ice.science.labels.drift import Drift

from .execution import RunSettings
from .label_many import label_many
from .options import Options
from .receipts import Run
from .run import run

__all__ = [
    "ARCHITECTURES",
    "CENTRE",
    "PAIRS",
    "REGION",
    "STEPS",
    "PaperPair",
    "PassData",
    "Step",
    "Study",
    "from_archives",
    "from_files",
    "number_of",
    "table_shift",
]

log = logging.getLogger("is2ice")

#: The study area: west, south, east, north, degrees.
REGION = (-180.0, -78.0, -140.0, -70.0)
CENTRE = (-165.0, -75.0)
#: The published classifiers.
ARCHITECTURES = ("lstm", "mlp")


class PaperPair(NamedTuple):
    """One row of Table I."""

    number: int
    granule: str  # name up to the release; track, cycle and region follow from the pass
    confirmed: (
        bool  # the name was seen in print; else the track follows from the times of neighbouring passes
    )
    scene_time: str  # UTC, start of the data take
    minutes: float  # as printed
    shift: tuple[float, str] | None  # metres, towards
    tiles: tuple[str, ...]  # as far as the authors name them


PAIRS = (
    PaperPair(1, "ATL03_20191103184432_05780510", True, "2019-11-03T18:34:59", 9.55, (550.0, "NW"), ()),
    PaperPair(
        2,
        "ATL03_20191104195311_05940510",
        True,
        "2019-11-04T19:45:29",
        7.7,
        None,
        ("02CNA", "02CNB", "02CNC"),
    ),
    PaperPair(3, "ATL03_20191113191053_07310510", True, "2019-11-13T18:34:59", 35.9, (200.0, "W"), ()),
    PaperPair(4, "ATL03_20191116192813_07770510", False, "2019-11-16T18:44:59", 43.23, None, ()),
    PaperPair(5, "ATL03_20191117190234_07920510", False, "2019-11-17T18:15:09", 47.57, (530.0, "NW"), ()),
    PaperPair(6, "ATL03_20191120191952_08380510", True, "2019-11-20T20:05:29", 45.62, (400.0, "NW"), ()),
    PaperPair(7, "ATL03_20191123180255_08830510", True, "2019-11-23T18:34:59", 32.07, (150.0, "E"), ()),
    PaperPair(
        8, "ATL03_20191126182014_09290510", True, "2019-11-26T18:44:59", 24.75, (350.0, "SW"), ("03CWT",)
    ),
)


def table_shift(pair: PaperPair, convention: str = "true") -> Drift:
    """Return the printed shift of a pair, with "true" north or that of the "grid"."""
    metres, towards = pair.shift or (0.0, "N")
    return Drift.by_hand(metres, towards, convention=convention, at=CENTRE)


def number_of(granule: str) -> int | None:
    """Return the row of Table I of a granule, by its name; None for any other."""
    return next((p.number for p in PAIRS if Path(granule).name.startswith(p.granule)), None)


# -- what a study works on ------------------------------------------------------------------------------
@dataclass(frozen=True)
class PassData:
    """A pass with its images and NASA's products of it.

    Attributes
    ----------
    granule : path, URL or earthaccess granule
    scenes : list of STAC items (path or URL), or GeoDataFrame of scenes
    atl07, atl10 : path, optional
    """

    granule: Any
    scenes: Any
    atl07: str | None = None
    atl10: str | None = None

    @property
    def name(self) -> str:
        """Name of the granule, without ending."""
        source = self.granule
        if hasattr(source, "data_links"):
            source = source.data_links()[0]
        return Path(os.fspath(source)).name.removesuffix(".h5")


def from_files(
    granules: Sequence[str], scenes: Sequence[str], products: Sequence[str] = ()
) -> list[PassData]:
    """Join granules with the items nearest in time, and with products of the same pass.

    Parameters
    ----------
    granules : sequence of path or URL
        ATL03.
    scenes : sequence of path or URL
        STAC items; each pass gets those taken within two hours of its name's time.
    products : sequence of path
        ATL07 and ATL10; belongs to a pass whose track, cycle and start it shares.

    Returns
    -------
    list of PassData
        In order of name.

    Raises
    ------
    ValueError
        No granule, or no item.
    """
    if not granules or not scenes:
        raise ValueError(
            f"{len(granules)} granules and {len(scenes)} items: expected at least one of each (--granules, --scenes)"
        )
    taken = [(_time(item_of(s)), s) for s in scenes]
    out = []
    for granule in sorted(map(str, granules), key=lambda g: Path(g).name):
        _, start, orbit = Path(granule).name.split("_")[:3]
        begin = datetime.strptime(start, "%Y%m%d%H%M%S")
        near = [s for when, s in taken if abs(when - begin) <= timedelta(hours=2)]
        found = {
            kind: next((str(p) for p in products if _is_product(p, kind, start, orbit)), None)
            for kind in ("ATL07", "ATL10")
        }
        out.append(PassData(granule, near, found["ATL07"], found["ATL10"]))
    return out


def _time(item: Mapping[str, Any]) -> datetime:
    """Time of an item, UTC without zone."""
    text = str(item["properties"].get("datetime") or item["properties"]["start_datetime"])
    return datetime.fromisoformat(text).replace(tzinfo=None)


def _is_product(path: str, kind: str, start: str, orbit: str) -> bool:
    """Tell if a file is a product of a pass: same start, track and cycle (the hemisphere takes the region's place)."""
    parts = Path(path).name.split("_")
    return len(parts) > 2 and parts[0].startswith(kind) and parts[1] == start and parts[2][:6] == orbit[:6]


def from_archives(
    numbers: Iterable[int], endpoint: str = "earth_search", say: Callable[[str], None] = log.info
) -> list[PassData]:
    """Find pairs of Table I in the archives, with ATL07 and ATL10 of the passes; needs a login (:func:`is2ice.login`).

    Release 006 is taken where the archive holds it, as in the paper, else the latest. A pair that is not found is
    reported through `say` and left out.
    """
    from is2ice.io.catalogs.icesat2 import matching, search

    out = []
    for pair in (p for p in PAIRS if p.number in set(numbers)):
        granules = search(name=f"{pair.granule}_*").sort_values("granule")
        if granules.empty:
            say(f"pair {pair.number}: no granule {pair.granule} in the archive")
            continue
        published = granules[granules["release"] == "006"]
        granule = (granules if published.empty else published).iloc[-1]
        taken = datetime.fromisoformat(pair.scene_time)
        span = (taken - timedelta(minutes=2), taken + timedelta(minutes=2))
        scenes = search_scenes(REGION, span, endpoint=endpoint)
        if pair.tiles:
            scenes = scenes[scenes["tile"].isin(pair.tiles)]
        if scenes.empty:
            say(f"pair {pair.number}: no scene at {pair.scene_time} in {endpoint}")
            continue
        products = {kind: matching(granule["granule"], kind) for kind in ("ATL07", "ATL10")}
        for kind, found in products.items():
            if found.empty:
                say(f"pair {pair.number}: no {kind} of this pass in the archive")
        have = {k: None if f.empty else str(f.iloc[-1]["https"]) for k, f in products.items()}
        out.append(PassData(granule["https"], scenes, have["ATL07"], have["ATL10"]))
    return out


# -- the steps ------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Step:
    """A step of the study: what it takes and makes, for the record and the workflow diagram."""

    name: str
    takes: tuple[str, ...]
    makes: tuple[str, ...]
    about: str


#: The steps in order; :meth:`Study.carry_out` runs the method of each name.
STEPS = (
    Step(
        "label",
        ("ATL03 photons", "Sentinel-2 image"),
        ("labelled 2 m segments",),
        "resample to 2 m, classify the image, estimate the drift of the ice, label by nearest pixel",
    ),
    Step(
        "train", ("labelled 2 m segments",), ("LSTM and MLP",), "windows of five segments, 80/20, focal loss"
    ),
    Step(
        "train_koo",
        ("labelled 2 m segments", "ATL07"),
        ("Koo's MLP",),
        "labels of the cells in each ATL07 segment",
    ),
    Step("segments", ("ATL03 photons",), ("2 m segments of whole passes",), "resample to 2 m"),
    Step(
        "classify",
        ("2 m segments of whole passes", "LSTM and MLP"),
        ("classes, sea surface, freeboard",),
        "class of every segment, leads, local sea surface, freeboard",
    ),
    Step(
        "measure",
        ("classes, sea surface, freeboard", "Koo's MLP", "ATL07", "ATL10"),
        ("tables and figures",),
        "sea surface by four methods and ours; compare with NASA's products and Koo's method",
    ),
)


@dataclass(frozen=True)
class _ScenesOf:
    """The scenes of each pass, by the name of its granule; travels to workers."""

    scenes: Mapping[str, Any]

    def __call__(self, source: Any) -> Any:
        return self.scenes[PassData(source, None).name]


@dataclass(frozen=True)
class _TableShifts:
    """The printed shifts by the name of a scene."""

    shifts: Mapping[str, Drift]

    def __call__(self, scene: str) -> Any:
        return self.shifts.get(scene, "estimate")


@dataclass
class Study:
    """A study in a folder.

    Attributes
    ----------
    folder : Path
        Gets ``labelled.zarr``, ``models/``, ``segments.zarr``, ``lstm.zarr`` and ``mlp.zarr``.
    passes : sequence of PassData
    shift : {"estimate", "table", "none"} or (dx, dy)
        Displacement of the ice from pass to image: estimated, the table's, none, or metres on the map of the segments.
    convention : {"true", "grid"}
        North of the table's directions.
    classifiers : tuple of str
        Classifiers of the tracks; beside lstm and mlp those of :mod:`is2ice.classifiers.registry`.
    epochs, koo_epochs : int
        No epochs at all: nothing is trained, and `classifiers` are such as need no training.
    seed : int
    settings : RunSettings
        Engine, workers and so on of the steps that work on many passes.
    say : callable
        Takes a line of progress.
    runs : dict of str to Run
        Outcome of each step that ran on the engine.
    failed : dict of str to str
        Reasons by step and pass.
    seconds : dict of str to float
        Duration of each step in this call, s.
    """

    folder: Path
    passes: Sequence[PassData]
    shift: str | tuple[float, float] = "estimate"
    convention: str = "true"
    classifiers: tuple[str, ...] = ARCHITECTURES
    epochs: int = 20
    koo_epochs: int = 30
    seed: int = 0
    settings: RunSettings = field(default_factory=RunSettings)
    say: Callable[[str], None] = log.info
    runs: dict[str, Run] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.folder = Path(self.folder)
        if not self.passes:
            raise ValueError("a study needs at least one pass with an image")
        if isinstance(self.shift, str) and self.shift not in ("estimate", "table", "none"):
            raise ValueError(f"shift={self.shift!r}: expected 'estimate', 'table', 'none' or (dx, dy)")
        if not self.epochs and set(self.classifiers) & set(ARCHITECTURES):
            raise ValueError(
                f"classifiers {', '.join(self.classifiers)} are trained: expected epochs above 0"
            )

    @property
    def labelled(self) -> Path:
        """Store of the labelled segments."""
        return self.folder / "labelled.zarr"

    def model(self, name: str) -> Path:
        """Folder of a model: lstm, mlp, their scene-wise versions lstm_by_scene and mlp_by_scene, or koo."""
        return self.folder / "models" / name

    def tracks(self, name: str) -> Path:
        """Store of the classified tracks of a classifier."""
        return self.folder / f"{name}.zarr"

    def carry_out(self) -> None:
        """Run the steps up to the classified tracks; what is there and up to date is kept."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for step in STEPS[:-1]:
            if step.name.startswith("train") and not self.epochs:
                continue
            self.say(f"{step.name}: {step.about}")
            with self.timed(step.name):
                getattr(self, step.name)()

    @contextmanager
    def timed(self, step: str) -> Iterator[None]:
        """Keep the seconds of a step."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[step] = time.perf_counter() - began

    def label(self) -> None:
        """Label all passes; those whose displacement is refused, or that have no image, are reported."""
        with_image = [p for p in self.passes if len(p.scenes)]
        for p in self.passes:
            if not len(p.scenes):
                self.failed[f"label {p.name}"] = "no image within two hours"
        if with_image:
            self.runs["label"] = label_many(
                [p.granule for p in with_image],
                _ScenesOf({p.name: p.scenes for p in with_image}),
                self.labelled,
                drift=self._drift(),
                settings=self.settings,
            )
        self._report("label")
        if not stores.is_store(self.labelled) or not len(stores.open_store(self.labelled)):
            raise Is2IceError(f"no pass could be labelled: {'; '.join(self.failed.values())}")
        for p in with_image:
            if self.count_labels(p) == 0:
                self.failed[f"label {p.name}"] = "no segment labelled: cloud, shadow or no data in the image"
                self.say(f"  label {p.name}: {self.failed[f'label {p.name}']}")

    def count_labels(self, data: PassData) -> int | None:
        """Count the labelled segments of a pass; None if the pass is not stored."""
        held, granule = stores.open_store(self.labelled), stores.group_name(data.name)
        beams = held.beams(granule)
        if not beams:
            return None
        return int((held.open_track(granule, beams, chunks=None)["label"] >= 0).sum())

    def _drift(self) -> Any:
        if not isinstance(self.shift, str):
            from .opening import open_track

            return Drift(*self.shift, str(open_track(self.passes[0].granule).attrs["crs"]))
        if self.shift != "table":
            return self.shift
        shifts: dict[str, Drift] = {}
        for p in self.passes:
            pair = next((row for row in PAIRS if row.number == number_of(p.name)), None)
            if pair is not None:
                names = (
                    list(p.scenes["scene"])
                    if hasattr(p.scenes, "columns")
                    else [item_of(s)["id"] for s in p.scenes]
                )
                shifts |= dict.fromkeys(map(str, names), table_shift(pair, self.convention))
        return _TableShifts(shifts)

    def train(self) -> None:
        """Train LSTM and MLP as published (random windows, 80/20), and again with whole scenes held out."""
        # A pass whose image is all cloud has a scene, and no label to hold out.
        named = {stores.group_name(p.name) for p in self.passes if self.count_labels(p)}
        tracks = stores.open_store(self.labelled).tracks
        scenes = {
            s for (granule, _), attrs in tracks.items() if granule in named for s in attrs["label_scenes"]
        }
        apart = {"split": "scene", "test": 0.25} if len(scenes) > 1 else {"split": "block", "test": 0.25}
        for name in ARCHITECTURES:
            self._train(name, name, {"split": "random_windows", "test": 0.2})
            self._train(f"{name}_by_scene", name, apart)

    def _train(self, name: str, architecture: str, data: Mapping[str, Any]) -> None:
        from .train import train
        from .training_config import Config

        config = Config(
            (str(self.labelled),),
            self.model(name),
            architecture,
            self.seed,
            {**data, "validation": 0.0},
            {"epochs": self.epochs},
        )
        mark = self._mark(vars(config) | {"model": name})
        if self._is_done(name, mark):
            self.say(f"  {name}: there and up to date")
            return
        card = train(config, overwrite=True)
        self._done(name, mark)
        self.say(f"  {name}: {_scores(card)} ({data['split']})")

    def train_koo(self) -> None:
        """Train Koo's classifier on ATL07 segments with the labels of the 2 m segments in them."""
        from is2ice.classifiers import training
        from is2ice.classifiers.koo import Koo

        tables = self._koo_tables()
        mark = self._mark(
            {"koo": self.koo_epochs, "seed": self.seed, "files": sorted(p.atl07 or "" for p in self.passes)}
        )
        if self._is_done("koo", mark):
            self.say("  koo: there and up to date")
            return
        training.one_thread()
        try:
            model = Koo.fit(tables, epochs=self.koo_epochs, seed=self.seed)
        except Is2IceError as error:
            self.failed["train_koo"] = str(error)
            self.say(f"  koo: {error}")
            return
        model.save(self.model("koo"), overwrite=True)
        self._done("koo", mark)
        self.say(f"  koo: {_scores(model.card)}")

    def _koo_tables(self) -> list[Any]:
        from is2ice.io.icesat2.atl07_atl10 import open_atl07
        from is2ice.science.koo import label_segments

        held, tables = stores.open_store(self.labelled), []
        for p in self.passes:
            for beam in held.beams(stores.group_name(p.name)) if p.atl07 else ():
                track = held.open_track(stores.group_name(p.name), [beam], chunks=None).isel(beam=0)
                try:
                    tables.append(label_segments(open_atl07(p.atl07, beam), track))
                except Is2IceError as error:
                    self.failed[f"train_koo {p.name} {beam}"] = str(error)
        return tables

    def segments(self) -> None:
        """Resample all passes to 2 m segments, once for all classifiers."""
        self.runs["segments"] = run(
            [p.granule for p in self.passes],
            self.tracks("segments"),
            options=Options(until="segments"),
            settings=self.settings,
        )
        self._report("segments")

    def classify(self) -> None:
        """Classify all segments with each model, and derive sea surface and freeboard."""
        for name in self.classifiers:
            step = f"classify {name}"
            self.runs[step] = run(
                str(self.tracks("segments")),
                self.tracks(name),
                options=Options(classifier=str(self.model(name)) if name in ARCHITECTURES else name),
                settings=self.settings,
            )
            self._report(step)

    # -- records -----------------------------------------------------------------------------------------
    def _report(self, step: str) -> None:
        """Report a run, and keep the reasons of what failed."""
        done = self.runs.get(step)
        if done is None:
            return
        for receipt in done.failed:
            granule = receipt["granule"] or PassData(receipt["source"], None).name
            name = f"{step} {granule} {receipt['beam'] or ''}".rstrip()
            self.failed[name] = str(receipt["error"])
            self.say(f"  {name}: {receipt['error']}")
        self.say(
            f"  {len(done.done)} done, {len(done.skipped)} there, {len(done.failed)} failed, {done.seconds:.0f} s"
        )

    def _mark(self, values: Mapping[str, Any]) -> str:
        """Digest of the labels and the settings of a training."""
        tracks = stores.open_store(self.labelled).tracks
        have = sorted((g, b, str(attrs.get("inputs"))) for (g, b), attrs in tracks.items())
        text = json.dumps([have, {k: str(v) for k, v in sorted(values.items())}])
        return hashlib.sha256(text.encode()).hexdigest()

    def _is_done(self, name: str, mark: str) -> bool:
        from is2ice.classifiers.model_folder import checksum, is_model

        note = self.model(name).with_suffix(".done")
        if not (note.is_file() and is_model(self.model(name))):
            return False
        return note.read_text() == f"{mark} {checksum(self.model(name))}"

    def _done(self, name: str, mark: str) -> None:
        from is2ice.classifiers.model_folder import checksum

        self.model(name).with_suffix(".done").write_text(f"{mark} {checksum(self.model(name))}")


def _scores(card: Mapping[str, Any]) -> str:
    """Accuracy and macro-F1 of a card's test, in words."""
    test = card["scores"]["test"]
    return f"accuracy {100 * test['accuracy']:.2f} %, macro-F1 {100 * test['macro_f1']:.2f} %"
