"""Streamlit runs with our options: no file and no variable that lies about changes one."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest
from playwright.sync_api import expect
from streamlit import config
from streamlit.config_option import ConfigOption

from medres.errors import UsageError
from tests.conftest import ROOT
from tests.support.browsing import Open, click_through, needs_chromium, parts, served

TEMPLATE: dict[str, ConfigOption] = config._config_options_template
TELL = """
import json, sys
sys.path.insert(0, sys.argv[1])
import options
options.forget_environment()
options.pin(options.Address(8501, "t", "f"))
from streamlit import config
print(json.dumps({name: option.value for name, option in config.get_config_options().items()}))
"""


def _hostile(name: str, option: ConfigOption) -> Any:
    """A value that is not ours."""
    if name == "server.address":
        return "0.0.0.0"
    if option.type is bool:
        return not option.default_val
    if option.type in (int, float):
        return 7
    return ["http://evil.example"] if option.multiple else "http://evil.example"


def _write_hostile(folder: Path) -> dict[str, str]:
    """Settings of every option in a home and in a working folder; the environment that a hostile user adds to them."""
    home, work = folder / "home", folder / "work"
    values = {name: _hostile(name, option) for name, option in TEMPLATE.items() if not name.startswith("_test")}
    lines = [
        f"[{name.rpartition('.')[0]}]\n{name.rpartition('.')[2]} = {json.dumps(value)}"
        for name, value in values.items()
    ]
    sections: dict[str, list[str]] = {}
    for line in lines:
        section, setting = line.split("\n")
        sections.setdefault(section, []).append(setting)
    text = "\n".join(f"{section}\n" + "\n".join(settings) for section, settings in sections.items())
    for place in (home, work):
        (place / ".streamlit").mkdir(parents=True)
        (place / ".streamlit/config.toml").write_text(text, encoding="utf-8")
        (place / ".streamlit/secrets.toml").write_text('[auth]\ncookie_secret = "evil"\nx = 1\n', encoding="utf-8")
        (place / "streamlit.py").write_text("raise SystemExit('a module of the working folder')", encoding="utf-8")
    variables = {TEMPLATE[name].env_var: str(value) for name, value in values.items()}
    return {**variables, "HOME": str(home), "USERPROFILE": str(home), "PORT": "7", "FORWARDED_ALLOW_IPS": "*"}


def _options(folder: Path, environment: dict[str, str]) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-P", "-c", TELL, ROOT / "app"],
        cwd=folder, env={**os.environ, **environment}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return dict(json.loads(done.stdout), **{"server.cookieSecret": None})  # drawn anew each time


def test_neither_files_nor_variables_change_an_option(tmp_path: Path) -> None:
    (tmp_path / "clean").mkdir()
    hostile = _write_hostile(tmp_path)
    ours = _options(tmp_path / "clean", {"HOME": str(tmp_path / "clean")})
    assert _options(tmp_path / "work", hostile) == ours
    for place in ("home", "work"):  # one that Streamlit itself does not survive
        (tmp_path / place / ".streamlit/config.toml").write_text("[theme.sidebar.light]\nfont = 1\n", encoding="utf-8")
    assert _options(tmp_path / "work", {"HOME": str(tmp_path / "home")}) == ours
    assert {name: ours[name] for name in ("server.address", "browser.gatherUsageStats", "server.enableAgentApi")} == {
        "server.address": "127.0.0.1",
        "browser.gatherUsageStats": False,
        "server.enableAgentApi": False,
    }
    assert (ours["server.port"], ours["server.baseUrlPath"], ours["secrets.files"]) == (8501, "f", [])


def test_every_option_that_reaches_out_or_lets_in_is_known_to_this_streamlit() -> None:
    """Its lock is ours: an option that was renamed would be one that we no longer pin."""
    names = set((ROOT / "app/options.py").read_text(encoding="utf-8").split('"')) & set(TEMPLATE)
    pinned = {line.split('"')[1] for line in (ROOT / "app/options.py").read_text().splitlines() if '": ' in line}
    assert pinned <= names


@needs_chromium
def test_the_app_is_the_same_where_somebody_left_settings_of_theirs(
    visit: Open, small_model: Path, scores: Path, tmp_path: Path
) -> None:
    hostile = _write_hostile(tmp_path)
    store = f"sqlite:///{(tmp_path / 'verdicts.db').as_posix()}"
    with served(small_model, scores, store, tmp_path / "work" / "log", environment=hostile) as address:
        page = visit(address)
        click_through(page)
        expect(page.locator(".stApp")).to_have_css("background-color", "rgb(17, 22, 28)")
        port = parts(address).port
        listening = [tuple(item.laddr) for item in psutil.net_connections("tcp") if item.status == "LISTEN"]
        assert [place for place in listening if port in place] == [("127.0.0.1", port)]
        page.close()
    assert (tmp_path / "work" / "log").read_text(encoding="utf-8").strip() == ""
    written = {path.name for path in (tmp_path / "home" / ".streamlit").iterdir()}
    assert written == {"config.toml", "secrets.toml"}  # no number of this installation, either


def test_streamlit_by_itself_has_nothing_to_show(monkeypatch: pytest.MonkeyPatch) -> None:
    """`streamlit run` would open the app to everybody: without the door there are no scores."""
    monkeypatch.syspath_prepend(str(ROOT / "app"))
    with pytest.raises(UsageError, match="started with `medres app`, and not otherwise"):
        importlib.import_module("started").room()
