"""The classifier of ATL07 segments: trained, saved, and a third result beside ours and NASA's."""

from __future__ import annotations

import numpy as np
import pytest

from is2ice.classifiers.koo import Koo
from is2ice.errors import ModelError
from is2ice.io.icesat2.atl07_atl10 import open_atl07
from is2ice.reports import plot_figures
from is2ice.reports.nasa_comparison import compare
from is2ice.reports.nasa_comparison_report import text
from is2ice.science import koo
from is2ice.workflows.track import one_track

FOLDER = "sample_data/"
GRANULE = FOLDER + "ATL03_20191116193412_07410510_006_01.h5"
SEVEN = FOLDER + "ATL07-02_20191116193412_07410501_006_01.h5"
TEN = FOLDER + "ATL10-02_20191116193412_07410501_006_01.h5"


@pytest.fixture(scope="module")
def track():
    return one_track(GRANULE, "gt1r")


@pytest.fixture(scope="module")
def labelled(track):
    """Segments that bear the classes of our tree as labels."""
    return koo.label_segments(open_atl07(SEVEN, "gt1r"), track.rename(surface_class="label"))


@pytest.fixture(scope="module")
def model(labelled):
    return Koo.fit([labelled], epochs=40, batch=16)


def test_it_learns_is_saved_and_gives_the_same_classes(model, labelled, tmp_path):
    assert model.card["scores"]["test"]["accuracy"] > 0.8
    saved = model.save(tmp_path / "koo")
    again = Koo.load(tmp_path / "koo")
    assert again.checksum == saved.checksum
    a, b = (m.classify(labelled).koo_class.values for m in (model, again))
    assert (a == b).all()
    assert np.isin(a, (0, 1, 2)).all()
    blind = labelled.assign(photon_rate=labelled.photon_rate * np.nan)
    assert (model.classify(blind).koo_class.values == -1).all()


def test_a_third_result_beside_ours_and_nasas(model, track):
    c = compare(track, SEVEN, TEN, koo=model)
    numbers, done = c.numbers["koo"], c.koo
    assert done.sizes["segment"] > 50
    assert (done.koo_freeboard.values[np.isfinite(done.koo_freeboard)] >= 0).all()
    counts = [n for row in numbers["classes"].values() for n in row.values()]
    assert sum(counts) == int((done.koo_class >= 0).sum())
    assert abs(numbers["sea_surface"]["bias"]) < 0.3
    assert "method of Koo et al. (2023)" in text(c)
    assert "koo" not in compare(track, SEVEN, TEN).numbers
    figure = plot_figures.draw_classes(c)
    assert "Koo's classes" in [t.get_text() for t in figure.axes[1].get_yticklabels()]
    for draw in (plot_figures.draw_surfaces, plot_figures.draw_freeboards):
        names = [t.get_text() for a in draw(c).axes if a.get_legend() for t in a.get_legend().get_texts()]
        assert any("Koo" in n for n in names)
    with pytest.raises(ValueError, match="give atl07"):
        compare(track, None, TEN, koo=model)


def test_too_few_labels_are_refused(labelled):
    with pytest.raises(ModelError, match="all three classes"):
        Koo.fit([labelled.assign(label=labelled.label * 0)])
    with pytest.raises(ModelError, match="100 or more"):
        Koo.fit([labelled.isel(segment=slice(0, 5))])
