"""However a stream is cut, it is known when it stands between two messages."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from protocol.bounds import Bounds
from tests.support.frames import frame


@given(st.lists(st.binary(max_size=40), max_size=8), st.lists(st.integers(1, 60), max_size=20))
def test_the_cuts_make_no_difference(bodies: list[bytes], cuts: list[int]) -> None:
    stream = b"".join(frame("d", body) for body in bodies)
    ends = {sum(5 + len(body) for body in bodies[:n]) for n in range(len(bodies) + 1)}
    bounds = Bounds()
    at = 0
    for cut in [*cuts, len(stream)]:
        bounds.passed(stream[at : at + cut])
        at = min(at + cut, len(stream))
        assert bounds.between == (at in ends)


@given(st.binary(max_size=200), st.integers(0, 200))
def test_noise_is_gone_through(noise: bytes, cut: int) -> None:
    whole, parts = Bounds(), Bounds()
    whole.passed(noise)
    parts.passed(noise[:cut])
    parts.passed(noise[cut:])
    assert whole.between == parts.between
