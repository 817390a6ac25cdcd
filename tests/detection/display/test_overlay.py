"""Overlays: signal loss, status line, several images side by side."""

from detection.display.overlay import draw_signal_loss, draw_status, side_by_side
from tests.support.rectangle_session import RED, picture


def test_a_mark_darkens_and_never_hides_the_frame() -> None:
    image = picture(320, 240, (20, 20, 100, 100))
    before = image.copy()
    copy = draw_signal_loss(image, "no signal for 3 s, reconnecting (2)")
    assert (image == before).all() and copy.shape == image.shape
    assert tuple(copy[50, 50] > 0) == (True, True, True) and copy[50, 50, 0] > 2 * copy[50, 50, 1]  # still the red box
    band = copy[112:128]
    assert (band == 255).any() and (band[..., 0].astype(int) - band[..., 1]).max() > 100


def test_numbers_stand_at_the_top_left_only() -> None:
    image = picture(320, 240, (20, 100, 100, 200))
    drawn = draw_status(image.copy(), "camera 30.0/s  age 45 ms")
    assert (drawn[:20] != image[:20]).any() and (drawn[40:] == image[40:]).all()


def test_several_images_side_by_side() -> None:
    wide, tall = picture(320, 160, (0, 0, 320, 160)), picture(100, 200, (0, 0, 100, 200), (20, 20, 230))
    assert side_by_side([wide]) is wide
    grid = side_by_side([wide, tall, None])
    assert grid.shape == (2 * 320, 2 * 640, 3)
    assert tuple(grid[100, 100]) == RED and tuple(grid[100, 640 + 50]) == (20, 20, 230)
    assert (grid[:320, 640 + 200 :] == 96).all() and (grid[320:] == 96).all()
