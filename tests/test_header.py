"""Values of a header are held against their value representation: what is valid is kept, the rest is left out."""

from __future__ import annotations

import datetime
import re
import warnings
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset

from medres.imaging import header
from medres.imaging.reading import read_radiograph
from medres.safe_text import UNSAFE
from tests.support.dicom_files import radiograph, write

CODES = ("ViewPosition", "BodyPartExamined", "PatientSex")
FREE = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)


def dataset(**values: object) -> Dataset:
    made = Dataset()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that is the point
        for name, value in values.items():
            setattr(made, name, value)
    return made


@given(FREE)
def test_a_code_is_kept_or_left_out_and_never_anything_else(text: str) -> None:
    found, changed = header.term(dataset(ViewPosition=text), "ViewPosition")
    assert re.fullmatch(r"[A-Z0-9 _]{0,16}", found)
    first = text.split("\\")[0].strip(" \0")
    assert found in {"", first.upper()}
    assert changed == (bool(first) and not found)


@given(FREE)
def test_a_long_string_is_one_safe_value_of_its_length(text: str) -> None:
    found, changed = header.long_text(dataset(InstitutionName=text), "InstitutionName")
    assert len(found) <= 64
    assert not UNSAFE.search(found)
    assert "\\" not in found
    assert changed or found == text.strip(" \0")


@pytest.mark.parametrize(
    ("value", "expected"), [("0.1\\0.2", "0.1\\0.2"), ("1e-3", "1e-3"), ("<b>", ""), ("0.1\\x", "")]
)
def test_spacings_are_numbers(value: str, expected: str) -> None:
    made = Dataset()
    made.add_new("PixelSpacing", "LO", value)  # which pydicom takes as it is
    assert header.decimals(made, "PixelSpacing") == (expected, not expected)


@pytest.mark.filterwarnings("ignore:.*Invalid value")
@pytest.mark.filterwarnings("ignore:The value length")
@pytest.mark.parametrize("keyword", CODES)
@pytest.mark.parametrize("text", ["<b>DOE</b>", "Doe^Jane", "A NAME AND AN ADDRESS", "\x1b[31mPA"])
def test_free_text_in_a_coded_attribute_is_left_out_with_a_warning(keyword: str, text: str, tmp_path: Path) -> None:
    changes: dict[str, Any] = {keyword: text}
    made = radiograph(SpecificCharacterSet="ISO_IR 192", **changes)
    found = read_radiograph(write(tmp_path / "a.dcm", made))
    assert {**found.attributes, "ViewPosition": found.view_position}[keyword] == ""
    assert "TEXT" in found.warnings


def test_codes_in_small_letters_are_kept_and_no_message_quotes_what_is_none() -> None:
    assert header.term(dataset(ViewPosition="pa"), "ViewPosition") == ("PA", False)
    assert header.told("CHEST") == "CHEST"
    assert header.told("DOE^JANE") == "not a valid code"


@pytest.mark.filterwarnings("ignore:.*Invalid value")
@given(st.one_of(st.dates().map(lambda day: day.strftime("%Y%m%d").zfill(8)), FREE))
def test_a_date_is_one_of_the_calendar_or_left_out(text: str) -> None:
    found = header.date(dataset(StudyDate=text), "StudyDate")
    assert bool(found) == (bool(text.strip(" \0")) and header.has_valid_dates(dataset(StudyDate=text), ["StudyDate"]))
    if found:
        assert datetime.date.fromisoformat(found).strftime("%Y%m%d").zfill(8) == text.strip(" \0").replace(".", "")


def test_a_date_of_the_retired_form_is_written_as_todays_and_of_several_none_is_chosen() -> None:
    assert header.date(dataset(StudyDate="2026.11.27"), "StudyDate") == "20261127"
    for said in ("20261127\\20261128", "20260231", "2026-11-27", "20261127-", ""):
        assert header.date(dataset(StudyDate=said), "StudyDate") == ""
