"""The shapes that a result takes outside: `supervision.Detections`, and a line of JSON."""

import json
from collections.abc import Sequence
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np

from detection.inference.prediction import Prediction

if TYPE_CHECKING:
    from supervision import Detections

    from detection.tracking.tracker import Tracked


def to_detections(prediction: Prediction, class_names: Sequence[str]) -> "Detections":
    """Return a prediction as `supervision.Detections`, its names in `data["class_name"]`; an empty one has all keys."""
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
    """Return one picture's result as plain values: boxes rounded to 0.1 pixel, scores to 4 digits.

    `time` is in seconds from the start of a video; the result of a picture, None, has none.
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
    tracked: "Tracked | None" = None,
) -> str:
    """Return what `to_dict` does as a line of JSON without its newline, in ASCII: any file name survives any pipe.

    With tracks, their prediction takes the place of `prediction`, and the line has "track_id" and "counts".
    """
    if tracked is None:
        result = to_dict(source, frame, width, height, prediction, class_names, time=time)
    else:
        found = to_dict(source, frame, width, height, tracked.prediction, class_names, time=time)
        result = with_tracks(found, tracked)
    return json.dumps(result, allow_nan=False)


def with_tracks(result: dict[str, Any], tracked: "Tracked") -> dict[str, Any]:
    """Return a result of `to_dict` with `track_id` in each detection and `counts` at its end."""
    numbers = [number if number > 0 else None for number in tracked.ids.tolist()]
    detections = [
        detection | {"track_id": number} for detection, number in zip(result["detections"], numbers, strict=True)
    ]
    return result | {"detections": detections, "counts": tracked.counts}
