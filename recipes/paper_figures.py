"""Counterparts of figures 2 and 4 to 11 of Iqrah et al. (2025) for any granule, beam and scene.

    python recipes/paper_figures.py ATL03.h5 gt2r --atl07 ATL07.h5 --atl10 ATL10.h5 --scene item.json --out figures
    python recipes/paper_figures.py sample_data/ATL03_20191116193412_07410510_006_01.h5 gt1r --sample --shift 79 115

The paper's two tracks (4 and 26 November 2019, gt2r) are shown in its windows, others in the part with most leads;
`--km` chooses another. A figure whose data are not given is not drawn, and that is said. Labels (figures 2
and 4) are of the beam asked for, or, where the scene does not see it, of the strong beams that it sees: their titles
name them.
"""

import argparse
from pathlib import Path

import numpy as np

import is2ice
from is2ice.classifiers.scores import score_labels
from is2ice.reports import plot_figures, plot_scores, published_tables
from is2ice.workflows.label_pass import LabellingError

#: Longitudes of figures 6, 7, 10 and 11, by the start of the granule's name.
WINDOWS = {"ATL03_20191104195311": (-170.5, -170.0), "ATL03_20191126182014": (-162.96, -162.7)}
#: Distances (m) and heights (m) of figures 8 and 9 for the same two tracks.
SURFACES = (28.30e6, 28.55e6), (-0.4, 0.4)
SAMPLE = {
    "atl07": "ATL07-02_20191116193412_07410501_006_01.h5",
    "atl10": "ATL10-02_20191116193412_07410501_006_01.h5",
    "scene": "sentinel-2-l2a/*/*.json",
}
METHODS = ("minimum", "mean", "nearest_minimum", "nasa", "crossfit")


def window(track, km):
    """Part to show, km from the start of the track, and None for the default."""
    if km is None:
        west, east = WINDOWS.get(str(track.attrs["granule"])[:20], (None, None))
        if west is None:
            return None
        (inside,) = np.nonzero((track.longitude.values >= west) & (track.longitude.values <= east))
        km = (inside[0] * 0.002, inside[-1] * 0.002) if inside.size else None
    return km


def as_published(figure, track):
    """Figure 8 or 9 in the paper's window, if the track is one of its two."""
    if str(track.attrs["granule"])[:20] in WINDOWS:
        km = (np.array(SURFACES[0]) - float(track.x_atc[0])) / 1e3
        figure.axes[0].set_xlim(*km)
        figure.axes[0].set_ylim(*SURFACES[1])
    return figure


def labels(args):
    """Figures 2 and 4, of the beam asked for, or of the strong beams that the scene sees instead."""
    try:
        drift = (
            "estimate"
            if args.shift is None
            else is2ice.Drift(*args.shift, is2ice.open_track(args.granule).attrs["crs"])
        )
        done = is2ice.label_pass(args.granule, str(args.scene), drift=drift)
    except LabellingError as error:
        yield "2_labels", str(error)
        return
    image, scores = is2ice.open_scene(str(args.scene)), None
    cube = done.segments
    tracks = [cube.sel(beam=b).assign_attrs(beam=b) for b in map(str, cube["beam"].values)]
    tracks = [t for t in tracks if (t["label"] >= 0).any()]
    tracks = [t for t in tracks if t.attrs["beam"] == args.beam] or tracks
    beams = ", ".join(t.attrs["beam"] for t in tracks)
    if not tracks:
        yield "2_labels and 4_confusion", "the scene labels no segment"
        return
    if beams != args.beam:
        print(f"figures 2 and 4: the scene labels nothing of {args.beam}; they show {beams}")
        beams += f" (the scene does not label {args.beam})"
    for labelled in tracks:
        beam = labelled.attrs["beam"]
        ours = is2ice.one_track(args.granule, beam).reindex(
            x_atc=labelled.x_atc, fill_value={"surface_class": -1}
        )
        classes = {k: ours[k] for k in ("surface_class", "class_probability")}
        score = score_labels(labelled.assign(classes))
        scores = score if scores is None else scores + score
    yield (
        "2_labels",
        plot_figures.draw_scene(
            image, tracks, f"Labels over their image\n{image.attrs['scene']}\n{beams}", width=args.width
        ),
    )
    title = f"{cube.attrs['granule']}\n{beams}"
    yield "4_confusion", plot_scores.confusion({"Radiometric classes against labels": scores}, title=title)


def figures(args):
    """Name and figure, or name and why there is none."""
    track = is2ice.one_track(args.granule, args.beam)
    if args.scene is None:
        yield "2_labels and 4_confusion", "no scene (--scene)"
    else:
        yield from labels(args)
    measured = published_tables.read_measured(args.measured)
    for kind in ("labelling", "freeboard"):
        rows = published_tables.scaling_rows(measured["scaling"], kind)
        if not rows:
            yield (
                f"5_scaling_{kind}",
                f"not measured here (no {published_tables.FILES['scaling']} in {args.measured})",
            )
            continue
        lines = {
            f"here: {e}": [(r["workers"], r["reduce"]) for r in rows if r["engine"] == e]
            for e in {r["engine"]: 0 for r in rows}
        }
        lines["paper, cores of its cluster"] = sorted(
            (e * c, v[2]) for (e, c), v in published_tables.PUBLISHED[kind].items() if e == 1 or c == 4
        )
        yield (
            f"5_scaling_{kind}",
            plot_figures.draw_scaling(
                lines, f"Scaling of the {kind}, computing (reduce)", "workers, or cores", width=args.width
            ),
        )
    bare = track.drop_vars(
        ["h_ref", "h_ref_uncertainty", "h_ref_flag", "lead_index", "freeboard", "freeboard_uncertainty"]
    )
    surfaces = {m: is2ice.seasurface.estimate(bare, m) for m in METHODS}
    yield (
        "8_sea_surfaces",
        plot_figures.draw_methods(track, surfaces, f"{track.attrs['granule']} {args.beam}", width=args.width),
    )
    if args.atl07 is None and args.atl10 is None:
        yield "6_7_9_10_11", "no product (--atl07, --atl10)"
        return
    result = is2ice.compare(track, args.atl07, args.atl10)
    part = window(result.track, args.km)
    yield "6_7_classes", plot_figures.draw_classes(result, part, width=args.width)
    yield "9_sea_surface", as_published(plot_figures.draw_surfaces(result, width=args.width), result.track)
    yield "10_11_freeboard", plot_figures.draw_freeboards(result, part, width=args.width)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("granule", type=Path)
    parser.add_argument("beam")
    for name in ("--atl07", "--atl10", "--scene"):
        parser.add_argument(name, type=Path)
    parser.add_argument(
        "--sample", action="store_true", help="products and scene that lie beside the granule"
    )
    parser.add_argument(
        "--shift", type=float, nargs=2, help="dx dy of the ice by hand, m, instead of an estimate"
    )
    parser.add_argument("--km", type=float, nargs=2)
    parser.add_argument("--measured", type=Path, default=Path("build"))
    parser.add_argument(
        "--width", type=width, default=plot_figures.COLUMN, help="cm: a column (8.5) or a page (18)"
    )
    parser.add_argument("--out", type=Path, default=Path("build/figures"))
    args = parser.parse_args()
    if not args.granule.is_file():
        parser.error(f"{args.granule}: no such granule")
    for name, pattern in SAMPLE.items() if args.sample else ():
        found = [p for p in sorted(args.granule.parent.glob(pattern)) if p.name != "collection.json"]
        if not found:
            parser.error(f"--sample: no {pattern} beside {args.granule}; give --{name} instead")
        setattr(args, name, found[0])
    for name in SAMPLE:
        if getattr(args, name) is not None and not getattr(args, name).exists():
            parser.error(f"--{name} {getattr(args, name)}: no such file")
    args.out.mkdir(parents=True, exist_ok=True)
    try:
        draw(args)
    except (ValueError, OSError) as error:  # what the package refuses, in its own words
        parser.exit(2, f"{parser.prog}: error: {error}\n")


def width(text):
    """Width of a figure, cm."""
    value = float(text)
    if not 5.0 <= value <= 60.0:
        raise argparse.ArgumentTypeError(f"expected 5 to 60 cm, got {text}")
    return value


def draw(args):
    for name, figure in figures(args):
        if isinstance(figure, str):
            print(f"figure {name}: {figure}")
        else:
            figure.savefig(args.out / f"figure_{name}.png", dpi=300)
            print(f"figure {name}: {args.out / f'figure_{name}.png'}")


if __name__ == "__main__":
    main()
