"""Bad input by intent: paths that lead out, bombs, huge sizes, links that lead back, objects without an image."""

from __future__ import annotations

import gzip
import struct
import tracemalloc
import warnings
import zlib
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from pydicom.dataset import Dataset
from robustness_seeds import SECRET, add_pixels, ct_slice, dicom, save

from medseg.errors import DataError, ImageError, MedsegError
from medseg.intake import find_inputs, read_image, read_label
from medseg.intake.inspection import inspect

MHD = (
    "ObjectType = Image\nNDims = 3\nDimSize = {size}\nElementSpacing = 1 1 1\nElementType = MET_UCHAR\n"
    "CompressedData = {compressed}\nCompressedDataSize = {packed}\nElementDataFile = {file}\n"
)
NRRD = (
    "NRRD0004\ntype: {kind}\ndimension: 3\nspace: left-posterior-superior\nsizes: {size}\n"
    "space directions: (1,0,0) (0,1,0) (0,0,1)\nencoding: {encoding}\nspace origin: (0,0,0)\n{file}\n"
)
OUTSIDE = ["../voxels.raw", "sub/../../voxels.raw", "{absolute}", "C:\\voxels.raw", "..\\voxels.raw"]


def mhd(path: Path, *, file: str, size: str = "2 2 2", compressed: bool = False, body: bytes = b"") -> Path:
    path.write_bytes(MHD.format(size=size, file=file, compressed=compressed, packed=len(body)).encode() + body)
    return path


def nrrd(path: Path, *, file: str = "", size: str = "2 2 2", encoding: str = "raw", body: bytes = b"") -> Path:
    line = f"data file: {file}\n" if file else ""
    path.write_bytes(NRRD.format(kind="uchar", size=size, encoding=encoding, file=line).encode() + body)
    return path


@pytest.mark.parametrize("name", OUTSIDE, ids=["parent", "detour", "absolute", "windows drive", "windows parent"])
@pytest.mark.parametrize("write", [mhd, nrrd], ids=["mhd", "nhdr"])
def test_voxels_outside_the_header_s_folder_are_not_opened(tmp_path: Path, name: str, write: object) -> None:
    secret = tmp_path / "voxels.raw"
    secret.write_bytes(bytes(range(8)))
    (tmp_path / "in").mkdir()
    path = tmp_path / "in" / ("a.mhd" if write is mhd else "a.nhdr")
    write(path, file=name.format(absolute=secret))  # type: ignore[operator]
    with pytest.raises(ImageError, match=rf"{path.name}: its header names a file outside its folder"):
        read_image(path)


def test_voxels_beside_or_below_the_header_are_read(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    for folder in (tmp_path, tmp_path / "sub"):
        (folder / "v.raw").write_bytes(bytes(range(8)))
    for path in (mhd(tmp_path / "a.mhd", file="sub/v.raw"), nrrd(tmp_path / "a.nhdr", file="v.raw")):
        np.testing.assert_array_equal(read_image(path).array.ravel(order="F"), range(8))


@pytest.mark.parametrize("file", ["LIST", "v%03d.raw 1 2 1", "missing.raw"], ids=["list", "pattern", "absent"])
def test_lists_of_voxel_files_and_absent_ones_are_refused(tmp_path: Path, file: str) -> None:
    (tmp_path / "v.raw").write_bytes(bytes(8))
    for path in (mhd(tmp_path / "a.mhd", file=file), nrrd(tmp_path / "a.nhdr", file=file)):
        with pytest.raises(ImageError, match=rf"{path.name}: (its voxels lie in a list|the file of its voxels is not)"):
            read_image(path)


def nifti_header(size: tuple[int, int, int]) -> bytes:
    header = nib.Nifti1Header()
    header.set_data_dtype(np.uint8)
    header.set_data_shape((1, 1, 1))
    header["magic"], header["vox_offset"] = b"n+1", 352
    header["dim"][1:4] = size
    return bytes(header.binaryblock) + bytes(4)


HUGE = (30000, 30000, 30000)


def huge_files(folder: Path) -> list[Path]:
    """Headers of 27 million million voxels, or of pictures as absurd, with next to nothing behind them."""
    size, zeros = " ".join(map(str, HUGE)), bytes(1 << 16)
    (folder / "a.nii").write_bytes(nifti_header(HUGE) + zeros)
    (folder / "a.nii.gz").write_bytes(gzip.compress(nifti_header(HUGE) + zeros))
    mhd(folder / "a.mha", file="LOCAL", size=size, body=zeros)
    mhd(folder / "b.mha", file="LOCAL", size=size, compressed=True, body=zlib.compress(zeros))
    nrrd(folder / "a.nrrd", size=size, body=zeros)
    nrrd(folder / "b.nrrd", size=size, encoding="gzip", body=gzip.compress(zeros))
    chunk = struct.pack(">II5B", 60000, 60000, 8, 0, 0, 0, 0)
    parts = [(b"IHDR", chunk), (b"IDAT", zlib.compress(zeros)), (b"IEND", b"")]
    (folder / "a.png").write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + b"".join(struct.pack(">I", len(d)) + n + d + struct.pack(">I", zlib.crc32(n + d)) for n, d in parts)
    )
    for name, frames in (("a.dcm", 1), ("b.dcm", 10**6)):
        data = ct_slice(0)
        data.Rows = data.Columns = 65535
        data.NumberOfFrames = frames
        save(data, folder / name)
    return sorted(folder.iterdir())


def test_huge_sizes_are_refused_before_memory_is_taken(tmp_path: Path) -> None:
    files = huge_files(tmp_path)
    assert len(files) == 9
    for path in files:
        tracemalloc.start()
        with pytest.raises(MedsegError, match=path.name):
            read_image(path)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 50e6, path.name


def test_a_bomb_that_its_file_could_hold_is_refused_by_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """100 MB of zeros in 100 kB of gzip, with the memory brought down to 50 MB."""
    from medseg.intake import checks

    monkeypatch.setattr(checks, "memory_bytes", lambda: 50_000_000)
    size, zeros = (1000, 1000, 100), bytes(100_000_000)
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress(nifti_header(size) + zeros))
    nrrd(tmp_path / "a.nrrd", size="1000 1000 100", encoding="gzip", body=gzip.compress(zeros))
    mhd(tmp_path / "a.mha", file="LOCAL", size="1000 1000 100", compressed=True, body=zlib.compress(zeros))
    for path in sorted(tmp_path.iterdir()):
        assert path.stat().st_size < 200_000
        with pytest.raises(
            ImageError, match=rf"{path.name}: the image is larger than the memory; got 100000000 values"
        ):
            read_image(path)


@pytest.mark.parametrize("extra", [-1, 1, 1000], ids=["one short", "one more", "many more"])
def test_a_nifti_with_other_than_its_voxels_is_refused(tmp_path: Path, extra: int) -> None:
    body = bytes(range(60))
    content = nifti_header((3, 4, 5)) + (body[:extra] if extra < 0 else body + bytes(extra))
    (tmp_path / "a.nii").write_bytes(content)
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress(content))
    for path in sorted(tmp_path.iterdir()):
        with pytest.raises(ImageError, match=rf"{path.name}: .*the file (ends after|goes on after)"):
            read_image(path)


@pytest.mark.parametrize("size", ["3 4 5", "3 4 6", "3 4 4"], ids=["as declared", "more declared", "less declared"])
@pytest.mark.parametrize("kind", ["mha", "mha zlib", "nrrd", "nrrd gzip"])
def test_nrrd_and_metaimage_hold_what_they_declare_to_the_byte(tmp_path: Path, kind: str, size: str) -> None:
    """SimpleITK alone fills a compressed MetaImage up with whatever the memory held."""
    body, packed = bytes(range(60)), kind.endswith(("p", "b"))
    stream = zlib.compress(body) if kind == "mha zlib" else gzip.compress(body) if packed else body
    if kind.startswith("mha"):
        path = mhd(tmp_path / "a.mha", file="LOCAL", size=size, compressed=packed, body=stream)
    else:
        path = nrrd(tmp_path / "a.nrrd", size=size, encoding="gzip" if packed else "raw", body=stream)
    if size == "3 4 5":
        np.testing.assert_array_equal(read_image(path).array.ravel(order="F"), range(60))
    else:
        with pytest.raises(
            ImageError, match=r"a\.(mha|nrrd): the header does not declare the voxels that its file holds"
        ):
            read_image(path)


@pytest.mark.parametrize("stated", ["", "CompressedDataSize = 9\n"], ids=["not stated", "wrong"])
def test_a_compressed_metaimage_states_its_length(tmp_path: Path, stated: str) -> None:
    """SimpleITK gives whatever the memory held where it does not, and says nothing to its caller."""
    path = mhd(tmp_path / "a.mha", file="LOCAL", size="3 4 5", compressed=True, body=zlib.compress(bytes(range(60))))
    content = path.read_bytes()
    length = content.index(b"ElementDataFile") - content.index(b"CompressedDataSize")
    start = content.index(b"CompressedDataSize")
    path.write_bytes(content[:start] + stated.encode() + content[start + length :])
    with pytest.raises(ImageError, match=r"a\.mha: its CompressedDataSize is not the length"):
        read_image(path)


def test_a_dicomdir_is_no_image_and_leads_nowhere(tmp_path: Path) -> None:
    """It names a file outside; neither that file nor anything else that it names is looked at."""
    save(ct_slice(0), tmp_path / "outside.dcm")
    folder = tmp_path / "disc"
    folder.mkdir()
    record = Dataset()
    record.DirectoryRecordType = "IMAGE"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom warns of the name, which is the point
        record.ReferencedFileID = ["..", "outside.dcm"]
    data = dicom("1.2.840.10008.1.3.10", DirectoryRecordSequence=[record])
    save(data, folder / "DICOMDIR")
    with pytest.raises(ImageError, match="not a DICOM image; got Media Storage Directory Storage"):
        read_image(folder / "DICOMDIR")
    with pytest.raises(DataError, match="no readable input"):
        find_inputs(folder)
    assert [(entry.kind, entry.path.name) for entry in inspect(folder)] == [("object", "DICOMDIR")]


@pytest.mark.parametrize(
    ("uid", "name"),
    [
        ("1.2.840.10008.5.1.4.1.1.66.4", "Segmentation Storage"),
        ("1.2.840.10008.5.1.4.1.1.481.2", "RT Dose Storage"),
        ("1.2.840.10008.5.1.4.1.1.481.3", "RT Structure Set Storage"),
        ("1.2.840.10008.5.1.4.1.1.88.33", "Comprehensive SR Storage"),
        ("1.2.840.10008.5.1.4.1.1.104.1", "Encapsulated PDF Storage"),
        ("1.2.840.10008.5.1.4.1.1.11.1", "Grayscale Softcopy Presentation State Storage"),
    ],
)
def test_objects_without_an_image_are_refused_by_their_name(tmp_path: Path, uid: str, name: str) -> None:
    data = dicom(uid, Modality="OT")
    if uid.endswith(("66.4", "481.2")):
        add_pixels(data, np.arange(16, dtype=np.uint16).reshape(4, 4))
    path = save(data, tmp_path / "a.dcm")
    with pytest.raises(ImageError, match=rf"a\.dcm: not a DICOM image; got {name}"):
        read_image(path)
    with pytest.raises(DataError, match="no readable input"):
        find_inputs(tmp_path)


@pytest.mark.parametrize(
    "suffix", [".nii", ".nii.gz", ".nrrd", ".mha", ".png", ".jpg", ".tif", ".bmp", ".dcm", ".zip", ""]
)
@pytest.mark.parametrize("content", [b"", b"\0" * 500, b"PK\x03\x04" + b"x" * 500, b"<html>" * 100, b"\x1f\x8b\x08\0"])
def test_what_is_something_else_is_refused_by_name(tmp_path: Path, suffix: str, content: bytes) -> None:
    path = tmp_path / f"file{suffix}"
    path.write_bytes(content)
    for read in (read_image, read_label):
        with pytest.raises(MedsegError, match="file"):
            read(path)


def test_links_that_lead_back_or_nowhere_end(tmp_path: Path) -> None:
    save(ct_slice(0), tmp_path / "a.dcm")
    (tmp_path / "up").symlink_to(tmp_path)
    (tmp_path / "loop.dcm").symlink_to(tmp_path / "loop.dcm")
    (tmp_path / "loop.nii").symlink_to(tmp_path / "loop.nii")
    (tmp_path / "gone.dcm").symlink_to(tmp_path / "nothing.dcm")
    (found,) = find_inputs(tmp_path)
    assert found.path == tmp_path
    for name in ("loop.dcm", "loop.nii", "gone.dcm"):
        with pytest.raises(ImageError, match=rf"{name}: no such file"):
            read_image(tmp_path / name)


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    import os

    os.mkfifo(tmp_path / "a.dcm")
    os.mkfifo(tmp_path / "b.nii")
    with pytest.raises(DataError, match="no readable input"):
        find_inputs(tmp_path)
    for name in ("a.dcm", "b.nii"):
        with pytest.raises(ImageError, match=name):
            read_image(tmp_path / name)


def test_a_folder_of_every_bad_thing_is_inspected_to_its_end(tmp_path: Path) -> None:
    huge_files(tmp_path)
    save(dicom("1.2.840.10008.5.1.4.1.1.481.3", Modality="RTSTRUCT"), tmp_path / "rt")
    mhd(tmp_path / "out.mhd", file="../x.raw")
    (tmp_path / "empty.nii").write_bytes(b"")
    entries = inspect(tmp_path)
    assert len(entries) == 12
    assert sum(entry.has_errors for entry in entries) == 11
    assert SECRET not in str(entries)
