"""The review store's address comes from where no list of processes shows it, and its password is in no message."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medres.errors import StoreError, UsageError
from medres.review.address import chosen, secrets, shown
from medres.review.store import ReviewStore

URL = "postgresql://reader:Zauber-7%40wort@db.example/reviews"


def test_the_address_is_the_option_s_else_the_file_s_else_the_environment_s(tmp_path: Path) -> None:
    file = tmp_path / "store"
    file.write_text(f"{URL}\n# the hospital's own\n", encoding="utf-8")
    file.chmod(0o600)
    assert chosen("sqlite://", None, {"MEDRES_STORE": URL}) == "sqlite://"
    assert chosen(None, file, {"MEDRES_STORE": "sqlite://"}) == URL
    assert chosen(None, None, {"MEDRES_STORE": URL}) == URL
    assert chosen(None, None, {"MEDRES_STORE": ""}) is None
    with pytest.raises(UsageError, match="give one of the two"):
        chosen("sqlite://", file, {})


@pytest.mark.parametrize("content", [b"", b"\n\n", b"\xff\xfe", b"x" * 5000])
def test_a_file_without_an_address_is_named(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "store"
    file.write_bytes(content)
    with pytest.raises(UsageError, match=r"--store-file .*store"):
        chosen(None, file, {})
    with pytest.raises(UsageError, match=r"--store-file .*cannot be read"):
        chosen(None, tmp_path / "absent", {})


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
def test_a_password_that_others_can_read_is_warned_of_and_not_shown(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "store"
    file.write_text(URL, encoding="utf-8")
    file.chmod(0o644)
    with caplog.at_level(logging.WARNING):
        chosen(None, file, {})
        chosen(URL, None, {})
        file.chmod(0o600)
        chosen(None, file, {})
        chosen("sqlite:///reviews.db", None, {})
    assert len(caplog.records) == 2
    assert "chmod 600" in caplog.text
    assert "MEDRES_STORE" in caplog.text
    assert "Zauber" not in caplog.text


PASSWORDS = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=6, max_size=20)
FORMS = (
    "postgresql://u:{}@localhost:1/x", "nosuch://u:{}@h/x", "sqlite+nosuch://u:{}@h/x", "mysql+pymysql://u:{}@127.0.0.1:1/x",
    "postgresql://u:{}@h:port/x", "postgresql+psycopg2://h/x?user=u&password={}", "sqlite:////nowhere/at/all/x.db?password={}",
    "postgresql://u:{}@@/x", "://u:{}@h", "sqlite://u:{}@h/x",
)  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
@settings(max_examples=15)
@given(password=PASSWORDS)
def test_no_message_shows_a_password_whatever_is_wrong_with_the_address(form: str, password: str) -> None:
    url = form.format(f"QX{password}XQ")
    with pytest.raises(StoreError) as refused:
        ReviewStore.open(url)
    assert f"QX{password}" not in str(refused.value)
    assert f"{password}XQ" not in str(refused.value)
    assert refused.value.__cause__ is None
    assert refused.value.__suppress_context__ or refused.value.__context__ is None
    if "?" not in form and not set(password) & set("@/?#"):
        assert password not in shown(url)


def test_an_address_without_a_password_stays_as_it_is() -> None:
    for url in ("sqlite:///C:/a@b/reviews.db", "postgresql://user@db/reviews", "sqlite://"):
        assert secrets(url) == ()
        assert shown(url) == url
