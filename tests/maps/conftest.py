import pytest
from maps.galaxy_products import Galaxy, make_galaxy


@pytest.fixture(scope="session")
def galaxy(tmp_path_factory: pytest.TempPathFactory) -> Galaxy:
    return make_galaxy(tmp_path_factory.mktemp("galaxy"))
