import cv2
import numpy as np
import pytest
from bag_maker import START_NS, compressed, picture

from seg2d3d_ros.io import pictures

BGR = np.random.default_rng(3).integers(0, 256, (6, 8, 3)).astype(np.uint8)
GREY = BGR[:, :, 0].copy()
ALPHA = np.dstack([BGR, np.full((6, 8), 7, np.uint8)])


@pytest.mark.parametrize(
    ("encoding", "pixels", "expected"),
    [
        ("bgr8", BGR, BGR),
        ("rgb8", BGR[:, :, ::-1], BGR),
        ("8UC3", BGR, BGR),
        ("bgra8", ALPHA, BGR),
        ("rgba8", ALPHA[:, :, [2, 1, 0, 3]], BGR),
        ("mono8", GREY, GREY),
        ("8UC1", GREY, GREY),
        ("mono16", GREY.astype(np.uint16) * 256 + 99, GREY),
    ],
)
def test_decode_image_lossless_encoding_returns_the_same_pixels(encoding, pixels, expected):
    image, reason = pictures.decode_image(picture(START_NS, pixels, encoding)[1])
    assert reason == ""
    np.testing.assert_array_equal(image, expected)


@pytest.mark.parametrize(
    ("pattern", "first"), [("rggb", 2), ("bggr", 0), ("gbrg", 1), ("grbg", 1)]
)
def test_decode_image_bayer_of_pure_red_becomes_red(pattern, first):
    pixels = np.zeros((8, 8), np.uint8)
    i = pattern.index("r")
    pixels[i // 2 :: 2, i % 2 :: 2] = 200
    image, _ = pictures.decode_image(picture(START_NS, pixels, f"bayer_{pattern}8")[1])
    blue, green, red = image[2:6, 2:6].reshape(-1, 3).astype(int).T
    assert red.min() >= 190 and green.max() <= 10 and blue.max() <= 10


@pytest.mark.parametrize(("encoding", "y_at"), [("yuv422", 1), ("yuv422_yuy2", 0), ("uyvy", 1)])
def test_decode_image_yuv422_of_grey_ramp_returns_the_ramp(encoding, y_at):
    ramp = np.linspace(30, 220, 8).astype(np.uint8)
    pixels = np.full((4, 8, 2), 128, np.uint8)
    pixels[:, :, y_at] = ramp
    image, _ = pictures.decode_image(picture(START_NS, pixels, encoding)[1])
    expected = (ramp.astype(float) - 16) * 255 / 219  # BT.601 studio swing, rounded to one level
    assert np.abs(image - expected[None, :, None]).max() <= 1.5


def test_decode_image_padded_rows_are_cut():
    padded = np.zeros((6, 40), np.uint8)
    padded[:, :24] = BGR.reshape(6, 24)
    message = picture(START_NS, BGR, "bgr8", step=40, data=padded.ravel())[1]
    np.testing.assert_array_equal(pictures.decode_image(message)[0], BGR)


def test_decode_image_big_endian_mono16_is_swapped():
    pixels = (GREY.astype(np.uint16) * 256).astype(">u2")
    message = picture(START_NS, pixels, "mono16", is_bigendian=1)[1]
    np.testing.assert_array_equal(pictures.decode_image(message)[0], GREY)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"data": np.zeros(30, np.uint8)}, "bad_size"),
        ({"data": np.zeros(0, np.uint8)}, "bad_size"),
        ({"step": 3}, "bad_size"),
        ({"height": 0}, "bad_size"),
        ({"encoding": "32FC1"}, "unknown_encoding"),
        ({"encoding": "vendor_secret"}, "unknown_encoding"),
    ],
)
def test_decode_image_contradiction_gives_reason_and_no_picture(changes, reason):
    message = picture(START_NS, BGR, **changes)[1]
    assert pictures.decode_image(message) == (None, reason)


def test_decode_compressed_png_is_lossless_and_jpeg_near():
    png = cv2.imencode(".png", BGR)[1].tobytes()
    np.testing.assert_array_equal(
        pictures.decode_compressed(compressed(START_NS, png, "bgr8; png compressed")[1])[0], BGR
    )
    smooth = cv2.resize(BGR, (64, 48), interpolation=cv2.INTER_CUBIC)
    jpeg = cv2.imencode(".jpg", smooth, [cv2.IMWRITE_JPEG_QUALITY, 98])[1].tobytes()
    image, _ = pictures.decode_compressed(compressed(START_NS, jpeg)[1])
    # JPEG subsamples colour: only brightness is held to a few grey levels
    a, b = (cv2.cvtColor(i, cv2.COLOR_BGR2GRAY).astype(int) for i in (image, smooth))
    assert np.abs(a - b).mean() < 3


def test_decode_compressed_readable_pixels_matter_more_than_the_name_of_the_format():
    png = cv2.imencode(".png", BGR)[1].tobytes()
    np.testing.assert_array_equal(pictures.decode_compressed(compressed(1, png, "x")[1])[0], BGR)


def test_decode_compressed_grey_png_stays_grey_and_alpha_is_dropped():
    png = cv2.imencode(".png", GREY)[1].tobytes()
    np.testing.assert_array_equal(pictures.decode_compressed(compressed(1, png)[1])[0], GREY)
    png = cv2.imencode(".png", ALPHA)[1].tobytes()
    np.testing.assert_array_equal(pictures.decode_compressed(compressed(1, png)[1])[0], BGR)


@pytest.mark.parametrize(
    ("data", "format", "reason"),
    [
        (b"", "jpeg", "bad_size"),
        (b"\xff\xd8\xff\xe0rubbish", "jpeg", "decode_error"),
        (b"rubbish", "rgb8; png compressed bgr8", "decode_error"),
        (b"rubbish", "", "decode_error"),
        (b"abc", "16UC1; compressedDepth png", "unknown_encoding"),
        (b"\0\0\0\1\x67\x42", "h264", "unknown_encoding"),
        (b"\xff\x0a\x12", "rgb8; jpegxl compressed bgr8", "unknown_encoding"),
    ],
)
def test_decode_compressed_broken_gives_reason(data, format, reason):
    assert pictures.decode_compressed(compressed(1, data, format)[1]) == (None, reason)


def test_decode_labels_keeps_sixteen_bits():
    labels = np.array([[11001, 7], [26002, 65535]], np.uint16)
    found, _ = pictures.decode_labels(picture(START_NS, labels, "16UC1")[1])
    assert found.dtype == np.uint16
    np.testing.assert_array_equal(found, labels)


def test_decode_labels_of_a_colour_picture_gives_reason():
    assert pictures.decode_labels(picture(START_NS, BGR)[1]) == (None, "unknown_encoding")


def test_read_picture_damaged_or_missing_file_gives_reason(tmp_path):
    (tmp_path / "a.png").write_bytes(cv2.imencode(".png", BGR)[1].tobytes()[:40])
    (tmp_path / "b.png").write_bytes(b"")
    assert pictures.read_picture(tmp_path / "a.png") == (None, "decode_error")
    assert pictures.read_picture(tmp_path / "b.png") == (None, "bad_size")
    assert pictures.read_picture(tmp_path / "c.png") == (None, "decode_error")
