# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import itertools
import typing as t

import pytest

from ansible_collections.private_llm.fleet.plugins.plugin_utils._chain import (
    chain_of,
    lines_of,
    offer_of,
    offers_of,
    over_the_line,
    releases_of,
)

DIGEST = "d" * 64
FILES = [{"path": "w.bin", "size": 100, "sha256": "0" * 64}]


def looked(repo: str = "acme/tiny", missing: int | None = 100, digest: str | None = DIGEST) -> dict[str, t.Any]:
    return {"item": {"repo": repo}, "digest": digest, "files": FILES, "bytes_missing": missing, "bytes_total": 100}


def fleet(**missing: int) -> dict[str, t.Any]:
    """Hosts by their names, with what each lacks of one model."""
    return {
        name: {"model_download_offer": offer_of([looked(missing=count)], f"http://{name}:8790", "")}
        for name, count in missing.items()
    }


def peers(hostvars: dict[str, t.Any], host: str) -> list[str]:
    place = chain_of(list(hostvars), hostvars, host, [looked()])
    return [url.split("/")[2].split(":")[0] for url in place["peers"].get("acme/tiny", [])]


def test_each_gets_it_from_the_one_before() -> None:
    hostvars = fleet(a=100, b=100, c=100)
    assert [peers(hostvars, name) for name in "abc"] == [[], ["a"], ["b", "a"]]
    served = [bool(chain_of(list("abc"), hostvars, name, [looked()])["serve"]) for name in "abc"]
    assert served == [True, True, False]


def test_whoever_has_it_comes_first() -> None:
    hostvars = fleet(a=100, b=0, c=100)
    assert peers(hostvars, "a") == ["b"]
    assert peers(hostvars, "b") == []
    assert peers(hostvars, "c") == ["a", "b"]


def test_what_is_served_is_the_list_that_the_host_was_told() -> None:
    place = chain_of(["a", "b"], fleet(a=0, b=100), "a", [looked()])
    assert place["serve"] == [{"repo": "acme/tiny", "digest": DIGEST, "files": FILES}]
    assert place["members"] == ["http://b:8790"]


def test_nobody_serves_what_nobody_lacks() -> None:
    hostvars = fleet(a=0, b=0)
    assert chain_of(["a", "b"], hostvars, "a", [looked(missing=0)]) == {"peers": {}, "serve": [], "members": []}


def test_another_release_of_the_model_is_another_chain() -> None:
    hostvars = fleet(a=100, b=100)
    other = offer_of([looked(digest="e" * 64)], "http://b:8790", "")
    hostvars["b"] = {"model_download_offer": other}
    assert peers(hostvars, "b") == []


def test_racks_stay_together() -> None:
    hostvars = {
        name: {"model_download_offer": offer_of([looked()], f"http://{name}:8790", rack)}
        for name, rack in (("a", "left"), ("b", "right"), ("c", "left"), ("d", "right"))
    }
    assert peers(hostvars, "d") == ["b", "c", "a"]
    assert peers(hostvars, "c") == ["a"]


def test_hosts_wait_for_each_other_in_one_order_whatever_they_lack() -> None:
    """With two models, whoever may wait for another for one of them never is waited for by that one for the other."""
    for having in itertools.product((0, 100), repeat=6):
        sizes = dict(zip("abc", zip(having[:3], having[3:], strict=True), strict=True))
        hostvars = {
            name: {
                "model_download_offer": offer_of(
                    [looked("acme/one", one), looked("acme/two", two, "e" * 64)], f"http://{name}:8790", ""
                )
            }
            for name, (one, two) in sizes.items()
        }
        waits = set()
        for release in releases_of(offers_of("abc", hostvars) or offers_of(list("abc"), hostvars)):
            for host in release.lack:
                waits |= {(host, other) for other in release.before(host) if other in release.lack}
        assert not {(one, other) for one, other in waits if (other, one) in waits}


@pytest.mark.parametrize("result", [looked(digest=None), looked(missing=None), {"failed": True}, None, "x"])
def test_what_is_not_known_is_not_spread(result: t.Any) -> None:
    assert offer_of([result], "http://a:8790", "")["models"] == []


def test_an_archive_beside_the_host_is_read_there_and_one_on_the_controller_is_carried_once() -> None:
    beside = {**looked(), "source": "archive"}
    assert offer_of([beside], "http://a:8790", "")["models"] == []
    carried = {**beside, "item": {"repo": "acme/tiny", "archive_on": "controller"}}
    assert [model["repo"] for model in offer_of([carried], "http://a:8790", "")["models"]] == ["acme/tiny"]


def test_a_host_that_takes_no_part_stands_alone() -> None:
    hostvars = {**fleet(a=100), "b": {"model_download_offer": {}}, "c": {}}
    assert chain_of(["a", "b", "c"], hostvars, "b", [looked()]) == {"peers": {}, "serve": [], "members": []}
    assert peers(hostvars, "a") == []


def test_lines_say_who_fetches_and_what_crosses_the_line() -> None:
    fresh = releases_of(offers_of(["a", "b", "c"], fleet(a=100, b=100, c=100)))
    assert lines_of(fresh) == [
        "acme/tiny: a fetches it, b, c from there in a chain; 100 B cross the line",
    ]
    late = releases_of(offers_of(["a", "b"], fleet(a=0, b=100)))
    assert lines_of(late) == ["acme/tiny: b from a in a chain; nothing crosses the line"]
    assert lines_of(releases_of(offers_of(["a", "b"], fleet(a=0, b=0)))) == []


def test_images_have_a_fact_of_their_own() -> None:
    hostvars = {
        name: {"__container_image_offer": offer_of([looked()], f"http://{name}:8790", ""), "model_download_offer": {}}
        for name in "ab"
    }
    place = chain_of(["a", "b"], hostvars, "b", [looked()], "__container_image_offer")
    assert place["peers"] == {"acme/tiny": ["http://a:8790"]}
    assert chain_of(["a", "b"], hostvars, "b", [looked()])["members"] == []


def measured(rate: int | None, url: str, *models: dict[str, t.Any]) -> dict[str, t.Any]:
    """Return what a host says whose last download had a rate."""
    results = [{**model, "bytes_per_second": rate} for model in models]
    return {"model_download_offer": offer_of(results, url, "")}


def test_a_download_takes_its_bytes_at_the_rate_of_the_last_one() -> None:
    big = looked("acme/big", missing=6_000_000_000)
    hostvars = {
        "first": measured(10_000_000, "http://first:8790", looked(missing=0), big),
        "second": measured(10_000_000, "http://second:8790", big),
        "alone": measured(50_000_000, "", big),
        "new": measured(None, "", looked("acme/other", missing=100)),
        "idle": measured(10_000_000, "", looked(missing=0)),
    }
    found = over_the_line(list(hostvars), hostvars)
    assert [(one.host, one.size, one.seconds) for one in found] == [
        ("first", 6_000_000_000, 600),
        ("alone", 6_000_000_000, 120),
    ]
    assert found[0].sentence() == "first: 6.0 GB come over the line, about 10 min at the 10.0 MB/s of its last download"
    assert found[1].as_result() == {
        "host": "alone",
        "bytes": 6_000_000_000,
        "bytes_per_second": 50_000_000,
        "seconds": 120,
    }


def test_what_the_controller_brings_is_no_download() -> None:
    carried = {**looked(missing=100), "source": "archive", "item": {"repo": "acme/tiny", "archive_on": "controller"}}
    hostvars = {"a": measured(1000, "", carried)}
    assert over_the_line(["a"], hostvars) == []
