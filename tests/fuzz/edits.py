"""Structural edits of HDF5 files and JSON documents, as data that Hypothesis draws and a file can be changed by."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from hypothesis import strategies as st

#: Values that no product can hold; what they stand for must be noticed.
ABSURD = (float("nan"), float("inf"), -float("inf"), 3.4028235e38, -9e9, 1e300)
TYPES = ("f4", "f8", ">f8", "f2", "i1", "i4", "u2", "i8", "u8", "S8", "?", "c8", "compound")
ATTRIBUTES = (None, -1, 2**40, "x" * 9000, 3.5)
FACTORS = (-1.0, 0.0, 1e-3, 1.0001, 1e3, 1e30)
#: Edits after which the numbers of a file are other ones, but such as a file may hold.
PLAUSIBLE = ("permute", "rescale", "repeat")
ODD = (
    None,
    True,
    -1,
    0,
    2**63,
    1e308,
    "",
    "x" * 5000,
    [],
    {},
    [[]],
    {"a": {}},
    "2019-13-45",
    "\x00",
    [None],
    ["a", 1],
)


@dataclass(frozen=True)
class Edit:
    """One change: what, where, and how."""

    kind: str
    path: str
    how: Any = None

    @property
    def plausible(self) -> bool:
        """The changed file may be a good one: its numbers are its own."""
        return self.kind in PLAUSIBLE or (self.kind == "attribute" and self.how[1] is not None)


def of_hdf5(datasets: list[str], groups: list[str]) -> st.SearchStrategy[list[Edit]]:
    """One to three edits of a file that holds these datasets and groups."""
    d, g = st.sampled_from(datasets), st.sampled_from(groups)

    def edit(kind: str, path: Any, how: Any) -> Any:
        return st.builds(Edit, st.just(kind), path, how)

    nothing = st.none()
    amount = st.sampled_from([1, 7, 1000])
    one = st.one_of(
        edit("remove", st.one_of(d, d, g), nothing),
        edit("retype", d, st.sampled_from(TYPES)),
        edit("empty", d, nothing),
        edit("permute", d, st.integers(0, 3)),
        edit("rescale", d, st.sampled_from(FACTORS)),
        edit("extend", d, amount),
        edit("shrink", d, amount),
        edit("absurd", d, st.tuples(st.sampled_from(ABSURD), st.sampled_from([0.001, 0.1, 1.0]))),
        edit("repeat", d, st.sampled_from([0.1, 0.5])),
        edit("axis", d, st.sampled_from(["more", "none"])),
        edit("become", st.one_of(d, g), nothing),
        edit("attribute", st.one_of(d, g), st.tuples(st.integers(0, 20), st.sampled_from(ATTRIBUTES))),
        edit("loop", st.one_of(d, g), nothing),
        edit("declare", d, st.sampled_from([2**33, 2**40])),
    )
    return st.lists(one, min_size=1, max_size=3)


def of_document(document: Any) -> st.SearchStrategy[list[Edit]]:
    """One to three edits of a JSON-like document."""
    places = st.sampled_from(sorted(paths(document)))
    one = st.one_of(
        st.builds(Edit, st.just("drop"), places, st.none()),
        st.builds(Edit, st.just("put"), places, st.sampled_from(range(len(ODD)))),
        st.builds(Edit, st.just("nest"), places, st.sampled_from([3, 500, 5000, 100_000])),
        st.builds(Edit, st.just("cut"), places, st.integers(0, 10**6)),
    )
    return st.lists(one, min_size=1, max_size=3)


def paths(document: Any, here: str = "") -> set[str]:
    """Paths, such as ``/assets/B02/href``, of everything in a document."""
    inside = (
        document.items()
        if isinstance(document, dict)
        else enumerate(document)
        if isinstance(document, list)
        else ()
    )
    out = {here} if here else set()
    for name, value in inside:
        out |= paths(value, f"{here}/{name}")
    return out


@dataclass(frozen=True)
class Nested:
    """A value in many lists; a document that holds them is written without recursion (:func:`written`)."""

    value: Any
    depth: int


def written(document: Any, write: Callable[[Any], str] = json.dumps) -> str:
    """Text of a document, whose nested values are written one by one in place of a mark."""
    marks: dict[str, Nested] = {}

    def marked(value: Any) -> Any:
        if isinstance(value, Nested):
            marks[mark := f"nested-{len(marks)}-here"] = value
            return mark
        if isinstance(value, dict):
            return {k: marked(v) for k, v in value.items()}
        return [marked(v) for v in value] if isinstance(value, list) else value

    text = write(marked(document))
    while marks:
        mark, nested = marks.popitem()
        inner = json.dumps(marked(nested.value))
        whole = "[" * nested.depth + inner + "]" * nested.depth
        text = text.replace(f'"{mark}"', whole) if f'"{mark}"' in text else text.replace(mark, whole)
    return text


def changed_document(document: Any, edits: list[Edit], write: Callable[[Any], str] = json.dumps) -> str:
    """Text of a document after edits, as a function of the document writes it."""
    document, cut = copy.deepcopy(document), None
    for edit in edits:
        *above, last = edit.path.strip("/").split("/")
        here = document
        try:
            for name in above:
                here = here[int(name)] if isinstance(here, list) else here[name]
            last = int(last) if isinstance(here, list) else last
            if edit.kind == "drop":
                del here[last]
            elif edit.kind == "put":
                here[last] = ODD[edit.how]
            elif edit.kind == "nest":
                here[last] = Nested(here[last], edit.how)
            else:
                cut = edit.how
        except (LookupError, TypeError, ValueError):  # an earlier edit took the place away
            continue
    text = written(document, write)
    return text if cut is None else text[: cut % max(1, len(text))]


def contents(path: Path) -> tuple[list[str], list[str]]:
    """Names of datasets and groups of a file."""
    datasets: list[str] = []
    groups: list[str] = []
    with h5py.File(path) as f:
        f.visititems(lambda n, o: (datasets if isinstance(o, h5py.Dataset) else groups).append(n))
    return datasets, groups


def change_hdf5(base: Path, target: Path, edits: list[Edit]) -> None:
    """Copy a file and apply edits; one whose place is gone by then does nothing."""
    shutil.copy(base, target)
    target.chmod(0o644)
    with h5py.File(target, "r+") as f:
        for edit in edits:
            if _is_there(f, edit.path):
                _change(f, edit)


def _is_there(f: h5py.File, path: str) -> bool:
    """An earlier edit may have removed it, or made it a link to itself."""
    try:
        return path in f and isinstance(f[path], h5py.Dataset | h5py.Group)
    except (OSError, RuntimeError, KeyError):
        return False


def _change(f: h5py.File, edit: Edit) -> None:
    item = f[edit.path]
    if edit.kind == "remove":
        del f[edit.path]
    elif edit.kind == "attribute":
        names = sorted(
            k for k in item.attrs if k not in ("DIMENSION_LIST", "REFERENCE_LIST", "CLASS", "NAME")
        )
        if names:
            name = names[edit.how[0] % len(names)]
            del item.attrs[name]
            if edit.how[1] is not None:
                item.attrs[name] = edit.how[1]
    elif edit.kind == "become":
        del f[edit.path]
        if isinstance(item, h5py.Group):
            f[edit.path] = np.arange(3)
        else:
            f.create_group(edit.path)
    elif edit.kind == "loop":
        del f[edit.path]
        f[edit.path] = h5py.SoftLink("/" + edit.path)
    elif edit.kind == "declare" and isinstance(item, h5py.Dataset):
        dtype = item.dtype
        del f[edit.path]
        f.create_dataset(edit.path, (edit.how,), dtype, chunks=(1000,), fillvalue=None)
    elif isinstance(item, h5py.Dataset):
        if item.size > 2**24:  # another edit declared it so
            return
        values = _changed(item[()], edit)
        attrs = {
            k: v
            for k, v in item.attrs.items()
            if k not in ("DIMENSION_LIST", "REFERENCE_LIST", "CLASS", "NAME")
        }
        del f[edit.path]
        made = f.create_dataset(edit.path, data=values)
        made.attrs.update(attrs)


def _changed(values: np.ndarray, edit: Edit) -> Any:
    values = np.atleast_1d(values)
    n = values.shape[0]
    number = values.dtype.kind in "fiub"
    if edit.kind == "retype" and number:
        with np.errstate(all="ignore"):
            if edit.how == "compound":
                return np.zeros(n, [("a", "f4"), ("b", "i4")])
            return values.astype(edit.how)
    if edit.kind == "empty":
        return values[:0]
    if edit.kind == "permute":
        return values[np.random.default_rng(edit.how).permutation(n)]
    if edit.kind == "rescale" and number:
        with np.errstate(all="ignore"):
            return (values * edit.how).astype(values.dtype)
    if edit.kind == "extend":
        return np.concatenate([values, np.resize(values[-1:], (edit.how, *values.shape[1:]))])
    if edit.kind == "shrink":
        return values[: max(0, n - edit.how)]
    if edit.kind == "absurd" and number:
        value, share = edit.how
        if values.dtype.kind in "iub":
            value = np.iinfo(values.dtype).max if values.dtype.kind != "b" else True
        rows = np.random.default_rng(1).permutation(n)[: max(1, int(share * n))]
        out = values.copy()
        with np.errstate(all="ignore"):
            out[rows] = value
        return out
    if edit.kind == "repeat":
        out = values.copy()
        m = int(edit.how * n)
        out[n - m :] = out[:m]
        return out
    if edit.kind == "axis":
        return values[..., np.newaxis] if edit.how == "more" else values.ravel()[0] if values.size else values
    return values


def to_json(edits: list[Edit]) -> list[dict[str, Any]]:
    return [asdict(edit) for edit in edits]


def from_json(document: list[dict[str, Any]]) -> list[Edit]:
    return [
        Edit(e["kind"], e["path"], tuple(e["how"]) if isinstance(e["how"], list) else e["how"])
        for e in document
    ]
