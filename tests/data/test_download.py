"""A download gives one complete copy of the patients, or one line that says what to do."""

from __future__ import annotations

import io
import sys
import threading
import types
import zipfile
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest

from lgg_monai.data.download import KAGGLE_HANDLE, download
from lgg_monai.errors import LggError

PATIENT = "TCGA_CS_0001_19990101"
SLICES = {f"{PATIENT}/{PATIENT}_1.tif": b"image", f"{PATIENT}/{PATIENT}_1_mask.tif": b"mask"}
PUBLISHED = {
    **{f"kaggle_3m/{name}": data for name, data in SLICES.items()},
    "kaggle_3m/data.csv": b"table",
    **{f"lgg-mri-segmentation/kaggle_3m/{name}": data for name, data in SLICES.items()},
    "lgg-mri-segmentation/kaggle_3m/data.csv": b"table",
}


def zipped(members: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", compression) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return out.getvalue()


def saved(path: Path, content: bytes) -> str:
    path.write_bytes(content)
    return str(path)


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def serve() -> Iterator[Callable[..., str]]:
    """Serve bytes at a local address, promising ``length`` of them."""
    servers = []

    def start(content: bytes, length: int | None = None, status: int = 200) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(status)
                self.send_header("Content-Length", str(len(content) if length is None else length))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *args: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}/lgg.zip"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def kaggle(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[str], str]], None]:
    """Put a module in the place of ``kagglehub``."""

    def install(dataset_download: Callable[[str], str]) -> None:
        fake = types.ModuleType("kagglehub")
        fake.__spec__ = ModuleSpec("kagglehub", None)
        fake.dataset_download = dataset_download  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "kagglehub", fake)

    return install


def test_kaggle_download_takes_one_of_the_two_copies(tmp_path: Path, kaggle: Callable) -> None:
    cache, asked = tmp_path / "cache", []
    for name, data in PUBLISHED.items():
        (cache / name).parent.mkdir(parents=True, exist_ok=True)
        (cache / name).write_bytes(data)

    def dataset_download(handle: str) -> str:
        asked.append(handle)
        return str(cache)

    kaggle(dataset_download)
    target = download(tmp_path / "data")
    assert asked == [KAGGLE_HANDLE] == ["mateuszbuda/lgg-mri-segmentation"]
    assert target == tmp_path / "data" / "kaggle_3m"
    assert files(target) == {**SLICES, "data.csv": b"table"}
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["kaggle_3m"]
    assert files(cache) == PUBLISHED


def test_missing_kagglehub_names_the_extra_and_the_way_without_account(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "kagglehub", None)
    with pytest.raises(LggError, match=r"'\.\[download\]'.*; or, without an account .*--source FILE.zip") as error:
        download(tmp_path / "data")
    assert "\n" not in str(error.value)


def test_refused_credentials_become_one_line(tmp_path: Path, kaggle: Callable) -> None:
    def dataset_download(handle: str) -> str:
        raise RuntimeError("403 Client Error.\n\nYou don't have permission")

    kaggle(dataset_download)
    with pytest.raises(LggError, match=r"403 Client Error.*in a browser.*--source FILE.zip") as error:
        download(tmp_path / "data")
    assert "\n" not in str(error.value)
    assert not list((tmp_path / "data").iterdir())


@pytest.mark.parametrize("prefix", ["", "kaggle_3m/", "archive/lgg/kaggle_3m/", "other/"])
def test_patients_are_found_wherever_they_lie_in_the_zip(tmp_path: Path, prefix: str) -> None:
    content = zipped({f"{prefix}{name}": data for name, data in SLICES.items()})
    assert files(download(tmp_path / "data", saved(tmp_path / "a.zip", content))) == SLICES


def test_zip_of_both_copies_gives_one(tmp_path: Path) -> None:
    target = download(tmp_path / "data", saved(tmp_path / "a.zip", zipped(PUBLISHED)))
    assert files(target) == {**SLICES, "data.csv": b"table"}


def test_folder_that_a_browser_unpacked_is_copied(tmp_path: Path) -> None:
    for name, data in PUBLISHED.items():
        (tmp_path / "archive" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "archive" / name).write_bytes(data)
    assert files(download(tmp_path / "data", str(tmp_path / "archive"))) == {**SLICES, "data.csv": b"table"}
    assert len(files(tmp_path / "archive")) == len(PUBLISHED)


@pytest.mark.parametrize("suffix", [".tiff", ".TIF"])
def test_other_spellings_of_tif_are_taken(tmp_path: Path, suffix: str) -> None:
    renamed = {f"kaggle_3m/{name.replace('.tif', suffix)}": data for name, data in SLICES.items()}
    target = download(tmp_path / "data", saved(tmp_path / "archive.zip", zipped(renamed)))
    assert {f"kaggle_3m/{name}": data for name, data in files(target).items()} == renamed


def test_encrypted_zip_is_refused(tmp_path: Path) -> None:
    content = bytearray(zipped(SLICES, zipfile.ZIP_STORED))
    at = content.index(b"PK\x01\x02") + 8  # the flags of the first member in the central directory
    content[at] |= 1
    with pytest.raises(LggError, match=r"a\.zip is encrypted: unpack it, and give the folder as --source"):
        download(tmp_path / "data", saved(tmp_path / "a.zip", bytes(content)))
    assert not list((tmp_path / "data").iterdir())


def test_http_and_file_addresses(tmp_path: Path, serve: Callable) -> None:
    content = zipped(PUBLISHED)
    expected = {**SLICES, "data.csv": b"table"}
    assert files(download(tmp_path / "http", serve(content))) == expected
    saved(tmp_path / "a.zip", content)
    assert files(download(tmp_path / "file", (tmp_path / "a.zip").as_uri())) == expected
    assert [path.name for path in (tmp_path / "http").iterdir()] == ["kaggle_3m"]


def test_download_cut_short_is_refused(tmp_path: Path, serve: Callable) -> None:
    content = zipped(PUBLISHED)
    url = serve(content[: len(content) // 2], length=len(content))
    with pytest.raises(LggError, match=rf"cut short \({len(content) // 2} of {len(content)} bytes\): try again"):
        download(tmp_path / "data", url)
    assert not list((tmp_path / "data").iterdir())


def test_error_status_and_dead_address_say_what_to_do(tmp_path: Path, serve: Callable) -> None:
    for url, reason in ((serve(b"", status=404), "404"), ("http://127.0.0.1:9/lgg.zip", "URLError")):
        with pytest.raises(LggError, match=rf"cannot fetch .*{reason}.*in a browser") as error:
            download(tmp_path / "data", url)
        assert "\n" not in str(error.value)
    with pytest.raises(LggError, match="give an http, https or file URL"):
        download(tmp_path / "data", "ftp://127.0.0.1/lgg.zip")
    assert not list((tmp_path / "data").iterdir())


def flipped() -> bytes:
    """A zip whose stored bytes no longer match their checksum."""
    return zipped(PUBLISHED, zipfile.ZIP_STORED).replace(b"image", b"imagE")


def broken_stream() -> bytes:
    """A zip whose compressed stream is no stream at all."""
    content = bytearray(zipped({f"kaggle_3m/{name}": b"abcdefgh" * 500 for name in SLICES}))
    start = 30 + len(f"kaggle_3m/{next(iter(SLICES))}")
    content[start : start + 8] = b"\xff" * 8
    return bytes(content)


@pytest.mark.parametrize(
    "content",
    [b"", b"<html>please sign in</html>", zipped(PUBLISHED)[:-40], flipped(), broken_stream()],
    ids=["empty", "a page", "cut off", "a flipped byte", "a broken stream"],  # bytes would name the time of collection
)
def test_damaged_zip_is_refused(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(LggError, match="is damaged, cut short or no zip file: download it again"):
        download(tmp_path / "data", saved(tmp_path / "a.zip", content))
    assert not list((tmp_path / "data").iterdir())


@pytest.mark.parametrize(
    "name", ["/etc/evil.tif", "../evil.tif", "kaggle_3m/../../evil.tif", "..\\evil.tif", "C:/e.tif"]
)
def test_members_outside_the_folder_are_refused(tmp_path: Path, name: str) -> None:
    content = zipped({**PUBLISHED, name: b"evil"})
    with pytest.raises(LggError, match="a member outside its folder"):
        download(tmp_path / "data", saved(tmp_path / "a.zip", content))
    assert not list((tmp_path / "data").iterdir())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.zip", "data"]


def test_links_are_refused(tmp_path: Path) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, data in PUBLISHED.items():
            archive.writestr(name, data)
        link = zipfile.ZipInfo(f"kaggle_3m/{PATIENT}/{PATIENT}_2.tif")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(LggError, match="a link or special file"):
        download(tmp_path / "data", saved(tmp_path / "a.zip", out.getvalue()))
    assert not list((tmp_path / "data").iterdir())


def test_other_data_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LggError, match=r"no patients in .*: expected kaggle_3m/"):
        download(tmp_path / "data", saved(tmp_path / "a.zip", zipped({"cats/1.tif": b"cat"})))
    with pytest.raises(LggError, match="no such zip file"):
        download(tmp_path / "data", str(tmp_path / "missing.zip"))


def test_patients_already_there_are_kept(tmp_path: Path) -> None:
    source = saved(tmp_path / "a.zip", zipped(PUBLISHED))
    target = download(tmp_path / "data", source)
    (target / "data.csv").write_bytes(b"mine")
    with pytest.raises(LggError, match="exists and is not empty"):
        download(tmp_path / "data", source)
    assert (target / "data.csv").read_bytes() == b"mine"


def test_destination_that_is_a_file_is_refused(tmp_path: Path) -> None:
    source = saved(tmp_path / "a.zip", zipped(PUBLISHED))
    with pytest.raises(LggError, match="cannot write the data set"):
        download(tmp_path / "a.zip", source)
