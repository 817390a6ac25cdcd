"""Frame numbers of H.264 (`frame_num`): detection of reference frames that were lost whole.

The decoder conceals a lost frame without an error; all frames until the next key frame are then wrong.
"""

import re

_NAL = re.compile(rb"\x00\x00\x01(.)", re.DOTALL)
_HEADER = 32  # bytes of a slice that hold its frame number
_LONGEST = 1024  # bytes of a sequence parameter set up to the number's length
_SLICE, _KEY_SLICE, _PARAMETERS = 1, 5, 7  # NAL unit types
#: Profiles whose sequence parameter set has the chroma format and the scaling matrices (7.3.2.1.1).
_HIGH = frozenset({100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135})


class FrameNumbers:
    """Check of the frame numbers of successive access units (ITU-T H.264, section 7.4.3)."""

    def __init__(self, extradata: bytes | None = None) -> None:
        """Take the parameter sets in Annex B format, where they are known beforehand."""
        self._bits = 0  # of a frame number; 0 until a parameter set came, or where gaps are allowed
        self._planes = False  # slices also have a color plane's number
        self._reference: int | None = None  # frame number of the last reference frame
        self.gap(extradata or b"")

    def gap(self, unit: bytes) -> bool:
        """Return whether a reference frame is missing between the unit before and this one, in Annex B format."""
        for found in _NAL.finditer(unit):
            kind, reference = found[1][0] & 31, found[1][0] >> 5 & 3
            if kind == _PARAMETERS:
                self._read_parameters(unit[found.end() : found.end() + _LONGEST])
            elif kind in (_SLICE, _KEY_SLICE):
                return self._check(unit[found.end() : found.end() + _HEADER], kind == _KEY_SLICE, reference > 0)
        return False

    def _check(self, data: bytes, key: bool, reference: bool) -> bool:
        if self._bits == 0:
            return False
        bits = _Bits(data)
        bits.exp_golomb()  # first_mb_in_slice
        bits.exp_golomb()  # slice_type
        bits.exp_golomb()  # pic_parameter_set_id
        bits.read(2 * self._planes)
        number, before = bits.read(self._bits), self._reference
        if reference:
            self._reference = number
        return not key and before is not None and number not in (before, (before + 1) % (1 << self._bits))

    def _read_parameters(self, data: bytes) -> None:
        """Read a sequence parameter set (7.3.2.1.1) as far as the length of a frame number."""
        bits = _Bits(data)
        profile = bits.read(8)
        bits.read(16)
        bits.exp_golomb()
        self._planes = False
        if profile in _HIGH:
            chroma = bits.exp_golomb()
            if chroma == 3:
                self._planes = bool(bits.read(1))
            bits.exp_golomb()
            bits.exp_golomb()
            bits.read(1)
            if bits.read(1):
                for index in range(12 if chroma == 3 else 8):
                    if bits.read(1):
                        bits.skip_scaling_list(16 if index < 6 else 64)
        self._bits = bits.exp_golomb() + 4
        kind = bits.exp_golomb()  # pic_order_cnt_type
        if kind == 0:
            bits.exp_golomb()
        elif kind == 1:
            bits.read(1)
            bits.exp_golomb()
            bits.exp_golomb()
            for _ in range(bits.exp_golomb()):
                bits.exp_golomb()
        bits.exp_golomb()  # max_num_ref_frames
        if bits.read(1):  # gaps_in_frame_num_value_allowed_flag: temporal layers may be left out
            self._bits = 0


class _Bits:
    """Reader of the bits of a NAL unit's payload, without the emulation prevention bytes; zeros after its end."""

    def __init__(self, data: bytes) -> None:
        data = data.replace(b"\x00\x00\x03", b"\x00\x00")
        self._value, self._left = int.from_bytes(data, "big"), 8 * len(data)

    def read(self, count: int) -> int:
        self._left -= count
        if self._left < 0:
            return 0
        return self._value >> self._left & (1 << count) - 1

    def exp_golomb(self) -> int:
        """Read an unsigned Exp-Golomb code (9.1)."""
        zeros = 0
        while zeros < 32 and not self.read(1):
            zeros += 1
        return (1 << zeros) - 1 + self.read(zeros)

    def skip_scaling_list(self, size: int) -> None:
        """Skip a scaling list (7.3.2.1.1.1)."""
        last = following = 8
        for _ in range(size):
            if following:
                code = self.exp_golomb()
                following = (last + (code + 1 >> 1) * (1 if code & 1 else -1)) % 256
            last = following or last
