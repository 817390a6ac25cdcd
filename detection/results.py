"""The shapes that a result takes outside: `supervision.Detections`, and a line of JSON."""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from detection.postprocess import Prediction

if TYPE_CHECKING:
    from supervision import Detections


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
    source: str, frame: int, width: int, height: int, prediction: Prediction, class_names: Sequence[str]
) -> dict[str, Any]:
    """Return one picture's result as plain values: boxes rounded to 0.1 pixel, scores to 4 digits."""
    return {
        "source": source,
        "frame": frame,
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


def to_json_line(
    source: str, frame: int, width: int, height: int, prediction: Prediction, class_names: Sequence[str]
) -> str:
    """Return one picture's result as a line of JSON without its newline, in ASCII: any file name survives any pipe."""
    return json.dumps(to_dict(source, frame, width, height, prediction, class_names), allow_nan=False)
