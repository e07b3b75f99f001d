"""Train a classifier on labelled stores as a file describes (:mod:`is2ice.workflows.training_config`)."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any

import xarray as xr

from is2ice import schema
from is2ice.classifiers import model_folder, training
from is2ice.classifiers.architectures import ARCHITECTURES
from is2ice.classifiers.replicas import Alone, Replicas, launched
from is2ice.errors import MissingExtraError, ModelError, StoreError, extra_hint
from is2ice.io.remote.whole_files import exists, remove
from is2ice.io.stores import store as stores

from .training_config import VALIDATION, Config, read_config

if TYPE_CHECKING:
    from is2ice.classifiers.samples import Samples
    from is2ice.classifiers.splits import Split
    from is2ice.science.features import FeatureSet

__all__ = ["labelled_samples", "labelled_tracks", "launch", "may_write", "train"]

log = logging.getLogger("is2ice")


def train(
    config: Config | str | os.PathLike[str],
    *,
    overwrite: bool = False,
    dry_run: bool = False,
    progress: Callable[[dict[str, float]], None] | None = None,
    say: Callable[[str], None] = log.info,
) -> dict[str, Any]:
    """Train a model as configured, score it on the tracks kept out, and save it.

    Under ``horovodrun`` every replica calls this and reads its share of the tracks; the root writes. An unfinished
    training is resumed from its checkpoint, which lies hidden beside the model.

    Parameters
    ----------
    config : Config or path of a TOML file
    overwrite : bool
        Replace an existing model.
    dry_run : bool
        Split the samples, report that, and stop.
    progress : callable, optional
        Takes the row of each epoch, in the root.
    say : callable, optional
        Takes lines of text, in the root.

    Returns
    -------
    dict
        The model's card; of a dry run its split only.

    Raises
    ------
    ModelError, StoreError, ValueError
        As :meth:`is2ice.classifiers.neural.Neural.fit`, :func:`labelled_tracks` and
        :func:`is2ice.classifiers.splits.split`.
    """
    from is2ice.classifiers import tensorflow_logging
    from is2ice.classifiers.neural import Neural, one_of
    from is2ice.classifiers.samples import from_tracks
    from is2ice.classifiers.scores import score_classes

    if not isinstance(config, Config):
        config = read_config(config)
    if not dry_run:
        may_write(config, overwrite)
    training.one_thread()
    replicas = launched(seldom=int(config.training.get("average_every", 1)) > 1)
    tensorflow_logging.start()
    if not replicas.is_root:
        say = log.debug
    kind, data = ARCHITECTURES[config.architecture], dict(config.data)
    tracks = labelled_tracks(config.labelled, replicas=replicas)
    release = one_of(_attributes(tracks, replicas), "release")
    features, context = data.pop("features", kind.features), data.pop("context", None)
    if context is None:
        context = kind.context if features == kind.features else None
    leaking, form = data.pop("leaking", ()), data.pop("normalisation", "z")
    samples = from_tracks(tracks, features, context, leaking=leaking, replicas=replicas)
    parts, sizes = _parts(samples, config.seed, {"split": "auto", "validation": VALIDATION, **data})
    say(parts.report())
    if dry_run:
        return {"split": {"by": parts.by, "seed": config.seed, "dropped": parts.dropped, **sizes}}
    model = Neural.fit(
        parts.train,
        parts.validation if len(parts.validation) else None,
        config.architecture,
        parameters=_tuples(config.parameters),
        normalisation=form,
        release=release,
        seed=config.seed,
        replicas=replicas,
        checkpoint=config.checkpoint,
        progress=progress,
        card={"split": {"by": parts.by, "seed": config.seed, "dropped": parts.dropped, **sizes}},
        **_tuples(config.training),
    )
    if replicas.is_root:
        held = parts.test.compute()
        used = sorted({held.tracks[k] for k in held.track})
        model.card["data"]["test"] = {"samples": len(held), "tracks": used}
        model.card["scores"] = {"test": score_classes(held.y, model.probabilities(held.x)).to_dict()}
        model.card["replicas"] = replicas.size
        model.save(config.model, overwrite=overwrite)
        remove(config.checkpoint)
    return model.card


def _parts(samples: Samples, seed: int, data: Mapping[str, Any]) -> tuple[Split, dict[str, Any]]:
    """Split samples as configured, and return the sizes in use; a refusal names the lines that work."""
    from is2ice.classifiers.splits import fitting, split

    sizes = {k: v for k, v in data.items() if k != "split"}
    shares = {k: v for k, v in sizes.items() if k in ("test", "validation")}
    if data["split"] != "auto":
        try:
            return split(samples, data["split"], seed=seed, **sizes), sizes
        except ValueError as error:
            found = fitting(samples, seed=seed, **shares)
            if found is None:
                raise
            raise ValueError(
                f"{error}.\nThese lines of the configuration work here:\n\n{_lines(*found)}"
            ) from None
    if extra := [k for k in sizes if k not in shares]:
        raise ValueError(
            f"[data] {' and '.join(extra)}: split auto chooses the sizes itself; leave this out, or name a split"
        )
    found = fitting(samples, seed=seed, **shares)
    if found is None:
        raise ValueError(
            f"split auto: {len(samples):,} samples of {len(samples.tracks)} tracks cannot make the parts by scene, by "
            "track or by blocks of 1 km; label more or longer tracks"
        )
    return found[0], shares | found[1]


def _lines(parts: Split, sizes: Mapping[str, float]) -> str:
    """Write a split as lines of the configuration."""
    return "\n".join(["[data]", f'split = "{parts.by}"', *(f"{k} = {v:.1f}" for k, v in sizes.items())])


def may_write(config: Config, overwrite: bool) -> None:
    """Refuse to replace an existing model unless asked, before hours of work."""
    if exists(config.model) and not (overwrite and model_folder.is_model(config.model)):
        raise ModelError(
            f"{config.model}: exists; pass --overwrite to replace a model, or name another folder"
        )
    if isinstance(config.model, Path):
        config.model.parent.mkdir(parents=True, exist_ok=True)


def _tuples(values: Mapping[str, Any]) -> dict[str, Any]:
    return {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}


# -- many replicas ------------------------------------------------------------------------------------
def launch(command: Sequence[str | os.PathLike[str]], replicas: int) -> None:
    """Run a command that trains in several processes on this machine, and print the output of the root.

    Parameters
    ----------
    command : sequence of str
        Command of ``is2ice`` with its arguments, such as ``["train", "ross.toml"]``.
    replicas : int

    Raises
    ------
    MissingExtraError
        Horovod is not installed.
    ModelError
        The training failed; the message repeats its error.
    """
    program = Path(sys.executable).with_name("horovodrun")
    if not program.exists():
        raise MissingExtraError(
            f"{extra_hint('horovod')} (no {program}; it is built from source, as `make env` does)"
        )
    horovod = [str(program), "-np", str(replicas), "-H", f"localhost:{replicas}"]
    words = [*horovod, sys.executable, "-m", "is2ice", *(os.fspath(w) for w in command)]
    env = {"TF_CPP_MIN_LOG_LEVEL": "2", "OMP_NUM_THREADS": "1", **os.environ}
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env) as run:
        assert run.stdout is not None
        assert run.stderr is not None
        errors: list[str] = []
        reader = Thread(target=lambda: errors.extend(run.stderr or ()), daemon=True)
        reader.start()
        for line in _lines_of_root(run.stdout):
            print(line, flush=True)  # noqa: T201  the output of the root, unchanged
        reader.join()
    if run.returncode:
        found = [line.split("is2ice: error:", 1)[1].strip() for line in errors if "is2ice: error:" in line]
        log.debug("%s", "".join(errors))
        raise ModelError(
            f"training in {replicas} replicas failed: {found[0] if found else ''.join(errors[-3:]).strip()}. "
            "Finished epochs are kept: the same command resumes the training"
        )


def _lines_of_root(lines: Iterator[str] | Any) -> Iterator[str]:
    for line in lines:
        rank, found, text = line.rstrip("\n").partition("<stdout>:")
        if not found:
            yield rank
        elif rank.endswith("[0]"):
            yield text


# -- stores to samples ---------------------------------------------------------------------------------
def labelled_tracks(
    where: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    *,
    chunks: int = schema.CHUNK,
    replicas: Replicas | None = None,
) -> list[xr.Dataset]:
    """Open the labelled granules of one or more stores, each as a lazy cube.

    Parameters
    ----------
    where : store, or iterable of stores
    chunks : int
        Cells per Dask block.
    replicas : Replicas, optional
        Copies of a training: each opens its share of the tracks, and no data of others.

    Raises
    ------
    StoreError
        A store that cannot be read, or no labelled track in any.
    """
    copies = replicas or Alone()
    roots = [where] if isinstance(where, str | os.PathLike) else list(where)
    tracks = [
        (root, granule, beam)
        for root, listed in ((root, stores.open_store(root)) for root in roots)
        for granule in listed.granules
        for beam in listed.beams(granule)
    ]
    first, last = (len(tracks) * rank // copies.size for rank in (copies.rank, copies.rank + 1))
    cubes = []
    for (root, granule), own in groupby(tracks[first:last], lambda track: track[:2]):
        cube = stores.open_track(root, granule=granule, chunks=chunks)
        if "label" in cube:
            cubes.append(cube.sel(beam=[beam for *_, beam in own]))
    found = [copies.held_by(rank, len(cubes)) for rank in range(copies.size)]
    if not any(found):
        raise StoreError(
            f"{', '.join(map(str, roots))}: no labelled track; make some with `is2ice labels make` or "
            "is2ice.label_pass"
        )
    return cubes


def _attributes(tracks: Iterable[xr.Dataset], replicas: Replicas) -> list[dict[str, Any]]:
    """Return what all copies must agree on of the attributes of all tracks."""
    own = [{name: track.attrs.get(name) for name in ("granule", "release")} for track in tracks]
    return [one for rank in range(replicas.size) for one in replicas.held_by(rank, own)]


def labelled_samples(
    where: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    features: str | FeatureSet = "default",
    context: int | None = None,
    *,
    leaking: Iterable[str] = (),
) -> Samples:
    """Make samples of every labelled track of one or more stores (:func:`is2ice.classifiers.samples.from_tracks`)."""
    from is2ice.classifiers.samples import from_tracks

    return from_tracks(labelled_tracks(where), features, context, leaking=leaking)
