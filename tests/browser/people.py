# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Look at Open WebUI with the eyes of several people, and hold what each sees against what each should.

    python3 tests/browser/people.py --url http://gpu-01:3000 --screenshots DIR < people.json

people.json is read from the standard input, where no list of processes shows its passwords:

    [{"email": "ann@example.com", "password": "...",
      "models": ["qwen3-8b"],                              exactly these in the menu, in any order
      "ask": "qwen3-8b", "expect": "Hello",                a chat, when given
      "connections": ["http://gpu-01:18005/v1"]}]          exactly these in the settings; null: not for this person
"""

from __future__ import annotations

import argparse
import json
import pathlib
import sys
import time
import typing as t

import chat
from playwright.sync_api import Error, Page, sync_playwright

# How many looks in a row, a quarter of a second apart, must be alike.
STEADY = 8


def until_equal(page: Page, what: str, read: t.Callable[[], list[str]], wanted: list[str], patience: float) -> None:
    """Wait until the page shows exactly what is wanted, and goes on to: it fills its lists bit by bit."""
    end = time.monotonic() + patience
    steady = 0
    while True:
        seen = read()
        steady = steady + 1 if sorted(seen) == sorted(wanted) else 0
        if steady == STEADY:
            return
        if time.monotonic() > end:
            raise chat.BrowserError(f"{what}: {seen} instead of {wanted}")
        page.wait_for_timeout(250)


def see_models(page: Page, wanted: list[str], patience: float) -> None:
    """Open the menu of models, compare, close it again."""
    page.locator("#model-selector-model-button").click()
    page.locator("#model-search-input").wait_for()
    until_equal(
        page,
        "the menu of models",
        lambda: [text.split("\n")[0] for text in page.get_by_role("option").all_inner_texts()],
        wanted,
        patience,
    )


def see_connections(page: Page, url: str, wanted: list[str] | None, patience: float) -> None:
    """Open the page of connections in the administrator's settings; others are sent away from it."""
    fields = page.get_by_placeholder("API Base URL")
    if wanted is None:
        chat.open_page(page, f"{url}/admin/settings/connections", "#chat-input")
        if "/admin/" in page.url:
            raise chat.BrowserError(f"somebody who is no administrator stays at {page.url}")
        return
    chat.open_page(page, f"{url}/admin/settings/connections", "[placeholder='API Base URL']")
    until_equal(page, "the connections", lambda: [field.input_value() for field in fields.all()], wanted, patience)


def look(page: Page, url: str, person: dict[str, t.Any], shots: pathlib.Path, patience: float) -> str:
    """Everything one person does, with a picture of each step; what was answered."""
    name = person["email"].partition("@")[0]
    answer = ""
    try:
        chat.sign_in(page, url, person["email"], person["password"])
        chat.dismiss_news(page)
        see_models(page, person["models"], patience)
        page.screenshot(path=shots / f"{name}-models.png")
        page.keyboard.press("Escape")
        if person.get("ask"):
            chat.pick_model(page, person["ask"])
            answer = chat.ask(page, "Who are you?", person["expect"], patience)
            page.screenshot(path=shots / f"{name}-chat.png")
        if "connections" in person:
            see_connections(page, url, person["connections"], patience)
            page.screenshot(path=shots / f"{name}-connections.png")
    except Error as error:
        page.screenshot(path=shots / f"{name}-failed.png")
        raise chat.BrowserError(f"{person['email']}: {page.url} is not as expected: {error.message}") from error
    except chat.BrowserError as error:
        page.screenshot(path=shots / f"{name}-failed.png")
        raise chat.BrowserError(f"{person['email']}: {error}") from error
    return answer


def main() -> int:
    """Look from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", required=True, help="address of Open WebUI")
    parser.add_argument("--screenshots", type=pathlib.Path, required=True, help="folder for pictures of the page")
    parser.add_argument("--timeout", type=float, default=90, help="seconds that each step may take (default 90)")
    options = parser.parse_args()
    people = json.load(sys.stdin)
    options.screenshots.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chat.CHROMIUM, args=list(chat.FLAGS))
        try:
            for person in people:
                context = browser.new_context(viewport={"width": 1280, "height": 800}, locale="en-US")
                page = context.new_page()
                page.set_default_timeout(options.timeout * 1000)
                answer = look(page, options.url, person, options.screenshots, options.timeout)
                print(f"{person['email']} sees {', '.join(person['models']) or 'nothing'}; answer: {answer!r}")
                context.close()
        except chat.BrowserError as error:
            print(error, file=sys.stderr)
            return 1
        finally:
            browser.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
