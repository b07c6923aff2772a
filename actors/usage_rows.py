"""The part of a batch that keeps what model calls consumed: each one, and the sums of each day."""

# ruff: noqa: S608  # the statements are joined from constants and placeholders alone

from __future__ import annotations

from collections.abc import Sequence

from actors import events as ev
from actors.codec import JournalEntry
from actors.records import stored_text
from actors.statement import Statement


def add_usage(statement: Statement, entries: Sequence[JournalEntry]) -> None:
    rows = [(entry.seq, entry.event) for entry in entries if isinstance(entry.event, ev.Usage)]
    seqs, purposes, models, prompts, completions, costs, estimates = statement.put(
        [seq for seq, _ in rows],
        [stored_text(event.purpose) for _, event in rows],
        [stored_text(event.model) for _, event in rows],
        [event.prompt_tokens for _, event in rows],
        [event.completion_tokens for _, event in rows],
        [event.cost_usd for _, event in rows],
        [event.estimated for _, event in rows],
    )
    statement.add(
        "used",
        "INSERT INTO usage (project_id, seq, purpose, model, prompt_tokens, completion_tokens, "
        "cost_usd, estimated) SELECT owner.project_id, new.* FROM owner, "
        f"unnest({seqs}::text[]::bigint[], {purposes}::text[], {models}::text[], "
        f"{prompts}::text[]::bigint[], {completions}::text[]::bigint[], "
        f"{costs}::text[]::float8[], {estimates}::text[]::boolean[]) "
        "AS new (seq, purpose, model, prompt_tokens, completion_tokens, cost_usd, estimated) "
        "ON CONFLICT DO NOTHING RETURNING prompt_tokens, completion_tokens, cost_usd, estimated",
    )
    statement.add(  # kept also when the project is deleted: it was paid for
        "spent",
        "INSERT INTO daily_usage AS old "
        "(day, calls, prompt_tokens, completion_tokens, cost_usd, estimated_calls) "
        "SELECT (now() AT TIME ZONE 'UTC')::date, count(*), sum(prompt_tokens), "
        "sum(completion_tokens), coalesce(sum(cost_usd), 0), count(*) FILTER (WHERE estimated) "
        "FROM used HAVING count(*) > 0 "
        "ON CONFLICT (day) DO UPDATE SET calls = old.calls + excluded.calls, "
        "prompt_tokens = old.prompt_tokens + excluded.prompt_tokens, "
        "completion_tokens = old.completion_tokens + excluded.completion_tokens, "
        "cost_usd = old.cost_usd + excluded.cost_usd, "
        "estimated_calls = old.estimated_calls + excluded.estimated_calls",
    )
