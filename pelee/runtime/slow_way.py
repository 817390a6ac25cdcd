"""Hint for a model that runs in PyTorch on a CPU although a faster runtime could open its export."""

from pathlib import Path

from pelee.runtime.session import RuntimeOptions
from weights.store import find_exports, resolve


def slow_way(name_or_path: str | Path, session_name: str, options: RuntimeOptions) -> str | None:
    """Return one line that says why a model runs slowly and what makes it fast; None where it does not.

    Args:
        name_or_path: the model, as it was loaded.
        session_name: `Session.name`.
        options: the request; a runtime or a precision other than "auto" is the caller's choice and gives no hint.
    """
    words = session_name.split(" ")
    if (options.runtime, options.precision) != ("auto", "auto") or words[0] != "torch" or "cpu" not in words:
        return None
    model = resolve(name_or_path)
    if model.export is not None:
        return None
    slow = f"{model.card.name} runs in {session_name}, several times slower than an OpenVINO export"
    if options.size not in (None, model.card.input_size):
        return f"{slow}; exports have one size, {model.card.input_size}: leave out --input-size for a faster run"
    if find_exports(model):
        return f"{slow}; it has one: pip install pelee brings the runtime"
    folder = model.path.parent
    return (
        f"{slow}; make one with pelee-export --weights {folder} --format openvino --int8 --calibration DIR "
        f"--output {folder / 'openvino-int8'}, with DIR a folder of images like those of the training"
    )
