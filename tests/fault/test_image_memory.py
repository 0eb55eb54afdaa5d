"""Too little memory for a picture is a limit, said as such, whoever noticed it: decoder, libvips or an encoder. S0-39"""
import pytest
from kervan import BINARY, Kervan
from pictures import _vips, noise_png

pytestmark = pytest.mark.skipif("asan" in str(BINARY) or "tsan" in str(BINARY), reason="sanitizers have no memory limit")


def test_every_shortage_is_a_limit():
    photo = _vips(noise_png(4000, 3000, 1), "jpg", "[Q=60]")
    ends = []
    for megabytes in (128, 160, 180, 200, 220):
        with Kervan({"IMAGE_MEMORY_MB": str(megabytes)}) as k:
            media = k.upload_raw(photo, "foto.jpg").json()
            ends.append(k.wait_status(media["id"], "READY", "FAILED"))
    assert {(m["status"], m["error"]) for m in ends} <= {("FAILED", "image_limit"), ("READY", None)}, [(m["error"], m["error_detail"]) for m in ends]
    assert ends[0]["status"] == "FAILED"
