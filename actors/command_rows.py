"""The part of a batch that keeps the commands: which wait, run, are done, and their answers."""

# ruff: noqa: S608  # the statements are joined from constants and placeholders alone

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from actors import events as ev
from actors.codec import JournalEntry
from actors.records import payload_record, stored_text, to_column
from actors.state import Command
from actors.statement import Statement

ENDS_RUN = (ev.GenerationComplete, ev.GenerationCancelled, ev.ErrorRaised)


@dataclass(slots=True)
class _CommandRow:
    command: Command
    status: str
    position: int
    answer: str | None = None


def add_commands(statement: Statement, entries: Sequence[JournalEntry]) -> None:
    """Write each command once: what one statement does to a row twice is undefined in SQL."""
    rows: dict[str, _CommandRow] = {}
    dropped: list[str] = []
    is_run_ended = False
    for seq, event in ((entry.seq, entry.event) for entry in entries):
        match event:
            case ev.CommandQueued():
                answer = to_column({"place": event.place, "seq": seq})
                position = seq if event.place else -seq  # as `apply`: to the end, or to the head
                rows[event.id] = _CommandRow(_command(event), "queued", position, answer)
            case ev.RunStarted():
                queued = rows.get(event.id)
                rows[event.id] = _CommandRow(
                    _command(event), "running", seq, queued.answer if queued else None
                )
            case ev.RunSteered():
                answer = to_column({"place": 0, "seq": seq})
                rows[event.id] = _CommandRow(_command(event), "running", seq, answer)
            case ev.CommandDropped():
                if event.id in rows:
                    rows[event.id].status = "dropped"
                else:
                    dropped.append(event.id)
            case _ if isinstance(event, ENDS_RUN):
                is_run_ended = True
                for row in rows.values():
                    row.status = "done" if row.status == "running" else row.status
            case _:
                pass
    if rows:
        _upsert_commands(statement, rows)
    if dropped or is_run_ended:
        ids, touched = statement.put(
            [stored_text(id_) for id_ in dropped], [stored_text(id_) for id_ in rows]
        )
        ended = "OR commands.status = 'running'" if is_run_ended else ""
        statement.add(
            "settled",
            "UPDATE commands SET status = "
            f"CASE WHEN command_id = ANY({ids}::text[]) THEN 'dropped' ELSE 'done' END "
            "FROM owner WHERE commands.project_id = owner.project_id "
            f"AND (command_id = ANY({ids}::text[]) {ended}) "
            f"AND command_id <> ALL({touched}::text[])",
        )


def _command(event: ev.CommandQueued | ev.RunStarted | ev.RunSteered) -> Command:
    return Command(
        id=event.id, description=event.description, model=event.model, max_phases=event.max_phases
    )


def _upsert_commands(statement: Statement, rows: dict[str, _CommandRow]) -> None:
    ids, payloads, statuses, answers, positions = statement.put(
        [stored_text(id_) for id_ in rows],
        [to_column(payload_record(row.command)) for row in rows.values()],
        [row.status for row in rows.values()],
        [row.answer for row in rows.values()],
        [row.position for row in rows.values()],
    )
    statement.add(
        "commanded",
        "INSERT INTO commands AS old "
        "(project_id, command_id, payload, status, answer, position) "
        "SELECT owner.project_id, new.* FROM owner, "
        f"unnest({ids}::text[], {payloads}::text[]::jsonb[], {statuses}::text[], "
        f"{answers}::text[]::jsonb[], {positions}::text[]::bigint[]) "
        "AS new (command_id, payload, status, answer, position) "
        "ON CONFLICT (project_id, command_id) DO UPDATE SET payload = excluded.payload, "
        "status = excluded.status, position = excluded.position, "
        "answer = coalesce(excluded.answer, old.answer)",
    )


def add_answers(statement: Statement, entries: Sequence[JournalEntry]) -> None:
    rows = [
        (entry.seq, entry.event) for entry in entries if isinstance(entry.event, ev.CommandAnswered)
    ]
    ids, kinds, answers, seqs = statement.put(
        [stored_text(event.id) for _, event in rows],
        [event.kind for _, event in rows],
        [to_column({"seq": seq, "code": event.code}) for seq, event in rows],
        [seq for seq, _ in rows],
    )
    statement.add(
        "answered",
        "INSERT INTO commands (project_id, command_id, kind, payload, status, answer, position) "
        "SELECT owner.project_id, new.id, new.kind, '{}', 'done', new.answer, new.position "
        f"FROM owner, unnest({ids}::text[], {kinds}::text[], {answers}::text[]::jsonb[], "
        f"{seqs}::text[]::bigint[]) AS new (id, kind, answer, position) ON CONFLICT DO NOTHING",
    )
