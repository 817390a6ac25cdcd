"""Result formats: `supervision.Detections` and JSON Lines."""

import json
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np

from detection.inference.prediction import Prediction

if TYPE_CHECKING:
    from supervision import Detections


def to_detections(prediction: Prediction, class_names: Sequence[str]) -> "Detections":
    """`supervision.Detections` of a prediction, class names in `data["class_name"]`; an empty one has all keys."""
    from supervision import Detections  # 0.7 s that only those who draw or track pay

    return Detections(
        xyxy=prediction.boxes.astype(np.float32).reshape(-1, 4),
        confidence=prediction.scores.astype(np.float32),
        class_id=prediction.labels.astype(np.int64),
        data={"class_name": np.array(class_names, dtype=str)[prediction.labels]},
    )


def to_dict(
    source: str,
    frame: int,
    width: int,
    height: int,
    prediction: Prediction,
    class_names: Sequence[str],
    *,
    time: Fraction | float | None = None,
) -> dict[str, Any]:
    """Result of one image as plain values: boxes rounded to 0.1 pixel, scores to 4 digits.

    `time` is in seconds from the start of a video; None for a still image, whose result has no "time".
    """
    result: dict[str, Any] = {"source": source, "frame": frame}
    if time is not None:
        result["time"] = round(float(time), 3)
    result |= {
        "width": width,
        "height": height,
        "detections": [
            {
                "label": class_names[label],
                "class_id": label,
                "score": round(score, 4),
                "box": [round(value, 1) + 0.0 for value in box],  # + 0.0 makes -0.0 a plain zero
            }
            for box, score, label in zip(*(part.tolist() for part in prediction), strict=True)
        ],
    }
    return result


def to_json_line(
    source: str,
    frame: int,
    width: int,
    height: int,
    prediction: Prediction,
    class_names: Sequence[str],
    *,
    time: Fraction | float | None = None,
    track_ids: np.ndarray | None = None,
    counts: Mapping[str, Any] | None = None,
) -> str:
    """JSON line of one image's result: `to_dict` without a newline, in ASCII, so that any file name survives any pipe.

    Args:
        source, frame, width, height, prediction, class_names, time: as for `to_dict`.
        track_ids: (n,) integers, one per detection, 0 or less for a detection without a track; each detection then has
            "track_id", null where there is none. None without tracking.
        counts: counts of the source so far, written as "counts"; None without tracking.
    """
    result = to_dict(source, frame, width, height, prediction, class_names, time=time)
    if track_ids is not None:
        result["detections"] = [
            detection | {"track_id": number if number > 0 else None}
            for detection, number in zip(result["detections"], track_ids.tolist(), strict=True)
        ]
    if counts is not None:
        result["counts"] = counts
    return json.dumps(result, allow_nan=False)
