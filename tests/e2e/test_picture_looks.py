"""Variants look as the original does, to a browser. S0-20 S0-71"""
import zlib

import pytest

from browser import looks
from pictures import flat_png, gif_of, grey_profile, jpeg_of, noise_png, on_canvas, rgb_profile, with_profile

pytestmark = pytest.mark.threads


@pytest.fixture
def browser(kervan, browser):
    browser.get(kervan.url("/api/v1/health/live"))
    return browser


def premultiplied(pixel):
    return [c * pixel[3] / 255 for c in pixel[:3]] + pixel[3:]


def check_variants(kervan, browser, picture, filename):
    """Returns what the original looks like."""
    media = kervan.wait_ready(kervan.upload(picture, filename).json()["id"])
    original = looks(browser, kervan.url(media["url"]))
    assert original["size"] == [media["width"], media["height"]]
    assert {v["format"] for v in media["variants"]} == {"webp", "avif"}
    for v in media["variants"]:
        variant = looks(browser, kervan.url(v["url"]))
        assert variant["size"] == [v["width"], v["height"]]
        assert premultiplied(variant["middle"]) == pytest.approx(premultiplied(original["middle"]), abs=8), (v["format"], v["width"])
    return original


def test_profile_of_other_colours_is_ignored(kervan, browser):
    """A grey profile in a colour JPEG."""
    picture = with_profile(jpeg_of(flat_png(400, 300, (200, 120, 40))), grey_profile())
    assert check_variants(kervan, browser, picture, "taranan.jpg")["middle"] == pytest.approx([200, 120, 40, 255], abs=4)


@pytest.mark.parametrize("profile,pixel", [(rgb_profile, (50000, 30000, 10000, 32768)), (grey_profile, (20000, 32768))])
def test_transparency_of_16_bits_beside_a_profile(kervan, browser, profile, pixel):
    picture = flat_png(400, 300, pixel, 16, [(b"iCCP", b"x\0\0" + zlib.compress(profile()))])
    assert check_variants(kervan, browser, picture, "yari.png")["middle"][3] == 128


@pytest.mark.parametrize("canvas", [(700, 500), (800, 600)], ids=str)
def test_canvas_around_a_gif_is_transparent(kervan, browser, canvas):
    """800 x 600 is one of the sizes that libvips takes for a lie."""
    picture = on_canvas(gif_of(noise_png(200, 150)), *canvas, left=450, top=330)
    original = check_variants(kervan, browser, picture, "kesik.gif")
    assert original == {"size": list(canvas), "middle": [0, 0, 0, 0]}
