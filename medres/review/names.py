"""What a reviewer may be called: a name is shown for years, in pages and tables that are not written yet."""

from __future__ import annotations

import unicodedata

_PUNCTUATION = ".,'’-‐–()/&+@·"
_JOINERS = "\u200c\u200d"  # between letters of Persian and of Indic scripts


def fault_of_name(name: str) -> str:
    """Why a name is refused, in a sentence without its full stop; "" where it is not.

    Letters of any script, digits, spaces and the punctuation of names pass; markup and what is not seen do not.

    >>> fault_of_name("Dr. Zoë O'Brien-Smith (radiology)")
    ''
    >>> fault_of_name("**Dr. A**")
    "the reviewer's name holds “*”; a name has letters, digits, spaces and . , ' - ( ) / & + @"
    """
    for character in name:
        if character == " " or character in _PUNCTUATION or unicodedata.category(character)[0] in "LMN":
            continue
        if character in _JOINERS:
            continue
        shown = f"“{character}”" if character.isprintable() else f"the character U+{ord(character):04X}"
        return f"the reviewer's name holds {shown}; a name has letters, digits, spaces and . , ' - ( ) / & + @"
    return ""
