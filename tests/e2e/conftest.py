import pytest


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """Chromium, for the tests of a file."""
    from browser import chromium  # only where pages are looked at is selenium needed

    driver = chromium(tmp_path_factory.mktemp("profile"))
    yield driver
    driver.quit()
