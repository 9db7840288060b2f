from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from ddpmcodec.errors import DdpmCodecError
from ddpmcodec.numerics.arguments import number_or_none


@pytest.mark.parametrize("value", [3, 3.0, np.float32(3), np.int16(3), Fraction(3)])
def test_real_numbers_are_python_s(value: Any):
    found = number_or_none(value, "quality")
    assert (found, type(found)) == (3.0, float)
    assert number_or_none(None, "quality") is None


@pytest.mark.parametrize("value", [10**400, -(10**400), True, "3", 3j, [3]])
def test_what_no_float_can_be_is_refused(value: Any):
    with pytest.raises(DdpmCodecError, match=r"quality .*: expected a number"):
        number_or_none(value, "quality")
