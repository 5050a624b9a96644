"""A page that no debugger listens in on: what it costs is what it costs its user.

Playwright turns on the debugger's Network domain for every page of its own, and the renderer then keeps the body of
each answer for it, up to a hundred megabytes. A page of another context stays its user's, and is asked through the
browser's own session, with the Runtime domain alone.
"""

from __future__ import annotations

import json
import time
from typing import Any

from playwright.sync_api import Browser


class Unwatched:
    """A page in a context that Playwright does not know.

    Args:
        browser: that Playwright started.
        address: what is opened.
        width, height: of the window, in CSS pixels.
    """

    def __init__(self, browser: Browser, address: str, *, width: int = 1920, height: int = 1080) -> None:
        self._session = browser.new_browser_cdp_session()
        self._answers: dict[int, dict[str, Any]] = {}
        self._asked = 0
        self._session.on("Target.receivedMessageFromTarget", self._hear)
        context = self._session.send("Target.createBrowserContext")["browserContextId"]
        wanted = {"url": address, "browserContextId": context, "width": width, "height": height}
        target = self._session.send("Target.createTarget", wanted)["targetId"]
        attached = self._session.send("Target.attachToTarget", {"targetId": target, "flatten": False})
        self._name = attached["sessionId"]
        while not self._arrived():
            time.sleep(0.1)

    def _arrived(self) -> bool:
        """Whether what was opened is there, and no empty page before it."""
        try:
            return bool(self.evaluate('location.protocol !== "about:" && document.readyState === "complete"'))
        except ValueError:  # asked of a page that it has just left
            return False

    def _hear(self, event: dict[str, Any]) -> None:
        message = json.loads(event["message"])
        if "id" in message:
            self._answers[message["id"]] = message

    def evaluate(self, expression: str, *, seconds: float = 300.0) -> Any:
        """What an expression gives in the page; a promise is waited for.

        Raises:
            TimeoutError: it gave nothing within so many seconds.
            ValueError: it raised something, which is said.
        """
        self._asked += 1
        wanted = {"expression": expression, "awaitPromise": True, "returnByValue": True}
        message = json.dumps({"id": self._asked, "method": "Runtime.evaluate", "params": wanted})
        self._session.send("Target.sendMessageToTarget", {"sessionId": self._name, "message": message})
        until = time.monotonic() + seconds
        while self._asked not in self._answers:
            if time.monotonic() > until:
                raise TimeoutError(f"the page gave no answer within {seconds} s to {expression[:80]}")
            time.sleep(0.01)
            self._session.send("Browser.getVersion")  # answers are heard while something is asked
        answer = self._answers.pop(self._asked)
        found = answer.get("result", {})
        if "error" in answer or "exceptionDetails" in found:
            raise ValueError(json.dumps(answer.get("error", found.get("exceptionDetails"))))
        return found["result"].get("value")
