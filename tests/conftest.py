"""Fixtures that several test files share. Its being here also puts tests/ on the import path of tests/contract/."""

from pathlib import Path

import pytest
from hypothesis import settings
from subnet import Subnet, subnet

settings.register_profile("project", deadline=None)  # a busy machine is no failure
settings.load_profile("project")


@pytest.fixture
def net(tmp_path: Path) -> Subnet:
    """An embedded chain with two staked validators and three miners; the first epoch is in block 10."""
    return subnet(tmp_path)
