"""Step times of two machines are not mixed."""

import pytest

from halosearch.errors import EnvironmentFault
from halosearch.run.anchor import check_device

DEVICE = {"torch": "2.13.0", "device": "CPU, x", "threads": 1, "python": "3.11"}


def test_the_version_of_python_does_not_matter_and_that_of_torch_does():
    check_device({"device": DEVICE}, DEVICE | {"python": "3.13"})
    with pytest.raises(EnvironmentFault, match="measured with torch"):
        check_device({"device": DEVICE}, DEVICE | {"torch": "2.14.0"})
