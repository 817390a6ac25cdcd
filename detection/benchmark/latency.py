"""How fast networks are beside each other: the same pictures through each, in turns, so that drift hits all alike."""

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
from detection.inference.options import Search
from detection.inference.stage_timer import StageTimer
from weights.store import ModelFile, find_exports, resolve

WARMUP_CALLS = 5  # calls before the first that counts
PAUSE = 0.3  # seconds between cases: threads of the one before wait for more work at full speed for up to 0.2
ROUND_WARMUP_CALLS = 2  # calls that do not count at the begin of each round: another network was in the caches
ROUNDS = 5
SECONDS = 2.0  # of full load a round


@dataclass(eq=False)
class BenchmarkCase:
    """One way from pictures in memory to their boxes.

    Attributes:
        name: what runs it, such as "openvino int8 CPU".
        batch: pictures a call.
        call: takes as many (H, W, 3) uint8 RGB pictures, and finds boxes.
        detector: of ours, whose timer tells the stages; None for others.
        choice: weights, runtime, device and precision that give it; None for others.
        times: seconds of each call that counts.
        rates: pictures a second with as many in flight as it takes, a number a round.
    """

    name: str
    batch: int
    call: Callable[[list[np.ndarray]], object]
    detector: Detector | None = None
    choice: dict[str, str] | None = None
    times: list[float] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)

    def flags(self) -> list[str]:
        """Flags of `pelee-detect` that run the same."""
        return [word for name, value in (self.choice or {}).items() for word in (f"--{name}", value)]

    def load(self, mode: str) -> Detector:
        """One of ours again, in another mode."""
        choice = dict(self.choice or {})
        name = choice.pop("weights")
        return Detector.load(name, **choice, mode=mode)  # type: ignore[arg-type]

    def row(self) -> dict[str, Any]:
        """What was measured, as plain values: milliseconds a call (`p50_ms`, `p95_ms`) and of its stages."""
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
    """Every runtime and precision that one of the models has, at every batch size; a line for each that is absent."""
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
                    # A timer of its own for each: the runtime, which is large, is shared.
                    own = Detector(detector.runtime, detector.card)
                    cases.setdefault((name, batch), BenchmarkCase(name, batch, _finder(own), own, choice))
                reason = ""
                break
            if reason:
                absent.append(f"{runtime} {precision}: {reason}")
    return list(cases.values()), absent


def _finder(detector: Detector) -> Callable[[list[np.ndarray]], object]:
    confidence = detector.card.default_confidence
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
    """Measure each of our cases at batch 1 with several pictures in flight, the bare network, in rounds."""
    loaded = [(one, one.load("throughput")) for one in cases if one.choice is not None and one.batch == 1]
    for _ in range(ROUNDS):
        for case, detector in loaded:
            time.sleep(PAUSE)
            case.rates.append(async_throughput(detector, seconds))


def async_throughput(detector: Detector, seconds: float) -> float:
    """Pictures a second of a detector's bare network, kept full with as many a call as it takes best."""
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
    """Pictures a second of an OpenVINO model alone, as `benchmark_app -hint throughput -infer_precision f32` has it.

    OpenVINO's own asynchronous queue, inputs set once, outputs never looked at.
    """
    from pelee.runtime.openvino_session import import_openvino

    openvino = import_openvino()
    core = openvino.Core()
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
    """The OpenVINO export that a detector takes by default, None where there is none."""
    model = resolve(name)
    found = [model] if model.export is not None else find_exports(model)
    fitting = [one for one in found if one.export is not None and one.export.format == "openvino"]
    return min(fitting, key=lambda one: one.export is not None and one.export.precision != "int8", default=None)


def time_nms(detector: Detector, images: Sequence[np.ndarray], repeats: int) -> dict[str, float]:
    """Milliseconds of postprocessing a picture: the median at the card's threshold, and the worst picture's at 0.01.

    The worst is the picture whose median over `repeats` is the highest.
    """
    defaults = Search(confidence=detector.card.default_confidence)
    found: dict[str, list[float]] = {"default": [], "at_0.01": []}
    for image in images:
        outputs = detector.runtime(preprocess(np.ascontiguousarray(image), detector.input_size)[None])
        size = [(image.shape[1], image.shape[0])]
        for name, search in (("default", defaults), ("at_0.01", Search(confidence=0.01))):
            own = Detector(detector.runtime, detector.card)
            for _ in range(repeats):
                own.postprocess(outputs, size, search)
            found[name].append(own.timer.medians()["postprocess"])
    return {"default": median(found["default"]), "worst_at_0.01": max(found["at_0.01"])}


def measure_map(detector: Detector, dataset: str, root: Path, split: str) -> dict[str, float]:
    """VOC's 11-point mAP and COCO's AP of a detector on a split, in per cent."""
    from data.datasets.registry import open_dataset
    from detection.evaluation.evaluate import evaluate
    from detection.evaluation.label_mapping import label_map, relabel

    data = open_dataset(dataset, root, split)
    mapping = label_map(detector.class_names, data.class_names)
    found = evaluate(lambda images: [relabel(one, mapping) for one in detector.predict_batch(images)], data)
    return {"map_11point": 100 * found.voc.map_11point, "coco_ap": 100 * found.coco.numbers["AP"]}


def _part(images: Sequence[np.ndarray], batch: int, number: int) -> list[np.ndarray]:
    """The pictures of one call; calls go through all of them in turn."""
    return [images[(number * batch + index) % len(images)] for index in range(batch)]


def _share(repeats: int, number: int) -> int:
    """How many of `repeats` calls fall into a round."""
    return repeats * (number + 1) // ROUNDS - repeats * number // ROUNDS
