"""What becomes of images that no figure rests on, as `run.json` names it."""

from __future__ import annotations

NEVER_HELD_OUT = "never held out"
UNCERTAIN_LEARNT = "only uncertain labels, learnt from"
NOT_JUDGED = {
    NEVER_HELD_OUT: "learned from or chose, not judged",
    UNCERTAIN_LEARNT: "learned from where their patients are in a training part, not judged",
}
"""What became of images that are in no figure although they are not useless, by their reason in `run.json`."""
