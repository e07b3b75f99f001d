"""ATL07 and ATL10: both layouts written by hand, and genuine granules."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
import xarray as xr

from is2ice import schema
from is2ice.cli import products
from is2ice.errors import GranuleError, SchemaError
from is2ice.io.icesat2 import atl07_atl10
from is2ice.reports import nasa_product_checks
from is2ice.science import seasurface
from is2ice.science.leads import find_leads

SAMPLE = Path(__file__).resolve().parents[3] / "sample_data"

FILL4, FILL8 = np.float32(3.4028235e38), 1.7976931348623157e308
ATL10 = (
    "processed_ATL10-01_20220104070710_01991401_006_01.h5",
    "processed_ATL10-01_20220113062452_03361401_006_01.h5",
)
ATL07 = "ATL07-01_20190222003738_003_02_subset.h5"


def scene(seed=1):
    """Segments of two 10 km sections; four leads (first row, count), the last section without any."""
    rng = np.random.default_rng(seed)
    n = 2000
    length = rng.uniform(10, 20, n)
    x = 8.9e6 + np.cumsum(length)
    height = rng.normal(0.4, 0.1, n).astype("f4")
    sigma = rng.uniform(0.004, 0.02, n).astype("f4")
    leads = [(100, 1), (200, 5), (550, 3), (900, 12)]
    for first, count in leads:
        height[first : first + count] = rng.normal(-0.1, 0.02, count)
    return x, height, sigma, length.astype("f4"), leads


def lead_by_loop(h, s):
    """NASA's equations, one segment at a time in double precision."""
    h, s = [float(v) for v in h], [float(v) for v in s]
    w = [np.exp(-(((v - min(h)) / e) ** 2)) for v, e in zip(h, s, strict=True)]
    a = [v / sum(w) for v in w]
    height = sum(p * q for p, q in zip(a, h, strict=True))
    return height, sum((p * e) ** 2 for p, e in zip(a, s, strict=True)) ** 0.5


def write_atl10(path, layout, keep=slice(None)):
    """An ATL10 of one beam with an empty second; `keep` cuts segments as a subsetter does, but not leads."""
    x, height, sigma, length, leads = scene()
    n = x.size
    ssh = np.zeros(n, "i1")
    table = []
    for first, count in leads:
        part = slice(first, first + count)
        ssh[part] = 2
        middle = (x[first] + x[first + count - 1]) / 2
        span = x[first + count - 1] - x[first] + 11
        table.append((middle, *lead_by_loop(height[part], sigma[part]), span, first + 1, count))
    table = np.array(table)
    section = (x - 8.9e6) // 10_000
    h, s = table[:, 1], table[:, 2]
    weight = 1 / s**2
    with h5py.File(path, "w") as f:
        f["ancillary_data/release"] = np.array([b"006" if layout == "freeboard_segment" else b"005"])
        f["orbit_info/sc_orient"] = np.array([0], "i1")
        g = f.create_group("gt1l")
        g.attrs["atlas_spot_number"] = np.bytes_(b"1")
        old = layout == "freeboard_beam_segment"
        top = f"{layout}/beam_freeboard" if old else layout
        inner = f"{layout}/height_segments" if old else f"{layout}/heights"
        freeboard = (height + 0.1).astype("f4")
        freeboard[section >= 1] = FILL4
        for name, values in {
            f"{top}/delta_time": x / 7000,
            f"{top}/seg_dist_x": x,
            f"{top}/height_segment_id": np.arange(1, n + 1, dtype="i4"),
            f"{top}/beam_fb_height": freeboard,
            f"{top}/beam_refsurf_ndx": (section + 1).astype("i4"),
            f"{inner}/height_segment_height": height,
            f"{inner}/height_segment_sigma": sigma,
            f"{inner}/height_segment_length_seg": length,
            f"{inner}/height_segment_ssh_flag": ssh,
            f"{inner}/layer_flag": np.where(np.arange(n) == 3, 127, 1).astype("i1"),
        }.items():
            g[name] = values[keep]
        for name, column, dtype in (
            ("lead_dist_x", 0, "f8"),
            ("lead_height", 1, "f4"),
            ("lead_sigma", 2, "f4"),
            ("lead_length", 3, "f4"),
            ("ssh_ndx", 4, "i4"),
            ("ssh_n", 5, "i4"),
        ):
            g[f"leads/{name}"] = table[:, column].astype(dtype)
        g["leads/delta_time"] = table[:, 0] / 7000
        for name, values in {
            "delta_time": np.array([0.0, 1.0, FILL8]),
            "beam_refsurf_dist_x": 8.9e6 + np.array([5e3, 15e3, 25e3]),
            "beam_refsurf_height": np.array([(h * weight)[:3].sum() / weight[:3].sum(), h[3], FILL4], "f4"),
            "beam_refsurf_sigma": np.array([weight[:3].sum() ** -0.5, s[3], FILL4], "f4"),
            "beam_refsurf_interp_flag": np.array([0, 0, -1], "i2"),
            "beam_lead_n": np.array([3, 1, 0], "i4"),
        }.items():
            g[f"reference_surface_section/{name}"] = values
        f.create_group(f"gt1r/{layout}/heights")
    return path


def recompute(beam):
    """Leads of a beam from their own segments: matched rows, and height, sigma beside the product's."""
    row = atl07_atl10.match_leads(beam)
    there = np.flatnonzero(row >= 0)
    segments, leads = beam["segments"].to_dataset(), beam["leads"].to_dataset()
    own, theirs = [], []
    for k in there:
        part = slice(row[k], row[k] + int(leads.ssh_n[k]))
        lead = find_leads(
            segments.x_atc.values[part],
            segments.height.values[part],
            segments.height_uncertainty.values[part],
            np.ones(part.stop - part.start),
            method="nasa",
            min_sigma=1e-6,
        )
        own.append((lead.height.item(), lead.sigma.item()))
        theirs.append((float(leads.height[k]), float(leads.height_uncertainty[k])))
    return there, np.reshape(own, (-1, 2)), np.reshape(theirs, (-1, 2))


@pytest.mark.parametrize(("said", "spot"), [(b"3", 3), (4, 4), (b"12", None), (b"", None), (b"7", None)])
def test_spots_are_numbers_from_1_to_6(tmp_path, said, spot):
    path = write_atl10(tmp_path / "ATL10-01_x_006_01.h5", "freeboard_segment")
    with h5py.File(path, "r+") as f:
        f["gt1l"].attrs["atlas_spot_number"] = said
    assert atl07_atl10.open_atl10(path, "gt1l").attrs.get("spot") == spot


@pytest.mark.parametrize("layout", atl07_atl10.SEGMENT_GROUPS)
def test_both_layouts(tmp_path, layout):
    tree = atl07_atl10.open_atl10(write_atl10(tmp_path / "ATL10-01_x_006_01.h5", layout))
    assert list(tree.children) == ["gt1l", "gt1r"]
    beam = tree["gt1l"]
    assert beam.attrs["layout"] == layout
    assert beam.attrs["spot"] == 1
    assert tree.attrs["granule"] == "ATL10-01_x_006_01"
    segments = beam["segments"]
    assert segments.sizes["segment"] == 2000
    assert np.isnan(segments["freeboard"][-1])
    assert np.isfinite(segments["freeboard"][0])
    assert np.isnan(segments["layer_flag"][3])  # the largest value of a type stands for missing
    assert segments["ssh_flag"].dtype == np.int8
    assert "from 1" in beam["leads/ssh_ndx"].attrs["comment"]
    assert np.isnan(beam["sections/h_ref"][2])
    assert np.isnan(beam["sections/delta_time"][2])
    assert beam["sections/h_ref_flag"].values.tolist() == [0, 0, -1]
    for table in ("segments", "leads", "sections"):  # a beam without segments
        assert tree[f"gt1r/{table}"]["x_atc"].size == 0
    assert atl07_atl10.match_leads(tree["gt1r"]).size == 0


def test_leads_and_sections_follow_from_the_segments(tmp_path):
    beam = atl07_atl10.open_atl10(write_atl10(tmp_path / "a.h5", "freeboard_segment"), "gt1l")
    there, own, theirs = recompute(beam)
    assert there.tolist() == [0, 1, 2, 3]
    np.testing.assert_allclose(own, theirs, rtol=0, atol=1e-6)
    segments = beam["segments"].to_dataset()
    result = seasurface.sea_surface(
        segments.x_atc,
        segments.height,
        segments.height_uncertainty,
        segments.ssh_flag > 0,
        method="nasa",
        window=10_000.0,
        step=10_000.0,
        origin=8.9e6 + 5e3,
        min_sigma=1e-6,
    )
    np.testing.assert_allclose(result.windows.height[:2], beam["sections/h_ref"][:2], rtol=0, atol=1e-6)
    np.testing.assert_allclose(
        result.windows.sigma[:2], beam["sections/h_ref_uncertainty"][:2], rtol=0, atol=1e-6
    )
    assert np.isnan(result.windows.height[2])


def test_leads_of_a_subset_are_matched_by_distance(tmp_path):
    """The subset starts at row 150 and cuts the lead at row 900: indices of the whole granule would mislead."""
    path = write_atl10(tmp_path / "cut.h5", "freeboard_segment", keep=slice(150, 905))
    assert atl07_atl10.match_leads(atl07_atl10.open_atl10(path, "gt1l")).tolist() == [-1, 50, 400, -1]


def test_an_atl10_is_computed_again_section_by_section(tmp_path):
    """Leads, references and freeboards of a whole file; what a subset cannot tell is said, not made up."""
    path = write_atl10(tmp_path / "ATL10-01_x_006_01.h5", "freeboard_segment")
    with h5py.File(path, "a") as f:  # freeboards that follow from the references
        g = f["gt1l/freeboard_segment"]
        reference = f["gt1l/reference_surface_section/beam_refsurf_height"][:]
        ndx = g["beam_refsurf_ndx"][:] - 1
        good = ndx < 2
        values = g["heights/height_segment_height"][:] - reference[np.minimum(ndx, 2)]
        g["beam_fb_height"][:] = np.where(good, values, FILL4)
    told = nasa_product_checks.check_atl10(atl07_atl10.open_atl10(path, "gt1l"))["gt1l"]
    assert told["leads"]["with_segments"] == told["leads"]["n"] == 4
    assert told["leads"]["height_difference_max"] < 1e-6
    assert [s["leads"] for s in told["sections"]] == [3, 1, 0]
    for section in told["sections"][:2]:
        assert abs(section["difference"]) < 1e-6
        assert section["why"] == "inverse-variance mean of its leads"
    assert "nothing to interpolate" in told["sections"][2]["why"]
    assert told["freeboard"]["compared"] == told["freeboard"]["n"] == int(good.sum())
    assert told["freeboard"]["difference_max"] < 1e-6
    with h5py.File(path, "a") as f:
        f["gt1l/reference_surface_section/beam_refsurf_height"][0] += 0.05
    wrong = nasa_product_checks.check_atl10(atl07_atl10.open_atl10(path, "gt1l"))["gt1l"]
    assert wrong["sections"][0]["difference"] == pytest.approx(-0.05, abs=1e-4)
    assert "differs" in wrong["sections"][0]["why"]
    cut = write_atl10(tmp_path / "cut.h5", "freeboard_segment", keep=slice(950, 990))
    assert (
        nasa_product_checks.check_atl10(atl07_atl10.open_atl10(cut, "gt1l"))["gt1l"]["leads"]["with_segments"]
        == 0
    )


def test_smoothed_and_filled_sections_are_explained():
    """References by the twin's own code, which smooths and fills as the product says: each is found again."""
    from is2ice.twin.icesat2 import atl10

    rng = np.random.default_rng(4)
    x = np.sort(np.concatenate([rng.uniform(a, b, 9) for a, b in ((0, 39e3), (50e3, 59e3))]))
    sigma, height = rng.uniform(0.005, 0.02, x.size), rng.normal(0.1, 0.01, x.size)
    count = np.ones(x.size, int)
    made = atl10.reference_surfaces(
        atl10.Leads(np.arange(x.size), count, height, sigma, x, 11.0 * count), 0.0, 9
    )
    at = np.arange(10.0, 90e3, 30.0)
    ndx = (at // 10e3).astype(int) + 1
    h = rng.normal(0.4, 0.1, at.size)
    tree = xr.DataTree.from_dict(
        {
            "segments": table(
                "segment",
                x_atc=at,
                height=h,
                height_uncertainty=0.02 + 0 * at,
                refsurf_ndx=ndx,
                segment_id=np.arange(at.size),
                ssh_flag=0 * ndx,
                freeboard=h - made.height[ndx - 1],
            ),
            "leads": table(
                "lead", x_atc=x, height=height, height_uncertainty=sigma, length=11.0 * count, ssh_n=count
            ),
            "sections": table("section", x_atc=made.x, h_ref=made.height, h_ref_flag=made.flag),
        }
    )
    told = nasa_product_checks.check_atl10(tree)[""]
    assert made.flag.tolist() == [0, 0, 0, 0, 1, 0, 3, -1, -1]
    why = [s["why"] for s in told["sections"]]
    first = [
        "inverse-variance",
        "mean",
        "mean",
        "inverse-variance",
        "interpolated",
        "inverse-variance",
        "end",
    ]
    assert [w.split()[0] for w in why] == [*first, "none:", "none:"]
    assert all(abs(s["difference"]) < 1e-12 for s in told["sections"][:7])
    assert told["freeboard"]["compared"] == told["freeboard"]["n"] == int((ndx <= 7).sum())
    assert told["freeboard"]["difference_max"] < 1e-12
    # Release 006 sets negative freeboards to 0, and numbers of sections skip those that are left out.
    segments = tree["segments"].to_dataset().isel(segment=ndx != 5)
    freeboard = segments["freeboard"] - 0.35
    tree["segments"] = xr.DataTree(
        segments.assign(
            height=segments["height"] - 0.35,
            freeboard=freeboard.where(~(freeboard < 0), 0.0),
            refsurf_ndx=segments["refsurf_ndx"] - (segments["refsurf_ndx"] > 5),
        )
    )
    told = nasa_product_checks.check_atl10(tree)[""]
    clipped = told["freeboard"]
    assert clipped["clipped"] == int((freeboard < 0).sum()) > 100
    assert clipped["compared"] == clipped["n"] == int(((ndx <= 7) & (ndx != 5)).sum())
    assert clipped["difference_max"] < 1e-12
    for number, section in enumerate(told["sections"], 1):
        mine = ndx[ndx != 5] == number
        expected = {"no_reference": int(mine.sum())}
        if number <= 7:
            negative = int((freeboard.values[mine] < 0).sum())
            expected = {"same": int(mine.sum()) - negative, "clipped": negative}
        assert section["freeboards"] == {k: n for k, n in expected.items() if n}


def test_each_freeboard_is_explained_by_name():
    """One section of leads at .10 whose reference was smoothed to .12, the next one at .16."""
    x = np.arange(100.0, 20_000.0, 200.0)
    height = np.full(x.size, 0.5)
    freeboard = np.where(x < 10e3, 0.38, 0.34)
    freeboard[0], freeboard[1], freeboard[2] = 0.40, 0.385, np.nan  # before smoothing, another, none
    freeboard[60] = 0.5 - np.interp(x[60], [5e3, 15e3], [0.12, 0.16])
    lead = {
        "x_atc": [3e3, 15e3],
        "height": [0.10, 0.16],
        "height_uncertainty": [0.01, 0.01],
        "length": [30.0, 30.0],
    }
    tree = xr.DataTree.from_dict(
        {
            "segments": table(
                "segment",
                x_atc=x,
                height=height,
                height_uncertainty=0 * x + 0.02,
                segment_id=np.arange(x.size),
                ssh_flag=0 * np.arange(x.size),
                refsurf_ndx=1 + (x > 10e3),
                freeboard=freeboard,
            ),
            "leads": table("lead", **lead, ssh_n=[1, 1]),
            "sections": table("section", x_atc=[5e3, 15e3], h_ref=[0.12, 0.16], h_ref_flag=[0, 0]),
        }
    )
    told = nasa_product_checks.check_atl10(tree)[""]
    first, second = (s["freeboards"] for s in told["sections"])
    assert first == {"same": 47, "unsmoothed": 1, "differs": 1, "refused": 1}
    assert second == {"same": 49, "interpolated": 1}
    assert told["freeboard"]["by_kind"]["same"] == 96


def table(dim, **columns):
    return xr.Dataset({k: (dim, np.asarray(v)) for k, v in columns.items()})


def test_the_sample_checks_itself(capsys):
    """The sample's products through the command: histograms, types and the one section with leads."""
    from is2ice.cli.main import main

    for name, product in (("ATL07", "ATL07-02"), ("ATL10", "ATL10-02")):
        with pytest.raises(SystemExit) as stopped:
            main(["products", f"sample_data/{product}_20191116193412_07410501_006_01.h5", "--json"])
        assert not stopped.value.code
        told = json.loads(capsys.readouterr().out)
        assert told["product"] == name
        one = told["beams"]["gt1r"]
        if name == "ATL07":
            assert one["histogram_is_gathered"] == one["segments"] > 800
            assert told["agreement"]["specular"]["agree"] == told["agreement"]["specular"]["labelled"] > 100
            specular = [row for kind, row in one["types"].items() if "specular" in kind]
            assert sum(r["open_water"] for r in specular) > 100
            assert sum(r["thick_ice"] + r["thin_ice"] for r in specular) == 0
        else:
            assert one["leads"]["with_segments"] == one["leads"]["n"] > 20
            assert abs(one["sections"][0]["difference"]) < 1e-6
            assert one["freeboard"]["difference_max"] < 1e-6
            assert told["beams"]["gt2r"]["sections"][0]["h_ref"] is None


def test_a_subset_without_its_leads_is_said_first(capsys, real_data):
    """Of the genuine subsets nothing can be verified, and the first line says it; the sample allows all."""
    from is2ice.cli.main import main

    for path, warned in (
        (real_data / "atl10" / ATL10[0], True),
        (Path("sample_data/ATL10-02_20191116193412_07410501_006_01.h5"), False),
    ):
        with pytest.raises(SystemExit):
            main(["products", str(path)])
        first = capsys.readouterr().out.splitlines()[0]
        assert (
            first.startswith("this file is a subset of its granule: nothing of it can be verified") is warned
        )


def test_other_files_are_refused_by_name(capsys):
    from is2ice.cli.main import main

    for path, text in (
        ("nope.h5", "nope.h5: no such file"),
        (
            "sample_data/ATL03_20191116193412_07410510_006_01.h5",
            "expected ATL07 (gtx/sea_ice_segments) or ATL10",
        ),
    ):
        with pytest.raises(SystemExit) as stopped:
            main(["products", path])
        assert stopped.value.code == 2
        assert text in capsys.readouterr().err


def test_further_tables_of_release_007(tmp_path):
    """Tables that release 007 adds are read as they are, beside the segments."""
    with h5py.File(tmp_path / "ATL07-02_x_007_01.h5", "w") as f:
        for table, n in (("sea_ice_segments", 5), ("sea_ice_segments_10m", 9), ("dda_surface_segments", 2)):
            f[f"gt1r/{table}/delta_time"] = np.arange(n, dtype="f8")
            f[f"gt1r/{table}/seg_dist_x"] = 10.0 * np.arange(n)
            f[f"gt1r/{table}/heights/height_segment_height"] = np.full(n, 0.1, "f4")
        f.create_group("gt1l/sea_ice_segments")
    tree = atl07_atl10.open_atl07(tmp_path / "ATL07-02_x_007_01.h5")
    assert list(tree["gt1r"].children) == ["segments", "segments_10m", "dda_surface"]
    assert tree["gt1r/segments_10m"].sizes["segment"] == 9
    assert tree["gt1l/segments"].sizes["segment"] == 0


def test_words_shared_with_the_schema_mean_the_same(real_data):
    """Every variable that bears a name of the vocabulary has its units and, where flags are told, its codes."""
    same = {"meters": "m", "seconds since 2018-01-01": "seconds since 2018-01-01T00:00:00Z", "hz": "s-1"}
    same |= {"photons/shot": "1", "counts": "1"}
    tables = [atl07_atl10.open_atl07(real_data / "atl07" / ATL07, "gt3l")]
    tables += [
        n.to_dataset()
        for n in atl07_atl10.open_atl10(real_data / "atl10" / ATL10[0], "gt3l").children.values()
    ]
    shared = set()
    for table in tables:
        for name, var in table.variables.items():
            ours = schema.variables().get(str(name))
            if ours is not None and not str(name).startswith("h_ref_flag"):
                shared.add(str(name))
                units = str(var.attrs.get("units"))
                assert same.get(units, units) == ours.units, name
    assert {
        "height",
        "height_uncertainty",
        "freeboard",
        "h_ref",
        "tide_ocean",
        "x_atc",
        "background_rate",
    } <= shared


def test_wrong_files_are_refused(tmp_path):
    path = write_atl10(tmp_path / "a.h5", "freeboard_segment")
    with pytest.raises(GranuleError, match="unknown beam 'gt9'"):
        atl07_atl10.open_atl10(path, "gt9")
    with pytest.raises(GranuleError, match="no ATL10 segments in beam gt3r"):
        atl07_atl10.open_atl10(path, "gt3r")
    with pytest.raises(GranuleError, match="another product"):
        atl07_atl10.open_atl07(path, "gt1l")
    text = tmp_path / "text.h5"
    text.write_text("not HDF5")
    with pytest.raises(GranuleError, match=r"ATL10 granule text\.h5: not an HDF5 file"):
        atl07_atl10.open_atl10(text)
    whole = path.read_bytes()
    (tmp_path / "half.h5").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(GranuleError, match=r"half\.h5: the file is truncated.*download it again"):
        atl07_atl10.open_atl10(tmp_path / "half.h5")
    with pytest.raises(FileNotFoundError):
        atl07_atl10.open_atl10(tmp_path / "absent.h5")
    with open(path, "rb") as stream:
        assert atl07_atl10.open_atl10(stream, "gt1l")["leads"].sizes["lead"] == 4


# --- genuine granules ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ATL10)
def test_genuine_atl10_is_read_whole(real_data, name):
    path = real_data / "atl10" / name
    tree = atl07_atl10.open_atl10(path)
    assert list(tree.children) == list(atl07_atl10.BEAMS)
    assert tree.attrs["release"] == "006"
    for beam, node in tree.children.items():
        with h5py.File(path) as f:
            raw = f[beam]["freeboard_segment"]
            np.testing.assert_array_equal(node["segments/x_atc"], raw["seg_dist_x"][:])
            np.testing.assert_array_equal(node["segments/height"], raw["heights/height_segment_height"][:])
            assert node["segments/freeboard"].isnull().all() == (raw["beam_fb_height"][:] > 1e38).all()
            np.testing.assert_array_equal(node["leads/ssh_ndx"], f[beam]["leads/ssh_ndx"][:])
        assert np.isfinite(node["leads/height"]).all()
        assert (node["leads/length"] >= 11).all()
        for table in ("segments", "leads", "sections"):
            for variable in node[table].to_dataset().values():
                assert variable.dtype.kind != "f" or not (np.abs(variable) > 1e30).any()


@pytest.mark.parametrize("name", ATL10)
def test_genuine_leads_from_their_segments(real_data, name):
    """Lead heights to 1e-6 m and section references to 1e-4 m, wherever the subset holds what they are made of."""
    tree = atl07_atl10.open_atl10(real_data / "atl10" / name)
    total, matched, sections = 0, 0, 0
    for node in tree.children.values():
        there, own, theirs = recompute(node)
        total += node["leads"].sizes["lead"]
        matched += there.size
        np.testing.assert_allclose(own[:, 0], theirs[:, 0], rtol=0, atol=1e-6)
        np.testing.assert_allclose(own[:, 1], theirs[:, 1], rtol=0, atol=1e-6)
        section = node["sections"].to_dataset()
        for k in np.flatnonzero(np.isfinite(section.h_ref) & (section.h_ref_flag == 0)):
            leads = (
                node["leads"]
                .to_dataset()
                .sel(lead=np.abs(node["leads/x_atc"].values - section.x_atc.values[k]) < 5e3)
            )
            weight = 1 / leads.height_uncertainty.astype("f8") ** 2
            np.testing.assert_allclose(
                section.h_ref[k], (weight * leads.height).sum() / weight.sum(), atol=1e-4
            )
            np.testing.assert_allclose(section.h_ref_uncertainty[k], weight.sum() ** -0.5, atol=1e-4)
            sections += 1
    print(
        f"\n{name}: {matched} of {total} leads have their segments, {sections} sections a height from leads"
    )
    if not matched + sections:
        pytest.skip(f"{name}: none of the {total} leads has its segments here, and no section has a height")


def test_genuine_leads_support_the_default_floor_and_wander(real_data):
    """Lead-to-lead differences of ATL10: the 1 cm floor and the wander that the uncertainty assumes."""
    near, far, noise = [], [], []
    for name in ATL10:
        for node in atl07_atl10.open_atl10(real_data / "atl10" / name).children.values():
            x, h, s = (
                node[f"leads/{k}"].values.astype(float) for k in ("x_atc", "height", "height_uncertainty")
            )
            i, j = np.triu_indices(x.size, 1)
            d, dh = np.abs(x[i] - x[j]), h[i] - h[j]
            near.append(dh[d < 4e3])
            far.append(dh[(d > 4e3) & (d < 8e3)])
            noise.append((s[i] ** 2 + s[j] ** 2)[d < 4e3])
    spread = {k: 1.4826 * np.median(np.abs(np.concatenate(v))) for k, v in (("near", near), ("far", far))}
    stated = np.sqrt(np.concatenate(noise).mean())
    floor = np.sqrt((spread["near"] ** 2 - stated**2) / 2)
    wander = np.sqrt(max(0.0, spread["far"] ** 2 - spread["near"] ** 2) / 4)  # 6 km against 2 km, per km
    print(
        f"\npairs within 4 km: {100 * spread['near']:.2f} cm, stated {100 * stated:.2f} cm, floor {100 * floor:.2f} cm"
    )
    print(f"pairs 4-8 km apart: {100 * spread['far']:.2f} cm, wander {100 * wander:.2f} cm after 1 km")
    assert 0.007 < floor < 0.015
    assert wander < 0.0075


def test_genuine_segments_run_through_the_sea_surface(real_data):
    """ATL10 and ATL07 segments feed the same functions as 2 m cells; dark types stand in for leads."""
    segments = atl07_atl10.open_atl10(real_data / "atl10" / ATL10[0], "gt2l")["segments"].to_dataset()
    breaks = np.diff(segments.segment_id, prepend=segments.segment_id[0]) > 1
    smooth = segments.surface_type >= 6
    result = seasurface.sea_surface(
        segments.x_atc, segments.height, segments.height_uncertainty, smooth, breaks
    )
    assert result.leads.n.sum() == smooth.sum()
    assert (result.flag >= 0).any()
    assert np.isfinite(result.h_ref[result.flag >= 0]).all()
    assert (result.uncertainty[result.flag >= 0] > 0.005).all()
    none = seasurface.sea_surface(
        segments.x_atc, segments.height, segments.height_uncertainty, segments.ssh_flag > 0, breaks
    )
    assert (none.flag == -1).all()


@pytest.mark.parametrize("name", ATL10)
def test_genuine_atl10_gives_no_reference_where_it_has_no_lead(real_data, name):
    """Neither subset holds segments of its leads, a reference or a freeboard; that is what their own leads imply."""
    told = nasa_product_checks.check_atl10(atl07_atl10.open_atl10(real_data / "atl10" / name))
    print("\n" + "\n".join(products.lines_atl10(told)))
    assert sum(b["leads"]["n"] for b in told.values()) == {ATL10[0]: 560, ATL10[1]: 1985}[name]
    for beam in told.values():
        assert beam["leads"]["with_segments"] == beam["freeboard"]["n"] == 0
        for section in beam["sections"]:
            assert section["flag"] == -1
            assert section["h_ref"] is None
            assert section["leads"] == 0
            assert "within" not in section["why"]  # the product's own rule would not have filled it either


def test_genuine_atl07_histograms_and_types(real_data):
    """Histograms hold exactly the photons gathered; our thresholds tell the product's specular and dark types."""
    told = nasa_product_checks.check_atl07(atl07_atl10.open_atl07(real_data / "atl07" / ATL07))
    print("\n" + "\n".join(products.lines_atl07(told)))
    total: dict[str, int] = {}
    for beam in told.values():
        n = beam["segments"]
        assert beam.get("histogram_is_gathered", 0) == beam.get("used_not_more_than_gathered", 0) == n
        for kind, row in beam.get("types", {}).items():
            group = "specular" if "specular" in kind else "dark" if "dark" in kind else "ice"
            for ours, k in row.items():
                total[f"{group} {ours}"] = total.get(f"{group} {ours}", 0) + k
    assert sum(total.values()) == 807
    assert total["specular open_water"] == 21  # of 25
    assert total["dark thick_ice"] == 0  # of 265
    seen = {k: v for k, v in total.items() if k.startswith("ice") and not k.endswith("unlabelled")}
    assert seen["ice thick_ice"] / sum(seen.values()) > 0.85
    agree = nasa_product_checks.agreement(told)
    assert (agree["ice"]["segments"], agree["ice"]["labelled"], agree["ice"]["agree"]) == (517, 397, 381)
    assert agree["dark"]["agree"] == agree["dark"]["labelled"] == 265


def test_genuine_atl07_is_read_whole(real_data):
    path = real_data / "atl07" / ATL07
    sizes = {}
    for beam in atl07_atl10.BEAMS:
        ds = atl07_atl10.open_atl07(path, beam)
        sizes[beam] = ds.sizes["segment"]
        assert {
            "x_atc",
            "height",
            "height_uncertainty",
            "length",
            "surface_type",
            "ssh_flag",
            "segment_id",
        } <= set(ds)
        for variable in ds.values():
            assert variable.dtype.kind != "f" or not (np.abs(variable) > 1e30).any()
        if sizes[beam]:
            with h5py.File(path) as f:
                raw = f[beam]["sea_ice_segments/heights/height_segment_height"][:].astype(float)
            raw[raw > 1e38] = np.nan
            np.testing.assert_array_equal(ds.height, raw)
    assert sizes == {"gt1l": 75, "gt1r": 33, "gt2l": 27, "gt2r": 0, "gt3l": 368, "gt3r": 304}


@pytest.mark.parametrize(
    ("lacks", "said"),
    [
        ("freeboard_segment/beam_fb_height", r"no freeboard \(fb_height\)"),
        ("freeboard_segment/seg_dist_x", r"no x_atc \(seg_dist_x\)"),
        ("freeboard_segment/heights/height_segment_type", r"no surface_type \(type\)"),
    ],
)
def test_a_variable_that_a_partial_product_lacks_is_named(tmp_path, lacks, said):
    """By whatever asks for it: nothing absent is taken for something."""
    from is2ice.reports.nasa_comparison import compare
    from is2ice.science.grid import GRIDS, product_sums

    (source,) = SAMPLE.glob("ATL10*.h5")
    path = tmp_path / source.name
    shutil.copy(source, path)
    with h5py.File(path, "r+") as f:
        del f["gt1r"][lacks]
    ten = atl07_atl10.open_atl10(path, "gt1r")
    track = xr.Dataset(
        {"n_photons": ("x_atc", [1])}, {"x_atc": [0.0]}, attrs=dict(ten.attrs) | {"beam": "gt1r"}
    )
    with pytest.raises(GranuleError, match=said):
        compare(track, atl10=ten)
    if "seg_dist_x" not in lacks:
        with pytest.raises(SchemaError, match=said.split(" ")[1]):
            product_sums(ten, GRIDS["nsidc_south"])


@pytest.mark.parametrize(
    ("product", "read", "group"),
    [
        ("ATL07", atl07_atl10.open_atl07, "sea_ice_segments"),
        ("ATL10", atl07_atl10.open_atl10, "freeboard_segment"),
    ],
)
def test_a_beam_without_its_segments_is_noted_and_the_others_open(tmp_path, product, read, group):
    (source,) = SAMPLE.glob(f"{product}*.h5")
    path = tmp_path / source.name
    shutil.copy(source, path)
    path.chmod(0o644)
    assert read(path).attrs["notes"] == []
    with h5py.File(path, "r+") as f:
        del f["gt1r"][group]
        f.require_group("gt1r/other")
    tree = read(path)
    assert set(tree.children) == {"gt2r", "gt3r"}
    (note,) = tree.attrs["notes"]
    assert note.startswith("gt1r is left out: ")
    assert group in note
    assert read(path, "gt2r").attrs["notes"] == []
    with pytest.raises(GranuleError, match=f"no {product} segments in beam gt1r"):
        read(path, "gt1r")


@pytest.fixture
def changed(tmp_path):
    """The sample's ATL07 or ATL10, changed by a function of the group of its beam gt1r."""

    def change(product, edit) -> Path:
        (source,) = SAMPLE.glob(f"{product}*.h5")
        path = tmp_path / source.name
        shutil.copy(source, path)
        path.chmod(0o644)
        with h5py.File(path, "r+") as f:
            edit(f["gt1r"])
        return path

    return change


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("heights/height_segment_height", -9e9),
        ("heights/height_segment_height", np.inf),
        ("heights/height_segment_length_seg", 0.0),
        ("heights/height_segment_type", 128),
        ("beam_fb_height", 3e5),
        ("latitude", 91.0),
    ],
)
def test_values_that_a_product_cannot_hold_are_absent_and_counted(changed, name, value):
    def edit(beam):
        item = beam["freeboard_segment"][name]
        values = item[()].astype("i4") if name.endswith("type") else item[()]
        values[10:13] = value
        attrs = dict(item.attrs)
        del beam["freeboard_segment"][name]
        beam["freeboard_segment"].create_dataset(name, data=values).attrs.update(
            {k: attrs[k] for k in ("units",) if k in attrs}
        )

    tree = atl07_atl10.open_atl10(changed("ATL10", edit))
    (note,) = tree.attrs["notes"]
    assert note.startswith(f"gt1r/freeboard_segment/{name}: 3 of ")
    ds = tree["gt1r/segments"].to_dataset()
    (column,) = [n for n, a in ds.items() if a.attrs.get("original", "").endswith(name)]
    assert np.isnan(ds[column].values[10:13].astype(float)).all()
    nasa_product_checks.check_atl10(tree)


def test_rows_of_a_product_without_a_place_are_left_out_and_disorder_is_refused(changed):
    def lost(beam):
        beam["sea_ice_segments/seg_dist_x"][5:9] = np.nan

    tree = atl07_atl10.open_atl07(changed("ATL07", lost))
    assert [n.partition(": ")[2] for n in tree.attrs["notes"]] == [
        "gt1r/sea_ice_segments: 4 of 874 rows have no distance along the track: left out"
    ]
    assert tree["gt1r/segments"].sizes["segment"] == 870

    def shuffled(beam):
        x = beam["sea_ice_segments/seg_dist_x"]
        x[...] = np.random.default_rng(0).permutation(x[()])

    path = changed("ATL07", shuffled)
    assert "in no order" in " ".join(atl07_atl10.open_atl07(path).attrs["notes"])
    with pytest.raises(GranuleError, match=r"do not rise .* times in 874 rows"):
        atl07_atl10.open_atl07(path, "gt1r")


def test_a_segment_of_unknown_type_is_no_ice_of_a_map(changed):
    from is2ice.science.grid import GRIDS, product_sums

    def unknown(beam):
        item = beam["freeboard_segment/heights/height_segment_type"]
        item[...] = np.iinfo(item.dtype).max

    whole = product_sums(
        atl07_atl10.open_atl10(changed("ATL10", lambda beam: None), "gt1r"), GRIDS["nsidc_south"]
    )
    got = product_sums(atl07_atl10.open_atl10(changed("ATL10", unknown), "gt1r"), GRIDS["nsidc_south"])
    assert int(whole["length_thick_ice"].sum()) > 0
    assert int(got["length_thick_ice"].sum()) == 0


def _other(how):
    def edit(beam):
        item = beam["freeboard_segment/beam_refsurf_ndx"]
        values = how(item[()])
        del beam["freeboard_segment/beam_refsurf_ndx"]
        beam["freeboard_segment/beam_refsurf_ndx"] = values

    return edit


@pytest.mark.parametrize(
    ("how", "got"),
    [
        (lambda v: v.astype("S8"), "values of |S8"),
        (lambda v: np.zeros(v.size, [("a", "f4")]), "values of [('a', '<f4')]"),
        (lambda v: v[:-1], "the shape (865,)"),
        (lambda v: v[0], "the shape ()"),
    ],
)
def test_a_variable_that_is_no_column_of_its_table_is_left_out_with_a_note(changed, how, got):
    tree = atl07_atl10.open_atl10(changed("ATL10", _other(how)))
    (note,) = tree.attrs["notes"]
    assert note.startswith("gt1r/freeboard_segment/beam_refsurf_ndx: expected 866 numbers")
    assert note.endswith(f"got {got}: left out")
    nasa_product_checks.check_atl10(tree)


def test_a_product_without_its_leads_says_so(changed):
    tree = atl07_atl10.open_atl10(changed("ATL10", lambda beam: beam.__delitem__("leads")))
    assert tree.attrs["notes"] == ["gt1r/leads is missing: taken as an empty table"]
