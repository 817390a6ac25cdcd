import sys

from pelee.diagnosis import peripherals


def test_display(monkeypatch):
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setenv("DISPLAY", ":7")
    assert peripherals.display()[0] == "DISPLAY=:7"
    monkeypatch.delenv("DISPLAY")
    assert peripherals.display() == ("none: DISPLAY is not set", {"display": None, "variable": None})
    monkeypatch.setattr(sys, "platform", "darwin")
    assert peripherals.display()[1] == {"display": "darwin"}


def test_cameras(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(peripherals, "CAMERAS", tmp_path)
    monkeypatch.setattr(peripherals, "CAMERA_NAMES", tmp_path / "names")
    assert peripherals.cameras()[1] == {"devices": []}
    for name in ("video10", "video2", "video-none"):
        (tmp_path / name).touch()
    (tmp_path / "names" / "video2").mkdir(parents=True)
    (tmp_path / "names" / "video2" / "name").write_text("Integrated Camera\n")
    monkeypatch.setattr(peripherals.os, "access", lambda path, mode: path.name == "video2")
    assert peripherals.cameras()[0] == (
        f"{tmp_path}/video2 (Integrated Camera), {tmp_path}/video10 (unknown, no permission)"
    )
    monkeypatch.setattr(sys, "platform", "win32")
    assert peripherals.cameras()[1] == {"devices": None}


def test_codecs(monkeypatch):
    monkeypatch.setattr(peripherals, "DECODERS", ("h264", "no-such-codec"))
    text, details = peripherals.codecs()
    assert text.startswith("reads h264 (not no-such-codec); writes libx264 ")
    assert details["decoders"] == {"h264": True, "no-such-codec": False} and details["libavcodec"]
