"""The bill of materials of what users install, from the lock file alone: CycloneDX 1.6 as JSON.

    python -m tests.supply_chain.sbom build/sbom.cdx.json

The same lock gives the same file, byte by byte.
"""

from __future__ import annotations

import json
import re
import sys
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medres import __version__

LOCK = Path(__file__).resolve().parents[2] / "requirements.lock"
_PACKAGE = re.compile(r"(?P<name>[A-Za-z0-9._-]+)==(?P<version>[^\s;\\]+)(?: ; (?P<marker>[^\\]+?))?\s*\\?")
_ROOT = "medres"


@dataclass(frozen=True, slots=True)
class Locked:
    """One package of a lock file."""

    name: str
    version: str
    marker: str  # where it is installed; "" is everywhere
    hashes: tuple[str, ...]  # SHA-256 of its files
    needed_by: tuple[str, ...]  # names; "medres" is this project

    @property
    def purl(self) -> str:
        """Its name in the world: a package URL."""
        return f"pkg:pypi/{self.name}@{self.version}"


def locked(text: str) -> tuple[Locked, ...]:
    """The packages of a lock file that `uv pip compile --generate-hashes` wrote.

    Raises:
        ValueError: a line is understood in no way.
    """
    found: list[tuple[re.Match[str], list[str], list[str]]] = []
    for line in text.splitlines():
        said = line.strip()
        if match := _PACKAGE.fullmatch(line):
            found.append((match, [], []))
        elif said.startswith("--hash=sha256:"):
            found[-1][1].append(said.removeprefix("--hash=sha256:").rstrip(" \\"))
        elif said.startswith("#") and found:
            whom = said.removeprefix("#").strip().removeprefix("via").strip()
            found[-1][2].extend([whom.partition(" ")[0]] if whom else [])
        elif said:
            raise ValueError(f"a line of the lock file is no package, hash or comment: {line!r}")
    return tuple(
        Locked(match["name"], match["version"], match["marker"] or "", tuple(hashes), tuple(needed_by))
        for match, hashes, needed_by in found
    )


def bill(packages: tuple[Locked, ...]) -> dict[str, Any]:
    """The bill of materials as CycloneDX has it."""
    root = f"pkg:pypi/{_ROOT}@{__version__}"
    refs: dict[str, list[str]] = {_ROOT: [root]}  # of a name, more than one where systems get different versions
    for package in packages:
        refs.setdefault(package.name, []).append(package.purl)
    needs: dict[str, list[str]] = {ref: [] for several in refs.values() for ref in several}
    for package in packages:
        for whom in package.needed_by:
            for ref in refs[whom]:
                needs[ref].append(package.purl)
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, json.dumps(sorted(needs)))}",
        "version": 1,
        "metadata": {
            "component": {
                "type": "application", "bom-ref": root, "name": _ROOT, "version": __version__, "purl": root,
                "licenses": [{"license": {"id": "Apache-2.0"}}],
            },
        },
        "components": [_component(package) for package in packages],
        "dependencies": [{"ref": ref, "dependsOn": sorted(needed)} for ref, needed in sorted(needs.items())],
    }  # fmt: skip


def _component(package: Locked) -> dict[str, Any]:
    hashes = [{"alg": "SHA-256", "content": digest} for digest in package.hashes]
    properties = [{"name": "medres:marker", "value": package.marker}] if package.marker else []
    return {
        "type": "library",
        "bom-ref": package.purl,
        "name": package.name,
        "version": package.version,
        "purl": package.purl,
        "externalReferences": [{"type": "distribution", "url": package.purl, "hashes": hashes}],
        **({"properties": properties} if properties else {}),
    }


def main(out: Path) -> str:
    """Write the bill; what was written in one sentence."""
    packages = locked(LOCK.read_text(encoding="utf-8"))
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(bill(packages), indent=1) + "\n", encoding="utf-8")
    return f"{out}: {len(packages)} packages that users install with medres {__version__}"


if __name__ == "__main__":
    print(main(Path(sys.argv[1])))
