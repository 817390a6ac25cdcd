"""Stream clock: capture times from the timestamps of a stream."""

DRIFT = 1e-4  # largest drift of a camera's clock, as a share: 100 ppm
JUMP = 10.0  # seconds; a larger difference is a restart of the timestamps


class Clock:
    """Map from timestamps to the local clock, by the smallest transport delay of any frame so far.

    A frame's additional delay was spent in queues on its way, and counts for its age.
    """

    def __init__(self) -> None:
        """Start without an offset; the first frame sets it."""
        self._offset: float | None = None
        self._last = 0.0

    def captured(self, stamp: float | None, now: float) -> float:
        """Return the capture time of a frame that arrives `now`; all in seconds, on the clock of `now`."""
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
        """Return by how many seconds a frame arrives before its time, in a stream whose frames arrive in bursts.

        A jump of the timestamps, or a frame that is over a second late, restarts the clock; the result is then 0.
        """
        if self._offset is None or abs(stamp + self._offset - now) > JUMP or stamp + self._offset < now - 1:
            self._offset = now - stamp
        return max(0.0, stamp + self._offset - now)
