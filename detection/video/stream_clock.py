"""Clock of a stream: time stamps to wall time."""

DRIFT = 1e-4  # by how much a camera's clock may run slower than ours: 100 ppm
JUMP = 10.0  # seconds: stamps that differ by more have begun anew


class Clock:
    """When frames were taken, by their stamps: the least time that any of them took to come is taken for all.

    What a frame took longer it spent waiting somewhere on its way, and that counts for its age.
    """

    def __init__(self) -> None:
        """Begin with the first frame."""
        self._offset: float | None = None
        self._last = 0.0

    def captured(self, stamp: float | None, now: float) -> float:
        """Return the time at which a frame was taken that comes `now`; both in seconds."""
        if stamp is None:
            return now
        offset = now - stamp
        if self._offset is None or offset - self._offset > JUMP:
            self._offset = offset
        else:
            self._offset = min(offset, self._offset + DRIFT * (now - self._last))
        self._last = now
        return stamp + self._offset

    def early(self, stamp: float, now: float) -> float:
        """Return how many seconds a frame comes too soon, where frames come in bursts; 0 begins the clock anew."""
        if self._offset is None or abs(stamp + self._offset - now) > JUMP or stamp + self._offset < now - 1:
            self._offset = now - stamp
        return max(0.0, stamp + self._offset - now)
