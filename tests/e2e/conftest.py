import pytest


@pytest.fixture(scope="module")
def chromium_of_file(tmp_path_factory):
    from browser import chromium  # only where pages are looked at is selenium needed

    driver = chromium(tmp_path_factory.mktemp("profile"))
    yield driver
    driver.quit()


@pytest.fixture
def browser(chromium_of_file):
    """Chromium, one for the tests of a file; no page of another test is open, and its console is empty."""
    chromium_of_file.get("about:blank")
    chromium_of_file.get_log("browser")
    return chromium_of_file
