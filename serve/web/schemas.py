"""The shapes of the service's answers, for its OpenAPI description and for the messages of /ws."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from detection.inference.nms import IOU

Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


class Error(BaseModel):
    """Every answer that is not the one asked for."""

    code: str = Field(description="What went wrong, for a program.", examples=["unsupported_picture"])
    message: str = Field(description="What was found, what was expected and what to do, for a person.")
    request_id: str = Field(description="Also in the header X-Request-ID and in the server's log.")


class Detection(BaseModel):
    """An object that was found."""

    label: str = Field(examples=["dog"])
    class_id: int = Field(description="From 0; there is no background.", ge=0, examples=[11])
    score: Share = Field(examples=[0.93])
    box: list[float] = Field(
        description="x1, y1, x2, y2 in pixels of the upright picture.",
        min_length=4,
        max_length=4,
        examples=[[48.1, 22.0, 310.7, 401.5]],
    )


class Detections(BaseModel):
    """What was found in a picture, best first."""

    source: str = Field(description="Always the same: a file's name is not used.", examples=["upload"])
    frame: int = Field(examples=[0])
    width: int = Field(description="Of the upright picture, pixels.", ge=1, examples=[640])
    height: int = Field(ge=1, examples=[480])
    detections: list[Detection]


class Failure(BaseModel):
    """Why a file of several has no result."""

    code: str = Field(examples=["unreadable_picture"])
    message: str


class Failed(BaseModel):
    """Stands for a file that has no result."""

    error: Failure


class Batch(BaseModel):
    """Results in the order of the files."""

    results: list[Detections | Failed]


class ClassScore(BaseModel):
    """A class and its probability."""

    label: str = Field(examples=["tabby"])
    class_id: int = Field(ge=0, examples=[7])
    score: Share = Field(examples=[0.81])


class Classes(BaseModel):
    """What a picture shows, the most probable class first."""

    source: str = Field(examples=["upload"])
    width: int = Field(ge=1, examples=[640])
    height: int = Field(ge=1, examples=[480])
    classes: list[ClassScore]


class ModelInfo(BaseModel):
    """A model that this server has."""

    name: str = Field(examples=["pelee-voc"])
    task: Literal["detection", "classification"]
    class_names: list[str]
    input_size: int = Field(description="Side of the network's square input, pixels.", examples=[304])
    default_confidence: float | None = Field(description="Of detection, where a request names none.", examples=[0.3])
    runtime: str | None = Field(description="Where it runs; null while it is being loaded.")
    ready: bool


class ModelList(BaseModel):
    """All models, and those that are taken where a request names none."""

    models: list[ModelInfo]
    default: dict[str, str | None]


class State(BaseModel):
    """That the server is well."""

    status: Literal["ok", "ready"]


class FrameSettings(BaseModel):
    """The text message of /ws that says what to look for in the frames after it; what it leaves out is the default."""

    model_config = ConfigDict(extra="forbid", strict=True)

    type: Literal["settings"]
    model: Annotated[str, Field(max_length=200)] | None = None
    conf: Share | None = None
    iou: Share = IOU
    classes: Annotated[list[Annotated[str, Field(max_length=200)]], Field(max_length=1000)] | None = None


PICTURE_BODY: dict[str, Any] = {
    "required": True,
    "description": "A JPEG, PNG, WebP or BMP, as the body or as a form's file; its content says what it is.",
    "content": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": ["file"],
                "properties": {"file": {"type": "string", "format": "binary"}},
            }
        },
        "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
    },
}
PICTURES_BODY: dict[str, Any] = {
    "required": True,
    "content": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": ["file"],
                "properties": {"file": {"type": "array", "items": {"type": "string", "format": "binary"}}},
            }
        }
    },
}


def shell(command: str) -> list[dict[str, str]]:
    """An example that can be pasted, for `x-codeSamples`."""
    return [{"lang": "Shell", "source": command}]
