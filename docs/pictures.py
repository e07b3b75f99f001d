"""Draw the pictures of the site: a simulated beam with its truth, and its sea surface by six methods, and the steps.

python docs/pictures.py
"""

from __future__ import annotations

from pathlib import Path

import is2ice
from is2ice.reports.plot_figures import draw_methods
from is2ice.reports.plot_workflow import draw_stages, draw_steps

STATIC = Path(__file__).resolve().parent / "_static"
BEAM = "gt2r"


def main() -> None:
    """Write both pictures, in few colours so that they stay small."""
    track = is2ice.one_track(is2ice.sample(), BEAM)
    with is2ice.Granule(is2ice.sample()) as granule:
        photons = granule.photons(BEAM)
    truth = is2ice.twin.open_truth(is2ice.sample("truth"), BEAM)
    is2ice.quicklook(track, photons, truth=truth, path=STATIC / "track.png")
    methods = "minimum", "mean", "nearest_minimum", "nasa", "crossfit", "evidence"
    made = {method: is2ice.seasurface.estimate(track, method) for method in methods}
    title = f"{track.attrs['granule']} {BEAM}"
    draw_methods(track, made, title).savefig(STATIC / "sea_surfaces.png", dpi=110)
    draw_steps().savefig(STATIC / "workflow.png", dpi=110)
    draw_stages().savefig(STATIC / "stages.png", dpi=110)
    for path in STATIC.glob("*.png"):
        shrink(path)


def shrink(path: Path) -> None:
    """Store a picture with a palette of 96 colours."""
    from PIL import Image

    Image.open(path).convert("RGB").quantize(96, dither=Image.Dither.NONE).save(path, optimize=True)


if __name__ == "__main__":
    main()
