"""Values of a DICOM header, as plain Python values: whatever the header holds, nothing here raises on it."""

from __future__ import annotations

import datetime
import math
import re
import struct
from collections.abc import Iterable

from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence

from medres.safe_text import one_line

_BROKEN = (
    ValueError,
    TypeError,
    AttributeError,
    KeyError,
    IndexError,
    OverflowError,
    NotImplementedError,
    struct.error,
)
"""What pydicom raises on values that are not what their VR says."""

_UID = re.compile(r"[0-9]+(\.[0-9]+)+")
_MOST_CHARACTERS = 256  # four times what LO allows
_LONG_STRING = 64  # characters of LO
_CODE = re.compile(r"[A-Z0-9 _]{1,16}")
_DECIMAL = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_AGE = re.compile(r"[0-9]{3}[DWMY]")
_DATE = re.compile(r"([0-9]{4})\.?([0-9]{2})\.?([0-9]{2})")


Name = str | int
"""An attribute's keyword, or its tag where the keyword stands for many (overlays)."""


def values(dataset: Dataset, keyword: Name) -> tuple[object, ...] | None:
    """Every value of an attribute; () where it is absent or empty, None where it cannot be read."""
    try:
        if keyword not in dataset:
            return ()
        value = dataset[keyword].value
        if value is None or (isinstance(value, str | bytes) and not value):
            return ()
        return tuple(value) if isinstance(value, MultiValue | Sequence | list | tuple) else (value,)
    except _BROKEN:
        return None


def text(dataset: Dataset, keyword: str) -> tuple[str, bool]:
    """An attribute as one line of safe text, and whether something had to be changed or could not be decoded."""
    found = values(dataset, keyword)
    if found is None:
        return "", True
    return clean("\\".join(str(value) for value in found))


def clean(raw: str) -> tuple[str, bool]:
    r"""Text without control sequences, control characters, direction overrides and what has no width; had it any?

    >>> clean(" A\r\nB "), clean("Müller"), clean("\x1b[31mA")
    (('A B', True), ('Müller', False), ('A', True))
    """
    padded = raw.strip(" \0")
    safe = one_line(padded)[:_MOST_CHARACTERS].strip()
    return safe, safe != padded or "\ufffd" in safe


def code(dataset: Dataset, keyword: str) -> str:
    """An attribute of defined terms, to be compared with them: its first value in upper case, "" where absent.

    It may hold anything: what is kept, shown or told to somebody is `term`.
    """
    found = values(dataset, keyword)
    return clean(str(found[0]))[0].upper() if found else ""


def term(dataset: Dataset, keyword: str) -> tuple[str, bool]:
    """A Code String (PS3.5 6.2) in upper case, "" where it is absent or none; and whether it had to be left out."""
    found = values(dataset, keyword)
    if not found:
        return "", found is None
    value = str(found[0]).strip(" \0").upper()
    return (value, False) if not value or is_code(value) else ("", True)


def is_code(value: str) -> bool:
    """Is it a Code String (PS3.5 6.2)?

    >>> is_code("AP_SUPINE"), is_code("<B>"), is_code("A NAME AND AN ADDRESS")
    (True, False, False)
    """
    return _CODE.fullmatch(value) is not None


def told(value: str) -> str:
    """What a message says of the value of a coded attribute: nothing of one that is no code.

    >>> told("LL"), told(""), told("DOE^JANE")
    ('LL', 'absent', 'not a valid code')
    """
    return (value if is_code(value) else "not a valid code") if value else "absent"


def long_text(dataset: Dataset, keyword: str) -> tuple[str, bool]:
    """A Long String of one value (PS3.5 6.2) as safe text, and whether something had to be changed or left out."""
    found = values(dataset, keyword)
    if not found:
        return "", found is None
    safe, changed = clean(str(found[0]))
    shown = safe[:_LONG_STRING].rstrip()
    return shown, changed or shown != safe or len(found) > 1 or "\\" in shown


def decimals(dataset: Dataset, keyword: str) -> tuple[str, bool]:
    r"""Decimal Strings (PS3.5 6.2) with a backslash between them, "" where one is none; and whether one was."""
    found = values(dataset, keyword)
    if not found:
        return "", found is None
    texts = [str(value).strip(" \0") for value in found]
    sound = all(_DECIMAL.fullmatch(text) for text in texts)
    return ("\\".join(texts) if sound else ""), not sound


def uid(dataset: Dataset, keyword: str) -> str | None:
    """A unique identifier (PS3.5 9.1); "" where absent, None where the value is not a UID."""
    found = values(dataset, keyword)
    if not found:
        return "" if found == () else None
    value = str(found[0]).strip(" \0")
    return value if len(found) == 1 and is_uid(value) else None if value else ""


def is_uid(value: str) -> bool:
    """Is it a Unique Identifier (PS3.5 9.1)?"""
    return len(value) <= 64 and _UID.fullmatch(value) is not None


def numbers(dataset: Dataset, keyword: Name) -> tuple[float, ...]:
    """Decimal values, NaN for each that is not a number."""
    found = values(dataset, keyword)
    return (math.nan,) if found is None else tuple(_number(value) for value in found)


def integer(dataset: Dataset, keyword: Name) -> int | None:
    """One whole number; None where absent, repeated or not a whole number."""
    found = numbers(dataset, keyword)
    return int(found[0]) if len(found) == 1 and math.isfinite(found[0]) and found[0] == int(found[0]) else None


def functional_group(dataset: Dataset, macro: str, *attributes: str) -> Dataset:
    """Where the attributes of a macro stand: in the frame's functional group, else in the shared one, else at the top.

    Enhanced objects of one frame keep window, spacing and laterality there (PS3.3 C.7.6.16.2); the innermost wins.

    Args:
        dataset: the whole header.
        macro: the keyword of its sequence, for example FrameVOILUTSequence.
        attributes: a group counts when it holds one of these.
    """
    for groups in ("PerFrameFunctionalGroupsSequence", "SharedFunctionalGroupsSequence"):
        for group in (values(dataset, groups) or ())[:1]:
            for item in (values(group, macro) or ())[:1] if isinstance(group, Dataset) else ():
                if isinstance(item, Dataset) and any(values(item, name) != () for name in attributes):
                    return item
    return dataset


def is_valid_age(value: str) -> bool:
    """Is it an Age String (PS3.5 6.2)? An empty value is."""
    return not value or _AGE.fullmatch(value) is not None


def has_valid_dates(dataset: Dataset, keywords: Iterable[str]) -> bool:
    """Are these attributes dates (PS3.5 6.2, also the retired form with points) that the calendar knows, or empty?"""
    for keyword in keywords:
        found = values(dataset, keyword)
        if found is None or not all(_date(value) for value in found if str(value).strip(" \0")):
            return False
    return True


def date(dataset: Dataset, keyword: str) -> str:
    """A Date (PS3.5 6.2) as YYYYMMDD; "" where it is absent, repeated, or none that the calendar knows."""
    found = values(dataset, keyword)
    return _date(found[0]) if found and len(found) == 1 else ""


def _date(value: object) -> str:
    match = _DATE.fullmatch(str(value).strip(" \0"))
    return "".join(match.groups()) if match and _in_calendar(*map(int, match.groups())) else ""


def _in_calendar(year: int, month: int, day: int) -> bool:
    try:
        datetime.date(year, month, day)
    except ValueError:
        return False
    return True


def _number(value: object) -> float:
    try:
        return float(value)  # type: ignore[arg-type]  # DS, IS, US and text all convert, or raise
    except _BROKEN:
        return math.nan
