import re
from pathlib import Path

import pytest

from detection.watch.yaml_document import YamlDocument
from serve.watch.settings import Phase, RetentionSettings, StoreSettings, read_store_settings, signing_key
from tests.support.paths import ROOT

ALL = """
cameras: {}
folder: events
database: postgresql://me:a-password@db.example.org/pelee
mqtt: {host: broker, username: me, password: "${BROKER_PASSWORD}", tls: true, topic: home/pelee}
webhooks:
  phone: {url: "https://example.org/hook", secret: "${HOOK_SECRET}", phases: begin, headers: {Authorization: Bearer x}}
json_lines: events.jsonl
retention: {days: 14, gigabytes: 20, rules: {people: {days: 90}}}
server: {port: 8100, api_keys: ["${API_KEY}"]}
"""
SECRETS = {"BROKER_PASSWORD": "broker-word-1", "HOOK_SECRET": "hook-secret-23456", "API_KEY": "key-of-16-letters"}


def read(text: str, rules: tuple[str, ...] = ("people",)) -> tuple[StoreSettings | None, list[str]]:
    document = YamlDocument.of_text(text, "watch.yaml")
    settings = read_store_settings(document, rules)
    assert "cameras" not in text or "cameras" in document.values
    return settings, document.faults


def test_all_sections(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    settings, faults = read(ALL)
    assert settings is not None and not faults
    assert settings.folder == Path("events") and settings.json_lines == Path("events.jsonl")
    assert settings.database == "postgresql+psycopg://me:a-password@db.example.org/pelee"
    assert settings.mqtt is not None
    assert (settings.mqtt.broker_port, settings.mqtt.password) == (8883, SECRETS["BROKER_PASSWORD"])
    hook = settings.webhooks["phone"]
    assert hook.phases == (Phase.BEGIN,) and hook.headers == {"Authorization": "Bearer x"}
    assert settings.retention.days_of("people") == 90 and settings.retention.days_of("cars") == 14
    serve = settings.server.serve_settings()
    assert (serve.port, serve.api_keys, serve.host) == (8100, (SECRETS["API_KEY"],), "127.0.0.1")
    shown = repr(settings)
    assert not [secret for secret in (*SECRETS.values(), "a-password", "Bearer") if secret in shown]


def test_defaults() -> None:
    settings, faults = read("cameras: {}\n")
    assert settings == StoreSettings() and not faults
    assert settings.database == "sqlite:///watch/watch.db" and settings.mqtt is None and settings.server.enabled


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("a/b.db", "sqlite:///a/b.db"),
        ("sqlite:////x/b.db", "sqlite:////x/b.db"),
        *(
            (f"{scheme}://h/d", "postgresql+psycopg://h/d")
            for scheme in ("postgres", "postgresql", "postgresql+psycopg")
        ),
    ],
)
def test_addresses_of_databases(given: str, expected: str) -> None:
    settings, _ = read(f"database: {given}\n")
    assert settings is not None and settings.database == expected


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("database: mysql://me:a-password@h/d", "line 1: database: begins with mysql://; expected a file,"),
        ("database: postgresql://me:a-password@h:x/d", "line 1: database: is no valid address"),
        ("database: ':memory:'", "line 1: database: is in memory and loses events; expected a file"),
        ("database: 'sqlite:///'", "line 1: database: is in memory and loses events; expected a file"),
        ("database: 'sqlite:///file:a?mode=memory&uri=true'", "line 1: database: is in memory and loses events"),
        ("database: sqlite://host/watch.db", "line 1: database: begins with sqlite://; expected a file,"),
        ("mqtt:\n  port: 1883", "line 1: mqtt: 'host' is missing"),
        ("mqtt:\n  host: b\n  port: 70000", "line 3: mqtt.port: found 70000; expected 0 to 65535"),
        ("mqtt:\n  host: b\n  topic: a/#", "line 3: mqtt.topic: 'a/#' is no topic"),
        ("mqtt:\n  host: b\n  password: a-password", "line 3: mqtt.password: a password without a username"),
        ("mqtt:\n  host: b\n  ca_file: x.pem", "line 3: mqtt.ca_file: a certificate authority without `tls: true`"),
        ("mqtt:\n  host: b\n  tls: yes\n  ca_file: x.pem", "line 4: mqtt.ca_file: x.pem: no such file"),
        ("mqtt:\n  host: b\n  passwort: a-password", "line 3: mqtt.passwort: unknown key; did you mean 'password'?"),
        ("webhooks:\n  a:\n    url: example.org", "line 3: webhooks.a.url: is no address such as"),
        ("webhooks:\n  a:\n    url: http://[x", "line 3: webhooks.a.url: is no valid address"),
        ("webhooks:\n  a:\n    url: http://x\n    secret: a-password", "line 4: webhooks.a.secret: has fewer than 16"),
        ("webhooks:\n  a:\n    url: http://x\n    secret: whsec_?a-password??", 'begins with "whsec_" and is no'),
        ("webhooks:\n  a:\n    url: http://x\n    phases: ended", "phases: found 'ended'; expected one of begin"),
        ("webhooks:\n  a:\n    url: http://x\n    headers:\n      A b: c", "line 5: webhooks.a.headers.A b: is no"),
        ("webhooks:\n  a:\n    url: http://x\n    timeout_s: 0", "timeout_s: found 0; expected more than 0"),
        ("json_lines: /dev/null", "line 1: json_lines: /dev/null: is no regular file"),
        ("retention:\n  days: -1", "line 2: retention.days: found -1; expected more than 0"),
        ("retention:\n  rules:\n    peple: {days: 1}", "retention.rules.peple: unknown rule; did you mean 'people'?"),
        ("retention:\n  free_gigabytes: -1", "retention.free_gigabytes: found -1; expected 0 or more"),
        ("server:\n  port: 70000", "line 2: server.port: found 70000; expected 0 to 65535"),
        ("server:\n  api_keys: a-password", "line 2: server.api_keys: a key is shorter than 16 characters"),
        ("server:\n  api_keys: ${NO_SUCH_NAME}", "line 2: server.api_keys: the environment has no variable"),
    ],
)  # fmt: skip
def test_a_fault_is_one_line_with_its_place_and_no_secret(text: str, fault: str) -> None:
    settings, faults = read(text + "\n")
    assert settings is None or "NO_SUCH_NAME" in text  # a fault that stood there before
    assert fault in faults[0] and faults[0].startswith("watch.yaml, line") and "\n" not in faults[0]
    assert "a-password" not in "".join(faults)


def test_keys_of_signatures() -> None:
    assert signing_key("whsec_c2VjcmV0") == b"secret" and signing_key("0123456789abcdef") == b"0123456789abcdef"


def test_the_settings_of_the_page_are_valid(monkeypatch: pytest.MonkeyPatch) -> None:
    page = (ROOT / "docs" / "watch.md").read_text(encoding="utf-8")
    examples = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    for name in set(re.findall(r"\$\{(\w+)\}", page)) - {"NAME"}:
        monkeypatch.setenv(name, "a-value-of-20-letters")
    found = [read(example) for example in examples]
    assert len(found) >= 4 and [faults for _, faults in found if faults] == []
    settings = next(one for one, _ in found if one is not None and one.mqtt is not None)
    assert f"`give_up_hours` ({settings.mqtt.give_up_hours:g})" in page and settings.mqtt.broker_port == 8883
    kept = next(one.retention for one, _ in found if one is not None and one.retention.gigabytes)
    assert (kept.days, kept.free_gigabytes) == (RetentionSettings().days, RetentionSettings().free_gigabytes)
