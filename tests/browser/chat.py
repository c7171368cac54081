# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Chat in a browser, as a person would: sign in to Open WebUI, pick a model, ask, read the answer, take a picture.

    OPEN_WEBUI_PASSWORD=... python3 tests/browser/chat.py --url http://gpu-01:3000 --email admin@example.com \
        --model qwen3-8b --question "Who are you?" --expect "Hello from the alpha model." --screenshot chat.png

The password is read from the environment, where no list of processes shows it. Prints the answer. Needs Playwright and
a Chromium; $CHROMIUM names another one than /usr/bin/chromium.
"""

from __future__ import annotations

import argparse
import os
import pathlib
import re
import sys
import time
from urllib.parse import urlsplit

from playwright.sync_api import Error, Locator, Page, sync_playwright

CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
# Root in a container has no sandbox; nothing but the page itself is to be asked for.
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
# How often a page is loaded at most.
LOADS = 3


class BrowserError(Exception):
    """The page did not do what it should; the text says at which step."""


def open_page(page: Page, url: str, wanted: str) -> None:
    """Go to an address and wait for an element of its page.

    A container that starts on this machine changes its network, and Chromium then gives up every request on its way
    (net::ERR_NETWORK_CHANGED): the page stays away, or comes without some of its scripts and says 500. People reload.
    """
    lost: list[str] = []
    page.on("requestfailed", lambda request: lost.append(f"{request.url}: {request.failure}"))
    broken = page.get_by_text(re.compile("^500"))
    for _attempt in range(LOADS):
        try:
            page.goto(url)
            page.locator(wanted).or_(broken).first.wait_for()
        except Error as error:
            lost.append(error.message)
            continue
        if page.locator(wanted).first.is_visible():
            return
    raise BrowserError(f"{url} was loaded {LOADS} times and has no {wanted}; lost were: {', '.join(lost) or 'none'}")


def sign_in(page: Page, url: str, email: str, password: str) -> None:
    """From the address to an empty chat."""
    open_page(page, url, "#email")
    page.locator("#email").fill(email)
    page.locator("#password").fill(password)
    page.get_by_role("button", name="Sign in", exact=True).click()
    refused = page.locator("[data-sonner-toast][data-type=error]").first
    page.locator("#chat-input").or_(refused).first.wait_for()
    if not page.locator("#chat-input").is_visible():
        raise BrowserError(f"{url} does not let {email} in: {refused.inner_text().strip()}")


def dismiss_news(page: Page) -> None:
    """Close what greets a person after an upgrade; it comes a moment after the page, or not at all."""
    news = page.get_by_role("dialog")
    try:
        news.first.wait_for(timeout=4000)
    except Error:
        return
    news.get_by_role("button").last.click()
    news.first.wait_for(state="hidden")


def pick_model(page: Page, model: str) -> None:
    """Choose a model in the menu, unless it is the chosen one."""
    chosen = page.locator("#model-selector-model-button")
    chosen.wait_for()
    if (chosen.get_attribute("aria-label") or "").endswith(f": {model}"):
        return
    chosen.click()
    page.locator("#model-search-input").fill(model)
    option = page.get_by_role("option", name=f"Select {model} model", exact=True)
    try:
        option.wait_for()
    except Error as error:
        page.locator("#model-search-input").fill("")
        offered = [text.split("\n")[0] for text in page.get_by_role("option").all_inner_texts()]
        raise BrowserError(f"the menu has no model {model}; it has: {', '.join(offered) or 'none'}") from error
    option.click()
    page.locator(f"#model-selector-model-button[aria-label$=': {model}']").wait_for()


def ask(page: Page, question: str, expect: str | None, patience: float) -> str:
    """Send a message and wait until the answer is complete, or holds what is expected."""
    page.locator("#chat-input").click()
    page.keyboard.type(question)
    page.keyboard.press("Enter")
    answer = page.locator(".chat-assistant").last
    end = time.monotonic() + patience
    text, steady = "", 0
    while time.monotonic() < end:
        page.wait_for_timeout(250)
        now = answer.inner_text().strip() if answer.count() else ""
        steady = steady + 1 if now and now == text else 0
        text = now
        if expect is not None and expect in text:
            return text
        # A server that is done leaves the text as it is, and takes its stop button away.
        if expect is None and steady >= 8 and not stop_button(page).is_visible():
            return text
    raise BrowserError(f"no answer in {patience:.0f} seconds with {expect!r} in it; the page shows: {text!r}")


def stop_button(page: Page) -> Locator:
    """What is there to press while an answer is coming."""
    return page.get_by_role("button", name=re.compile("^Stop$"))


def chat(
    url: str,
    email: str,
    password: str,
    model: str,
    question: str,
    expect: str | None = None,
    screenshot: pathlib.Path | None = None,
    timeout: float = 60,
    at: str = "",
) -> str:
    """One question in a fresh browser; the answer as the page shows it. There is a picture after a failure, too.

    With `at`, the host in the URL is at that address, and its certificate is not checked: a browser asks no file whom
    it trusts.
    """
    name = urlsplit(url).hostname
    found = [f"--host-resolver-rules=MAP {name} {at}"] if at else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=[*FLAGS, *found])
        try:
            page = browser.new_page(
                viewport={"width": 1280, "height": 800}, locale="en-US", ignore_https_errors=bool(at)
            )
            page.set_default_timeout(timeout * 1000)
            try:
                sign_in(page, url, email, password)
                dismiss_news(page)
                pick_model(page, model)
                return ask(page, question, expect, timeout)
            except Error as error:
                raise BrowserError(f"the page at {page.url} is not as expected: {error.message}") from error
            finally:
                if screenshot is not None:
                    screenshot.parent.mkdir(parents=True, exist_ok=True)
                    page.wait_for_timeout(500)
                    page.screenshot(path=screenshot)
        finally:
            browser.close()


def main() -> int:
    """Ask from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", required=True, help="address of Open WebUI")
    parser.add_argument("--at", default="", help="where the host of a URL is that no name server knows")
    parser.add_argument("--email", required=True, help="who signs in; the password is in $OPEN_WEBUI_PASSWORD")
    parser.add_argument("--model", required=True, help="id of the model, as the menu shows it")
    parser.add_argument("--question", default="Who are you?")
    parser.add_argument("--expect", help="what the answer must contain")
    parser.add_argument("--screenshot", type=pathlib.Path, help="where to save a picture of the page")
    parser.add_argument("--timeout", type=float, default=60, help="seconds that each step may take (default 60)")
    options = parser.parse_args()
    password = os.environ.get("OPEN_WEBUI_PASSWORD")
    if not password:
        parser.error("set OPEN_WEBUI_PASSWORD in the environment")
    try:
        print(
            chat(
                options.url,
                options.email,
                password,
                options.model,
                options.question,
                options.expect,
                options.screenshot,
                options.timeout,
                options.at,
            )
        )
    except BrowserError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
