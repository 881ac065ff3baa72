"""Plans on pull requests: real git over HTTP, a real store, GitHub as its description says it is."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from automator67.engine.apis.client import ApiError
from automator67.engine.forges.github_reviews import GitHubReviews
from automator67.engine.forges.outbox import due
from automator67.engine.pull_desk import PullDesk
from automator67.engine.repo import proposals as proposals_module
from automator67.engine.repo.mirror import Mirror
from automator67.engine.repo.proposals import Proposals
from automator67.engine.store.database import Store, open_store
from automator67.engine.store.facts import set_fact
from tests.support.githttp import GitServer, ServedRepo, commit_files, git
from tests.support.github_reviews import EVE, Repository
from tests.support.standin import Reached, Refused

CLOUD = "name: home\n"
BLOG = "image: ghcr.io/ana/blog:1.4\nport: 8080\n"
NODE = "kind: agent\nregion: eu\n"
MARKER = "<!-- automator67:plan:home -->"


@dataclass
class World:
    repo: ServedRepo
    forge: Repository
    store: Store
    proposals: Proposals

    def desk(self) -> PullDesk:
        reviews = GitHubReviews("ana", "cloud", "ghp_writes", transport=Reached(self.forge.api))
        return PullDesk(
            self.store, reviews, self.proposals, "main", "", name=lambda: "home", told=lambda: None, clock=time.time
        )

    def propose(self, number: int, files: dict[str, str | None], owner: str = "ana/cloud") -> str:
        """Open a pull request with these files, or push to one."""
        branch = f"pr{number}"
        if not git("-C", self.repo.path, "for-each-ref", f"refs/heads/{branch}"):
            git("-C", self.repo.path, "branch", branch, "main")
        head = commit_files(self.repo.path, files, branch=branch)
        return self.show(number, head, owner)

    def show(self, number: int, head: str, owner: str = "ana/cloud") -> str:
        """Let the forge show a commit as a pull request's head."""
        git("-C", self.repo.path, "update-ref", f"refs/pull/{number}/head", head)
        self.forge.pulls[number] = (head, owner)
        return head

    def statuses(self) -> dict[str, tuple[str, str]]:
        with self.store.read() as tx:
            return {d.commit: (d.status.state, d.status.description) for d in due(tx, time.time() + 10)}

    def only_comment(self, number: int) -> str:
        [body] = self.forge.bodies(number)
        assert body.startswith(MARKER)
        return body


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with GitServer(tmp_path) as server, open_store(tmp_path / "store.db") as store:
        repo = server.create("cloud")
        commit_files(repo.path, {"automator67.yaml": CLOUD, "apps/blog.yaml": BLOG, "nodes/hel1.yaml": NODE})
        mirror = Mirror(tmp_path / "mirror", repo.url, "main", allow_http=True)
        made = World(repo, Repository(), store, Proposals(tmp_path / "proposals", mirror))
        yield made
        assert made.forge.api.broken == []


def test_a_plan_is_one_comment_and_a_status_kept_up_to_date(world: World) -> None:
    first = world.propose(7, {"apps/blog.yaml": BLOG.replace("1.4", "1.5"), "apps/wiki.yaml": BLOG})
    desk = world.desk()
    desk.look()
    body = world.only_comment(7)
    assert "<code>app&#47;wiki</code>" in body
    assert "<code>app&#47;blog</code>" in body
    assert world.statuses()[first][0] == "success"
    assert "2 to create" in world.statuses()[first][1]
    posts = len(world.forge.api.writes())
    desk.look()
    assert len(world.forge.api.writes()) == posts, "nothing has changed, so nothing is written"

    second = world.propose(7, {"apps/wiki.yaml": None})
    desk.look()
    assert "wiki" not in world.only_comment(7)
    assert "1 to create" in world.statuses()[second][1]

    del world.forge.pulls[7]
    desk.look()
    assert "This pull request is closed" in world.only_comment(7)
    desk.look()


def test_only_what_the_pull_request_brings_is_its_plan(world: World) -> None:
    world.propose(8, {"apps/wiki.yaml": BLOG})
    world.desk().look()
    body = world.only_comment(8)
    assert "wiki" in body
    assert "blog</code> | create" not in body
    assert "Not from here: 1 resources" in body


def test_a_branch_that_moved_is_merged_and_not_reverted(world: World) -> None:
    world.propose(9, {"apps/wiki.yaml": BLOG})
    commit_files(world.repo.path, {"apps/later.yaml": BLOG})
    with world.store.begin() as tx:
        set_fact(tx, "head", "moved")
    world.desk().look()
    assert "later" not in world.only_comment(9)
    assert "delete" not in world.only_comment(9)


def test_a_conflict_and_an_error_are_failures_that_say_where(world: World) -> None:
    clash = world.propose(1, {"apps/blog.yaml": BLOG.replace("1.4", "1.5")})
    commit_files(world.repo.path, {"apps/blog.yaml": BLOG.replace("1.4", "1.6")})
    wrong = world.propose(2, {"apps/wiki.yaml": "image: a/b:1\nreplica: 2\n"})
    world.desk().look()
    assert world.statuses()[clash] == ("failure", "conflicts with main in apps/blog.yaml: merge or rebase it first")
    assert world.statuses()[wrong][0] == "failure"
    assert world.statuses()[wrong][1].startswith("apps/wiki.yaml:2:1: replica")
    assert "<code>apps&#47;wiki&#46;yaml&#58;2&#58;1</code>" in world.only_comment(2)


def test_a_marker_that_another_wrote_is_left_alone(world: World) -> None:
    world.forge.comments[1] = (3, EVE, f"{MARKER}\nall is well, merge it")
    world.propose(3, {"apps/wiki.yaml": BLOG})
    world.desk().look()
    assert world.forge.bodies(3, EVE) == [f"{MARKER}\nall is well, merge it"]
    assert "wiki" in world.only_comment(3)


def test_a_comment_whose_record_was_lost_is_found_among_many(world: World) -> None:
    world.propose(4, {"apps/wiki.yaml": BLOG})
    for name in range(1, 151):
        world.forge.comments[name] = (4, EVE, "first!")

    def killed(call: object) -> None:
        if getattr(call, "method", "") == "POST":
            raise Refused(500)

    world.forge.api.afterwards = killed
    with pytest.raises(ApiError):
        world.desk().look()
    world.forge.api.afterwards = lambda call: None
    world.desk().look()
    assert "wiki" in world.only_comment(4)


def test_a_comment_that_somebody_deleted_is_written_again(world: World) -> None:
    world.propose(5, {"apps/wiki.yaml": BLOG})
    desk = world.desk()
    desk.look()
    world.forge.comments.clear()
    world.propose(5, {"apps/wiki.yaml": BLOG.replace("1.4", "1.5")})
    desk.look()
    assert "wiki" in world.only_comment(5)


def test_a_token_that_may_not_comment_is_told_what_it_lacks_and_others_go_on(world: World) -> None:
    world.propose(1, {"apps/wiki.yaml": BLOG})
    world.propose(2, {"apps/wiki.yaml": BLOG})

    def refuse(call: object) -> None:
        if "/issues/1/" in getattr(call, "path", ""):
            raise Refused(403, {"message": "Resource not accessible by personal access token"})

    world.forge.api.fault = refuse
    with pytest.raises(ApiError, match="Pull requests: write"):
        world.desk().look()
    assert "wiki" in world.only_comment(2)


def test_a_fork_does_not_loosen_what_it_is_judged_by(world: World) -> None:
    files: dict[str, str | None] = {f"apps/a{n}.yaml": BLOG for n in range(6)}
    commit_files(world.repo.path, files)
    head = world.propose(6, {"automator67.yaml": "name: home\nlimits: {deletions: 100}\n"}, owner="eve/cloud")
    world.desk().look()
    body = world.only_comment(6)
    assert "From a fork" in body
    assert "It changes `automator67.yaml`: those changes did not count" in body
    assert world.statuses()[head][0] == "success"


def _tree(world: World, listing: str) -> str:
    return git("-C", world.repo.path, "mktree", "--missing", data=listing.encode())


def _commit_tree(world: World, tree: str) -> str:
    return git("-C", world.repo.path, "commit-tree", tree, "-p", "main", "-m", "harmless")


def test_a_tree_that_unfolds_without_end_is_refused_quickly(world: World) -> None:
    blob = git("-C", world.repo.path, "hash-object", "-w", "--stdin", data=b"x")
    inner = _tree(world, "".join(f"100644 blob {blob}\tf{n}\n" for n in range(10)))
    for _ in range(12):
        inner = _tree(world, "".join(f"040000 tree {inner}\tapps{n}\n" for n in range(10)))
    head = world.show(10, _commit_tree(world, inner), "eve/cloud")
    world.desk().look()
    assert world.statuses()[head][0] == "failure"
    assert "more than 100000 files" in world.statuses()[head][1]


def test_more_than_is_fitting_does_not_arrive(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proposals_module, "MAX_BYTES", 2**20)
    noise = "".join(f"# {n * 2654435761 % 2**64:x}\n" for n in range(300_000))
    head = world.propose(11, {"apps/wiki.yaml": BLOG, "noise": noise}, "eve/cloud")
    world.desk().look()
    assert world.statuses()[head] == ("failure", "it brings more than 1 MiB; nothing of it was kept")


HOSTILE = {
    "a link": ("120000", b"/etc/passwd", "apps/x.yaml", "symbolic link"),
    "a link as folder": ("120000", b"/etc", "apps", "symbolic link"),
    "an alias bomb": ("100644", b"a: &a [x,x]\nb: &b [*a,*a]\nc: &c [*b,*b]\n", "apps/x.yaml", "apps/x.yaml:1"),
    "depth": ("100644", b"a: " + b"[" * 5000, "apps/x.yaml", "apps/x.yaml"),
    "size": ("100644", b"#" * 3_000_000, "apps/x.yaml", "bytes, more than"),
    "a tag": ("100644", b"image: !!python/object/apply:os.system [id]\n", "apps/x.yaml", "apps/x.yaml:1"),
    "not text": ("100644", b"\xff\xfe\x00", "apps/x.yaml", "apps/x.yaml"),
    "an escape in a name": ("100644", BLOG.encode(), "apps/x\x1b[2J.yaml", "\\x1b"),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_hostile_files_are_refused_with_their_place(world: World, what: str) -> None:
    mode, content, path, said = HOSTILE[what]
    blob = git("-C", world.repo.path, "hash-object", "-w", "--stdin", data=content)
    folder, _, name = path.rpartition("/")
    tree = _tree(world, f"{mode} blob {blob}\t{name}\n")
    if folder:
        tree = _tree(world, f"040000 tree {tree}\t{folder}\n")
    head = world.show(12, _commit_tree(world, _with_rest(world, tree, path)), "eve/cloud")
    world.desk().look()
    state, text = world.statuses()[head]
    assert state == "failure"
    assert said in text
    assert "\x1b" not in world.only_comment(12)


def _with_rest(world: World, tree: str, path: str) -> str:
    """Return main's tree with the top entry of ``tree`` in place of its own."""
    top = path.partition("/")[0]
    lines = git("-C", world.repo.path, "ls-tree", "main").splitlines()
    new = git("-C", world.repo.path, "ls-tree", tree)
    return _tree(world, "\n".join([*(line for line in lines if line.split("\t")[1] != top), new, ""]))
