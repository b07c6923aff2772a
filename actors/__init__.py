"""The agents: one Thespian actor per project, its supervision, its journal and its pipeline.

Read `supervisor.py` and `project.py` for the lifecycle, `agent.py` for what one project does,
`events.py` and `state.py` for the vocabulary, `store.py` for what is kept.
"""
