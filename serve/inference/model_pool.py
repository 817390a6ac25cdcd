"""Model pool: loads, warms up and reloads the served models while requests run."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from data.errors import SettingsError
from pelee.runtime.backends import session_backend
from serve.errors import ServiceError, short
from serve.settings import ServeSettings
from weights.card import Card
from weights.store import resolve

if TYPE_CHECKING:
    from pelee.runtime.session import Mode, Session


TASKS = ("detection", "classification")
DEFAULT_BATCH_SIZE = 8  # images, of a session whose runtime is not registered


@dataclass(frozen=True, slots=True, eq=False)
class ServedModel:
    """Loaded network.

    Attributes:
        name: as in requests.
        card: of the loaded file.
        session: a classifier's or a detector's session; both have the same methods.
        batch_size: maximum number of images in a batch.
        low_latency_session: runs a batch with nothing queued behind it, synchronously; None where `session.submit` is
            no slower.
    """

    name: str
    card: Card
    session: "Session"
    batch_size: int
    low_latency_session: "Session | None"

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names in the order of the labels."""
        return tuple(self.card.class_names)

    def warm_up(self) -> None:
        """Run black images through every session and batch size in use: the first call takes longer than the others."""
        for count in dict.fromkeys((1, self.batch_size)):
            black = np.zeros((count, *[self.session.input_size] * 2, 3), np.uint8)
            self.session.submit(black).result()
            if self.low_latency_session is not None:
                self.low_latency_session(black)


@dataclass(frozen=True, slots=True)
class ModelSource:
    """Source of a model: its card, and a function that loads it, callable repeatedly."""

    card: Card
    load: Callable[[], ServedModel]


def find_models(settings: ServeSettings) -> dict[str, ModelSource]:
    """Find the models of the settings by name, without loading them.

    Raises:
        WeightsError: there is no such model.
        SettingsError: two models have one name.
    """
    found: dict[str, ModelSource] = {}
    for given in settings.models:
        card = resolve(given).card
        if card.name in found:
            raise SettingsError(f"two models are called {card.name!r}; give each another name in its card")
        found[card.name] = ModelSource(card, partial(load_model, given, card.name, settings))
    return found


def load_model(given: str, name: str, settings: ServeSettings) -> ServedModel:
    """Load the model that `resolve` now finds for `given`, as `name`; errors as in `Detector.load`.

    In the mode "auto" it is opened for throughput, and again for latency where the two differ.
    """
    card, session = _open(given, settings, "throughput" if settings.mode == "auto" else settings.mode)
    low_latency_session = session if session.parallel == 1 else None
    if settings.mode == "auto" and session.parallel > 1:
        _, low_latency_session = _open(given, settings, "latency")
    backend = session_backend(session.name)
    batch = settings.batch_size or (DEFAULT_BATCH_SIZE if backend is None else backend.service_batch)
    return ServedModel(name, card, session, batch, low_latency_session)


def _open(given: str, settings: ServeSettings, mode: "Mode") -> tuple[Card, "Session"]:
    from detection.detector import Detector
    from pelee.classification.classifier import Classifier

    load = Detector.load if resolve(given).card.task == "detection" else Classifier.load
    opened = load(given, runtime=settings.runtime, device=settings.device, precision=settings.precision, mode=mode)
    return opened.card, cast("Session", opened.runtime if isinstance(opened, Detector) else opened.session)


class ModelPool:
    """Models by name. A reload replaces a model for later requests; running ones keep the one they got."""

    def __init__(self, sources: Mapping[str, ModelSource]) -> None:
        """Keep the sources; nothing is loaded yet."""
        self._sources = sources
        self._loaded: dict[str, ServedModel] = {}

    @property
    def ready(self) -> bool:
        """Whether all are loaded and warm."""
        return len(self._loaded) == len(self._sources)

    def load_all(self) -> None:
        """Load every model that is not loaded yet; takes seconds."""
        for name in self._sources:
            if name not in self._loaded:
                self.reload(name)

    def reload(self, name: str) -> ServedModel:
        """Load a model again, warm it up and swap it in; until then, and after an error, the old one serves."""
        source = self._source(name)
        model = source.load()
        if model.card.task != source.card.task:
            raise SettingsError(f"{name} was a model for {source.card.task} and is one for {model.card.task} now")
        model.warm_up()
        self._loaded[name] = model
        return model

    def get(self, name: str | None, task: str) -> ServedModel:
        """Return a model by name, or the task's default.

        Raises:
            ServiceError: `unknown_model`, with the known names; `invalid_parameter` for a model of another task;
                `not_ready`.
        """
        if name is None:
            name = self.default(task)
            if name is None:
                raise ServiceError("unknown_model", f"this server has no model for {task}")
        card = self._source(name).card
        if card.task != task:
            raise ServiceError("invalid_parameter", f"{name} is a model for {card.task}, expected one for {task}")
        if name not in self._loaded:
            raise ServiceError("not_ready", f"{name} is being loaded; ask again", 1)
        return self._loaded[name]

    def default(self, task: str) -> str | None:
        """The first model of a task, None where there is none."""
        return next((name for name, source in self._sources.items() if source.card.task == task), None)

    def names(self) -> list[str]:
        """All names, in the order of the settings."""
        return list(self._sources)

    def describe(self) -> dict[str, Any]:
        """Body of `GET /models`, as in `serve.web.schemas.ModelList`."""
        models = []
        for name, source in self._sources.items():
            model = self._loaded.get(name)
            card = model.card if model else source.card
            models.append(
                {
                    "name": name,
                    "task": card.task,
                    "class_names": card.class_names,
                    "input_size": model.session.input_size if model else card.input_size,
                    "default_confidence": card.default_confidence if card.task == "detection" else None,
                    "class_confidence": _class_confidence(card),
                    "runtime": model.session.name if model else None,
                    "ready": model is not None,
                }
            )
        return {"models": models, "default": {task: self.default(task) for task in TASKS}}

    def _source(self, name: str) -> ModelSource:
        if name not in self._sources:
            raise ServiceError(
                "unknown_model", f"unknown model {short(name)}; this server has {', '.join(self._sources)}"
            )
        return self._sources[name]


def _class_confidence(card: Card) -> dict[str, float] | None:
    """Default score threshold by class name; None where there is one for all classes."""
    thresholds = card.default_thresholds
    return dict(zip(card.class_names, thresholds, strict=True)) if isinstance(thresholds, tuple) else None
