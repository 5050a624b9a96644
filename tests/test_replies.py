"""What a decoding process answers is data: it goes there and back unchanged, and nothing else gets through."""

from __future__ import annotations

import json
import multiprocessing
import os
import pickle
import threading
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from medres.config import Limits
from medres.errors import REASONS
from medres.imaging import worker
from medres.imaging.isolation import Workers
from medres.imaging.preprocessing import Inspected, Placement, Prepared
from medres.imaging.sandbox import replies
from medres.imaging.viewing.records import NamedWindow, Presentation, Spacing
from medres.records import Radiograph, Refusal, Shutter
from medres.safe_text import UNSAFE
from tests.support import worker_jobs

PATIENT = Limits(seconds=30.0)
TEXTS = st.text(st.characters(codec="utf-8"), max_size=40).filter(lambda text: not UNSAFE.search(text))
NAMES = st.text(max_size=40)  # of files: also what is no UTF-8
WHOLE, REAL = st.integers(-(2**40), 2**40), st.floats(allow_nan=False)
MANY = st.lists(TEXTS, max_size=3).map(tuple)
MAPPINGS = st.dictionaries(TEXTS, TEXTS, max_size=4)
CORNERS = st.lists(st.tuples(WHOLE, WHOLE), max_size=3).map(tuple)
SIDES = st.tuples(*[st.integers(1, 40)] * 2)

shutters = st.builds(
    Shutter, MANY, st.none() | st.tuples(*[WHOLE] * 4), st.none() | st.tuples(*[WHOLE] * 3), polygon=CORNERS
)
radiographs = st.builds(
    Radiograph, arrays(np.float32, SIDES), *[TEXTS] * 5, warnings=MANY, review=MANY, pixel_aspect_ratio=REAL,
    shutter=st.none() | shutters, attributes=MAPPINGS, provenance=MAPPINGS,
)  # fmt: skip
inspected = st.builds(Inspected, NAMES, *[TEXTS] * 7, MANY, MANY, MAPPINGS, MAPPINGS)
placements = st.builds(Placement, *[WHOLE] * 3, *[REAL] * 2, *[WHOLE] * 2, mirrored=st.booleans())
prepared = st.builds(
    Prepared, NAMES, *[TEXTS] * 7, MANY, MANY, MAPPINGS, MAPPINGS, arrays(np.uint16, SIDES), placements
)
windows = st.builds(NamedWindow, TEXTS, REAL, REAL, TEXTS)
presentations = st.builds(
    Presentation, arrays(np.uint16, SIDES), WHOLE, WHOLE, REAL, REAL, WHOLE, arrays(np.float32, SIDES), st.booleans(),
    st.none() | st.tuples(WHOLE, WHOLE), st.lists(windows, max_size=3).map(tuple), MANY, arrays(np.uint16, SIDES),
    WHOLE, st.none() | st.builds(Spacing, REAL, REAL, TEXTS, TEXTS), REAL, st.tuples(*[TEXTS] * 4),
    st.none() | shutters,
)  # fmt: skip
refusals = st.builds(Refusal, NAMES, st.sampled_from(sorted(REASONS)), TEXTS, st.sampled_from(["", "0a" * 32]))
plain = st.none() | TEXTS | WHOLE | REAL | st.lists(TEXTS | WHOLE, max_size=4)


def back(result: object, *, pixels: int = 1000) -> Any:
    """What arrives of a result."""
    here, there = multiprocessing.Pipe()
    with here, there:
        sending = threading.Thread(target=replies.send, args=(there, 7, result))
        sending.start()
        reply = replies.receive(here, pixels=pixels)
        sending.join()
        assert reply.number == 7
        assert not here.poll()
    return reply.result


def same(one: object, other: object) -> bool:
    if isinstance(one, np.ndarray):
        return isinstance(other, np.ndarray) and one.dtype == other.dtype and np.array_equal(one, other, equal_nan=True)
    return type(one) is type(other) and one == other


@given(radiographs | inspected | prepared | presentations | refusals)
def test_a_record_goes_there_and_back_unchanged(record: Any) -> None:
    found = back(record)
    assert type(found) is type(record)
    assert [
        field.name for field in fields(record) if not same(*(getattr(x, field.name) for x in (record, found)))
    ] == []


@given(plain)
def test_text_numbers_and_lists_of_them_go_there_and_back(value: object) -> None:
    assert same(back(value), value)


def test_pixels_of_a_whole_radiograph_arrive_in_pieces_and_can_be_written() -> None:
    pixels = np.random.default_rng(0).random((1500, 1203), dtype=np.float32)
    found = back(Radiograph(pixels[:, ::-1], *"abcde"), pixels=pixels.size)
    np.testing.assert_array_equal(found.pixels, pixels[:, ::-1])
    found.pixels[0, 0] = 1


def test_what_a_job_may_not_return_is_an_error_of_the_job() -> None:
    with pytest.raises(TypeError, match="set, which does not travel"):
        replies.send(multiprocessing.Pipe()[0], 1, {1})


def test_a_header_of_many_megabytes_is_refused_as_such() -> None:
    found = back(replace(RADIOGRAPH, shutter=Shutter(("POLYGONAL",), polygon=((10**9, 10**9),) * 300_000)))
    assert isinstance(found, Refusal)
    assert found.code == "LIMIT"


RADIOGRAPH = Radiograph(np.zeros((3, 2), np.float32), "1.2", "1.3", "P", "PA", "L")
PREPARED = Prepared(
    "item", "0" * 64, "1" * 64, "1.2", "1.3", "P", "PA", "L", (), (), {}, {}, np.zeros((4, 4), np.uint16),
    Placement(4, 4, 4, 1.0, 1.0, 0, 0),
)  # fmt: skip


def spoken(result: object) -> tuple[list[Any], list[bytes]]:
    """The text of an answer, and its pieces."""
    here, there = multiprocessing.Pipe()
    with here, there:
        replies.send(there, 0, result)
        said = json.loads(here.recv_bytes())
        return said, [here.recv_bytes() for _ in range(int(here.poll()))]


def changed(result: object, **values: object) -> list[bytes]:
    (number, kind, content), pieces = spoken(result)
    return [json.dumps([number, kind, content | values]).encode(), *pieces]


RAN: list[str] = []


class Code:
    """Unpickled, it runs."""

    def __reduce__(self) -> tuple[Callable[..., None], tuple[str]]:
        return RAN.append, ("code of a file",)


def hostile_messages() -> dict[str, Sequence[bytes]]:
    """Answers that no decoding process of medres gives, by what is wrong with each."""
    text, pieces = changed(PREPARED)[0], changed(PREPARED)[1:]
    return {
        "pickle": [pickle.dumps((0, Code()))],
        "nothing": [b""],
        "no JSON": [b"\xff\xfe{"],
        "nested": [b"[" * 200_000],
        "no list": [b'{"a": 1}'],
        "no number": [b'["0", "", "x"]'],
        "a truth for a number": [b'[false, "", "x"]'],
        "digits": [b'[0, "", ' + b"9" * 5000 + b"]"],
        "unknown kind": [b'[0, "Popen", {}]'],
        "a part for a whole": [json.dumps([0, "Placement", spoken(PREPARED)[0][2]["placement"]]).encode()],
        "lists in lists": [b'[0, "", [[1]]]'],
        "a field more": changed(PREPARED, more=1),
        "another type": changed(PREPARED, sha256=1),
        "a list for a text": changed(PREPARED, patient_id=["P"]),
        "control characters": changed(PREPARED, patient_id="\x1b[2J"),
        "a long text": changed(PREPARED, patient_id="P" * 5000),
        "a text in a mapping's place": changed(PREPARED, attributes="x"),
        "a number in a mapping": changed(PREPARED, attributes={"Rows": 1}),
        "another file": changed(PREPARED, path="/etc/passwd"),
        "object": changed(PREPARED, pixels=["object", [4, 4]]),
        "wider": changed(PREPARED, pixels=["float64", [4, 4]]),
        "of a radiograph": changed(PREPARED, pixels=["float32", [4, 4]]),
        "one dimension": changed(PREPARED, pixels=["uint16", [16]]),
        "negative": changed(PREPARED, pixels=["uint16", [-4, -4]]),
        "none": changed(PREPARED, pixels=["uint16", [0, 4]]),
        "huge": changed(PREPARED, pixels=["uint16", [2**40, 2**40]]),
        "over the budget": changed(PREPARED, pixels=["uint16", [20_000, 20_000]]),
        "fractions": changed(PREPARED, pixels=["uint16", [4.0, 4.0]]),
        "another shape": changed(PREPARED, pixels=["uint16", [4, 5]]),
        "a short piece": [text, pieces[0][:-1]],
        "a long piece": [text, pieces[0] + b"x"],
        "unknown code": changed(Refusal("", "CORRUPT", "x"), code="OK"),
        "no hash": changed(Refusal("", "CORRUPT", "x"), sha256="x" * 64),
        "half a message": [text[: len(text) // 2]],
        "twice": [text, *pieces, text, *pieces],
        "started twice": [b"null"],
        "of another task": [json.dumps([99, "", "x"]).encode()],
    }


IN_A_BATCH = {"pickle", "huge", "wider", "a short piece", "half a message", "of another task", "another file", "twice"}
MESSAGES = sorted(set(hostile_messages()) - {"twice"})


@pytest.mark.parametrize("name", MESSAGES)
def test_a_hostile_answer_is_one_that_cannot_be_taken(name: str) -> None:
    here, there = multiprocessing.Pipe()
    with here, there:
        for message in hostile_messages()[name]:
            there.send_bytes(message)
        there.close()
        try:
            reply = replies.receive(here, pixels=1000)
        except (replies.BadReply, EOFError, OSError):
            pass
        else:  # a sound answer to something else: see the next test
            assert name in {"another file", "of another task", "started twice"}, reply
    assert RAN == []


@pytest.mark.parametrize("length", [0x7FFFFFFF, 5 * 2**20])
def test_a_huge_length_is_refused_before_anything_is_allocated(length: int) -> None:
    here, there = multiprocessing.Pipe()
    with here, there:
        os.write(there.fileno(), length.to_bytes(4, "big"))
        with pytest.raises(OSError, match="bad message length"):
            replies.receive(here, pixels=1000)


def test_hostile_answers_cost_their_own_file_alone_and_the_batch_goes_on() -> None:
    messages = {name: said for name, said in hostile_messages().items() if name in IN_A_BATCH}
    names = [f"{number}" for number in range(30)] + [f"hostile {name}" for name in messages]
    order = np.random.default_rng(0).permutation(names).tolist()
    jobs = worker_jobs.Hostile({f"hostile {name}": list(said) for name, said in messages.items()})
    with Workers(2, limits=PATIENT) as pool:
        found = dict(pool.map(jobs, order))
    assert RAN == []
    assert sorted(found) == sorted(names)
    innocent = {name: result for name, result in found.items() if not name.startswith("hostile")}
    assert innocent == {name: name for name in innocent}
    del found["hostile twice"]  # the first of the two is a sound answer about its own file
    codes = {name.removeprefix("hostile "): getattr(result, "code", result) for name, result in found.items()}
    assert {name: codes[name] for name in codes if name in messages and codes[name] != "DECODER_CRASH"} == {}
    assert all(result.path == name for name, result in found.items() if isinstance(result, Refusal))


def test_an_answer_to_a_task_that_is_yet_to_come_does_not_harm_that_one() -> None:
    names = ["liar", *(str(number) for number in range(40))]
    with Workers(2, limits=PATIENT) as pool:
        found = dict(pool.map(worker_jobs.lie, names))
    assert found == {name: name for name in names}


def test_a_process_that_stops_within_its_answer_holds_nobody_up_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "_STUCK_SECONDS", 0.5)
    names = ["stuck", *(str(number) for number in range(20))]
    with Workers(2, limits=PATIENT) as pool:
        found = dict(pool.map(worker_jobs.stop_within_the_answer, names))
    stuck = found.pop("stuck")
    assert isinstance(stuck, Refusal)
    assert stuck.code == "DECODER_CRASH"
    assert found == {name: name for name in names[1:]}
