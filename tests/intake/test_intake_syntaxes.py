"""Every encoding that a hospital sends gives the same pixels; one without a decoder names what to install."""

from __future__ import annotations

import base64
import io
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow
from pydicom import dcmread, dcmwrite
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    MPEG2MPML,
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from medseg.errors import ImageError, MedsegError
from medseg.intake import read_image

Make = Callable[..., Path]

STORED = (np.arange(256).reshape(16, 16) * 7 - 300).astype(np.int16)
HTJ2K = base64.b64decode(
    "/0//UQApQAAAAAAQAAAAEAAAAAAAAAAAAAAAEAAAABAAAAAAAAAAAAABjwEB/1AACAACAAAACv9SAAwAAgABAAUEBEAB/1wAEyCI"
    "kJCQkJCQkJCQkJCQiIiI/2QAFwABT3BlbkpQSCBWZXIgMC4yNi4zLv+QAAoAAAAAAHUAAf+TwAAl5gGHdAAAwAASwAASgP4Ah3QA"
    "/gKHdADAABLAABMA3gACdAD88wCDVADAABPAABVA7u6gp8J1APbt7e3AMYHstgDAACrgABaIJEmS58Cnp6dCeADeXq/X6/V6/YhA"
    "e/YhAey6AP/Z"
)
"""STORED in High-Throughput JPEG 2000, reversible: written by OpenJPH 0.26.3 through imagecodecs 2026.3.6."""


def native(file: Dataset, syntax: UID) -> None:
    little = syntax != ExplicitVRBigEndian
    file.PixelData = STORED.astype("<i2" if little else ">i2").tobytes()
    file.file_meta.TransferSyntaxUID = syntax


def compressed(file: Dataset, syntax: UID) -> None:
    file.compress(syntax, generate_instance_uid=False)


def by_gdcm(file: Dataset, syntax: UID) -> None:
    """GDCM's own writer, of which our reader sees only the file."""
    import gdcm

    buffer = Path(file.filename)
    file.save_as(buffer)
    reader, change = gdcm.ImageReader(), gdcm.ImageChangeTransferSyntax()
    reader.SetFileName(str(buffer))
    assert reader.Read()
    change.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.GetTSType(str(syntax))))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer = gdcm.ImageWriter()
    writer.SetFileName(str(buffer))
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    assert writer.Write()
    written = dcmread(buffer)
    file.PixelData, file.file_meta.TransferSyntaxUID = written.PixelData, syntax
    file["PixelData"].VR = "OB"


def ready(file: Dataset, syntax: UID) -> None:
    file.PixelData, file.file_meta.TransferSyntaxUID = encapsulate([HTJ2K]), syntax
    file["PixelData"].VR = "OB"


@pytest.mark.parametrize(
    ("syntax", "encode"),
    [
        (ExplicitVRLittleEndian, native),
        (ImplicitVRLittleEndian, native),
        (DeflatedExplicitVRLittleEndian, native),
        (ExplicitVRBigEndian, native),
        (RLELossless, compressed),
        (JPEGLosslessSV1, by_gdcm),
        (JPEGLSLossless, by_gdcm),
        (JPEG2000Lossless, by_gdcm),
        (HTJ2KLossless, ready),
    ],
    ids=["explicit", "implicit", "deflated", "big-endian", "rle", "jpeg", "jpeg-ls", "jpeg2000", "htj2k"],
)
def test_the_pixels_are_the_same_whatever_the_encoding(
    tmp_path: Path, make_dicom: Make, syntax: UID, encode: Callable[[Dataset, UID], None]
) -> None:
    if syntax == HTJ2KLossless:
        pytest.importorskip("openjpeg", reason="pip install 'medseg[codecs]'")
    path = make_dicom(tmp_path / "a.dcm", STORED, RescaleSlope=2, RescaleIntercept=-1000)
    file = dcmread(path)
    encode(file, syntax)
    order = {"implicit_vr": syntax.is_implicit_VR, "little_endian": syntax.is_little_endian}
    dcmwrite(tmp_path / "b.dcm", file, **order, force_encoding=True)
    assert dcmread(tmp_path / "b.dcm").file_meta.TransferSyntaxUID == syntax
    np.testing.assert_array_equal(read_image(tmp_path / "b.dcm").array[0, ..., 0], STORED.T * 2 - 1000)


def test_baseline_jpeg_is_what_a_jpeg_reader_sees(tmp_path: Path, make_dicom: Make) -> None:
    grey, stream = (STORED % 256).astype(np.uint8), io.BytesIO()
    grey = np.sort(grey, axis=1)
    Pillow.fromarray(grey).save(stream, format="JPEG", quality=95)
    file = dcmread(make_dicom(tmp_path / "a.dcm", grey, kind="DX"))
    file.PixelData, file.file_meta.TransferSyntaxUID = encapsulate([stream.getvalue()]), JPEGBaseline8Bit
    file["PixelData"].VR = "OB"
    file.save_as(tmp_path / "b.dcm")
    with Pillow.open(stream) as picture:
        np.testing.assert_allclose(read_image(tmp_path / "b.dcm").array[0].T, np.asarray(picture), atol=1)


def test_a_missing_decoder_is_told_with_its_package(
    tmp_path: Path, make_dicom: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pydicom.pixels.decoders import base

    file = dcmread(make_dicom(tmp_path / "a.dcm", STORED))
    ready(file, HTJ2KLossless)
    file.save_as(tmp_path / "b.dcm")
    monkeypatch.setattr(base.Decoder, "is_available", property(lambda self: False))
    told = r"b\.dcm: the decoder .* not installed; got High-Throughput JPEG 2000.*pip install 'medseg\[codecs\]'"
    with pytest.raises(ImageError, match=told):
        read_image(tmp_path / "b.dcm")


def test_a_video_has_no_decoder(tmp_path: Path, make_dicom: Make) -> None:
    file = dcmread(make_dicom(tmp_path / "a.dcm", STORED))
    ready(file, MPEG2MPML)
    file.save_as(tmp_path / "b.dcm")
    with pytest.raises(ImageError, match=r"no decoder exists.*got MPEG2"):
        read_image(tmp_path / "b.dcm")


def test_a_deflated_bomb_is_refused_before_it_is_inflated(
    tmp_path: Path, make_dicom: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """200 MB of zeros in 200 kB, with the limit brought down to 100 MB."""
    from medseg.intake import dicom_header

    path = make_dicom(tmp_path / "a.dcm", STORED)
    file = dcmread(path)
    file.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    file.save_as(path)
    start = path.read_bytes()
    body = 144 + int.from_bytes(start[140:144], "little")
    deflater = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    bomb = b"".join(deflater.compress(bytes(1 << 20)) for _ in range(200)) + deflater.flush()
    path.write_bytes(start[:body] + bomb)
    monkeypatch.setattr(dicom_header, "MOST_INFLATED_BYTES", 10**8)
    with pytest.raises(ImageError, match=r"a\.dcm: inflates without an end in sight; got more than 0\.1 GB"):
        read_image(path)


@pytest.mark.parametrize(
    ("kind", "tags", "told"),
    [
        ("CT", {"Rows": 65535, "Columns": 65535}, "more pixels than the file can hold; got 1 frames of 65535 rows"),
        ("DX", {"Rows": 65535, "Columns": 65535}, "more pixels than the file can hold; got 1 frames of 65535 rows"),
        ("DX", {"NumberOfFrames": 2**31 - 1}, "more pixels than the file can hold; got 2147483647 frames"),
    ],
    ids=["slice", "picture", "frames"],
)
def test_a_huge_size_is_refused_before_memory_is_taken(
    tmp_path: Path, make_dicom: Make, kind: str, tags: dict[str, Any], told: str
) -> None:
    with pytest.raises(MedsegError, match=told):
        read_image(make_dicom(tmp_path / "a.dcm", STORED, kind=kind, **tags))


def test_an_image_larger_than_the_memory_is_refused(
    tmp_path: Path, make_series: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    from medseg.intake import checks

    monkeypatch.setattr(checks, "memory_bytes", lambda: 100)
    with pytest.raises(ImageError, match=r"larger than the memory; got 18 values: 0\.0 GB"):
        read_image(make_series(tmp_path / "ct", [0, 2, 4]))


def test_values_in_the_upper_bits_are_refused(tmp_path: Path, make_dicom: Make) -> None:
    """Old files may have them there; pydicom would give their lower bits alone."""
    path = make_dicom(tmp_path / "a.dcm", STORED, BitsStored=12, HighBit=15)
    with pytest.raises(ImageError, match=r"a\.dcm: its values .* got HighBit 15 of BitsStored 12; expected HighBit 11"):
        read_image(path)
