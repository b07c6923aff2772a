"""One SQL statement per batch of events: the journal's rows and the projections they change.

`batch` is pure. The statement's first part is the guard, an UPDATE of agent_states that names the
epoch; every other part joins it, so where it finds no row nothing is written. It answers one
number, how many rows the guard found. One statement is one transaction and one round trip, however
much it writes, and a cancelled or repeated call can neither halve nor double it: each part is an
upsert, a delete, or an insert that ignores rows which exist.
"""

# ruff: noqa: S608  # the statements are joined from constants and placeholders alone

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from actors import events as ev
from actors.codec import JournalEntry
from actors.command_rows import ENDS_RUN, add_answers, add_commands
from actors.records import (
    phase_record,
    problem_record,
    run_record,
    stored_text,
    to_column,
    totals_record,
)
from actors.state import ProjectState
from actors.statement import Statement
from actors.usage_rows import add_usage

#: Newest sandbox_log rows that are kept of a project; trimmed with the journal.
KEPT_SANDBOX_LOG_ROWS = 500
MAX_TITLE_CHARS = 200

_LOAD = """
SELECT current_state, current_phase_index, phases, sandbox_kind, sandbox_container_id,
       preview_url, run, problem, problems, usage, epoch, last_seq,
       {files} AS files,
       coalesce((SELECT json_agg(json_build_object('id', command_id, 'status', status,
                                                   'payload', payload) ORDER BY position)
                   FROM commands WHERE project_id = $1 AND kind = 'generate'
                    AND status <> 'dropped'), '[]') AS commands,
       (SELECT array_agg(data ORDER BY seq)
          FROM events WHERE project_id = $1 AND type IN ('file_start', 'file_chunk')) AS open_rows
  FROM agent_states WHERE project_id = $1
"""
_FILES = """
       coalesce((SELECT json_agg(json_build_array(file_path, size, sha256, phase_index)
                                 ORDER BY file_path)
                   FROM generated_files WHERE project_id = $1), '[]')"""

#: The whole state of one project ($1) in one statement, hence of one moment.
LOAD = _LOAD.format(files=_FILES)
#: The same without the finished files: what an owner begins with, whether there are 3 or 3,000.
LOAD_OWNED = _LOAD.format(files="'[]'")


#: Kinds of events by what they change beside the journal.
_KEEPS_STATE = (
    ev.FileStart,
    ev.FileChunk,
    ev.SandboxLog,
    ev.ModelWarning,
    ev.ModelRetry,
    ev.ServerStopped,
    ev.Hibernated,
)
_CHANGES_FILES = (ev.FileEnd, ev.FileDeleted)
_CHANGES_PHASES = (
    *_CHANGES_FILES,
    ev.PhaseDesigned,
    ev.InstallRequested,
    ev.FilesWritten,
    ev.PhaseCompleted,
    ev.PhaseFailed,
    ev.PhaseCut,
)
_CLOSES_ANY_FILE = (ev.RunResumed, *ENDS_RUN)
_TRIMS_JOURNAL = (*ENDS_RUN, ev.Hibernated)  # an app may be opened often without any run
_CHANGES_PROJECT = (
    ev.StateChange,
    ev.CommandQueued,
    ev.CommandDropped,
    ev.RunStarted,
    ev.RunPaused,
    ev.RunResumed,
    *ENDS_RUN,
)
#: A reservation belongs to the model call under way: after these there is none.
_RELEASES = (ev.Usage, ev.RunPaused, ev.RunResumed, *ENDS_RUN)


def batch(
    project_id: str,
    epoch: int,
    entries: Sequence[JournalEntry],
    state: ProjectState,
    *,
    kept_events: int,
) -> tuple[str, list[Any]]:
    """Return the statement and its arguments.

    `state` is the fold up to the last entry, or, where all of them are chunks, log lines and the
    like (they change no column), up to a later one. Where a run ends, or the project hibernates,
    the journal is trimmed to its newest `kept_events` rows. The number of different statements is
    small, so a connection's cache prepares each once.
    """
    statement = Statement(arguments=[project_id, epoch])
    _guard(statement, entries, state, kept_events)
    _journal(statement, entries)
    if any(isinstance(entry.event, _CHANGES_PROJECT) for entry in entries):
        _project(statement, state)
    if any(isinstance(entry.event, _CHANGES_FILES) for entry in entries):
        _files(statement, entries, state)
    add_commands(statement, entries)
    if any(isinstance(entry.event, ev.CommandAnswered) for entry in entries):
        add_answers(statement, entries)
    if any(isinstance(entry.event, ev.Usage) for entry in entries):
        add_usage(statement, entries)
    if any(isinstance(entry.event, _RELEASES) for entry in entries):
        statement.add(
            "released",
            "DELETE FROM reservations USING owner WHERE reservations.project_id = owner.project_id",
        )
    return statement.sql, statement.arguments


def _guard(
    statement: Statement,
    entries: Sequence[JournalEntry],
    state: ProjectState,
    kept_events: int,
) -> None:
    columns: dict[str, tuple[Any, str]] = {"last_seq": (entries[-1].seq, "bigint")}
    if not all(isinstance(entry.event, _KEEPS_STATE) for entry in entries):
        assert entries[-1].seq == state.last_seq, "the state must be the fold of the entries"
        columns |= {
            "current_state": (state.state.value, "text"),
            "current_phase_index": (state.designing - 1 if state.designing else None, "integer"),
            "sandbox_kind": (state.sandbox_kind, "text"),
            "sandbox_container_id": (state.sandbox_container_id, "text"),
            "preview_url": (state.preview_url, "text"),
            "run": (to_column(run_record(state.run)) if state.run else None, "jsonb"),
            "problem": (
                to_column(problem_record(state.problem)) if state.problem else None,
                "jsonb",
            ),
            "problems": (to_column(state.problems), "jsonb"),
            "usage": (to_column(totals_record(state.totals)), "jsonb"),
        }
    if any(isinstance(entry.event, _CHANGES_PHASES) for entry in entries):
        phases = [phase_record(phase) for phase in state.phases]
        columns["phases"] = (to_column(phases), "jsonb")
    values = statement.put(*(value for value, _ in columns.values()))
    assignments = ", ".join(
        f"{name} = {value}::{kind}"
        for (name, (_, kind)), value in zip(columns.items(), values, strict=True)
    )
    if any(isinstance(entry.event, _TRIMS_JOURNAL) for entry in entries):
        (older,) = statement.put(max(0, kept_events - len(entries)))  # those are not yet stored
        assignments += (
            ", trimmed_seq = greatest(trimmed_seq, coalesce((SELECT seq FROM events "
            f"WHERE project_id = $1 ORDER BY seq DESC OFFSET {older}::bigint LIMIT 1), 0))"
        )
    statement.add(
        "owner",
        f"UPDATE agent_states SET {assignments}, updated_at = now() "
        "WHERE project_id = $1 AND epoch = $2 RETURNING project_id, trimmed_seq",
    )


def _journal(statement: Statement, entries: Sequence[JournalEntry]) -> None:
    """Insert the events; rows of file_start and file_chunk stay for the open file alone."""
    closed_before = _closed_before(entries)
    kept = [
        entry
        for entry in entries
        if not isinstance(entry.event, ev.FileStart | ev.FileChunk) or entry.seq >= closed_before
    ]
    seqs, types, data = statement.put(
        [entry.seq for entry in kept],
        [entry.event.type for entry in kept],
        [entry.data.decode() for entry in kept],
    )
    statement.add(
        "journal",
        "INSERT INTO events (project_id, seq, type, data) "
        "SELECT owner.project_id, new.seq, new.type, new.data FROM owner, "
        f"unnest({seqs}::text[]::bigint[], {types}::text[], {data}::text[]) "
        "AS new (seq, type, data) "
        "ON CONFLICT DO NOTHING",
    )
    if closed_before:
        (limit,) = statement.put(closed_before)
        statement.add(
            "closed",
            "DELETE FROM events USING owner WHERE events.project_id = owner.project_id "
            f"AND events.type IN ('file_start', 'file_chunk') AND events.seq < {limit}::bigint",
        )
    if any(isinstance(entry.event, _TRIMS_JOURNAL) for entry in entries):
        new_rows = sum(isinstance(entry.event, ev.SandboxLog) for entry in entries)
        (keep,) = statement.put(max(0, KEPT_SANDBOX_LOG_ROWS - new_rows))
        statement.add(
            "trimmed",
            "DELETE FROM events USING owner WHERE events.project_id = owner.project_id "
            "AND events.seq <= owner.trimmed_seq "
            "AND events.type NOT IN ('file_start', 'file_chunk')",  # of an open file, to the last
        )
        statement.add(
            "trimmed_log",
            "DELETE FROM events USING owner WHERE events.project_id = owner.project_id "
            "AND events.seq > owner.trimmed_seq AND events.type = 'sandbox_log' "
            "AND events.seq <= (SELECT seq FROM events "
            "WHERE project_id = $1 AND type = 'sandbox_log' "
            f"ORDER BY seq DESC OFFSET {keep}::bigint LIMIT 1)",
        )


def _closed_before(entries: Sequence[JournalEntry]) -> int:
    """Return the number before which no row belongs to an open file; 0 where none was closed."""
    limit = 0
    path: str | None = None  # of the open file, where these entries tell
    for entry in entries:
        match entry.event:
            case ev.FileStart(path=started):
                limit, path = entry.seq, started
            case ev.FileChunk(path=continued):
                if path != continued and (path or limit):  # as `apply`: another file is open now
                    limit = entry.seq
                path = continued
            case ev.FileEnd(path=ended) | ev.FileRestored(path=ended) if path in (None, ended):
                limit, path = entry.seq + 1, None
            case event if isinstance(event, _CLOSES_ANY_FILE):
                limit, path = entry.seq + 1, None
            case _:
                pass
    return limit


def _project(statement: Statement, state: ProjectState) -> None:
    waiting = [command.description for command in state.queue]
    words = " ".join(next(iter([*state.descriptions, *waiting]), "").split())
    status, title = statement.put(state.status, stored_text(words)[:MAX_TITLE_CHARS])
    statement.add(
        "project",
        f"UPDATE projects SET status = {status}::text, updated_at = now(), "
        f"title = CASE WHEN title = '' THEN {title}::text ELSE title END "
        "FROM owner WHERE projects.id = owner.project_id",
    )


def _files(statement: Statement, entries: Sequence[JournalEntry], state: ProjectState) -> None:
    """Write or delete each file once, as the last of its events has it."""
    events = [entry.event for entry in entries]
    last = {
        event.path: event.content if isinstance(event, ev.FileEnd) else None
        for event in events
        if isinstance(event, ev.FileEnd | ev.FileDeleted)
    }
    contents = {path: content for path, content in last.items() if content is not None}
    if contents:
        _written(statement, contents, state)
    if len(contents) < len(last):
        (paths,) = statement.put([stored_text(path) for path in last if path not in contents])
        statement.add(
            "deleted",
            "DELETE FROM generated_files AS old USING owner "
            f"WHERE old.project_id = owner.project_id AND old.file_path = ANY({paths}::text[])",
        )


def _written(statement: Statement, contents: Mapping[str, str], state: ProjectState) -> None:
    infos = [state.files[path] for path in contents]
    ends = itertools.accumulate(info.size for info in infos)
    texts, starts, paths, sizes, hashes, indexes = statement.put(
        "".join(contents.values()).encode(),
        [1 + end - info.size for end, info in zip(ends, infos, strict=True)],
        [stored_text(path) for path in contents],
        [info.size for info in infos],
        [info.sha256 for info in infos],
        [info.phase_number - 1 for info in infos],
    )
    statement.add(
        "files",
        "INSERT INTO generated_files AS old "
        "(project_id, file_path, content, size, sha256, phase_index) "
        f"SELECT owner.project_id, file_path, substr({texts}::bytea, start, new.size), new.size, "
        "sha256, phase_index FROM owner, "
        f"unnest({starts}::text[]::integer[], {paths}::text[], {sizes}::text[]::integer[], "
        f"{hashes}::text[], {indexes}::text[]::integer[]) "
        "AS new (start, file_path, size, sha256, phase_index) "
        "ON CONFLICT (project_id, file_path) DO UPDATE SET content = excluded.content, "
        "size = excluded.size, sha256 = excluded.sha256, phase_index = excluded.phase_index, "
        "updated_at = now()",
    )
