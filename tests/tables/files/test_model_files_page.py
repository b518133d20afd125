"""``docs/model_files.rst`` names everything in version 1 of the format: each class, each field."""

import dataclasses
import re
from pathlib import Path

from nfref.runtime import serialization
from nfref.runtime.serialization import described_classes
from nfref.tables.files import archives, model_file

PAGE = (Path(__file__).parents[3] / "docs/model_files.rst").read_text(encoding="utf-8")
ENTRY = re.compile(r"^- ``(\w+)``: (.*(?:\n  .*)*)", re.MULTILINE)


def test_every_class_stands_there_with_its_fields_in_order():
    entries = {name: re.findall(r"``(\w+)``", text) for name, text in ENTRY.findall(PAGE)}
    known = described_classes()
    assert set(entries) == set(known)
    for name, kind in known.items():
        fields = [field.name for field in dataclasses.fields(kind)]
        # It may also name the class of a field's value, or a field twice.
        found = [word for word in entries[name] if word not in known]
        assert list(dict.fromkeys(found)) == fields, name


def test_the_numbers_on_the_page_are_those_of_the_code():
    words = " ".join(PAGE.split())
    assert f'``"{model_file.FORMAT}"``' in words and model_file.VERSION == 1
    assert f"nested at most {serialization.DEEPEST} levels" in words
    assert f"N + {serialization.SLACK}" in words and f"plus {serialization.SLACK}" in words
    assert serialization.LARGEST == 2**128 and "below 2^128" in words
    assert all(f"``{name}``" in words for name in serialization.RESERVED)
    assert {dtype.str[1:] for dtype in archives.DTYPES} == set(
        re.findall(
            r"``[<|](\w\d)``", PAGE.partition("The container")[2].partition("nfref reads")[0]
        )
    )
