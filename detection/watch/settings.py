"""Settings of a watch: cameras with zones and lines, and rules, from a YAML document."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Self, TypeVar
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from data.errors import PeleeError, SettingsError, did_you_mean
from detection.tiling.tiling import Tiling
from detection.video.source_names import is_address, is_live
from detection.watch.event import EventKind
from detection.watch.shapes import FrameSize, Hours, LineSettings, ZoneSettings
from detection.watch.yaml_document import SettingFault, YamlDocument

T = TypeVar("T")

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
OF_ZONES = frozenset({EventKind.ENTERED, EventKind.LEFT})  # kinds that need a zone
MODEL = "pelee-voc"
FASTEST, LONGEST = 60.0, 3600.0


@dataclass(frozen=True, slots=True)
class CameraSettings:
    """Camera.

    Attributes:
        source: address, cam0, a device path, a test pattern, or a video file, which is played once at its own pace.
        size: frames are reduced to fit it, before detection; None for the camera's own.
        rate: largest number of frames analyzed in a second.
        motion: frames without motion do not go to the network.
        tiles: tiles in which moving parts are detected once more: "off", "auto", or as `Tiling.parse` takes them.
        zones, lines: by name.
    """

    source: str
    size: FrameSize | None = None
    rate: float = 10.0
    motion: bool = True
    tiles: str = "auto"
    zones: dict[str, ZoneSettings] = field(default_factory=dict)
    lines: dict[str, LineSettings] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check the values."""
        if not (is_live(self.source) or is_address(self.source) or Path(self.path).is_file()):
            raise SettingFault(
                "source",
                "found no address, camera or file of that name; expected rtsp://..., cam0, /dev/video0 or a video file",
            )
        _in_range("rate", self.rate, 0.1, FASTEST)
        try:
            Tiling.parse(self.tiles)
        except SettingsError as error:
            raise SettingFault("tiles", str(error)) from None
        for name in self.zones:
            _check_name(("zones", name), name)
        for name in self.lines:
            _check_name(("lines", name), name)
            if name in self.zones:
                raise SettingFault(("lines", name), "a zone has this name, too; expected a name of its own")

    @property
    def path(self) -> str:
        """The source without the prefix of a file's address."""
        return self.source.removeprefix("file://")

    @property
    def address(self) -> str:
        """The source as `detection.video.open_source.open_capture` takes it."""
        live = is_live(self.source) or is_address(self.source)
        return self.source if live else f"file://{Path(self.path).absolute()}"


@dataclass(frozen=True, slots=True)
class RuleSettings:
    """Rule: which objects give which events.

    Attributes:
        labels: class names; empty for all.
        cameras: names; empty for all.
        kinds: kinds of events; empty for `entered` with zones, `crossed` with lines, `appeared` with neither.
        zones: names; the event happens in one of them. Empty for all of the camera (`entered`, `left`), or the whole
            frame (other kinds).
        lines: names, for `crossed`; empty for all of the camera.
        min_score: least score that the object reaches, 0 to 1; None for the model's own.
        min_seconds: least duration: in the zone, or in view.
        min_size: least area that the object reaches, as a share of the frame.
        hours: hours of the day in which an event begins; empty for all.
    """

    labels: tuple[str, ...] = ()
    cameras: tuple[str, ...] = ()
    kinds: tuple[EventKind, ...] = ()
    zones: tuple[str, ...] = ()
    lines: tuple[str, ...] = ()
    min_score: float | None = None
    min_seconds: float = 0.0
    min_size: float = 0.0
    hours: tuple[Hours, ...] = ()

    def __post_init__(self) -> None:
        """Check the values."""
        if self.min_score is not None:
            _in_range("min_score", self.min_score, 0, 1)
        _in_range("min_seconds", self.min_seconds, 0, 86_400)
        _in_range("min_size", self.min_size, 0, 1)
        for name in ("labels", "cameras", "kinds", "zones", "lines"):
            values = getattr(self, name)
            twice = next((value for value in values if values.count(value) > 1), None)
            if twice is not None:
                raise SettingFault(name, f"{str(twice)!r} comes twice; expected each once")
        if EventKind.STAYED in self.kinds and not self.min_seconds:
            raise SettingsError("kind 'stayed' without min_seconds; give the seconds after which it counts")
        if self.lines and self.kinds and EventKind.CROSSED not in self.kinds:
            raise SettingFault("lines", "lines without the kind 'crossed'; add it to kinds, or leave lines out")

    @property
    def all_kinds(self) -> tuple[EventKind, ...]:
        """`kinds`, or the default that follows from zones and lines."""
        if self.kinds:
            return self.kinds
        found = [*([EventKind.ENTERED] if self.zones else []), *([EventKind.CROSSED] if self.lines else [])]
        return tuple(found) or (EventKind.APPEARED,)


@dataclass(frozen=True, slots=True)
class RecordingSettings:
    """Recording: seconds of a clip before and after its event, and at most in all."""

    before: float = 5.0
    after: float = 5.0
    longest: float = 120.0

    def __post_init__(self) -> None:
        """Check the values."""
        _in_range("before", self.before, 0, 120)
        _in_range("after", self.after, 0, 600)
        _in_range("longest", self.longest, 1, LONGEST)


@dataclass(frozen=True, slots=True)
class WatchSettings:
    """Settings of a watch; those of deliveries, database and server are read from the same document by `serve.watch`.

    Attributes:
        cameras, rules: by name, in their order; the same rule is used for all its cameras.
        model: name or path of a detection model.
        recording: seconds of clips.
        timezone: of `hours`, such as "Europe/Berlin"; None for that of the machine.
    """

    cameras: dict[str, CameraSettings]
    rules: dict[str, RuleSettings]
    model: str = MODEL
    recording: RecordingSettings = field(default_factory=RecordingSettings)
    timezone: str | None = None

    @classmethod
    def keys(cls) -> tuple[str, ...]:
        """Names of its keys at the top of the document."""
        return tuple(one.name for one in fields(cls))

    @classmethod
    def of(cls, document: YamlDocument) -> Self | None:
        """Read and check its keys of a document; None where there is a fault, all of which are in `document.faults`.

        Other keys at the top of the document are not looked at: `document.check_keys` does that with the names of all.
        """
        before = len(document.faults)
        cameras = _parse_named(document, "cameras", CameraSettings)
        rules = _parse_named(document, "rules", RuleSettings)
        model, recording, timezone = MODEL, RecordingSettings(), None
        if document.get("model") is not None:
            model = document.parse(str, "model") or model
        if document.get("recording") is not None:
            recording = document.parse(RecordingSettings, "recording") or recording
        if document.get("timezone") is not None:
            timezone = document.parse(str, "timezone")
        _check_timezone(document, timezone)
        names = _class_names(document, model)
        for name in document.get("rules", default={}):
            _check_rule(document, name, rules.get(name), cameras, names)
        return cls(cameras, rules, model, recording, timezone) if len(document.faults) == before else None

    def rules_of(self, camera: str) -> dict[str, RuleSettings]:
        """Rules that are used for a camera, by name."""
        return {name: rule for name, rule in self.rules.items() if not rule.cameras or camera in rule.cameras}


def _check_rule(
    document: YamlDocument,
    name: str,
    rule: RuleSettings | None,
    cameras: Mapping[str, CameraSettings],
    class_names: Sequence[str],
) -> None:
    """Check what a rule names: labels, cameras, and zones and lines of these cameras; None for one with a fault."""
    place = ("rules", name)

    def check(key: str, names: Iterable[str], kind: str) -> None:
        names, value = list(names), document.get(*place, key, default=[])
        for index, word in enumerate(value if isinstance(value, list) else [value]):
            if word and isinstance(word, str) and word not in names:
                hint = did_you_mean(word, names) or (f"known: {', '.join(names)}" if names else "there is none")
                path = (*place, key, index) if isinstance(value, list) else (*place, key)
                document.fault(path, f"no {kind} {word!r}; {hint}")

    if class_names:
        check("labels", class_names, "class")
    check("cameras", document.get("cameras", default={}), "camera")
    if rule is None:
        return
    named = document.get("cameras")
    chosen = rule.cameras or (tuple(named) if isinstance(named, dict) else ())
    used = [cameras[camera] for camera in chosen if camera in cameras]
    if not used or len(used) < len(chosen):
        return  # zones of a camera with a fault are not known
    zones = {zone for camera in used for zone in camera.zones}
    lines = {line for camera in used for line in camera.lines}
    check("zones", sorted(zones), "zone of its cameras is named")
    check("lines", sorted(lines), "line of its cameras is named")
    if OF_ZONES & set(rule.kinds) and not zones:
        document.fault(place, "kinds 'entered' and 'left' need a zone; add one to a camera")
    if EventKind.CROSSED in rule.kinds and not lines:
        document.fault(place, "kind 'crossed' needs a line; add one to a camera")


def _parse_named(document: YamlDocument, section: str, kind: type[T]) -> dict[str, T]:
    """Parse a section of values by name: those without a fault; a section without names is a fault."""
    values = document.get(section)
    if not isinstance(values, dict) or not values:
        problem = "is missing" if values is None else "holds none"
        document.fault((section,), f"{problem}; expected at least one, `name:` with its settings below")
        return {}
    parsed = {}
    for name in values:
        try:
            _check_name((section, name), name)
        except SettingFault as fault:
            document.fault(fault.keys, str(fault))
        if (one := document.parse(kind, section, name)) is not None:
            parsed[name] = one
    return parsed


def _check_name(keys: tuple[str, ...], name: str) -> None:
    if NAME.fullmatch(name) is None:
        raise SettingFault(keys, 'the name has other characters; expected letters, digits, "-" and "_", 64 at most')


def _check_timezone(document: YamlDocument, name: str | None) -> None:
    try:
        if name is not None:
            ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        document.fault(("timezone",), f"no time zone {name!r}; expected a name such as Europe/Berlin")


def _class_names(document: YamlDocument, model: str) -> Sequence[str]:
    """Class names of the model; none, and a fault, where it cannot be found."""
    from weights.store import resolve

    try:
        card = resolve(model).card
        if card.task == "detection":
            return card.class_names
        document.fault(("model",), f"{model!r} is a model for {card.task}; expected one for detection")
    except (PeleeError, OSError) as error:
        document.fault(("model",), str(error))
    return ()


def _in_range(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise SettingFault(name, f"found {value:g}; expected {low:g} to {high:g}")
