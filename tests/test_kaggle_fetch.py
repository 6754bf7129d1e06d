"""A competition's files from the stand-in server: resumed, checked, unpacked safely."""

import io
import stat
import zipfile
from collections.abc import Iterator
from pathlib import Path

import kaggle_server
import numpy as np
import pytest

from lmk.kaggle.api import Client, slug_of
from lmk.kaggle.archive import unpack
from lmk.kaggle.fetch import already_fetched, fetch
from lmk.util.errors import LmkError, RemoteError
from lmk.util.files import alone_with

SLUG = "tiny"


@pytest.fixture
def competition(tmp_path) -> Path:
    folder = tmp_path / "competition"
    (folder / "train" / "0").mkdir(parents=True)
    (folder / "train" / "0" / "photo.jpg").write_bytes(np.random.default_rng(0).bytes(3_000_000))
    (folder / "train.csv").write_text("id,landmark_id\nphoto,7\n")
    (folder / "solution.csv").write_text("id,landmarks,Usage\na,7,Public\n")
    return folder


@pytest.fixture
def kaggle(competition, tmp_path) -> Iterator[kaggle_server.Kaggle]:
    stand_in = kaggle_server.Kaggle([kaggle_server.Competition(SLUG, competition)])
    with kaggle_server.running(stand_in, home=tmp_path):
        yield stand_in


@pytest.fixture
def client(kaggle) -> Client:
    return Client(seconds=2.0)


@pytest.fixture
def folder(tmp_path) -> Path:
    return tmp_path / "workspace" / SLUG


def same(folder: Path, competition: Path) -> bool:
    names = ("train.csv", "train/0/photo.jpg")
    return all((folder / name).read_bytes() == (competition / name).read_bytes() for name in names)


def test_the_files_come_whole_once_and_without_the_solution(client, kaggle, folder, competition):
    fetched = fetch(client, SLUG, folder, seconds=2)
    assert (fetched.files, fetched.new) == (2, True)
    assert same(folder, competition)
    assert not (folder / "solution.csv").exists()
    assert [path.name for path in folder.parent.iterdir()] == [SLUG]  # no archive, no part
    assert already_fetched(folder) is not None


def test_a_competition_that_is_remembered_needs_no_name_in_what_comes_next(kaggle, tmp_path, monkeypatch, lmk):
    monkeypatch.chdir(tmp_path)
    for name in ("LMK_WORKSPACE", "LMK_COMPETITION"):
        monkeypatch.delenv(name, raising=False)
    err = lmk("data", "fetch", "-c", SLUG)[2]
    assert f"Next: lmk config set competition {SLUG}" in err and f"lmk data status -c {SLUG}" in err
    (tmp_path / "lmk.toml").write_text(f'competition = "{SLUG}"\n')
    assert lmk("data", "fetch")[2].endswith("Next: lmk data status\n      lmk make-submission --dry-run\n")


def test_a_broken_download_goes_on_where_it_broke(client, kaggle, folder, competition):
    kaggle.fault("download-break", times=1)
    fetch(client, SLUG, folder, seconds=2)
    assert same(folder, competition)
    assert kaggle.count("DownloadDataFiles") == 2


def test_a_killed_download_is_resumed_by_the_next_call(client, kaggle, folder, competition, monkeypatch):
    archive = kaggle.archive(kaggle.competitions[SLUG]).read_bytes()
    kaggle.fault("download-break")
    monkeypatch.setattr("lmk.kaggle.download.time.sleep", lambda seconds: None)
    monkeypatch.setattr("lmk.kaggle.download.BREAKS", 0)
    with pytest.raises(RemoteError, match="bytes are kept"):
        fetch(client, SLUG, folder, seconds=2)
    part = folder.parent / f"{SLUG}.zip.part"
    kept = part.read_bytes()
    assert 0 < len(kept) < len(archive)
    assert archive.startswith(kept)
    kaggle.faults.clear()
    sent: list[int] = []
    original = kaggle_server.Handler._bytes

    def counted(handler, content, headers, status=200):
        sent.append(len(content) if status == 206 else 0)
        original(handler, content, headers, status)

    monkeypatch.setattr(kaggle_server.Handler, "_bytes", counted)
    fetch(client, SLUG, folder, seconds=2)
    assert same(folder, competition)
    assert max(sent) == len(archive) - len(kept)


def test_a_part_of_another_archive_is_not_continued(client, kaggle, folder, competition):
    folder.parent.mkdir(parents=True)
    (folder.parent / f"{SLUG}.zip.part").write_bytes(b"of yesterday's archive")
    (folder.parent / f"{SLUG}.zip.part.json").write_text('{"etag": "\\"old\\"", "size": "99"}')
    fetch(client, SLUG, folder, seconds=2)
    assert same(folder, competition)


def test_a_web_page_is_never_taken_for_the_archive(client, kaggle, folder):
    kaggle.fault("html")
    with pytest.raises(RemoteError, match="web page in place of the file"):
        fetch(client, SLUG, folder, seconds=2)
    assert not folder.exists()


def test_rules_that_are_not_accepted_are_said_before_anything_is_brought(client, kaggle, folder):
    kaggle.fault("rules")
    with pytest.raises(LmkError, match=r"competitions/tiny/rules, join and accept"):
        fetch(client, SLUG, folder, seconds=2)
    assert kaggle.count("DownloadDataFiles") == 0


def test_a_disk_that_is_too_small_is_said_before_anything_is_written(client, kaggle, folder, monkeypatch):
    monkeypatch.setattr("lmk.kaggle.fetch.shutil.disk_usage", lambda path: type("Usage", (), {"free": 10}))
    with pytest.raises(LmkError, match=r"0\.0 GB are free"):
        fetch(client, SLUG, folder, seconds=2)
    assert not list(folder.parent.glob("*"))


def test_unpacking_goes_on_after_a_kill(client, kaggle, folder, competition):
    fetch(client, SLUG, folder, seconds=2)
    untouched = (folder / "train.csv").stat().st_mtime_ns
    (folder / ".fetched.json").unlink()
    (folder / "train" / "0" / "photo.jpg").unlink()
    fetch(client, SLUG, folder, seconds=2)
    assert same(folder, competition)
    assert (folder / "train.csv").stat().st_mtime_ns == untouched


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("https://www.kaggle.com/competitions/landmark-recognition-2020/data", "-c landmark-recognition-2020"),
        ("www.kaggle.com/c/landmark-recognition-2020", "-c landmark-recognition-2020"),
        ("https://www.kaggle.com/", "last part of the competition's address"),
        ("two words", "no competition's slug"),
    ],
)
def test_an_address_or_nonsense_in_the_place_of_a_slug_is_named(name, says):
    with pytest.raises(LmkError, match=says):
        slug_of(name)


def archive_of(path: Path, **members: bytes | tuple[int, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as bundle:
        for name, content in members.items():
            entry = zipfile.ZipInfo(name)
            entry.compress_type = zipfile.ZIP_DEFLATED
            if isinstance(content, tuple):
                entry.create_system, entry.external_attr = 3, content[0] << 16
                content = content[1]
            bundle.writestr(entry, content)
    return path


@pytest.mark.parametrize(
    ("members", "says"),
    [
        ({"../outside.csv": b"x"}, "leads outside"),
        ({"train/../../outside.csv": b"x"}, "leads outside"),
        ({"/etc/outside.csv": b"x"}, "leads outside"),
        ({"C:/outside.csv": b"x"}, "leads outside"),
        ({"..\\outside.csv": b"x"}, "leads outside"),
        ({"link": (stat.S_IFLNK | 0o777, b"/etc/passwd")}, "link or a device"),
        ({"bomb.csv": bytes(300_000_000)}, "claim to hold 300,000,004"),
    ],
)
def test_a_dangerous_archive_is_refused_before_anything_is_written(tmp_path, members, says):
    archive = archive_of(tmp_path / "evil.zip", **{"train.csv": b"fine"}, **members)
    with pytest.raises(LmkError, match=says):
        unpack(archive, tmp_path / "inside" / "folder")
    assert [path.name for path in tmp_path.iterdir()] == ["evil.zip"]


def test_a_member_that_is_larger_than_it_says_is_not_believed(tmp_path):
    archive = archive_of(tmp_path / "liar.zip", **{"table.csv": b"id\n" * 1000})
    content = bytearray(archive.read_bytes())
    size = (3000).to_bytes(4, "little")
    for place in (content.find(size), content.rfind(size)):
        content[place : place + 4] = (30).to_bytes(4, "little")
    archive.write_bytes(content)
    with pytest.raises(RemoteError, match="no whole zip"):
        unpack(archive, tmp_path / "folder")
    assert not list((tmp_path / "folder").glob("*.csv"))


def test_an_archive_cut_short_is_refused(tmp_path):
    archive = archive_of(tmp_path / "half.zip", **{"a.csv": bytes(1000)})
    archive.write_bytes(archive.read_bytes()[:-30])
    with pytest.raises(RemoteError, match="no whole zip"):
        unpack(archive, tmp_path / "folder")


def test_names_that_stand_twice_are_refused(tmp_path):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as bundle, pytest.warns(UserWarning, match="Duplicate"):
        bundle.writestr("a.csv", "1")
        bundle.writestr("a.csv", "2")
    (tmp_path / "twice.zip").write_bytes(packed.getvalue())
    with pytest.raises(LmkError, match="twice"):
        unpack(tmp_path / "twice.zip", tmp_path / "folder")


@pytest.mark.parametrize(
    ("name", "says"),
    [
        (".git/config", "version control"),
        ("photos/.GIT/hooks/post-checkout", "version control"),
        ("photos/.git. /config", "version control"),
        ("git~1/config", "version control"),
        ("a/.git::$INDEX_ALLOCATION/config", "version control"),
        ("a/.hg/hgrc", "version control"),
        (".fetched.json", "lmk uses itself"),
    ],
)
def test_an_archive_that_brings_a_repository_or_lmks_own_names_is_refused(tmp_path, name, says):
    with pytest.raises(LmkError, match=says):
        unpack(archive_of(tmp_path / "evil.zip", **{"train.csv": b"fine", name: b"x"}), tmp_path / "folder")
    assert not (tmp_path / "folder").exists()


@pytest.mark.parametrize("place", ["", "photos/x/"])
def test_a_folder_that_git_would_take_for_a_repository_is_refused(tmp_path, place):
    members = {f"{place}{name}": b"x" for name in ("HEAD", "config", "objects/ab/cd", "refs/heads/main")}
    with pytest.raises(LmkError, match="repository of git"):
        unpack(archive_of(tmp_path / "bare.zip", **members), tmp_path / "folder")


def test_a_repository_whose_settings_lie_in_another_folder_is_refused(tmp_path):
    members = dict.fromkeys(["x/HEAD", "x/commondir", "y/config", "y/objects/1", "y/refs/1"], b"x")
    with pytest.raises(LmkError, match="'x' in it is a repository of git"):
        unpack(archive_of(tmp_path / "bare.zip", **members), tmp_path / "folder")


@pytest.mark.parametrize(("first", "second", "says"), [("a", "a/b.jpg", "a file and a folder"), ("a", "./a", "twice")])
def test_one_name_for_two_things_is_refused_before_anything_is_written(tmp_path, first, second, says):
    with pytest.raises(LmkError, match=says):
        unpack(archive_of(tmp_path / "two.zip", **{first: b"x", second: b"y"}), tmp_path / "folder")
    assert not (tmp_path / "folder").exists()


def test_names_that_only_resemble_a_repository_are_unpacked(tmp_path):
    names = ["config", "x/HEAD.jpg", "objects/1.jpg", "head/2.jpg", "digit.git.csv", ".gitignore"]
    found = unpack(archive_of(tmp_path / "fine.zip", **dict.fromkeys(names, b"x")), tmp_path / "folder")
    assert found == names


def test_a_file_of_the_right_size_with_another_content_is_unpacked_again(tmp_path):
    archive = archive_of(tmp_path / "a.zip", **{"photo.jpg": b"right", "same.jpg": b"same"})
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "photo.jpg").write_bytes(b"wrong")
    (tmp_path / "folder" / "same.jpg").write_bytes(b"same")
    untouched = (tmp_path / "folder" / "same.jpg").stat().st_ino
    unpack(archive, tmp_path / "folder")
    assert (tmp_path / "folder" / "photo.jpg").read_bytes() == b"right"
    assert (tmp_path / "folder" / "same.jpg").stat().st_ino == untouched


def test_unpacking_many_files_into_one_folder_lists_it_seldom(tmp_path, monkeypatch):
    """The work grows with the files, not with their square: a listing for each file would see 2,000 * 2,000 / 2."""
    from lmk.util import files

    seen = 0
    original = files.remove_drafts

    def counted(folder: Path) -> None:
        nonlocal seen
        seen += len(list(folder.iterdir()))
        original(folder)

    monkeypatch.setattr(files, "remove_drafts", counted)
    archive = archive_of(tmp_path / "flat.zip", **{f"train/{number:05d}.jpg": b"x" for number in range(2000)})
    unpack(archive, tmp_path / "folder")
    assert len(list((tmp_path / "folder" / "train").iterdir())) == 2000
    assert seen < 2000 * 2000 / 2 / 4


def test_files_that_are_gone_are_fetched_again_though_the_marker_is_there(client, kaggle, folder, competition):
    fetch(client, SLUG, folder, seconds=2)
    (folder / "train" / "0" / "photo.jpg").unlink()
    (folder / "train" / "0").rmdir()
    (folder / "train").rmdir()
    assert already_fetched(folder) is None
    fetch(client, SLUG, folder, seconds=2)
    assert same(folder, competition)
    assert already_fetched(folder) is not None


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"files": "x", "size": 1}', "[" * 100_000])
def test_a_damaged_marker_of_a_fetched_competition_is_one_line(folder, text):
    folder.mkdir(parents=True)
    (folder / ".fetched.json").write_text(text)
    with pytest.raises(LmkError, match=r"\.fetched\.json cannot be read"):
        already_fetched(folder)


def test_a_second_fetch_of_a_competition_is_refused_while_the_first_runs(client, kaggle, folder):
    folder.parent.mkdir(parents=True)
    with alone_with(folder), pytest.raises(LmkError, match="Another lmk makes"):
        fetch(client, SLUG, folder, seconds=2)
    assert kaggle.count("DownloadDataFiles") == 0
