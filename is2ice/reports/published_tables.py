"""The published tables of Iqrah et al. (2025) beside what is measured here.

Published numbers are those of arXiv:2502.02700; where the paper contradicts itself, a footnote says so. Ours are
read from what the benchmarks wrote; a table without them says "not measured here".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from is2ice import schema
from is2ice.errors import DocumentError
from is2ice.io.documents import read_json

__all__ = [
    "PUBLISHED",
    "figure_4",
    "machine_state",
    "read_measured",
    "scaling_rows",
    "table_1",
    "table_2",
    "table_3",
    "table_4",
    "table_5",
    "training_rows",
]

ABSENT = "not measured here"
#: Seconds of loading, mapping and reducing by executors and cores; scores; replicas.
PUBLISHED: dict[str, Any] = {
    "labelling": {
        (1, 1): (108, 0.4, 390), (1, 2): (58, 0.4, 174), (1, 4): (33, 0.3, 72),
        (2, 1): (56, 0.3, 156), (2, 2): (31, 0.3, 84), (2, 4): (19, 0.3, 41),
        (4, 1): (31, 0.2, 78), (4, 2): (17, 0.2, 39), (4, 4): (12, 0.3, 24),
    },
    "freeboard": {
        (1, 1): (111, 0.4, 392), (1, 2): (60, 0.4, 177), (1, 4): (36, 0.3, 74),
        (2, 1): (58, 0.3, 159), (2, 2): (33, 0.3, 86), (2, 4): (21, 0.3, 44),
        (4, 1): (34, 0.2, 80), (4, 2): (20, 0.2, 41), (4, 4): (13, 0.3, 25),
    },
    "scores": {"MLP": (91.80, 91.80, 91.80, 91.79), "LSTM": (96.56, 97.00, 96.09, 96.54)},
    "training": {
        1: (280.72, 5.5, 585.88), 2: (143.22, 2.778, 1160.81), 4: (73.68, 1.45, 2229.56),
        6: (49.42, 0.97, 3330.03), 8: (38.72, 0.79, 4248.56),
    },
    "confusion": ((98.39, 1.35, 0.26), (19.25, 73.80, 6.95), (5.17, 34.48, 60.35)),
}  # fmt: skip
#: Files of what was measured, in one folder: `is2ice bench scaling --json`, `benchmarks/training.py --json` and
#: `benchmarks/image_labels.py score`.
FILES = {
    "scaling": "scaling.json",
    "training": "training.json",
    "scores": "classifiers/scores.json",
}
PASS = "ross_sea_november, strong beams"  # noqa: S105  a kind of scene


def read_measured(folder: str | Path) -> dict[str, Any]:
    """Read the results of the benchmarks from a folder; None for each of :data:`FILES` that is missing."""
    out: dict[str, Any] = {}
    for name, file in FILES.items():
        path = Path(folder) / file
        out[name] = read_json(path, error=DocumentError, nan=True) if path.is_file() else None
    return out


def _table(
    head: Sequence[str], rows: Iterable[Sequence[Any]], title: str, where: str, notes: Sequence[str]
) -> str:
    lines = [
        f"### {title}",
        "",
        f"Here: {where}." if where != ABSENT else "Not measured here.",
        "",
        "| " + " | ".join(head) + " |",
        "|" + "---|" * len(head),
    ]
    lines += ["| " + " | ".join(str(v) for v in row) + " |" for row in rows]
    lines += ["", *(f"{k}. {note}" for k, note in enumerate(notes, 1))]
    return "\n".join(lines) + "\n"


def table_1(pairs: Iterable[Any], shifts: dict[int, str] | None = None) -> str:
    """Pairs of passes and images: printed time differences and shifts, and ours.

    Parameters
    ----------
    pairs : iterable
        With number, granule, scene_time, minutes and shift (:data:`is2ice.workflows.paper.PAIRS`).
    shifts : dict, optional
        Estimated displacement by pair, in words.
    """
    from datetime import datetime

    rows = []
    for p in pairs:
        start = datetime.strptime(p.granule.split("_")[1], "%Y%m%d%H%M%S")
        minutes = abs((start - datetime.fromisoformat(p.scene_time)).total_seconds()) / 60
        printed = "0" if p.shift is None else f"{p.shift[0]:g} m {p.shift[1]}"
        rows.append(
            (
                p.number,
                f"{start:%m-%d %H:%M:%S}",
                p.scene_time[5:].replace("T", " "),
                f"{p.minutes:g}",
                f"{minutes:.2f}",
                printed,
                (shifts or {}).get(p.number, ABSENT),
            )
        )
    return _table(
        ("pair", "IS2 (granule)", "S2", "min, paper", "min, from the times", "shift, paper", "shift, here"),
        rows,
        "Table I: coincident passes and images",
        "time differences from the printed times; shifts from the labelled passes (`recipes/paper.py`)",
        (
            "Pair 5 prints 47.57 min, its times give 47.42 (the granule's name has 19:02:34).",
            "The times are those of the granules' names; photons reach the scenes 6 to 7 min later.",
            "The paper does not say if its directions are true or those of the map; near 170 W the two differ by "
            "some 170 degrees.",
        ),
    )


def scaling_rows(measured: Any, kind: str) -> list[dict[str, Any]]:
    """Return the times of one kind of work from ``is2ice bench scaling --json``."""
    return [r for r in (measured or {}).get("measured", ()) if r["kind"] == kind and r.get("measured", True)]


def _seconds(load: float, lazy: float, reduce: float) -> str:
    return " / ".join(
        "<0.001" if v < 1e-3 else f"{v:.4g}" if v >= 1 else f"{v:.2g}" for v in (load, lazy, reduce)
    )


def _counted(n: int, what: str) -> str:
    return f"{n} {what}" if n == 1 else f"{n} {what}s"


def _scaling(kind: str, title: str, measured: Any, notes: Sequence[str]) -> str:
    paper, ours = PUBLISHED[kind], scaling_rows(measured, kind)
    first, rows = paper[1, 1], []
    for (executors, cores), p in paper.items():
        gain = f"{first[0] / p[0]:.2f} / {first[2] / p[2]:.2f}"
        rows.append(
            (f"paper: {_counted(executors, 'executor')} x {_counted(cores, 'core')}", _seconds(*p), gain)
        )
    for r in ours:
        one = next((o for o in ours if (o["engine"], o["workers"]) == (r["engine"], 1)), None)
        gain = "-" if one is None else f"{one['load'] / r['load']:.2f} / {one['reduce'] / r['reduce']:.2f}"
        name = f"here: {r['engine']}, {_counted(r['workers'], 'worker')} x 1 core"
        rows.append((name, _seconds(r["load"], r["map"], r["reduce"]), gain))
    if not ours:
        rows.append(("here", ABSENT, "-"))
    where = f"{ours[0]['tasks']} tasks of a simulated archive (`is2ice bench scaling`)" if ours else ABSENT
    where += machine_state(measured) if ours else ""
    return _table(("where", "load / map / reduce, s", "speed-up load / reduce"), rows, title, where, notes)


def machine_state(measured: Any) -> str:
    """Describe the machine while it was measured: cores, load, other programs, and a warning if it was busy."""
    if not {"cores", "load_average"} <= set(measured or ()):
        return ""
    text = f", {_counted(measured['cores'], 'core')}, load {measured['load_average']:.1f} at the end"
    if measured.get("others") is not None:
        text += f", {measured['others']:.2f} cores at other work"
    return text + ("; BUSY with other work: these times mean little" if measured.get("busy") else "")


def table_2(measured: Any = None) -> str:
    """Scaling of the automatic labelling."""
    return _scaling(
        "labelling",
        "Table II: scaling of the labelling",
        measured,
        (
            "The paper's cluster: one master and three workers of four cores. 16 cores (4 x 4) are claimed of workers "
            "that have 12, and two cores are 2.24 times as fast as one: the speed-ups are super-linear.",
            "Its `map` is the building of a lazy transformation; all work is in `reduce`.",
            "The same speed-ups (9 and 16) stand in the authors' paper on Sentinel-2 alone.",
        ),
    )


def table_3(measured: Any = None, study: Any = None) -> str:
    """Scores of the classifiers.

    Parameters
    ----------
    measured : dict, optional
        Scores of `benchmarks/image_labels.py score`, against the truth of simulated passes.
    study : dict of str to dict, optional
        Scores of a study's models against image labels (``card["scores"]["test"]``), by name.
    """
    rows: list[tuple[Any, ...]] = []
    kind = PASS if PASS in (measured or {}) else next(iter(measured or {}), PASS)
    scores = (measured or {}).get(kind, {})
    for name, paper in PUBLISHED["scores"].items():
        rows.append((f"{name}, paper", *(f"{v:.2f}" for v in paper), "-", "-", "-"))
    for name, one in (study or {}).items():
        rows.append((f"{name}, against labels", *_scores(one)))
    for name, regions in scores.items():
        rows.append((f"{name}, against truth", *_scores(regions["all"])))
    if not (scores or study):
        rows.append(("here", *[ABSENT] * 4, "-", "-", "-"))
    told = []
    if study:
        told.append("against the labels that training did not see")
    if scores:
        told.append(
            f"against the truth of simulated passes ({kind}) of other seeds, all segments, point classes"
        )
    head = (
        "model",
        "accuracy %",
        "precision",
        "recall",
        "F1",
        "macro-F1",
        "recall thick / thin / water",
        "without class",
    )
    return _table(
        head,
        rows,
        "Table III: scores of the classifiers",
        "; ".join(told) or ABSENT,
        (
            "The paper's scores are of a random split of overlapping windows, against labels from the images, with a "
            "feature made from those labels, and micro-averaged. Rows 'random windows' repeat that split without the "
            "leaking feature; rows 'by scene' hold out whole scenes; scores against the truth are of whole passes that "
            "training has not seen. Only the first kind is comparable with the paper.",
            "Cells without a class (a gap in their window) count as wrong in the accuracy; the last column says how "
            "many there are, and the accuracy without them. Rows 'all labelled cells' are of whole passes: they "
            "hold cells that training saw, and those that no window reaches.",
            "The introduction has 91.84 % for the MLP, the table 91.80 %; figure 4 has 60.35 % for water, the text "
            "60.25 %.",
        ),
    )


def _scores(one: Any) -> list[str]:
    """Cells of table III of one set of scores."""
    base, sure = one.get("confusion", one), one.get("reliability") or {}
    micro = [sure.get(f"micro_{k}") for k in ("precision", "recall", "f1")]
    values = [base["accuracy"], *micro, base["macro_f1"]]
    recall = " / ".join(
        "-" if c["recall"] is None else f"{100 * c['recall']:.1f}" for c in base["classes"].values()
    )
    none, n = base.get("unlabelled"), base.get("n")
    without = "-"
    if none is not None and n:
        without = f"{none:,} of {n:,}"
        if none and base.get("accuracy_labelled") is not None:
            without += f" ({100 * base['accuracy_labelled']:.2f} % right of the others)"
    return ["-" if v is None else f"{100 * v:.2f}" for v in values] + [recall, without]


def figure_4(ours: Mapping[str, Sequence[Sequence[int]]]) -> str:
    """Rows of the paper's figure 4 beside ours, in per cent.

    Parameters
    ----------
    ours : mapping of str to (3, 4)
        Numbers of test windows by model: label along rows; predicted class, and without class, along columns.
    """
    rows = []
    for name, matrix in {"LSTM, paper": PUBLISHED["confusion"], **ours}.items():
        for label, row in zip(schema.CLASSES, matrix, strict=True):
            total = sum(row[:3])
            cells = [f"{100 * v / total:.2f}" if total else "-" for v in row[:3]]
            rows.append((name, label.replace("_", " "), *cells))
    classes = [c.replace("_", " ") for c in schema.CLASSES]
    return _table(
        ("model", "label", *(f"predicted {c} %" for c in classes)),
        rows,
        "Figure 4 in numbers",
        "windows drawn at random that training did not see" if ours else ABSENT,
        ("The paper's text has 60.25 % for water.",),
    )


def training_rows(measured: Any) -> dict[int, dict[str, float]]:
    """Return what `benchmarks/training.py --json` measured, by number of ranks of Horovod.

    Returns
    -------
    dict of int to dict
        ``total`` (s; None if not recorded), ``epoch`` (s, the fastest after the first) and ``rate`` (samples a second).
    """
    out: dict[int, dict[str, Any]] = {}
    windows = (measured or {}).get("windows", 0)
    for name, row in (measured or {}).get("rows", {}).items():
        number = next((int(w) for w in name.replace(",", " ").split() if w.isdigit()), None)
        if "rank" in name and number is not None:
            out[number] = {"total": row.get("total"), "epoch": row["best"], "rate": windows / row["best"]}
    return dict(sorted(out.items()))


def table_4(measured: Any = None) -> str:
    """Scaling of training in replicas."""
    paper, rows = PUBLISHED["training"], []
    for n, (total, epoch, rate) in paper.items():
        rows.append(
            (
                f"paper: {_counted(n, 'GPU')}",
                f"{total:g} / {epoch:g} / {rate:g}",
                f"{paper[1][0] / total:.2f}",
            )
        )
    ranks = training_rows(measured)
    for n, row in ranks.items():
        total_here = "-" if row["total"] is None else f"{row['total']:.1f}"
        cells = f"{total_here} / {row['epoch']:.2f} / {row['rate']:.0f}"
        gain = f"{ranks[min(ranks)]['epoch'] / row['epoch']:.2f}"
        rows.append((f"here: {_counted(n, 'rank')} on {_counted(n, 'core')}", cells, gain))
    if not ranks:
        rows.append(("here", ABSENT, "-"))
    windows, epochs = (measured or {}).get("windows", 0), (measured or {}).get("epochs")
    where = f"{windows:,} random windows on processors (`benchmarks/training.py`)"
    where += f", {epochs} epochs" if epochs else ""
    return _table(
        ("where", "total s / s per epoch / samples per s", "speed-up"),
        rows,
        "Table IV: training under Horovod",
        where + machine_state(measured) if ranks else ABSENT,
        (
            "The text says 20 epochs; total over epoch is 49 to 51. Our total holds the start of TensorFlow and the "
            "compilation in the first epoch.",
            "Samples per s times s per epoch is 3,222 to 3,356: the 3,225 training tiles of the authors' U-Net, not "
            "the windows of the LSTM. The table looks like the U-Net's, and says nothing of the LSTM.",
            "GPUs there; replicas on processors here, where the speed-up says if the code shares the work.",
        ),
    )


def table_5(measured: Any = None) -> str:
    """Scaling of the freeboard computation."""
    return _scaling(
        "freeboard",
        "Table V: scaling of the freeboard",
        measured,
        ("Every row is table II plus 1 to 4 s.", "See the notes of table II."),
    )
