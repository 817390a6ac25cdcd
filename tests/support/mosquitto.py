"""Debian's Mosquitto, an MQTT broker, started for a test; and a subscriber that notes all messages."""

import contextlib
import secrets
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

PROGRAM = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin")
PASSWORDS = shutil.which("mosquitto_passwd")


class Published(NamedTuple):
    topic: str
    payload: bytes
    retain: bool
    qos: int


class Broker:
    """Broker on a port of its own, which may be stopped and started.

    Attributes:
        certificate: file of its certificate with TLS, which is its own authority.
        user: name and password that it wants; None for nobody's.
    """

    def __init__(self, folder: Path, user: tuple[str, str] | None = None, tls: bool = False) -> None:
        if PROGRAM is None:
            pytest.skip("Mosquitto is not installed: apt-get install mosquitto")
        folder.mkdir(parents=True)
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            self.port = int(listener.getsockname()[1])
        self.user = user
        self.certificate: Path | None = folder / "cert.pem" if tls else None
        lines = [f"listener {self.port} 127.0.0.1", "user root", f"allow_anonymous {'false' if user else 'true'}"]
        lines += ["persistence true", f"persistence_location {folder}/", "autosave_interval 1"]
        if user is not None:
            assert PASSWORDS is not None
            subprocess.run([PASSWORDS, "-c", "-b", folder / "passwords", *user], check=True, capture_output=True)
            lines.append(f"password_file {folder / 'passwords'}")
        if tls:
            make_certificate(folder)
            lines += [f"certfile {folder / 'cert.pem'}", f"keyfile {folder / 'key.pem'}"]
        self.settings = folder / "mosquitto.conf"
        self.settings.write_text("\n".join(lines) + "\n")
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        assert PROGRAM is not None
        self.process = subprocess.Popen([PROGRAM, "-c", self.settings], stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 20
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                assert self.process.poll() is None and time.monotonic() < deadline, "the broker did not start"
                time.sleep(0.02)

    def stop(self) -> None:
        """Stop it; it keeps the sessions of its clients, which it would lose with kill -9."""
        if self.process is not None:
            self.process.terminate()
            self.process.wait(20)
            self.process = None


def make_certificate(folder: Path) -> None:
    """Write cert.pem and key.pem for localhost and 127.0.0.1."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    names = "subjectAltName=DNS:localhost,IP:127.0.0.1"
    key = ["-newkey", "rsa:2048", "-nodes", "-keyout", folder / "key.pem", "-out", folder / "cert.pem"]
    command = ["openssl", "req", "-x509", "-days", "1", "-subj", "/CN=localhost", "-addext", names, *key]
    subprocess.run(command, check=True, capture_output=True)


@contextlib.contextmanager
def running_broker(folder: Path, user: tuple[str, str] | None = None, tls: bool = False) -> Iterator[Broker]:
    broker = Broker(folder, user, tls)
    broker.start()
    try:
        yield broker
    finally:
        broker.stop()


class Subscriber:
    """Client with a session that the broker keeps: it gets what was published while it was away."""

    def __init__(self, broker: Broker, topic: str = "#") -> None:
        self.messages: list[Published] = []
        self._subscribed = threading.Event()
        self._topic = topic
        self._client = paho.Client(CallbackAPIVersion.VERSION2, f"test-{secrets.token_hex(4)}", clean_session=False)
        if broker.user is not None:
            self._client.username_pw_set(*broker.user)
        if broker.certificate is not None:
            self._client.tls_set(str(broker.certificate), cert_reqs=ssl.CERT_REQUIRED)
        self._client.reconnect_delay_set(1, 1)
        self._client.on_connect = lambda client, *_: client.subscribe(self._topic, qos=1)
        self._client.on_subscribe = lambda *_: self._subscribed.set()
        self._client.on_message = self._note
        self._client.connect("127.0.0.1", broker.port)
        self._client.loop_start()
        assert self._subscribed.wait(20), "the subscriber was not let in"

    def _note(self, client: paho.Client, data: object, message: paho.MQTTMessage) -> None:
        self.messages.append(Published(message.topic, message.payload, message.retain, message.qos))

    def of(self, topic: str) -> list[Published]:
        return [one for one in list(self.messages) if one.topic == topic]

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()
