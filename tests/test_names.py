"""A reviewer's name is a name: what would be rendered somewhere, or is not seen, is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medres.review.names import fault_of_name


@pytest.mark.parametrize(
    "name",
    [
        "R. Ader", "Dr. Zoë O'Brien-Smith (radiology)", "Dr. Müller, MD/PhD", "王小明", "د. ليلى", "Nguyễn Thị Ánh",
        "r.ader@hospital.example", "R2", "Dr. A & Dr. B", "علی‌رضا",
    ],
)  # fmt: skip
def test_people_are_called_so(name: str) -> None:
    assert fault_of_name(name) == ""


@given(
    before=st.text("ab .", max_size=3),
    after=st.text("ab .", max_size=3),
    mark=st.sampled_from('<>[]{}*_`#|\\$~^=!:;"%'),
)
def test_what_marks_text_up_is_in_no_name(before: str, after: str, mark: str) -> None:
    assert f"“{mark}”" in fault_of_name(before + mark + after)


@given(character=st.characters(categories=["Cc", "Cf", "Cs", "Co", "Zl", "Zp"], exclude_characters="\u200c\u200d"))
def test_what_is_not_seen_is_in_no_name_and_is_named_by_its_number(character: str) -> None:
    assert f"U+{ord(character):04X}" in fault_of_name(f"a{character}b")
    assert fault_of_name(f"a{character}b").isprintable()
