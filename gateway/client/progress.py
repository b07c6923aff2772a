"""What `codegen generate` shows: frames in, lines out; no I/O and no clock of its own.

`ProgressDisplay.see` returns lines that stay; `ProgressDisplay.live` what is being done right now,
which a terminal redraws in place. Text from the wire is stripped of control characters, so that no
model output can drive the user's terminal.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar
from urllib.parse import urljoin

Data = Mapping[str, Any]

MAX_NAME_CHARS = 44  # of a path's column, so that sizes stay in line on 80 columns
MAX_OUTPUT_LINES = 8  # of what did not install or start
LOG_LINE_SECONDS = 5.0  # off a terminal, at most one line of download progress in this time
SPINNER = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
FRAMES_PER_SECOND = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Style:
    """How to mark things; both are off where the output cannot show them."""

    has_color: bool = False
    has_symbols: bool = True

    def bold(self, text: str) -> str:
        return self._paint("1", text)

    def dim(self, text: str) -> str:
        return self._paint("2", text)

    def good(self, text: str = "") -> str:
        return self._paint("32", text or ("✔" if self.has_symbols else "ok"))

    def warning(self, text: str = "") -> str:
        return self._paint("33", text or "!")

    def _paint(self, code: str, text: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self.has_color else text


def clean(text: str) -> str:
    """Make text from the wire safe for a terminal: one line, nothing but printable characters."""
    return "".join(character if character.isprintable() else " " for character in text)


def size_text(size: int) -> str:
    """Return a size in bytes for people: 812 B, 3.4 KB, 1.2 MB (of 1,000)."""
    if size < 1000:
        return f"{size} B"
    return f"{size / 1000:.1f} KB" if size < 999_950 else f"{size / 1_000_000:.1f} MB"


def seconds_text(seconds: float) -> str:
    """Return a duration for people: 0.4 s, 23 s, 2 min 5 s."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


class ProgressDisplay:
    """The lines of one run of the service at `url`.

    `now` is any clock in seconds that only goes forward.
    """

    def __init__(self, style: Style, *, url: str, is_live: bool, now: float) -> None:
        self._style = style
        self._url = url
        self._is_live = is_live
        self._started = self._step_started = now
        self._activity = "Connecting"
        self._log_line = ""
        self._log_shown = now - LOG_LINE_SECONDS
        self._phase_number = 0
        self._planned: list[str] = []
        self._finished: set[str] = set()
        self._open_path: str | None = None
        self._open_size = 0
        self._tokens = 0
        self._cost_usd = 0.0
        self._model = ""  # as it was named last

    def see(self, type_: str, data: Data, now: float) -> list[str]:
        """Take one frame and return the lines that it adds; unknown types add none."""
        handler = self._HANDLERS.get(type_)
        return handler(self, data, now) if handler is not None else []

    def live(self, now: float, width: int) -> list[str]:
        """Return at most three lines about what is under way, none wider than `width`."""
        spinner = SPINNER[int(now * FRAMES_PER_SECOND) % len(SPINNER)]
        mark = spinner if self._style.has_symbols else "*"
        lines = [f"{mark} {self._activity}  {seconds_text(now - self._step_started)}"]
        if self._open_path is not None:
            lines = [f"  {mark} {self._file_text(self._open_path, self._open_size)}"]
            waiting = [path for path in self._planned if path not in self._finished]
            waiting = [path for path in waiting if path != self._open_path]
            if waiting:
                lines.append(f"    then {', '.join(waiting)}")
        elif self._log_line:
            lines.append(f"    {self._log_line}")
        return [self._style.dim(_clip(line, width)) for line in lines]

    def _file_text(self, path: str, size: int) -> str:
        widest = max((len(planned) for planned in [path, *self._planned]), default=0)
        return f"{clean(path):<{min(widest, MAX_NAME_CHARS)}}  {size_text(size):>8}"

    def _begin(self, activity: str, now: float) -> None:
        self._activity, self._log_line, self._step_started = activity, "", now

    def _snapshot(self, data: Data, _now: float) -> list[str]:
        """Name the model, once: another snapshot comes after a crash, or a lost connection."""
        model = f"Model {clean(data['model'])}"
        if data["isDemo"]:
            model = "Model demo: built in and offline; set OPENROUTER_API_KEY for a real one"
        if model == self._model:
            return []
        self._model = model
        return [self._style.dim(model)]

    def _state_change(self, data: Data, now: float) -> list[str]:
        activity = {
            "designing_phase": "Designing the next phase",
            "implementing_phase": "Waiting for the first file",
            "installing_deps": "Installing the dependencies",
            "checking_build": "Checking that it builds",
            "starting_server": "Starting the app",
        }.get(data["state"])
        if data["state"] != "implementing_phase":  # a run that goes on has shown its file before
            self._open_path = None
        if activity is None:
            return []
        self._begin(activity, now)
        is_long = data["state"] in ("installing_deps", "checking_build", "starting_server")
        return [] if self._is_live or not is_long else [f"  {activity} ..."]

    def _accepted(self, data: Data, now: float) -> list[str]:
        self._begin("Waiting for a place", now)
        if not data["place"]:
            return []
        runs = "one run" if data["place"] == 1 else f"{data['place']} runs"
        return [f"Queued: {runs} of this project first"]

    def _run_resumed(self, data: Data, now: float) -> list[str]:
        self._begin("Going on", now)
        self._open_path = None
        mark = self._style.warning()
        return [f"{mark} The run was interrupted and goes on with phase {data['phaseNumber']}"]

    def _storage_unavailable(self, data: Data, _now: float) -> list[str]:
        text = f"PostgreSQL is away; the run waits ({clean(data['message'])})"
        return [f"{self._style.warning()} {text}"]

    def _storage_restored(self, _data: Data, _now: float) -> list[str]:
        return [f"{self._style.good()} PostgreSQL is back; the run goes on"]

    def _phase_designing(self, data: Data, now: float) -> list[str]:
        self._phase_number = data["phaseNumber"]
        self._begin(f"Designing phase {self._phase_number}", now)
        return []

    def _phase_designed(self, data: Data, now: float) -> list[str]:
        phase = data["phase"]
        self._planned = [clean(file["path"]) for file in phase["files"]]
        self._finished = set()
        self._begin("Waiting for the first file", now)
        title = self._style.bold(f"Phase {self._phase_number or '?'}  {clean(phase['name'])}")
        return ["", title, self._style.dim(clean(phase["description"]))]

    def _file_start(self, data: Data, now: float) -> list[str]:
        self._open_path, self._open_size = data["path"], 0
        return []

    def _file_chunk(self, data: Data, now: float) -> list[str]:
        if data["path"] != self._open_path:
            self._file_start(data, now)
        self._open_size += len(data["chunk"].encode())
        return []

    def _file_end(self, data: Data, now: float) -> list[str]:
        self._open_path = None
        self._finished.add(clean(data["path"]))
        self._begin("Waiting for the next file", now)
        text = self._file_text(data["path"], len(data["content"].encode()))
        return [f"  {self._style.good()} {text}"]

    def _file_restored(self, data: Data, _now: float) -> list[str]:
        self._open_path = None
        kept = "does not exist" if data["content"] is None else "is as it was"
        return [f"  {self._style.warning()} {clean(data['path'])} was not finished and {kept}"]

    def _file_deleted(self, data: Data, _now: float) -> list[str]:
        return [f"  {self._style.good()} {clean(data['path'])} is deleted"]

    def _install_requested(self, data: Data, _now: float) -> list[str]:
        return [self._style.dim(f"    $ {clean(' '.join(data['arguments']))}")]

    def _sandbox_started(self, data: Data, _now: float) -> list[str]:
        return [f"  {self._style.good()} sandbox started ({clean(data['kind'])})"]

    def _sandbox_log(self, data: Data, now: float) -> list[str]:
        self._log_line = clean(data["line"]).strip()
        is_due = now - self._log_shown >= LOG_LINE_SECONDS
        if self._is_live or data["stream"] != "progress" or not is_due:
            return []
        self._log_shown = now
        return [f"    {self._log_line}"]

    def _deps_installed(self, _data: Data, now: float) -> list[str]:
        return [self._step("dependencies ready", now)]

    def _server_started(self, data: Data, now: float) -> list[str]:
        url = urljoin(f"{self._url}/", clean(data["url"]))
        return [self._step(f"the app answers at {url}", now)]

    def _server_stopped(self, data: Data, _now: float) -> list[str]:
        first, *output = data["message"].splitlines() or [data["reason"]]
        return [f"  {self._style.warning()} {clean(first)}", *self._output(output)]

    def _output(self, lines: list[str]) -> list[str]:
        return [self._style.dim(f"    {clean(line)}") for line in lines[-MAX_OUTPUT_LINES:]]

    def _step(self, text: str, now: float) -> str:
        taken = self._style.dim(seconds_text(now - self._step_started))
        self._begin("Going on", now)
        return f"  {self._style.good()} {text}  {taken}"

    def _model_warning(self, data: Data, _now: float) -> list[str]:
        text = clean(f"{data['kind']}: {data['detail']}")
        return [f"  {self._style.warning()} the model's output was mended: {text}"]

    def _model_retry(self, data: Data, _now: float) -> list[str]:
        wait = f" in {seconds_text(data['waitSeconds'])}" if data["waitSeconds"] else ""
        text = clean(f"{data['reason']} Asking {data['model']}{wait}")
        return [f"  {self._style.warning()} {text} (call {data['attempt']})"]

    def _usage(self, data: Data, _now: float) -> list[str]:
        self._tokens += data["promptTokens"] + data["completionTokens"]
        self._cost_usd += data["costUsd"] or 0.0
        return []

    def _phase_failed(self, data: Data, _now: float) -> list[str]:
        first, *output = data["message"].splitlines() or [data["code"]]
        sentence = f"{clean(first)} The next phase repairs it."
        return [f"  {self._style.warning()} {sentence}", *self._output(output)]

    def _phase_cut(self, _data: Data, _now: float) -> list[str]:
        return [f"  {self._style.warning()} the rest of the phase is planned anew"]

    def _run_steered(self, data: Data, _now: float) -> list[str]:
        return ["", f"{self._style.good()} New wish: {clean(data['description'])}"]

    def _generation_complete(self, data: Data, now: float) -> list[str]:
        parts = [_count(data["phases"], "phase"), _count(len(data["files"]), "file")]
        if self._tokens:
            cost = f" (${self._cost_usd:.4f})" if self._cost_usd else ""
            parts.append(f"{self._tokens:,} tokens{cost}")
        text = f"Done in {seconds_text(now - self._started)}: {', '.join(parts)}"
        return ["", f"{self._style.good()} {text}"]

    def _generation_cancelled(self, _data: Data, _now: float) -> list[str]:
        return [f"{self._style.warning()} Cancelled; the finished files are kept"]

    _HANDLERS: ClassVar[dict[str, Callable[[ProgressDisplay, Data, float], list[str]]]] = {
        "snapshot": _snapshot,
        "state_change": _state_change,
        "accepted": _accepted,
        "run_resumed": _run_resumed,
        "storage_unavailable": _storage_unavailable,
        "storage_restored": _storage_restored,
        "phase_designing": _phase_designing,
        "phase_designed": _phase_designed,
        "file_start": _file_start,
        "file_chunk": _file_chunk,
        "file_end": _file_end,
        "file_restored": _file_restored,
        "file_deleted": _file_deleted,
        "install_requested": _install_requested,
        "sandbox_started": _sandbox_started,
        "sandbox_log": _sandbox_log,
        "deps_installed": _deps_installed,
        "server_started": _server_started,
        "server_stopped": _server_stopped,
        "model_warning": _model_warning,
        "model_retry": _model_retry,
        "usage": _usage,
        "phase_failed": _phase_failed,
        "phase_cut": _phase_cut,
        "run_steered": _run_steered,
        "generation_complete": _generation_complete,
        "generation_cancelled": _generation_cancelled,
    }


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _clip(line: str, width: int) -> str:
    return line if len(line) <= width else line[: max(width - 1, 0)] + "…"
