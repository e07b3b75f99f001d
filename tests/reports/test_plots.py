"""The quick look: what is there is drawn, what is not is said."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

pytest.importorskip("matplotlib")

from is2ice import schema
from is2ice.reports import plot_style, plot_track

STAGES = ("classified", "seasurface", "freeboard")


def full(n: int = 600) -> xr.Dataset:
    ds = schema.mock_segments(n, stages=STAGES)
    ds["surface_class"][100:150] = 2
    ds["surface_class"][150:170] = 1
    ds["n_photons"][300:330] = 0
    for name in ("height", "freeboard", "photon_rate"):
        ds[name][300:330] = np.nan
    return ds


def texts(figure: object) -> str:
    from matplotlib.text import Text

    return "\n".join(t.get_text() for t in figure.findobj(Text))  # type: ignore[attr-defined]


def test_full_track_is_saved_with_units_and_legend(tmp_path: Path) -> None:
    figure = plot_track.quicklook(full(), path=tmp_path / "q.png")
    assert (tmp_path / "q.png").stat().st_size > 20_000
    said = texts(figure)
    for expected in (
        "thick ice",
        "thin ice",
        "open water",
        "local sea surface ± 1σ",
        "(m)",
        "km",
        "MHz",
        "snow included",
        "mock",
        "gt2r",
        "2019-11-03",
        "median 0.28 m",
    ):
        assert expected in said, expected
    assert "no " not in said
    heights = figure.axes[0]
    lo, hi = heights.get_ylim()
    assert lo < 0.02 < hi
    assert figure.axes[-1].get_xlabel() == "" or "km" in figure.axes[3].get_xlabel()


def test_colours_are_distinct_in_lightness() -> None:
    from matplotlib.colors import to_rgb

    def lightness(colour: str) -> float:
        r, g, b = to_rgb(colour)
        return 0.2126 * r**2.2 + 0.7152 * g**2.2 + 0.0722 * b**2.2

    values = sorted(lightness(plot_style.COLOURS[c]) for c in (0, 2))
    assert values[1] - values[0] > 0.2
    others = {
        plot_style.SEA,
        plot_style.FREEBOARD,
        plot_style.RATE,
        plot_style.BACKGROUND,
        plot_style.THEIRS,
        *plot_style.SERIES,
    }
    assert not others & set(plot_style.COLOURS.values()), "what is no class has a class's colour"


def test_what_is_absent_is_said() -> None:
    said = texts(plot_track.quicklook(schema.mock_segments(100)))
    assert "not classified" in said
    assert "no freeboard computed" in said
    ds = full()
    for name in ("h_ref", "h_ref_uncertainty", "freeboard", "freeboard_uncertainty", "background_rate"):
        ds[name][:] = np.nan
    said = texts(plot_track.quicklook(ds))
    assert "no lead within reach: no local sea surface" in said
    assert "no freeboard: no lead within reach" in said
    assert "no background rates" in said
    empty = full()
    empty["n_photons"][:] = 0
    empty["height"][:] = np.nan
    said = texts(plot_track.quicklook(empty))
    assert "no segment heights here" in said
    assert "no filled segment here" in said


def test_windows() -> None:
    figure = plot_track.quicklook(full(), x=(0.2, 0.4))
    assert figure.axes[3].get_xlim() == (0.2, 0.4)
    with pytest.raises(ValueError, match="no segment there; the track is 1"):
        plot_track.quicklook(full(), x=(5.0, 6.0))
    cube = xr.concat([full().expand_dims(beam=[b]) for b in ("gt1l", "gt1r")], "beam")
    with pytest.raises(ValueError, match="2 beams: give one"):
        plot_track.quicklook(cube)
    assert "gt1r" in texts(plot_track.quicklook(cube.isel(beam=[1])))
    assert "gt1l" in texts(plot_track.quicklook(cube.sel(beam="gt1l")))


def test_a_track_that_is_mostly_gap_shows_its_longest_stretch() -> None:
    ds = full(10_000)  # 20 km
    ds["n_photons"][:] = 0
    ds["n_photons"][:20] = 5
    ds["n_photons"][9_000:9_500] = 5  # 18 to 19 km
    figure = plot_track.quicklook(ds)
    assert figure.axes[3].get_xlim() == pytest.approx((18.0, 19.0), abs=0.005)
    assert "longest stretch of a 20 km track" in texts(figure)


def test_photons_lie_on_their_segments() -> None:
    photons = schema.mock_photons(2_000)
    ds = full(700)
    ds["h_mean"][:] = -55.0
    ds["height"][:] = 0.3
    figure = plot_track.quicklook(ds, photons)
    drawn = [c.get_offsets() for c in figure.axes[0].collections if c.get_label() == "signal photons"]
    (points,) = drawn
    # Photons at -55 m +- 0.12 m above the ellipsoid, segments 55.3 m higher above the mean sea surface.
    assert float(np.mean(points[:, 1])) == pytest.approx(0.3, abs=0.01)
    inside = photons["x_atc"].values <= float(ds["x_atc"][-1]) + 2.0
    assert abs(len(points) - inside.sum()) < 20


@pytest.mark.parametrize(("cell", "bars"), [(25_000.0, 0), (5000.0, 2)])
def test_map_of_one_cell_has_no_invented_range(cell: float, bars: int) -> None:
    """Colour bars are as high as their panels; one cell has its value instead; lines are named near the frame."""
    from is2ice.reports.plot_maps import draw_map
    from is2ice.science import grid

    track = full()
    track["freeboard"][:] = np.linspace(0.2, 0.6, 600)
    track["freeboard_uncertainty"][:] = np.linspace(0.02, 0.06, 600)
    track["latitude"] = ("x_atc", -75.0 + (1e-5 if bars == 0 else 5e-4) * np.arange(600))
    made = grid.to_map(grid.cell_sums(track, grid.GRIDS["nsidc_south"].with_cell(cell)), min_segments=1)
    figure = draw_map(made, width=8.5)
    figure.canvas.draw()
    panels = figure.axes[:2]
    insets = [bar for panel in panels for bar in panel.child_axes]
    assert len(insets) == bars
    for panel, bar in zip(panels, insets, strict=False):
        ours, whole = bar.get_position().height, panel.get_position().height  # without the arrows at its ends
        assert 0.85 * whole < ours <= 1.001 * whole
    named = [t for t in panels[0].texts if "°" in t.get_text()]
    assert named
    for told in named:
        x, y = told.get_position()
        assert min(x, 1 - x, y, 1 - y) < 0.35
    assert any(t.get_text().endswith(" m") for t in panels[0].texts) is (bars == 0)
