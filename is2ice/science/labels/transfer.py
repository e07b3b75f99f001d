"""Labels of segments from the classes of coincident images.

The class of a segment is that of the pixel it lies in, after the ice has been moved back to where the image
saw it. Classes are looked up, never interpolated, and nothing outside the image is snapped to its edge.
A segment near an edge between classes, or under cloud, shadow, land or no data, stays unlabelled and says
why in ``label_flags``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from is2ice import schema
from is2ice.errors import SchemaError
from is2ice.schema import LabelFlag
from is2ice.science.compiled import njit
from is2ice.science.epoch import EPOCH

from .image_grid import Grid, grid_of, read_near, segment_crs, segment_positions

if TYPE_CHECKING:
    from .corrections import Corrections
    from .drift import Drift

__all__ = ["Answer", "look_up", "merge", "method_of", "summary", "transfer"]

I1 = NDArray[np.int8]
U2 = NDArray[np.uint16]
F8 = NDArray[np.float64]

#: Compiled code knows whole numbers only.
_OUTSIDE, _NO_DATA, _TRANSITION = (
    int(bit) for bit in (LabelFlag.OUTSIDE_SCENE, LabelFlag.NO_DATA, LabelFlag.CLASS_TRANSITION)
)
#: Segments worked on at a time, eagerly.
_BLOCK = 262_144


@dataclass(frozen=True)
class Answer:
    """Labels of segments by one scene.

    Attributes
    ----------
    label : int8 array
        In the shape of the segments.
    flags : uint16 array
        Bits of :data:`is2ice.schema.LABEL_BITS`.
    time : float
        Time of the scene as ``delta_time``, s; NaN if unknown.
    shift : (float, float)
        Displacement of the ice, m.
    name, method : str
    """

    label: I1
    flags: U2
    time: float
    shift: tuple[float, float]
    name: str
    method: str


@dataclass(frozen=True)
class _Scene:
    """A class map with its grid, time and the displacement of the ice in it."""

    surface_class: xr.DataArray
    mask: xr.DataArray | None
    grid: Grid
    shift: tuple[float, float]
    time: float
    name: str
    method: str


def transfer(
    segments: xr.Dataset,
    class_map: xr.Dataset | Sequence[xr.Dataset],
    *,
    shift: tuple[float, float] | Drift | Sequence[tuple[float, float] | Drift] = (0.0, 0.0),
    transition: float = 1.5,
    conflict: str = "closest",
    corrections: Corrections | None = None,
) -> xr.Dataset:
    """Label segments with the class of the image pixel they lie in.

    Parameters
    ----------
    segments : xarray.Dataset
        Dims ``(beam, x_atc)`` or ``(x_atc,)``, with ``x``, ``y``, ``delta_time`` and ``attrs["crs"]``. A lazy
        cube gives lazy labels, block by block.
    class_map : xarray.Dataset or sequence of them
        ``surface_class`` (y, x), int8 class codes, -1 unlabelled; optionally ``mask`` (y, x) with bits of
        :data:`is2ice.schema.LABEL_BITS`; coords ``x``, ``y`` (pixel centres, m), ``attrs["crs"]`` and, with
        several scenes, ``attrs["time"]`` (UTC). In memory or lazy: only the part the track meets is read.
    shift : (dx, dy) or Drift, or one a scene
        Displacement of the ice from the pass to the image, m along the axes of the segments' crs: a segment
        at (x, y) is looked for at (x + dx, y + dy).
    transition : float
        Segments nearer than this to another class, pixels, stay unlabelled (``class_transition``); 0 for none. It
        costs narrow leads their label: at 1.5 pixels of 10 m on either side, and the pixels' own width, those
        of less than some 40 m get none.
    conflict : {"closest", "unlabelled"}
        Label of a segment to which scenes give different classes: the class of the scene closest in
        time, or none. Scenes equally close leave it unlabelled. Either way it gets ``scene_conflict``.
    corrections : Corrections, optional
        Labels by hand, laid on top (:mod:`is2ice.science.labels.corrections`).

    Returns
    -------
    xarray.Dataset
        With ``label`` and ``label_flags`` added, one row a segment whatever the number of scenes. Cells of
        unknown position are unlabelled without a flag.

    Raises
    ------
    SchemaError
        A variable, crs or time is missing, or a class map holds other codes.
    ValueError
        A refused drift, an unknown ``conflict``, or lists of unlike length.

    References
    ----------
    Iqrah et al. (2025), arXiv:2502.02700, section III.
    """
    maps = [class_map] if isinstance(class_map, xr.Dataset) else list(class_map)
    _check(transition, conflict)
    crs = segment_crs(segments)
    shifts = _shifts(shift, len(maps), crs)
    scenes = [_scene(m, s, timed=len(maps) > 1) for m, s in zip(maps, shifts, strict=True)]

    def work(x: F8, y: F8, time: F8) -> tuple[I1, U2]:
        return _label(x, y, time, crs, scenes, transition, conflict)

    label, flags = _by_block(segments, work)
    return _labelled(segments, label, flags, scenes, transition, corrections)


def _check(transition: float, conflict: str = "closest") -> None:
    if conflict not in ("closest", "unlabelled"):
        raise ValueError(f"conflict: expected 'closest' or 'unlabelled', got {conflict!r}")
    if transition < 0 or not np.isfinite(transition):
        raise ValueError(f"transition: expected pixels, 0 or more, got {transition!r}")


def look_up(
    segments: xr.Dataset,
    class_map: xr.Dataset,
    *,
    shift: tuple[float, float] = (0.0, 0.0),
    transition: float = 1.5,
    timed: bool = True,
) -> Answer:
    """Look up segments in one scene, for :func:`merge`; parameters as for :func:`transfer`.

    `timed` requires the time of the scene, by which several are compared.
    """
    _check(transition)
    crs = segment_crs(segments)
    scene = _scene(class_map, shift, timed=timed)

    def work(x: F8, y: F8, time: F8) -> tuple[I1, U2]:
        return _label(x, y, time, crs, [scene], transition, "closest")

    label, flags = _by_block(segments, work)
    return Answer(label, flags, scene.time, scene.shift, scene.name, scene.method)


def merge(
    segments: xr.Dataset,
    answers: Sequence[Answer],
    *,
    transition: float = 1.5,
    conflict: str = "closest",
    corrections: Corrections | None = None,
) -> xr.Dataset:
    """Label segments in memory from the answers of their scenes, with the result of :func:`transfer`.

    The order of the answers decides nothing but the order of the attributes and of scenes equally close in time.
    """
    _check(transition, conflict)
    time = np.asarray(segments["delta_time"], "f8")
    parts = [(a.label, a.flags) for a in answers]
    label, flags = parts[0] if len(parts) == 1 else _best(parts, [time - a.time for a in answers], conflict)
    return _labelled(segments, label, flags, answers, transition, corrections)


def _labelled(
    segments: xr.Dataset,
    label: Any,
    flags: Any,
    scenes: Sequence[_Scene | Answer],
    transition: float,
    corrections: Corrections | None,
) -> xr.Dataset:
    """Put labels and their origin on segments."""
    dims = segments["x"].dims
    ds = segments.assign(label=(dims, label), label_flags=(dims, flags))
    ds = schema.annotate(ds, "labels")
    ds.attrs["label_scenes"] = [s.name for s in scenes]
    ds.attrs["label_methods"] = [s.method for s in scenes]
    ds.attrs["label_shift"] = [v for s in scenes for v in s.shift]
    ds.attrs["label_transition"] = float(transition)
    return ds if corrections is None else corrections.apply(ds)


def _shifts(shift: Any, n: int, crs: str) -> list[tuple[float, float]]:
    single = hasattr(shift, "shift_in") or (
        len(shift) == 2 and np.ndim(shift[0]) == 0 and not _is_drift(shift[0])
    )
    shifts = [shift] * n if single else list(shift)
    if len(shifts) != n:
        raise ValueError(f"shift: expected one for all or one for each of {n} class maps, got {len(shifts)}")
    out = [s.shift_in(crs) if _is_drift(s) else (float(s[0]), float(s[1])) for s in shifts]
    if not np.isfinite(out).all():
        raise ValueError(f"shift: expected metres, got {out}")
    return out


def _is_drift(value: Any) -> bool:
    return hasattr(value, "shift_in")


def _scene(class_map: xr.Dataset, shift: tuple[float, float], *, timed: bool) -> _Scene:
    name = str(class_map.attrs.get("scene") or class_map.attrs.get("id") or "scene")
    if "surface_class" not in class_map:
        raise SchemaError(
            f"{name}: expected a variable surface_class (y, x), got {sorted(map(str, class_map.data_vars))}; make "
            "it with is2ice.sentinel2.scene.class_map"
        )
    code = class_map["surface_class"].transpose("y", "x")
    if code.dtype.kind not in "iu":
        raise SchemaError(f"{name}: surface_class: expected integer codes, got {code.dtype}")
    mask = class_map["mask"].transpose("y", "x") if "mask" in class_map else None
    time = class_map.attrs.get("time")
    if time is None and timed:
        raise SchemaError(f"{name}: expected attrs['time'] (UTC) to tell which of several scenes is closest")
    stamp = np.nan if time is None else _seconds(time)
    return _Scene(code, mask, grid_of(class_map), shift, stamp, name, method_of(class_map))


def method_of(class_map: xr.Dataset) -> str:
    """How a class map was made, in a word or two: its method and, of a network, the checksum."""
    told = (class_map.attrs.get(k, "") for k in ("method", "model_checksum"))
    return " ".join(str(v) for v in told if v) or "unknown"


def _seconds(time: Any) -> float:
    """UTC as ``delta_time``."""
    text = str(time).strip().removesuffix("Z").removesuffix("+00:00")
    return float((np.datetime64(text, "ns") - EPOCH) / np.timedelta64(1, "s"))


def _by_block(segments: xr.Dataset, work: Callable[[F8, F8, F8], tuple[I1, U2]]) -> tuple[Any, Any]:
    """Run over the segments in blocks: those of Dask where lazy, else of a size that fits in memory."""
    names = ("x", "y", "delta_time")
    if segments["x"].chunks:
        import dask.array as da

        columns = [da.asarray(segments[n].data).rechunk(segments["x"].chunks) for n in names]

        # Both outputs of a block are one array of two rows, so that a block is worked on once.
        def both(x: F8, y: F8, time: F8) -> NDArray[np.int32]:
            label, flags = work(x.ravel(), y.ravel(), time.ravel())
            return np.stack([label.astype(np.int32), flags.astype(np.int32)]).reshape(2, *x.shape)

        chunks = ((2,), *columns[0].chunks)
        meta = np.empty((0,) * len(chunks), np.int32)
        pair = da.map_blocks(both, *columns, new_axis=0, chunks=chunks, dtype=np.int32, meta=meta)
        return pair[0].astype(np.int8), pair[1].astype(np.uint16)
    x, y, time = (np.asarray(segments[n], "f8").ravel() for n in names)
    label, flags = np.empty(x.size, np.int8), np.empty(x.size, np.uint16)
    for i in range(0, x.size, _BLOCK):
        part = slice(i, i + _BLOCK)
        label[part], flags[part] = work(x[part], y[part], time[part])
    shape = segments["x"].shape
    return label.reshape(shape), flags.reshape(shape)


def _label(
    x: F8, y: F8, time: F8, crs: str, scenes: Sequence[_Scene], transition: float, conflict: str
) -> tuple[I1, U2]:
    """Labels and flags of some points from all scenes, the closest in time first."""
    if not x.size:
        return np.empty(0, np.int8), np.empty(0, np.uint16)
    results = [_lookup(x, y, crs, scene, transition) for scene in scenes]
    if len(results) == 1:
        return results[0]
    return _best(results, [time - s.time for s in scenes], conflict)


def _best(results: Sequence[tuple[I1, U2]], apart: Sequence[F8], conflict: str) -> tuple[I1, U2]:
    """Choose labels and flags of points from those of several scenes, given the times between, s."""
    labels, flags = np.stack([r[0] for r in results]), np.stack([r[1] for r in results])
    away = np.abs(np.stack(apart))
    # The scene that answers: one that gives a label before one that does not, one that sees the place before
    # one that does not, then the closest in time.
    outside = flags & LabelFlag.OUTSIDE_SCENE
    rank = np.where(labels >= 0, 0, np.where(outside, 2, 1)) * 1e12 + np.nan_to_num(away)
    best = np.argmin(rank, axis=0)[None]
    label = np.take_along_axis(labels, best, 0)[0]
    flag = np.take_along_axis(flags, best, 0)[0]
    differ = (labels >= 0) & (labels != label)
    clash = differ.any(axis=0) & (label >= 0)
    nearest = np.take_along_axis(away, best, 0)
    tie = (differ & (np.abs(away - nearest) < 1.0)).any(axis=0)
    flag[clash] |= LabelFlag.SCENE_CONFLICT.value
    label[clash & (tie if conflict == "closest" else True)] = schema.UNLABELLED
    return label, flag


def _lookup(x: F8, y: F8, crs: str, scene: _Scene, transition: float) -> tuple[I1, U2]:
    row, column = segment_positions(x + scene.shift[0], y + scene.shift[1], crs, scene.grid)
    arrays = [scene.surface_class] + ([] if scene.mask is None else [scene.mask])
    # A drift of the ice never moves the window far, so the points alone say what to read.
    parts, row0, column0 = read_near(arrays, row, column, int(np.ceil(transition)) + 1)
    code = parts[0].astype(np.int8, copy=False)
    mask = parts[1].astype(np.uint16, copy=False) if len(parts) > 1 else np.zeros((1, 1), np.uint16)
    window = _Window(scene.grid.rows, scene.grid.columns, row0, column0)
    label, flags, bad = _nearest(row, column, code, mask, len(parts) > 1, window, float(transition))
    if bad >= 0:
        raise SchemaError(
            f"{scene.name}: surface_class: expected codes -1 to {len(schema.CLASSES) - 1}, got {label[bad]}"
        )
    return label, flags


class _Window(NamedTuple):
    """Size of an image, and upper left corner of the part that was read, pixels."""

    rows: int
    columns: int
    row0: int
    column0: int


@njit(cache=True, nogil=True)
def _nearest(
    row: NDArray[Any],
    column: NDArray[Any],
    code: NDArray[Any],
    mask: NDArray[Any],
    masked: Any,
    window: Any,
    reach: Any,
) -> Any:
    """Class and reasons of the pixel each point lies in, and the first point with an unknown class, or -1."""
    rows, columns, row0, column0 = window
    label, flags = np.empty(row.size, np.int8), np.empty(row.size, np.uint16)
    height, width = code.shape
    k = int(np.ceil(reach))
    for i in range(row.size):
        label[i] = -1
        flags[i] = 0
        r, c = row[i], column[i]
        if np.isnan(r):
            continue
        if r < 0.0 or c < 0.0 or r >= rows or c >= columns:
            flags[i] = _OUTSIDE
            continue
        a, b = int(r) - row0, int(c) - column0
        own = code[a, b]
        if own < -1 or own > 2:
            label[i] = own
            return label, flags, i
        bits = mask[a, b] if masked else 0
        if own < 0 and bits == 0:
            bits = _NO_DATA
        if own >= 0 and reach > 0.0:
            near = False
            for p in range(max(a - k, 0), min(a + k + 1, height)):
                # Distance from the point to the square of the other pixel.
                dr = max(p + row0 - r, r - (p + row0 + 1), 0.0)
                for q in range(max(b - k, 0), min(b + k + 1, width)):
                    other = code[p, q]
                    if other == own or other < 0 or (masked and mask[p, q] != 0):
                        continue
                    dc = max(q + column0 - c, c - (q + column0 + 1), 0.0)
                    if dr * dr + dc * dc <= reach * reach:
                        near = True
            if near:
                bits |= _TRANSITION
        flags[i] = bits
        if bits == 0:
            label[i] = own
    return label, flags, -1


def summary(segments: xr.Dataset) -> dict[str, int]:
    """Return the number of segments by label and by reason for none.

    Parameters
    ----------
    segments : xarray.Dataset
        With ``label`` and ``label_flags``; only cells with photons are counted.

    Returns
    -------
    dict
        ``segments``, a count for each class and ``unlabelled``, then one for each bit of ``label_flags``.
    """
    seen = np.asarray(segments["n_photons_all"]) > 0
    label, flags = np.asarray(segments["label"])[seen], np.asarray(segments["label_flags"])[seen]
    out = {"segments": int(seen.sum())}
    for code, name in enumerate(schema.CLASSES):
        out[name] = int((label == code).sum())
    out["unlabelled"] = int((label < 0).sum())
    for bit, name in schema.LABEL_BITS.items():
        out[name] = int(((flags & bit) != 0).sum())
    return out
