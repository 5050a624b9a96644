"""Which scores the model has given again: asked of a process of its own, newest question first."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections import OrderedDict
from collections.abc import Sequence
from typing import IO

from medres.review.check_process import Folders, Question
from medres.review.sent import Check

_KEPT = 24  # answers with heatmaps that stay in memory; what was refused stays for good
_MOST_WAITING = 8  # questions; what was opened long ago need not be known any more
_SECONDS_TO_END = 2.0
WAITING = Check(state="waiting")


class Checks:
    """Answers about cases, each computed once in the background; the process starts with the first question.

    Args:
        folders: of the model and of the scores.
    """

    def __init__(self, folders: Folders) -> None:
        self.folders = folders
        self._changed = threading.Condition()
        self._waiting: list[Question] = []  # the last is the next
        self._asked: Question | None = None
        self._found: OrderedDict[Question, Check] = OrderedDict()
        self._thread: threading.Thread | None = None
        self._process: subprocess.Popen[str] | None = None
        self._closed = False

    def want(self, keys: Sequence[str]) -> None:
        """Compute these cases again, the first one first, before whatever else was wanted."""
        with self._changed:
            for key in reversed(keys):
                self._push(Question(key=key))
            self._changed.notify_all()

    def state(self, key: str) -> Check:
        """What is known of a case by now."""
        with self._changed:
            return self._found.get(Question(key=key), WAITING)

    def heatmap(self, key: str, label: str, method: str, *, seconds: float) -> Check:
        """A heatmap by another method, once it is computed; `waiting` where that takes longer than so many seconds."""
        question = Question(key=key, label=label, method=method)
        with self._changed:
            self._push(question)
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._closed or question in self._found, seconds)
            return self._found.get(question, WAITING)

    def refused(self) -> tuple[str, ...]:
        """The cases whose scores the model did not give again."""
        with self._changed:
            return tuple(
                question.key
                for question, check in self._found.items()
                if check.state == "refused" and not question.label
            )

    def close(self) -> None:
        """End the process; whoever waits is told that it is waited for."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        if self._process is not None:
            self._process.kill()
        if self._thread is not None:
            self._thread.join(_SECONDS_TO_END)

    def _push(self, question: Question) -> None:
        if question in self._found or question == self._asked:
            return
        self._waiting = [other for other in self._waiting if other != question][1 - _MOST_WAITING :]
        self._waiting.append(question)
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, daemon=True)
            self._thread.start()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or bool(self._waiting))
                if self._closed:
                    return
                self._asked = self._waiting.pop()
            check = self._answer(self._asked)
            with self._changed:
                self._found[self._asked] = check
                self._asked = None
                self._forget()
                self._changed.notify_all()

    def _forget(self) -> None:
        drawn = [question for question, check in self._found.items() if check.state != "refused"]
        for question in drawn[:-_KEPT]:
            del self._found[question]

    def _answer(self, question: Question) -> Check:
        """Asked twice: a process that was ended in between is started anew."""
        for _ in range(2):
            try:
                return self._ask(question)
            except (OSError, ValueError):
                self._end()
                if self._closed:
                    break
        return Check(state="unchecked", text="the process that computes scores again has ended; is there memory left?")

    def _ask(self, question: Question) -> Check:
        if self._process is None:
            command = [sys.executable, "-P", "-m", "medres.review.check_process"]
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8"
            )
            self._say(self.folders.model_dump_json())
        self._say(question.model_dump_json())
        assert self._process.stdout is not None
        heard = self._process.stdout.readline()
        if not heard:
            raise OSError("it has ended")
        return Check.model_validate_json(heard)

    def _say(self, line: str) -> None:
        assert self._process is not None
        pipe: IO[str] | None = self._process.stdin
        assert pipe is not None
        pipe.write(line + "\n")
        pipe.flush()

    def _end(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            for pipe in (self._process.stdin, self._process.stdout):
                if pipe is not None:
                    try:
                        pipe.close()
                    except OSError:  # what was not said any more
                        continue
            self._process = None
