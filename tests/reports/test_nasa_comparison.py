"""Ours beside NASA's: matching by distance, like populations, leads counted by hand, the report and the command."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from matplotlib.text import Text

from is2ice import schema
from is2ice.io.icesat2 import atl07_atl10
from is2ice.reports import nasa_comparison as room
from is2ice.reports import plot_figures
from is2ice.reports.nasa_comparison import compare, match, overlaps
from is2ice.reports.nasa_comparison_report import text, write_html
from is2ice.science import seasurface
from is2ice.workflows.track import one_track

FOLDER = "sample_data/"
GRANULE = FOLDER + "ATL03_20191116193412_07410510_006_01.h5"
SEVEN = FOLDER + "ATL07-02_20191116193412_07410501_006_01.h5"
TRUTH = FOLDER + "truth/truth.nc"
TEN = FOLDER + "ATL10-02_20191116193412_07410501_006_01.h5"


@pytest.fixture(scope="module")
def track():
    return one_track(GRANULE, "gt1r")


@pytest.fixture(scope="module")
def result(track):
    return compare(track, SEVEN, TEN)


def mock(n=1000):
    ds = schema.mock_segments(n, stages=("classified", "seasurface", "freeboard"))
    return ds.assign_attrs(rgt=1, cycle=1)


def theirs(x, length=20.0, **put):
    x = np.asarray(x, float)
    base = {"x_atc": x, "length": np.full(x.size, length), "height": np.full(x.size, 0.3)}
    base |= {"height_uncertainty": np.full(x.size, 0.01), "segment_id": np.arange(x.size)}
    base |= {"ssh_flag": np.zeros(x.size, "i1"), "surface_type": np.ones(x.size, "i1")}
    return xr.Dataset(
        {k: ("segment", np.asarray(v)) for k, v in {**base, **put}.items()}, attrs={"product": "ATL07"}
    )


def test_matching_is_by_distance_and_weighs_by_photons():
    ds = mock()
    ds["height"] = ("x_atc", np.arange(1000, dtype="f4"))
    ds["longitude"] = ds["longitude"] * 0  # positions play no part
    x0 = 28_400_000.0
    joined = match(ds, theirs([x0 + 100.0, x0 - 500.0]))
    rows = slice(45, 55)  # centres x0 + 91 ... x0 + 109
    w = ds.n_photons.values[rows].astype(float)
    assert joined.ours_n.values.tolist() == [10, 0]
    assert float(joined.ours_height[0]) == pytest.approx((w * np.arange(45, 55)).sum() / w.sum(), rel=1e-6)
    assert float(joined.ours_height_uncertainty[0]) == pytest.approx(
        0.03 * (w**2).sum() ** 0.5 / w.sum(), rel=1e-4
    )
    assert np.isnan(joined.ours_height[1])
    assert joined.ours_class.values.tolist() == [0, -1]
    assert float(joined.ours_correction[0]) == pytest.approx(-55.0 + 0.1 + 0.01 - 0.05, abs=1e-4)


def test_heights_are_brought_to_the_products_corrections():
    """A product with another mean sea surface and tide: the difference of corrections is told and taken out."""
    ds = mock()
    x = 28_400_000.0 + np.arange(50.0, 1900.0, 25.0)
    n = x.size
    put = {"mss": -55.2, "tide_ocean": 0.13, "tide_equilibrium": 0.01, "dac": -0.05}
    put = {k: np.full(n, v) for k, v in put.items()}
    shift = 0.2 - 0.03
    mean = float(np.average(ds.height, weights=ds.n_photons))
    seven = theirs(x, height=np.full(n, mean + shift), **put)
    made = compare(ds, seven)
    assert made.numbers["corrections"]["bias"] == pytest.approx(shift, abs=1e-4)
    assert abs(made.numbers["height"]["bias"]) < 0.005
    none = compare(ds, theirs(x))
    assert none.numbers["corrections"] == {"n": 0}
    assert any("holds no corrections" in s for s in none.statements)


def test_segments_without_a_correction_are_left_out():
    """What the product does not say is not taken for zero."""
    ds = mock()
    x = 28_400_000.0 + np.arange(50.0, 1900.0, 25.0)
    put = {"mss": -55.2, "tide_ocean": 1.13, "tide_equilibrium": 0.01, "dac": -0.05}
    put = {k: np.full(x.size, v) for k, v in put.items()}
    put["tide_ocean"][:20] = np.nan
    made = compare(ds, theirs(x, height=np.full(x.size, 1.5), **put))
    whole = compare(
        ds, theirs(x[20:], height=np.full(x.size - 20, 1.5), **{k: v[20:] for k, v in put.items()})
    )
    assert made.numbers["height"] == whole.numbers["height"]
    assert any("20 segments" in s and "corrections" in s for s in made.statements)
    assert not any("segments lack" in s for s in whole.statements)


def test_a_segment_without_a_section_number_does_not_spoil_the_others(track, result):
    ten = atl07_atl10.open_atl10(TEN, "gt1r")
    segments = ten["segments"].to_dataset()
    number = segments["refsurf_ndx"].astype(float)
    number[0] = np.nan
    ten["segments"] = xr.DataTree(segments.assign(refsurf_ndx=number))
    again = compare(track, SEVEN, ten)
    assert again.numbers["sea_surface"]["n"] == result.numbers["sea_surface"]["n"] > 0


def test_leads_are_counted_by_hand():
    """Three of ours, two of theirs: one seen by both, one too narrow for a segment, one of theirs missed."""
    ds = mock(3000)
    x0 = 28_400_000.0
    for k, (first, n) in enumerate(((500, 50), (1000, 5), (2000, 100), (2500, 10))):
        ds["surface_class"][first : first + n] = schema.OPEN_WATER
        ds["lead_index"][first : first + n] = k
    # The last one is an opening that the sea surface leaves out.
    ds["lead_probability"] = ("x_atc", np.where(ds["lead_index"] == 3, 0.1, 0.9).astype("f4"))
    x = x0 + np.arange(10.0, 5990.0, 20.0)
    ssh = ((x > x0 + 1000) & (x < x0 + 1100)) | ((x > x0 + 3000) & (x < x0 + 3060))
    made = compare(ds, theirs(x, ssh_flag=ssh.astype("i1")))
    leads = made.numbers["leads"]
    assert (leads["ours"], leads["theirs"]) == (3, 2)
    assert (leads["ours_with_theirs"], leads["theirs_with_ours"]) == (1, 1)
    assert leads["precision"] == pytest.approx(1 / 3, abs=1e-4)
    assert leads["recall"] == 0.5
    assert leads["ours_only"] == 2
    assert leads["ours_only_narrower_than_a_segment"] == 1
    assert leads["our_openings"] == 4
    assert [(r["ours"], r["precision"]) for r in leads["precision_by_width"]] == [
        (1, 0.0),
        (0, None),
        (0, None),
        (2, 0.5),
    ]
    assert overlaps(np.array([[0.0, 5.0]]), np.array([[15.0, 20.0]])).tolist() == [True]  # within a footprint
    assert overlaps(np.array([[0.0, 5.0]]), np.array([[17.0, 20.0]])).tolist() == [False]


def test_atl07_is_compared_on_its_own_surface():
    """Its heights, and its runs of sea-surface segments, also where ATL10 is given; ours stands 2 cm above them."""
    ds = mock(3000)
    x = 28_400_000.0 + np.arange(10.0, 5990.0, 20.0)
    ssh = np.zeros(x.size, "i1")
    ssh[20:24], ssh[100:103] = 1, 1
    seven = theirs(x, ssh_flag=ssh, height=np.where(ssh > 0, 0.0, 0.3))
    made = compare(ds, seven)
    assert made.numbers["atl07"]["sea_surface"]["n"] == made.atl07_leads.sizes["lead"] == 2
    assert made.numbers["atl07"]["sea_surface"]["bias"] == pytest.approx(0.02, abs=1e-4)
    assert made.numbers["atl07"]["height"] == made.numbers["height"]
    assert "sea surface, ATL07 leads n 2, bias +2.00 cm" in text(made)


def test_the_sample_against_its_products(result):
    n = result.numbers
    print("\n" + text(result))
    assert n["theirs"]["product"] == "ATL10"
    assert n["height"]["n"] > 800
    assert abs(n["height"]["bias"]) < 0.03
    assert abs(n["corrections"]["bias"]) < 1e-3  # the same file's corrections
    assert n["sea_surface"]["n"] == 1
    assert abs(n["sea_surface"]["bias"]) < 0.05
    assert abs(n["freeboard"]["alike"]["difference"]["bias"]) < 0.03
    assert n["density"]["ratio_freeboards"] > 4
    assert n["leads"]["theirs_in_our_openings"] == n["leads"]["theirs"]
    assert n["leads"]["recall"] > 0.9  # as leads that the sea surface rests on
    assert n["atl07"]["height"]["n"] >= n["height"]["n"]
    assert n["atl07"]["sea_surface"]["n"] > 0
    assert abs(n["atl07"]["sea_surface"]["bias"]) < 0.05
    assert n["classes"]["specular"]["open_water"] > 100
    assert n["classes"]["specular"]["thick_ice"] == 0
    json.loads(result.to_json())


def test_freeboard_is_nearer_to_the_truth_than_atl10s(track, monkeypatch):
    """Where both have a freeboard: every 2 m, and averaged to the product's own segments."""
    from is2ice import twin

    monkeypatch.syspath_prepend(str(Path(__file__).resolve().parents[2] / "benchmarks"))
    import against_nasa

    told = against_nasa.one_beam(
        track, None, atl07_atl10.open_atl10(TEN, "gt1r"), twin.open_truth(TRUTH, "gt1r")
    )
    rmse = {k: (v[2] / v[0]) ** 0.5 for k, v in told.items() if isinstance(v, tuple) and v[0]}
    print("\n" + "\n".join(f"{k:34}{100 * v:6.2f} cm" for k, v in rmse.items()))
    assert rmse["ours, 2 m"] < rmse["theirs, taken every 2 m"]
    assert rmse["ours averaged to their segments"] < rmse["theirs, own segments"]
    assert told["points"][0] > 4 * told["points"][1] > 0
    true, ours, theirs, only = told["leads"]["narrower"]
    assert true >= ours >= only
    assert ours - only <= theirs <= true


def test_like_populations_hold_the_same_segments(result):
    alike = room.alike_places(result.segments)
    part = result.segments.isel(segment=np.flatnonzero(alike))
    assert np.isfinite(part.freeboard).all()
    assert np.isfinite(part.ours_freeboard).all()
    assert np.isin(part.ours_class, (0, 1)).all()
    assert not np.isin(part.surface_type, atl07_atl10.SPECULAR).any()
    assert (
        result.numbers["freeboard"]["alike"]["ours"]["n"]
        == result.numbers["freeboard"]["alike"]["theirs"]["n"]
    )


def test_a_product_without_reference_is_said_to_have_none():
    made = compare(one_track(GRANULE, "gt3r"), atl10=TEN)
    assert made.numbers["sea_surface"] == {"n": 0}
    assert made.numbers["density"]["ratio_freeboards"] is None
    assert any("no freeboard in this stretch" in s for s in made.statements)
    assert "nothing to compare" in text(made)
    for draw in (plot_figures.draw_classes, plot_figures.draw_surfaces, plot_figures.draw_freeboards):
        figure = draw(made)
        if draw is not plot_figures.draw_classes:
            said = " ".join(t.get_text() for t in figure.findobj(Text))
            assert "it has no lead on gt3r here" in said
            assert "10 km section" not in said


def test_page_holds_figures_numbers_and_statements(result, tmp_path):
    path = write_html(result, tmp_path / "report.html")
    page = path.read_text()
    assert page.count("data:image/png;base64,") == 3
    assert "http" not in page.replace("http-equiv", "")
    for statement in result.statements:
        assert statement.split("'")[0] in page
    assert "precision" in page
    assert page.count("<table>") == 7
    assert "<pre>" not in page
    row = page[page.index("<th>sea surface by section</th>") :].split("</tr>")[0]
    assert "<td>1</td>" in row  # one section has no spread
    assert row.count("<td>-</td>") == 2


def test_figures_have_titles_labels_and_units(result, track):
    bare = track.drop_vars(["h_ref", "h_ref_uncertainty", "h_ref_flag", "lead_index"])
    methods = {m: seasurface.estimate(bare, m) for m in ("nasa", "crossfit")}
    figures = [
        plot_figures.draw_classes(result),
        plot_figures.draw_surfaces(result),
        plot_figures.draw_freeboards(result),
        plot_figures.draw_methods(track, methods),
        plot_figures.draw_scaling({"a": [(1, 10.0), (2, 6.0)]}, "scaling"),
    ]
    for figure in figures:
        assert figure.get_suptitle()
        assert figure.get_figwidth() <= 7.2
        for ax in figure.axes:
            assert ax.get_ylabel() or ax.get_xlabel() or ax.get_yticklabels()


def test_wrong_requests(track):
    with pytest.raises(ValueError, match="give atl07, atl10 or both"):
        compare(track)
    with pytest.raises(ValueError, match="expected one track"):
        compare(track.expand_dims(beam=["gt1r"]), SEVEN)
    with pytest.raises(ValueError, match="rgt: ours is 12"):
        compare(track.assign_attrs(rgt=12), SEVEN)
    moved = track.assign_coords(x_atc=track.x_atc + 1e6)
    with pytest.raises(ValueError, match="no common stretch"):
        compare(moved, SEVEN)


def test_command_line(tmp_path, capsys):
    from is2ice.cli.main import main

    args = ["compare", GRANULE, "gt1r", "--atl07", SEVEN, "--atl10", TEN]
    with pytest.raises(SystemExit) as stopped:
        main([*args, "--out", str(tmp_path / "r.html"), "--json"])
    assert not stopped.value.code
    told = json.loads(capsys.readouterr().out)
    assert told["leads"]["theirs_in_our_openings"] == told["leads"]["theirs"] > 0
    assert (tmp_path / "r.html").stat().st_size > 50_000
    with pytest.raises(SystemExit):
        main(["compare", GRANULE, "gt2r", "--atl10", TEN])
    printed = capsys.readouterr().out
    assert "no lead on gt2r in this stretch" in printed
    assert "beams with leads here: gt1r." in printed
    assert " to none" in printed
    for wrong, message in (
        ([*args, "--out", "r.pdf"], ".html or .json"),
        (args[:3], "nothing to compare with"),
        ([*args[:3], "--atl10", "nope.h5"], "nope.h5: no such file; expected a granule of ATL10"),
    ):
        with pytest.raises(SystemExit) as stopped:
            main(wrong)
        assert stopped.value.code == 2
        assert message in capsys.readouterr().err


def test_segments_that_do_not_follow_break_a_lead():
    """Two runs of one surface, parted by a number that is left out; no segment is no break."""
    number = np.array([7, 8, 10, 11])
    table = xr.Dataset({"segment_id": ("segment", number), "x_atc": ("segment", 30.0 * number)})
    table["height"] = table["height_uncertainty"] = ("segment", np.full(4, 0.1))
    assert room.columns(table)[3].tolist() == [False, False, True, False]
    assert room.surface_leads(table, np.ones(4, bool)).sizes["lead"] == 2
    empty = table.isel(segment=slice(0))
    assert room.columns(empty)[3].size == 0
    assert room.surface_leads(empty, np.zeros(0, bool)).sizes["lead"] == 0
