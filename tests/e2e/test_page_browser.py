"""The page in a real browser: both schemes, narrow and wide, without errors or sideways scrolling, live, unscripted."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright
from sqlalchemy import insert, update

from automator67.engine.store.database import open_store
from automator67.engine.store.tables import app_states, events
from tests.support.web import COMMIT, WebProcess, sample_store

CHROMIUM = Path("/usr/bin/chromium")
ARTIFACTS = Path(os.environ.get("A67_ARTIFACTS", Path(__file__).resolve().parents[1] / ".artifacts"))
PAGES = {"overview": "/", "app": "/apps/shop", "node": "/nodes/hel1", "commit": f"/commits/{COMMIT}", "none": "/apps/x"}

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not CHROMIUM.exists(), reason=f"no Chromium at {CHROMIUM}"),
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        arguments = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        one = playwright.chromium.launch(executable_path=str(CHROMIUM), args=arguments)
        yield one
        one.close()


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("browser")
    sample_store(directory / "store.db", time.time()).close()
    return directory


@pytest.fixture(scope="module")
def web(state: Path) -> Iterator[WebProcess]:
    with WebProcess(state) as process:
        yield process


@pytest.fixture
def look(browser: Browser) -> Iterator[Any]:
    """Opens pages, and at the end checks that no page logged an error."""
    contexts: list[BrowserContext] = []
    errors: list[str] = []

    def open_page(**options: Any) -> Page:
        context = browser.new_context(**{"viewport": {"width": 1440, "height": 900}, **options})
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda m: errors.append(m.text) if m.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: errors.append(str(error)))
        return page

    open_page.errors = errors  # type: ignore[attr-defined]
    yield open_page
    for context in contexts:
        context.close()
    assert errors == []


def change(state: Path, **values: Any) -> None:
    store = open_store(state / "store.db")
    with store.begin() as tx:
        tx.execute(update(app_states).where(app_states.c.app == "wiki").values(**values))
    store.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 768, 1440])
def test_every_page_fits_and_says_no_error(look: Any, web: WebProcess, width: int, scheme: str) -> None:
    page: Page = look(viewport={"width": width, "height": 900}, color_scheme=scheme)
    ARTIFACTS.mkdir(parents=True, exist_ok=True)
    for name, path in PAGES.items():
        page.goto(web.url + path)
        page.wait_for_load_state("networkidle") if name == "none" else page.locator("#live-text").wait_for()
        wide = page.evaluate("[document.documentElement.scrollWidth, document.documentElement.clientWidth]")
        assert wide[0] <= wide[1], f"{name} scrolls sideways at {width} px"
        page.screenshot(path=str(ARTIFACTS / f"{name}-{width}-{scheme}.png"), full_page=True)
        if name == "none":
            look.errors.clear()  # the browser reports the 404 itself
    page.goto(web.url)
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (background == "rgb(9, 9, 11)") is (scheme == "dark")


def test_the_empty_page_shows_what_to_commit(look: Any, tmp_path: Path) -> None:
    open_store(tmp_path / "store.db").close()
    with WebProcess(tmp_path) as web:
        for width in (360, 1440):
            page: Page = look(viewport={"width": width, "height": 900})
            page.goto(web.url)
            expect(page.get_by_text("apps/hello.yaml")).to_be_visible()
            expect(page.get_by_text("kind: agent")).to_be_visible()
            page.screenshot(path=str(ARTIFACTS / f"empty-{width}-light.png"), full_page=True)
            page.context.close()


def test_a_change_shows_within_two_seconds_in_its_part_only_and_nothing_jumps(
    look: Any, web: WebProcess, state: Path
) -> None:
    page: Page = look()
    page.goto(web.url)
    expect(page.locator("#live-text")).to_have_text("live")
    page.evaluate(
        """() => {
          window.shift = 0; window.touched = [];
          new PerformanceObserver((list) => { for (const e of list.getEntries()) window.shift += e.value; })
            .observe({type: 'layout-shift', buffered: false});
          new MutationObserver((all) => {
            for (const m of all) for (const n of m.addedNodes) if (n.id) window.touched.push(n.id);
          }).observe(document.getElementById('live'), {childList: true});
        }"""
    )
    row = page.locator("tr", has=page.get_by_role("link", name="wiki", exact=True))
    link = row.get_by_role("link", name="wiki", exact=True)
    link.focus()
    begun = time.monotonic()
    change(state, sync="progressing")
    expect(row.get_by_text("rolling out")).to_be_visible(timeout=10_000)
    took = time.monotonic() - begun
    assert took < 2, f"it took {took:.1f} s"
    assert page.evaluate("window.touched") == ["apps"]
    assert page.evaluate("window.shift") == 0
    assert page.evaluate("document.activeElement.textContent") == "wiki"
    change(state, sync="synced")
    expect(row.get_by_text("synced")).to_be_visible(timeout=10_000)


def test_times_count_up_without_a_change(look: Any, web: WebProcess) -> None:
    page: Page = look()
    page.goto(web.url)
    heard = page.locator("#nodes time").nth(1)
    first = heard.text_content()
    expect(heard).not_to_have_text(first or "", timeout=10_000)


def test_a_lost_connection_is_said_and_a_regained_one_too(look: Any, tmp_path: Path) -> None:
    sample_store(tmp_path / "store.db", time.time()).close()
    page: Page = look()
    with WebProcess(tmp_path) as web:
        page.goto(web.url)
        expect(page.locator("#live-text")).to_have_text("live")
        expect(page.locator("#toast")).to_be_hidden()
        page.route("**/api/**", lambda route: route.abort())
        expect(page.locator("#toast")).to_be_visible(timeout=15_000)
        expect(page.locator("#toast")).to_contain_text("The connection is lost")
        expect(page.locator("#live-text")).to_have_text("not connected")
        page.screenshot(path=str(ARTIFACTS / "lost-1440-light.png"))
        page.unroute("**/api/**")
        expect(page.locator("#toast")).to_be_hidden(timeout=15_000)
        expect(page.locator("#live-text")).to_have_text("live")
        page.goto("about:blank")
    look.errors.clear()  # the browser reports the aborted requests itself


def test_a_page_opened_before_the_engine_shows_it_once_it_is_there(look: Any, tmp_path: Path) -> None:
    page: Page = look()
    with WebProcess(tmp_path) as web:
        page.goto(web.url)
        expect(page.get_by_text("The store is not there yet")).to_be_visible()
        sample_store(tmp_path / "store.db", time.time()).close()
        expect(page.get_by_text("4 things need attention")).to_be_visible(timeout=15_000)
        page.goto("about:blank")
    look.errors.clear()  # the browser reports the 503 itself


def test_without_scripts_everything_is_there_to_read(look: Any, web: WebProcess) -> None:
    page: Page = look(java_script_enabled=False)
    page.goto(web.url)
    for text in ("4 things need attention", "Recent events", "blog.example.org"):
        expect(page.get_by_text(text).first).to_be_visible()
    page.get_by_role("link", name="shop", exact=True).first.click()
    expect(page.get_by_role("heading", name="shop")).to_be_visible()
    expect(page.locator("#live-text")).to_contain_text("as of")


def test_the_keyboard_reaches_the_content_first(look: Any, web: WebProcess) -> None:
    page: Page = look()
    page.goto(web.url)
    page.keyboard.press("Tab")
    expect(page.get_by_text("Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert page.evaluate("document.getElementById('main').contains(document.activeElement)")


def test_hostile_names_in_the_store_stay_text(look: Any, tmp_path: Path) -> None:
    sample_store(tmp_path / "store.db", time.time()).close()
    hostile = "<img src=x onerror=alert(1)><script>alert(2)</script>"
    store = open_store(tmp_path / "store.db")
    with store.begin() as tx:
        tx.execute(update(app_states).values(reason=hostile, path=hostile))
        row = {
            "at": time.time(),
            "kind": hostile[:30],
            "resource": f"app/{hostile}",
            "message": hostile,
            "commit_id": hostile,
        }
        tx.execute(insert(events).values(**row))
    store.close()
    page: Page = look()
    dialogs: list[str] = []
    page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
    with WebProcess(tmp_path) as web:
        for path in ("/", "/apps/wiki"):
            page.goto(web.url + path)
            expect(page.locator("#live-text")).to_have_text("live")
            assert page.locator("main img, main script").count() == 0
            expect(page.get_by_text(hostile).first).to_be_visible()
        page.goto("about:blank")
    assert dialogs == []
