"""Fetching the LGG data set: from Kaggle with its own client, or from a zip that was downloaded in a browser."""

from __future__ import annotations

import shutil
import stat
import tempfile
import urllib.parse
import urllib.request
import zipfile
from http.client import HTTPException
from pathlib import Path, PurePosixPath

from lgg_monai.data.tiff_stack import MASK_SUFFIX, TIFF_SUFFIXES
from lgg_monai.errors import LggError
from lgg_monai.extras import require_packages
from lgg_monai.files import PARTIAL, replacing_folder

KAGGLE_HANDLE = "mateuszbuda/lgg-mri-segmentation"
KAGGLE_PAGE = f"https://www.kaggle.com/datasets/{KAGGLE_HANDLE}"
FOLDER = "kaggle_3m"
# A table of clinical data and a README; nothing else but slices is wanted from an archive.
BESIDE_PATIENTS = (".csv", ".md", ".txt")
CHUNK = 1 << 20
ENCRYPTED = 0x1  # of a zip member's flags
TIMEOUT_SECONDS = 60
WITHOUT_ACCOUNT = (
    f"without an account for the API, download the zip in a browser from {KAGGLE_PAGE} "
    "and run `lgg-monai download DIR --source FILE.zip`"
)


def download(destination: Path, source: str | None = None) -> Path:
    """Fetch the data set into ``destination/kaggle_3m``, which appears complete or not at all.

    The published archive holds every patient twice (``kaggle_3m`` and ``lgg-mri-segmentation/kaggle_3m``); one copy is
    taken.

    Args:
        destination: folder to put ``kaggle_3m`` into; created where missing.
        source: URL (http, https, file) or path of a zip, or the folder that it was unpacked to, as some browsers do. By
            default ``kagglehub`` fetches it from Kaggle.

    Returns:
        The path of ``kaggle_3m``.

    Raises:
        LggError: patients are there already, or what came is cut short, damaged, unsafe or not this data set.
    """
    target = Path(destination) / FOLDER
    try:
        if target.exists() and not (target.is_dir() and not any(target.iterdir())):
            raise LggError(f"{target} exists and is not empty: use it as --dataset_dir, or remove it to download anew")
        Path(destination).mkdir(parents=True, exist_ok=True)
        if source is None:
            _copy_folder(_from_kaggle(), target)
        elif "://" in source:
            with tempfile.TemporaryDirectory(dir=destination, prefix=PARTIAL) as folder:
                archive = Path(folder) / "download.zip"
                _fetch(source, archive)
                _extract(archive, source, target)
        elif Path(source).is_dir():
            _copy_folder(Path(source), target)
        else:
            if not Path(source).is_file():
                raise LggError(f"no such zip file: {source}: give the path or URL of the downloaded zip as --source")
            _extract(Path(source), source, target)
    except OSError as error:
        raise LggError(_one_line(f"cannot write the data set to {target} ({error}): choose another folder")) from error
    return target


def _from_kaggle() -> Path:
    require_packages("download", "kagglehub", what="downloading from Kaggle", instead=f"; or, {WITHOUT_ACCOUNT}")
    import kagglehub

    try:
        return Path(kagglehub.dataset_download(KAGGLE_HANDLE))
    except Exception as error:  # kagglehub raises its own kinds, those of requests, and bare ones for credentials
        reason = f"{type(error).__name__}: {error}"[:200]
        raise LggError(
            _one_line(f"cannot download {KAGGLE_HANDLE} from Kaggle ({reason}): {WITHOUT_ACCOUNT}")
        ) from error


def _copy_folder(root: Path, target: Path) -> None:
    files = [path for path in root.rglob("*") if path.is_file() and not path.is_symlink()]
    chosen = _choose([path.relative_to(root).as_posix() for path in files], str(root))
    with replacing_folder(target) as temporary:
        for inner, name in chosen.items():
            out = temporary / inner
            out.parent.mkdir(exist_ok=True)
            shutil.copyfile(root / name, out)


def _extract(archive: Path, source: str, target: Path) -> None:
    """Unpack the patients of a zip, trusting nothing that it says about where its members belong."""
    damaged = f"{source} is damaged, cut short or no zip file: download it again"
    try:
        with zipfile.ZipFile(archive) as bundle:
            members = {info.filename: info for info in bundle.infolist() if info.filename and not info.is_dir()}
            for name, info in members.items():
                _refuse_unsafe(name, info, source)
                if info.flag_bits & ENCRYPTED:
                    raise LggError(f"{source} is encrypted: unpack it, and give the folder as --source")
            chosen = _choose(list(members), source)
            with replacing_folder(target) as temporary:
                for inner, name in chosen.items():
                    out = temporary / inner
                    out.parent.mkdir(exist_ok=True)
                    with bundle.open(members[name]) as incoming, out.open("wb") as outgoing:
                        shutil.copyfileobj(incoming, outgoing, CHUNK)
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
        raise LggError(damaged) from error
    except Exception as error:
        # zlib.error, lzma.LZMAError: kinds of the decompressors, raised on a damaged stream.
        if type(error).__module__ in ("zlib", "lzma", "_lzma"):
            raise LggError(damaged) from error
        raise


def _refuse_unsafe(name: str, info: zipfile.ZipInfo, source: str) -> None:
    path = PurePosixPath(name.replace("\\", "/"))
    outside = path.is_absolute() or ".." in path.parts or (path.parts and ":" in path.parts[0])
    if outside or "\x00" in info.orig_filename:
        raise LggError(_one_line(f"{source} holds a member outside its folder ({name!r}): this is not the data set"))
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind not in (0, stat.S_IFREG):
        raise LggError(_one_line(f"{source} holds a link or special file ({name!r}): this is not the data set"))


def _choose(names: list[str], source: str) -> dict[str, str]:
    """Map paths inside ``kaggle_3m`` to the names they have in the download, from the copy that lies least deep.

    Where the download has no such folder (a zip of its contents), the folder that holds the patients is taken.
    """
    roots: dict[tuple[str, ...], int] = {}
    for name in names:
        path = PurePosixPath(name)
        if len(path.parts) >= 2 and path.stem.endswith(MASK_SUFFIX) and path.suffix.lower() in TIFF_SUFFIXES:
            roots[path.parts[:-2]] = roots.get(path.parts[:-2], 0) + 1
    if not roots:
        message = f"no patients in {source}: expected {FOLDER}/<patient>/<patient>_<n>_mask.tif; see {KAGGLE_PAGE}"
        raise LggError(message)
    # A copy named kaggle_3m before any other, the fullest of several, the least deep of two alike.
    root = min(roots, key=lambda parts: (parts[-1:] != (FOLDER,), -roots[parts], len(parts), parts))
    chosen = {}
    for name in names:
        parts = PurePosixPath(name).parts
        inner = parts[len(root) :]
        if parts[: len(root)] != root or len(inner) not in (1, 2):
            continue
        if inner[-1].lower().endswith(BESIDE_PATIENTS if len(inner) == 1 else TIFF_SUFFIXES):
            chosen["/".join(inner)] = name
    return chosen


def _fetch(url: str, path: Path) -> None:
    scheme = urllib.parse.urlsplit(url).scheme.lower()
    if scheme not in ("http", "https", "file"):
        raise LggError(f"cannot fetch {url}: give an http, https or file URL, or the path of a zip file")
    received = 0
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_SECONDS) as response, path.open("wb") as out:
            promised = response.headers.get("Content-Length")
            while chunk := response.read(CHUNK):
                out.write(chunk)
                received += len(chunk)
    except (OSError, HTTPException, ValueError) as error:
        message = f"cannot fetch {url} ({type(error).__name__}: {error}): check the address; {WITHOUT_ACCOUNT}"
        raise LggError(_one_line(message)) from error
    if promised is not None and str(received) != promised.strip():
        raise LggError(f"the download of {url} was cut short ({received} of {promised} bytes): try again")


def _one_line(message: str) -> str:
    return " ".join(message.split())
