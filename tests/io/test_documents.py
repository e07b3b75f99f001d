"""Documents from outside that are odd, damaged or hostile."""

from __future__ import annotations

import json
import os

import pytest

from is2ice.classifiers.boosted import Boosted
from is2ice.classifiers.model_folder import read_card
from is2ice.errors import (
    CatalogError,
    DamagedTrackError,
    DocumentError,
    Is2IceError,
    ModelError,
    SchemaError,
    StoreError,
)
from is2ice.io import documents
from is2ice.io.catalogs.sentinel2 import item_of
from is2ice.io.stores.declarations import find_declaration
from is2ice.science.labels.corrections import Corrections
from is2ice.workflows.training_config import read_config

JSON = {
    "deep": b"[" * 100_000 + b"]" * 100_000,
    "deep objects": b'{"a":' * 50_000 + b"1" + b"}" * 50_000,
    "UTF-16": '{"a": 1}'.encode("utf-16"),
    "Latin-1": b'{"a": "\xe9"}',
    "huge integer": b'{"a": 1' + b"0" * 5000 + b"}",
    "said twice": b'{"a": 1, "a": 2}',
    "cut": b'{"a": [1, 2',
    "half a character": b'{"a": "\\ud800"}',
    "not JSON": b"<html>503</html>",
    "empty": b"",
}
NOT_NUMBERS = {"NaN": b'{"a": NaN}', "infinite": b'{"a": [1e999]}'}
TOML = {
    "deep": b"a = " + b"[" * 50_000,
    "deep tables": b"a = " + b"{a = " * 20_000,
    "UTF-16": 'title = "a"'.encode("utf-16"),
    "huge integer": b"a = 1" + b"0" * 5000,
    "said twice": b"a = 1\na = 2\n",
    "no date": b"a = 2019-13-45\n",
    "cut": b'a = "',
}


@pytest.mark.parametrize("raw", (JSON | NOT_NUMBERS).values(), ids=(JSON | NOT_NUMBERS).keys())
def test_hostile_json_is_refused_by_name(raw):
    with pytest.raises(CatalogError, match=r"^reply: "):
        documents.parse_json(raw, "reply", error=CatalogError)


def test_ordinary_json_is_as_written():
    text = (
        '\ufeff{"a": [1, 2.5, -3e2, true, null, "\\u00e9\\ud83d\\ude00"], "b": {"a": 123456789012345678901}}'
    )
    expected = {"a": [1, 2.5, -300.0, True, None, "é😀"], "b": {"a": 123456789012345678901}}
    assert documents.parse_json(text, "x", error=CatalogError) == expected
    assert documents.parse_json(text.encode(), "x", error=CatalogError) == expected
    assert documents.parse_json(b'{"a": NaN}', "x", error=CatalogError, nan=True)["a"] != 0


@pytest.mark.parametrize("raw", TOML.values(), ids=TOML.keys())
@pytest.mark.parametrize(("read", "error"), [(find_declaration, StoreError), (read_config, DocumentError)])
def test_hostile_toml_is_refused(tmp_path, raw, read, error):
    path = tmp_path / "a.toml"
    path.write_bytes(raw)
    with pytest.raises(error, match=r"a\.toml: "):
        read(str(path))


@pytest.mark.parametrize("raw", JSON.values(), ids=JSON.keys())
def test_hostile_cards_and_items_are_refused(tmp_path, raw):
    for name in ("card.json", "item.json"):
        (tmp_path / name).write_bytes(raw)
    with pytest.raises(ModelError, match=r"card\.json: "):
        read_card(tmp_path)
    with pytest.raises(ModelError, match=r"card\.json: "):
        Boosted.load(tmp_path)
    with pytest.raises(CatalogError, match=r"item\.json"):
        item_of(tmp_path / "item.json")


@pytest.mark.parametrize(
    "raw",
    [b'"' + b"a" * 200_000 + b'"\n', b"\xff\xfe", b"a,b\n", b'"unclosed\n', b"\x00\x01\n", b"\n# nothing\n"],
)
def test_hostile_corrections_are_refused(tmp_path, raw):
    header = b"track,x_atc_from,x_atc_to,label,who,why\n"
    path = tmp_path / "corrections.csv"
    for whole in (raw, header + raw):
        path.write_bytes(whole)
        if whole != header + b"\n# nothing\n":
            with pytest.raises(SchemaError, match=r"corrections\.csv"):
                Corrections.read(path)


def test_neither_pipes_nor_floods_are_read(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(Is2IceError, match="pipe or device"):
        documents.read_json(tmp_path / "pipe", error=CatalogError)
    with (tmp_path / "flood.json").open("wb") as f:
        f.truncate(2**40)
    with pytest.raises(CatalogError, match=r"1,099,511,627,776 bytes, expected at most"):
        documents.read_json(tmp_path / "flood.json", error=CatalogError)
    endless = iter(lambda: b"x" * 2**16, None)
    with pytest.raises(CatalogError, match="more than 1,000,000 bytes"):
        documents.limited(endless, "reply", error=CatalogError, limit=1_000_000)


@pytest.mark.parametrize("raw", [*JSON.values(), b"[1]", b"null"], ids=[*JSON.keys(), "array", "null"])
def test_hostile_documents_of_stores_areas_and_results_are_refused(tmp_path, raw):
    from is2ice.io.catalogs.areas import area
    from is2ice.io.remote.location import location
    from is2ice.io.stores.layout import parse_entry, root_attributes
    from is2ice.reports.published_tables import read_measured
    from is2ice.workflows import run_record

    (tmp_path / "zarr.json").write_bytes(raw)
    with pytest.raises(StoreError, match=r"zarr\.json: "):
        root_attributes(location(tmp_path))
    with pytest.raises(DamagedTrackError, match="the entry of this track is damaged"):
        parse_entry(raw, "s", "g", "gt1l")
    (tmp_path / "area.geojson").write_bytes(raw)
    with pytest.raises(ValueError, match=r"area\.geojson: "):
        area(tmp_path / "area.geojson")
    (tmp_path / run_record.FOLDER).mkdir(exist_ok=True)
    (tmp_path / run_record.FOLDER / "a.json").write_bytes(raw)
    with pytest.raises(StoreError, match="not a whole manifest"):
        run_record.read(tmp_path / run_record.FOLDER / "a.json")
    if raw not in (b"[1]", b"null"):
        (tmp_path / "scaling.json").write_bytes(raw)
        with pytest.raises(DocumentError, match=r"scaling\.json: "):
            read_measured(tmp_path)


@pytest.mark.parametrize("raw", [b"", b'{"outco', b"{}"])
def test_a_damaged_receipt_of_an_earlier_attempt_is_replaced(tmp_path, raw):
    from is2ice.io.remote.location import location
    from is2ice.workflows.run_record import Reporting

    receipt = {"outcome": "failed", "granule": "g", "beam": "gt1l"}
    path = tmp_path / "receipts" / "g" / "gt1l.json"
    path.parent.mkdir(parents=True)
    path.write_bytes(raw)
    report = Reporting(lambda item: receipt, location(tmp_path), "receipts")
    assert report(None) == [(receipt, True)]
    assert json.loads(path.read_bytes()) == receipt


def test_a_damaged_receipt_costs_itself(tmp_path, caplog):
    from is2ice.workflows import run_record

    folder = tmp_path / run_record.FOLDER
    folder.mkdir()
    about = {
        "status": "finished",
        "started": "2020-01-01T00:00:00Z",
        "engine": "serial",
        "host": "h",
        "process": 1,
    }
    (folder / "a.json").write_text(json.dumps(about))
    (folder / "a.jsonl").write_text('{"outcome": "done", "granule": "g", "beam": "b"}\n{"outco\n')
    _, run = run_record.read(folder / "a.json")
    assert len(run.receipts) == 1
    assert "a receipt is left out" in caplog.text
