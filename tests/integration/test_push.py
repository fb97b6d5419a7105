"""Pushing to a stand-in of the hub, with the real client."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import socket
import sys

import huggingface_hub
import pytest
import yaml
from aiohttp import web
from huggingface_hub import constants

from dria_magpie.errors import DriaMagpieError, InvalidInputError, UnsupportedError
from dria_magpie.models import Message, Turn
from dria_magpie.sweep.export import About, Exported, export_rows, push
from dria_magpie.sweep.row import Row

# The client's own, on its way to the storage of large files.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")
TOKEN = "hf_" + "Secret" * 6
OWNER = "someone"


class Hub:
    """Datasets of the hub: made, uploaded to and committed to as the real one has it."""

    def __init__(self):
        self.url = ""
        self.repos = {}
        self.private = {}
        self.commits = []
        self.stored = {}
        self.refusals = {}
        self.asked = []

    def app(self):
        app = web.Application(middlewares=[self.guard], client_max_size=2**26)
        app.router.add_post("/api/repos/create", self.create)
        app.router.add_post("/api/validate-yaml", self.validate)
        app.router.add_get("/api/datasets/{owner}/{name}", self.info)
        app.router.add_get("/api/datasets/{owner}/{name}/revision/main", self.info)
        app.router.add_post("/api/datasets/{owner}/{name}/preupload/main", self.preupload)
        app.router.add_post("/datasets/{owner}/{name}.git/info/lfs/objects/batch", self.batch)
        app.router.add_put("/storage/{oid}", self.store)
        app.router.add_post("/verify", self.verify)
        app.router.add_post("/api/datasets/{owner}/{name}/commit/main", self.commit)
        return app

    @web.middleware
    async def guard(self, request, handler):
        self.asked.append(f"{request.method} {request.path}")
        for part, status in self.refusals.items():
            if part in request.path:
                return self.refuse(status, "Not today")
        signed = request.path.startswith("/storage/")
        if not signed and request.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self.refuse(401, "Invalid username or password.")
        return await handler(request)

    def refuse(self, status, message):
        headers = {"X-Error-Message": message, "X-Request-Id": "Root=1-abc"}
        return web.json_response({"error": message}, status=status, headers=headers)

    async def create(self, request):
        asked = await request.json()
        owner = asked["organization"] or OWNER
        if owner != OWNER:
            return self.refuse(403, f'You don\'t have the rights to create under "{owner}"')
        assert asked["type"] == "dataset"
        repo = f"{owner}/{asked['name']}"
        body = {"name": repo, "url": f"{self.url}/datasets/{repo}", "id": "1"}
        if repo in self.repos:
            body["error"] = "You already created this dataset repo"
            return web.json_response(body, status=409)
        self.repos[repo] = {}
        self.private[repo] = asked.get("visibility") == "private" or asked.get("private")
        return web.json_response(body)

    async def validate(self, request):
        asked = await request.json()
        assert asked["repoType"] == "dataset"
        _, head, _ = asked["content"].split("---\n", 2)
        errors = [
            {"message": f'"{name}" is required'}
            for name in ("license", "configs", "dataset_info")
            if name not in yaml.safe_load(head)
        ]
        return web.json_response({"errors": errors, "warnings": []}, status=400 if errors else 200)

    def repo(self, request):
        repo = f"{request.match_info['owner']}/{request.match_info['name']}"
        if repo not in self.repos:
            raise web.HTTPNotFound(headers={"X-Error-Code": "RepoNotFound"})
        return repo

    async def info(self, request):
        return web.json_response({"id": self.repo(request), "sha": "c" * 40})

    async def preupload(self, request):
        repo, asked = self.repo(request), await request.json()
        files = []
        for file in asked["files"]:
            known = self.repos[repo].get(file["path"])
            lfs = file["path"].endswith(".parquet") or file["size"] > 10 * 2**20
            files.append(
                {
                    "path": file["path"],
                    "uploadMode": "lfs" if lfs else "regular",
                    "shouldIgnore": False,
                    "oid": known and self.oid(known, lfs),
                }
            )
        return web.json_response({"files": files, "commitOid": "c" * 40})

    def oid(self, data, lfs):
        blob = data if lfs else b"blob %d\0" % len(data) + data
        return hashlib.new("sha256" if lfs else "sha1", blob, usedforsecurity=False).hexdigest()

    async def batch(self, request):
        self.repo(request)
        asked = await request.json()
        assert "basic" in asked["transfers"]
        objects = []
        for wanted in asked["objects"]:
            one = {"oid": wanted["oid"], "size": wanted["size"]}
            if wanted["oid"] not in self.stored:
                one["actions"] = {
                    "upload": {"href": f"{self.url}/storage/{wanted['oid']}"},
                    "verify": {"href": f"{self.url}/verify"},
                }
            objects.append(one)
        return web.json_response({"transfer": "basic", "objects": objects})

    async def store(self, request):
        data = await request.read()
        assert hashlib.sha256(data).hexdigest() == request.match_info["oid"]
        self.stored[request.match_info["oid"]] = data
        return web.Response()

    async def verify(self, request):
        asked = await request.json()
        assert len(self.stored[asked["oid"]]) == asked["size"]
        return web.json_response({})

    async def commit(self, request):
        repo = self.repo(request)
        lines = [json.loads(line) for line in (await request.text()).splitlines()]
        assert lines[0]["key"] == "header"
        for line in lines[1:]:
            value = line["value"]
            if line["key"] == "file":
                self.repos[repo][value["path"]] = base64.b64decode(value["content"])
            else:
                assert line["key"] == "lfsFile"
                self.repos[repo][value["path"]] = self.stored[value["oid"]]
        self.commits.append((repo, lines[0]["value"]["summary"], len(lines) - 1))
        url = f"{self.url}/datasets/{repo}/commit/{'d' * 40}"
        return web.json_response({"success": True, "commitOid": "d" * 40, "commitUrl": url})


@pytest.fixture
async def hub(monkeypatch, tmp_path):
    hub = Hub()
    runner = web.AppRunner(hub.app())
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    hub.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    isolate(monkeypatch, tmp_path, hub.url)
    yield hub
    huggingface_hub.close_session()
    await runner.cleanup()


def isolate(monkeypatch, tmp_path, url):
    monkeypatch.setenv("HF_ENDPOINT", url)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.setattr(constants, "HF_STORED_TOKENS_PATH", str(tmp_path / "tokens"))
    # The newer storage speaks a protocol of its own; the hub takes this one as well.
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)


def export(folder, kind="jsonl", count=1):
    turn = Turn(task_id="t", text="x", model="m")
    rows = [
        Row(
            number=number,
            id=str(number),
            seed=number,
            status="done",
            origin={"instructor_persona": "A scientist", "responding_persona": "An assistant"},
            messages=(Message("user", "Why? 😀"), Message("assistant", "So.")),
            turns=(turn, turn),
            model="m",
        )
        for number in range(count)
    ]
    about = About(name="n", recipe={"a": 1}, planned=1, failed=0, license="mit")
    return export_rows(rows, folder / f"x.{kind}", format="messages", kind=kind, about=about)


async def try_push(exported, repo=f"{OWNER}/data"):
    return await asyncio.to_thread(push, exported, repo)


async def refusal(exported, repo=f"{OWNER}/data"):
    with pytest.raises(DriaMagpieError) as caught:
        await try_push(exported, repo)
    text = str(caught.value)
    assert TOKEN not in text
    assert "\n" not in text
    return text


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
async def test_data_and_card_go_up_in_one_commit(hub, tmp_path, kind, capfd):
    exported = export(tmp_path, kind)
    assert await try_push(exported) == f"{hub.url}/datasets/someone/data"
    assert hub.commits == [("someone/data", "Export 1 dialogues", 2)]
    assert hub.private == {"someone/data": True}
    assert hub.repos["someone/data"] == {
        f"x.{kind}": exported.file.read_bytes(),
        "README.md": exported.card.read_bytes(),
    }
    assert len(hub.stored) == (kind == "parquet")
    assert TOKEN not in "".join(capfd.readouterr())


async def test_a_card_under_another_name_goes_up_as_the_readme(hub, tmp_path):
    (tmp_path / "README.md").write_text("# A project\n")
    exported = export(tmp_path)
    assert exported.card.name == "x.README.md"
    await try_push(exported)
    assert set(hub.repos["someone/data"]) == {"README.md", "x.jsonl"}
    assert hub.repos["someone/data"]["README.md"] == exported.card.read_bytes()


async def test_a_dataset_that_is_there_is_added_to(hub, tmp_path):
    hub.repos["someone/data"] = {"old.txt": b"old"}
    await try_push(export(tmp_path))
    await try_push(export(tmp_path, count=2))
    assert [commit[1] for commit in hub.commits] == ["Export 1 dialogues", "Export 2 dialogues"]
    assert hub.repos["someone/data"]["old.txt"] == b"old"
    assert hub.repos["someone/data"]["x.jsonl"] == (tmp_path / "x.jsonl").read_bytes()


async def test_pushing_the_same_again_changes_nothing(hub, tmp_path):
    exported = export(tmp_path)
    assert await try_push(exported) == await try_push(exported)
    assert len(hub.commits) == 1


async def test_a_name_alone_is_a_dataset_of_the_token_s_owner(hub, tmp_path):
    assert await try_push(export(tmp_path), "mine") == f"{hub.url}/datasets/someone/mine"
    assert hub.commits[0][0] == "someone/mine"


@pytest.mark.parametrize("repo", ["", "a/b/c", "a b", "x/../y", "-a/b", "a--b", "ü", "a/b\n"])
async def test_a_name_that_the_hub_does_not_take_is_refused_before_anything(hub, tmp_path, repo):
    with pytest.raises(InvalidInputError, match="is no name of a dataset"):
        await try_push(export(tmp_path), repo)
    assert hub.asked == []


async def test_without_a_token_nothing_is_asked(hub, tmp_path, monkeypatch):
    monkeypatch.delenv("HF_TOKEN")
    text = await refusal(export(tmp_path))
    assert "`hf auth login`, or set HF_TOKEN" in text
    assert hub.asked == []


@pytest.mark.parametrize("token", [f"{TOKEN}\x01", f"{TOKEN}é", f"{TOKEN} x"])
async def test_a_token_that_cannot_be_sent_is_not_quoted(hub, tmp_path, monkeypatch, token):
    monkeypatch.setenv("HF_TOKEN", token)
    assert "characters that no token has" in await refusal(export(tmp_path))
    assert hub.asked == []


async def test_a_token_that_is_not_valid(hub, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    text = await refusal(export(tmp_path))
    assert text.startswith("cannot push to someone/data: ")
    assert "401" in text
    assert text.endswith("the token is not valid: `hf auth login`, or set HF_TOKEN")


async def test_a_dataset_of_someone_else(hub, tmp_path):
    text = await refusal(export(tmp_path), "other/data")
    assert text.endswith(
        "the token must be allowed to write to other/data; check the name and the token"
    )
    assert hub.commits == []


async def test_a_hub_that_is_switched_off(hub, tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    huggingface_hub.close_session()
    text = await refusal(export(tmp_path))
    assert "check the network, and that HF_HUB_OFFLINE is not set" in text
    assert hub.asked == []


@pytest.mark.parametrize("part", ["/commit/", "/api/validate-yaml"])
async def test_a_hub_in_trouble(hub, tmp_path, part):
    hub.refusals[part] = 500
    assert (await refusal(export(tmp_path))).endswith("try again later")


async def test_an_upload_that_is_refused(hub, tmp_path):
    hub.refusals["/storage/"] = 403
    text = await refusal(export(tmp_path, "parquet"))
    assert text.startswith("cannot push to someone/data: Error while uploading 'x.parquet'")
    assert "check the name and the token" in text
    assert hub.commits == []


async def test_a_card_that_the_hub_does_not_take(hub, tmp_path):
    exported = export(tmp_path)
    exported.card.write_text("---\nlicense: mit\n---\n")
    text = await refusal(exported)
    assert '"configs" is required' in text
    assert text.endswith("; export again, then push")
    assert hub.commits == []


async def test_no_network(tmp_path, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    isolate(monkeypatch, tmp_path, f"http://127.0.0.1:{port}")
    assert "check the network" in await refusal(export(tmp_path))
    huggingface_hub.close_session()


async def test_files_that_are_gone(hub, tmp_path):
    exported = export(tmp_path)
    gone = Exported(file=exported.file, rows=1, cut_off=0, card=tmp_path / "gone.md")
    with pytest.raises(InvalidInputError, match="export again, then push"):
        await try_push(gone)
    assert hub.asked == []


async def test_what_the_hub_repeats_of_a_token_is_not_told(hub, tmp_path):
    hub.refuse = lambda status, message: web.json_response(
        {"error": message}, status=status, headers={"X-Error-Message": f"no good: {TOKEN}"}
    )
    hub.refusals["/commit/"] = 500
    assert "no good: …" in await refusal(export(tmp_path))


def test_a_login_that_breaks(tmp_path, monkeypatch):
    def get_token():
        raise OSError("the keys are on fire")

    monkeypatch.setattr(huggingface_hub, "get_token", get_token)
    with pytest.raises(DriaMagpieError, match="the keys are on fire"):
        push(export(tmp_path), "someone/data")


def test_without_the_library(tmp_path, monkeypatch):
    exported = export(tmp_path)
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(UnsupportedError, match=r"pip install 'dria-magpie\[export\]'"):
        push(exported, "someone/data")
