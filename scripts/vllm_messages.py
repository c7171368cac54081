#!/usr/bin/env python3
# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""List what the sources of a vLLM release raise while a server starts, and which of it the diagnosis does not know.

    pip download --no-deps -d DIR vllm==0.32.0    and unpack the wheel; only its Python files are read
    vllm_messages.py DIR                          each message with the signature that it is recognized by
    vllm_messages.py DIR --unknown                those that none recognizes, by file, for the next signatures
    vllm_messages.py DIR --json                   the same as data, which the corpus of the tests is taken from

A message is shown as vLLM prints it, with made-up values in place of what it fills in. It is held against the diagnosis
inside of a traceback, as a log has it. Run it with a new release before its options are added to the table.
"""

from __future__ import annotations

import argparse
import ast
import json
import pathlib
import sys
from collections.abc import Iterator
from typing import NamedTuple

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / ".collections"))

# Where a server that starts comes through; requests and other uses of vLLM are left out.
STARTUP = (
    "config",
    "config.py",
    "engine/arg_utils.py",
    "engine/async_llm_engine.py",
    "entrypoints/cli",
    "entrypoints/launcher.py",
    "entrypoints/launchers",
    "entrypoints/openai/api_server.py",
    "entrypoints/openai/cli_args.py",
    "entrypoints/openai/models",
    "envs.py",
    "platforms",
    "plugins",
    "lora",
    "distributed/parallel_state.py",
    "distributed/device_communicators",
    "distributed/kv_transfer/kv_connector/factory.py",
    "executor",
    "model_executor/model_loader",
    "model_executor/models/registry.py",
    "model_executor/models/utils.py",
    "model_executor/models/adapters.py",
    "model_executor/layers/quantization",
    "model_executor/layers/linear.py",
    "model_executor/layers/fused_moe",
    "transformers_utils",
    "reasoning",
    "tool_parsers",
    "v1/attention",
    "v1/core",
    "v1/engine",
    "v1/executor",
    "v1/worker",
    "v1/spec_decode",
)


class Message(NamedTuple):
    """One message: where it is raised, by which exception, and what it says."""

    file: str
    line: int
    function: str
    exception: str
    text: str


class _Raises(ast.NodeVisitor):
    """Collects what a file raises, with the function around it."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.found: list[Message] = []
        self._functions: list[str] = ["<module>"]

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        self._within(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> None:
        self._within(node)

    def _within(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        self._functions.append(node.name)
        self.generic_visit(node)
        self._functions.pop()

    def visit_Raise(self, node: ast.Raise) -> None:
        if isinstance(node.exc, ast.Call) and node.exc.args:
            text = text_of(node.exc.args[0])
            name = ast.unparse(node.exc.func)
            if text and len(text) > 10 and name[:1].isupper():
                self.found.append(Message(self.file, node.lineno, self._functions[-1], name, text))

    def visit_Assert(self, node: ast.Assert) -> None:
        text = text_of(node.msg) if node.msg is not None else ""
        if text and len(text) > 10:
            self.found.append(Message(self.file, node.lineno, self._functions[-1], "AssertionError", text))


def text_of(node: ast.expr) -> str:
    """Return the text of a message with made-up values; empty where it is computed in another way."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else ""
    if isinstance(node, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else _sample(part) for part in node.values)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        left, right = text_of(node.left), text_of(node.right)
        return left + right if left and right else ""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mod):
        return text_of(node.left).replace("%s", "sample").replace("%d", "7")
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "format":
        return text_of(node.func.value).replace("{}", "sample")
    return ""


def _sample(part: ast.expr) -> str:
    """Make up what stands in braces: a number where the name says so, a list for a join, else a name."""
    if not isinstance(part, ast.FormattedValue):
        return ""
    name = ast.unparse(part.value)
    words = name.lower()
    prefix = f"{name}=" if part.format_spec is None and part.conversion == ord("=") else ""
    if "join(" in words or (words.endswith(("s", "list", "keys()")) and not _is_number(words)):
        return prefix + "['one', 'two']"
    if _is_number(words):
        return prefix + "7"
    return prefix + ("'sample'" if part.conversion == ord("r") else "sample")


def _is_number(words: str) -> bool:
    last = words.rpartition(".")[2]
    parts = (
        "size",
        "num",
        "len",
        "count",
        "rank",
        "max",
        "min",
        "tokens",
        "dim",
        "heads",
        "seconds",
        "timeout",
        "bits",
    )
    return any(part in last for part in parts)


def messages(sources: pathlib.Path) -> Iterator[Message]:
    """Give each message of the parts that a start comes through, in the order of the files."""
    root = sources / "vllm"
    seen: set[str] = set()
    for place in STARTUP:
        path = root / place
        for file in [path] if path.is_file() else sorted(path.rglob("*.py")):
            visitor = _Raises(f"vllm/{file.relative_to(root)}")
            visitor.visit(ast.parse(file.read_text(encoding="utf-8")))
            for message in visitor.found:
                if message.text not in seen:
                    seen.add(message.text)
                    yield message


def log_of(message: Message) -> list[str]:
    """Return the log of a start that ends with this message."""
    raised = [
        "Traceback (most recent call last):",
        f'  File "/usr/local/lib/python3.12/dist-packages/{message.file}", line {message.line}, in {message.function}',
        f"    raise {message.exception}(",
    ]
    raised += f"{message.exception}: {message.text}".split("\n")
    return [
        f"(EngineCore pid=24) ERROR 11-28 10:00:00 [core.py:1] {line}"
        for line in ["EngineCore failed to start.", *raised]
    ]


def recognized(message: Message) -> str:
    """Return the signature by which a message is recognized; empty when there is none."""
    from ansible_collections.private_llm.fleet.plugins.module_utils._vllm.diagnosis._diagnosis import diagnose  # noqa: PLC0415

    found = diagnose(log_of(message), 1).id
    return "" if found == "unknown" else found


def main() -> int:
    """List the messages of a release."""
    parser = argparse.ArgumentParser(
        description="List what vLLM raises at a start, and what the diagnosis knows of it."
    )
    parser.add_argument("sources", type=pathlib.Path, help="the folder that holds vllm, as a wheel unpacks to")
    parser.add_argument("--unknown", action="store_true", help="only messages that no signature recognizes")
    parser.add_argument("--json", action="store_true", help="as data")
    options = parser.parse_args()
    if not (options.sources / "vllm").is_dir():
        print(f"{options.sources} holds no vllm; name the folder that a wheel of it unpacks to", file=sys.stderr)
        return 1
    found = [(message, recognized(message)) for message in messages(options.sources)]
    shown = [(message, name) for message, name in found if not (options.unknown and name)]
    if options.json:
        print(json.dumps([{**message._asdict(), "signature": name} for message, name in shown], indent=1))
        return 0
    for message, name in shown:
        print(
            f"{message.file}:{message.line} {name or '-'}: {message.exception}: {' '.join(message.text.split())[:160]}"
        )
    known = sum(1 for _message, name in found if name)
    print(f"{len(found)} messages, {known} of them recognized, {len(found) - known} not", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
