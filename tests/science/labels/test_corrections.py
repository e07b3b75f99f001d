"""Labels by hand: the file, its faults, what it does to labels, and where to look first."""

from __future__ import annotations

import numpy as np
import pytest

from is2ice import schema
from is2ice.errors import SchemaError
from is2ice.science.labels.corrections import Correction, Corrections, review

TRACK = "mock/gt2r"


def labelled(n: int = 10, *, beam: str | None = None):
    """Segments of thick ice from x_atc = 28,400,000 m on, 2 m each."""
    ds = schema.mock_segments(n, stages=("labels", "classified"), beam=beam)
    return ds.assign(label_flags=ds["label_flags"] | np.uint16(32))


def one(start: float, stop: float, label: str = "thin_ice", track: str = TRACK, **more) -> Correction:
    return Correction(track, start, stop, label, **({"who": "A. Person", "why": "dark, smooth"} | more))


def test_file_there_and_back(tmp_path):
    entries = (
        one(28_400_000, 28_400_010.5, why='says "lead", thinly veiled'),
        one(1e6, 2e6, "unlabelled", "ATL03_20191104195311_05940510_006_01/gt1l", who="Ólafur"),
    )
    path = Corrections(entries).write(tmp_path / "hand.csv")
    assert Corrections.read(path).entries == entries
    text = path.read_text(encoding="utf-8").splitlines()
    assert text[1] == "track,x_atc_from,x_atc_to,label,who,why"
    assert text[2] == 'mock/gt2r,28400000,28400010.5,thin_ice,A. Person,"says ""lead"", thinly veiled"'
    assert list(tmp_path.iterdir()) == [path]  # no half-written file beside it
    more = Corrections.read(path).add([one(0, 1)])
    assert len(Corrections.read(more.write(path)).entries) == 3
    path.write_text(
        "\ufeff# a comment\r\n\r\ntrack,x_atc_from,x_atc_to,label,who,why\r\nmock/gt2r, 0, 2, thin_ice, me, it is\r\n"
    )
    assert Corrections.read(path).entries == (one(0, 2, who="me", why="it is"),)


def test_every_fault_is_named_with_its_line(tmp_path):
    path = tmp_path / "hand.csv"
    path.write_text(
        "track,x_atc_from,x_atc_to,label,who,why\n"
        "mock/gt2r,0,10,thin_ice,me,fine\n"
        "mock,10,5,nilas,,why\n"
        "# between\n"
        "mock/gt2r,0,10,thin_ice,me\n"
        "mock/gt2r,zero,10,thin_ice,me,why\n"
    )
    with pytest.raises(SchemaError) as caught:
        Corrections.read(path)
    faults = caught.value.faults
    assert [f.split(":")[0] for f in faults] == ["line 3", "line 5", "line 6"]
    for text in ("expected granule/beam", "from < to", "'nilas'", "who: expected"):
        assert text in faults[0]
    assert "6 fields, got 5" in faults[1]
    path.write_text("track,from,to\n")
    with pytest.raises(SchemaError, match="expected the columns"):
        Corrections.read(path)
    with pytest.raises(FileNotFoundError, match="is2ice labels correct"):
        Corrections.read(tmp_path / "none.csv")
    for content, message in (
        (b"", "empty; expected a first line track,"),
        (b"\xff\xfe", "not text in UTF-8"),
    ):
        path.write_bytes(content)
        with pytest.raises(SchemaError, match=message):
            Corrections.read(path)
    with pytest.raises(ValueError, match="why: expected a line"):
        one(0, 1, why="two\nlines")


def test_middles_within_the_interval_are_corrected():
    ds = labelled()
    x0 = 28_400_000.0
    # Middles at 1, 3, 5, ... m: from 3 (included) to 7 (not included) are cells 1 and 2.
    out = Corrections((one(x0 + 3, x0 + 7),)).apply(ds)
    assert out["label"].values.tolist() == [0, 1, 1] + [0] * 7
    assert out["label_flags"].values.tolist() == [32, 160, 160] + [32] * 7
    assert out.attrs["label_corrections"] == 2
    assert ds["label"].values.tolist() == [0] * 10  # the input is left alone
    schema.conform(out, "segments", "labels")


def test_the_later_line_wins_and_other_tracks_are_left_alone():
    ds = labelled()
    x0 = 28_400_000.0
    rules = (
        one(x0, x0 + 20, "open_water"),
        one(x0 + 4, x0 + 8, "unlabelled"),
        one(x0, x0 + 20, "thin_ice", "mock/gt1r"),
        one(x0, x0 + 20, "thin_ice", "other/gt2r"),
    )
    assert Corrections(rules).apply(ds)["label"].values.tolist() == [2, 2, -1, -1, 2, 2, 2, 2, 2, 2]


def test_contradictions_and_intervals_without_a_segment_are_logged(caplog):
    ds, x0 = labelled(), 28_400_000.0
    first, second, same = one(x0, x0 + 10, "open_water"), one(x0 + 4, x0 + 8), one(x0 + 6, x0 + 20)
    rules = Corrections((first, second, same, one(x0, x0 + 5, "open_water", "other/gt2r")))
    assert rules.contradictions() == [(first, second), (first, same)]
    rules.apply(ds)
    assert [r.getMessage() for r in caplog.records] == [
        f"corrections: 2 contradict each other and the later line holds, the first: {second} over {first}"
    ]
    caplog.clear()
    away = (one(0, 10), one(x0, x0 + 4, track="mock/gt1r"), one(x0, x0 + 4))
    out = Corrections(away).apply(ds)
    assert out.attrs["label_corrections"] == 2
    (record,) = caplog.records
    assert record.getMessage().startswith(
        "corrections: 2 of 3 hold no segment, the first: mock/gt2r 0 to 10 thin_ice"
    )
    caplog.clear()
    Corrections((one(0, 10, track="other/gt2r"),)).apply(ds)  # a file may serve many passes
    assert not caplog.records


def test_cubes_and_lazy_cubes():
    ds = labelled(100, beam="gt2r")
    x0 = 28_400_000.0
    rules = Corrections((one(x0 + 50, x0 + 90),))
    out = rules.apply(ds)
    assert out["label"].values[0].tolist() == [0] * 25 + [1] * 20 + [0] * 55
    lazy = rules.apply(ds.chunk(x_atc=30))
    assert lazy["label"].chunks is not None
    for name in ("label", "label_flags"):
        assert lazy[name].dtype == out[name].dtype == ds[name].dtype
        np.testing.assert_array_equal(lazy[name], out[name])


def test_corrections_need_labels_and_a_track():
    ds = labelled()
    for bad in (ds.drop_vars("label"), ds.drop_attrs()):
        with pytest.raises(SchemaError, match="labelled segments"):
            Corrections().apply(bad)
    del ds.attrs["beam"]
    with pytest.raises(SchemaError, match="beam"):
        Corrections((one(0, 1),)).apply(ds)


def test_review_lists_where_label_and_class_disagree():
    ds = labelled(1000)
    predicted = np.zeros(1000, "i1")
    predicted[100:130] = 2  # 60 m
    predicted[110:112] = 0  # a gap of 4 m does not part it
    predicted[500:505] = 1  # 10 m: too short
    predicted[700:740] = 1  # 80 m, in two parts 20 m apart
    predicted[715:725] = 0
    label = np.zeros(1000, "i1")
    label[120:122] = -1  # unlabelled segments do not disagree
    ds = ds.assign(surface_class=("x_atc", predicted), label=("x_atc", label))
    table = review(ds)
    x0 = 28_400_000.0
    assert table["track"].unique().tolist() == [TRACK]
    found = table[["x_atc_from", "x_atc_to", "segments"]].sort_values("x_atc_from").to_numpy() - [x0, x0, 0]
    assert found.tolist() == [[200, 260, 26], [1400, 1430, 15], [1450, 1480, 15]]
    assert table.iloc[0][["label", "surface_class"]].tolist() == ["thick_ice", "open_water"]
    assert len(review(ds, shortest=50)) == 1
    assert len(review(ds, bridge=30)) == 2
    assert review(ds.isel(x_atc=slice(0, 50))).empty
    cube = ds.drop_attrs().assign_attrs(granule="mock").expand_dims(beam=["gt1r"])
    assert review(cube)["track"].unique().tolist() == ["mock/gt1r"]
    with pytest.raises(SchemaError, match="missing surface_class"):
        review(ds.drop_vars("surface_class"))
