"""What a name meant when it was looked up: the commit of a source's ref, the digest of an image's tag. Pure.

A pin makes an app's revision say exactly what runs. It is taken once and then kept: a tag moves nothing by itself,
while a source's ref is looked up again at every poll, which is what following a branch means.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from automator67.engine.desired import App, Desired, Source, revision_hash
from automator67.engine.image_name import built_name, parse, pinned_name
from automator67.engine.images.policy import DIGEST

Kind = Literal["source", "image"]


@dataclass(frozen=True, slots=True)
class Pin:
    """What ``reference`` means for an app.

    ``value`` is a commit id or a digest; empty: not known. ``error`` says why the last look found nothing new.
    ``blob`` is the content of the app's file at that look, ``at`` its time.
    """

    app: str
    reference: str
    value: str
    error: str = ""
    blob: str = ""
    at: float = 0.0


@dataclass(frozen=True, slots=True)
class Question:
    """What is to be looked up: the ref of a source, or the tag of an image. ``blob``: of the app's file."""

    app: str
    kind: Kind
    reference: str
    blob: str
    source: Source | None = None
    credentials: str = ""
    """The name of the secret that the registry asks for."""


def question_of(app: App) -> Question | None:
    """Return what must be known of an app besides its file; None when the file says all."""
    if app.source is not None:
        s = app.source
        return Question(app.name, "source", f"{s.git} {s.ref}", app.origin.blob, s)
    if app.image is not None and not parse(app.image).digest:
        return Question(app.name, "image", app.image, app.origin.blob, None, app.registry)
    return None


def due(desired: Desired, pins: Mapping[str, Pin], now: float, every: float) -> list[Question]:
    """Return what should be looked up now.

    Sources every ``every`` seconds. An image when it is new to the app, when the app follows its digest and the time
    has come, or when its digest is not known and the app's file has changed: a new revision comes anyway then.
    """
    found = []
    for app in desired.apps.values():
        question = question_of(app)
        if question is not None and _is_due(app, question, pins.get(app.name), now, every):
            found.append(question)
    return found


def _is_due(app: App, question: Question, pin: Pin | None, now: float, every: float) -> bool:
    if pin is None or pin.reference != question.reference:
        return True
    if question.kind == "source":
        return now - pin.at >= every
    if app.policy is not None and app.policy.track == DIGEST and now - pin.at >= app.policy.every:
        return True
    return not pin.value and pin.blob != question.blob


def pinned(desired: Desired, pins: Mapping[str, Pin]) -> tuple[Desired, dict[str, str]]:
    """Return the desired state with what its names mean, and notes by resource where that is not known."""
    notes: dict[str, str] = {}
    apps: dict[str, App] = {}
    for name, app in desired.apps.items():
        question = question_of(app)
        apps[name] = app
        if question is None:
            continue
        pin = pins.get(name)
        if pin is None or pin.reference != question.reference:
            apps[name] = replace(app, awaits=_awaits(question))
        elif question.kind == "source":
            apps[name] = _from_source(app, pin)
        elif pin.value:
            image = pinned_name(question.reference, pin.value)
            apps[name] = replace(app, image=image, rev=revision_hash({"rev": app.rev, "digest": pin.value}))
        if pin is not None and pin.error and not apps[name].awaits:
            notes[f"app/{name}"] = _note(question, pin)
    return replace(desired, apps=apps), notes


def as_written(desired: Desired, before: Desired) -> Desired:
    """Return ``desired`` with tags that nobody has looked up yet as ``before`` has them: good enough to preview."""
    apps = {n: before.apps[n] if a.awaits and a.source is None else a for n, a in desired.apps.items()}
    return replace(desired, apps=apps)


def _from_source(app: App, pin: Pin) -> App:
    s = app.source
    assert s is not None
    if not pin.value:
        return replace(app, awaits=f"the source cannot be used: {pin.error}")
    image = built_name(app.name, pin.value, s.path, s.dockerfile) if app.runtime == "docker" else None
    rev = revision_hash({"rev": app.rev, "source": [pin.value, s.path, s.dockerfile]})
    return replace(app, source=replace(s, commit=pin.value), image=image, rev=rev)


def _awaits(question: Question) -> str:
    if question.kind == "source":
        return f"waits to be told what {question.reference} is"
    return f"waits for the registry to say which image {question.reference} is"


def _note(question: Question, pin: Pin) -> str:
    if question.kind == "source":
        return f"{pin.error}; commit {pin.value[:12]} stays"
    if pin.value:
        return f"{pin.error}; digest {pin.value[:19]} stays"
    return f"the digest of {question.reference} is not known, the tag is used as it is: {pin.error}"
