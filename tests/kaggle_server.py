"""A stand-in for Kaggle on this machine: the endpoints that the official client calls, with state and with faults.

    python tests/kaggle_server.py --competition SLUG=DIR

serves DIR (laid out as a competition, with `solution.csv`, which is not handed out) under its slug, scores submissions
by GAP, runs pushed kernels in a process of their own, and prints the two variables that point lmk to it. Without a
competition it serves the embedded one as `rendered-landmarks`, and `provence` with the dataset `tester/lmk-backbones`
where the folder of real photos (`LMK_SHARED`, else ../shared) is there.
Faults are switched on by `Kaggle.fault` or, from another terminal, by

    curl -d '{"name": "429", "times": 2}' http://127.0.0.1:8642/_fault
"""

from __future__ import annotations

import argparse
import base64
import csv
import hashlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np

from lmk.metrics import gap
from lmk.predictions import NO_LANDMARK, read_submission
from lmk.util.errors import LmkError

TOKEN = "KGAT_0123456789abcdef0123456789abcdef"
USER = "tester"
TEAM = "lmk test team"
PORT = 8642

FAULTS = {
    "401": "any call answers 401, as with a token that was revoked",
    "rules": "the rules are not accepted: 403 on what needs them",
    "404": "any call about a competition or a kernel answers 404",
    "429": "a call answers 429 with Retry-After (argument `seconds`, 1)",
    "500": "a call answers 500 and does nothing",
    "500-done": "CreateSubmission and SaveKernel do their work, then answer 500",
    "hang": "CreateSubmission never answers and does nothing",
    "hang-done": "CreateSubmission does its work and never answers",
    "hang-late": "CreateSubmission never answers; its work is done `seconds` later",
    "silence": "no call is ever answered",
    "page": "a call answers 200 with a web page in place of data",
    "upload-break": "the connection breaks in the middle of an upload",
    "upload-403": "the upload is answered 403",
    "upload-503": "the upload is answered 503",
    "download-break": "the connection breaks after half of a download",
    "html": "a download answers 200 with a web page in place of the file",
    "half": "a kernel's output file is cut in half",
    "no-score": "submissions stay pending",
    "bad-score": "submissions end in an error",
    "no-slots": "no submission is left today",
    "unlisted": "CreateSubmission answers well, yet nothing is submitted",
    "push-error": "SaveKernel answers 200 with an error in it",
    "push-sources": "SaveKernel drops the data sources and says so",
    "kernel-fails": "the kernel's run ends in an error",
    "kernel-cut": "the kernel's run is cut off after `seconds`, and nothing that it wrote is kept",
    "source-lost": "an attached kernel's output is empty",
}


@dataclass
class Competition:
    """A folder served as a competition; `others` are the scores of the teams that are on the board already."""

    slug: str
    folder: Path
    entered: bool = True
    code_only: bool = False
    daily: int = 5
    others: list[float] = field(default_factory=lambda: [round(0.98 - 0.02 * n, 5) for n in range(48)])
    submissions: list[dict] = field(default_factory=list)

    def public(self) -> list[Path]:
        """The files that are handed out."""
        files = sorted(path for path in self.folder.rglob("*") if path.is_file())
        return [path for path in files if path.name not in ("solution.csv", "landmarks.csv")]

    def score(self, path: Path) -> dict:
        """GAP on both halves, or the error that Kaggle would show."""
        try:
            predictions = read_submission(path)
        except LmkError as error:
            return {"status": "ERROR", "errorDescription": str(error).replace(str(path), path.name)}
        with (self.folder / "solution.csv").open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        if set(predictions.ids.tolist()) != {row["id"] for row in rows}:
            return {"status": "ERROR", "errorDescription": "The ids are not those of the sample submission."}
        scores = {}
        for usage in ("Public", "Private"):
            chosen = [row for row in rows if row["Usage"] == usage]
            known = predictions.align(np.array([row["id"] for row in chosen]))
            labels = [[int(label) for label in row["landmarks"].split()] for row in chosen]
            width = max(1, *(len(shown) for shown in labels))
            truth = np.array([shown + [NO_LANDMARK] * (width - len(shown)) for shown in labels])
            scores[usage.lower() + "Score"] = f"{gap(known.ids, truth, known.best, known.confidence):.5f}"
        return {"status": "COMPLETE", **scores}


class Kaggle:
    """The stand-in's state; all methods of one request run under `lock`."""

    def __init__(self, competitions: list[Competition], score_seconds: float = 0.0, kernel_seconds: float = 43200.0):
        self.competitions = {competition.slug: competition for competition in competitions}
        self.score_seconds, self.kernel_seconds = score_seconds, kernel_seconds
        self.gpu_hours_used, self.gpu_hours = 1.0, 30.0
        self.dataset_seconds = 0.0
        self.faults: dict[str, dict] = {}
        self.calls: list[str] = []
        self.blobs: dict[str, Path] = {}
        self.kernels: dict[str, dict] = {}
        self.datasets: dict[str, dict] = {}
        self.models: dict[str, Path] = {}
        self.lock = threading.RLock()
        self.released = threading.Event()
        self.folder = Path(tempfile.mkdtemp(prefix="kaggle-stand-in-"))
        self.address = ""

    def fault(self, name: str, times: int = 1_000_000, method: str = "", seconds: float = 1.0) -> None:
        """Switch a fault on for the next `times` calls (of one method, if named)."""
        if name not in FAULTS:
            raise ValueError(f"No fault '{name}'; there are {', '.join(FAULTS)}.")
        self.faults[name] = {"times": times, "method": method, "seconds": seconds}

    def takes(self, name: str, method: str = "") -> dict | None:
        """The fault's arguments if it strikes now; counts it down."""
        fault = self.faults.get(name)
        if fault is None or (fault["method"] and fault["method"] != method):
            return None
        fault["times"] -= 1
        if fault["times"] <= 0:
            del self.faults[name]
        return fault

    def count(self, method: str) -> int:
        """How often a method was called."""
        return self.calls.count(method)

    def archive(self, competition: Competition) -> Path:
        """The competition's files as one zip, made once."""
        path = self.folder / f"{competition.slug}.zip"
        if not path.exists():
            with zipfile.ZipFile(path.with_suffix(".tmp"), "w") as bundle:
                for file in competition.public():
                    packed = zipfile.ZIP_DEFLATED if file.suffix == ".csv" else zipfile.ZIP_STORED
                    bundle.write(file, file.relative_to(competition.folder).as_posix(), packed)
            path.with_suffix(".tmp").replace(path)
        return path

    def blob(self, name: str) -> dict:
        token = hashlib.sha256(f"{name}{len(self.blobs)}".encode()).hexdigest()[:24]
        (self.folder / "blobs" / token).mkdir(parents=True)
        self.blobs[token] = self.folder / "blobs" / token / Path(name).name
        return {"token": token, "createUrl": f"{self.address}/blobs/{token}?signature=secret"}

    def add_dataset(self, name: str, folder: Path) -> None:
        """A dataset "owner/slug" that is on Kaggle already."""
        tokens = []
        for path in sorted(path for path in folder.iterdir() if path.is_file()):
            token = self.blob(path.name)["token"]
            shutil.copyfile(path, self.blobs[token])
            tokens.append(token)
        self.datasets[name] = {"version": 1, "files": tokens}

    def close(self) -> None:
        self.released.set()
        for kernel in self.kernels.values():
            if kernel["process"].poll() is None:
                os.killpg(kernel["process"].pid, signal.SIGKILL)  # and what it started
            kernel["process"].wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    # Submissions

    def submit(self, competition: Competition, path: Path, description: str, kernel: str = "") -> dict:
        if self.takes("no-slots") or self._today(competition) >= competition.daily:
            raise Answer(400, "Your team has used its daily Submission allowance, please try again tomorrow UTC")
        ref = 40_000_000 + len(competition.submissions) + 1
        if not self.takes("unlisted"):
            result = competition.score(path)
            competition.submissions.append(
                {
                    "ref": ref,
                    "date": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f0Z"),
                    "description": description,
                    "fileName": path.name,
                    "totalBytes": path.stat().st_size,
                    "teamName": TEAM,
                    "submittedBy": USER,
                    "url": f"/submissions/{ref}/{ref}.raw",
                    "ready": time.monotonic() + self.score_seconds,
                    "result": result,
                    "kernel": kernel,
                }
            )
        return {"message": f"Successfully submitted to {competition.slug}", "ref": ref}

    def shown(self, submission: dict) -> dict:
        """A submission as the API tells it now."""
        told = {name: submission[name] for name in submission if name not in ("ready", "result", "kernel")}
        if "no-score" in self.faults or time.monotonic() < submission["ready"]:
            return told | {"status": "PENDING", "publicScore": "", "privateScore": ""}
        if "bad-score" in self.faults:
            return told | {"status": "ERROR", "errorDescription": "Submission contains null values"}
        return told | submission["result"]

    def _today(self, competition: Competition) -> int:
        today = datetime.now(UTC).strftime("%Y-%m-%d")
        return sum(submission["date"].startswith(today) for submission in competition.submissions)

    def board(self, competition: Competition) -> list[dict]:
        """Teams, best first: the others and, once scored, ours."""
        date = "2026-01-02T03:04:05.0000000Z"
        teams = [
            {"teamId": 100 + n, "teamName": f"team {n + 1}", "submissionDate": date, "score": f"{score:.5f}"}
            for n, score in enumerate(competition.others)
        ]
        scored = [self.shown(submission) for submission in competition.submissions]
        scored = [submission for submission in scored if submission["status"] == "COMPLETE"]
        if scored:
            best = max(scored, key=lambda submission: float(submission["publicScore"]))
            row = {"teamId": 7, "teamName": TEAM, "submissionDate": best["date"], "score": best["publicScore"]}
            teams.append(row)
        return sorted(teams, key=lambda team: (-float(team["score"]), team["teamId"]))

    # Kernels

    def push(self, body: dict) -> dict:
        if self.takes("push-error"):
            return {"error": "Notebook title already in use.", "ref": "", "url": ""}
        slug = body["slug"]
        old = self.kernels.get(slug)
        version = old["version"] + 1 if old else 1
        work = self.folder / "kernels" / slug.replace("/", "_") / str(version)
        sources = body.get("competitionDataSources", [])
        invalid = {}
        if self.takes("push-sources"):
            invalid, sources = {"invalidCompetitionSources": sources}, []
        if old and old["process"].poll() is None:
            raise Answer(400, "A session of this notebook is running")
        unknown = [name for name in body.get("datasetDataSources", []) if name not in self.datasets]
        if unknown:
            invalid["invalidDatasetSources"] = unknown
        self.kernels[slug] = {
            "version": version,
            "body": body,
            "work": work / "working",
            "process": self._run(body, work, sources),
            "pushed": time.monotonic(),
        }
        limit = min(self.kernel_seconds, body.get("sessionTimeoutSeconds") or self.kernel_seconds)
        if fault := self.takes("kernel-cut"):
            limit = min(limit, fault["seconds"])
        self._cut_after(self.kernels[slug], limit)
        return {"ref": f"/code/{slug}", "url": f"{self.address}/code/{slug}", "versionNumber": version, **invalid}

    def _run(self, body: dict, work: Path, competitions: list[str]) -> subprocess.Popen:
        """Start the kernel in a process of its own, with the input and working folders where it looks for them."""
        (work / "input").mkdir(parents=True)
        (work / "working").mkdir()
        (work / "tmp").mkdir()
        for slug in competitions:
            handed_out = work / "input" / slug
            with zipfile.ZipFile(self.archive(self.competitions[slug])) as bundle:
                bundle.extractall(handed_out)
        for name in body.get("datasetDataSources", []):
            for token in self.datasets.get(name, {"files": []})["files"]:
                target = work / "input" / name.split("/")[1]
                target.mkdir(exist_ok=True)
                shutil.copy(self.blobs[token], target)
        for name in body.get("kernelDataSources", []):
            if name in self.kernels and self.outputs(name) and not self.takes("source-lost"):
                shutil.copytree(self.kernels[name]["work"], work / "input" / name.split("/")[1])
        for name in body.get("modelDataSources", []):
            if name in self.models:
                shutil.copytree(self.models[name], work / "input" / "models" / name)
        script = work / "script.py"
        text = "raise SystemExit('out of memory')" if self.takes("kernel-fails") else body["text"]
        script.write_text(text, encoding="utf-8")
        keep = ("PATH", "LANG", "KERAS_BACKEND", "LD_LIBRARY_PATH")
        environment = {name: os.environ[name] for name in keep if name in os.environ} | {
            "HOME": str(work),
            "TMPDIR": str(work / "tmp"),
            "KAGGLE_KERNEL_RUN_TYPE": "Batch",
            "LMK_KAGGLE_INPUT": str(work / "input"),
            "LMK_KAGGLE_WORKING": str(work / "working"),
        }
        with (work / "log").open("wb") as log:
            command = [sys.executable, str(script)]
            return subprocess.Popen(
                command, cwd=work / "working", env=environment, stdout=log, stderr=log, start_new_session=True
            )

    def _cut_after(self, kernel: dict, seconds: float) -> None:
        """Kill the kernel and what it started when its session's time is over."""

        def cut() -> None:
            if kernel["process"].poll() is None:
                kernel["cut"] = True
                os.killpg(kernel["process"].pid, signal.SIGKILL)

        timer = threading.Timer(seconds, cut)
        timer.daemon = True
        timer.start()

    def kernel_status(self, kernel: dict) -> dict:
        code = kernel["process"].poll()
        if code is None:
            return {"status": "RUNNING"}
        if kernel.get("cut"):
            return {"status": "ERROR", "failureMessage": "Your notebook exceeded the maximum allowed execution time"}
        if code:
            return {"status": "ERROR", "failureMessage": f"Your notebook exited with code {code}"}
        return {"status": "COMPLETE"}

    def outputs(self, slug: str) -> list[Path]:
        """Files that a run left; of one that failed or was cut off nothing is kept."""
        if self.kernel_status(self.kernels[slug])["status"] == "ERROR":
            return []
        return sorted(path for path in self.kernels[slug]["work"].rglob("*") if path.is_file())

    def log(self, slug: str) -> str:
        text = (self.kernels[slug]["work"].parent / "log").read_text(encoding="utf-8", errors="replace")
        lines = text.splitlines(keepends=True)
        return json.dumps([{"stream_name": "stdout", "time": n * 0.1, "data": line} for n, line in enumerate(lines)])


class Answer(Exception):
    """An answer other than 200."""

    def __init__(self, status: int, message: str, headers: dict | None = None):
        super().__init__(message)
        self.status, self.headers = status, headers or {}


class Handler(BaseHTTPRequestHandler):
    """Routes requests to the state."""

    protocol_version = "HTTP/1.1"
    kaggle: Kaggle

    def log_message(self, format, *args):
        if getattr(self.server, "talks", False):
            super().log_message(format, *args)

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path == "/_fault":
            self.kaggle.fault(**json.loads(body))
            return self._json({"faults": list(self.kaggle.faults)})
        service, _, method = self.path.removeprefix("/v1/").rpartition("/")
        self.kaggle.calls.append(method)
        try:
            self._common_faults(method)
            if not method[:1].isupper() or not hasattr(self, method):
                raise Answer(404, f"{service}/{method} is not served")
            with self.kaggle.lock:
                answer = getattr(self, method)(json.loads(body or b"{}"))
            if answer is not None:
                self._json(answer)
        except Answer as answer:
            self._json({"code": answer.status, "message": str(answer)}, answer.status, answer.headers)

    def _common_faults(self, method: str) -> None:
        kaggle = self.kaggle
        authorization = self.headers.get("Authorization", "")
        basic = base64.b64encode(f"{USER}:{TOKEN}".encode()).decode()
        if authorization not in (f"Bearer {TOKEN}", f"Basic {basic}") and method != "IntrospectToken":
            raise Answer(401, "Unauthenticated")
        if kaggle.takes("silence", method):
            kaggle.released.wait()
        if kaggle.takes("401", method):
            raise Answer(401, "Unauthenticated")
        if kaggle.takes("404", method):
            raise Answer(404, "Not found")
        if fault := kaggle.takes("429", method):
            raise Answer(429, "Too many requests", {"Retry-After": f"{fault['seconds']:g}"})
        if kaggle.takes("500", method):
            raise Answer(500, "Internal error")
        if kaggle.takes("page", method):
            self._page()
            raise ConnectionAbortedError

    def _competition(self, slug: str) -> Competition:
        competition = self.kaggle.competitions.get(slug)
        if competition is None:  # Kaggle says 403, not 404, of what does not exist
            raise Answer(403, "Permission 'competitions.get' was denied")
        if "rules" in self.kaggle.faults or not competition.entered:
            raise Answer(403, "You must accept this competition's rules before you can continue")
        return competition

    # security, competitions

    def IntrospectToken(self, body):
        if body.get("token") != TOKEN:
            return {"active": False}
        return {"active": True, "username": USER}

    def ListCompetitions(self, body):
        words = body.get("search", "")
        found = [c for c in self.kaggle.competitions.values() if words[:3] in c.slug]
        return {
            "competitions": [
                {
                    "ref": f"https://www.kaggle.com/competitions/{c.slug}",
                    "title": c.slug.replace("-", " ").title(),
                    "teamCount": len(self.kaggle.board(c)),
                    "userHasEntered": c.entered and "rules" not in self.kaggle.faults,
                    "isKernelsSubmissionsOnly": c.code_only,
                }
                for c in found
            ]
        }

    def ListDataFiles(self, body):
        competition = self._competition(body["competitionName"])
        start, size = int(body.get("pageToken") or 0), body.get("pageSize", 20)
        files = competition.public()
        listed = [
            {
                "name": path.relative_to(competition.folder).as_posix(),
                "totalBytes": path.stat().st_size,
                "creationDate": "2026-01-02T03:04:05Z",
            }
            for path in files[start : start + size]
        ]
        return {"files": listed, "nextPageToken": str(start + size) if start + size < len(files) else ""}

    def DownloadDataFiles(self, body):
        competition = self._competition(body["competitionName"])
        self.kaggle.archive(competition)
        self._empty(302, {"Location": f"{self.kaggle.address}/archives/{competition.slug}.zip?signature=secret"})

    def StartSubmissionUpload(self, body):
        self._competition(body["competitionName"])
        return self.kaggle.blob(body["fileName"])

    def CreateSubmission(self, body):
        competition = self._competition(body["competitionName"])
        path = self.kaggle.blobs[body["blobFileTokens"]]
        return self._changing(lambda: self.kaggle.submit(competition, path, body.get("submissionDescription", "")))

    def CreateCodeSubmission(self, body):
        competition = self._competition(body["competitionName"])
        slug = f"{body['kernelOwner']}/{body['kernelSlug']}"
        kernel = self._kernel(slug)
        path = kernel["work"] / body["fileName"]
        if self.kaggle.kernel_status(kernel)["status"] != "COMPLETE" or not path.is_file():
            raise Answer(400, f"Version {body['kernelVersion']} of the notebook has no output {body['fileName']}")
        text = body.get("submissionDescription", "")
        return self._changing(lambda: self.kaggle.submit(competition, path, text, f"{slug}/{body['kernelVersion']}"))

    def _changing(self, work):
        """Do what changes the state, with the faults that leave the caller in doubt."""
        kaggle = self.kaggle
        if kaggle.takes("hang"):
            return self._hang()
        if fault := kaggle.takes("hang-late"):
            threading.Timer(fault["seconds"], work).start()
            return self._hang()
        answer = work()
        if kaggle.takes("hang-done"):
            return self._hang()
        if kaggle.takes("500-done"):
            raise Answer(500, "Internal error")
        return answer

    def _hang(self):
        self.kaggle.lock.release()
        self.kaggle.released.wait()
        self.kaggle.lock.acquire()
        raise ConnectionAbortedError

    def ListSubmissions(self, body):
        competition = self._competition(body["competitionName"])
        size, page = body.get("pageSize", 20), body.get("page", 1)
        newest = competition.submissions[::-1][(page - 1) * size : page * size]
        return {"submissions": [self.kaggle.shown(submission) for submission in newest]}

    def GetSubmission(self, body):
        for competition in self.kaggle.competitions.values():
            for submission in competition.submissions:
                if submission["ref"] == body["ref"]:
                    return self.kaggle.shown(submission)
        raise Answer(404, "Not found")

    def GetSubmissionLimits(self, body):
        competition = self._competition(body["competitionName"])
        today = self.kaggle._today(competition)
        if "no-slots" in self.kaggle.faults:
            return {"numToday": competition.daily, "numTotal": competition.daily, "numAllowedNow": 0}
        allowed = max(0, competition.daily - today)
        return {"numToday": today, "numTotal": len(competition.submissions), "numAllowedNow": allowed}

    def GetLeaderboard(self, body):
        return {
            "submissions": self.kaggle.board(self._competition(body["competitionName"]))[: body.get("pageSize", 20)]
        }

    def DownloadLeaderboard(self, body):
        competition = self._competition(body["competitionName"])
        text = io.StringIO()
        writer = csv.writer(text)
        names = "Rank,TeamId,TeamName,LastSubmissionDate,Score,SubmissionCount,TeamMemberUserNames"
        writer.writerow(names.split(","))
        for rank, team in enumerate(self.kaggle.board(competition), 1):
            ours = team["teamName"] == TEAM
            member, count = (USER, len(competition.submissions)) if ours else (team["teamName"].replace(" ", ""), 3)
            writer.writerow(
                [rank, team["teamId"], team["teamName"], team["submissionDate"], team["score"], count, member]
            )
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as bundle:
            bundle.writestr(f"{competition.slug}-publicleaderboard.csv", text.getvalue())
        self._bytes(packed.getvalue(), {"Content-Type": "application/zip"})

    # kernels, datasets

    def _kernel(self, slug: str) -> dict:
        if slug not in self.kaggle.kernels:
            raise Answer(403, "Permission 'kernels.get' was denied")
        return self.kaggle.kernels[slug]

    def SaveKernel(self, body):
        return self._changing(lambda: self.kaggle.push(body))

    def GetKernel(self, body):
        kernel = self._kernel(f"{body['userName']}/{body['kernelSlug']}")
        sent = kernel["body"]
        told = {"ref": sent["slug"], "title": sent["newTitle"], "currentVersionNumber": kernel["version"]}
        return {"metadata": told, "blob": {"source": sent["text"], "language": "python", "kernelType": "script"}}

    def GetKernelSessionStatus(self, body):
        return self.kaggle.kernel_status(self._kernel(f"{body['userName']}/{body['kernelSlug']}"))

    def ListKernelSessionOutput(self, body):
        slug = f"{body['userName']}/{body['kernelSlug']}"
        work = self._kernel(slug)["work"]
        start, size = int(body.get("pageToken") or 0), body.get("pageSize", 20)
        outputs = self.kaggle.outputs(slug)
        files = [
            {
                "fileName": path.relative_to(work).as_posix(),
                "url": f"{self.kaggle.address}/outputs/{slug}/{path.relative_to(work).as_posix()}?signature=secret",
            }
            for path in outputs[start : start + size]
        ]
        token = str(start + size) if start + size < len(outputs) else ""
        return {"files": files, "log": self.kaggle.log(slug), "nextPageToken": token}

    def GetAcceleratorQuotaStatistics(self, body):
        used, allowed = self.kaggle.gpu_hours_used * 3600, self.kaggle.gpu_hours * 3600
        gpu = {"timeUsed": f"{used:.0f}s", "timeReserved": "0s", "totalTimeAllowed": f"{allowed:.0f}s"}
        tpu = {"timeUsed": "0s", "timeReserved": "0s", "totalTimeAllowed": "72000s"}
        return {"quotaRefreshTime": "2026-12-01T00:00:00Z", "gpuQuota": gpu, "tpuQuota": tpu}

    def GetDatasetStatus(self, body):
        if f"{body['ownerSlug']}/{body['datasetSlug']}" not in self.kaggle.datasets:
            raise Answer(404, "Dataset not found")
        made = self.kaggle.datasets[f"{body['ownerSlug']}/{body['datasetSlug']}"].get("made", 0.0)
        return {"status": "READY" if time.monotonic() >= made + self.kaggle.dataset_seconds else "BLOBS_RECEIVED"}

    def StartBlobUpload(self, body):
        return self.kaggle.blob(body["name"])

    def CreateDataset(self, body):
        slug = f"{body['ownerSlug']}/{body['slug']}"
        self.kaggle.datasets[slug] = {
            "version": 1,
            "files": [file["token"] for file in body.get("files", [])],
            "made": time.monotonic(),
        }
        return {"ref": f"/{slug}", "url": f"{self.kaggle.address}/datasets/{slug}", "status": "ok"}

    def CreateDatasetVersion(self, body):
        slug = f"{body['ownerSlug']}/{body['datasetSlug']}"
        dataset = self.kaggle.datasets[slug]
        dataset["version"] += 1
        dataset["made"] = time.monotonic()
        dataset["files"] = [file["token"] for file in body["body"].get("files", [])]
        return {"ref": f"/{slug}", "url": f"{self.kaggle.address}/datasets/{slug}", "status": "ok"}

    # bytes

    def do_PUT(self):
        token = self.path.split("?")[0].rsplit("/", 1)[-1]
        self.kaggle.calls.append("PUT")
        length = int(self.headers["Content-Length"])
        if self.kaggle.takes("upload-break"):
            self.rfile.read(length // 2)
            self.connection.close()
            self.close_connection = True
            return
        content = self.rfile.read(length)
        for status in (403, 503):
            if self.kaggle.takes(f"upload-{status}"):
                return self._empty(status, {})
        self.kaggle.blobs[token].write_bytes(content)
        self._empty(200, {})

    def do_GET(self):
        path = self.path.split("?")[0]
        self.kaggle.calls.append("GET")
        if self.kaggle.takes("html"):
            return self._page()
        if path.startswith("/archives/"):
            return self._file(self.kaggle.folder / path.removeprefix("/archives/"))
        if path.startswith("/outputs/"):
            owner, slug, name = path.removeprefix("/outputs/").split("/", 2)
            return self._file(
                self.kaggle.kernels[f"{owner}/{slug}"]["work"] / name, cut=bool(self.kaggle.takes("half"))
            )
        self._page(404)

    def _file(self, path: Path, cut: bool = False) -> None:
        content = path.read_bytes()
        etag = f'"{hashlib.md5(content).hexdigest()}"'
        headers = {"ETag": etag, "Accept-Ranges": "bytes", "Content-Type": "application/octet-stream"}
        asked = self.headers.get("Range")
        if cut:
            return self._bytes(content[: len(content) // 2], headers)
        if asked and self.headers.get("If-Range", etag) == etag:
            start = int(asked.removeprefix("bytes=").split("-")[0])
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
            return self._bytes(content[start:], headers, 206)
        self._bytes(content, headers)

    def _bytes(self, content: bytes, headers: dict, status: int = 200) -> None:
        broken = status in (200, 206) and "ETag" in headers and self.kaggle.takes("download-break")
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: len(content) // 2] if broken else content)
        if broken:
            self.wfile.flush()
            self.close_connection = True

    def _json(self, value: dict, status: int = 200, headers: dict | None = None) -> None:
        self._bytes(json.dumps(value).encode(), {"Content-Type": "application/json"} | (headers or {}), status)

    def _page(self, status: int = 200) -> None:
        page = b"<!DOCTYPE html><html><head><title>Kaggle</title></head><body>Something went wrong</body></html>"
        self._bytes(page, {"Content-Type": "text/html"}, status)

    def _empty(self, status: int, headers: dict) -> None:
        self._bytes(b"", headers, status)


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address):
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


def serve(kaggle: Kaggle, port: int = 0, talks: bool = False) -> Server:
    """Listen on a loopback port (any free one by default) in a thread of its own."""
    server = Server(("127.0.0.1", port), type("Bound", (Handler,), {"kaggle": kaggle}))
    server.talks = talks
    kaggle.address = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    return server


def serve_demo(kaggle: Kaggle) -> None:
    """Add the embedded competition, rendered into the temporary folder the first time (a minute or two)."""
    from lmk.demo.competition import make_demo

    folder = Path(tempfile.gettempdir(), f"lmk-rendered-landmarks-{os.getuid()}")
    if not (folder / "train.csv").is_file():
        make_demo(folder)
    kaggle.competitions["rendered-landmarks"] = Competition("rendered-landmarks", folder)
    print("# serving rendered-landmarks", file=sys.stderr, flush=True)


@contextmanager
def running(kaggle: Kaggle, home: Path) -> Iterator[Kaggle]:
    """Serve `kaggle`, with the environment that points lmk to it; `home` holds no credentials."""
    server = serve(kaggle)
    before = dict(os.environ)
    os.environ |= {"LMK_KAGGLE_ENDPOINT": kaggle.address, "KAGGLE_API_TOKEN": TOKEN, "HOME": str(home)}
    try:
        yield kaggle
    finally:
        os.environ.clear()
        os.environ |= before
        kaggle.close()
        server.shutdown()
        server.server_close()


def main() -> None:
    faults = "\n".join(f"  {name:15} {meaning}" for name, meaning in FAULTS.items())
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=f"faults:\n{faults}", formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--competition", action="append", default=[], metavar="SLUG=DIR")
    parser.add_argument("--code-competition", action="append", default=[], metavar="SLUG=DIR")
    parser.add_argument("--dataset", action="append", default=[], metavar="OWNER/SLUG=DIR")
    parser.add_argument("--port", type=int, default=PORT)
    parser.add_argument("--score-seconds", type=float, default=5.0)
    parser.add_argument("--fault", action="append", default=[], choices=list(FAULTS))
    options = parser.parse_args()
    competitions = []
    demo = not options.competition + options.code_competition
    for given in options.competition + options.code_competition:
        slug, folder = given.split("=", 1)
        if not (Path(folder) / "solution.csv").is_file():
            parser.error(f"{folder} has no solution.csv")
        competitions.append(Competition(slug, Path(folder).resolve(), code_only=given in options.code_competition))
    if demo:
        shared = Path(os.environ.get("LMK_SHARED", Path(__file__).parents[2] / "shared"))
        if (shared / "data" / "provence" / "solution.csv").is_file():
            competitions.append(Competition("provence", (shared / "data" / "provence").resolve()))
            options.dataset.append(f"{USER}/lmk-backbones={shared / 'weights'}")
    kaggle = Kaggle(competitions, options.score_seconds)
    for given in options.dataset:
        name, folder = given.split("=", 1)
        kaggle.add_dataset(name, Path(folder))
    for name in options.fault:
        kaggle.fault(name)
    server = serve(kaggle, options.port, talks=True)
    for slug in kaggle.competitions:
        print(f"# serving {slug}", file=sys.stderr)
    print(f"export LMK_KAGGLE_ENDPOINT={kaggle.address}\nexport KAGGLE_API_TOKEN={TOKEN}", flush=True)
    if demo:
        threading.Thread(target=serve_demo, args=(kaggle,), daemon=True).start()
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(0))
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        server.shutdown()
    finally:
        kaggle.close()


if __name__ == "__main__":
    main()
