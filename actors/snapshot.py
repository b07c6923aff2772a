"""The `snapshot` frame: everything a viewer is shown of a project, short of its files' contents."""

from __future__ import annotations

from typing import Any

from actors.addresses import preview_url
from actors.records import command_record, phase_record, problem_record, run_record, totals_record
from actors.state import ProjectState


def snapshot_data(
    state: ProjectState, *, model: str, is_demo: bool, preview_base: str
) -> dict[str, Any]:
    """Return the `data` of the wire's snapshot; files by path, sizes in bytes, hashes in hex.

    `model` is the label of the model that serves (the project's commands may name others). The
    preview's address is that of the service now, which may have listened elsewhere before.
    """
    open_file = state.open_file
    return {
        "state": state.state.value,
        "phases": [phase_record(phase) for phase in state.phases],
        "designing": state.designing,
        "files": [
            {
                "path": path,
                "size": info.size,
                "sha256": info.sha256,
                "phaseNumber": info.phase_number,
            }
            for path, info in sorted(state.files.items())
        ],
        "openFile": {"path": open_file.path, "text": open_file.text} if open_file else None,
        "queue": [command_record(command) for command in state.queue],
        "run": run_record(state.run) if state.run else None,
        "problem": problem_record(state.problem) if state.problem else None,
        "descriptions": list(state.descriptions),
        "problems": list(state.problems),
        "usage": totals_record(state.totals),
        "previewUrl": preview_url(preview_base, state.project_id) if state.preview_url else None,
        "sandbox": {"kind": state.sandbox_kind, "containerId": state.sandbox_container_id},
        "model": model,
        "isDemo": is_demo,
        "lastSeq": state.last_seq,
    }
