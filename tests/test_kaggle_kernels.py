"""Kernels: bundled, pushed to the stand-in server, run there and here, and pulled."""

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import kaggle_server
import numpy as np
import pytest

from lmk.kaggle import weights
from lmk.kaggle.api import Client
from lmk.kaggle.bundle import SIZE_LIMIT, check_for_secrets, make_bundle, pack, package_files
from lmk.kaggle.kernels import MEMORY, Kernel, log_of, new_kernel, status_of
from lmk.kaggle.metadata import read_metadata, slugify
from lmk.kaggle.pull import pull, read_manifest, take
from lmk.kaggle.push import prepare, push
from lmk.kaggle.run_locally import Stage, play
from lmk.kaggle.templates import make_kernel
from lmk.predictions import Predictions
from lmk.util.errors import LimitError, LmkError, RemoteError

SLUG = "tiny-landmarks"
SCRIPT = '''"""Answer each query with its row's number."""

import numpy as np

from lmk.kaggle.inside import attached, leave, scratch
from lmk.predictions import Predictions

rows = (attached("tiny-landmarks") / "sample_submission.csv").read_text().splitlines()[1:]
ids = np.array([row.split(",")[0] for row in rows])
answers = Predictions(ids, np.arange(len(ids))[:, None], np.random.default_rng(0).random((len(ids), 1)))
answers.save(scratch() / "predictions" / "rows-0123456789ab.parquet")
leave("rows", "tiny-landmarks", ["rows"], scratch())
'''


@pytest.fixture
def competition(tmp_path) -> Path:
    folder = tmp_path / SLUG
    folder.mkdir()
    (folder / "train.csv").write_text("id,landmark_id\nt1,7\n")
    (folder / "sample_submission.csv").write_text("id,landmarks\na,7 0.1\nb,7 0.1\nc,7 0.1\n")
    (folder / "solution.csv").write_text("id,landmarks,Usage\na,0,Public\nb,,Public\nc,2,Private\n")
    return folder


@pytest.fixture
def kaggle(competition, tmp_path) -> Iterator[kaggle_server.Kaggle]:
    stand_in = kaggle_server.Kaggle([kaggle_server.Competition(SLUG, competition, code_only=True)])
    with kaggle_server.running(stand_in, home=tmp_path):
        yield stand_in


@pytest.fixture
def client(kaggle) -> Client:
    return Client(seconds=2.0)


@pytest.fixture
def kernel(tmp_path) -> Kernel:
    return new_kernel(tmp_path / "kernels", "rows", SCRIPT, SLUG, enable_gpu=False)


def pushed(client: Client, kernel: Kernel):
    return push(client, kernel, prepare(kernel, client.username, []))


def wait(client: Client, ref: str) -> str:
    deadline = time.monotonic() + 60
    while not status_of(client, ref).finished and time.monotonic() < deadline:
        time.sleep(0.1)
    return status_of(client, ref).state


def test_a_kernel_is_pushed_run_and_pulled_and_gives_the_bytes_that_a_run_here_gives(
    kaggle, client, kernel, competition, tmp_path
):
    version = pushed(client, kernel)
    assert (version.ref, version.version) == ("tester/lmk-rows", 1)
    assert Kernel.open("rows", tmp_path / "kernels").pushed() == version
    assert wait(client, version.ref) == "complete", log_of(client, version.ref)
    assert f"lmk from bundle {version.bundle}" in log_of(client, version.ref)
    home = tmp_path / "workspace"
    pulled = pull(client, kernel, home, seconds=5)
    assert pulled.new == ["predictions/rows-0123456789ab.parquet"]

    stage = play(prepare(kernel, "local", []).bundle, {SLUG: competition}, tmp_path / "play", seconds=60)
    here = stage.working / "predictions" / "rows-0123456789ab.parquet"
    assert here.read_bytes() == (home / pulled.new[0]).read_bytes()
    scratch_twin = Predictions(
        np.array(["a", "b", "c"]), np.arange(3)[:, None], np.random.default_rng(0).random((3, 1))
    )
    scratch_twin.save(tmp_path / "direct.parquet")  # computed by this process, without a bundle
    assert here.read_bytes() == (tmp_path / "direct.parquet").read_bytes()
    assert pull(client, kernel, home, seconds=5).kept == pulled.new  # again: nothing new, nothing lost


def test_the_same_sources_give_the_same_bytes_whatever_the_clock_and_the_order_say(kernel, tmp_path):
    first = make_bundle(kernel.folder / "rows.py")
    os.utime(kernel.folder / "rows.py", (1, 1))
    assert make_bundle(kernel.folder / "rows.py") == first
    files = package_files()
    assert pack(dict(reversed(files.items()))) == pack(files)
    changed = files | {"lmk/util/errors.py": files["lmk/util/errors.py"] + b"#"}
    assert pack(changed) != pack(files)


def test_a_bundle_is_small_enough_and_holds_no_caches(kernel):
    bundle = make_bundle(kernel.folder / "rows.py")
    assert bundle.size < SIZE_LIMIT
    assert not [name for name in package_files() if "__pycache__" in name or "/." in name]


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("a.py", f"x = 1\ntoken = '{kaggle_server.TOKEN}'", "a.py, line 2 holds a Kaggle token"),
        ("a.json", '{"username": "me", "key": "0123456789abcdef0123456789abcdef"}', "a Kaggle key"),
        ("kaggle.json", "{}", "by its name"),
        ("a.txt", "-----BEGIN RSA PRIVATE KEY-----", "a private key"),
        ("a.sh", "git clone https://me:hunter22@example.org/x", "a password in an address"),
        ("a.py", "key = 'my secret word'", "this machine's Kaggle credential"),
    ],
)
def test_a_credential_is_found_and_not_repeated(name, text, says):
    with pytest.raises(LmkError, match=says) as failure:
        check_for_secrets({name: text.encode()}, ["my secret word"])
    assert not any(secret in str(failure.value) for secret in (kaggle_server.TOKEN, "hunter22", "my secret word"))


def test_lmk_itself_holds_nothing_that_looks_like_a_credential():
    check_for_secrets(package_files(), [kaggle_server.TOKEN])


def test_a_script_that_holds_this_machines_token_is_not_pushed(kaggle, client, kernel):
    (kernel.folder / "rows.py").write_text(f"print('{kaggle_server.TOKEN[5:]}')")
    with pytest.raises(LmkError, match=r"rows\.py, line 1"):
        prepare(kernel, client.username, [kaggle_server.TOKEN[5:]])
    assert kaggle.count("SaveKernel") == 0


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"title": "lmk other"}, "makes the slug 'lmk-other'"),
        ({"title": "lmk"}, "5 to 50"),
        ({"id": "lmk"}, "at least 5"),
        ({"id": "me/lmk-rows/3"}, "no version"),
        ({"code_file": "absent.py"}, "absent.py, which is not in"),
        ({"code_file": "../rows/rows.py"}, "which is not in"),
        ({"language": "r"}, '"language": "python"'),
        ({"kernel_type": "notebook"}, '"kernel_type": "script"'),
        ({"enable_internet": "false"}, "`enable_internet` must stand there"),
        ({"enable_internat": True}, "Did you mean `enable_internet`"),
        ({"machine_shape": "NvidiaTeslaP100"}, "retired"),
        ({"dataset_sources": ["me/backbones/latest"]}, "write OWNER/SLUG"),
        ({"dataset_sources": ["me/backbones/3/4"]}, "write OWNER/SLUG"),
        ({"kernel_sources": ["me/rows/3"]}, "write OWNER/SLUG"),
        ({"competition_sources": ["https://www.kaggle.com/c/x"]}, "write SLUG"),
        ({"kernel_sources": "rows"}, "list of names"),
    ],
)
def test_wrong_settings_are_named_before_anything_is_sent(kernel, change, says):
    path = kernel.folder / "kernel-metadata.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(LmkError, match=says):
        read_metadata(kernel.folder, "tester")


def test_titles_make_the_slugs_that_the_official_client_makes():
    from slugify import slugify as official

    for title in ("lmk train xception-gem", "DELF, twice (2021)", "a__b  c"):
        assert slugify(title) == official(title)


def test_a_push_that_kaggle_refuses_with_a_200_fails_and_is_not_remembered(kaggle, client, kernel):
    kaggle.fault("push-error")
    with pytest.raises(LmkError, match="title already in use"):
        pushed(client, kernel)
    assert kernel.versions() == []


def test_a_push_whose_sources_were_dropped_fails_and_is_remembered(kaggle, client, kernel):
    kaggle.fault("push-sources", times=1)
    with pytest.raises(LmkError, match=f"without {SLUG}"):
        pushed(client, kernel)
    assert [version.version for version in kernel.versions()] == [1]


@pytest.mark.parametrize("fault", ["hang-done", "500-done"])
def test_a_push_whose_answer_was_lost_is_found_and_not_run_twice(kaggle, client, kernel, fault):
    kaggle.fault(fault, times=1)
    version = pushed(client, kernel)
    assert (version.version, kaggle.count("SaveKernel")) == (1, 1)
    with pytest.raises(LmkError, match="the same to the last byte"):
        pushed(client, kernel)


def test_a_push_that_never_arrived_says_so_and_can_be_done_again(kaggle, client, kernel):
    kaggle.fault("hang", times=1)
    with pytest.raises(RemoteError, match="did not answer in time"):
        pushed(client, kernel)
    assert pushed(client, kernel).version == 1


@pytest.mark.parametrize(
    ("fault", "error", "says"),
    [
        ("html", RemoteError, "web page in place of the file"),
        ("half", RemoteError, r"came with [\d,]+ of [\d,]+ bytes"),
        ("404", LmkError, "404"),
        ("500", RemoteError, "500"),
    ],
)
def test_a_spoiled_output_is_refused_whole(kaggle, client, kernel, tmp_path, fault, error, says, monkeypatch):
    monkeypatch.setattr("lmk.kaggle.faults.time.sleep", lambda seconds: None)
    version = pushed(client, kernel)
    wait(client, version.ref)
    work = kaggle.kernels[version.ref]["work"]
    manifest = (work / "lmk-kernel.json").read_bytes()
    if fault == "half":  # of the predictions only
        path = work / "predictions" / "rows-0123456789ab.parquet"
        path.write_bytes(path.read_bytes()[:100])
    else:
        kaggle.fault(fault)
    home = tmp_path / "workspace"
    with pytest.raises(error, match=says) as failure:
        pull(client, kernel, home, seconds=5)
    assert "secret" not in str(failure.value)
    assert not list(home.rglob("*.parquet"))
    assert manifest == (work / "lmk-kernel.json").read_bytes()


def test_the_output_of_another_lmk_is_refused(kaggle, client, kernel, tmp_path):
    version = pushed(client, kernel)
    wait(client, version.ref)
    path = kaggle.kernels[version.ref]["work"] / "lmk-kernel.json"
    path.write_text(path.read_text().replace(version.bundle, "0123456789ab"))
    with pytest.raises(LmkError, match="made by the lmk of bundle 0123456789ab"):
        pull(client, kernel, tmp_path / "workspace", seconds=5)


@pytest.mark.parametrize("name", ["../outside.csv", "/etc/passwd", "stores/../../x.csv", "kernel.py", "weights"])
def test_a_list_that_leads_outside_the_workspace_is_refused(tmp_path, name):
    entry = {"sha256": "", "size": 0}
    values = {
        "kernel": "x",
        "bundle": "",
        "competition": "",
        "recipes": [],
        "keras": "",
        "backend": "",
        "files": {name: entry},
    }
    (tmp_path / "lmk-kernel.json").write_text(json.dumps(values))
    with pytest.raises(LmkError, match="no place in a workspace"):
        read_manifest(tmp_path / "lmk-kernel.json")


def test_a_file_that_does_not_hold_what_its_name_says_is_refused(tmp_path):
    from lmk.kaggle.inside import leave

    os.environ["LMK_KAGGLE_WORKING"] = str(tmp_path / "working")
    try:
        (tmp_path / "made" / "weights").mkdir(parents=True)
        (tmp_path / "made" / "weights" / "x.weights.h5").write_text("<html>not weights</html>")
        leave("x", SLUG, [], tmp_path / "made")
    finally:
        del os.environ["LMK_KAGGLE_WORKING"]
    manifest = read_manifest(tmp_path / "working" / "lmk-kernel.json")
    with pytest.raises(LmkError, match="no HDF5 file"):
        take(manifest, tmp_path / "working", tmp_path / "workspace")
    assert not (tmp_path / "workspace").exists()


def test_a_failed_run_is_reported_with_kaggles_reason(kaggle, client, kernel, tmp_path):
    kaggle.fault("kernel-fails", times=1)
    version = pushed(client, kernel)
    assert wait(client, version.ref) == "error"
    with pytest.raises(LmkError, match="exited with code 1"):
        pull(client, kernel, tmp_path, seconds=5)


def test_a_kernel_that_kaggle_does_not_know_is_named(kaggle, client):
    with pytest.raises(LmkError, match="read the status of kernel tester/lmk-absent"):
        status_of(client, "tester/lmk-absent")


def play_script(kernel: Kernel, script: str, root: Path, seconds: float = 30.0, **options) -> Stage:
    (kernel.folder / "rows.py").write_text(script)
    return play(make_bundle(kernel.folder / "rows.py"), {}, root, seconds, **options)


def test_a_play_has_an_empty_environment_no_network_and_lmk_from_the_bundle(kaggle, kernel, tmp_path, monkeypatch):
    monkeypatch.setenv("SECRET_OF_MINE", "1")
    port = int(kaggle.address.rsplit(":", 1)[1])
    stage = play_script(
        kernel,
        "import os, socket, lmk\n"
        "print(sorted(name for name in os.environ if 'KAGGLE' in name or 'SECRET' in name))\n"
        "print('bundled' if 'lmk-bundle-' in lmk.__file__ else lmk.__file__)\n"
        f"try:\n    socket.create_connection(('127.0.0.1', {port}), 3)\n    print('reached')\n"
        "except OSError as error:\n    print('no network')\n",
        tmp_path / "play",
    )
    said = stage.log.read_text()
    assert "['KAGGLE_KERNEL_RUN_TYPE', 'LMK_KAGGLE_INPUT', 'LMK_KAGGLE_WORKING']" in said
    assert "bundled" in said
    assert "no network" in said or "unshare is not to be had" in said


def test_a_play_that_takes_too_long_is_stopped_with_all_it_started(kernel, tmp_path):
    start = time.monotonic()
    with pytest.raises(LimitError, match="stopped after 3 s"):
        play_script(kernel, "import subprocess, sys\nsubprocess.run(['sleep', '60'])\n", tmp_path / "play", seconds=3.0)
    assert time.monotonic() - start < 20


def test_a_play_that_fails_says_its_last_line(kernel, tmp_path):
    with pytest.raises(LmkError, match="ZeroDivisionError"):
        play_script(kernel, "1 / 0\n", tmp_path / "play")


def test_the_scored_run_is_told_that_it_is_one(kernel, tmp_path):
    script = "from lmk.kaggle.inside import is_rerun\nprint('rerun' if is_rerun() else 'commit')\n"
    assert "commit" in play_script(kernel, script, tmp_path / "play").log.read_text()
    assert "rerun" in play_script(kernel, script, tmp_path / "play", rerun=True).log.read_text()


@pytest.mark.parametrize(
    "text",
    [
        "{}x",
        '{"version": 1}',
        "[5]",
        '[{"version": "1", "ref": "a/b", "bundle": "", "script": "", "pushed": "", "url": ""}]',
    ],
)
def test_a_damaged_memory_of_pushes_is_named(kernel, text):
    (kernel.folder / MEMORY).write_text(text)
    with pytest.raises(LmkError, match=f"{MEMORY} cannot be read") as caught:
        kernel.versions()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text", ["[5]", "[{}]", "[" * 100_000, '[{"ref": 1, "digest": "", "folder": "", "files": {}, "sent": ""}]']
)
def test_a_damaged_memory_of_published_weights_is_named(tmp_path, text):
    (tmp_path / weights.MEMORY).write_text(text)
    with pytest.raises(LmkError, match="cannot be read") as caught:
        weights.published(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_damaged_bundle_does_not_run(kernel, tmp_path):
    bundle = make_bundle(kernel.folder / "rows.py")
    lines = bundle.text.splitlines()
    row = lines.index('    payload="""') + 5
    lines[row] = lines[row][:-1] + ("A" if lines[row][-1] != "A" else "B")
    with pytest.raises(LmkError, match="lmk in this script is damaged"):
        play(type(bundle)("\n".join(lines), bundle.digest), {}, tmp_path / "play", seconds=30)


SHIPPED = Path(__file__).parents[1] / "kernels"
TRAINED = ("vgg16-bottleneck", "xception-gem", "efficientnet-gem", "mobilenetv2-gem", "mobilenet-gem")


@pytest.mark.parametrize("name", [*(f"train-{recipe}" for recipe in TRAINED), "delf", "submission"])
def test_the_kernels_that_come_with_lmk_are_what_new_makes_and_pass_all_checks(name, tmp_path):
    kind = name.split("-")[0]
    recipes = {"delf": [], "submission": ["efficientnet-gem", "mobilenetv2-gem"]}.get(
        name, [name.removeprefix("train-")]
    )
    made = make_kernel(tmp_path, name, kind, recipes, "landmark-recognition-2021", ["lmk-backbones"], gpu=True)
    for path in made.folder.iterdir():
        assert (SHIPPED / name / path.name).read_text() == path.read_text()
    prepared = prepare(Kernel.open(name, SHIPPED), "someone", [])
    assert prepared.bundle.size < 1_000_000
    assert prepared.metadata.values["dataset_sources"] == ["someone/lmk-backbones"]
    assert prepared.metadata.values["enable_internet"] is False


def test_every_recipe_has_its_kernel():
    from lmk.models.recipes import RECIPES

    assert set(RECIPES) >= set(TRAINED)
    shipped = {path.name.removeprefix("train-") for path in SHIPPED.glob("train-*")}
    assert shipped == set(TRAINED)


HEX32, HEX40 = "0123456789abcdef" * 2, "0123456789abcdef0123456789abcdef01234567"
MADE_UP = "Ab1" * 14
SECRETS = [
    f'os.environ["KAGGLE_KEY"] = "{HEX32}"',
    f"export KAGGLE_KEY={HEX32}",
    f"KAGGLE_KEY: '{HEX32}'",
    f'os.environ.setdefault("KAGGLE_KEY", "{HEX32}")',
    f'environ = {{"KAGGLE_KEY": "{HEX32}"}}',
    f"os.environ['KAGGLE_API_TOKEN'] = '{MADE_UP}'",
    f'text = "{{\\"username\\": \\"me\\", \\"key\\": \\"{HEX32}\\"}}"',
    f'{{"username": "me", "key": "{HEX32}"}}',
    f'api(key="{HEX32}")',
    f'wandb.login(key="{HEX40}")',
    f'os.environ["WANDB_API_KEY"] = "{HEX40}"',
    f"WANDB_API_KEY={HEX40}",
    f"openai.api_key = 'sk-{MADE_UP}'",
    f"sk-proj-{MADE_UP}",
    f"sk-ant-api03-{MADE_UP}",
    "xoxb" + "-123456789012-abcdefABCDEF",
    f"https://hooks.slack.com/services/T0000/B0000/{MADE_UP[:24]}",
    f"glpat-{MADE_UP[:20]}",
    "AIza" + MADE_UP[:35],
    f"ya29.{MADE_UP}",
    f"GOCSPX-{MADE_UP[:28]}",
    f'headers = {{"Authorization": "Bearer {MADE_UP}"}}',
    f"curl -H 'authorization: bearer {MADE_UP}'",
    "Authorization: Basic bWU6aHVudGVyMjI=",
    f"eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.{MADE_UP}",
    f"aws_secret_access_key = {MADE_UP[:40]}",
    "ASIA" + "ABCDEFGHIJKLMNOP",
    "-----BEGIN OPENSSH PRIVATE KEY-----",
    "-----BEGIN PGP PRIVATE KEY BLOCK-----",
    f"hf_{MADE_UP}",
    f"kaggle_key: {HEX32}",
    f"kaggle_key = '{HEX32.upper()}'",
    f'KAGGLE_KEY: str = "{HEX32}"',
    f'os.environb[b"KAGGLE_KEY"] = b"{HEX32}"',
    f'api.config_values["key"] = "{HEX32}"',
    f'KAGGLE_KEY = ("{HEX32}")',
    f"ENV KAGGLE_KEY {HEX32}",
    "eyJ1c2VybmFtZSI6Im1lIiwia2V5IjoiYTFiMmMzZDRlNWY2MDcx",
    f"!wandb login {HEX40}",
    f"machine api.wandb.ai login user password {HEX40}",
    f"Authorization: token {MADE_UP}",
    f"aws_secret_access_key = {'Ab1/' * 10}",
    f"sk_live_{MADE_UP}",
    f"https://discord.com/api/webhooks/123456789012345678/{MADE_UP}",
    f"AccountKey={MADE_UP}==",
    f"gsk_{MADE_UP}",
    f"SG.{MADE_UP[:22]}.{MADE_UP}",
    f'COMET_API_KEY = "{MADE_UP}"',
    'password = "correct-horse"',
    "MLFLOW_TRACKING_PASSWORD=hunter2hunter2",
]


@pytest.mark.parametrize("text", SECRETS)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_secrets_of_many_services_are_found_in_many_forms_and_not_repeated(text, encoding):
    with pytest.raises(LmkError, match=r"a\.py, line 2 holds") as failure:
        check_for_secrets({"a.py": f"import os\n{text}\n".encode(encoding)})
    assert text not in str(failure.value)
    assert MADE_UP not in str(failure.value)


@pytest.mark.parametrize(
    "text",
    [
        'os.environ["KAGGLE_KEY"] = UserSecretsClient().get_secret("kaggle_key")',
        'key = os.environ["KAGGLE_KEY"]',
        'wandb.login(key=user_secrets.get_secret("wandb_api_key"))',
        'wandb.init(project="landmarks", name="run-2026-11-27")',
        'headers = {"Authorization": f"Bearer {token}"}',
        'sha = "0123456789abcdef0123456789abcdef01234567"  # of a commit',
        'digest = "' + "0123456789abcdef" * 4 + '"',
        'mask-rcnn-with-a-long-name-of-parts = "task-specific-heads-of-the-network"',
        'keys = ["key", "value"]',
        'password = getpass("Password: ")',
        "export WANDB_API_KEY=$WANDB_API_KEY",
        'token: str = os.getenv("TOKEN", "")',
        'tokenizer = "bert-base-multilingual-cased-v2"',
        'secret = client.get_secret("label-of-a-secret-2026")',
    ],
)
def test_what_only_resembles_a_secret_goes_through(text):
    check_for_secrets({"a.py": text.encode()})


@pytest.mark.parametrize(
    "name",
    [
        "kaggle.json",
        "Kaggle.JSON",
        "kaggle (1).json",
        "kaggle-me.json",
        "kaggle.json.bak",
        "id_ed25519",
        ".env",
        "secrets.toml",
    ],
)
def test_files_that_hold_credentials_by_their_names_are_refused(name):
    with pytest.raises(LmkError, match="by its name"):
        check_for_secrets({f"some/{name}": b""})


def test_a_secret_in_the_settings_is_found_before_they_are_sent(kernel):
    path = kernel.folder / "kernel-metadata.json"
    values = json.loads(path.read_text())
    path.write_text(json.dumps(values | {"keywords": ["glpat-" + MADE_UP[:20]]}))
    with pytest.raises(LmkError, match=r"kernel-metadata\.json, line \d+ holds a GitLab token"):
        prepare(kernel, "me", [])
    path.write_text(json.dumps(values | {"keywords": ["password of mine"]}))
    with pytest.raises(LmkError, match=r"kernel-metadata\.json, line \d+ holds this machine's"):
        prepare(kernel, "me", ["password of mine"])


def test_a_check_without_a_connection_knows_the_credentials_of_the_machine(kernel, lmk, tmp_path, monkeypatch):
    monkeypatch.setenv("LMK_KERNELS", str(kernel.folder.parent))
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".kaggle").mkdir()
    (tmp_path / ".kaggle" / "access_token").write_text("an-odd-looking-token\n")
    assert lmk("kernel", "push", "rows", "--check")[0] == 0
    (kernel.folder / "rows.py").write_text("token = 'an-odd-looking-token'\n")
    code, _, err = lmk("kernel", "push", "rows", "--check")
    assert code == 1
    assert "rows.py, line 1 holds" in " ".join(err.split())


@pytest.mark.parametrize(
    "change",
    [
        {"id_no": 56005324},
        {"docker_image": "", "machine_shape": "", "keywords": [], "model_sources": [], "enable_tpu": False},
        {"docker_image_pinning_type": "original"},
        {"dataset_sources": ["me/backbones/3"]},
        {"dataset_sources": ["me/backbones", "backbones"]},
    ],
)
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_settings_as_the_official_client_and_editors_write_them_are_taken(kernel, change, mark):
    path = kernel.folder / "kernel-metadata.json"
    path.write_bytes(mark + json.dumps(json.loads(path.read_text()) | change).encode())
    assert read_metadata(kernel.folder, "tester").ref == "tester/lmk-rows"
