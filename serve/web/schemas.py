"""Pydantic models of queries, responses and /ws messages, for validation and the OpenAPI description.

Results themselves are built by `detection.inference.result_formats` and `pelee.classification.results`; the tests
compare these models with them field by field.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from detection.inference.thresholds import DETECTIONS_PER_IMAGE, NMS_THRESHOLD

Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]

MODEL = "A name of GET /models; the task's default model if not given."


class Error(BaseModel):
    """Error response."""

    code: str = Field(description="Error code, for programs.", examples=["unsupported_picture"])
    message: str = Field(description="What was found, what was expected and what to do, for people.")
    request_id: str = Field(description="Also in the header X-Request-ID and in the server's log.")


class Detection(BaseModel):
    """Detected object."""

    label: str = Field(examples=["dog"])
    class_id: int = Field(description="From 0; without a background class.", ge=0, examples=[11])
    score: Share = Field(examples=[0.93])
    box: list[float] = Field(
        description="x1, y1, x2, y2 in pixels of the upright image.",
        min_length=4,
        max_length=4,
        examples=[[48.1, 22.0, 310.7, 401.5]],
    )


class Detections(BaseModel):
    """Detections of one image, best first."""

    source: str = Field(description="Constant: file names are not used.", examples=["upload"])
    frame: int = Field(examples=[0])
    width: int = Field(description="Of the upright image, pixels.", ge=1, examples=[640])
    height: int = Field(ge=1, examples=[480])
    detections: list[Detection]


class FileError(BaseModel):
    """Error of one file of a batch."""

    code: str = Field(examples=["unreadable_picture"])
    message: str


class FailedFile(BaseModel):
    """Entry of a file without a result."""

    error: FileError


class BatchResult(BaseModel):
    """Results in the order of the files."""

    results: list[Detections | FailedFile]


class ScoredClass(BaseModel):
    """Class and its probability."""

    label: str = Field(examples=["tabby"])
    class_id: int = Field(ge=0, examples=[7])
    score: Share = Field(examples=[0.81])


class Classes(BaseModel):
    """Classification of one image, the most probable class first."""

    source: str = Field(examples=["upload"])
    width: int = Field(ge=1, examples=[640])
    height: int = Field(ge=1, examples=[480])
    classes: list[ScoredClass]


class ModelInfo(BaseModel):
    """Model of this server."""

    name: str = Field(examples=["pelee-voc"])
    task: Literal["detection", "classification"]
    class_names: list[str]
    input_size: int = Field(description="Side of the network's square input, pixels.", examples=[304])
    default_confidence: float | None = Field(description="Of detection, for requests without `conf`.", examples=[0.3])
    class_confidence: dict[str, float] | None = Field(
        description="Of detection, for requests without `conf`: minimum score by class, instead of "
        "`default_confidence`; null where that is for all classes.",
        examples=[{"cat": 0.35, "dog": 0.42}],
    )
    runtime: str | None = Field(description="Runtime, precision and device; null while the model is being loaded.")
    ready: bool


class ModelList(BaseModel):
    """All models, and each task's default."""

    models: list[ModelInfo]
    default: dict[str, str | None]


class State(BaseModel):
    """Health of the server."""

    status: Literal["ok", "ready"]


class DetectQuery(BaseModel):
    """Query parameters of /detect and /detect/batch."""

    model_config = ConfigDict(extra="forbid")

    model: str | None = Field(None, description=MODEL, max_length=200)
    conf: Share | None = Field(
        None, description="Minimum score, of all classes; the model's own, by class, if not given.", examples=[0.4]
    )
    iou: Share | None = Field(
        None,
        description="NMS threshold: of two boxes of a class with a larger IoU, the better one stays; the model's own, "
        f"usually {NMS_THRESHOLD}, if not given.",
        examples=[0.45],
    )
    classes: list[Annotated[str, Field(max_length=2000)]] | None = Field(
        None,
        description="Only these classes: names or ids, comma-separated or one in each `classes`.",
        max_length=1000,
        examples=[["dog,cat"], ["dog", "cat"]],
    )
    max_detections: int = Field(
        DETECTIONS_PER_IMAGE,
        description="Maximum number of detections an image, the best ones.",
        ge=1,
        le=DETECTIONS_PER_IMAGE,
        examples=[50],
    )

    tiles: Annotated[str, Field(max_length=100)] = Field(
        "off",
        description="Tiles to detect in beside the whole image, for small objects: off, auto, 2 (2 × 2), 2x3 (rows x "
        "columns), or several joined by +. Each counts as an image.",
        examples=["auto"],
    )

    @property
    def class_list(self) -> list[str] | None:
        """`classes` split at their commas; None for all classes."""
        names = [name.strip() for value in self.classes or () for name in value.split(",")]
        return [name for name in names if name] or None


class ClassifyQuery(BaseModel):
    """Query parameters of /classify."""

    model_config = ConfigDict(extra="forbid")

    model: str | None = Field(None, description=MODEL, max_length=200)
    top: int = Field(5, description="Maximum number of classes, the most probable ones.", ge=1, le=1000, examples=[3])


class FrameSettings(BaseModel):
    """Text message of /ws: options for the frames after it; a missing key means its default."""

    model_config = ConfigDict(extra="forbid", strict=True)

    type: Literal["settings"]
    model: Annotated[str, Field(max_length=200)] | None = None
    conf: Share | None = None
    iou: Share | None = None
    classes: Annotated[list[Annotated[str, Field(max_length=200)]], Field(max_length=1000)] | None = None
    tiles: Annotated[str, Field(max_length=100)] = "off"

    @property
    def class_list(self) -> list[str] | None:
        """`classes`; None for all classes."""
        return self.classes or None

    @property
    def max_detections(self) -> int:
        """Maximum number of detections a frame."""
        return DETECTIONS_PER_IMAGE


BINARY = {"type": "string", "format": "binary"}
IMAGE_BODY: dict[str, Any] = {
    "required": True,
    "description": "A JPEG, PNG, WebP or BMP, as the body or as a form's file; recognized by its content.",
    "content": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": ["file"],
                "additionalProperties": False,
                "properties": {"file": BINARY},
            }
        },
        "application/octet-stream": {"schema": BINARY},
    },
}
IMAGES_BODY: dict[str, Any] = {
    "required": True,
    "content": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": ["file"],
                "additionalProperties": False,
                "properties": {"file": {"type": "array", "items": BINARY}},
            }
        }
    },
}


def shell(command: str) -> list[dict[str, str]]:
    """Shell example for `x-codeSamples`."""
    return [{"lang": "Shell", "source": command}]
