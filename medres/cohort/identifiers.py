"""One person under two PatientIDs: what people and spreadsheets write differently."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

_CHANCE = 0.1  # part of the coincidences seen that two numbering schemes may explain before they are only noted


@dataclass(frozen=True, slots=True)
class Spelling:
    """PatientIDs that may be one person's."""

    patients: tuple[str, ...]  # as the manifest has them, sorted
    differ_by: str
    likely: bool  # False: another sex, another issuer, or what two numbering schemes give by chance
    reason: str  # why it is not likely, or ""


@dataclass(frozen=True, slots=True)
class _Parts:
    issuer: str
    written: str  # without issuer, case and spaces
    bare: str  # without leading zeros, too


def similar_patients(patients: Iterable[str], sexes: Mapping[str, str]) -> tuple[Spelling, ...]:
    """PatientIDs that differ only by spaces, case, leading zeros or issuer.

    Spreadsheets drop leading zeros, so "0012345" and "12345" are most likely one person. But where two hospitals number
    their patients 1, 2, 3 and 001, 002, 003, short numbers meet by chance: of a and b numbers of d digits,
    a · b / (9 · 10^(d − 1)) do. Where that explains a tenth or more of what is seen, it is noted and no problem. The
    same holds for PatientIDs of two different issuers, which exist to tell them apart, and for patients of different
    sex.

    Args:
        patients: PatientIDs, "issuer/id" where there is an issuer.
        sexes: PatientSex of those patients of whom it is known.
    """
    parts = {patient: _parts(patient) for patient in sorted(set(patients))}
    groups: dict[str, list[str]] = defaultdict(list)
    for patient, found in parts.items():
        groups[found.bare].append(patient)
    several = [group for group in groups.values() if len(group) > 1]
    chance = _numbers_that_meet_by_chance(parts.values(), [[parts[name] for name in group] for group in several])
    return tuple(_judged(group, parts, sexes, chance) for group in several)


def _parts(patient: str) -> _Parts:
    """
    >>> _parts("Hospital A/ 00a 12")
    _Parts(issuer='hospitala', written='00a12', bare='a12')
    """
    issuer, slash, own = patient.partition("/")
    if not slash:
        issuer, own = "", patient
    written = "".join(own.split()).casefold()
    return _Parts("".join(issuer.split()).casefold(), written, written.lstrip("0") or "0")


def _judged(group: list[str], parts: Mapping[str, _Parts], sexes: Mapping[str, str], chance: set[int]) -> Spelling:
    found = [parts[patient] for patient in group]
    zeros, issuers = len({one.written for one in found}) > 1, {one.issuer for one in found}
    differ_by = " and ".join(
        [*(["leading zeros"] if zeros else []), *(["issuer"] if len(issuers) > 1 else [])] or ["case or spaces"]
    )
    reason = ""
    if len({sexes[patient] for patient in group if sexes.get(patient) in {"F", "M"}}) > 1:
        reason = "their sex differs"
    elif len(issuers - {""}) > 1:
        reason = "their issuers differ"
    elif (zeros or len(issuers) > 1) and found[0].bare.isdecimal() and len(found[0].bare) in chance:
        reason = "so many short numbers meet by chance"
    return Spelling(tuple(group), differ_by, not reason, reason)


def _numbers_that_meet_by_chance(parts: Iterable[_Parts], groups: list[list[_Parts]]) -> set[int]:
    """Lengths of numbers for which chance explains a good part of the groups that were seen."""
    styles: dict[int, dict[tuple[bool, bool], set[str]]] = defaultdict(lambda: defaultdict(set))
    seen: dict[int, int] = defaultdict(int)
    for one in parts:
        if one.bare.isdecimal():
            style = (one.written != one.bare, bool(one.issuer))  # padded with zeros, with an issuer
            styles[len(one.bare)][style].add(one.bare)
    for group in groups:
        if group[0].bare.isdecimal():
            seen[len(group[0].bare)] += 1
    found = set()
    for digits, count in seen.items():
        sizes = [len(numbers) for numbers in styles[digits].values()]
        pairs = (sum(sizes) ** 2 - sum(size**2 for size in sizes)) / 2
        if pairs / (9 * 10 ** (digits - 1)) >= _CHANCE * count:
            found.add(digits)
    return found
