import pytest
from evaluation.products import Products, make_products


@pytest.fixture(scope="session")
def products(tmp_path_factory: pytest.TempPathFactory) -> Products:
    return make_products(tmp_path_factory.mktemp("products"))
