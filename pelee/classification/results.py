"""Result of a classification, and its conversion to supervision, dictionaries and JSON lines."""

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from supervision import Classifications


class ClassScore(NamedTuple):
    """A class of an image: its name, its id (0-based), and its probability, 0 to 1."""

    label: str
    class_id: int
    score: float


@dataclass(frozen=True, slots=True, eq=False)
class Classification:
    """Class probabilities of one image.

    Attributes:
        probabilities: (C,) float32, 0 to 1, one for each class; their sum is 1.
        class_names: C names in the order of the class ids.
    """

    probabilities: np.ndarray
    class_names: tuple[str, ...]

    @property
    def best(self) -> ClassScore:
        """The most probable class."""
        return self.top(1)[0]

    def top(self, k: int = 5) -> list[ClassScore]:
        """The k most probable classes in descending order; all of them where there are no more than k.

        Of two with the same probability the lower id comes first.
        """
        order = np.argsort(-self.probabilities, kind="stable")[: max(k, 0)]
        return [ClassScore(self.class_names[label], int(label), float(self.probabilities[label])) for label in order]

    def to_supervision(self) -> "Classifications":
        """All classes as `supervision.Classifications`, in the order of their ids; its `get_top_k` sorts them."""
        from supervision import Classifications

        return Classifications(class_id=np.arange(len(self.probabilities)), confidence=self.probabilities)


def to_dict(source: str, width: int, height: int, result: Classification, k: int = 5) -> dict[str, Any]:
    """An image's k best classes as plain values, scores to 4 digits: a line of `--json` and the body of `/classify`.

    `width` and `height` are those of the image in pixels, as `data.images.image_io.read_image` returns it.
    """
    classes = [
        {"label": label, "class_id": class_id, "score": round(score, 4)} for label, class_id, score in result.top(k)
    ]
    return {"source": source, "width": width, "height": height, "classes": classes}


def to_json_line(source: str, width: int, height: int, result: Classification, k: int = 5) -> str:
    """`to_dict` as one line of JSON without its newline, ASCII only: file names survive pipes of any encoding."""
    return json.dumps(to_dict(source, width, height, result, k), allow_nan=False)
