"""Files that share a SOPInstanceUID: what is remembered in a few bytes says what a list of them would."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from medres.cohort.duplicates import Repeat, Repeats

FILES = st.lists(
    st.tuples(
        st.sampled_from(["a", "b", "c", "d"]), st.sampled_from(["", "1", "2"]), st.sampled_from("xyz"),
        st.sampled_from(["", "p", "q"]), st.booleans(),
    )
)  # fmt: skip


@given(FILES)
def test_repeats_are_those_of_a_plain_list(files: list[tuple[str, str, str, str, bool]]) -> None:
    repeats = Repeats()
    seen: dict[str, list[tuple[str, str, str]]] = {}
    for path, uid, sha256, pixels, forgotten in files:
        if forgotten:
            repeats.forget(uid)
            seen.pop(uid, None)
        earlier = seen.setdefault(uid, [])
        same = next((name for name, other, _ in earlier if other == sha256 and name != path), None)
        unknown = [other != sha256 and not pixels for _, other, _ in earlier]  # nobody can tell that they are the same
        conflict = same is None and (any(other != pixels for _, _, other in earlier) or any(unknown))
        expected = Repeat(same, conflict) if uid else Repeat()
        assert repeats.compare(path, sop_instance_uid=uid, sha256=sha256, pixels_sha256=pixels) == expected
        if same is None:
            earlier.append((path, sha256, pixels))
