"""Labelled sequences to learn from, and their balance.

Features of a track are small and are computed by Dask, track by track; the sequences, which repeat every cell
as often as they are long, stay lazy until :meth:`Samples.compute`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from is2ice import schema
from is2ice.science import features as feats
from is2ice.science.features import FeatureSet

from .replicas import Alone, Replicas

__all__ = ["Samples", "from_tracks"]

#: Sequences in one lazy block.
BLOCK = 65_536


@dataclass(frozen=True, repr=False)
class Samples:
    """Labelled sequences of one or more tracks.

    Attributes
    ----------
    x : (n, T, F) array of float32
        NumPy, or Dask before :meth:`compute`; not normalised.
    y : (n,) array of int8
        Class codes 0 to 2.
    track : (n,) array of int32
        Row of the sample's track in ``tracks``.
    x_atc : (n,) array of float64
        Along-track distance of the middle segment's lower edge, m.
    tracks : tuple of str
        ``granule/beam``.
    scenes : tuple of str
        Source of each track's labels: tracks that share a scene, directly or through others, have one name.
    features : FeatureSet
    """

    x: Any
    y: NDArray[np.int8]
    track: NDArray[np.int32]
    x_atc: NDArray[np.float64]
    tracks: tuple[str, ...]
    scenes: tuple[str, ...]
    features: FeatureSet

    def __post_init__(self) -> None:
        sizes = {name: len(getattr(self, name)) for name in ("x", "y", "track", "x_atc")}
        if len(set(sizes.values())) != 1:
            raise ValueError(f"samples: expected arrays of one length, got {sizes}")
        if len(self.tracks) != len(self.scenes):
            raise ValueError(f"samples: {len(self.tracks)} tracks, but {len(self.scenes)} scenes")

    def __len__(self) -> int:
        return len(self.y)

    def __repr__(self) -> str:
        shape = " x ".join(map(str, self.x.shape))
        state = "lazy" if self.lazy else "in memory"
        return f"<Samples {shape}, {state}: {len(self.tracks)} tracks, features {self.features.name}>"

    @property
    def lazy(self) -> bool:
        """Return True if the sequences are not computed yet."""
        return not isinstance(self.x, np.ndarray)

    @property
    def context(self) -> int:
        """Cells on each side of the middle one."""
        return (self.x.shape[1] - 1) // 2

    @property
    def scene(self) -> NDArray[np.int32]:
        """Number of each sample's scene, counted in the order of :attr:`scenes`."""
        number = {name: k for k, name in enumerate(dict.fromkeys(self.scenes))}
        return np.array([number[name] for name in self.scenes], np.int32)[self.track]

    def compute(self) -> Samples:
        """Return the same with its sequences in memory."""
        return replace(self, x=np.asarray(self.x)) if self.lazy else self

    def take(self, rows: NDArray[Any]) -> Samples:
        """Return some samples, by number or by a mask, in that order."""
        rows = np.flatnonzero(rows) if np.asarray(rows).dtype == bool else np.asarray(rows)
        return replace(self, x=self.x[rows], y=self.y[rows], track=self.track[rows], x_atc=self.x_atc[rows])

    def balance(self) -> dict[str, dict[str, float]]:
        """Return number and share of samples of each class, and its weight if all classes are to weigh alike."""
        count = np.bincount(self.y, minlength=len(schema.CLASSES))
        total, there = max(int(count.sum()), 1), max(int((count > 0).sum()), 1)
        return {
            name: {"n": int(n), "share": n / total, "weight": total / (there * n) if n else 0.0}
            for name, n in zip(schema.CLASSES, count, strict=True)
        }

    def class_weights(self, power: float = 1.0) -> NDArray[np.float64]:
        """Weight of each class, mean 1 over the samples.

        Parameters
        ----------
        power : float
            1: all classes weigh alike; 0: all samples do; between: a compromise.
        """
        balance = self.balance()
        weight = np.array(
            [balance[name]["weight"] ** power if balance[name]["n"] else 0.0 for name in schema.CLASSES]
        )
        mean = sum(w * balance[name]["share"] for w, name in zip(weight, schema.CLASSES, strict=True))
        return weight / mean if mean else weight

    def thin(self, most: int, *, seed: int = 0) -> Samples:
        """Choose at most a number of samples of each class at random; their order stays."""
        rng = np.random.default_rng(seed)
        rows = [np.flatnonzero(self.y == c) for c in range(len(schema.CLASSES))]
        chosen = [r if r.size <= most else rng.choice(r, most, replace=False) for r in rows]
        return self.take(np.sort(np.concatenate(chosen)))

    def at_night(self, share: float, *, seed: int = 0) -> Samples:
        """Return the same with a share of its sequences as they would be without the sun.

        Labels come from images, and images from daylight: this is how a model learns to do without the background.
        """
        if not 0 <= share <= 1:
            raise ValueError(f"samples: at night: expected a share from 0 to 1, got {share!r}")
        rows = np.random.default_rng(seed).random(len(self)) < share
        dark = [(k, f.night) for k, f in enumerate(self.features.features) if f.night is not None]
        if not dark or not rows.any():
            return self
        if self.lazy:
            import dask.array as da

            value = np.full(self.x.shape[-1], np.nan, "f4")
            for k, night in dark:
                value[k] = night
            shown = da.from_array(rows, chunks=self.x.chunks[0])[:, None, None] & np.isfinite(value)
            return replace(self, x=da.where(shown, np.nan_to_num(value), self.x))
        x = np.array(self.x)
        for k, night in dark:
            x[rows, :, k] = night
        return replace(self, x=x)

    @classmethod
    def concat(cls, parts: Iterable[Samples]) -> Samples:
        """Return samples of several parts as one; their feature sets and contexts must be the same."""
        parts = list(parts)
        if not parts:
            raise ValueError("samples: nothing to put together")
        if len({(p.features.names, p.x.shape[1:]) for p in parts}) != 1:
            raise ValueError("samples: parts of different features or lengths of sequence")
        tracks = list(dict.fromkeys(t for p in parts for t in p.tracks))
        scene = {t: s for p in parts for t, s in zip(p.tracks, p.scenes, strict=True)}
        number = {t: k for k, t in enumerate(tracks)}
        track = [np.array([number[t] for t in p.tracks], np.int32)[p.track] for p in parts]
        if any(p.lazy for p in parts):
            import dask.array as da

            x = da.concatenate([da.asarray(p.x) for p in parts])
        else:
            x = np.concatenate([p.x for p in parts])
        return cls(
            x,
            np.concatenate([p.y for p in parts]),
            np.concatenate(track),
            np.concatenate([p.x_atc for p in parts]),
            tuple(tracks),
            tuple(scene[t] for t in tracks),
            parts[0].features,
        )


def from_tracks(
    tracks: xr.Dataset | Iterable[xr.Dataset],
    features: str | FeatureSet = "default",
    context: int | None = None,
    *,
    leaking: Iterable[str] = (),
    replicas: Replicas | None = None,
) -> Samples:
    """Return samples of labelled tracks.

    Parameters
    ----------
    tracks : xarray.Dataset or iterable of them
        Tracks or cubes of one granule each, lazy or not, with the stages segments and labels.
    features : str or FeatureSet
    context : int, optional
        Cells on each side of the middle one; the set's own by default.
    leaking : iterable of str
        As for :func:`is2ice.science.features.build`.
    replicas : Replicas, optional
        Copies of a training, of which each is given tracks of its own. They hand each other the features, so that
        every copy returns the samples of all, in the order of ranks.

    Returns
    -------
    Samples
        Lazy sequences about every labelled segment that has values all around it. Cells without label serve as
        neighbours all the same.

    Raises
    ------
    ValueError
        No label in any track; two tracks of one name; an unknown label code.
    KeyError
        A track without ``label``.
    """
    import dask

    copies = replicas or Alone()
    chosen = feats.feature_set(features, leaking)
    reach = chosen.context if context is None else context
    pieces = [t for ds in ([tracks] if isinstance(tracks, xr.Dataset) else tracks) for t in _each(ds)]
    mine = list(map(_name_and_scenes, pieces))
    held = [copies.held_by(rank, mine) for rank in range(copies.size)]
    names = [name for part in held for name, _ in part]
    twice = sorted({n for n in names if names.count(n) > 1})
    if twice:
        raise ValueError(f"samples: given twice: {', '.join(twice)}; name each granule and beam once")
    # One task a track, whatever scheduler is set: the features, small, come back; sequences stay lazy.
    work = [dask.delayed(_columns, pure=False)(t, chosen, tuple(leaking), reach) for t in pieces]
    own, parts = dask.compute(*work), []
    for rank, part in enumerate(held):
        for k, (name, _) in enumerate(part):
            columns = copies.held_by(rank, own[k] if rank == copies.rank else None)
            x = _lazy_sequences(columns.values, columns.centre, reach)
            none = np.zeros(columns.label.size, np.int32)
            parts.append(Samples(x, columns.label, none, columns.x_atc, (name,), (name,), chosen))
    samples = Samples.concat(parts)
    if not len(samples):
        raise ValueError(
            f"samples: no labelled segment with values {reach} cells to each side in {', '.join(names)}; see "
            "label_flags for the reasons"
        )
    scenes = _joined(dict(one for part in held for one in part))
    return replace(samples, scenes=tuple(scenes[n] for n in samples.tracks))


def _name_and_scenes(track: xr.Dataset) -> tuple[str, Any]:
    """Return the name of a track, and the scenes of its labels."""
    name = f"{track.attrs.get('granule', '')}/{track.attrs['beam']}"
    if "label" not in track:
        raise KeyError(
            f"samples: {name}: no variable 'label'; label it first (is2ice.workflows.label_pass.label_pass)"
        )
    return name, track.attrs.get("label_scenes", ())


def _each(ds: xr.Dataset) -> list[xr.Dataset]:
    """Return the tracks of a cube."""
    if "beam" not in ds.dims:
        return [ds]
    out = []
    for b, beam in enumerate(ds["beam"].values):
        one = ds.isel(beam=b, drop=True).assign_attrs(beam=str(beam))
        out.append(one.assign_attrs(spot=int(ds["spot"].values[b])) if "spot" in ds else one)
    return out


class _Columns(NamedTuple):
    """Features of the cells of a track that are in labelled sequences, the middle cells of these, and their labels."""

    values: NDArray[np.float32]
    centre: NDArray[np.intp]
    label: NDArray[np.int8]
    x_atc: NDArray[np.float64]


def _columns(track: xr.Dataset, chosen: FeatureSet, leaking: tuple[str, ...], context: int) -> _Columns:
    values = feats.build(track, chosen, leaking=leaking).values
    label = np.asarray(track["label"].values, np.int8)
    centre = feats.centres(values, context)
    centre = centre[label[centre] != schema.UNLABELLED]
    label = label[centre]
    if not np.isin(label, range(len(schema.CLASSES))).all():
        name, _ = _name_and_scenes(track)
        raise ValueError(f"samples: {name}: label: expected codes -1 to 2, got {sorted(set(label.tolist()))}")
    used = np.zeros(len(values), bool)
    for step in range(-context, context + 1):
        used[centre + step] = True
    place = np.cumsum(used) - 1  # of a cell among those in use; sequences stay together
    return _Columns(values[used], place[centre], label, np.asarray(track["x_atc"].values, "f8")[centre])


def _lazy_sequences(values: NDArray[np.float32], centre: NDArray[np.intp], context: int) -> Any:
    import dask
    import dask.array as da

    shape = (2 * context + 1, values.shape[1])
    if not centre.size:
        return da.zeros((0, *shape), dtype="f4")
    whole = dask.delayed(values, pure=False)
    gather = dask.delayed(feats.sequences, pure=False)
    blocks = [centre[i : i + BLOCK] for i in range(0, centre.size, BLOCK)]
    return da.concatenate(
        [da.from_delayed(gather(whole, b, context), (b.size, *shape), dtype="f4") for b in blocks]
    )


def _joined(scenes: Mapping[str, Any]) -> dict[str, str]:
    """One name for all tracks that share a scene, directly or through others."""
    groups: list[tuple[set[str], set[str]]] = []
    for track, found in scenes.items():
        names = set(np.atleast_1d(found).tolist()) or {f"scene of {track.rsplit('/', 1)[0]}"}
        members = {track}
        for group in [g for g in groups if g[1] & names]:
            groups.remove(group)
            members, names = members | group[0], names | group[1]
        groups.append((members, names))
    return {track: " + ".join(sorted(names)) for members, names in groups for track in members}
