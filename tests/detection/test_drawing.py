import numpy as np
import pytest
import supervision as sv

from detection.drawing import COLORS, annotate, draw, label_text, text_style

GREY = 128


def detections(boxes: list, labels: list | None = None, scores: list | None = None) -> sv.Detections:
    labels = [0] * len(boxes) if labels is None else labels
    return sv.Detections(
        xyxy=np.array(boxes, np.float32).reshape(-1, 4),
        confidence=np.array([0.87] * len(boxes) if scores is None else scores, np.float32),
        class_id=np.array(labels, np.int64),
        data={"class_name": np.array(["motorbike"] * len(boxes), dtype=str)},
    )


def grey(width: int, height: int) -> np.ndarray:
    return np.full((height, width, 3), GREY, np.uint8)


def rgb(color: str) -> list[int]:
    return [int(color[start : start + 2], 16) for start in (1, 3, 5)]


def test_the_image_itself_stays_and_nothing_is_drawn_for_nothing() -> None:
    image = grey(100, 80)
    image.flags.writeable = False
    drawn = annotate(image, detections([]))
    assert (drawn == GREY).all() and drawn is not image and drawn.flags.writeable
    assert (annotate(image, detections([[10, 30, 60, 70]])) != GREY).any()
    assert (image == GREY).all()


@pytest.mark.parametrize("label", [0, 5, 19])
def test_edges_have_their_class_colour_in_rgb(label: int) -> None:
    drawn = annotate(grey(600, 600), detections([[100, 200, 400, 500]], [label]))
    assert drawn[500, 250].tolist() == rgb(COLORS[label])
    assert drawn[350, 100].tolist() == rgb(COLORS[label])
    assert drawn[350, 250].tolist() == [GREY] * 3


def test_class_colours_begin_again_after_the_last() -> None:
    first, again = (annotate(grey(300, 300), detections([[50, 80, 250, 250]], [label])) for label in (3, 23))
    np.testing.assert_array_equal(first, again)


@pytest.mark.parametrize("size", [(64, 48), (640, 480), (3000, 2000)])
@pytest.mark.parametrize("corner", [(0, 0), (1, 0), (0, 1), (1, 1)])
def test_a_label_in_a_corner_stays_whole(size: tuple[int, int], corner: tuple[int, int]) -> None:
    """The ground behind the letters is there to its last column and first row."""
    width, height = size
    side = min(size) // 8
    x, y = corner[0] * (width - side), corner[1] * (height - side)
    boxes = detections([[x, y, x + side, y + side]])
    drawn = annotate(grey(width, height), boxes)
    scale, thickness, padding = text_style(width, height, ["motorbike 0.87"])
    import cv2

    text_width, text_height = cv2.getTextSize("motorbike 0.87", cv2.FONT_HERSHEY_SIMPLEX, scale, thickness)[0]
    assert text_width + 2 * padding <= width + 1
    ground = rgb(COLORS[0])
    top = max(y - text_height - 2 * padding, 0)
    left = min(x, max(width - 1 - text_width - 2 * padding, 0))
    row = drawn[top + 1, left + 1 : left + text_width + 2 * padding - 1]  # the padding above the letters
    assert (np.abs(row.astype(int) - ground).max(axis=1) <= 2).all()
    column = drawn[top + 1 : top + text_height + 2 * padding - 1, left + text_width + 2 * padding - 1]
    assert (np.abs(column.astype(int) - ground).max(axis=1) <= 2).all()


def test_text_grows_with_the_image_and_shrinks_only_to_fit() -> None:
    labels = ["person 0.99"]
    assert text_style(4000, 3000, labels)[0] > text_style(640, 480, labels)[0] >= 0.4
    assert text_style(40, 40, labels)[0] < 0.4


def test_the_better_one_is_on_top_in_any_order() -> None:
    boxes, labels, scores = [[50, 60, 150, 160], [50, 60, 150, 160]], [0, 1], [0.3, 0.9]
    one = annotate(grey(200, 200), detections(boxes, labels, scores))
    other = annotate(grey(200, 200), detections(boxes, labels[::-1], scores[::-1]))
    assert one[160, 100].tolist() == other[160, 100].tolist() == rgb(COLORS[1])


def test_a_box_of_the_whole_image_shows_all_four_edges() -> None:
    drawn = annotate(grey(300, 200), detections([[0, 0, 300, 200]]))
    edges = (drawn[199, 150], drawn[100, 0], drawn[100, 299], drawn[0, 299])
    assert all(edge.tolist() == rgb(COLORS[0]) for edge in edges)


def test_without_names_the_id_is_the_label() -> None:
    assert label_text(7, 0.499) == "7 0.50"
    nameless = sv.Detections(
        xyxy=np.array([[10, 40, 90, 90]], np.float32), confidence=np.array([0.5]), class_id=np.array([7])
    )
    named = detections([[10, 40, 90, 90]], [7], [0.5])
    named.data["class_name"] = np.array(["7"])
    np.testing.assert_array_equal(annotate(grey(120, 120), nameless), annotate(grey(120, 120), named))


@pytest.mark.parametrize("seed", range(12))
def test_it_draws_what_supervision_draws(seed: int) -> None:
    """Its two annotators, given RGB, with the same style: pixel for pixel, where no label has to be moved."""
    rng = np.random.default_rng(seed)
    width, height = (int(size) for size in rng.integers(300, 900, 2))
    corner = rng.uniform((0, 80), (width - 210, height - 120), (6, 2))  # room above for a label
    boxes = np.concatenate([corner, corner + rng.uniform(20, 110, (6, 2))], axis=1)
    found = detections(boxes.tolist(), rng.integers(0, 25, 6).tolist(), np.sort(rng.uniform(0, 1, 6)).tolist())
    image = rng.integers(0, 255, (height, width, 3), dtype=np.uint8)

    labels = [label_text("motorbike", score) for score in found.confidence]
    scale, thickness, padding = text_style(width, height, labels)
    palette = sv.ColorPalette([sv.Color(*rgb(color)[::-1]) for color in COLORS])
    luma = [float(np.dot((0.299, 0.587, 0.114), rgb(color))) for color in COLORS]
    ink = sv.ColorPalette([sv.Color.BLACK if light > 140 else sv.Color.WHITE for light in luma])
    line = -(-min(width, height) // 240)
    scene = sv.BoxAnnotator(color=palette, thickness=line).annotate(image.copy(), found)
    expected = sv.LabelAnnotator(
        color=palette, text_color=ink, text_scale=scale, text_thickness=thickness, text_padding=padding
    ).annotate(scene, found, labels)
    np.testing.assert_array_equal(annotate(image, found), expected)


@pytest.mark.parametrize("corner", [(60, 60), (0, 0), (150, 118), (-20, 500)])
def test_names_in_other_scripts_are_drawn_with_a_font_that_has_them(corner: tuple[int, int]) -> None:
    """OpenCV would draw a question mark for each character, the same for all names."""
    drawn = []
    for name in ("собака", "кошка!", "??????"):
        scene = np.zeros((120, 200, 3), np.uint8)
        box = np.array([[*corner, corner[0] + 40, corner[1] + 30]], np.float32)
        draw(scene, box, np.array([0.9]), np.array([0]), [name])
        drawn.append(scene)
    assert not np.array_equal(drawn[0], drawn[1]) and not np.array_equal(drawn[0], drawn[2])
    white = (drawn[0] > 220).all(axis=2).sum()
    assert 0.5 < white / (drawn[2] > 220).all(axis=2).sum() < 4
