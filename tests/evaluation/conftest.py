from collections.abc import Callable
from typing import Any

import pytest
from evaluation.products import Products, make_products


@pytest.fixture(scope="session")
def products(tmp_path_factory: pytest.TempPathFactory) -> Products:
    return make_products(tmp_path_factory.mktemp("products"))


@pytest.fixture
def make() -> Callable[..., Any]:
    return make_products
