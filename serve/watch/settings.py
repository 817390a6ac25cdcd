"""Settings of a watch's storage, deliveries, retention and server: sections of watch.yaml.

Plain dataclasses: `pelee-watch --check` needs neither SQLAlchemy nor pydantic.
"""

import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from data.errors import did_you_mean
from detection.watch.yaml_document import SettingFault, YamlDocument
from serve.settings import ServeSettings, load_settings, setting_problems

SECTIONS = ("folder", "database", "mqtt", "webhooks", "json_lines", "retention", "server")
DATABASE_NAME = "watch.db"
GIVE_UP_HOURS = 72.0
SECRET_LENGTH = 16  # minimum number of characters of a webhook's secret
DATABASES = ("sqlite", "postgresql", "postgres", "postgresql+psycopg")
TOPIC = re.compile(r"[A-Za-z0-9_-]+(/[A-Za-z0-9_-]+)*")
HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")


class Phase(StrEnum):
    """Moment of an event that is delivered."""

    BEGIN = "begin"
    FINISH = "finish"


@dataclass(frozen=True, slots=True)
class MqttSettings:
    """Broker to which events are published.

    Attributes:
        host: name or address of the broker.
        port: TCP port; None for 1883, with TLS 8883.
        username, password: None for none.
        tls: whether the connection is encrypted and the broker's certificate checked.
        ca_file: PEM file of the certificate authority; None for those of the system.
        topic: first part of all topics.
        discovery: whether Home Assistant is told of the cameras and rules.
        discovery_prefix: topic below which Home Assistant looks for them.
        snapshots: whether snapshots are published, for Home Assistant's image entities.
        give_up_hours: age of a delivery after which it is given up.
    """

    host: str
    port: int | None = None
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    tls: bool = False
    ca_file: Path | None = None
    topic: str = "pelee"
    discovery: bool = True
    discovery_prefix: str = "homeassistant"
    snapshots: bool = True
    give_up_hours: float = GIVE_UP_HOURS

    def __post_init__(self) -> None:
        """Check the values; raises `SettingFault`."""
        _check_port(self.port)
        _check_positive("give_up_hours", self.give_up_hours)
        for name in ("topic", "discovery_prefix"):
            if not TOPIC.fullmatch(getattr(self, name)):
                raise SettingFault(
                    name, f"{getattr(self, name)!r} is no topic such as home/pelee, of letters, digits, - and _"
                )
        if self.password is not None and self.username is None:
            raise SettingFault("password", "a password without a username; give both, or neither")
        if self.ca_file is not None and not self.tls:
            raise SettingFault("ca_file", "a certificate authority without `tls: true`; give both, or neither")
        if self.ca_file is not None and not self.ca_file.is_file():
            raise SettingFault("ca_file", f"{self.ca_file}: no such file; expected certificates in PEM format")

    @property
    def broker_port(self) -> int:
        """The TCP port."""
        return self.port if self.port is not None else 8883 if self.tls else 1883


@dataclass(frozen=True, slots=True)
class WebhookSettings:
    """Address to which events are posted.

    Attributes:
        url: http:// or https:// address.
        secret: key of the signature, 16 characters or more, or "whsec_" and base64; None: requests are not signed.
        headers: additional request headers, such as Authorization.
        phases: which of an event's moments are posted.
        timeout_s: maximum time of a request, s.
        give_up_hours: age of a delivery after which it is given up.
    """

    url: str = field(repr=False)
    secret: str | None = field(default=None, repr=False)
    headers: dict[str, str] = field(default_factory=dict, repr=False)
    phases: tuple[Phase, ...] = (Phase.BEGIN, Phase.FINISH)
    timeout_s: float = 10.0
    give_up_hours: float = GIVE_UP_HOURS

    def __post_init__(self) -> None:
        """Check the values; raises `SettingFault`."""
        address = _split("url", self.url)
        if address.scheme not in ("http", "https") or not address.hostname:
            raise SettingFault("url", "is no address such as https://example.org/hook")
        _check_positive("timeout_s", self.timeout_s)
        _check_positive("give_up_hours", self.give_up_hours)
        if not self.phases:
            raise SettingFault("phases", "is empty; expected begin, finish or both")
        if self.secret is not None:
            if len(self.secret) < SECRET_LENGTH:
                raise SettingFault(
                    "secret", f"has fewer than {SECRET_LENGTH} characters; make one with: openssl rand -hex 16"
                )
            try:
                signing_key(self.secret)
            except ValueError:
                raise SettingFault("secret", 'begins with "whsec_" and is no base64 after it') from None
        for name, value in self.headers.items():
            if not HEADER_NAME.fullmatch(name) or not value.isprintable() or not value.isascii():
                raise SettingFault(("headers", name), "is no header; expected a name and a value in ASCII")


def signing_key(secret: str) -> bytes:
    """Key of a webhook's secret; of one with the prefix "whsec_" the decoded base64 (Standard Webhooks).

    Raises:
        ValueError: no base64 after the prefix.
    """
    import base64

    if not secret.startswith("whsec_"):
        return secret.encode()
    return base64.b64decode(secret.removeprefix("whsec_"), validate=True)


@dataclass(frozen=True, slots=True)
class RuleRetention:
    """Limits of a rule's events; None: that of all rules, where there is one.

    Attributes:
        days: age of an event's end after which it is removed, with its files.
        gigabytes: size of the rule's files above which the oldest clips are dropped, then snapshots; 10^9 bytes.
    """

    days: float | None = None
    gigabytes: float | None = None

    def __post_init__(self) -> None:
        """Check the values; raises `SettingFault`."""
        for name in ("days", "gigabytes"):
            if (value := getattr(self, name)) is not None:
                _check_positive(name, value)


@dataclass(frozen=True, slots=True)
class RetentionSettings:
    """How long events and files are kept.

    Attributes:
        days: age after which an event is removed, with its files; None: never.
        gigabytes: size of all files above which the oldest clips are dropped, then snapshots; None: no limit.
        free_gigabytes: free space of the disk below which the oldest clips are dropped; the events stay.
        rules: limits of single rules, by name.
    """

    days: float | None = 30.0
    gigabytes: float | None = None
    free_gigabytes: float = 1.0
    rules: dict[str, RuleRetention] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check the values; raises `SettingFault`."""
        RuleRetention(self.days, self.gigabytes)
        if self.free_gigabytes < 0:
            raise SettingFault("free_gigabytes", f"found {self.free_gigabytes:g}; expected 0 or more")

    def days_of(self, rule: str) -> float | None:
        """Days that events of a rule are kept; None: for ever."""
        own = self.rules.get(rule)
        return self.days if own is None or own.days is None else own.days


@dataclass(frozen=True, slots=True)
class WatchServerSettings:
    """HTTP server of a watch: those settings of `pelee-serve` that concern it; None: the default or PELEE_ variable.

    Attributes:
        enabled: whether there is a server at all.
        host, port, api_keys, cors_origins, allowed_hosts, trusted_proxies, root_path: as in `ServeSettings`.
    """

    enabled: bool = True
    host: str | None = None
    port: int | None = None
    api_keys: tuple[str, ...] | None = field(default=None, repr=False)
    cors_origins: tuple[str, ...] | None = None
    allowed_hosts: tuple[str, ...] | None = None
    trusted_proxies: tuple[str, ...] | None = None
    root_path: str | None = None

    def __post_init__(self) -> None:
        """Check the values; raises `SettingFault`."""
        _check_port(self.port)
        for name, problem in setting_problems(ServeSettings(**self._given())):
            raise SettingFault(name, problem)

    def _given(self) -> dict[str, Any]:
        return {name: value for name, value in asdict(self).items() if value is not None and name != "enabled"}

    def serve_settings(self) -> ServeSettings:
        """Settings of the HTTP server; what is not given here comes from PELEE_ variables. Raises `SettingsError`."""
        return load_settings(**self._given())


@dataclass(frozen=True, slots=True)
class StoreSettings:
    """Sections of watch.yaml that concern storage, deliveries, retention and server.

    Attributes:
        folder: folder of snapshots and clips, and of the default database.
        database: URL of SQLAlchemy, with driver; contains the password of a server.
        mqtt: None: nothing is published.
        webhooks: by name.
        json_lines: file to which a line is written for each finished event; None: none.
        retention: limits.
        server: HTTP server.
    """

    folder: Path = Path("watch")
    database: str = field(default="", repr=False)
    mqtt: MqttSettings | None = None
    webhooks: dict[str, WebhookSettings] = field(default_factory=dict)
    json_lines: Path | None = None
    retention: RetentionSettings = field(default_factory=RetentionSettings)
    server: WatchServerSettings = field(default_factory=WatchServerSettings)

    def __post_init__(self) -> None:
        """Check the values, and complete the database's address; raises `SettingFault`."""
        if self.json_lines is not None and self.json_lines.exists() and not self.json_lines.is_file():
            raise SettingFault("json_lines", f"{self.json_lines}: is no regular file; expected one to append lines to")
        object.__setattr__(self, "database", _database_url(self.database, self.folder))


def read_store_settings(document: YamlDocument, rules: Iterable[str]) -> StoreSettings | None:
    """Read the sections of this package from a document; None, and its faults, where they are wrong.

    Args:
        document: all of watch.yaml; other sections are left to others.
        rules: names of the rules, to which `retention.rules` refers.
    """
    values, before = document.values, len(document.faults)
    document.values = {name: value for name, value in values.items() if name in SECTIONS}
    try:
        settings = document.parse(StoreSettings)
        names = list(rules)
        for name in document.get("retention", "rules", default={}):
            if name not in names:
                hint = did_you_mean(name, names) or f"known: {', '.join(names)}"
                document.fault(("retention", "rules", name), f"unknown rule; {hint}")
    finally:
        document.values = values
    return settings if len(document.faults) == before else None


def _database_url(text: str, folder: Path) -> str:
    """URL of SQLAlchemy for a file's path, an address sqlite:/// or postgresql://, or nothing."""
    if not text:
        return f"sqlite:///{folder / DATABASE_NAME}"
    scheme = _split("database", text).scheme if "://" in text else ""
    if scheme and (scheme not in DATABASES or (scheme == "sqlite" and not text.startswith("sqlite:///"))):
        raise SettingFault("database", f"begins with {scheme}://; expected a file, sqlite:/// or postgresql://")
    if scheme not in ("", "sqlite"):
        return "postgresql+psycopg://" + text.partition("://")[2]
    if text == "sqlite:///" or ":memory:" in text or "mode=memory" in text:
        raise SettingFault("database", "is in memory and loses events; expected a file")
    return text if scheme else f"sqlite:///{text}"


def _split(name: str, text: str) -> Any:
    try:
        address = urlsplit(text)
        _ = address.port
    except ValueError:  # the text may hold a password
        raise SettingFault(name, "is no valid address") from None
    return address


def _check_port(port: int | None) -> None:
    if port is not None and not 0 <= port <= 65535:
        raise SettingFault("port", f"found {port}; expected 0 to 65535")


def _check_positive(name: str, value: float) -> None:
    if not value > 0:
        raise SettingFault(name, f"found {value:g}; expected more than 0")
