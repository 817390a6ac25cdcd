"""Registry of inference runtimes and export formats; every list of them elsewhere is read from here.

A further runtime is a row of `BACKENDS` with the function that opens its session. A further format is a row of
`FORMATS` with its writer, and its file suffix in `weights.export_manifest.SUFFIXES`. Functions are named by dotted path
"module:function" and imported when they are called, so that this module imports no runtime.
"""

import importlib.util
from dataclasses import dataclass

from data.errors import SettingsError


@dataclass(frozen=True, slots=True)
class Backend:
    """Descriptor of a runtime.

    Attributes:
        name: the value of --runtime, and the first word of `Session.name`.
        module: top-level module; the runtime is installed if it can be found.
        formats: export formats that it opens, its native one first; keys of `FORMATS`.
        requirement: what pip installs to get it.
        opener: function (export, build, input_size, options) -> Session, by dotted path. `export` is a `ModelFile`,
            None for a model's own weights, whose torch graph `build()` returns; `options` is a `RuntimeOptions`.
        runs_weights: whether it runs a model's own weights, without an export.
        service_batch: largest batch that the service collects by default; 1 where larger ones gain nothing.
    """

    name: str
    module: str
    formats: tuple[str, ...]
    requirement: str
    opener: str
    runs_weights: bool = False
    service_batch: int = 8

    @property
    def installed(self) -> bool:
        """Whether the runtime's module can be found; it is not imported."""
        return importlib.util.find_spec(self.module) is not None


@dataclass(frozen=True, slots=True)
class ExportFormat:
    """Descriptor of an export format.

    Attributes:
        writer: function (path, graph, input_size, metadata, calibration) by dotted path.
        libraries: distributions whose versions determine the file; they are recorded in the manifest.
        int8: whether the writer takes a calibration.
        nms: whether the writer appends the graph's NMS.
        extra: extra of the package with all that the export needs.
    """

    writer: str
    libraries: tuple[str, ...]
    int8: bool = True
    nms: bool = True
    extra: str = "export"


#: Runtimes by name, in the order of preference.
BACKENDS: dict[str, Backend] = {
    backend.name: backend
    for backend in (
        Backend(
            "openvino",
            "openvino",
            ("openvino", "onnx"),
            "pelee",
            "pelee.runtime.openvino_session:open_backend",
            service_batch=1,
        ),
        Backend(
            "onnxruntime",
            "onnxruntime",
            ("onnx",),
            "'pelee[onnxruntime]'",
            "pelee.runtime.onnxruntime_session:open_backend",
        ),
        Backend("litert", "ai_edge_litert", ("litert",), "'pelee[litert]'", "pelee.runtime.mobile_session:open_litert"),
        Backend("ncnn", "ncnn", ("ncnn",), "'pelee[ncnn]'", "pelee.runtime.mobile_session:open_ncnn"),
        Backend(
            "torch",
            "torch",
            ("torchscript",),
            "'pelee[train]'",
            "pelee.runtime.torch_session:open_backend",
            runs_weights=True,
        ),
    )
}
#: Export formats by name; their suffixes are in `weights.export_manifest.SUFFIXES`.
FORMATS: dict[str, ExportFormat] = {
    "onnx": ExportFormat("pelee.export.formats:write_onnx", ("torch", "onnx", "onnxscript")),
    "openvino": ExportFormat("pelee.export.formats:write_openvino", ("torch", "onnx", "onnxscript", "openvino")),
    "torchscript": ExportFormat("pelee.export.formats:write_torchscript", ("torch",), int8=False),
    "litert": ExportFormat(
        "pelee.export.mobile_formats:write_litert", ("torch", "litert-torch"), int8=False, nms=False, extra="litert"
    ),
    "ncnn": ExportFormat(
        "pelee.export.mobile_formats:write_ncnn", ("torch", "pnnx"), int8=False, nms=False, extra="ncnn"
    ),
}


def runtime_names() -> tuple[str, ...]:
    """Values of --runtime: "auto" and every runtime."""
    return ("auto", *BACKENDS)


def session_backend(session_name: str) -> Backend | None:
    """Backend of a session, by the first word of `Session.name`; None for a session of another origin."""
    return BACKENDS.get(session_name.split(" ")[0])


def check_format(form: str, *, int8: bool = False, nms: bool = False) -> None:
    """Raise `SettingsError` for an unknown export format, or one without the int8 or NMS that is asked for."""
    if form not in FORMATS:
        raise SettingsError(f"unknown format {form!r}, expected one of {', '.join(FORMATS)}")
    if int8 and not FORMATS[form].int8:
        others = " or ".join(name for name, entry in FORMATS.items() if entry.int8)
        raise SettingsError(f"{form} has no int8 here; take {others}")
    if nms and not FORMATS[form].nms:
        raise SettingsError(f"{form} has no non-maximum suppression in its graph; add --no-nms")
