"""No GPL and no AGPL among what users install, from the installed packages' own metadata.

    python -m tests.supply_chain.licences

Counts medres, its extras for users, and everything that these need on this machine. The LGPL is allowed: such a package
is used as it is, as a library of its own, and can be replaced. Exit code 1 where a package is under a licence that is
refused, or says none.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from importlib.metadata import Distribution, PackageNotFoundError, distribution

from packaging.requirements import Requirement

EXTRAS = ("tensorboard", "mlflow")
"""Extras for users; `dev` is for those who change medres."""

EXPLAINED = {
    "cuda-toolkit": "NVIDIA's terms, as its libraries (the package itself is empty: it asks for them)",
    "matplotlib": "matplotlib's own licence, of the kind of Python's; the word GPL is in texts of fonts it brings",
    "scipy": "BSD; its wheels bring libgfortran and libquadmath, whose GCC exception allows that",
}
"""Packages whose metadata say less than the truth, or more, each with what was read in them by a person."""

_REFUSED = re.compile(r"\bA?GPL\b|\bGPLv|\bAGPLv|GNU (Affero )?General Public", re.IGNORECASE)
_ALLOWED_PART = re.compile(r"\bL(?:ESSER )?GPL|Lesser General Public|with[- ]\S*exception", re.IGNORECASE)
_MOST_LINES = 3  # of a field that names a licence; a longer one is its text


@dataclass(frozen=True, slots=True)
class Licence:
    """What a package says of its licence."""

    package: str
    said: tuple[str, ...]  # expression, classifiers and a short field; () where it says nothing

    @property
    def complaint(self) -> str:
        """Why it is refused; "" where it is not."""
        if self.package in EXPLAINED:
            return ""
        if not self.said:
            return f"{self.package} says no licence"
        refused = [part for part in self.said if is_refused(part)]
        return f"{self.package} is under {', '.join(refused)}" if refused else ""


def is_refused(said: str) -> bool:
    """Whether one statement is of a licence that is refused; of alternatives one is enough that is not.

    >>> [is_refused(text) for text in ("GPL-3.0-or-later", "MIT OR GPL-2.0-only", "LGPL-3.0-only", "AGPLv3")]
    [True, False, False, True]
    """
    return all(_REFUSED.search(part) and not _ALLOWED_PART.search(part) for part in re.split(r"\bOR\b", said))


def licence(found: Distribution) -> Licence:
    """What an installed package says of its licence."""
    told = found.metadata
    classifiers = [one.split(" :: ")[-1] for one in told.get_all("Classifier") or () if one.startswith("License ::")]
    field = (told.get_all("License") or [""])[0].strip()
    short = [" ".join(field.split())] if field and len(field.splitlines()) <= _MOST_LINES else []
    said = [told["License-Expression"]] if "License-Expression" in told else [*classifiers, *short]
    if not said and field:
        said = [field.splitlines()[0].strip()]
    return Licence(_name(told["Name"]), tuple(said))


def installed(name: str, extras: tuple[str, ...] = ()) -> dict[str, Distribution]:
    """A package and all that it needs on this machine, by name."""
    found: dict[str, Distribution] = {}
    waiting = [(name, extras)]
    while waiting:
        wanted, asked = waiting.pop()
        if _name(wanted) in found:
            continue
        try:
            found[_name(wanted)] = distribution(wanted)
        except PackageNotFoundError:
            continue  # of another system, or an extra that is not here
        for text in found[_name(wanted)].requires or ():
            need = Requirement(text)
            if need.marker is None or any(need.marker.evaluate({"extra": extra}) for extra in (*asked, "")):
                waiting.append((need.name, tuple(need.extras)))
    return found


def _name(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def main() -> int:
    """Say what is refused; the exit code."""
    found = [licence(one) for one in installed("medres", EXTRAS).values()]
    complaints = [one.complaint for one in found if one.complaint]
    for complaint in complaints:
        print(complaint)
    print(
        f"{len(found)} packages that users install: {len(complaints) or 'none'} under the GPL, the AGPL or no licence"
    )
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
