"""The engine's wishes about images: build one, send one. Each is handed to the worker, once."""

from __future__ import annotations

import time
from typing import Any

from automator67.agent.begun import Begun
from automator67.agent.helper import Answer, Helper
from automator67.agent.images import full_name
from automator67.agent.state import Memory

_PATIENCE = 60.0
_FIELDS = {"build": ("image", "app", "dockerfile", "commit", "tree"), "export": ("image",)}


class ImageTasks:
    """For the main thread. The worker's answers carry the tag ("image", kind, image, app)."""

    def __init__(self, helper: Helper, memory: Memory, state: str) -> None:
        self._helper, self._memory, self._state = helper, memory, state
        self._begun = Begun()

    def take(self, doc: object) -> None:
        """Begin a task, unless it is not one of these or was begun before."""
        if not isinstance(doc, dict) or doc.get("kind") not in _FIELDS or doc.get("id") in self._begun:
            return
        task, kind = doc.get("id"), str(doc["kind"])
        texts = {key: doc.get(key) for key in _FIELDS[kind]}
        have = doc.get("have") or []
        if not isinstance(task, str) or not task.isalnum() or not all(isinstance(t, str) for t in texts.values()):
            return
        self._begun.add(task)
        args: dict[str, Any] = {"state": self._state, "task": task, "have": have, **texts}
        self._helper.submit(kind, args, ("image", kind, texts["image"], texts.get("app")), _PATIENCE)

    def answered(self, answer: Answer) -> str:
        """Take up how a task ended; return what is worth a line."""
        _, kind, image, app = answer.tag
        if not answer.ok:
            return f"{kind} of {image}: {answer.error}"
        if kind == "build":
            # It counts as used by its app, so that it is cleared away like other images of apps.
            self._memory.images[full_name(image)] = (app, time.time())
        return ""
