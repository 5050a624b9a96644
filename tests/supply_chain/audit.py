"""Known weaknesses of the packages in the lock file, asked by `pip-audit` of the OSV database.

    python -m tests.supply_chain.audit

Where the database cannot be reached it says so and succeeds: no build fails for being offline. Exit code 1 where a
weakness is known that is not accepted below.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

LOCK = Path(__file__).resolve().parents[2] / "requirements.lock"

ACCEPTED: Mapping[str, str] = {}
"""Weaknesses that do not concern medres, by their identifier, each with the reason and the date of that judgement."""

_SECONDS = 90
_COMMAND = (
    *("-m", "pip_audit", "-s", "osv", "-r", str(LOCK), "--disable-pip", "--require-hashes"),
    *("-f", "json", "--progress-spinner", "off", "--timeout", "5"),
)


def judged(output: str, accepted: Mapping[str, str]) -> list[str] | None:
    """What pip-audit found, one sentence each; None where it could ask nobody, and says something else than JSON."""
    try:
        found = json.loads(output)
        packages = found["dependencies"]
    except (ValueError, KeyError, TypeError):
        return None
    return [
        f"{package['name']} {package['version']}: {weakness['id']}, mended in {' '.join(weakness['fix_versions'])}"
        for package in packages
        for weakness in package.get("vulns", ())
        if not {weakness["id"], *weakness.get("aliases", ())} & set(accepted)
    ]


def main(python: str = sys.executable) -> int:
    """Ask, and say what is known; the exit code."""
    try:
        done = subprocess.run(
            [python, *_COMMAND], capture_output=True, text=True, timeout=_SECONDS, check=False, stdin=subprocess.DEVNULL
        )
        output, errors = done.stdout, done.stderr
    except subprocess.TimeoutExpired:
        output, errors = "", f"no answer in {_SECONDS} s"
    found = judged(output, ACCEPTED)
    if found is None:
        why = (errors.strip().splitlines() or ["no answer"])[-1]
        print(f"known weaknesses were not looked for: the database could not be asked ({why[:200]})")
        return 0
    for sentence in found:
        print(sentence)
    print(f"known weaknesses of what users install: {len(found) or 'none'}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
