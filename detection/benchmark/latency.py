"""Latency and throughput of detectors on the same images, in interleaved rounds so that drift affects all equally."""

import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from data.errors import SettingsError, WeightsError
from data.images.preprocess import preprocess
from detection.detector import Detector
from detection.inference.options import DetectionOptions, model_options
from detection.inference.stage_timer import StageTimer
from weights.store import ModelFile, find_exports, resolve

WARMUP_CALLS = 5  # untimed calls before the first round
PAUSE = 0.3  # seconds between cases: idle threads of the previous runtime spin for up to 0.2
ROUND_WARMUP_CALLS = 2  # untimed calls at the start of each round: the caches hold another network
ROUNDS = 5
SECONDS = 2.0  # of full load a round


@dataclass(eq=False)
class BenchmarkCase:
    """A detector to time, from images in memory to boxes.

    Attributes:
        name: runtime, precision and device, such as "openvino int8 CPU".
        batch: images per call.
        call: detects in `batch` (H, W, 3) uint8 RGB images.
        detector: with a stage timer; None for baselines.
        choice: weights, runtime, device and precision; None for baselines.
        times: seconds of each timed call.
        rates: images per second with several requests in flight, one value per round.
    """

    name: str
    batch: int
    call: Callable[[list[np.ndarray]], object]
    detector: Detector | None = None
    choice: dict[str, str] | None = None
    times: list[float] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)

    def flags(self) -> list[str]:
        """Flags of `pelee-detect` for the same runtime."""
        return [word for name, value in (self.choice or {}).items() for word in (f"--{name}", value)]

    def load(self, mode: str) -> Detector:
        """Load the same detector in another mode."""
        choice = dict(self.choice or {})
        name = choice.pop("weights")
        return Detector.load(name, **choice, mode=mode)  # type: ignore[arg-type]

    def row(self) -> dict[str, Any]:
        """Results as plain values: milliseconds per call (`p50_ms`, `p95_ms`) and per stage."""
        milliseconds = 1000 * np.array(self.times)
        row: dict[str, Any] = {
            "name": self.name,
            "batch": self.batch,
            "p50_ms": round(float(np.percentile(milliseconds, 50)), 3),
            "p95_ms": round(float(np.percentile(milliseconds, 95)), 3),
            "pictures_per_s": round(self.batch * len(self.times) / sum(self.times), 2),
        }
        if self.detector is not None:
            row["stages_ms"] = {name: round(value, 3) for name, value in self.detector.timer.medians().items()}
        if self.rates:
            row["in_flight_pictures_per_s"] = round(median(self.rates), 2)
        return row


def own_cases(
    weights: Sequence[str],
    runtimes: Sequence[str],
    precisions: Sequence[str],
    device: str,
    batches: Sequence[int],
) -> tuple[list[BenchmarkCase], list[str]]:
    """Cases of all available runtimes, precisions and batch sizes, and a line for each that is absent."""
    cases: dict[tuple[str, int], BenchmarkCase] = {}
    absent = []
    for runtime in runtimes:
        for precision in precisions:
            reason = ""
            for model in weights:
                choice = {"weights": model, "runtime": runtime, "device": device, "precision": precision}
                try:
                    detector = Detector.load(model, runtime=runtime, device=device, precision=precision)
                except (SettingsError, WeightsError) as error:
                    reason = reason or str(error)
                    continue
                for batch in batches:
                    name = detector.runtime.name
                    # A timer per case; the runtime, which is large, is shared.
                    own = Detector(detector.runtime, detector.card)
                    cases.setdefault((name, batch), BenchmarkCase(name, batch, _finder(own), own, choice))
                reason = ""
                break
            if reason:
                absent.append(f"{runtime} {precision}: {reason}")
    return list(cases.values()), absent


def _finder(detector: Detector) -> Callable[[list[np.ndarray]], object]:
    confidence = detector.card.default_thresholds
    return lambda images: detector.predict_batch(images, confidence)


def time_calls(cases: Sequence[BenchmarkCase], images: Sequence[np.ndarray], repeats: int) -> None:
    """Time `repeats` calls of each case, in interleaved rounds, after a warm-up."""
    for case in cases:
        for number in range(WARMUP_CALLS):
            case.call(_part(images, case.batch, number))
        if case.detector is not None:
            case.detector.timer = StageTimer()
    for number in range(ROUNDS):
        for case in cases:
            time.sleep(PAUSE)
            detector = case.detector
            timer = detector.timer if detector is not None else None
            for call in range(-ROUND_WARMUP_CALLS, _share(repeats, number)):
                if detector is not None and timer is not None:
                    detector.timer = timer if call >= 0 else StageTimer()
                part = _part(images, case.batch, number * repeats + call)
                start = time.perf_counter()
                case.call(part)
                if call >= 0:
                    case.times.append(time.perf_counter() - start)


def time_in_flight(cases: Sequence[BenchmarkCase], seconds: float) -> None:
    """Measure the throughput of the network alone with several requests in flight, for each own case of batch 1."""
    loaded = [(one, one.load("throughput")) for one in cases if one.choice is not None and one.batch == 1]
    for _ in range(ROUNDS):
        for case, detector in loaded:
            time.sleep(PAUSE)
            case.rates.append(async_throughput(detector, seconds))


def async_throughput(detector: Detector, seconds: float) -> float:
    """Images per second of a detector's network alone, with asynchronous requests of its preferred batch size."""
    runtime = detector.runtime
    shape = (runtime.batch, runtime.input_size, runtime.input_size, 3)
    images = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    flying: deque[Future[Any]] = deque()
    for _ in range(runtime.parallel + 1):
        runtime.submit(images).result()
    count, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        flying.append(runtime.submit(images))
        count += runtime.batch
        if len(flying) > runtime.parallel:
            flying.popleft().result()
    for future in flying:
        future.result()
    return count / (time.perf_counter() - start)


def raw_throughput(model: ModelFile, seconds: float) -> float:
    """Images per second of an OpenVINO model alone, as `benchmark_app -hint throughput -infer_precision f32` measures.

    Uses OpenVINO's asynchronous queue; inputs are set once and outputs are not read.
    """
    from pelee.runtime.openvino_session import import_openvino, open_core

    openvino = import_openvino()
    core = open_core()
    size = model.card.input_size
    network = core.read_model(model.path)
    network.reshape([1, size, size, 3])
    settings = {"PERFORMANCE_HINT": "THROUGHPUT", "INFERENCE_PRECISION_HINT": "f32"}
    queue = openvino.AsyncInferQueue(core.compile_model(network, "CPU", settings))
    image = np.random.default_rng(0).integers(0, 256, (1, size, size, 3), np.uint8)
    for _ in range(2 * len(queue)):
        queue.start_async({0: image})
    queue.wait_all()
    done, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        queue.start_async()
        done += 1
    queue.wait_all()
    return done / (time.perf_counter() - start)


def openvino_model(name: str) -> ModelFile | None:
    """OpenVINO export that a detector uses by default, or None."""
    model = resolve(name)
    found = [model] if model.export is not None else find_exports(model)
    fitting = [one for one in found if one.export is not None and one.export.format == "openvino"]
    return min(fitting, key=lambda one: one.export is not None and one.export.precision != "int8", default=None)


def time_nms(detector: Detector, images: Sequence[np.ndarray], repeats: int) -> dict[str, float]:
    """Postprocessing time per image in ms: median at the card's threshold, and the slowest image at 0.01.

    The slowest is the image of the largest median over `repeats`.
    """
    defaults = model_options(detector.card)
    found: dict[str, list[float]] = {"default": [], "at_0.01": []}
    for image in images:
        outputs = detector.runtime(
            preprocess(np.ascontiguousarray(image), detector.input_size, detector.card.resize)[None]
        )
        size = [(image.shape[1], image.shape[0])]
        for name, search in (("default", defaults), ("at_0.01", DetectionOptions(confidence=0.01))):
            own = Detector(detector.runtime, detector.card)
            for _ in range(repeats):
                own.postprocess(outputs, size, search)
            found[name].append(own.timer.medians()["postprocess"])
    return {"default": median(found["default"]), "worst_at_0.01": max(found["at_0.01"])}


def measure_map(detector: Detector, dataset: str, root: Path, split: str) -> dict[str, float]:
    """VOC's 11-point mAP and COCO's AP of a detector on a split, in percent."""
    from data.datasets.registry import open_dataset
    from detection.evaluation.evaluate import evaluate
    from detection.evaluation.label_mapping import label_map, relabel

    data = open_dataset(dataset, root, split)
    mapping = label_map(detector.class_names, data.class_names)
    found = evaluate(lambda images: [relabel(one, mapping) for one in detector.predict_batch(images)], data)
    return {"map_11point": 100 * found.voc.map_11point, "coco_ap": 100 * found.coco.numbers["AP"]}


def _part(images: Sequence[np.ndarray], batch: int, number: int) -> list[np.ndarray]:
    """Images of one call; successive calls cycle through all images."""
    return [images[(number * batch + index) % len(images)] for index in range(batch)]


def _share(repeats: int, number: int) -> int:
    """Number of the `repeats` calls that belong to a round."""
    return repeats * (number + 1) // ROUNDS - repeats * number // ROUNDS
