"""Label the 2 m segments of a pass from a coincident Sentinel-2 scene, and draw what came out.

    python recipes/label_scene.py ATL03_20191104195311_05940510_006_01.h5 earth_search labelled.zarr
    python recipes/label_scene.py GRANULE item.json labelled.zarr --corrections hand.csv --pictures pictures/

The scene is a STAC item (path or URL), or the name of a catalogue to search for scenes near the pass.
"""

import argparse
from pathlib import Path

import is2ice
from is2ice.io.stores.store import consolidate
from is2ice.reports.plot_labels import draw_drift, draw_labels
from is2ice.science.labels import transfer
from is2ice.science.labels.corrections import Corrections, review

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("granule")
parser.add_argument("scene")
parser.add_argument("store")
parser.add_argument("--within", type=float, default=80.0, help="most minutes between pass and image")
parser.add_argument("--corrections", type=Path)
parser.add_argument("--pictures", type=Path)
args = parser.parse_args()

by_hand = Corrections.read(args.corrections) if args.corrections else None
done = is2ice.label_pass(args.granule, args.scene, within=args.within, corrections=by_hand)
print(done.table().to_string(index=False))
print(transfer.summary(done.segments))
print(review(done.segments).head(10).to_string(index=False))

for beam in done.segments["beam"].values:
    print(is2ice.write_track(done.segments.sel(beam=[beam]), args.store)["path"])
consolidate(args.store)

if args.pictures:
    args.pictures.mkdir(parents=True, exist_ok=True)
    for name, classes in done.classes.items():
        shift = (done.drifts[name].dx, done.drifts[name].dy)
        draw_drift(done.drifts[name], args.pictures / f"{name}_drift.png")
        for beam in done.segments["beam"].values:
            picture = args.pictures / f"{name}_{beam}.png"
            draw_labels(
                done.segments.sel(beam=[beam]), classes, done.reflectance[name], shift=shift, path=picture
            )
